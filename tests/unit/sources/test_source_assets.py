"""`support_tickets` and `documents` as Dagster sees them."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from ai_assets.sources import documents, support_tickets
from offpeak.sources.watching import watch
from resources.sources import SourceTables


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    (tmp_path / "support_tickets.csv").write_text("ticket_id,body\nT-1,one\nT-2,two\n", "utf-8")
    (tmp_path / "documents.csv").write_text("document_id,body\nD-1,text\n", "utf-8")
    return tmp_path


@pytest.fixture
def resources(tables: Path) -> dict[str, Any]:
    return {"source_tables": SourceTables(url=f"folder:{tables}")}


def run(asset: dg.AssetsDefinition, resources: dict[str, Any]) -> Any:
    done = dg.materialize([asset, support_tickets, documents], resources=resources)
    return done.output_for_node(asset.key.to_python_identifier())


def test_a_parameter_annotated_as_a_frame_gets_a_frame(resources: dict[str, Any]) -> None:
    @dg.asset
    def bodies(support_tickets: pd.DataFrame) -> list[str]:
        return list(support_tickets.body)

    assert run(bodies, resources) == ["one", "two"]


def test_a_parameter_without_annotation_gets_a_frame(resources: dict[str, Any]) -> None:
    @dg.asset
    def bodies(support_tickets):  # type: ignore[no-untyped-def]
        return list(support_tickets.body)

    assert run(bodies, resources) == ["one", "two"]


def test_a_parameter_annotated_as_an_iterator_gets_a_row_stream(resources: dict[str, Any]) -> None:
    @dg.asset
    def bodies(support_tickets: Iterator) -> list[str]:  # type: ignore[type-arg]  # Dagster takes no parameters here
        return [ticket.body for ticket in support_tickets]

    assert run(bodies, resources) == ["one", "two"]


def test_an_op_loads_the_rows_while_it_runs(resources: dict[str, Any]) -> None:
    @dg.asset(deps=["support_tickets"])
    def counts(context: dg.AssetExecutionContext) -> list[int]:
        key = dg.AssetKey("support_tickets")
        frame = context.load_asset_value(key, python_type=pd.DataFrame)
        stream = context.load_asset_value(key, python_type=Iterator)
        return [len(frame), sum(1 for _ in stream)]

    assert run(counts, resources) == [2, 2]


@pytest.mark.parametrize("annotation", [Iterator[Any], Iterator[tuple[Any, ...]], Iterable[Any], Iterator, Iterable])
def test_every_spelling_of_a_row_stream_is_understood(resources: dict[str, Any], annotation: Any) -> None:
    rows = _load(resources["source_tables"], annotation)

    assert [row.ticket_id for row in rows] == ["T-1", "T-2"]


def test_an_annotation_that_is_neither_is_refused(resources: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="support_tickets cannot be loaded as"):
        _load(resources["source_tables"], dict[str, str])


def test_materialising_a_consumer_alone_reads_the_rows_as_they_are_now(tables: Path, resources: dict[str, Any]) -> None:
    @dg.asset
    def count(support_tickets: pd.DataFrame) -> int:
        return len(support_tickets)

    assert run(count, resources) == 2
    with (tables / "support_tickets.csv").open("a", encoding="utf-8") as file:
        file.write("T-3,three\n")

    assert run(count, resources) == 3


def test_writing_to_the_applications_tables_is_refused(resources: dict[str, Any]) -> None:
    @dg.asset(io_manager_key="source_tables")
    def overwritten() -> int:
        return 1

    with pytest.raises(Exception, match="only read from here"):
        run(overwritten, resources)


def test_observing_records_a_version_that_changes_with_the_rows(tables: Path, resources: dict[str, Any]) -> None:
    job = dg.define_asset_job("observe", selection=dg.AssetSelection.all(include_sources=True))
    definitions = dg.Definitions(assets=[support_tickets, documents], resources=resources, jobs=[job])
    versions = []
    with dg.DagsterInstance.ephemeral() as instance:
        for addition in ("", "", "T-3,three\n"):
            with (tables / "support_tickets.csv").open("a", encoding="utf-8") as file:
                if addition:
                    file.write(addition)
            assert definitions.resolve_job_def("observe").execute_in_process(instance=instance).success
            event = instance.fetch_observations(dg.AssetKey("support_tickets"), limit=1).records[0]
            observation = event.asset_observation
            assert observation is not None
            versions.append(observation.data_version)

    assert versions[0] == versions[1] != versions[2]


def test_observing_a_watched_table_asks_its_log_alone(tmp_path: Path) -> None:
    tables = SourceTables(url=f"sqlite:///{tmp_path / 'app.db'}")
    engine = sa.create_engine(tables.url or "", poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE support_tickets (ticket_id TEXT PRIMARY KEY)")
        watch(connection, "support_tickets")
    job = dg.define_asset_job("observe", selection=dg.AssetSelection.all(include_sources=True))
    made = dg.Definitions(assets=[support_tickets], resources={"source_tables": tables}, jobs=[job])
    versions, asked = [], []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    with dg.DagsterInstance.ephemeral() as instance:
        for ticket in (None, None, "T-1"):
            if ticket:
                with engine.begin() as connection:
                    connection.exec_driver_sql("INSERT INTO support_tickets VALUES (?)", (ticket,))
            sa.event.listen(sa.Engine, "before_cursor_execute", note)
            assert made.resolve_job_def("observe").execute_in_process(instance=instance).success
            sa.event.remove(sa.Engine, "before_cursor_execute", note)
            event = instance.fetch_observations(support_tickets.key, limit=1).records[0]
            assert event.asset_observation is not None
            versions.append(event.asset_observation.data_version)

    assert versions[0] == versions[1] != versions[2]
    assert asked
    assert not [each for each in asked if "FROM support_tickets" in each]


def test_the_definitions_load_and_say_what_the_tables_are(resources: dict[str, Any]) -> None:
    definitions = dg.Definitions(assets=[support_tickets, documents], resources=resources)
    dg.Definitions.validate_loadable(definitions)

    for spec in definitions.resolve_all_asset_specs():
        assert spec.description
        assert spec.kinds == {"table"}
        assert spec.owners
        assert spec.group_name == "sources"


def test_materialising_everything_does_not_run_the_sources(resources: dict[str, Any]) -> None:
    @dg.asset
    def count(support_tickets: pd.DataFrame) -> int:
        return len(support_tickets)

    job = dg.define_asset_job("everything")
    definitions = dg.Definitions(assets=[count, support_tickets, documents], resources=resources, jobs=[job])

    selected = definitions.resolve_job_def("everything").asset_layer.executable_asset_keys

    assert selected == {dg.AssetKey("count")}


def _load(source: SourceTables, annotation: Any) -> Any:
    typed = dg.DagsterType(type_check_fn=lambda _, __: True, name="asked", typing_type=annotation)
    return source.load_input(dg.build_input_context(asset_key=dg.AssetKey("support_tickets"), dagster_type=typed))
