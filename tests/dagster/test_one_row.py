"""One row of one table is inserted, changed and deleted: what lies below it wakes, and exactly that is bought."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

import ai_assets
from offpeak import OffpeakResults, SourceTables
from resources import sample_data

from ..conftest import LocalProvider, Place
from .automation import Daemon
from .conftest import OfflineProvider, Project

TEXT = "The kiln in the second room does not reach its temperature any more, says the evening class."
OTHER = "The wheel in the third room squeaks so loudly that the morning class moves out."

STORY = f"{TEXT} It is twenty years old. The potters blame the thermostat. A new one costs 900 euros. Call the dealer."


@dataclass(frozen=True)
class Row:
    """A row to insert, what to change in it, and how many requests each buys. A deletion buys nothing."""

    table: sa.Table
    values: dict[str, str]
    change: dict[str, str]
    below: set[str]
    inserted: int
    changed: int


LANGUAGES = 4
ROWS = [
    Row(
        sample_data.TICKETS,
        {"ticket_id": "T-9999", "subject": "Kiln", "body": TEXT},
        {"body": OTHER},
        {"ticket_labels", "support_dashboard", "label_quality"},
        inserted=1,
        changed=1,
    ),
    Row(
        sample_data.DOCUMENTS,
        {"document_id": "D-999", "title": "Kilns", "body": TEXT},
        {"body": OTHER},
        {
            "document_chunks",
            "document_embeddings",
            "embedding_neighbours",
            "document_section_summaries",
            "document_summaries",
            "document_translations",
        },
        inserted=1 + 1 + LANGUAGES,  # a vector, a summary, and every language
        changed=1 + 1 + LANGUAGES,
    ),
    Row(
        sample_data.SUBMISSIONS,
        {"submission_id": "S-999", "author": "C-1", "text": TEXT, "submitted_at": "2026-11-20T08:00:00Z"},
        {"text": OTHER},
        {"moderation_flags", "moderation_queue"},
        inserted=1,
        changed=1,
    ),
    Row(
        sample_data.NOTES,
        {"note_id": "N-999", "text": TEXT},
        {"text": OTHER},
        {"record_fields"},
        inserted=1,
        changed=1,
    ),
    Row(
        sample_data.PICTURES,
        {"picture_id": "P-99", "file": "pictures/kiln_curve.png", "caption": TEXT},
        {"caption": OTHER},
        {"image_alt_text"},
        inserted=1,
        changed=1,
    ),
    Row(
        sample_data.LOG_LINES,
        {"line_id": "L-9999", "logged_at": "2026-11-20T08:00:00Z", "host": "kiosk-1", "text": "kiln: too cold"},
        {"text": "[kiosk] heartbeat ok"},  # as other lines say
        {"log_events"},
        inserted=1,
        changed=0,
    ),
    Row(
        sample_data.EVAL_CASES,
        {"case_id": "E-999", "sampled_from": "suite", "question": "Why?", "context": STORY, "reference": "It is old."},
        {"context": f"{OTHER} {STORY}"},
        {
            "eval_outputs",
            "candidate_outputs",
            "eval_grades",
            "eval_comparisons",
            "eval_calibration",
            "prompt_regression",
        },
        inserted=2 + 2 + 2,  # both answers, a grade of each, and both orders of comparing them
        changed=2 + 2 + 2,
    ),
    Row(
        sample_data.FOLLOW_UP_REQUESTS,
        {"request_id": "F-9999", "user_id": "U-1", "question": TEXT, "answered_in_real_time": "Call us."},
        {"question": OTHER},
        {"follow_up_results"},
        inserted=1,
        changed=1,
    ),
    Row(
        sample_data.PACKAGES,
        {"package": "kiln-watch", "section": "science", "description": TEXT},
        {"description": OTHER},
        {"package_labels", "package_label_quality"},
        inserted=1,
        changed=1,
    ),
]


@dataclass
class Scene:
    """The project on a database of its own, with all that wakes bought once."""

    project: Project
    engine: sa.Engine
    provider: LocalProvider
    daemon: Daemon

    def observe(self) -> None:
        """Look at every table, as the sensor does."""
        tables = self.project.defs.resources["source_tables"]  # type: ignore[index]
        for table in sample_data.METADATA.tables:
            version = tables.data_version(dg.AssetKey(table))
            observed = dg.AssetObservation(table, tags={"dagster/data_version": version})
            self.project.instance.report_runless_asset_event(observed)

    def bought(self) -> int:
        return sum(int(self.provider.tally(name)["answers_delivered"]) for name in ("openai", "anthropic"))

    def wake(self) -> tuple[set[str], int]:
        """What wakes now, and how many answers its runs buy."""
        self.observe()
        asked, before = self.daemon.tick(), self.bought()
        self.run(asked)
        assert self.daemon.tick() == set(), "and then it is done"
        return asked, self.bought() - before

    def run(self, assets: set[str]) -> None:
        plain = assets - {"document_translations"}
        for chosen, arguments in ((plain, {}), (assets - plain, {"partitions": ("de", "ja")})):
            if chosen:
                assert self.project.run(*sorted(chosen), **arguments).success  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, _provider_process: str) -> Iterator["Scene"]:
    folder: Path = tmp_path_factory.mktemp("one-row")
    sample_data.create(folder / "source.db")
    url = f"sqlite:///{folder / 'source.db'}"
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    provider = LocalProvider(_provider_process)
    provider.call("POST", "/local/reset")
    place = Place(f"sqlite:///{folder / 'ledger.db'}", folder / "spool")
    with dg.DagsterInstance.ephemeral() as instance:
        resources = {
            "batch_api": OfflineProvider(_provider_process).api(),
            "offpeak_results": OffpeakResults(database_url=place.url, spool_dir=str(place.spool)),
            "source_tables": SourceTables(url=url),
        }
        project = Project(
            dg.Definitions(assets=dg.load_assets_from_package_module(ai_assets), resources=resources), instance
        )
        scene = Scene(project, engine, provider, Daemon(project.defs, instance))
        scene.run(set().union(*(row.below for row in ROWS)))
        scene.observe()
        scene.daemon.tick()
        yield scene


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.table.name)
def test_one_row_wakes_what_lies_below_it_and_buys_what_changed(scene: Scene, row: Row) -> None:
    (key,) = row.table.primary_key
    its_own = key == row.values[key.name]
    assert scene.wake() == (set(), 0), "without a change nothing wakes"
    steps: list[tuple[Callable[[], Any], int]] = [
        (lambda: row.table.insert().values(row.values), row.inserted),
        (lambda: row.table.update().where(its_own).values(row.change), row.changed),
        (lambda: row.table.delete().where(its_own), 0),
    ]
    for statement, costs in steps:
        with scene.engine.begin() as connection:
            connection.execute(statement())
        assert scene.wake() == (row.below, costs)
