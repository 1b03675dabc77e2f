"""Calls follow one another within what the account may use in a minute, and no slower than they have to."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offpeak.lanes.throttle import BURST, GIVE_UP_AFTER, PROBES, SHARE, SLOWER, Throttle
from offpeak.providers.realtime import Measure

NOW = datetime(2026, 11, 28, tzinfo=UTC)
ONE = {Measure.REQUESTS: 1}
SECOND = timedelta(seconds=1)


def sent_within(
    throttle: Throttle, span: timedelta, *, cost: dict[Measure, int], begin: datetime = NOW
) -> list[datetime]:
    """When calls are sent that go as soon as they may."""
    now, times = begin, list[datetime]()
    while now < begin + span:
        if wait := throttle.wait(cost, now=now):
            now += wait
            continue
        throttle.sent(cost, now=now)
        times.append(now)
    return times


@settings(deadline=None, max_examples=30)
@given(per_minute=st.integers(1, 20_000))
def test_no_minute_holds_more_calls_than_the_limit(per_minute: int) -> None:
    throttle = Throttle(most_in_flight=100, limits={Measure.REQUESTS: per_minute})

    times = sent_within(throttle, timedelta(minutes=1.5), cost=ONE)

    for first in times[:: max(len(times) // 20, 1)]:
        assert sum(first <= each < first + timedelta(minutes=1) for each in times) <= per_minute


@pytest.mark.parametrize("per_minute", [30, 600, 6_000])
def test_the_limit_is_used_but_for_its_margin(per_minute: int) -> None:
    throttle = Throttle(most_in_flight=100, limits={Measure.REQUESTS: per_minute})

    times = sent_within(throttle, timedelta(minutes=5), cost=ONE)

    assert len(times) >= 5 * per_minute * (SHARE - 0.01) - 1


def test_what_was_not_used_for_long_is_not_sent_in_a_burst() -> None:
    throttle = Throttle(most_in_flight=100, limits={Measure.REQUESTS: 600})
    throttle.wait(ONE, now=NOW)

    later = NOW + timedelta(hours=1)
    times = sent_within(throttle, SECOND, cost=ONE, begin=later)

    assert len(times) <= 2 * 600 / 60 * BURST.total_seconds()


def test_the_tightest_of_several_limits_counts() -> None:
    limits = {Measure.REQUESTS: 6_000.0, Measure.TOKENS: 60_000.0}
    throttle = Throttle(most_in_flight=100, limits=limits)

    times = sent_within(throttle, timedelta(minutes=1), cost={Measure.REQUESTS: 1, Measure.TOKENS: 500})

    assert 60_000 / 500 * (SHARE - 0.02) <= len(times) <= 60_000 / 500


def test_a_call_that_needs_more_than_there_is_at_once_is_sent_all_the_same() -> None:
    throttle = Throttle(most_in_flight=100, limits={Measure.TOKENS: 6_000})

    times = sent_within(throttle, timedelta(minutes=10), cost={Measure.TOKENS: 3_000})

    assert 17 <= len(times) <= 20


def test_tokens_that_were_foreseen_and_not_used_are_given_back() -> None:
    foreseen, used = {Measure.TOKENS: 100}, {Measure.TOKENS: 10}
    throttle = Throttle(most_in_flight=100, limits={Measure.TOKENS: 6_000})
    throttle.wait(foreseen, now=NOW)
    throttle.sent(foreseen, now=NOW)
    before = throttle.wait(foreseen, now=NOW)

    throttle.answered({}, foreseen=foreseen, used=used)

    assert throttle.wait(foreseen, now=NOW) == pytest.approx(before * 0.55, rel=0.1)


def test_until_the_limits_are_known_a_few_calls_are_in_flight() -> None:
    throttle = Throttle(most_in_flight=100)
    assert throttle.window == PROBES

    throttle.answered({Measure.REQUESTS: 600}, foreseen=ONE, used=ONE)

    assert throttle.window == 100
    assert throttle.limits == {Measure.REQUESTS: 600}


def test_where_no_answer_tells_a_limit_calls_grow_with_answers_and_are_halved_by_a_refusal() -> None:
    throttle = Throttle(most_in_flight=100)
    for _ in range(20):
        throttle.answered({}, foreseen=ONE, used=ONE)
    assert throttle.window == PROBES + 20

    throttle.refused(None, now=NOW)

    assert throttle.window == (PROBES + 20) // 2


def test_after_a_refusal_everything_waits_as_long_as_it_asked_and_goes_on_slower() -> None:
    throttle = Throttle(most_in_flight=100, limits={Measure.REQUESTS: 600})
    throttle.refused(timedelta(seconds=30), now=NOW)
    assert throttle.wait(ONE, now=NOW) == timedelta(seconds=30)

    times = sent_within(throttle, timedelta(minutes=1), cost=ONE, begin=NOW + timedelta(seconds=30))

    assert len(times) == pytest.approx(600 * SHARE * SLOWER, rel=0.1)


def test_refusals_of_calls_that_were_on_their_way_together_slow_down_once() -> None:
    throttle = Throttle(most_in_flight=100, limits={Measure.REQUESTS: 600})
    for _ in range(50):
        throttle.refused(SECOND, now=NOW)

    times = sent_within(throttle, timedelta(minutes=1), cost=ONE, begin=NOW + SECOND)

    assert throttle.refusals == 50
    assert len(times) == pytest.approx(600 * SHARE * SLOWER, rel=0.1)


def test_without_another_refusal_the_speed_comes_back() -> None:
    throttle = Throttle(most_in_flight=100, limits={Measure.REQUESTS: 600})
    throttle.refused(SECOND, now=NOW)

    sent_within(throttle, timedelta(minutes=3), cost=ONE, begin=NOW + SECOND)
    times = sent_within(throttle, timedelta(minutes=1), cost=ONE, begin=NOW + timedelta(minutes=3, seconds=1))

    assert len(times) >= 600 * (SHARE - 0.01)


def test_after_many_failures_one_call_at_a_time_finds_out_whether_the_provider_is_back() -> None:
    throttle = Throttle(most_in_flight=100, limits={Measure.REQUESTS: 600})
    assert [throttle.failed() for _ in range(GIVE_UP_AFTER)] == [False] * (GIVE_UP_AFTER - 1) + [True]
    assert throttle.window == 1
    assert throttle.failed()

    throttle.answered({}, foreseen=ONE, used=ONE)

    assert throttle.window == 100
    assert not throttle.failed()
