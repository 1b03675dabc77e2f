"""Partitions: one job for a range, a plan and a frame per partition, mappings honoured."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from offpeak import Chat, FreshnessContract, PlanContext, Waiting, Workload, batch_asset, tolerates
from offpeak.errors import StaleInput

DAYS = dg.DailyPartitionsDefinition(start_date="2026-03-27")
NIGHTLY = Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=24))
CONTRACT = FreshnessContract(valid_for=timedelta(hours=37))


class DayTable(dg.IOManager):
    """One row for each day that is asked for."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None: ...

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        return pd.DataFrame({"day": list(context.asset_partition_keys)})


tickets = dg.AssetSpec("tickets", partitions_def=DAYS).with_io_manager_key("day_table")


@batch_asset(model="openai/gpt-5-mini", workload=NIGHTLY, contract=CONTRACT, partitions_def=DAYS)
def digests(context: PlanContext, tickets: pd.DataFrame) -> Iterator[Chat]:
    """A digest of each day."""
    for day in tickets["day"]:
        yield Chat(key=f"of {day}", prompt=f"Digest of {day} in {context.partition_key}")


@dg.asset(ins={"digests": tolerates(timedelta(hours=38))}, partitions_def=DAYS)
def daily_report(digests: pd.DataFrame) -> list[str]:
    return list(digests["partition_key"])


@dg.asset(
    ins={
        "digests": tolerates(
            timedelta(hours=38),
            partition_mapping=dg.SpecificPartitionsPartitionMapping(["2026-03-28", "2026-03-29"]),
        )
    }
)
def spring_report(digests: pd.DataFrame) -> list[str]:
    return list(digests["partition_key"])


@pytest.fixture
def spring(project: Any) -> Any:
    return project(tickets, digests, daily_report, spring_report, resources={"day_table": DayTable()})


def test_a_range_is_one_job_and_one_batch_with_a_materialization_per_partition(spring: Any, provider: Any) -> None:
    landed = spring.landed("digests", partitions=("2026-03-28", "2026-03-30"))
    assert sorted(landed) == [("digests", f"2026-03-{day}") for day in (28, 29, 30)]
    assert [each.metadata["rows"] for each in landed.values()] == [1, 1, 1]
    assert provider.batches() == 1


def test_figures_of_a_range_add_up_to_those_of_its_job(spring: Any) -> None:
    landed = spring.landed("digests", partitions=("2026-03-28", "2026-03-30")).values()
    assert sum(each.metadata["bought"] for each in landed) == 3
    assert len({each.metadata["offpeak_job"] for each in landed}) == 1
    assert sum(each.metadata["cost_usd"] > 0 for each in landed) == 1


def test_each_partition_is_planned_with_its_own_inputs(spring: Any) -> None:
    spring.run("digests", partitions=("2026-03-28", "2026-03-29"))
    for day in ("2026-03-28", "2026-03-29"):
        frame = spring.defs.load_asset_value("digests", partition_key=day, instance=spring.instance)
        assert list(frame["key"]) == [f"of {day}"]
        assert list(frame["partition_key"]) == [day]


def test_a_consumer_reads_the_partitions_that_its_mapping_names(spring: Any) -> None:
    spring.run("digests", partitions=("2026-03-27", "2026-03-30"))
    assert spring.run("daily_report", partition="2026-03-29").output_for_node("daily_report") == ["2026-03-29"]
    assert spring.run("spring_report").output_for_node("spring_report") == ["2026-03-28", "2026-03-29"]


def test_a_partition_that_never_landed_is_refused_by_name(spring: Any) -> None:
    spring.run("digests", partition="2026-03-28")
    with pytest.raises(
        StaleInput, match="spring_report reads digests, which has never landed for partition 2026-03-29"
    ):
        spring.run("spring_report")


def test_a_batch_asset_reads_upstream_partitions_through_its_mapping(project: Any) -> None:
    @batch_asset(
        model="openai/gpt-5-mini",
        workload=NIGHTLY,
        contract=CONTRACT,
        partitions_def=DAYS,
        ins={
            "tickets": dg.AssetIn(
                partition_mapping=dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=0),
            )
        },
    )
    def two_days(tickets: pd.DataFrame) -> Iterator[Chat]:
        for day in tickets["day"]:
            yield Chat(key=day, prompt="?")

    made = project(tickets, two_days, resources={"day_table": DayTable()})
    made.run("two_days", partition="2026-03-29")
    frame = made.defs.load_asset_value("two_days", partition_key="2026-03-29", instance=made.instance)
    assert list(frame["key"]) == ["2026-03-28", "2026-03-29"]


def test_a_range_that_did_not_change_keeps_its_data_versions(spring: Any, provider: Any) -> None:
    first = spring.landed("digests", partitions=("2026-03-28", "2026-03-29"))
    second = spring.landed("digests", partitions=("2026-03-28", "2026-03-29"))
    assert {key: each.data_version for key, each in first.items()} == {
        key: each.data_version for key, each in second.items()
    }
    assert provider.batches() == 1
