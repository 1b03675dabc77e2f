"""What came of a play's requests, and the figures of it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Ending(StrEnum):
    """How one request ended."""

    HIT = "hit"
    """A pre-computed row answered it."""
    ANSWERED = "answered"
    """A model did."""
    FAILED = "failed"
    """It was given up: refused again and again, not answered in time, or answered with an error."""
    OVERLOADED = "overloaded"
    """It was never sent, because too many were on their way."""


class Outcome(NamedTuple):
    """One request."""

    ending: Ending
    seconds: float = 0.0
    """Until it was answered or given up; of a hit, what reading its row took."""
    refusals: int = 0
    """Answers with 429."""
    cost_pico: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds; None where there was no request."""

    p50_ms: float | None
    p99_ms: float | None

    @classmethod
    def of(cls, seconds: Iterable[float]) -> "Latency":
        ordered = sorted(seconds)
        return cls(p50_ms=_rank(ordered, 0.50), p99_ms=_rank(ordered, 0.99))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One play. Latencies are of requests that were sent, also of those that were given up in the end."""

    requests: int
    hits: int
    throttled: int
    """Requests that were refused at least once for a limit."""
    refusals: int
    """Answers with 429: one request can get several."""
    failed: int
    """Requests without an answer in the end; the overloaded ones are among them."""
    overloaded: int
    latency: Latency
    hit_latency: Latency
    miss_latency: Latency
    cost_pico: int

    @property
    def hit_rate(self) -> float:
        """The share of requests that a pre-computed row answered."""
        return self.hits / self.requests if self.requests else 0.0

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> "Figures":
        hits = [each.seconds for each in outcomes if each.ending is Ending.HIT]
        misses = [each.seconds for each in outcomes if each.ending in (Ending.ANSWERED, Ending.FAILED)]
        overloaded = sum(each.ending is Ending.OVERLOADED for each in outcomes)
        return cls(
            requests=len(outcomes),
            hits=len(hits),
            throttled=sum(each.refusals > 0 for each in outcomes),
            refusals=sum(each.refusals for each in outcomes),
            failed=sum(each.ending is Ending.FAILED for each in outcomes) + overloaded,
            overloaded=overloaded,
            latency=Latency.of([*hits, *misses]),
            hit_latency=Latency.of(hits),
            miss_latency=Latency.of(misses),
            cost_pico=sum(each.cost_pico for each in outcomes),
        )


def compared(with_results: Figures, without: Figures) -> str:
    """The spike with and without pre-computed results, in one sentence."""
    return (
        f"Without pre-computed results {_share(without.throttled, without)} of the requests are throttled, "
        f"{_share(without.failed, without)} fail, and one in a hundred takes longer than "
        f"{_ms(without.latency.p99_ms)}; with them it is {_share(with_results.throttled, with_results)}, "
        f"{_share(with_results.failed, with_results)} and {_ms(with_results.latency.p99_ms)}."
    )


def _rank(ordered: Sequence[float], share: float) -> float | None:
    """The nearest rank: the smallest value that so many are not above."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] * 1_000


def _share(count: int, figures: Figures) -> str:
    return f"{count / figures.requests:.0%}" if figures.requests else "none"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} ms"
