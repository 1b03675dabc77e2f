"""The page on changing a contract, followed line by line in a copy of this project: it prints what the page shows.

The copy loads two families of the project, so that the page need not change with every new one.
"""

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
    "pyproject.toml",
    "price_sheet.toml",
)
DEFINITIONS = """\
import dagster as dg

from ai_assets.classification import support_dashboard, ticket_labels
from ai_assets.embeddings import document_embeddings
from ai_assets.sources import documents, support_tickets
from offpeak import with_offpeak
from resources.sources import SourceTables

assets = [ticket_labels, support_dashboard, document_embeddings]
job = dg.define_asset_job("nightly_refresh", selection=dg.AssetSelection.assets(*assets))
nightly = dg.ScheduleDefinition(name="nightly", job=job, cron_schedule="30 1 * * *", execution_timezone="UTC")
resources = {"source_tables": SourceTables()}
defs = with_offpeak(
    dg.Definitions(assets=[*assets, documents, support_tickets], schedules=[nightly], resources=resources)
)
"""


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
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    offpeak("offpeak contracts accept --all", tmp_path)
    return tmp_path


def test_the_change_of_the_page_is_caught_and_accepted_as_it_shows(copy: Path) -> None:
    printed = None
    before = shutil.copy(copy / "contracts.lock", copy / "before.lock")
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
    diff = subprocess.run(["diff", before, copy / "contracts.lock"], capture_output=True, text=True, check=False).stdout
    assert [line for line in diff.splitlines() if line[0] == ">"] == [
        '> valid_for = "61 h"',
        '> deadline = "36 h"',
        '> acknowledged.valid_for = "61 h"',
        '> acknowledged.deadline = "36 h"',
    ]
