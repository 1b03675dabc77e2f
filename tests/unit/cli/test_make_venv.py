"""What `make run` says and does about Python and about the state of `.venv`."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "make_venv.py"


@pytest.fixture(scope="module")
def make_venv() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_venv", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project whose lock holds nothing: it can be installed without a package index."""
    shutil.copytree(SCRIPT.parent, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "requirements.lock").write_text("")
    return tmp_path


def whole_venv(make_venv: ModuleType, root: Path) -> None:
    (root / ".venv").mkdir()
    (root / ".venv" / make_venv.STAMP).write_text(json.dumps(make_venv.wanted_stamp(root)))


def test_an_old_python_is_refused_in_one_line_with_the_remedy(make_venv: ModuleType) -> None:
    line = make_venv.refusal_of_old_python((3, 10, 14), "/usr/bin/python3")
    assert "3.11 or newer" in line
    assert "/usr/bin/python3 is 3.10.14" in line
    assert "PYTHON=python3.11" in line
    assert "\n" not in line


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 14, 2), (4, 0, 0)])
def test_a_python_that_is_new_enough_is_taken(make_venv: ModuleType, version: tuple[int, int, int]) -> None:
    assert make_venv.refusal_of_old_python(version, "python3") is None


def test_an_old_python_ends_the_script_before_anything_is_made(checkout: Path, tmp_path: Path) -> None:
    pretender = tmp_path / "pretender"
    pretender.mkdir()
    (pretender / "sitecustomize.py").write_text("import sys; sys.version_info = (3, 9, 2, 'final', 0)")
    ended = subprocess.run(
        [sys.executable, "scripts/make_venv.py"],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(pretender)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "3.9.2" in ended.stderr
    assert not (checkout / ".venv").exists()


def test_a_venv_without_its_stamp_is_half_made(make_venv: ModuleType, checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    assert "half made" in make_venv.reason_to_remake(checkout)


def test_a_venv_with_a_torn_stamp_is_half_made(make_venv: ModuleType, checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / make_venv.STAMP).write_text('{"lock": "4f')
    assert "half made" in make_venv.reason_to_remake(checkout)


def test_a_whole_venv_is_left_as_it_is(make_venv: ModuleType, checkout: Path) -> None:
    whole_venv(make_venv, checkout)
    assert make_venv.reason_to_remake(checkout) is None


def test_a_venv_of_another_lock_is_made_again(make_venv: ModuleType, checkout: Path) -> None:
    whole_venv(make_venv, checkout)
    (checkout / "requirements.lock").write_text("six==1.16.0\n")
    assert "requirements.lock has changed" in make_venv.reason_to_remake(checkout)


def test_a_venv_that_was_moved_is_made_again(make_venv: ModuleType, checkout: Path, tmp_path: Path) -> None:
    whole_venv(make_venv, checkout)
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copytree(checkout / ".venv", moved / ".venv")
    shutil.copy(checkout / "requirements.lock", moved)
    assert "another folder" in make_venv.reason_to_remake(moved)


def test_a_failed_install_leaves_no_stamp_so_that_the_next_one_begins_anew(
    make_venv: ModuleType, checkout: Path
) -> None:
    (checkout / "requirements.lock").write_text("this is not a requirement\n")
    ended = subprocess.run(
        [sys.executable, "scripts/make_venv.py"], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ".venv is not usable" in ended.stderr
    assert "half made" in make_venv.reason_to_remake(checkout)


def test_packages_are_installed_only_with_their_hashes(make_venv: ModuleType, checkout: Path) -> None:
    for uv in ("/usr/bin/uv", None):
        from_lock = [command for command in make_venv.install_commands(checkout, uv) if "-r" in command]
        assert len(from_lock) == 1
        assert "--require-hashes" in from_lock[0]
