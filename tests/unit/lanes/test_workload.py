"""Workloads that make no sense are refused where they are declared."""

from datetime import UTC, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from offpeak.errors import DefinitionError
from offpeak.freshness.cadence import Cron
from offpeak.lanes.workload import Waiting, Workload, time_of_day


@pytest.mark.parametrize("deadline", [timedelta(0), timedelta(hours=-1), 12, datetime(2026, 11, 22, 9, 0)])  # noqa: DTZ001
def test_a_deadline_that_is_not_a_positive_duration_is_refused_naming_the_field(deadline: object) -> None:
    with pytest.raises(DefinitionError, match="deadline="):
        Workload(waiting=Waiting.NOBODY, deadline=deadline)  # type: ignore[arg-type]


def test_waiting_is_one_of_the_enum_and_the_message_lists_it() -> None:
    with pytest.raises(DefinitionError, match=r"Waiting\.NOBODY, Waiting\.WALKED_AWAY"):
        Workload(waiting="soon", deadline=timedelta(hours=1))  # type: ignore[arg-type]


def test_watched_work_is_refused_with_a_remedy() -> None:
    watched = Workload(waiting=Waiting.WATCHING, deadline=timedelta(minutes=1))
    with pytest.raises(DefinitionError, match=r"^chat_reply: .*WALKED_AWAY if minutes are fine"):
        watched.refuse_watched("chat_reply")


NINE = Workload(waiting=Waiting.NOBODY, deadline=time(9, tzinfo=ZoneInfo("Europe/Berlin")))
NIGHTLY = [Cron(cron_schedule="30 1 * * *", timezone="UTC", name="nightly")]


@pytest.mark.parametrize(
    ("created_at", "due_at"),
    [
        (datetime(2026, 6, 1, 1, 30, tzinfo=UTC), datetime(2026, 6, 1, 7, tzinfo=UTC)),
        (datetime(2026, 6, 1, 7, tzinfo=UTC), datetime(2026, 6, 2, 7, tzinfo=UTC)),  # at nine, the next one
        (datetime(2026, 3, 29, 0, 30, tzinfo=UTC), datetime(2026, 3, 29, 7, tzinfo=UTC)),  # clocks go forward
        (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 8, tzinfo=UTC)),  # and back
    ],
)
def test_a_time_of_day_is_the_next_one_there_after_the_creation_of_the_run(
    created_at: datetime, due_at: datetime
) -> None:
    assert NINE.due_at(created_at) == due_at


def test_a_time_that_the_clock_leaves_out_is_the_moment_at_which_it_goes_forward() -> None:
    half_past_two = Workload(waiting=Waiting.NOBODY, deadline=time(2, 30, tzinfo=ZoneInfo("Europe/Berlin")))

    assert half_past_two.due_at(datetime(2026, 3, 28, 12, tzinfo=UTC)) == datetime(2026, 3, 29, 1, tzinfo=UTC)


def test_a_duration_counts_from_the_creation_of_the_run() -> None:
    workload = Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=24))

    assert workload.due_at(datetime(2026, 6, 1, tzinfo=UTC)) == datetime(2026, 6, 2, tzinfo=UTC)
    assert workload.longest(NIGHTLY, now=datetime(2026, 1, 1, tzinfo=UTC)) == timedelta(hours=24)


def test_the_longest_wait_for_a_time_of_day_is_that_of_any_tick_or_without_a_schedule_of_any_moment() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)

    assert NINE.longest(NIGHTLY, now=now) == timedelta(hours=6, minutes=30)  # in winter
    assert NINE.longest(now=now) == timedelta(hours=25)  # over the night that is an hour longer


@pytest.mark.parametrize(
    ("deadline", "said"),
    [
        (time(9), "without a zone"),
        (time(9, tzinfo=timezone(timedelta(hours=2))), "no zone with a name"),
        (time(9, 0, 30, tzinfo=UTC), "to the minute"),
    ],
)
def test_a_time_of_day_without_a_named_zone_or_with_seconds_is_refused(deadline: time, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        Workload(waiting=Waiting.NOBODY, deadline=deadline)


def test_whoever_walks_away_does_so_for_a_minute_at_least() -> None:
    Workload(waiting=Waiting.WALKED_AWAY, deadline=timedelta(minutes=1))
    with pytest.raises(DefinitionError, match="is watching"):
        Workload(waiting=Waiting.WALKED_AWAY, deadline=timedelta(seconds=59))


@pytest.mark.parametrize("volume", [0, -1, 2.5, True])
def test_a_volume_that_is_no_count_of_requests_is_refused(volume: object) -> None:
    with pytest.raises(DefinitionError, match="volume="):
        Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=24), volume=volume)  # type: ignore[arg-type]


def test_a_time_of_day_is_read_from_a_text_and_written_as_one() -> None:
    assert time_of_day("09:00 Europe/Berlin") == time(9, tzinfo=ZoneInfo("Europe/Berlin"))
    assert str(NINE) == "09:00 Europe/Berlin"
    assert str(Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=24))) == "24 h"
    assert str(Workload(waiting=Waiting.NOBODY, deadline=time(9, tzinfo=UTC))) == "09:00 UTC"


@pytest.mark.parametrize("text", ["nine Europe/Berlin", "09:00", "09:00 Europe/Nowhere", "", "24 hours"])
def test_a_text_that_is_no_time_of_day_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(DefinitionError, match="Europe/Berlin"):
        time_of_day(text)
