"""The provider of a night: its batches end, expire or are cancelled, and it writes a bill for what it answers.

It knows nothing of policies. Whoever asks it for an answer pays, also for one that it has given before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from .fixture import Fixture, Scenario
from .night import Batch, Night

BATCH_PRICE = 0.5
"""Of the realtime price (both providers' price lists)."""


class Tier(StrEnum):
    BATCH = "batch"
    REALTIME = "realtime"


@dataclass(frozen=True, slots=True)
class Bill:
    """Answers to the requests `first` up to `stop` of a batch's file, and when the last of them was there."""

    batch: int
    tier: Tier
    first: int
    stop: int
    at: float

    @property
    def price(self) -> float:
        return (self.stop - self.first) * (BATCH_PRICE if self.tier is Tier.BATCH else 1.0)


class Unreachable(Exception):
    """The provider takes no request at the moment."""


class Provider:
    def __init__(self, night: Night, fixture: Fixture, scenario: Scenario) -> None:
        self._night, self._queued = night, fixture.queued_share
        self._credited = scenario.credited
        self._cancelled_at: dict[int, float] = {}
        self._ends: dict[int, float] = {}
        self.bills: list[Bill] = []

    def cancel(self, batch: Batch, now: float) -> None:
        """Raises Unreachable."""
        self._reach(now)
        if batch.number not in self._cancelled_at and now < batch.ends:
            self._cancelled_at[batch.number] = now
            ends = self._night.outage.delayed(now, batch.cancel_takes)
            self._ends[batch.number] = min(ends, batch.ends)

    def ended(self, batches: Sequence[Batch], now: float) -> list[Batch]:
        """Those that have ended, however they did. Raises Unreachable."""
        self._reach(now)
        return [batch for batch in batches if self.ends(batch) <= now]

    def ends(self, batch: Batch) -> float:
        return self._ends.get(batch.number, batch.ends)

    def collect(self, batch: Batch) -> int:
        """How many requests of a batch that has ended have an answer: the first ones. The batch is billed for them."""
        ends = self.ends(batch)
        if ends < batch.ends:
            answered = int(self.progress(batch, self._cancelled_at[batch.number]) * batch.requests * self._credited)
        else:
            answered = 0 if batch.never else batch.requests
        if answered:
            self.bills.append(Bill(batch.number, Tier.BATCH, 0, answered, ends))
        return answered

    def call(self, batch: Batch, first: int, at: float) -> None:
        """Realtime answers to all requests of a batch's file from `first` on; the last one came then."""
        self.bills.append(Bill(batch.number, Tier.REALTIME, first, batch.requests, at))

    def progress(self, batch: Batch, now: float) -> float:
        """The share of its requests that a batch has answered."""
        elapsed = (now - batch.job.submitted) / (batch.ends - batch.job.submitted)
        return min(max(elapsed - self._queued, 0.0) / (1 - self._queued), 1.0)

    def _reach(self, now: float) -> None:
        if self._night.outage.covers(now):
            raise Unreachable
