"""How often schedules tick, and how long ago they did: with time zones, clock changes and odd calendars."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from offpeak.freshness import cadence
from offpeak.freshness.cadence import Cron, following, longest_gap, longest_until, next_tick, shortest_gap, times_since

NOW = datetime(2026, 11, 21, 18, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)


def cron(cron_schedule: str, timezone: str = "UTC") -> Cron:
    return Cron(cron_schedule=cron_schedule, timezone=timezone, name="schedule")


@pytest.mark.parametrize(
    ("cron_schedule", "timezone", "hours"),
    [
        ("30 1 * * *", "UTC", 24),
        ("30 1 * * *", "Europe/Berlin", 25),  # the night of the clock change in October is an hour longer
        ("30 1 * * *", "Asia/Tokyo", 24),  # no clock changes there
        ("0 9 * * 1", "Europe/Berlin", 7 * 24 + 1),
        ("0 6 * * 1-5", "UTC", 72),  # from Friday to Monday
        ("0 8-18 * * 1-5", "Europe/Berlin", 63),  # the weekend of the clock change
        ("0 0 1 * *", "UTC", 31 * 24),
        ("0 9 1 */3 *", "America/New_York", 92 * 24 + 1),
        ("*/15 * * * *", "UTC", 0.25),
        ("0 * * * *", "Europe/Berlin", 1),
    ],
)
def test_the_longest_time_between_two_ticks(cron_schedule: str, timezone: str, hours: float) -> None:
    gap = longest_gap([cron(cron_schedule, timezone)], now=NOW)
    assert gap is not None
    assert gap.duration == hours * HOUR


def test_the_gap_says_where_it_begins() -> None:
    gap = longest_gap([cron("30 1 * * *", "Europe/Berlin")], now=NOW)
    assert gap is not None
    assert gap.begins == datetime(2027, 10, 30, 23, 30, tzinfo=UTC)


@pytest.mark.parametrize(("cron_schedule", "days"), [("0 0 1 1 *", 366), ("0 0 29 2 *", 4 * 365 + 1)])
@pytest.mark.parametrize("year", range(2026, 2031))
def test_the_longest_time_is_the_same_on_whatever_day_it_is_asked(cron_schedule: str, days: int, year: int) -> None:
    gap = longest_gap([cron(cron_schedule)], now=datetime(year, 3, 1, tzinfo=UTC))
    assert gap is not None
    assert gap.duration == timedelta(days=days)


def test_several_schedules_tick_together() -> None:
    gap = longest_gap([cron("0 1 * * *"), cron("0 13 * * *")], now=NOW)
    assert gap is not None
    assert gap.duration == 12 * HOUR


def test_without_a_schedule_nothing_is_known() -> None:
    assert longest_gap([], now=NOW) is None
    assert next_tick([], after=NOW) is None
    assert times_since([], [cron("0 9 * * *")], lag=HOUR, now=NOW) == ()


def test_the_shortest_time_between_two_ticks() -> None:
    assert shortest_gap([cron("0 9 * * 1-5")], now=NOW) == 24 * HOUR
    assert shortest_gap([cron("30 1 * * *", "Europe/Berlin")], now=NOW) == 23 * HOUR


@pytest.mark.parametrize(
    ("cron_schedule", "timezone", "after", "expected"),
    [
        ("30 1 * * *", "UTC", NOW, datetime(2026, 11, 22, 1, 30, tzinfo=UTC)),
        ("30 1 * * *", "UTC", datetime(2026, 11, 22, 1, 30, tzinfo=UTC), datetime(2026, 11, 23, 1, 30, tzinfo=UTC)),
        ("0 9 * * 1-5", "Europe/Berlin", NOW, datetime(2026, 11, 23, 8, 0, tzinfo=UTC)),
        ("0 9 * * 1-5", "Europe/Berlin", datetime(2027, 6, 4, 12, tzinfo=UTC), datetime(2027, 6, 7, 7, tzinfo=UTC)),
        ("0 0 29 2 *", "UTC", NOW, datetime(2028, 2, 29, tzinfo=UTC)),
    ],
)
def test_the_next_tick(cron_schedule: str, timezone: str, after: datetime, expected: datetime) -> None:
    assert cron(cron_schedule, timezone).next_tick(after) == expected


@pytest.mark.parametrize(
    ("cron_schedule", "until", "expected"),
    [
        ("30 1 * * *", datetime(2026, 11, 22, 1, 30, tzinfo=UTC), datetime(2026, 11, 22, 1, 30, tzinfo=UTC)),
        ("30 1 * * *", datetime(2026, 11, 22, 1, 29, tzinfo=UTC), datetime(2026, 11, 21, 1, 30, tzinfo=UTC)),
        ("0 0 1 * *", NOW, datetime(2026, 11, 1, tzinfo=UTC)),
        ("0 0 29 2 *", NOW, datetime(2024, 2, 29, tzinfo=UTC)),
    ],
)
def test_the_last_tick(cron_schedule: str, until: datetime, expected: datetime) -> None:
    assert cron(cron_schedule).last_tick(until) == expected


def test_ticks_are_those_from_the_beginning_up_to_the_end_which_is_another_days() -> None:
    tick = datetime(2026, 11, 22, 1, 30, tzinfo=UTC)
    assert cron("30 1 * * *").ticks(tick, tick + 24 * HOUR) == [tick]


def test_a_tick_at_a_time_that_comes_twice_is_one() -> None:
    night = datetime(2026, 10, 24, 12, tzinfo=UTC)
    assert cron("30 2 * * *", "Europe/Berlin").ticks(night, night + 24 * HOUR) == [
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    ]


def test_a_tick_at_a_time_that_does_not_come_is_not_left_out() -> None:
    night = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert len(cron("30 2 * * *", "Europe/Berlin").ticks(night, night + 24 * HOUR)) == 1


@pytest.mark.parametrize(
    ("lag", "oldest", "youngest"),
    [
        # landed by 07:30 UTC: in time for 9:00 in winter (08:00 UTC), a day late in summer (07:00 UTC)
        (6 * HOUR, 29.5, 6.5),
        (2 * HOUR, 6.5, 5.5),
        (12.5 * HOUR, 30.5, 29.5),
        (48 * HOUR, 54.5, 53.5),
    ],
)
def test_how_long_ago_the_run_began_whose_rows_are_there(lag: timedelta, oldest: float, youngest: float) -> None:
    since = times_since([cron("30 1 * * *")], [cron("0 9 * * 1-5", "Europe/Berlin")], lag=lag, now=NOW)
    assert (since[-1], since[0]) == (oldest * HOUR, youngest * HOUR)


@pytest.mark.parametrize(
    ("cron_schedules", "hours"),
    [
        (["* * * * *"], 1 / 60),
        (["*/5 * * * *", "0 0 1 * *"], 1 / 12),  # with one that ticks seldom
        (["*/5 8-18 * * 1-5"], 62 + 1 / 12),  # the weekend of the clock change
        (["*/30 * * * 1"], 6 * 24 + 1.5),
        (["*/5 * 1 * *"], 30 * 24 + 1 + 1 / 12),
    ],
)
def test_what_ticks_often_is_not_counted_out_over_years(
    cron_schedules: list[str], hours: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = counting(monkeypatch)
    gap = longest_gap([cron(each, "Europe/Berlin") for each in cron_schedules], now=NOW)
    assert gap is not None
    assert gap.duration == pytest.approx(hours * HOUR, abs=timedelta(seconds=1))
    assert len(counted) < 60_000


def test_a_reader_that_runs_often_reads_the_oldest_just_before_newer_rows_land(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = counting(monkeypatch)
    since = times_since([cron("0 0 1 * *")], [cron("*/5 * * * *")], lag=12 * HOUR, now=NOW)
    assert since[-1] == 31 * 24 * HOUR + 12 * HOUR - timedelta(minutes=5)
    assert 13 * 24 * HOUR < since[len(since) // 2] < 18 * 24 * HOUR
    assert len(counted) < 10_000


def test_a_reader_that_runs_seldom_reads_what_is_made_often(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = counting(monkeypatch)
    since = times_since([cron("*/5 * * * *")], [cron("0 9 1 * *")], lag=HOUR, now=NOW)
    assert (since[-1], since[0]) == (HOUR, HOUR)
    assert len(counted) < 60_000


def test_the_next_tick_of_what_ticks_often_is_found_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = counting(monkeypatch)
    assert cron("* * * * *").next_tick(NOW) == NOW + timedelta(minutes=1)
    assert len(counted) < 500


def counting(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """What is kept of every tick that is asked of Dagster."""
    counted: list[datetime] = []
    inner = cadence._ticks

    def ticks(*given: Any) -> Iterator[datetime]:
        for each in inner(*given):
            counted.append(each)
            yield each

    monkeypatch.setattr(cadence, "_ticks", ticks)
    cadence._longest_gap.cache_clear()
    cadence._times_since.cache_clear()
    cadence._union.cache_clear()
    return counted


def test_ticks_of_one_producer_are_counted_once_for_all_its_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = counting(monkeypatch)
    for hour in range(24):
        assert times_since([cron("30 1 * * *")], [cron(f"0 {hour} * * *")], lag=HOUR, now=NOW)
    assert len(counted) < 24 * 430 + 1_500


def test_the_longest_time_to_a_deadline_counts_from_every_tick_and_not_from_the_last_one_before_it() -> None:
    starts, nine = [cron("0 1,5 * * *")], [cron("0 9 * * *", "Europe/Berlin")]

    assert longest_until(starts, nine, now=NOW) == 7 * HOUR  # 09:00 in Berlin is 08:00 UTC in winter
    assert longest_until([], nine, now=NOW) is None
    assert longest_until(starts, [], now=NOW) is None


def test_each_tick_has_the_next_of_several_deadlines() -> None:
    (first, *_) = following([cron("0 1 * * *")], [cron("0 9 * * *")], [cron("0 0 * * 1")], now=NOW)

    assert first == (NOW.replace(hour=1, minute=0), (NOW.replace(hour=9, minute=0), datetime(2026, 11, 23, tzinfo=UTC)))
