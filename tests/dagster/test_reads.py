"""Whoever reads bought rows in Dagster is written down, whichever way it reads."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from offpeak import Chat, FreshnessContract, Waiting, Workload, batch_asset, tolerances, tolerates

from .conftest import read_partitions
from .labels import DAYS, STALENESS, labels, labels_of


def by_input() -> Any:
    @dg.asset(ins={"labels": tolerates(STALENESS)})
    def consumer(labels: pd.DataFrame) -> None: ...

    return consumer


def by_dependency() -> Any:
    @dg.asset(deps=[tolerates("labels", STALENESS)])
    def consumer() -> None: ...

    return consumer


def by_planning() -> Any:
    @batch_asset(
        model="openai/gpt-5-mini",
        workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
        lane="batch",
        contract=FreshnessContract(valid_for=timedelta(hours=60)),
        ins={"labels": tolerates(STALENESS)},
    )
    def consumer(labels: pd.DataFrame) -> Iterator[Chat]:
        """A batch asset that is made of another."""
        for row in labels.itertuples():
            yield Chat(key=str(row.key), prompt=f"Shorter: {row.text}")

    return consumer


@pytest.mark.parametrize("made", [by_input, by_dependency, by_planning])
def test_a_consumer_is_written_down(made: Callable[[], Any], project: Any, resources: dict[str, Any]) -> None:
    shop = project(labels, made())
    shop.run("labels")
    assert read_partitions(resources) == []
    shop.run("consumer")
    assert read_partitions(resources) == [""]


def test_only_the_partitions_that_are_read_are(project: Any, resources: dict[str, Any]) -> None:
    @dg.asset(ins={"labels": tolerates(STALENESS)}, partitions_def=DAYS)
    def consumer(labels: pd.DataFrame) -> None: ...

    shop = project(labels_of(partitions_def=DAYS), consumer)
    shop.run("labels", partitions=("mon", "wed"))
    shop.run("consumer", partition="tue")
    assert read_partitions(resources) == ["tue"]


@pytest.mark.parametrize("loads", [True, False])
def test_a_check_of_another_asset_is_a_consumer(loads: bool, project: Any, resources: dict[str, Any]) -> None:
    @dg.asset
    def dashboard() -> None: ...

    @dg.asset_check(asset=dashboard, additional_ins={"labels": tolerates(STALENESS, key="labels")})
    def loading(labels: pd.DataFrame) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    @dg.asset_check(asset=dashboard, additional_deps=["labels"], metadata=tolerances(labels=tolerates(STALENESS)))
    def by_itself() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    shop = project(labels, dashboard, asset_checks=[loading if loads else by_itself])
    shop.run("labels")
    assert read_partitions(resources) == []
    shop.run("dashboard")
    assert read_partitions(resources) == [""]


def test_a_check_of_the_asset_itself_is_none(project: Any, resources: dict[str, Any]) -> None:
    @dg.asset_check(asset="labels")
    def plausible(labels: pd.DataFrame) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=len(labels) == 2)

    project(labels, asset_checks=[plausible]).run("labels")
    assert read_partitions(resources) == []


def test_a_notebook_that_loads_the_asset_is_one(project: Any, resources: dict[str, Any]) -> None:
    shop = project(labels)
    shop.run("labels")
    assert read_partitions(resources) == []
    shop.defs.load_asset_value("labels", instance=shop.instance)
    assert read_partitions(resources) == [""]
