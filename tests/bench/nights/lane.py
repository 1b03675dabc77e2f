"""The realtime lane: calls what is owed at the limit, the earliest deadline first, request by request.

Calls that brought no answer go round once more, so a chunk takes a little more than its requests.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from offpeak.lanes.throttle import SHARE

from .fixture import MINUTE, Fixture
from .night import Batch, Night


@dataclass(slots=True)
class Work:
    """Requests of a batch's file, from `first` on."""

    batch: Batch
    first: int
    ready: float
    calls: float
    """Still to be made, those that go round again included."""


class RealtimeLane:
    def __init__(self, night: Night, fixture: Fixture) -> None:
        self._outage, self._throttle = night.outage, night.throttle
        self._rounds = 1 + night.failed_share
        self._per_second = fixture.limit_per_minute * SHARE / MINUTE
        self._changes = sorted({night.outage.start, night.outage.end, night.throttle.start})
        self._work: list[Work] = []
        self._now = 0.0
        self.known = 1.0
        """The share of the limit that the endpoints were last seen to take."""

    def add(self, batch: Batch, first: int, *, ready: float) -> None:
        calls = (batch.requests - first) * self._rounds
        self._work.append(Work(batch, first, ready, calls))
        self._work.sort(key=lambda work: (work.batch.job.due, work.batch.number))

    @property
    def busy(self) -> bool:
        return bool(self._work)

    def owed(self) -> Iterator[tuple[Batch, int, float]]:
        """Every chunk that is not bought yet, how many of its requests are not, and from when on they may be."""
        for work in self._work:
            yield work.batch, math.ceil(work.calls / self._rounds), work.ready

    def advance(self, until: float) -> Iterator[tuple[Work, float]]:
        """Call until then; what was bought, and when."""
        while self._now < until and self._work:
            work = next((each for each in self._work if each.ready <= self._now), None)
            later = [*self._changes, *(each.ready for each in self._work)]
            change = min([until, *(each for each in later if each > self._now)])
            rate = self._rate() if work else 0.0
            if work is None or not rate:
                self._now = change
                continue
            done = self._now + work.calls / rate
            if done <= change:
                self._work.remove(work)
                yield work, done
            else:
                work.calls -= (change - self._now) * rate
            self._now = min(done, change)
        self._now = max(self._now, until) if until < math.inf else self._now

    def _rate(self) -> float:
        """Calls a second now."""
        if self._outage.covers(self._now):
            return 0.0
        self.known = self._throttle.capacity if self._now >= self._throttle.start else 1.0
        return self._per_second * self.known
