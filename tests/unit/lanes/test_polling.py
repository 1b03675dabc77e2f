"""A batch is asked for often around the time it usually ends, and seldom before and long after."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpeak.lanes.polling import LONGEST, SHORTEST, next_look

S = timedelta(seconds=1)
MIN = timedelta(minutes=1)
H = timedelta(hours=1)
HOURS = [1 * H, 2 * H, 4 * H]
"""Past batches; the usual one took 2 h."""

durations = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3))


@pytest.mark.parametrize(
    ("elapsed", "wait"),
    [
        (0 * H, 30 * MIN),
        (20 * MIN, 10 * MIN),
        (30 * MIN - S, SHORTEST),
        (30 * MIN, 6 * MIN),
        (2 * H, 6 * MIN),
        (4 * H, 6 * MIN),
        (4 * H + S, LONGEST),
        (30 * H, LONGEST),
    ],
)
def test_what_is_usual_for_the_asset_says_when_to_look(elapsed: timedelta, wait: timedelta) -> None:
    assert next_look(elapsed, HOURS) == wait


@pytest.mark.parametrize(
    ("elapsed", "wait"),
    [
        (0 * S, SHORTEST),
        (50 * S, SHORTEST),
        (10 * MIN, MIN),
        (50 * MIN, 5 * MIN),
        (100 * MIN, LONGEST),
        (24 * H, LONGEST),
    ],
)
def test_without_history_the_looks_grow_rarer_as_it_drags(elapsed: timedelta, wait: timedelta) -> None:
    assert next_look(elapsed, []) == wait


def test_a_batch_that_drags_is_never_asked_for_more_often_than_a_punctual_one() -> None:
    past = [1 * MIN, 100 * MIN, 100 * MIN]
    assert next_look(100 * MIN, past) == 5 * MIN
    assert next_look(101 * MIN, past) == LONGEST
    assert next_look(5 * MIN, [2 * MIN] * 3) == 30 * S
    assert next_look(61 * S, [1 * MIN]) == 6.1 * S


def test_short_batches_are_asked_for_at_the_shortest_interval() -> None:
    assert next_look(0 * S, [2 * S] * 20) == SHORTEST
    assert next_look(2 * S, [2 * S] * 20) == SHORTEST


@given(durations, st.lists(durations, max_size=20))
def test_the_order_of_the_past_says_nothing_and_no_look_is_too_soon(elapsed: timedelta, past: list[timedelta]) -> None:
    wait = next_look(elapsed, past)
    assert wait >= SHORTEST
    assert wait == next_look(elapsed, past[::-1])


@given(durations, st.lists(durations, min_size=1, max_size=20))
def test_from_half_of_the_shortest_time_on_no_look_is_far_away(elapsed: timedelta, past: list[timedelta]) -> None:
    wait = next_look(elapsed, past)
    assert wait <= (LONGEST if elapsed >= min(past) / 2 else max(min(past) / 2, SHORTEST))
