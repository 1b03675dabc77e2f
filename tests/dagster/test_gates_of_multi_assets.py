"""A multi-asset is gated for those of its assets that a run selects."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from offpeak import tolerances, tolerates
from offpeak.assets.graph import chain_of
from offpeak.errors import DefinitionError, StaleInput

from .conftest import age
from .labels import OLDER, STALENESS, labels


def two_reports(ran: list[str], *, hours: int = 38) -> dg.AssetsDefinition:
    """`by_hand` reads the labels itself, `other` does not."""

    @dg.multi_asset(
        specs=[
            dg.AssetSpec("by_hand", deps=[tolerates("labels", timedelta(hours=hours))], skippable=True),
            dg.AssetSpec("other", skippable=True),
        ],
        can_subset=True,
    )
    def reports(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        for key in sorted(context.selected_asset_keys):
            ran.append(key.to_user_string())
            yield dg.MaterializeResult(asset_key=key)

    return reports


def test_a_spec_is_refused_what_its_dependency_does_not_tolerate(project: Any, resources: dict[str, Any]) -> None:
    ran: list[str] = []
    made = project(labels, two_reports(ran))
    made.run("labels")
    age(resources, "labels", OLDER)
    with pytest.raises(StaleInput, match="^by_hand tolerates rows of labels up to"):  # noqa: RUF043
        made.run("by_hand", "other")
    assert ran == []


def test_a_run_without_that_spec_goes_on(project: Any, resources: dict[str, Any]) -> None:
    ran: list[str] = []
    made = project(labels, two_reports(ran))
    made.run("labels", "by_hand", "other")
    age(resources, "labels", OLDER)
    made.run("other")
    assert ran == ["by_hand", "other", "other"]


def test_each_spec_is_refused_by_its_own_tolerance(project: Any, resources: dict[str, Any]) -> None:
    @dg.multi_asset(
        specs=[
            dg.AssetSpec(name, deps=[tolerates("labels", timedelta(hours=hours))], skippable=True)
            for name, hours in (("strict", 38), ("patient", 60))
        ],
        can_subset=True,
    )
    def reports(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        for key in context.selected_asset_keys:
            yield dg.MaterializeResult(asset_key=key)

    made = project(labels, reports)
    made.run("labels")
    age(resources, "labels", OLDER)
    assert made.run("patient").success
    with pytest.raises(StaleInput, match="^strict tolerates"):  # noqa: RUF043
        made.run("strict", "patient")


def test_an_input_is_gated_when_it_is_loaded(project: Any, resources: dict[str, Any]) -> None:
    ran: list[int] = []

    @dg.multi_asset(outs={"one": dg.AssetOut(), "two": dg.AssetOut()}, ins={"labels": tolerates(STALENESS)})
    def reports(labels: pd.DataFrame) -> tuple[int, int]:
        ran.append(len(labels))
        return 1, 2

    made = project(labels, reports)
    made.run("labels", "one", "two")
    assert ran == [2]
    age(resources, "labels", OLDER)
    with pytest.raises(StaleInput, match="^one tolerates rows of labels up to"):  # noqa: RUF043
        made.run("one", "two")
    assert ran == [2]


def test_an_input_that_none_of_the_selected_assets_reads_does_not_stop_them(
    project: Any, resources: dict[str, Any]
) -> None:
    @dg.multi_asset(
        outs={"reading": dg.AssetOut(is_required=False), "other": dg.AssetOut(is_required=False)},
        ins={"labels": tolerates(STALENESS)},
        internal_asset_deps={"reading": {dg.AssetKey("labels")}, "other": set()},
        can_subset=True,
    )
    def reports(context: dg.AssetExecutionContext, labels: pd.DataFrame) -> Iterator[dg.Output[int]]:
        for name in sorted(context.op_execution_context.selected_output_names):
            yield dg.Output(len(labels), name)

    made = project(labels, reports)
    made.run("labels")
    age(resources, "labels", OLDER)
    assert made.run("other").success
    with pytest.raises(StaleInput, match="^reading tolerates"):  # noqa: RUF043
        made.run("reading", "other")


def test_a_spec_without_a_tolerance_fails_at_load_with_the_line_to_add(project: Any) -> None:
    @dg.multi_asset(specs=[dg.AssetSpec("fine"), dg.AssetSpec("reading", deps=["labels"])])
    def reports() -> Iterator[dg.MaterializeResult[Any]]:
        yield dg.MaterializeResult(asset_key="fine")

    with pytest.raises(
        DefinitionError,
        match=r'reading reads the batch asset labels .* deps=\[tolerates\("labels", timedelta\(hours=\.\.\.\)\)\]',
    ):
        project(labels, reports)


def test_an_input_without_a_tolerance_fails_at_load(project: Any) -> None:
    @dg.multi_asset(outs={"one": dg.AssetOut(), "two": dg.AssetOut()})
    def reports(labels: pd.DataFrame) -> tuple[int, int]:
        return 1, 2

    with pytest.raises(DefinitionError, match=r'one reads .* ins=\{"labels": tolerates\(timedelta\(hours=\.\.\.\)\)\}'):
        project(labels, reports)


def test_two_tolerances_for_one_reading_fail_at_load(project: Any) -> None:
    @dg.asset(deps=[tolerates("labels", STALENESS)], metadata=tolerances(labels=tolerates(2 * STALENESS)))
    def one() -> None: ...

    with pytest.raises(DefinitionError, match="one declares two tolerances for labels"):
        project(labels, one)


def test_each_asset_and_check_of_a_step_has_its_own_tolerance_in_the_chain_of_ages(project: Any) -> None:
    @dg.multi_asset(
        specs=[
            dg.AssetSpec(name, deps=[tolerates("labels", timedelta(hours=hours))])
            for name, hours in (("strict", 20), ("patient", 60))
        ],
        check_specs=[dg.AssetCheckSpec("counted", asset="patient", additional_deps=[tolerates("labels", STALENESS)])],
    )
    def reports() -> Iterator[Any]:
        yield dg.MaterializeResult(asset_key="strict")

    nodes = chain_of(project(labels, reports).defs, now=datetime.now(UTC)).nodes
    found = {name: node.inputs["labels"] for name, node in nodes.items() if node.inputs}
    assert {name: each and each.max_staleness for name, each in found.items()} == {
        "strict": timedelta(hours=20),
        "patient": timedelta(hours=60),
        "patient:counted": STALENESS,
    }
