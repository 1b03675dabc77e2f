"""What hangs on each guess of a launch."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpeak.launches.capacity import capacity
from offpeak.launches.sensitivity import Guess, changed, sensitivities, turns_at

from .sample import HAIKU, MINI, STARTS, TIER, launch, limits

ENOUGH = {**TIER, HAIKU: limits(100, 100_000)}
"""Haiku: 36 of 80 requests, 54,000 of 80,000 tokens. Mini: 144 of 400 and 216,000 of 400,000."""


@pytest.mark.parametrize(
    ("guess", "off"),
    [
        (Guess.PEAK_USERS, 80 / 54 - 1),
        (Guess.REQUESTS, 80 / 36 - 1),
        (Guess.TOKENS, 80 / 54 - 1),
        (Guess.LENGTH, 54 / 80 - 1),
        # 180,000 tokens without any: 4/9 of them have to be answered before.
        (Guess.PRECOMPUTED, (1 - 80 / 180) / 0.7 - 1),
    ],
)
def test_it_says_how_far_each_guess_may_be_off(guess: Guess, off: float) -> None:
    assert turns_at(launch(), ENOUGH, guess) == pytest.approx(off)


@pytest.mark.parametrize(
    ("guess", "off"),
    [
        (Guess.PEAK_USERS, 40 / 54 - 1),
        (Guess.REQUESTS, None),  # the tokens do not fit, and fewer requests are as many tokens
        (Guess.TOKENS, 40 / 54 - 1),
        (Guess.LENGTH, 54 / 40 - 1),
        (Guess.PRECOMPUTED, (1 - 40 / 180) / 0.7 - 1),
    ],
)
def test_of_what_does_not_fit_it_says_from_where_on_it_would(guess: Guess, off: float | None) -> None:
    assert turns_at(launch(), TIER, guess) == (None if off is None else pytest.approx(off))


def test_what_fits_without_precomputation_hangs_on_no_share_of_it() -> None:
    plenty = {MINI: limits(10_000, 10**7), HAIKU: limits(10_000, 10**7)}
    assert turns_at(launch(), plenty, Guess.PRECOMPUTED) is None


def test_a_launch_that_is_wholly_precomputed_hangs_on_it() -> None:
    planned = launch(precomputed_share=1)
    assert turns_at(planned, TIER, Guess.PRECOMPUTED) == pytest.approx(1 - 40 / 180 - 1)
    assert turns_at(planned, TIER, Guess.PEAK_USERS) is None


def test_the_curves_go_through_what_is_planned_and_to_half_and_twice_of_it() -> None:
    told = {each.guess: dict(each.curve) for each in sensitivities(launch(), ENOUGH)}
    planned = 1 - 54 / 80
    assert all(curve[0] == pytest.approx(planned) for curve in told.values())
    assert told[Guess.PEAK_USERS][-0.5] == pytest.approx(1 - 27 / 80)
    assert told[Guess.PEAK_USERS][1.0] == pytest.approx(1 - 108 / 80)
    assert told[Guess.LENGTH][-0.5] == pytest.approx(1 - 108 / 80)
    assert told[Guess.REQUESTS][0.5] == pytest.approx(planned)  # 54 of 80 requests, as many as of thousands of tokens
    assert told[Guess.REQUESTS][1.0] == pytest.approx(1 - 72 / 80)
    assert told[Guess.TOKENS][-0.5] == pytest.approx(1 - 36 / 80)  # the requests bind then
    assert told[Guess.PRECOMPUTED][-0.5] == pytest.approx(1 - 117 / 80)


def test_no_share_is_above_one() -> None:
    told = {each.guess: dict(each.curve) for each in sensitivities(launch(), ENOUGH)}
    assert max(told[Guess.PRECOMPUTED]) == 0.4
    with pytest.raises(ValueError, match="pre-computed share cannot be off by \\+50%"):
        changed(launch(), Guess.PRECOMPUTED, 0.5)


def test_a_share_of_nought_is_no_guess() -> None:
    told = [each.guess for each in sensitivities(launch(precomputed_share=0), ENOUGH)]
    assert told == [Guess.PEAK_USERS, Guess.REQUESTS, Guess.TOKENS, Guess.LENGTH]


def test_where_no_limit_is_known_there_is_nothing_to_tell() -> None:
    assert sensitivities(launch(), {MINI: {}}) == ()


@given(
    guess=st.sampled_from(Guess),
    users=st.integers(1, 10_000),
    share=st.floats(0.05, 0.95),
    requests=st.integers(1, 5_000),
    tokens=st.integers(1_000, 10**7),
)
def test_a_little_before_it_turns_it_is_otherwise_than_a_little_after(
    guess: Guess, users: int, share: float, requests: int, tokens: int
) -> None:
    planned = launch(peak_users=users, precomputed_share=share)
    known = {MINI: limits(requests, tokens), HAIKU: limits(requests, tokens)}
    off = turns_at(planned, known, guess)
    if off is None:
        return

    def fits(by: float) -> bool:
        return capacity(changed(planned, guess, by), known, now=STARTS).fits

    nudge = 1e-4 * (1 + off)
    fewer_is_worse = guess in {Guess.LENGTH, Guess.PRECOMPUTED}
    if guess is not Guess.PRECOMPUTED or planned.precomputed_share * (1 + off + nudge) <= 1:
        assert fits(off + nudge) is fewer_is_worse
    assert fits(off - nudge) is not fewer_is_worse


def test_a_changed_guess_leaves_the_others_as_they_are() -> None:
    fewer = changed(launch(), Guess.TOKENS, -0.5).session
    assert (fewer.input_tokens, fewer.output_tokens, fewer.requests) == (4_800, 1_200, 8)
    assert changed(launch(), Guess.LENGTH, 1.0).session.length == timedelta(minutes=24)
    assert changed(launch(), Guess.PRECOMPUTED, 0.1).precomputed_share == pytest.approx(0.77)
