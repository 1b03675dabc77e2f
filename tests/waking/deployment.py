"""A small deployment that data wakes: Postgres with a watched table, Dagster's daemon, and `offpeak sources listen`."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import psycopg

from offpeak.processes import accepts_connections
from scripts.embedded_postgres import EmbeddedPostgres

from ..conftest import ROOT, LocalProvider, free_port, until
from ..parked.deployment import UNFINISHED, Program

STARTS_WITHIN_S = 120
PYPROJECT = """\
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "tests.waking.project"
code_location_target_module = "tests.waking.project"
"""


@dataclass
class Waking:
    """What was started, and what came of it."""

    folder: Path
    provider: LocalProvider
    server: EmbeddedPostgres
    listens: bool = True
    instance: dg.DagsterInstance = field(init=False)
    source: psycopg.Connection[tuple[object, ...]] = field(init=False)

    def __post_init__(self) -> None:
        home = self.folder / "dagster"
        home.mkdir()
        (home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
        with psycopg.connect(f"{self.server.url}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE application")
        self.source = psycopg.connect(f"{self.server.url}/application", autocommit=True)
        self.source.execute("CREATE TABLE tickets (id bigserial PRIMARY KEY, body text NOT NULL)")
        rows = "SELECT 'Invoice ' || n || ' came twice.' FROM generate_series(1, 50) n"
        self.source.execute(f"INSERT INTO tickets (body) {rows}")
        (self.folder / "pyproject.toml").write_text(PYPROJECT)
        self._environment = {
            **os.environ,
            "DAGSTER_HOME": str(home),
            "OFFPEAK_DATABASE_URL": f"sqlite:///{self.folder / 'offpeak.db'}",
            "OFFPEAK_SOURCE_URL": f"{self.server.url}/application".replace("postgresql:", "postgresql+psycopg:"),
            "OFFPEAK_LOCAL_URL": self.provider.url,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        self.offpeak("sources", "watch", "tickets")
        self.instance = dg.DagsterInstance.from_config(str(home))
        port = free_port()
        serve = ["-h", "127.0.0.1", "-p", str(port), "-m", "tests.waking.project", "-d", str(ROOT)]
        self.code_server = self._program("code-server", "dagster", "api", "grpc", *serve)
        workspace = self.folder / "workspace.yaml"
        at = f"{{host: 127.0.0.1, port: {port}, location_name: waking}}"
        workspace.write_text(f"load_from: [{{grpc_server: {at}}}]\n")
        self.daemon = self._program("daemon", "dagster._daemon", "run", "-w", str(workspace))
        self.listener = self._program("listener", "offpeak.cli", "sources", "listen")
        self._code_at = f"127.0.0.1:{port}"

    def _program(self, name: str, *arguments: str) -> Program:
        return Program(name, arguments, folder=self.folder, environment=self._environment)

    def offpeak(self, *arguments: str) -> None:
        """A command, as a person types it."""
        self._run("offpeak.cli", *arguments)

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=STARTS_WITHIN_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Buy everything once, and start what wakes."""
        self._run("dagster", "asset", "materialize", "-m", "tests.waking.project", "--select", "labels,counts")
        self.code_server.start()
        until(lambda: accepts_connections(self._code_at), seconds=STARTS_WITHIN_S, what="the code server")
        began = time.time()
        self.daemon.start()
        if self.listens:
            self.listener.start()
            until(lambda: "tickets" in self.listener.log(), seconds=STARTS_WITHIN_S, what="the listener")
        until(lambda: self.ticks("data_changes", since=began) >= 2, seconds=STARTS_WITHIN_S, what="the daemon")

    def stop(self) -> None:
        for program in (self.listener, self.daemon, self.code_server):
            program.stop()
        self.source.close()
        self.instance.dispose()

    def ticks(self, sensor: str, *, since: float) -> int:
        """How often a sensor was evaluated since a time."""
        return sum(
            len(self.instance.get_ticks(state.instigator_origin_id, state.selector_id, after=since))
            for state in self.instance.all_instigator_state()
            if state.instigator_name == sensor
        )

    def runs(self) -> list[dg.RunRecord]:
        """All runs, the newest first."""
        return list(self.instance.get_run_records())

    def plans(self) -> int:
        """How many plans were made, the first purchase included."""
        with sqlite3.connect(self.folder / "offpeak.db") as connection:
            return int(connection.execute("SELECT count(*) FROM job").fetchone()[0])

    def settled(self) -> bool:
        """No run is on its way."""
        return not any(record.dagster_run.status in UNFINISHED for record in self.runs())

    def settle(self) -> None:
        """Until the last change has landed."""
        until(self.settled, seconds=STARTS_WITHIN_S, what="the end of the runs")

    def commit(self, statement: str) -> float:
        """Change the table; the time at which the commit was over, in seconds since the epoch."""
        self.source.execute(statement)
        return time.time()

    def woken_after(self, committed: float, *, known: int, within: float = 60) -> float:
        """Seconds from a commit to the creation of the first run beyond the `known` ones."""
        until(lambda: len(self.runs()) > known, seconds=within, what="a run")
        first = list(reversed(self.runs()))[known]
        return first.create_timestamp.timestamp() - committed


@contextmanager
def waking(folder: Path, provider: LocalProvider, *, listens: bool = True) -> Iterator[Waking]:
    """A deployment that is started, and stopped in the end."""
    settings = ("shared_buffers=16MB", "max_wal_size=256MB", "log_statement=all")
    server = EmbeddedPostgres(folder / "postgres", free_port(), durable=False, settings=settings)
    server.start()
    try:
        found = Waking(folder, provider, server, listens)
        try:
            found.start()
            yield found
        finally:
            found.stop()
    finally:
        server.stop()
