"""How much hangs on each guess of a launch: what becomes of the headroom where one of them is off, and the rest right.

A guess is off by a share of itself: 0.5 is half as much again, -0.5 is half of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from offpeak.launches.capacity import capacity
from offpeak.launches.launch import Launch
from offpeak.launches.limits import Limits
from offpeak.providers.realtime import Measure


class Guess(StrEnum):
    """What somebody had to guess."""

    PEAK_USERS = "visitors at the peak"
    REQUESTS = "requests per session"
    TOKENS = "tokens per session"
    LENGTH = "length of a session"
    PRECOMPUTED = "pre-computed share"


OFFS: Sequence[float] = tuple(percent / 100 for percent in range(-50, 101, 5))
"""By how much each guess is off in a curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """What hangs on one guess."""

    guess: Guess
    curve: Sequence[tuple[float, float]]
    """By how much it is off, and the least headroom of any limit then. The pre-computed share ends at 1."""
    turns_at: float | None
    """By how much it is off where the launch only just fits; None where no value of it changes whether it fits."""


def sensitivities(launch: Launch, limits: Mapping[str, Limits]) -> Sequence[Sensitivity]:
    """One for each guess; none where no limit is known, and none of a pre-computed share that is nought."""
    if not any(limits.get(model) for model in launch.models):
        return ()
    return tuple(
        Sensitivity(
            guess=guess,
            curve=_curve(launch, limits, guess),
            turns_at=turns_at(launch, limits, guess),
        )
        for guess in Guess
        if guess is not Guess.PRECOMPUTED or launch.precomputed_share > 0
    )


def changed(launch: Launch, guess: Guess, off: float) -> Launch:
    """The launch as it is where the guess is off, above -1. Raises ValueError for a share that cannot be."""
    factor, session = 1 + off, launch.session
    if factor <= 0 or not _possible(launch, guess, off):
        raise ValueError(f"{guess} cannot be off by {off:+.0%}")
    match guess:
        case Guess.PEAK_USERS:
            # So many more visitors ask as often as these ones would in shorter sessions, and need be no whole number.
            return replace(launch, session=replace(session, length=session.length / factor))
        case Guess.REQUESTS:
            return replace(launch, session=replace(session, requests=session.requests * factor))
        case Guess.TOKENS:
            more = {name: getattr(session, name) * factor for name in ("input_tokens", "output_tokens")}
            return replace(launch, session=replace(session, **more))
        case Guess.LENGTH:
            return replace(launch, session=replace(session, length=session.length * factor))
        case Guess.PRECOMPUTED:
            return replace(launch, precomputed_share=min(1.0, launch.precomputed_share * factor))


def turns_at(launch: Launch, limits: Mapping[str, Limits], guess: Guess) -> float | None:
    """By how much the guess is off where the launch only just fits into the limits that are known."""
    precomputed = 0.0 if guess is Guess.PRECOMPUTED else launch.precomputed_share
    reached = capacity(launch, limits, now=launch.starts, precomputed=precomputed).reached
    moved = {Guess.REQUESTS: {Measure.REQUESTS}, Guess.TOKENS: {Measure.TOKENS}}.get(guess, set(Measure))
    needed = [each for each in reached if each.needed > 0 and each.measure in moved]
    if not needed or any(not each.fits for each in reached if each.measure not in moved):
        return None
    times = min(each.usable / each.needed for each in needed)
    match guess:
        case Guess.PEAK_USERS | Guess.REQUESTS | Guess.TOKENS:
            return times - 1
        case Guess.LENGTH:
            return 1 / times - 1
        case Guess.PRECOMPUTED:
            fits_without = times >= 1 or launch.precomputed_share == 0
            return None if fits_without else (1 - times) / launch.precomputed_share - 1


def _curve(launch: Launch, limits: Mapping[str, Limits], guess: Guess) -> Sequence[tuple[float, float]]:
    offs = [off for off in OFFS if _possible(launch, guess, off)]
    return [(off, _headroom(changed(launch, guess, off), limits)) for off in offs]


def _possible(launch: Launch, guess: Guess, off: float) -> bool:
    return guess is not Guess.PRECOMPUTED or launch.precomputed_share * (1 + off) <= 1


def _headroom(launch: Launch, limits: Mapping[str, Limits]) -> float:
    binding = capacity(launch, limits, now=launch.starts).binding
    assert binding is not None  # noqa: S101 - asked for only where a limit is known
    return binding.headroom
