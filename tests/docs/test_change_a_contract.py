"""The page on changing a contract, followed line by line in a copy of this project: it prints what the page shows."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from .pages import ROOT, blocks

PAGE = ROOT / "docs" / "how-to" / "change-a-contract.md"
PROJECT = (
    "ai_assets",
    "resources",
    "schedules",
    "definitions.py",
    "pyproject.toml",
    "price_sheet.toml",
    "contracts.lock",
)


def offpeak(line: str, folder: Path) -> str:
    """What a command of the page prints on a terminal of 100 columns."""
    program, *words = line.split()
    assert program == "offpeak"
    ended = subprocess.run(
        [sys.executable, "-m", "offpeak.cli", *words],
        cwd=folder,
        # rich takes it for a terminal then
        env={"PATH": os.environ["PATH"], "FORCE_COLOR": "1", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr == ""
    assert ended.returncode == (1 if "does not agree" in ended.stdout else 0)
    return "\n".join(each.rstrip() for each in click.unstyle(ended.stdout).splitlines())


def applied(diff: str, text: str) -> str:
    """The text with a diff of some consecutive lines of it."""
    lines = diff.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    assert text.count(before) == 1, "the page changes lines that the project does not have"
    return text.replace(before, "".join(line[1:] for line in lines if line[0] in " +"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in PROJECT:
        given = ROOT / name
        if given.is_dir():
            shutil.copytree(given, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(given, tmp_path / name)
    return tmp_path


def test_the_change_of_the_page_is_caught_and_accepted_as_it_shows(copy: Path) -> None:
    printed = None
    for block in blocks(PAGE, "diff", "console", "text"):
        if block.language == "diff":
            assert block.title
            changed = copy / block.title
            changed.write_text(applied(block.text, changed.read_text()))
        elif block.language == "console":
            printed = offpeak(block.text.strip(), copy)
        else:
            assert printed is not None
            assert block.text.strip() in printed
    diff = subprocess.run(
        ["diff", ROOT / "contracts.lock", copy / "contracts.lock"], capture_output=True, text=True, check=False
    ).stdout
    assert [line for line in diff.splitlines() if line[0] == ">"] == [
        '> valid_for = "49 h"',
        '> deadline = "24 h"',
        '> acknowledged.valid_for = "49 h"',
        '> acknowledged.deadline = "24 h"',
    ]
