"""Two nights of the whole project: on the second, every asset's estimate is near its bill.

The second night has rows that the first one had not, of every family. The provider answers as it does for a person who
tries the project out.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ..conftest import ROOT, LocalProvider
from ..promises.conftest import Program, running

pytestmark = pytest.mark.slow

NEAR_PERCENT = 20
MOST_ROWS = 80
"""Of a table, over both nights, so that they take less than a minute."""
UNPARTITIONED = (
    *("ticket_labels", "document_embeddings", "document_section_summaries", "document_summaries"),
    *("eval_outputs", "candidate_outputs", "eval_grades", "eval_comparisons"),
    *("moderation_flags", "record_fields", "image_alt_text", "log_events", "follow_up_results"),
)
FREE = {"moderation_flags"}
MONTH = "2025-06-01"
LANGUAGE = "de"
PRECOMPUTED = ("launch_starters", "launch_examples", "launch_catalog_summaries", "launch_embeddings")
LAUNCH = "spring_release"


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Begins nights of projects, in processes of their own."""
    with running("night", tmp_path_factory.mktemp("nights")) as program:
        yield program


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the project, with its sample data loaded."""
    copy = tmp_path / "project"
    copy.mkdir()
    for name in ("ai_assets", "resources", "schedules", "sample_data"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("definitions.py", "pyproject.toml", "price_sheet.toml", "launches.yaml"):
        shutil.copy(ROOT / name, copy / name)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OFFPEAK_", "DAGSTER_"))}
    command = [sys.executable, "-m", "resources.sample_data", "load"]
    subprocess.run(command, cwd=copy, env=kept | {"PYTHONPATH": str(copy)}, check=True, stdout=subprocess.DEVNULL)
    return copy


class Tables:
    """The application's tables, half of whose rows come in later."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".offpeak" / "source.db"
        self._later: dict[str, list[tuple[Any, ...]]] = {}

    def take_out(self, table: str, key: str, where: str = "1") -> None:
        """Leave a part of the rows, and half of that for later; rows of one `key` stay together."""
        with closing(sqlite3.connect(self._path)) as connection, connection:
            query = f"SELECT DISTINCT {key} FROM {table} WHERE {where} ORDER BY {key} DESC LIMIT {MOST_ROWS}"
            keys = [row[0] for row in connection.execute(query)]
            rows = connection.execute(f"SELECT * FROM {table} WHERE {where}").fetchall()
            place = [column[1] for column in connection.execute(f"PRAGMA table_info({table})")].index(key)
            late = set(keys[1::2])
            self._later[table] = [row for row in rows if row[place] in late]
            connection.execute(f"DELETE FROM {table}")
            self._insert(connection, table, [row for row in rows if row[place] in set(keys[0::2])])

    def bring_in(self) -> None:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            for table, rows in self._later.items():
                self._insert(connection, table, rows)

    def last_whole_week(self) -> str:
        """The Monday of the last week of which there are all events; which events those are depends on no date."""
        with closing(sqlite3.connect(self._path)) as connection:
            (newest,) = connection.execute("SELECT max(occurred_at) FROM product_events").fetchone()
        day = datetime.fromisoformat(newest) - timedelta(days=7)
        return f"{day - timedelta(days=day.weekday()):%Y-%m-%d}"

    @staticmethod
    def _insert(connection: sqlite3.Connection, table: str, rows: list[tuple[Any, ...]]) -> None:
        if not rows:
            return
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)


def test_from_the_second_night_on_every_estimate_is_within_a_fifth_of_its_bill(
    nights: Program, local_provider: LocalProvider, folder: Path
) -> None:
    local_provider.settings(answers="wordllama")
    tables = Tables(folder)
    for table, key in (
        *(("support_tickets", "ticket_id"), ("documents", "document_id"), ("eval_cases", "case_id")),
        *(("submissions", "submission_id"), ("supplier_notes", "note_id"), ("pictures", "picture_id")),
        *(("log_lines", "line_id"), ("follow_up_requests", "request_id"), ("product_events", "user_id")),
        *(("catalog_items", "item_id"), ("launch_prompts", "prompt_id")),
    ):
        tables.take_out(table, key)
    tables.take_out("archived_tickets", "ticket_id", f"created_at LIKE '{MONTH[:7]}%'")

    rounds = [
        (UNPARTITIONED, None),
        (("weekly_digests",), tables.last_whole_week()),
        (("archive_labels",), MONTH),
        (("document_translations",), LANGUAGE),
        (PRECOMPUTED, LAUNCH),
    ]

    def night() -> dict[str, dict[str, Any]]:
        figures: dict[str, dict[str, Any]] = {}
        for assets, partition in rounds:
            job = nights.fork(folder=str(folder), provider_url=local_provider.url, assets=assets, partition=partition)
            receipt = job.receipt()
            assert receipt["success"], receipt["reason"]
            figures |= receipt["figures"]
        return figures

    first = night()
    tables.bring_in()
    second = night()

    print(f"\n{'asset':28}" + 2 * f"{'bought':>8} {'estimate':>10} {'bill':>10} {'error %':>8}")
    for asset in first:
        print(f"{asset:28}" + "".join(map(as_columns, (first[asset], second[asset]))))
    assert len(second) == len(UNPARTITIONED) + len(PRECOMPUTED) + 3
    for asset, figures in second.items():
        assert figures["bought"], asset
        assert first[asset]["estimated_from"].startswith("length"), asset
        assert figures["estimated_from"].startswith("past usage"), asset
        if asset in FREE:
            assert figures["cost_usd"] == figures["estimated_cost_usd"] == 0
        else:
            assert abs(figures["estimate_error_percent"]) <= NEAR_PERCENT, asset


def as_columns(figures: dict[str, Any]) -> str:
    error = figures.get("estimate_error_percent", 0.0)
    return f"{figures['bought']:8} {figures['estimated_cost_usd']:10.6f} {figures['cost_usd']:10.6f} {error:8.1f}"
