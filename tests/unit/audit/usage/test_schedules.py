"""A schedule's times and days, on the clock that starts it."""

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from offpeak.audit.usage.activity import Run
from offpeak.audit.usage.schedules import schedule

from .writing import HOUR, at


def cadence(starts: Iterable[datetime], zone: str = "UTC") -> str:
    """Of runs that make ten calls each."""
    runs = [
        Run(round(each.timestamp() * 1_000), round(each.timestamp() * 1_000) + 60_000, 10) for each in sorted(starts)
    ]
    found = schedule(runs, ZoneInfo(zone))
    return "" if found is None else found.cadence


def test_one_day_of_the_week() -> None:
    assert cadence(at(day, 6) for day in (5, 12, 19, 26)) == "Mondays at 06:00 UTC"


def test_two_days_of_the_week() -> None:
    assert cadence(at(day, 6) for day in (5, 8, 12, 15, 19, 22)) == "Mondays and Thursdays at 06:00 UTC"


def test_the_working_days_of_a_week() -> None:
    days = [day for day in range(1, 29) if at(day).weekday() < 5]
    assert cadence(at(day, 8, 30) for day in days) == "weekdays at 08:30 UTC"


def test_a_job_that_failed_on_some_days_is_daily_all_the_same() -> None:
    assert cadence(at(day, 8) for day in range(1, 29) if day % 5) == "daily at 08:00 UTC"


def test_two_times_a_day() -> None:
    assert cadence(at(day, hour) for day in range(1, 15) for hour in (9, 17)) == "daily at 09:00 and 17:00 UTC"


def test_times_with_days_of_their_own() -> None:
    starts = [*(at(day, 9) for day in range(1, 29)), *(at(day, 20) for day in (4, 11, 18, 25))]
    assert cadence(starts) == "daily at 09:00 UTC and Sundays at 20:00 UTC"


def test_every_few_hours() -> None:
    assert cadence(at(1, 0, 10) + 6 * number * HOUR for number in range(40)) == "every 6 hours at :10"


def test_every_few_days() -> None:
    assert cadence(at(day, 4) for day in range(1, 29, 3)) == "every 3 days at 04:00 UTC"


def test_once_a_month() -> None:
    first_days = [datetime(2026, month, 1, 5, tzinfo=ZoneInfo("UTC")) for month in (7, 8, 9, 10)]
    assert cadence(first_days) == "monthly on day 1 at 05:00 UTC"


def test_around_midnight_the_day_is_that_of_the_schedule() -> None:
    assert cadence(at(day, 0, 0, 100 * (day % 2) - 50) for day in range(2, 28)) in {
        "daily at 00:00 UTC",
        "daily at 23:59 UTC",
    }


def test_nine_o_clock_stays_nine_o_clock_when_the_clocks_are_set_back() -> None:
    starts = [at(day, 9, zone="Europe/Berlin") for day in range(1, 32)]
    assert cadence(starts, "Europe/Berlin") == "daily at 09:00 Europe/Berlin"


def test_on_another_clock_the_hour_that_was_set_back_is_told() -> None:
    starts = [at(day, 9, zone="Europe/Berlin") for day in range(1, 32)]
    assert cadence(starts) == "daily at 07:00 UTC (an hour later from 2026-10-25)"


def test_two_runs_are_none() -> None:
    assert cadence([at(1, 9), at(2, 9)]) == ""


def test_the_same_time_on_days_without_order_is_none() -> None:
    assert cadence(at(day, 9) for day in (1, 2, 17, 28)) == ""


def test_times_all_over_the_day_are_none() -> None:
    assert cadence(at(day, day % 24, 7 * day % 60) for day in range(1, 29)) == ""


def test_few_scheduled_runs_among_many_others_are_none() -> None:
    others = [at(day, 8 + number, 7 * day * number % 60) for day in range(1, 29) for number in range(1, 9)]
    assert cadence([*(at(day, 6) for day in range(1, 29)), *others]) == ""


def test_what_is_scheduled_has_to_hold_most_of_the_calls() -> None:
    def runs(scheduled: int, others: int) -> list[Run]:
        daily = [(at(day, 6), scheduled) for day in range(1, 29)]
        by_hand = [(at(day, 8 + day % 9, 7 * day % 60), others) for day in range(1, 29)]
        found = sorted([*daily, *by_hand])
        return [
            Run(round(start.timestamp() * 1_000), round(start.timestamp() * 1_000), calls) for start, calls in found
        ]

    assert schedule(runs(100, 10), ZoneInfo("UTC")) is not None
    assert schedule(runs(10, 100), ZoneInfo("UTC")) is None
