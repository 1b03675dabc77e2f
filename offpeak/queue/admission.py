"""Which of the chunks that wait for a model may be sent now: a decision about plain values and the time.

They go in order of importance, and strictly so: what is more important and does not fit yet keeps the room that becomes
free, and nothing overtakes it. Importance grows with waiting, so that nothing starves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto

from offpeak.clock import moment
from offpeak.ledger.queueing import Queue, Waiting

AGEING = timedelta(hours=1)
"""A chunk gains one step of priority for each such time that it has waited."""

_NEVER = datetime.max.replace(tzinfo=UTC)


class Shortage(Enum):
    """What there is not enough of for a chunk."""

    TOKENS = auto()
    BATCHES = auto()
    CREATES = auto()
    ACCOUNT = auto()
    """The provider said that the account is full, whatever is known here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a chunk stands in its queue."""

    admitted: bool
    """It may be sent now."""
    ahead: int = 0
    """Chunks that wait, too, and go first."""
    shortage: Shortage | None = None
    """What the first of those that are not admitted lacks."""
    free_tokens: int = 0
    """How much of the chunk could be sent now, if it were smaller."""


def order(waiting: Sequence[Waiting], now: datetime) -> list[Waiting]:
    """The most important first: by priority and the hours waited, then by deadline, then by age."""

    def importance(each: Waiting) -> tuple[int, datetime, datetime, int]:
        steps = max(now - each.since, timedelta(0)) // AGEING
        return -(each.priority + steps), each.due_at or _NEVER, each.since, each.chunk_id

    return sorted(waiting, key=importance)


def places(queue: Queue, now: datetime) -> Mapping[int, Place]:
    """By chunk, where it stands. What is admitted fits all together."""
    tokens, batches, creates = queue.tokens, queue.batches, queue.creates
    found: dict[int, Place] = {}
    short: Shortage | None = None
    free = 0
    for ahead, chunk in enumerate(order(queue.waiting, now)):
        if short is None:
            short = _shortage(queue, chunk, tokens=tokens, batches=batches, creates=creates, sent=ahead)
            if short is Shortage.TOKENS and queue.limits.enqueued_tokens is not None:
                free = max(queue.limits.enqueued_tokens - tokens, 0)
        if short is None:
            tokens, batches, creates = tokens + chunk.tokens, batches + 1, creates + 1
            found[chunk.chunk_id] = Place(admitted=True, ahead=ahead)
        else:
            found[chunk.chunk_id] = Place(admitted=False, ahead=ahead, shortage=short, free_tokens=free)
            free = 0  # it is the first one's to use
    return found


def _shortage(queue: Queue, chunk: Waiting, *, tokens: int, batches: int, creates: int, sent: int) -> Shortage | None:
    """What there is not enough of for the next chunk, once `sent` others went before it."""
    limits = queue.limits
    if queue.full_until is not None or (queue.probing and sent):
        return Shortage.ACCOUNT
    if limits.open_batches is not None and batches >= limits.open_batches:
        return Shortage.BATCHES
    if limits.creates_per_hour is not None and creates >= limits.creates_per_hour:
        return Shortage.CREATES
    # what is larger than the limit by itself, and cannot be split, goes alone: the provider's own count may differ
    if limits.enqueued_tokens is not None and tokens and tokens + chunk.tokens > limits.enqueued_tokens:
        return Shortage.TOKENS
    return None


def in_words(queue: Queue, place: Place) -> str:
    """Why a chunk waits, without a full stop: "waits for room: 1,900,000 of 2,000,000 tokens are enqueued for ..."."""
    name, limits = f"{queue.provider}/{queue.model}", queue.limits
    match place.shortage:
        case None:
            return f"is about to be sent to {name}"
        case Shortage.TOKENS:
            what = f"{queue.tokens:,} of {limits.enqueued_tokens or 0:,} tokens are enqueued for {name}"
        case Shortage.BATCHES:
            what = f"{queue.batches:,} of {limits.open_batches or 0:,} batches are open for {name}"
        case Shortage.CREATES:
            what = f"{queue.creates:,} of {limits.creates_per_hour or 0:,} batches were created for {name} this hour"
        case Shortage.ACCOUNT:
            until = "" if queue.full_until is None else f"; it is tried again at {moment(queue.full_until)}"
            what = f"the account is full for {name}, by the provider's word{until}"
    ahead = "" if not place.ahead else ", 1 batch is ahead" if place.ahead == 1 else f", {place.ahead:,} are ahead"
    return f"waits for room: {what}{ahead}"
