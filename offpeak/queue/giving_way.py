"""A chunk for which there is no room: it waits, or gives way as its asset chose beforehand.

Only a full queue makes it give way. While the provider cannot be reached nothing leaves the queue either, and
everything waits. What another asset waits for, too, is never let go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from offpeak.clock import to_micros
from offpeak.errors import ProviderUnavailable
from offpeak.ledger import degrading, dropping, queueing, splitting
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.submissions import Submission
from offpeak.providers.base import Kind, Provider
from offpeak.queue.admission import Place, in_words
from offpeak.queue.policy import OnFull, QueuePolicy

AWAY = timedelta(minutes=10)
"""How long a chunk waits on whose time is over while the provider is away."""


class Gave(Enum):
    """What became of a chunk without room."""

    NOTHING = auto()
    """It waits on."""
    PARTS = auto()
    """A part of it fits: it was split."""
    WAY = auto()
    """Its requests were let go; where its asset degrades, others are queued in their place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivingWay:
    """One job's choice."""

    job_id: int
    asset: str
    policy: QueuePolicy

    def give_up_at(self, chunk: Submission) -> datetime | None:
        """Until when a chunk waits for room; None: as long as it takes.

        What stands in for another request already, or asks for vectors, waits: vectors of two models are not to be
        compared.
        """
        match OnFull(self.policy.on_full):
            case OnFull.DELAY:
                return None
            case OnFull.DROP:
                pass
            case OnFull.DEGRADE if chunk.kind is not Kind.CHAT:
                return None
        if chunk.degraded_from is not None or chunk.created_at is None:
            return None
        return chunk.created_at + self.policy.patience

    def give(
        self,
        ledger: Ledger,
        provider: Provider,
        chunk: Submission,
        queue: queueing.Queue,
        place: Place,
        *,
        now: datetime,
    ) -> tuple[Gave, str]:
        """Do what is due about a chunk that was not admitted; returns that, and a sentence on it."""
        until = self.give_up_at(chunk)
        why = in_words(queue, place)
        if until is None or now < until:
            self._note(ledger, chunk, until)
            return Gave.NOTHING, why
        if not _reachable(provider, now):
            self._note(ledger, chunk, now + AWAY)
            return Gave.NOTHING, f"{why}; the provider cannot be reached, and nothing is let go meanwhile"
        if parts := _fitting(ledger, provider, chunk, place):
            splitting.split(ledger, provider, chunk, parts, why=f"a part of it fits; the rest {why}")
            return Gave.PARTS, f"{len(parts[0]):,} of {chunk.requests:,} requests fit; the rest {why}"
        degrade_to = (self.policy.degrade_to or "").partition("/")[2]
        if not dropping.drop(ledger, chunk, asset=self.asset, why=why, degraded=bool(degrade_to)):
            self._note(ledger, chunk, None)
            return Gave.NOTHING, f"{why}; it is not let go, because another asset waits for it, too"
        if not degrade_to:
            return Gave.WAY, f"{chunk.requests:,} requests are dropped until the next run: each {why}"
        degrading.buy(ledger, provider, self.job_id, kind=chunk.kind, model=chunk.model, degrade_to=degrade_to)
        return Gave.WAY, f"{chunk.requests:,} requests are bought from {degrade_to} until the next run: each {why}"

    def _note(self, ledger: Ledger, chunk: Submission, until: datetime | None) -> None:
        if chunk.give_up_at != until:
            dropping.give_up_at(ledger, chunk, None if until is None else to_micros(until))


def _reachable(provider: Provider, now: datetime) -> bool:
    """Whether the provider answers at all."""
    try:
        next(iter(provider.batches(since=now)), None)
    except ProviderUnavailable:
        return False
    return True


def _fitting(ledger: Ledger, provider: Provider, chunk: Submission, place: Place) -> Sequence[range]:
    """The chunk in two parts, the first of which there is room for; nothing where not one request fits."""
    around = len(provider.spooling.head) + len(provider.spooling.tail)
    room = place.free_tokens * queueing.BYTES_PER_TOKEN - around
    offsets = splitting.offsets_of(ledger, chunk)
    if chunk.requests < 2 or room < offsets[1] - offsets[0]:
        return ()
    parts = splitting.cut(offsets, chunk.spool_bytes, most_bytes=chunk.spool_bytes, first_bytes=room)
    return parts if len(parts) > 1 else ()
