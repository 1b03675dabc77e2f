"""A graph-backed asset declares its tolerances in its own metadata, since Dagster drops those of its inputs."""

from datetime import timedelta
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from offpeak import tolerances, tolerates
from offpeak.errors import DefinitionError, StaleInput

from .conftest import age
from .labels import OLDER, STALENESS, labels, labels_of

TOLERATED = tolerances({"labels": tolerates(STALENESS)})


@dg.op
def count(rows: pd.DataFrame) -> int:
    return len(rows)


@dg.op
def double(number: int) -> int:
    return 2 * number


@dg.graph
def counted_twice(rows: pd.DataFrame) -> int:
    return double(count(rows))


@dg.graph_asset(metadata=TOLERATED)
def plain(labels: pd.DataFrame) -> int:
    return double(count(labels))


@dg.graph_asset(metadata=TOLERATED)
def nested(labels: pd.DataFrame) -> int:
    return double(counted_twice(labels))


@dg.graph_multi_asset(outs={"several": dg.AssetOut(metadata=TOLERATED), "more": dg.AssetOut(metadata=TOLERATED)})
def two(labels: pd.DataFrame) -> dict[str, Any]:
    return {"several": count(labels), "more": counted_twice(labels)}


made_of_a_graph = dg.AssetsDefinition.from_graph(
    counted_twice,
    keys_by_input_name={"rows": dg.AssetKey("labels")},
    keys_by_output_name={"result": dg.AssetKey("from_graph")},
    metadata_by_output_name={"result": TOLERATED},
)

READERS = {"plain": plain, "nested": nested, "several": two, "from_graph": made_of_a_graph}


@pytest.mark.parametrize("name", READERS)
def test_it_is_refused_rows_that_are_too_old_and_given_those_that_are_not(
    name: str, project: Any, resources: dict[str, Any]
) -> None:
    made = project(labels, READERS[name])
    names = [key.to_user_string() for key in READERS[name].keys]
    assert made.run("labels", *names).success
    age(resources, "labels", OLDER)
    with pytest.raises(StaleInput, match="tolerates rows of labels up to") as refused:
        made.run(*names)
    assert str(refused.value).startswith((name, "more"))


def test_without_a_tolerance_it_fails_at_load_with_the_line_to_add(project: Any) -> None:
    @dg.graph_asset(ins={"labels": tolerates(STALENESS)})
    def dropped(labels: pd.DataFrame) -> int:
        return count(labels)  # type: ignore[no-any-return]

    with pytest.raises(DefinitionError) as refused:
        project(labels, dropped)
    message = str(refused.value)
    assert 'metadata=tolerances({"labels": tolerates(timedelta(hours=...))})' in message
    assert "Dagster drops what ins= of a graph-backed asset declares" in message


def test_one_of_several_outputs_without_a_tolerance_fails_at_load(project: Any) -> None:
    @dg.graph_multi_asset(outs={"fine": dg.AssetOut(metadata=TOLERATED), "bare": dg.AssetOut()})
    def both(labels: pd.DataFrame) -> dict[str, Any]:
        number = count(labels)
        return {"fine": number, "bare": double(number)}

    with pytest.raises(DefinitionError, match="^bare reads the batch asset labels"):  # noqa: RUF043
        project(labels, both)


def test_a_tolerance_for_what_it_does_not_read_fails_at_load(project: Any) -> None:
    @dg.graph_asset(metadata=tolerances(lables=tolerates(STALENESS)))
    def mistyped(labels: pd.DataFrame) -> int:
        return count(labels)  # type: ignore[no-any-return]

    with pytest.raises(DefinitionError, match=r"lables, which it does not read\. Did you mean labels"):
        project(labels, mistyped)


def test_rows_that_an_io_manager_of_ones_own_would_load_into_a_graph_fail_at_load(project: Any) -> None:
    elsewhere = labels_of(io_manager_key="warehouse")
    with pytest.raises(DefinitionError, match="the IO manager 'warehouse' loads it: nobody would"):
        project(elsewhere, plain, resources={"warehouse": dg.mem_io_manager})


def test_rows_that_another_input_manager_would_load_into_a_graph_fail_at_load(project: Any) -> None:
    @dg.op(ins={"rows": dg.In(input_manager_key="elsewhere")})
    def size(rows: pd.DataFrame) -> int:
        return len(rows)

    @dg.graph
    def sized(rows: pd.DataFrame) -> int:
        return size(rows)  # type: ignore[no-any-return]

    @dg.graph_asset(metadata=TOLERATED)
    def by_another(labels: pd.DataFrame) -> int:
        return sized(labels)  # type: ignore[no-any-return]

    with pytest.raises(DefinitionError, match="the IO manager 'elsewhere' loads it: nobody would check its age"):
        project(labels, by_another, resources={"elsewhere": dg.mem_io_manager})


def test_stale_rows_are_left_out_of_a_graphs_input(project: Any, resources: dict[str, Any]) -> None:
    dropping = tolerances(labels=tolerates(STALENESS, min_coverage=0.5, rows="drop_stale"))

    @dg.graph_asset(metadata=dropping)
    def counted(labels: pd.DataFrame) -> int:
        return count(labels)  # type: ignore[no-any-return]

    made = project(labels, counted)
    assert made.run("labels", "counted").output_for_node("counted") == 2
    age(resources, "labels", OLDER)
    with pytest.raises(StaleInput, match=r"0 of 2 \(0\.00%\) are at most 1 d 14 h old"):
        made.run("counted")


def test_the_helper_serves_any_other_consumer_too(project: Any, resources: dict[str, Any]) -> None:
    @dg.asset(metadata=TOLERATED)
    def dashboard(labels: pd.DataFrame) -> None: ...

    made = project(labels, dashboard)
    made.run("labels", "dashboard")
    age(resources, "labels", OLDER)
    with pytest.raises(StaleInput, match="^dashboard tolerates"):  # noqa: RUF043
        made.run("dashboard")


def test_a_tolerance_shorter_than_the_producer_can_deliver_fails_at_load(project: Any) -> None:
    @dg.graph_asset(metadata=tolerances(labels=tolerates(timedelta(hours=2))))
    def impatient(labels: pd.DataFrame) -> int:
        return count(labels)  # type: ignore[no-any-return]

    with pytest.raises(DefinitionError, match="impatient: max_staleness=2 h for labels cannot be met"):
        project(labels, impatient)
