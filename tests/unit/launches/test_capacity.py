"""Whether a launch fits, which limit binds, what to raise it to, and by when."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpeak.launches.capacity import Capacity, capacity, rounded_up
from offpeak.launches.limits import Limits
from offpeak.providers.realtime import Measure

from .sample import HAIKU, MINI, STARTS, TIER, launch, limits

EARLY = STARTS - timedelta(days=100)


def found(known: Mapping[str, Limits] = TIER, *, now: datetime = EARLY, **more: Any) -> Capacity:
    return capacity(launch(), known, now=now, **more)


def test_every_known_limit_is_held_against_what_is_needed_the_tightest_first() -> None:
    told = [
        (each.model, each.measure, round(each.needed), round(each.usable), round(each.headroom, 2))
        for each in found().reached
    ]
    assert told == [
        (HAIKU, Measure.TOKENS, 54_000, 40_000, -0.35),
        (HAIKU, Measure.REQUESTS, 36, 40, 0.1),
        (MINI, Measure.TOKENS, 216_000, 400_000, 0.46),
        (MINI, Measure.REQUESTS, 144, 400, 0.64),
    ]


def test_what_does_not_fit_is_raised_to_a_limit_that_leaves_the_spare_part_free() -> None:
    (to_raise,) = found().to_raise
    assert found().binding == to_raise
    assert to_raise.raise_to == 68_000  # 54,000 of 80% are 67,500
    raised = found({**TIER, HAIKU: limits(50, 68_000)})
    assert raised.fits
    assert raised.to_raise == ()


def test_without_precomputation_more_has_to_be_raised() -> None:
    told = {(each.model, each.measure): each.raise_to for each in found(precomputed=0).to_raise}
    assert told == {
        (HAIKU, Measure.TOKENS): 230_000,  # 225,000
        (HAIKU, Measure.REQUESTS): 150,
        (MINI, Measure.TOKENS): 900_000,
        (MINI, Measure.REQUESTS): 600,
    }


def test_it_fits_up_to_the_usable_part_and_no_further() -> None:
    assert found({**TIER, HAIKU: limits(45, 67_500)}).fits
    assert not found({**TIER, HAIKU: limits(44, 67_500)}).fits
    assert not found({**TIER, HAIKU: limits(45, 67_499)}).fits


def test_what_nobody_knows_does_not_fit() -> None:
    unsure = found({MINI: TIER[MINI]})
    assert unsure.unknown == (HAIKU,)
    assert not unsure.fits
    assert unsure.to_raise == ()


def test_a_limit_that_nobody_states_beside_another_one_is_named() -> None:
    told = found({MINI: TIER[MINI], HAIKU: limits(50, None)})
    assert told.unlimited == ((HAIKU, Measure.TOKENS),)
    assert told.fits


def test_what_asks_no_model_needs_no_limits() -> None:
    told = found({}, precomputed=1)
    assert (told.fits, told.unknown, told.binding) == (True, (), None)


def test_a_higher_limit_is_asked_for_so_many_days_before_the_launch() -> None:
    assert found().raise_by == STARTS - timedelta(days=14)


@pytest.mark.parametrize(
    ("days_before", "urgent"), [(18, False), (17.01, False), (17, True), (14, True), (3, True), (0, True), (-0.4, True)]
)
def test_it_is_urgent_from_three_days_before_the_day_by_which_to_ask(days_before: float, urgent: bool) -> None:
    assert found(now=STARTS - timedelta(days=days_before)).urgent is urgent


@pytest.mark.parametrize(("days_before", "urgent"), [(8, False), (7, True)])
def test_it_is_urgent_in_the_quiet_days_however_late_one_may_ask(days_before: float, urgent: bool) -> None:
    planned = launch(raise_time=timedelta(0))
    assert capacity(planned, TIER, now=STARTS - timedelta(days=days_before)).urgent is urgent


def test_a_launch_is_over_when_its_window_is() -> None:
    ends = launch().ends
    assert not found(now=ends - timedelta(seconds=1)).over
    assert found(now=ends).over


@pytest.mark.parametrize(
    ("figure", "expected"),
    [(0, 0), (0.2, 1), (45, 45), (45.01, 46), (99.5, 100), (100, 100), (101, 110), (225_000, 230_000), (1e6, 10**6)],
)
def test_a_limit_to_ask_for_has_two_digits_and_noughts(figure: float, expected: int) -> None:
    assert rounded_up(figure) == expected


@given(st.floats(0.001, 1e12))
def test_rounding_up_gives_enough_and_not_much_more(figure: float) -> None:
    assert figure * (1 - 1e-8) <= rounded_up(figure) <= max(figure + 1, figure * 1.1 + 1e-6)


@given(
    users=st.integers(1, 10**6),
    share=st.floats(0, 0.99),
    spare=st.floats(0, 0.9),
    requests=st.integers(1, 10**6),
    tokens=st.integers(1, 10**9),
)
def test_whatever_does_not_fit_fits_once_its_limits_are_raised_as_said(
    users: int, share: float, spare: float, requests: int, tokens: int
) -> None:
    planned = launch(peak_users=users, precomputed_share=share, spare=spare)
    known = {MINI: limits(requests, tokens), HAIKU: limits(requests, tokens)}
    told = capacity(planned, known, now=EARLY)
    raised = {
        model: limits(_raised(told, model, Measure.REQUESTS), _raised(told, model, Measure.TOKENS)) for model in known
    }
    assert capacity(planned, raised, now=EARLY).fits


def _raised(told: Capacity, model: str, measure: Measure) -> int:
    (each,) = [each for each in told.reached if (each.model, each.measure) == (model, measure)]
    return each.raise_to or each.limit.per_minute
