"""Which partitions have to be fresh: the newest that is due, never one that was only backfilled."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from offpeak.assets.due import Due, due
from offpeak.freshness.cadence import Cron

HOUR = timedelta(hours=1)
LAG = timedelta(hours=12, minutes=30)
DAYS = dg.DailyPartitionsDefinition(start_date="2026-10-01", timezone="Europe/Berlin")
WEEKS = dg.WeeklyPartitionsDefinition(start_date="2026-10-05", timezone="Europe/Berlin", day_offset=1)
NIGHTLY = [Cron(cron_schedule="30 1 * * *", timezone="Europe/Berlin", name="nightly")]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def found(
    partitions_def: dg.PartitionsDefinition | None,
    known: Sequence[str],
    now: datetime,
    instance: dg.DagsterInstance,
    crons: Sequence[Cron] = NIGHTLY,
) -> Due:
    return due(partitions_def, known=known, crons=crons, lag=LAG, now=now, instance=instance)


def test_without_partitions_it_is_the_asset_itself(instance: dg.DagsterInstance) -> None:
    assert found(None, [""], datetime(2026, 11, 20, tzinfo=UTC), instance) == Due(partitions=[""])


@pytest.mark.parametrize(
    ("now", "late"),
    [
        # the day before ends at midnight in Berlin, is asked at 01:30 and has landed by 14:00
        (datetime(2026, 11, 20, 12, 59, tzinfo=UTC), []),
        (datetime(2026, 11, 20, 13, 0, tzinfo=UTC), ["2026-11-19"]),
        # in summer noon comes an hour earlier by UTC
        (datetime(2026, 10, 20, 12, 0, tzinfo=UTC), ["2026-10-19"]),
        (datetime(2026, 10, 20, 11, 59, tzinfo=UTC), []),
        # the day of the clock change is an hour longer
        (datetime(2026, 10, 26, 12, 59, tzinfo=UTC), []),
        (datetime(2026, 10, 26, 13, 0, tzinfo=UTC), ["2026-10-25"]),
    ],
)
def test_the_newest_day_is_due_when_its_run_should_have_landed(
    now: datetime, late: list[str], instance: dg.DagsterInstance
) -> None:
    before = f"{now - 2 * 24 * HOUR:%Y-%m-%d}"
    assert found(DAYS, [before], now, instance) == Due(partitions=[before], late=late)


def test_a_backfilled_old_day_does_not_stand_for_the_newest(instance: dg.DagsterInstance) -> None:
    now = datetime(2026, 11, 20, 20, tzinfo=UTC)
    assert found(DAYS, ["2026-10-05", "2026-11-19"], now, instance) == Due(partitions=["2026-11-19"])
    assert found(DAYS, ["2026-10-05"], now, instance) == Due(partitions=["2026-10-05"], late=["2026-11-19"])


def test_a_day_that_was_planned_before_it_was_due_counts_once_it_has_landed(instance: dg.DagsterInstance) -> None:
    now = datetime(2026, 11, 20, 6, tzinfo=UTC)
    assert found(DAYS, ["2026-11-18", "2026-11-19"], now, instance) == Due(
        partitions=["2026-11-18"], newer=[["2026-11-19"]]
    )
    # nor does one that is on its way hide that the one before has not landed
    assert found(DAYS, ["2026-11-17", "2026-11-19"], now, instance) == Due(
        partitions=["2026-11-17"], late=["2026-11-18"], newer=[["2026-11-19"]]
    )


def test_weeks_are_due_after_their_end(instance: dg.DagsterInstance) -> None:
    monday = [Cron(cron_schedule="0 2 * * 1", timezone="Europe/Berlin", name="weekly")]
    before, after = datetime(2026, 11, 16, 13, 29, tzinfo=UTC), datetime(2026, 11, 16, 13, 30, tzinfo=UTC)
    assert found(WEEKS, ["2026-11-02"], before, instance, monday) == Due(partitions=["2026-11-02"])
    assert found(WEEKS, ["2026-11-02"], after, instance, monday) == Due(partitions=["2026-11-02"], late=["2026-11-09"])


def test_where_nothing_says_when_it_runs_the_newest_that_landed_counts(instance: dg.DagsterInstance) -> None:
    now = datetime(2026, 11, 20, 20, tzinfo=UTC)
    assert found(DAYS, ["2026-10-05", "2026-10-06"], now, instance, []) == Due(
        partitions=["2026-10-05"], newer=[["2026-10-06"]]
    )
    assert found(DAYS, [], now, instance, []) == Due(partitions=[])


def test_of_partitions_that_are_no_times_all_that_still_exist_count(instance: dg.DagsterInstance) -> None:
    languages = dg.StaticPartitionsDefinition(["de", "fr"])
    now = datetime(2026, 11, 20, tzinfo=UTC)
    assert found(languages, ["de", "fr", "xx"], now, instance) == Due(partitions=["de", "fr"])


def test_dynamic_partitions_are_those_that_the_instance_knows(instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("customers", ["one", "two"])
    customers = dg.DynamicPartitionsDefinition(name="customers")
    now = datetime(2026, 11, 20, tzinfo=UTC)
    assert found(customers, ["gone", "one"], now, instance) == Due(partitions=["one"])


def test_of_two_dimensions_the_newest_time_counts(instance: dg.DagsterInstance) -> None:
    both = dg.MultiPartitionsDefinition({"day": DAYS, "language": dg.StaticPartitionsDefinition(["de", "fr"])})
    keys = ["2026-11-18|de", "2026-11-18|fr", "2026-11-19|de"]
    assert found(both, keys, datetime(2026, 11, 21, tzinfo=UTC), instance) == Due(
        partitions=["2026-11-18|de", "2026-11-18|fr"], newer=[["2026-11-19|de"]]
    )


@pytest.mark.parametrize(
    ("end_offset", "late"),
    [
        (1, "2026-11-20"),  # the day itself is asked for at 01:30, long before its end
        (0, "2026-11-19"),
        (-2, "2026-11-17"),
    ],
)
def test_what_a_run_asks_for_is_due_wherever_the_partitions_end(
    end_offset: int, late: str, instance: dg.DagsterInstance
) -> None:
    days = dg.DailyPartitionsDefinition(start_date="2026-10-01", timezone="Europe/Berlin", end_offset=end_offset)
    now = datetime(2026, 11, 20, 13, 0, tzinfo=UTC)
    assert found(days, ["2026-11-10"], now, instance) == Due(partitions=["2026-11-10"], late=[late])


def test_hours_that_are_asked_for_once_a_month_are_due_then(instance: dg.DagsterInstance) -> None:
    hours = dg.HourlyPartitionsDefinition(start_date="2026-10-01-00:00", timezone="UTC")
    monthly = [Cron(cron_schedule="0 0 1 * *", timezone="UTC", name="monthly")]
    now = datetime(2026, 11, 20, tzinfo=UTC)
    assert found(hours, [], now, instance, monthly) == Due(partitions=[], late=["2026-10-31-23:00"])


def test_partitions_that_have_ended_for_good_stay_due(instance: dg.DagsterInstance) -> None:
    ended = dg.DailyPartitionsDefinition(start_date="2026-10-01", end_date="2026-10-04", timezone="Europe/Berlin")
    now = datetime(2026, 11, 20, tzinfo=UTC)
    assert found(ended, ["2026-10-03"], now, instance) == Due(partitions=["2026-10-03"])
