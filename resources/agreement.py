"""How well two graders agree, and how sure a figure is: plain statistics, each with its formula and its source.

Shares and intervals are between 0 and 1. Nothing here knows what is being graded.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

Z95 = 1.959963984540054
"""Standard deviations of the normal distribution around its mean that hold 95% of it."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with the ends of its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} (95%: {self.low:.2f} to {self.high:.2f})"


def agreement(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """The share of pairs in which both say the same. Raises ValueError without a pair, or for lists unequally long."""
    if not one or len(one) != len(other):
        raise ValueError(f"Agreement needs pairs, and got {len(one)} and {len(other)} labels.")
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def cohens_kappa(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """(observed - expected) / (1 - expected): 1 is full agreement, 0 what chance alone would give (Cohen, 1960).

    Two graders who both only ever use one and the same label agree by that alone: 1.0 by convention.
    """
    observed, first, second = agreement(one, other), Counter(one), Counter(other)
    expected = sum(first[label] * second[label] for label in first) / len(one) ** 2
    return 1.0 if expected == 1 else (observed - expected) / (1 - expected)


def wilson(successes: float, trials: int) -> Estimate:
    """A share with its Wilson score interval, which stays within 0 and 1 (Wilson, 1927). A tie may count as a half."""
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials} is not a share.")
    share, spread = successes / trials, Z95**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = Z95 / (1 + spread) * sqrt(share * (1 - share) / trials + spread / (4 * trials))
    # at the ends the formula gives exactly 0 and 1, and floating point a hair beside them
    return Estimate(share, max(0.0, centre - half), min(1.0, centre + half))


def paired_bootstrap(differences: Sequence[float], *, rounds: int = 10_000, seed: int = 0) -> Estimate:
    """The mean of paired differences with its percentile bootstrap interval (Efron, 1979): 2.5% and 97.5% of `rounds`
    means of samples drawn with replacement. The same differences and seed give the same interval.
    """
    if not differences:
        raise ValueError("A bootstrap needs at least one pair.")
    values = np.asarray(differences, dtype=float)
    drawn = np.random.default_rng(seed).integers(len(values), size=(rounds, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high))


def confidence_threshold(confidences: Sequence[float], agreed: Sequence[bool], *, wanted: float) -> float | None:
    """The lowest confidence from which on the share of agreement is `wanted` or more; None where no such exists."""
    pairs = sorted(zip(confidences, agreed, strict=True), reverse=True)
    found, right = None, 0
    for number, (confidence, same) in enumerate(pairs, start=1):
        right += same
        last_of_its_kind = number == len(pairs) or pairs[number][0] != confidence
        if last_of_its_kind and right / number >= wanted:
            found = confidence
    return found
