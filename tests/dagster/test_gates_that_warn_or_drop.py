"""Leniency that was asked for: read all the same and say so, or read only what is fresh."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from offpeak import Chat, FreshnessContract, Waiting, Workload, batch_asset, tolerances, tolerates
from offpeak.errors import DefinitionError, StaleInput

from .conftest import age
from .labels import OLDER, STALENESS, labels, labels_of

WORDS = "tolerates rows of labels up to 1 d 14 h old"


@dg.asset(ins={"labels": tolerates(STALENESS, on_stale="warn")})
def dashboard(labels: pd.DataFrame) -> int:
    return len(labels)


@dg.asset(deps=[tolerates("labels", STALENESS, on_stale="warn")])
def report() -> None: ...


def warnings_of(result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> list[str]:
    """What a run's log holds at the level of a warning."""
    logs = instance.all_logs(result.run_id)
    return [each.user_message for each in logs if each.level == 30]


def stale_metadata(result: dg.ExecuteInProcessResult) -> list[str]:
    """What the inputs of a run were loaded with."""
    loaded = [each for each in result.all_events if each.event_type is dg.DagsterEventType.LOADED_INPUT]
    found = [each.event_specific_data.metadata for each in loaded]  # type: ignore[union-attr]
    return [str(each["stale"].value) for each in found if "stale" in each]


@pytest.mark.parametrize("name", ["dashboard", "report"])
def test_rows_that_are_too_old_are_read_with_a_warning_in_the_log(
    name: str, project: Any, resources: dict[str, Any], instance: dg.DagsterInstance
) -> None:
    made = project(labels, dashboard, report)
    fresh = made.run("labels", name)
    assert not any(WORDS in each for each in warnings_of(fresh, instance))
    age(resources, "labels", OLDER)
    stale = made.run(name)
    (warning,) = [each for each in warnings_of(stale, instance) if WORDS in each]
    assert warning.startswith(name)
    assert "Rows were read all the same, because on_stale='warn'." in warning
    assert stale_metadata(stale) == ([warning] if name == "dashboard" else [])


def test_what_never_landed_is_refused_all_the_same(project: Any) -> None:
    made = project(labels, dashboard, report)
    for name in ("dashboard", "report"):
        with pytest.raises(StaleInput, match=f"^{name} reads labels, which has never landed. Nothing was read"):
            made.run(name)


def summaries_of(tolerance: dg.AssetIn, **upstream: Any) -> tuple[Any, Any, list[list[str]]]:
    """The labels, a batch asset that reads them, and what its plans saw."""
    seen: list[list[str]] = []

    @batch_asset(
        model="openai/gpt-5-mini",
        workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
        lane="batch",
        contract=FreshnessContract(valid_for=timedelta(hours=60)),
        ins={"labels": tolerance},
    )
    def summaries(labels: pd.DataFrame) -> Iterator[Chat]:
        seen.append(sorted(labels["key"]))
        for row in labels.itertuples():
            yield Chat(key=str(row.key), prompt=f"Summarise {row.text}.")

    return labels_of(**upstream), summaries, seen


def test_a_batch_asset_plans_with_old_rows_that_it_only_wants_to_be_warned_of_and_is_as_old(
    project: Any, resources: dict[str, Any], instance: dg.DagsterInstance
) -> None:
    upstream, summaries, seen = summaries_of(tolerates(STALENESS, on_stale="warn"))
    made = project(upstream, summaries)
    made.run("labels")
    age(resources, "labels", OLDER)
    result = made.run("summaries")
    assert seen == [["a", "b"]]
    assert any(WORDS in each for each in warnings_of(result, instance))
    summary = resources["offpeak_results"].store.summary("summaries", None)
    labelled = resources["offpeak_results"].store.summary("labels", None)
    assert summary.as_of == labelled.as_of


def test_a_batch_asset_plans_without_the_rows_that_are_too_old_and_is_as_old_as_those_it_saw(
    project: Any, resources: dict[str, Any]
) -> None:
    days = dg.StaticPartitionsDefinition(["mon", "tue"])
    upstream, summaries, seen = summaries_of(
        tolerates(STALENESS, min_coverage=0.5, rows="drop_stale"), partitions_def=days
    )

    made = project(upstream, summaries)
    made.run("labels", partitions=("mon", "tue"))
    age(resources, "labels", timedelta(hours=50), partition="tue")
    made.run("summaries")
    assert seen == [["a", "b"]]
    store = resources["offpeak_results"].store
    assert store.summary("summaries", None).as_of == store.summary("labels", ["mon"]).as_of
    age(resources, "labels", timedelta(hours=50), partition="mon")
    with pytest.raises(StaleInput, match=r"0 of 4 \(0\.00%\)"):
        made.run("summaries")


def test_rows_that_an_io_manager_of_ones_own_loads_cannot_be_left_out(project: Any) -> None:
    @dg.asset(ins={"labels": tolerates(STALENESS, rows="drop_stale")})
    def reader(labels: pd.DataFrame) -> None: ...

    elsewhere = labels_of(io_manager_key="warehouse")
    with pytest.raises(DefinitionError, match=r"loaded by the IO manager 'warehouse'.*WHERE as_of >= \.\.\."):
        project(elsewhere, reader, resources={"warehouse": dg.mem_io_manager})
    upstream, summaries, _ = summaries_of(tolerates(STALENESS, rows="drop_stale"), io_manager_key="warehouse")
    with pytest.raises(DefinitionError, match="summaries reads labels with rows='drop_stale'"):
        project(upstream, summaries, resources={"warehouse": dg.mem_io_manager})


def test_a_dependency_cannot_drop_rows_through_its_consumers_metadata_either(project: Any) -> None:
    @dg.asset(deps=["labels"], metadata=tolerances(labels=tolerates(STALENESS, rows="drop_stale")))
    def by_hand() -> None: ...

    with pytest.raises(DefinitionError, match="the rows are loaded by by_hand, not from Offpeak's store"):
        project(labels, by_hand)
