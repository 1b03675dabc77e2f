"""Fresh by a time of day: what is declared, what became of a deadline, and whether the next one is endangered."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from offpeak import freshness_sla
from offpeak.errors import DefinitionError
from offpeak.freshness.sla import Left, Sla, judge_past, judge_upcoming, sla_of
from offpeak.ledger.states import SlaState

HOUR = timedelta(hours=1)
MONDAY = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)  # nine o'clock in Berlin, in winter
WEEKDAYS = ("0 9 * * 1-5", "Europe/Berlin")


def declared(*, window: timedelta | None = None) -> Sla:
    policy = freshness_sla(WEEKDAYS[0], timezone=WEEKDAYS[1], lower_bound_delta=window)
    found = sla_of("report", policy)
    assert found is not None
    return found


def test_it_is_dagsters_own_cron_policy() -> None:
    assert freshness_sla(WEEKDAYS[0], timezone=WEEKDAYS[1]) == dg.FreshnessPolicy.cron(
        deadline_cron="0 9 * * 1-5", lower_bound_delta=24 * HOUR, timezone="Europe/Berlin"
    )


def test_a_policy_of_another_kind_is_no_deadline() -> None:
    assert sla_of("report", dg.FreshnessPolicy.time_window(fail_window=HOUR)) is None
    assert sla_of("report", None) is None


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"deadline_cron": "nine o'clock"}, "deadline_cron="),
        ({"deadline_cron": "61 9 * * *"}, "deadline_cron="),
        ({"deadline_cron": 9}, "deadline_cron="),
        ({"timezone": "Berlin"}, "timezone='Berlin'"),
        ({"timezone": "../etc"}, "timezone="),
        ({"lower_bound_delta": timedelta(0)}, "lower_bound_delta="),
        ({"lower_bound_delta": -HOUR}, "lower_bound_delta="),
        ({"lower_bound_delta": 12}, "lower_bound_delta="),
        ({"lower_bound_delta": 25 * HOUR}, "lower_bound_delta=25 h"),
    ],
)
def test_nonsense_is_refused_naming_the_field(arguments: dict[str, Any], field: str) -> None:
    given = {"deadline_cron": "0 9 * * 1-5", "timezone": "Europe/Berlin", **arguments}
    with pytest.raises(DefinitionError) as refused:
        freshness_sla(given.pop("deadline_cron"), **given)
    assert field in str(refused.value)


@pytest.mark.parametrize(
    ("now", "before", "upcoming"),
    [
        # a weekend in winter
        (datetime(2026, 11, 21, 12, tzinfo=UTC), datetime(2026, 11, 20, 8, tzinfo=UTC), MONDAY),
        # the very moment is over, and the next day's is next
        (MONDAY, MONDAY, MONDAY + 24 * HOUR),
        # the weekend of the clock change: nine o'clock comes an hour later by UTC
        (
            datetime(2026, 10, 25, 12, tzinfo=UTC),
            datetime(2026, 10, 23, 7, tzinfo=UTC),
            datetime(2026, 10, 26, 8, tzinfo=UTC),
        ),
    ],
)
def test_deadlines_come_at_the_time_of_their_zone(now: datetime, before: datetime, upcoming: datetime) -> None:
    assert (declared().deadline.last_tick(now), declared().upcoming(now)) == (before, upcoming)


@pytest.mark.parametrize(
    ("made", "state"),
    [
        ([MONDAY - HOUR], SlaState.MET),
        ([MONDAY], SlaState.MET),
        ([MONDAY - 24 * HOUR], SlaState.MET),
        ([MONDAY - 25 * HOUR], SlaState.MISSED),
        ([MONDAY + timedelta(seconds=1)], SlaState.MISSED),
        ([], SlaState.MISSED),
    ],
)
def test_what_became_of_a_deadline(made: list[datetime], state: SlaState) -> None:
    assert judge_past(declared(), MONDAY, made).state is state


def test_a_miss_says_how_late_it_was() -> None:
    late = judge_past(declared(), MONDAY, [MONDAY + 90 * timedelta(minutes=1)])
    assert late.why == "report was not fresh by Monday 2026-11-23 09:00 Europe/Berlin: it was made 1 h 30 min late"
    never = judge_past(declared(), MONDAY, [])
    assert never.why.endswith("it was not made in the 24 h before")


@pytest.mark.parametrize(
    ("takes", "state"),
    [
        (timedelta(0), SlaState.DUE),
        (timedelta(hours=1, minutes=50), SlaState.DUE),
        (timedelta(hours=1, minutes=51), SlaState.ENDANGERED),  # ten minutes are for the run itself
        (None, SlaState.ENDANGERED),
    ],
)
def test_a_deadline_is_endangered_when_what_is_left_takes_longer_than_the_time_that_is(
    takes: timedelta | None, state: SlaState
) -> None:
    left = Left(takes=takes, why="job 7 of labels has been on its way for 3 h, and 5 h is usual")
    found = judge_upcoming(declared(), MONDAY, [], left, now=MONDAY - 2 * HOUR)
    assert found.state is state
    assert found.why.endswith(left.why)


def test_what_was_made_in_the_window_has_met_the_next_deadline_whatever_else_is_on_its_way() -> None:
    left = Left(takes=None, why="job 8 is stuck")
    found = judge_upcoming(declared(), MONDAY, [MONDAY - 3 * HOUR], left, now=MONDAY - 2 * HOUR)
    assert found.state is SlaState.MET
    short = judge_upcoming(declared(window=2 * HOUR), MONDAY, [MONDAY - 3 * HOUR], left, now=MONDAY - 2 * HOUR)
    assert short.state is SlaState.ENDANGERED
