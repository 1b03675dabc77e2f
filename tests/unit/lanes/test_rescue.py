"""The last safe moment: never early, never too late for the endpoints that all jobs share, one chunk at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from offpeak.lanes.rescue import (
    CANCEL_BOUND,
    MARGIN,
    MOST_AT_ONCE,
    RETRY_SHARE,
    Awaited,
    Owed,
    Rate,
    RescueTerms,
    judge,
    reserve,
)
from offpeak.lanes.throttle import SHARE

MIN = timedelta(minutes=1)
H = timedelta(hours=1)
EVENING = datetime(2026, 1, 1, 18, tzinfo=UTC)
TERMS = RescueTerms(margin=30 * MIN, cancel_bound=10 * MIN)
TICK = timedelta(seconds=30)


def chunk(number: int, *, due: timedelta = 12 * H, time: timedelta = 10 * MIN, finished: float = 0.0) -> Awaited:
    return Awaited(chunk_id=number, due_at=EVENING + due, time=time, finished=finished)


def owed(*, due: timedelta = 12 * H, time: timedelta = 10 * MIN, ready: timedelta | None = None) -> Owed:
    return Owed(due_at=EVENING + due, time=time, ready_at=None if ready is None else EVENING + ready)


def moment_of(awaited: Sequence[Awaited], lane: Sequence[Owed] = (), at: timedelta = timedelta(0)) -> datetime:
    """Where it has not come yet."""
    verdict = judge(awaited, lane, TERMS, now=EVENING + at)
    assert verdict.give_up == ()
    assert verdict.moment is not None
    return verdict.moment


def given_up(awaited: Sequence[Awaited], at: timedelta, lane: Sequence[Owed] = ()) -> tuple[int, ...]:
    return judge(awaited, lane, TERMS, now=EVENING + at).give_up


# 12 h - 30 min - 10 min - the sum of the times and a tenth of it
@pytest.mark.parametrize(
    ("awaited", "moment"),
    [
        ([chunk(1)], 12 * H - 51 * MIN),
        ([chunk(1, time=20 * MIN)], 12 * H - 62 * MIN),
        ([chunk(1, due=8 * H)], 8 * H - 51 * MIN),
        ([chunk(1), chunk(2)], 12 * H - 62 * MIN),
        ([chunk(each, time=1.25 * MIN) for each in range(64)], 12 * H - 128 * MIN),
        ([chunk(1), chunk(2, due=13 * H)], 12 * H - 51 * MIN),
        ([chunk(1), chunk(2, due=12 * H + 5 * MIN)], 12 * H + 5 * MIN - 62 * MIN),
        ([chunk(1, due=20 * H), chunk(2, due=12 * H, time=H)], 12 * H - 106 * MIN),
    ],
)
def test_before_each_deadline_all_that_is_due_by_then_has_room(awaited: list[Awaited], moment: timedelta) -> None:
    assert moment_of(awaited) == EVENING + moment


def test_where_nothing_is_awaited_there_is_nothing_to_give_up_and_no_moment() -> None:
    verdict = judge([], [owed()], TERMS, now=EVENING + 30 * H)
    assert (verdict.give_up, verdict.moment) == ((), None)


@pytest.mark.parametrize(
    ("awaited", "first"),
    [
        ([chunk(1), chunk(2)], 2),
        ([chunk(1, finished=0.2), chunk(2, finished=0.4)], 1),
        ([chunk(1), chunk(2, due=12 * H - MIN)], 1),
        ([chunk(1, finished=0.9), chunk(2, due=12 * H - MIN, finished=0.1)], 1),
    ],
)
def test_the_latest_needed_goes_first_then_what_has_come_least_far_then_the_youngest(
    awaited: list[Awaited], first: int
) -> None:
    moment = moment_of(awaited)
    assert judge(awaited, [], TERMS, now=moment).give_up == (first,)


def test_a_chunk_of_a_later_deadline_is_not_given_up_for_an_earlier_one() -> None:
    awaited = [chunk(1, time=H), chunk(2, due=20 * H, time=H), chunk(3, due=30 * H)]
    assert given_up(awaited, 12 * H - 106 * MIN) == (1,)
    assert set(given_up(awaited, 12 * H)) == {1}


def test_the_next_ones_turn_comes_when_the_first_ones_time_is_over() -> None:
    awaited = [chunk(1), chunk(2), chunk(3)]
    verdict = judge(awaited, [], TERMS, now=moment_of(awaited))
    assert verdict.give_up == (3,)
    assert verdict.moment == moment_of(awaited) + 11 * MIN


@pytest.mark.parametrize(
    ("at", "lane", "moment"),
    [
        # busy until 11 h 20 min: a batch given up at 11 h 10 min has ended by then
        (11 * H, [owed(time=20 * MIN / 1.1)], 11 * H + 10 * MIN),
        (11 * H, [owed(time=30 * MIN / 1.1)], 11 * H + 20 * MIN),
        (11 * H, [owed(time=3 * H)], 11 * H + 3.3 * H - 10 * MIN),
        (11 * H, [owed(time=5 * MIN)], 11 * H + 9 * MIN),
        (11 * H, [owed(time=10 * MIN / 1.1, ready=11 * H + 20 * MIN)], 11 * H + 20 * MIN),
        # what is due later is called later
        (11 * H, [owed(time=3 * H, due=13 * H)], 11 * H + 9 * MIN),
    ],
)
def test_while_the_endpoints_have_enough_to_do_a_batch_may_go_on(
    at: timedelta, lane: list[Owed], moment: timedelta
) -> None:
    assert abs(moment_of([chunk(1)], lane, at) - EVENING - moment) < timedelta(milliseconds=1)


def test_of_what_no_longer_fits_no_more_is_given_up_than_the_endpoints_can_take() -> None:
    awaited = [chunk(each, time=10 * MIN) for each in range(12)]
    verdict = judge(awaited, [], TERMS, now=EVENING + 11 * H)
    assert (verdict.give_up, verdict.moment) == ((11,), EVENING + 11 * H + 11 * MIN)
    idle = judge(awaited[:-1], [owed(time=9 * MIN)], TERMS, now=EVENING + 11 * H)
    assert idle.give_up == (10,)


def test_no_more_is_given_up_in_one_go_than_a_process_can_cancel() -> None:
    awaited = [chunk(each, time=timedelta(0)) for each in range(MOST_AT_ONCE + 10)]
    verdict = judge(awaited, [], TERMS, now=EVENING + 12 * H)
    assert len(verdict.give_up) == MOST_AT_ONCE
    assert verdict.moment == EVENING + 12 * H


def test_a_verdict_that_comes_late_lets_the_next_batch_go_on_until_the_endpoints_could_take_it() -> None:
    late = 12 * H - 62 * MIN + 5 * MIN
    verdict = judge([chunk(1), chunk(2)], [], TERMS, now=EVENING + late)
    assert (verdict.give_up, verdict.moment) == ((2,), EVENING + late + 11 * MIN)


def test_past_its_deadline_a_batch_is_given_up_when_the_endpoints_could_take_it() -> None:
    assert set(given_up([chunk(1), chunk(2)], 15 * H)) == {2}


def test_the_terms_move_the_moment() -> None:
    terms = RescueTerms(margin=H, cancel_bound=5 * MIN)
    assert judge([chunk(1)], [], terms, now=EVENING).moment == EVENING + 12 * H - 76 * MIN
    assert reserve(10 * MIN, terms) == 76 * MIN


def test_the_reserve_of_nothing_is_the_margin_and_the_time_for_a_cancel() -> None:
    assert reserve(timedelta(0), RescueTerms()) == MARGIN + CANCEL_BOUND


def test_the_time_for_requests_is_that_of_the_limit_they_need_longer_for() -> None:
    assert Rate(requests=100).time_for(970, 10**9) == 9.7 * MIN / SHARE
    assert Rate(requests=100, tokens=1_000).time_for(970, 970) == 9.7 * MIN / SHARE
    assert Rate(requests=100, tokens=1_000).time_for(970, 97_000) == 97 * MIN / SHARE


@st.composite
def chunks(draw: st.DrawFn) -> list[Awaited]:
    """Some, of a few deadlines."""
    dues = st.sampled_from([10 * H, 10 * H + 20 * MIN, 12 * H])
    times, finished = st.integers(1, 20), st.sampled_from([0.0, 0.3, 0.9])
    made = draw(st.lists(st.tuples(dues, times, finished), min_size=1, max_size=12))
    return [chunk(n, due=due, time=each * MIN, finished=part) for n, (due, each, part) in enumerate(made)]


lanes = st.lists(
    st.builds(
        owed,
        due=st.sampled_from([10 * H, 11 * H, 12 * H]),
        time=st.integers(1, 30).map(lambda each: each * MIN),
        ready=st.sampled_from([None, 5 * H, 9 * H]),
    ),
    max_size=4,
)

nows = st.integers(0, 13 * 60).map(lambda minutes: EVENING + minutes * MIN)


def moment(awaited: Sequence[Awaited], lane: Sequence[Owed], now: datetime) -> datetime:
    """Of the first one; the beginning where it has come, the end where nothing is left."""
    verdict = judge(awaited, lane, TERMS, now=now)
    if verdict.give_up:
        return datetime.min.replace(tzinfo=UTC)
    return verdict.moment or datetime.max.replace(tzinfo=UTC)


@given(chunks())
def test_nothing_is_given_up_before_the_moment_and_one_chunk_when_it_comes(awaited: list[Awaited]) -> None:
    comes = moment_of(awaited)
    assert judge(awaited, [], TERMS, now=comes - timedelta(microseconds=1)).give_up == ()
    assert len(judge(awaited, [], TERMS, now=comes).give_up) == 1


@given(chunks())
def test_the_moment_is_that_of_the_deadline_that_leaves_the_least_room(awaited: list[Awaited]) -> None:
    comes, room = moment_of(awaited), {}
    for due_at in {each.due_at for each in awaited}:
        work = sum((each.time for each in awaited if each.due_at <= due_at), timedelta(0))
        room[due_at] = due_at - reserve(work, TERMS)
    assert comes == min(room.values())
    [number] = judge(awaited, [], TERMS, now=comes).give_up
    tightest = min(due_at for due_at in room if room[due_at] == comes)
    assert awaited[number].due_at == max(each.due_at for each in awaited if each.due_at <= tightest)


@given(chunks(), lanes, nows, st.data())
def test_what_ends_by_itself_never_brings_the_moment_nearer(
    awaited: list[Awaited], lane: list[Owed], now: datetime, data: st.DataObject
) -> None:
    ended = data.draw(st.sampled_from(awaited))
    rest = [each for each in awaited if each is not ended]
    assert moment(rest, lane, now) >= moment(awaited, lane, now)


@given(chunks(), lanes, nows, st.integers(1, 60), st.data())
def test_a_tighter_deadline_never_moves_the_moment_away(
    awaited: list[Awaited], lane: list[Owed], now: datetime, by: int, data: st.DataObject
) -> None:
    chosen = data.draw(st.sampled_from(awaited))
    tighter = [replace(each, due_at=each.due_at - by * MIN) if each is chosen else each for each in awaited]
    assert moment(tighter, lane, now) <= moment(awaited, lane, now)


@given(chunks(), lanes, nows)
def test_what_is_given_up_is_awaited_and_named_once(awaited: list[Awaited], lane: list[Owed], now: datetime) -> None:
    verdict = judge(awaited, lane, TERMS, now=now)
    assert len(set(verdict.give_up)) == len(verdict.give_up)
    assert set(verdict.give_up) <= {each.chunk_id for each in awaited}
    assert (verdict.moment is None) == (len(verdict.give_up) == len(awaited))
    assert verdict.moment is None or verdict.moment > now


@given(
    chunks(),
    st.lists(st.integers(0, 10), min_size=12, max_size=12),
    st.lists(st.sampled_from([0.0, RETRY_SHARE]), min_size=12, max_size=12),
)
def test_whoever_follows_the_verdicts_buys_everything_in_time(
    awaited: list[Awaited], cancels: list[int], again: list[float]
) -> None:
    """No batch ends by itself, each cancel takes what it likes within its bound, and some calls go round again."""
    began = moment_of(awaited) - TICK
    assume(began >= EVENING)
    night = _Night(began, awaited)
    bought = night.follow([each * MIN for each in cancels], again)
    assert set(bought) == {each.chunk_id for each in awaited}
    for each in awaited:
        assert bought[each.chunk_id] <= each.due_at - TERMS.margin / 2 + 3 * TICK


@dataclass
class _Called:
    chunk: Awaited
    given_up_at: datetime
    ready_at: datetime
    left: timedelta


class _Night:
    """Realtime endpoints that call what is due first, in steps of a tick, and nobody who ends a batch."""

    def __init__(self, now: datetime, awaited: Sequence[Awaited]) -> None:
        self._now, self._awaited = now, {each.chunk_id: each for each in awaited}
        self._calls: list[_Called] = []

    def follow(self, cancels: Sequence[timedelta], again: Sequence[float]) -> dict[int, datetime]:
        """When each chunk is bought."""
        bought: dict[int, datetime] = {}
        while self._awaited or self._calls:
            for number in judge([*self._awaited.values()], self._owed(again), TERMS, now=self._now).give_up:
                given = self._awaited.pop(number)
                takes = given.time * (1 + again[number])
                self._calls.append(_Called(given, self._now, self._now + cancels[number], takes))
            self._call(bought)
            self._now += TICK
        return bought

    def _owed(self, again: Sequence[float]) -> list[Owed]:
        return [
            Owed(
                due_at=each.chunk.due_at,
                time=each.left / (1 + again[each.chunk.chunk_id]),
                ready_at=None if each.ready_at <= self._now else each.given_up_at + TERMS.cancel_bound,
            )
            for each in self._calls
        ]

    def _call(self, bought: dict[int, datetime]) -> None:
        room = TICK
        for each in sorted(self._calls, key=lambda each: each.chunk.due_at):
            if each.ready_at <= self._now:
                part = min(room, each.left)
                each.left -= part
                room -= part
                if not each.left:
                    bought[each.chunk.chunk_id] = self._now + TICK
        self._calls = [each for each in self._calls if each.left]
