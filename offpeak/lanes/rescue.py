"""When open batches are given up so that the rest can be bought at realtime price before the deadline.

The realtime endpoints take so much a minute, and every job that is late needs them. So the last safe moment belongs to
that rate and not to a job: for each deadline, everything that is due by then has to fit between the moment and the
deadline, the time for cancelling and a margin left over. When it comes, one chunk is given up, the latest-needed of
those; that moves the moment on by the time its requests take, and so the endpoints are kept busy and no more is
cancelled than they can buy. What ends by itself meanwhile moves the moment on, too.

Decides only: from what is open, what is being bought, and the time.
"""

from bisect import insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from offpeak.lanes.throttle import SHARE

MARGIN = timedelta(minutes=30)
"""Left before each deadline for what is in nobody's hand: starting a run, one slow answer, the ledger's own work."""

CANCEL_BOUND = timedelta(minutes=10)
"""How long a batch that is cancelled may take to end (OpenAI's batch guide: up to 10 minutes)."""

MOST_AT_ONCE = 50
"""Chunks that are given up in one go; what is left waits for the next look, some seconds later."""

RETRY_SHARE = 0.1
"""The part of rescued requests for which one more round is allowed: they are slower to buy than once through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RescueTerms:
    """How much time a deployment leaves before each deadline."""

    margin: timedelta = MARGIN
    cancel_bound: timedelta = CANCEL_BOUND


TERMS = RescueTerms()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What a model's realtime endpoints take in a minute; None: no limit is known."""

    requests: float
    tokens: float | None = None

    def time_for(self, requests: int, tokens: int) -> timedelta:
        """How long so much takes to buy, once through."""
        minutes = requests / self.requests
        if self.tokens is not None:
            minutes = max(minutes, tokens / self.tokens)
        return timedelta(minutes=minutes / SHARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """A chunk in the batch lane that a job with a rescue waits for."""

    chunk_id: int
    due_at: datetime
    time: timedelta
    """How long its requests take to buy at the realtime endpoints, once through."""
    finished: float = 0.0
    """The share of its requests that the provider counts as through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What the realtime endpoints have to take already: called now, queued for that, or being cancelled."""

    due_at: datetime
    time: timedelta
    ready_at: datetime | None = None
    """Not to be bought before; None: at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do now, and when to look again."""

    give_up: tuple[int, ...]
    """Chunks, in the order in which they are cancelled."""
    moment: datetime | None
    """When the next one's turn comes if nothing ends until then; None where nothing is left to rescue."""


def reserve(time: timedelta, terms: RescueTerms) -> timedelta:
    """What a rescue needs before a deadline, for work that takes `time` to buy once through."""
    return terms.margin + terms.cancel_bound + _with_retries(time)


def judge(awaited: Sequence[Awaited], owed: Sequence[Owed], terms: RescueTerms, *, now: datetime) -> Verdict:
    """Which chunks are to be given up now. `awaited` and `owed` are all there is of one model at one account."""
    left, lane = sorted(awaited, key=_by_due), sorted(owed, key=_by_due)
    given_up: list[int] = []
    while left and len(given_up) < MOST_AT_ONCE:
        moment, due_at = _last_safe_moment(left, lane, terms, now)
        if now < moment:
            return Verdict(give_up=tuple(given_up), moment=moment)
        chunk = min((each for each in left if each.due_at <= due_at), key=_latest_needed)
        left.remove(chunk)
        given_up.append(chunk.chunk_id)
        insort(lane, Owed(due_at=chunk.due_at, time=chunk.time, ready_at=now + terms.cancel_bound), key=_by_due)
    return Verdict(give_up=tuple(given_up), moment=now if left else None)


def _last_safe_moment(
    left: Sequence[Awaited], lane: Sequence[Owed], terms: RescueTerms, now: datetime
) -> tuple[datetime, datetime]:
    """The earliest of the moments of all deadlines, and the deadline that it is for. Both sequences are by deadline."""
    found: list[tuple[datetime, datetime]] = []
    work, busy = timedelta(0), _Busy(lane, now)
    for due_at, chunks in groupby(left, key=_by_due):
        work += _with_retries(sum((each.time for each in chunks), timedelta(0)))
        last = due_at - terms.margin - terms.cancel_bound - work
        # while the endpoints have enough to do until another cancelled batch would have ended, it may as well go on
        idle = busy.until(due_at) - terms.cancel_bound
        found.append((max(last, idle), due_at))
    return min(found)


class _Busy:
    """Until when the endpoints are busy with what is owed, at least. Asked of later and later deadlines."""

    def __init__(self, lane: Sequence[Owed], now: datetime) -> None:
        self._lane, self._all, self._last = deque(lane), now, now

    def until(self, due_at: datetime) -> datetime:
        """When all is bought that is due by then: all of it one after the other, and each not before it is ready."""
        while self._lane and self._lane[0].due_at <= due_at:
            each = self._lane.popleft()
            time = _with_retries(each.time)
            self._all += time
            if each.ready_at is not None:
                self._last = max(self._last, each.ready_at + time)
        return max(self._all, self._last)


def _with_retries(time: timedelta) -> timedelta:
    return time * (1 + RETRY_SHARE)


def _by_due(each: Awaited | Owed) -> datetime:
    return each.due_at


def _latest_needed(chunk: Awaited) -> tuple[float, float, int]:
    """Orders chunks: the latest due first, then the one that has come least far, then the youngest."""
    return -chunk.due_at.timestamp(), chunk.finished, -chunk.chunk_id
