"""An asset that reads changed rows, in Dagster: when it reads what changed, and when every row."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa

from offpeak import ChangedRows, Chat, SourceTables, batch_asset
from offpeak.assets import changes
from offpeak.errors import DefinitionError, PlanError
from offpeak.ledger import tables
from offpeak.sources.watching import execute, removal, watch

from ..conftest import MODELS
from .conftest import Project
from .parked_assets import DAILY

TICKETS = dg.AssetSpec("tickets").with_io_manager_key("source_tables")


@dg.asset(code_version="1")
def glossary() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(data_version=dg.DataVersion(WORDS[-1]))


WORDS = ["first"]


def labels(code_version: str = "1") -> Any:
    @batch_asset(model=MODELS["openai"], deps=["glossary"], code_version=code_version, **DAILY)
    def labels(tickets: ChangedRows) -> Iterator[Chat]:
        for ticket in tickets:
            yield Chat(key=str(ticket.id), prompt=f"What is this about: {ticket.body}?")

    return labels


@dataclass
class Scene:
    """Thirty tickets that were bought, and the table they are in."""

    made: Any
    """Makes a project of assets."""
    engine: sa.Engine
    source: SourceTables
    project: Project

    def run(self, *assets: str, **tags: str) -> str:
        """Materialise; what the plan said of its rows."""
        result = self.project.run(*(assets or ("labels",)), **tags)  # type: ignore[arg-type]
        said = [entry.user_message for entry in self.project.instance.all_logs(result.run_id)]
        return next(text for text in said if "to buy" in text)

    def change(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)


@pytest.fixture
def scene(project: Any, tmp_path: Path) -> Scene:
    url = f"sqlite:///{tmp_path / 'source.db'}"
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE tickets (id INTEGER PRIMARY KEY, body TEXT)")
        for number in range(1, 31):
            connection.exec_driver_sql("INSERT INTO tickets VALUES (?, ?)", (number, f"invoice {number}"))
        watch(connection, "tickets")
    WORDS[:] = ["first"]
    source = SourceTables(url=url)

    def made(*assets: Any) -> Project:
        found: Project = project(TICKETS, *assets, resources={"source_tables": source})
        return found

    scene = Scene(made, engine, source, made(glossary, labels()))
    assert "30 rows: 30 to buy" in scene.run("glossary", "labels")
    scene.change("UPDATE tickets SET body = 'the app crashes' WHERE id = 7", "DELETE FROM tickets WHERE id = 9")
    return scene


def test_only_what_changed_is_read(scene: Scene) -> None:
    said = scene.run()
    assert "1 changed rows: 1 to buy" in said
    assert "1 removed" in said
    assert "0 changed rows: 0 to buy" in scene.run()


def test_the_tag_has_every_row_read(scene: Scene) -> None:
    assert "29 rows: 1 to buy" in scene.run(offpeak__read="all")
    with pytest.raises(PlanError, match="offpeak/read='everything' is not known"):
        scene.run(offpeak__read="everything")


def test_another_code_version_has_every_row_read(scene: Scene) -> None:
    scene.project = scene.made(glossary, labels("2"))
    assert "29 rows: 1 to buy" in scene.run()
    assert "0 changed rows" in scene.run()


def test_another_input_that_changed_has_every_row_read(scene: Scene) -> None:
    WORDS.append("second")
    assert "29 rows: 1 to buy" in scene.run("glossary", "labels")
    assert "0 changed rows" in scene.run("glossary", "labels"), "it is as it was"


def test_after_a_week_every_row_is_read(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = scene.project.defs.resources["offpeak_results"].ledger  # type: ignore[index]
    half_a_week = changes.COMPLETE_EVERY / 2 // timedelta(microseconds=1)
    for changed in (1, 0):
        assert f"{changed} changed rows" in scene.run()
        with ledger.database.write() as connection:
            earlier = tables.reading.c.complete_at - half_a_week
            connection.execute(tables.reading.update().values(complete_at=earlier))
    assert "29 rows: 0 to buy" in scene.run()
    assert "0 changed rows" in scene.run(), "and then the week begins anew"


def test_a_table_that_is_not_watched_any_more_is_read_whole(scene: Scene) -> None:
    with scene.engine.begin() as connection:
        execute(connection, removal(connection, "tickets"))
    assert "29 rows: 1 to buy" in scene.run()
    assert "29 rows: 0 to buy" in scene.run()


def test_an_input_that_is_no_source_of_changes_is_refused(project: Any) -> None:
    @dg.asset
    def tickets() -> pd.DataFrame:
        return pd.DataFrame({"id": [1], "body": ["invoice"]})

    made = project(tickets, glossary, labels())
    made.run("tickets", "glossary")
    with pytest.raises(PlanError, match="loaded as DataFrame, not as changed rows"):
        made.run("labels")


def test_two_inputs_of_changed_rows_are_refused() -> None:
    with pytest.raises(DefinitionError, match="tickets and notes are all annotated ChangedRows"):

        @batch_asset(model=MODELS["openai"], **DAILY)
        def both(tickets: ChangedRows, notes: ChangedRows) -> Iterator[Chat]:
            yield from ()


def test_a_frame_serves_in_a_plan_by_hand() -> None:
    frame = pd.DataFrame({"id": [1, 2], "body": ["invoice", "crash"]})
    assert [request.key for request in labels().plan(frame)] == ["1", "2"]
    assert [request.key for request in labels().plan(frame.itertuples())] == ["1", "2"]
