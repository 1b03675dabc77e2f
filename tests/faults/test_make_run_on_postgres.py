"""`make run POSTGRES=1` as a user has it: everything is stored in its own Postgres, and survives a crash and Ctrl-C."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from scripts.embedded_postgres import EmbeddedPostgres

from ..conftest import ROOT, free_port, until
from ..dagster.test_next_steps import FILES, ROOMS

WITHIN_S = 300
BOUGHT = {"document_embeddings": 439, "ticket_labels": 300}
ENDED_CLEANLY = "database system is shut down"

pytestmark = pytest.mark.slow


class Checkout:
    """A copy of the project, with this environment as its `.venv`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("PORT", "PROVIDER_PORT", "POSTGRES_PORT")}
        self._started: list[subprocess.Popen[str]] = []
        for room in ROOMS:
            shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__", "images"))
        for file in (*FILES, "Makefile"):
            shutil.copy(ROOT / file, folder)
        (folder / ".venv").symlink_to(sys.prefix)

    def make(self, *variables: str) -> "subprocess.Popen[str]":
        """`make run POSTGRES=1`, but for the check that `.venv` belongs to this folder."""
        ports = [f"{name}={port}" for name, port in self.ports.items()]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("OFFPEAK_", "DAGSTER_"))}
        started = subprocess.Popen(
            ["make", "-o", "venv", "run", "POSTGRES=1", *ports, *variables],
            cwd=self.folder,
            env={**env, "PYTHONPATH": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._started.append(started)
        return started

    def up(self) -> tuple["subprocess.Popen[str]", dict[str, int]]:
        """The same, once everything has landed and it stays up; and what it bought."""
        started = self.make()
        assert started.stdout is not None
        said = []
        for line in started.stdout:
            said.append(line)
            if "Ctrl-C ends" in line:
                return started, bought(said)
        pytest.fail(f"`make run` ended before everything had landed:\n{''.join(said)}")

    def once(self) -> dict[str, int]:
        """What a run that ends by itself bought."""
        said, _ = self.make("ONCE=1").communicate(timeout=WITHIN_S)
        assert self._started[-1].returncode == 0, said
        return bought(said.splitlines())

    @property
    def log(self) -> str:
        return (self.folder / ".offpeak" / "postgres" / "log").read_text()

    def count(self, database: str, table: str) -> int:
        """Rows of a table, while nothing else is up."""
        server = EmbeddedPostgres(self.folder / ".offpeak" / "postgres", self.ports["POSTGRES_PORT"])
        server.start()
        try:
            with psycopg.connect(f"{server.url}/{database}") as connection:
                (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)  # type: ignore[arg-type]
                return int(found)
        finally:
            server.stop()

    def kill(self) -> None:
        """End all that is left, as a machine that goes away."""
        for started in self._started:
            if started.poll() is None:
                kill(family(started))
                started.wait()


def bought(said: list[str]) -> dict[str, int]:
    """What was bought of each asset, from the table that `make run` prints."""
    rows = [line.split() for line in said]
    return {row[0]: int(row[2]) for row in rows if row and row[0] in BOUGHT and len(row) > 4}


def family(started: "subprocess.Popen[str]") -> list[psutil.Process]:
    leader = psutil.Process(started.pid)
    return [leader, *leader.children(recursive=True)]


def names(processes: list[psutil.Process]) -> set[str]:
    """Of those that are still there: a server's children come and go."""
    found = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found.add(process.name())
    return found


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


@pytest.fixture
def checkout(tmp_path: Path, postgres: str) -> Iterator[Checkout]:
    made = Checkout(tmp_path)  # `postgres`: where it cannot start, this test is skipped as the others are
    yield made
    made.kill()


def test_everything_is_in_postgres_and_outlives_ctrl_c_and_a_crash(checkout: Checkout) -> None:
    up, first = checkout.up()
    assert first == BOUGHT
    everything = family(up)
    assert "postgres" in names(everything)
    os.killpg(up.pid, signal.SIGINT)
    assert up.wait(20) == -signal.SIGINT  # make ends as it was asked to, once its recipe has ended
    until(lambda: not any(process.is_running() for process in everything), what="The end of everything")
    assert checkout.log.rstrip().endswith(ENDED_CLEANLY)
    assert checkout.count("offpeak", "answer") == sum(BOUGHT.values())
    assert checkout.count("dagster", "runs") == 1
    assert not list((checkout.folder / ".offpeak").glob("offpeak.db*"))

    up, again = checkout.up()
    assert again == dict.fromkeys(BOUGHT, 0)
    kill(family(up))
    assert checkout.once() == dict.fromkeys(BOUGHT, 0)
    assert "automatic recovery in progress" in checkout.log
