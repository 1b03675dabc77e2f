"""`offpeak sources listen` as a process of its own, in a project of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from typer.testing import CliRunner

from offpeak.assets.heartbeat import listened_to
from offpeak.cli import build_app
from offpeak.clock import SystemClock

from ..conftest import ROOT, free_port, until
from .changing import Application, observed

DOCUMENTS = dg.AssetKey("documents")

PYPROJECT = """
[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "reading"
code_location_target_module = "reading"
"""

DEFINITIONS = """
from offpeak import with_offpeak
from tests.dagster.changing import definitions

defs = with_offpeak(definitions("documents", "tickets"))
"""


class Command:
    """The running command and what it printed."""

    def __init__(self, folder: Path, home: Path, source_url: str, *options: str) -> None:
        self._output = folder / f"output-{time.monotonic_ns()}"
        env = {**os.environ, "DAGSTER_HOME": str(home), "OFFPEAK_SOURCE_URL": source_url, "PYTHONPATH": str(ROOT)}
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "offpeak.cli", "sources", "listen", "--quiet", "0.2", *options],
                cwd=folder,
                env=env,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def printed(self) -> str:
        return self._output.read_text()

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.printed().splitlines() if line.startswith("{")]

    def wait_for(self, what: str) -> None:
        until(lambda: what in self.printed() or self.process.poll() is not None, seconds=60, what=what)
        assert what in self.printed(), self.printed()

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(10)


@pytest.fixture
def reading(tmp_path: Path) -> Path:
    """The folder of a project that reads two tables."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "reading.py").write_text(DEFINITIONS)
    return folder


@pytest.fixture
def listening(reading: Path, dagster_home: Path) -> Iterator[Any]:
    """Start the command; it is killed after the test if it still runs."""
    started: list[Command] = []

    def start(source_url: str, *options: str) -> Command:
        started.append(Command(reading, dagster_home, source_url, *options))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.fixture
def kept(dagster_home: Path) -> Iterator[dg.DagsterInstance]:
    """The instance that the command shares."""
    with dg.DagsterInstance.from_config(str(dagster_home)) as made:
        yield made


def test_killed_and_started_again_it_tells_of_what_it_missed_and_of_nothing_twice(
    postgres: str, listening: Any, kept: dg.DagsterInstance
) -> None:
    application = Application(postgres)
    with psycopg.connect(application.address, autocommit=True) as connection:
        first = listening(application.source_url, "--json")
        first.wait_for('"listening"')
        connection.execute("INSERT INTO documents VALUES ('a', 'seen')")
        until(lambda: len(observed(kept, "documents")) == 2)
        connection.execute("INSERT INTO documents VALUES ('b', 'perhaps seen')")
        first.end(signal.SIGKILL)
        connection.execute("INSERT INTO documents VALUES ('c', 'missed')")
        assert listened_to(kept, [DOCUMENTS], now=SystemClock().now()), "it could not say that it ends"

        second = listening(application.source_url, "--json")
        second.wait_for('"listening"')
        versions = observed(kept, "documents")
        assert len(versions) in (3, 4)
        assert len(set(versions)) == len(versions)
        assert len(observed(kept, "tickets")) == 1
        connection.execute("DELETE FROM tickets")
        connection.execute("INSERT INTO tickets VALUES ('t', 'last')")
        until(lambda: len(observed(kept, "tickets")) == 2)
        assert observed(kept, "documents") == versions

    assert second.end(signal.SIGTERM) == 0
    assert listened_to(kept, [DOCUMENTS], now=SystemClock().now()) == {}, "the sensor goes on at once"
    assert {each["event"] for each in second.told()} == {"listening", "changed"}
    last = second.told()[-1]
    assert last["assets"] == ["tickets"]
    assert last["source"].startswith("postgresql+psycopg://offpeak:***@")
    assert postgres.partition("offpeak:")[2].partition("@")[0] not in first.printed() + second.printed()


def test_a_source_out_of_reach_is_said_in_one_line_without_its_password(listening: Any) -> None:
    port = free_port()
    command = listening(f"postgresql+psycopg://offpeak:hunter2@127.0.0.1:{port}/application")
    command.wait_for("It is tried again.")
    assert command.end(signal.SIGINT) == 0
    (line,) = [each for each in command.printed().splitlines() if "UTC  " in each]
    assert f"postgresql+psycopg://offpeak:***@127.0.0.1:{port}/application cannot be listened to" in line
    assert "Connection refused" in line
    assert "hunter2" not in command.printed()
    assert "Traceback" not in command.printed()


def test_a_longest_wait_that_is_shorter_than_the_quiet_one_is_refused() -> None:
    refused = CliRunner().invoke(build_app(), ["sources", "listen", "--quiet", "5", "--longest", "2"])
    assert refused.exit_code == 2
    assert "--longest (2 s) must not be less than --quiet (5 s)" in refused.output
