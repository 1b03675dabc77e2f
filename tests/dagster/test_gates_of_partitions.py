"""A gate looks at the partitions that are read, through the partition mapping, and at no others."""

from datetime import timedelta
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from offpeak import tolerates
from offpeak.errors import StaleInput

from .conftest import age
from .labels import DAYS, OLDER, STALENESS, labels_of

labels = labels_of(partitions_def=DAYS)


@dg.asset(ins={"labels": tolerates(STALENESS)}, partitions_def=DAYS)
def same_day(labels: pd.DataFrame) -> int:
    return len(labels)


@dg.asset(ins={"labels": tolerates(STALENESS)})
def whole_week(labels: pd.DataFrame) -> int:
    return len(labels)


@dg.asset(ins={"labels": tolerates(STALENESS, partition_mapping=dg.SpecificPartitionsPartitionMapping(["mon", "tue"]))})
def two_days(labels: pd.DataFrame) -> int:
    return len(labels)


@dg.asset(
    deps=[tolerates("labels", STALENESS, partition_mapping=dg.SpecificPartitionsPartitionMapping(["mon", "tue"]))]
)
def two_days_by_hand() -> None: ...


@dg.asset(ins={"labels": tolerates(STALENESS, min_coverage=0.5, rows="drop_stale")})
def fresh_rows(labels: pd.DataFrame) -> list[str]:
    return sorted(set(labels["partition_key"]))


@dg.asset(ins={"labels": tolerates(STALENESS, on_stale="warn")})
def warned(labels: pd.DataFrame) -> int:
    return len(labels)


def test_a_day_reads_its_own_partition_whatever_the_others_are(project: Any, resources: dict[str, Any]) -> None:
    made = project(labels, same_day)
    made.run("labels", partitions=("mon", "tue"))
    age(resources, "labels", OLDER, partition="mon")
    assert made.run("same_day", partition="tue").success
    with pytest.raises(StaleInput, match="^same_day tolerates"):  # noqa: RUF043
        made.run("same_day", partition="mon")
    with pytest.raises(StaleInput, match="never landed for partition wed"):
        made.run("same_day", partition="wed")


def test_several_partitions_are_as_old_as_the_oldest_and_none_may_be_missing(
    project: Any, resources: dict[str, Any]
) -> None:
    made = project(labels, whole_week, two_days, two_days_by_hand)
    made.run("labels", partitions=("mon", "tue"))
    with pytest.raises(StaleInput, match="never landed for partition wed"):
        made.run("whole_week")
    assert made.run("two_days", "two_days_by_hand").output_for_node("two_days") == 4
    made.run("labels", partition="wed")
    assert made.run("whole_week").output_for_node("whole_week") == 6
    age(resources, "labels", OLDER, partition="wed")
    with pytest.raises(StaleInput, match="^whole_week tolerates"):  # noqa: RUF043
        made.run("whole_week")
    assert made.run("two_days", "two_days_by_hand").success
    age(resources, "labels", OLDER, partition="tue")
    for name in ("two_days", "two_days_by_hand"):
        with pytest.raises(StaleInput, match=f"^{name} tolerates"):
            made.run(name)


def test_stale_partitions_are_left_out_as_long_as_enough_is_left(project: Any, resources: dict[str, Any]) -> None:
    made = project(labels, fresh_rows)
    made.run("labels", partitions=("mon", "wed"))
    assert made.run("fresh_rows").output_for_node("fresh_rows") == ["mon", "tue", "wed"]
    age(resources, "labels", OLDER, partition="mon")
    assert made.run("fresh_rows").output_for_node("fresh_rows") == ["tue", "wed"]
    age(resources, "labels", OLDER, partition="wed")
    with pytest.raises(StaleInput, match=r"2 of 6 \(33\.33%\) are at most 1 d 14 h old; the oldest is 1 d 15 h old"):
        made.run("fresh_rows")


def test_a_warning_about_several_partitions_is_in_the_runs_log(
    project: Any, resources: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    made = project(labels, warned)
    made.run("labels", partitions=("mon", "wed"))
    age(resources, "labels", timedelta(hours=50), partition="tue")
    assert made.run("warned").output_for_node("warned") == 6
    printed = capfd.readouterr().err
    assert "warned tolerates rows of labels up to 1 d 14 h old" in printed
    assert "Rows were read all the same" in printed
