"""When requests come and what they ask for. The same seed gives the same ones, so that two plays can be compared.

Arrivals are a Poisson process, as visitors who know nothing of each other make it: the rate rises over the first tenth
of the time, stays at the peak, and falls over the last tenth.
"""

from collections.abc import Iterator, Mapping
from random import Random
from typing import NamedTuple

from offpeak.launches.traffic import Row, Traffic

RAMP = 0.1
"""The share of the time in which the rate rises, and in which it falls again."""


class Arrival(NamedTuple):
    """One request to a model, or to what was pre-computed for it."""

    number: int
    """From 0."""
    at: float
    """Seconds from the beginning."""
    row: Row
    model: str
    """The "provider/model" that answers it where nothing is pre-computed."""


def arrivals(
    traffic: Traffic, *, rate: float, seconds: float, models: Mapping[str, float], seed: int
) -> Iterator[Arrival]:
    """The requests of `seconds`, in order; `rate` is the peak's, a second. `models` are shares that add up to 1."""
    random = Random(seed)
    names, shares = list(models), list(models.values())
    at, number = 0.0, 0
    while True:
        # Thinning: candidates come at the peak's rate throughout, and while it is lower, some of them are left out.
        at += random.expovariate(rate)
        if at >= seconds:
            return
        if random.random() >= level(at, seconds):
            continue
        yield Arrival(number, at, traffic.draw(random), random.choices(names, shares)[0])
        number += 1


def level(at: float, seconds: float) -> float:
    """The share of the peak's rate at a moment."""
    ramp = RAMP * seconds
    return max(0.0, min(1.0, at / ramp, (seconds - at) / ramp))
