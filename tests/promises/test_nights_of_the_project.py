"""The project as a user runs it, night after night, judged by what the provider says was bought from it."""

import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ..conftest import ROOT, LocalProvider, until
from .conftest import DIED, Forked, Program

TICKETS, CHUNKS = 300, 439


@dataclass
class Project:
    """A copy of the project in a folder of its own, with its own ledger and its own sample data."""

    folder: Path
    nights: Program
    provider: LocalProvider
    url: str

    def start(self, *assets: str) -> Forked:
        return self.nights.fork(folder=str(self.folder), provider_url=self.url, assets=assets)

    def night(self, *assets: str) -> dict[str, Any]:
        return self.start(*(assets or ("ticket_labels", "document_embeddings"))).receipt()

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    def sample_data(self, *arguments: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OFFPEAK_", "DAGSTER_"))}
        command = [sys.executable, "-m", "resources.sample_data", *arguments]
        environment = kept | {"PYTHONPATH": str(self.folder)}
        subprocess.run(command, cwd=self.folder, env=environment, check=True, stdout=subprocess.DEVNULL)

    def bought(self) -> tuple[int, int]:
        """Labels and vectors that the provider has ever delivered."""
        return self.provider.tally("anthropic")["answers_delivered"], self.provider.tally("openai")["answers_delivered"]

    def batches(self) -> int:
        return len(self.provider.batches())


@pytest.fixture
def project(tmp_path: Path, nights: Program, local_provider: LocalProvider) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("ai_assets", "resources", "schedules", "sample_data"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("definitions.py", "pyproject.toml", "price_sheet.toml", "launches.yaml"):
        shutil.copy(ROOT / name, folder / name)
    copy = Project(folder, nights, local_provider, local_provider.url)
    copy.sample_data("load")
    return copy


@pytest.mark.slow
def test_each_night_buys_what_changed_and_nothing_else(project: Project) -> None:
    first = project.night()
    assert first["success"], first["reason"]
    assert project.bought() == (TICKETS, CHUNKS)
    assert first["figures"]["ticket_labels"]["bought"] == TICKETS

    again = project.night()
    assert again["success"], again["reason"]
    assert project.bought() == (TICKETS, CHUNKS), "a second night without a change buys nothing"
    assert again["figures"]["ticket_labels"]["reused"] == TICKETS

    project.sample_data("edit", "ticket", "T-0042", "I was charged twice for the same month, please give one back.")
    edited = project.night()
    assert edited["success"], edited["reason"]
    assert project.bought() == (TICKETS + 1, CHUNKS), "one edited ticket is one label"

    taxonomy = "- other: feature requests"
    project.edit("ai_assets/classification.py", taxonomy, "- other: whatever is left, feature requests")
    held = project.night()
    assert not held["success"]
    assert "300 of 300 unchanged keys (100%)" in held["reason"]
    assert "system" in held["reason"]
    assert "costs about $0.0" in held["reason"]
    assert project.bought() == (TICKETS + 1, CHUNKS), "a taxonomy that changed unannounced buys nothing"

    project.edit("ai_assets/classification.py", 'code_version="1"', 'code_version="2"')
    meant = project.night()
    assert meant["success"], meant["reason"]
    assert project.bought() == (2 * TICKETS + 1, CHUNKS), "a raised code_version buys all labels and no vector"

    project.url = project.url.replace("127.0.0.1", "localhost")
    elsewhere = project.night()
    assert elsewhere["success"], elsewhere["reason"]
    assert project.bought() == (3 * TICKETS + 1, 2 * CHUNKS), "another base URL is another realm: all is bought anew"


@pytest.mark.slow
def test_a_run_killed_after_its_submission_costs_nothing_twice(project: Project) -> None:
    project.provider.fault("never_end")
    run = project.start("ticket_labels")
    try:
        until(project.batches, seconds=120, what="the batch")
        until(lambda: _recorded(project), seconds=30, what="the batch id in the ledger")
    finally:
        run.kill()
    assert run.wait() == DIED
    (batch,) = project.provider.batches()
    project.provider.heal(batch["id"])
    after = project.night("ticket_labels")
    assert after["success"], after["reason"]
    assert project.provider.tally("anthropic")["batches_created"] == 1
    assert project.bought()[0] == TICKETS
    assert after["figures"]["ticket_labels"]["joined"] == TICKETS


def _recorded(project: Project) -> bool:
    with sqlite3.connect(project.folder / ".offpeak" / "offpeak.db") as connection:
        return bool(connection.execute("SELECT count(*) FROM submission WHERE batch_id IS NOT NULL").fetchone()[0])
