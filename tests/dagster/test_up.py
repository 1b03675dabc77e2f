"""`offpeak up --once` where not everything landed: exit code 1 with the reason, and nothing is left running."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

WITHIN_S = 300

pytestmark = pytest.mark.slow

PROJECT = '[tool.dg.project]\nroot_module = "shop"\ncode_location_target_module = "shop"\n'
DEFINITIONS = """
import os
import dagster as dg

@dg.asset
def sold():
    os.environ["DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR"]  # a redeployment cancels no backfill

@dg.asset(deps=[sold])
def forecast():
    raise ValueError("the crystal ball is cracked")

defs = dg.Definitions([sold, forecast], executor=dg.in_process_executor)
"""

FOLLOWING = """
import os, pathlib, time

storage = pathlib.Path(os.environ["DAGSTER_HOME"], "history")
pathlib.Path("followed").write_text(str(storage.is_dir()))
time.sleep(600)
"""

ARCHIVE = """
import dagster as dg

CLOSED = dg.MonthlyPartitionsDefinition(start_date="2025-03-01", end_date="2025-06-01")

@dg.asset(partitions_def=CLOSED)
def archive(context: dg.AssetExecutionContext):
    assert context.partition_keys == ["2025-05-01"]

defs = dg.Definitions([archive], executor=dg.in_process_executor)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def up(*options: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "offpeak.cli", "up", "--once", "--json", "--port", str(free_port()), *options],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


def running_with(text: str) -> Sequence[str]:
    """The command lines of living processes of this machine that mention `text`."""
    found = []
    for process in psutil.process_iter(["cmdline", "pid"]):
        line = " ".join(process.info["cmdline"] or [])
        if text in line and process.pid != os.getpid():
            found.append(line)
    return found


def test_a_run_that_fails_is_exit_code_one_with_the_reason_and_nothing_is_left_running(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "shop.py").write_text(DEFINITIONS)
    (tmp_path / "follow.py").write_text(FOLLOWING)
    then = f"{sys.executable} {tmp_path / 'follow.py'}"
    ended = up(
        *("--select", "sold,forecast", "--then", then),
        folder=tmp_path,
        env={"DAGSTER_HOME": str(tmp_path / "home")},
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    last = ended.stderr.splitlines()[-1]
    assert "the crystal ball is cracked" in last
    assert "FAILURE" in last
    assert "Traceback" not in ended.stderr
    assert running_with(str(tmp_path)) == []
    assert (tmp_path / "followed").read_text() == "True", "what follows Dagster finds its storage there"


def test_the_newest_partition_of_an_asset_whose_partitions_have_ended_is_its_last_one(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "shop.py").write_text(ARCHIVE)
    ended = up("--all", folder=tmp_path, env={"DAGSTER_HOME": str(tmp_path / "home")})
    assert ended.returncode == 0, ended.stderr
