"""A check that reads another batch asset is gated; one of the batch asset itself is a part of the producer."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from offpeak import tolerances, tolerates
from offpeak.errors import DefinitionError, StaleInput

from .conftest import age
from .labels import DAYS, OLDER, STALENESS, labels, labels_of


@dg.asset
def dashboard() -> int:
    return 1


@dg.asset
def wall() -> int:
    return 1


PASSED = dg.AssetCheckResult(passed=True)


def checks(*names: str) -> dg.AssetSelection:
    keys = [dg.AssetCheckKey(dg.AssetKey(name.partition(":")[0]), name.partition(":")[2]) for name in names]
    return dg.AssetSelection.checks(*keys)


def run(made: Any, *names: str) -> Any:
    """Run these checks alone."""
    job = dg.define_asset_job("only_checks", selection=checks(*names))
    defs = dg.Definitions.merge(made.defs, dg.Definitions(jobs=[job]))
    return defs.resolve_job_def("only_checks").execute_in_process(instance=made.instance)


def test_a_loaded_input_is_gated(project: Any, resources: dict[str, Any]) -> None:
    @dg.asset_check(asset=dashboard, additional_ins={"labels": tolerates(STALENESS, key="labels")})
    def as_many(labels: pd.DataFrame) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=len(labels) == 2)

    made = project(labels, dashboard, asset_checks=[as_many])
    assert made.run("labels", "dashboard").success
    age(resources, "labels", OLDER)
    with pytest.raises(StaleInput, match="dashboard:as_many tolerates rows of labels up to"):
        run(made, "dashboard:as_many")


def test_a_dependency_is_gated_in_front_of_the_body(project: Any, resources: dict[str, Any]) -> None:
    ran: list[str] = []

    @dg.asset_check(asset=dashboard, additional_deps=["labels"], metadata=tolerances(labels=tolerates(STALENESS)))
    def as_many() -> dg.AssetCheckResult:
        ran.append("as_many")
        return PASSED

    made = project(labels, dashboard, asset_checks=[as_many])
    made.run("labels")
    assert run(made, "dashboard:as_many").success
    age(resources, "labels", OLDER)
    with pytest.raises(StaleInput, match="dashboard:as_many tolerates rows of labels up to"):
        run(made, "dashboard:as_many")
    assert ran == ["as_many"]


def test_of_several_checks_only_the_selected_ones_are_gated(project: Any, resources: dict[str, Any]) -> None:
    ran: list[str] = []

    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec("reading", asset="dashboard", additional_deps=[tolerates("labels", STALENESS)]),
            dg.AssetCheckSpec("other", asset="wall"),
        ],
        can_subset=True,
    )
    def both(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        for key in sorted(context.selected_asset_check_keys):
            ran.append(key.name)
            yield dg.AssetCheckResult(passed=True, asset_key=key.asset_key, check_name=key.name)

    made = project(labels, dashboard, wall, asset_checks=[both])
    made.run("labels")
    assert run(made, "dashboard:reading", "wall:other").success
    age(resources, "labels", OLDER)
    assert run(made, "wall:other").success
    with pytest.raises(StaleInput, match="dashboard:reading tolerates"):
        run(made, "dashboard:reading", "wall:other")
    assert ran == ["reading", "other", "other"]


def test_a_check_reads_all_partitions_of_a_batch_asset(project: Any, resources: dict[str, Any]) -> None:
    seen: list[int] = []

    @dg.asset_check(asset=dashboard, additional_ins={"labels": tolerates(STALENESS, key="labels")})
    def loading(labels: pd.DataFrame) -> dg.AssetCheckResult:
        seen.append(len(labels))
        return PASSED

    @dg.asset_check(asset=dashboard, additional_deps=["labels"], metadata=tolerances(labels=tolerates(STALENESS)))
    def by_hand() -> dg.AssetCheckResult:
        return PASSED

    made = project(labels_of(partitions_def=DAYS), dashboard, asset_checks=[loading, by_hand])
    made.run("labels", partitions=("mon", "wed"))
    assert run(made, "dashboard:loading", "dashboard:by_hand").success
    assert seen == [6]
    age(resources, "labels", OLDER, partition="tue")
    for name in ("dashboard:loading", "dashboard:by_hand"):
        with pytest.raises(StaleInput, match=f"^{name} tolerates rows of labels up to"):
            run(made, name)


def test_a_check_that_is_made_with_its_asset_is_gated_with_it(project: Any, resources: dict[str, Any]) -> None:
    spec = dg.AssetCheckSpec("as_many", asset="report", additional_deps=[tolerates("labels", STALENESS)])

    @dg.asset(check_specs=[spec])
    def report() -> Iterator[Any]:
        yield dg.Output(None)
        yield dg.AssetCheckResult(check_name="as_many", passed=True)

    made = project(labels, report)
    made.run("labels", "report")
    age(resources, "labels", OLDER)
    with pytest.raises(StaleInput, match="report:as_many tolerates"):
        made.run("report")


def test_a_check_of_the_batch_asset_itself_sees_rows_of_any_age(project: Any, resources: dict[str, Any]) -> None:
    seen: list[int] = []

    @dg.asset_check(asset="labels")
    def loading(labels: pd.DataFrame) -> dg.AssetCheckResult:
        seen.append(len(labels))
        return PASSED

    @dg.asset_check(asset="labels")
    def looking() -> dg.AssetCheckResult:
        return PASSED

    made = project(labels, asset_checks=[loading, looking])
    made.run("labels")
    age(resources, "labels", OLDER)
    assert run(made, "labels:loading", "labels:looking").success
    assert seen == [2, 2]


@pytest.mark.parametrize("how", ["additional_ins", "additional_deps"])
def test_a_check_without_a_tolerance_fails_at_load_with_the_line_to_add(how: str, project: Any) -> None:
    if how == "additional_ins":

        @dg.asset_check(asset=dashboard, additional_ins={"labels": dg.AssetIn("labels")})
        def as_many(labels: pd.DataFrame) -> dg.AssetCheckResult:
            return PASSED

    else:

        @dg.asset_check(asset=dashboard, additional_deps=[tolerates("labels", STALENESS)])
        def as_many() -> dg.AssetCheckResult:
            return PASSED

    with pytest.raises(DefinitionError) as refused:
        project(labels, dashboard, asset_checks=[as_many])
    message = str(refused.value)
    assert message.startswith("dashboard:as_many reads the batch asset labels")
    assert 'additional_ins={"labels": tolerates(timedelta(hours=...))}' in message
    assert 'additional_deps=["labels"] with metadata=tolerances({"labels": tolerates(timedelta(hours=...))})' in message
