"""What every command shares: help, version, one clean message for an error; and the reference page."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

DG_PROJECT = '[tool.dg.project]\nroot_module = "shop"\n'


def offpeak(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "offpeak.cli", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_help_lists_the_commands(tmp_path: Path) -> None:
    ended = offpeak("--help", folder=tmp_path)
    assert ended.returncode == 0
    assert "Usage: offpeak [OPTIONS] COMMAND" in ended.stdout
    assert "  up " in ended.stdout


def test_the_version_is_that_of_the_installed_package(tmp_path: Path) -> None:
    from importlib.metadata import version

    assert offpeak("--version", folder=tmp_path).stdout == f"offpeak {version('offpeak')}\n"


def test_help_does_not_wait_for_dagster_or_pandas() -> None:
    heavy = (
        "import sys; from offpeak.cli import build_app; build_app(); print({'dagster', 'pandas'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", heavy], text=True) == "set()\n"


def test_outside_a_project_one_message_says_so_without_a_traceback(tmp_path: Path) -> None:
    ended = offpeak("up", folder=tmp_path)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "No Dagster project was found" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_taken_port_is_one_line_that_says_how_to_choose_another(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(DG_PROJECT)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        ended = offpeak("up", "--port", str(port), folder=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert f"Port {port}" in ended.stderr
    assert f"offpeak up --port {port + 1}" in ended.stderr


def test_an_address_to_wait_for_that_answers_already_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(DG_PROJECT)
    with socket.socket() as server, socket.socket() as unused:
        server.bind(("127.0.0.1", 0))
        server.listen()
        unused.bind(("127.0.0.1", 0))
        free = unused.getsockname()[1]
        unused.close()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        ended = offpeak("up", "--port", str(free), "--wait-for", address, folder=tmp_path)
    assert ended.returncode == 1
    assert f"answers at {address} already" in ended.stderr


def test_makes_port_check_names_the_variable_to_change() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "scripts/check_ports.py", f"PROVIDER_PORT={port}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert f"make run PROVIDER_PORT={port + 1}" in ended.stderr


def test_the_command_reference_is_what_the_commands_say_today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from write_command_reference import TARGET, command_reference

    assert TARGET.read_text(encoding="utf-8") == command_reference(), "run `make docs`"
