"""Processes that buy, of their own, so that they can be killed."""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ..conftest import MODELS, ROOT, LocalProvider, Place, new_database, stop

DIED = -9
"""The exit code of a process that was sent SIGKILL."""


@dataclass
class Forked:
    """One process that buys."""

    program: "Program"
    pid: int
    out: Path

    def kill(self) -> None:
        """Send SIGKILL; to a process that has ended and was not waited for, it does nothing."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit code, once it has one."""
        code: int = self.program.say({"wait": self.pid})["code"]
        return code

    def said(self) -> dict[str, Any]:
        """What it reported at its end, having ended by itself."""
        assert self.wait() == 0
        found: dict[str, Any] = json.loads(self.out.read_text())
        return found

    def receipt(self) -> dict[str, Any]:
        """What its work came to: it raised nothing."""
        said = self.said()
        assert "error" not in said, said
        return said

    def ticks(self) -> int:
        """How often it has looked at its batches so far."""
        path = self.out.with_suffix(".ticks")
        return int(path.read_text() or 0) if path.exists() else 0


@dataclass
class Program:
    """A program that has imported everything, and forks."""

    process: "subprocess.Popen[str]"
    folder: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def say(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def fork(self, **job: Any) -> Forked:
        """Begin a job in a process of its own."""
        out = self.folder / f"{next(self.numbers)}.json"
        return Forked(self, self.say({**job, "out": str(out)})["pid"], out)


@contextmanager
def running(module: str, folder: Path) -> Iterator[Program]:
    """A module of this package as a program; `folder` is where its children report."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.promises.{module}"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith(("OFFPEAK_", "DAGSTER_"))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Program(process, folder)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        stop(process)


@dataclass
class Forge:
    """Starts purchases."""

    program: Program

    def start(self, place: Place, local_provider: LocalProvider, provider: str, **job: Any) -> Forked:
        return self.program.fork(**_purchase(place, local_provider, provider), **job)

    def compile_statements(self, place: Place, local_provider: LocalProvider) -> None:
        """Buy once at each provider in the program itself: what SQLAlchemy compiles for it, all that it forks have.

        That is a third of the CPU of such a process.
        """
        for provider in MODELS:
            job = _purchase(place, local_provider, provider)
            out = self.program.folder / f"compiled-{provider}.json"
            self.program.say({"here": {**job, "asset": provider, "rows": {"key": "a prompt"}, "out": str(out)}})


def _purchase(place: Place, local_provider: LocalProvider, provider: str) -> dict[str, Any]:
    base_url = local_provider.url + ("/v1" if provider == "openai" else "")
    return {"url": place.url, "spool": str(place.spool), "provider": provider, "base_url": base_url}


@contextmanager
def forging(request: pytest.FixtureRequest, folder: Path, local_provider: LocalProvider) -> Iterator[Forge]:
    """A forge of its own; `folder` is where what it starts reports."""
    with running("buyer", folder) as program:
        found = Forge(program)
        local_provider.reset()  # a fault that the test before left there could have a batch never end
        found.compile_statements(Place(f"sqlite:///{folder / 'ledger.db'}", folder / "spool"), local_provider)
        with suppress(pytest.skip.Exception):
            server, tables = (request.getfixturevalue(name) for name in ("postgres", "postgres_tables"))
            with new_database(server, like=tables) as url:
                found.compile_statements(Place(url, folder / "spool"), local_provider)
        local_provider.reset()
        yield found


@pytest.fixture(scope="session")
def forge(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, local_provider_server: LocalProvider
) -> Iterator[Forge]:
    """Starts purchases in processes of their own."""
    with forging(request, tmp_path_factory.mktemp("purchases"), local_provider_server) as found:
        yield found


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Begins nights of projects, in processes of their own."""
    with running("night", tmp_path_factory.mktemp("nights")) as program:
        yield program
