"""What a night came to, by the provider's bills and the deadlines alone: it trusts no policy.

A request that two bills are for was paid twice. A deadline is kept when every request of the job has an answer that was
billed, and all of them were stored in time. A policy that stored rows before their answers were there is refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from .fixture import HOUR
from .night import Batch, Job, Night
from .provider import Bill
from .rescuing import Outcome


@dataclass(frozen=True, slots=True)
class Miss:
    """A night on which a deadline was missed."""

    night: str
    jobs: int
    late: float
    """Seconds, of the job that was latest; infinite where rows never came."""
    why: str
    held: bool
    """Realtime capacity held from the last safe moment on: no excuse."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """One night under one policy."""

    price: float
    """As a share of buying each request once at realtime price."""
    paid_twice: int
    """Requests."""
    rescued: int
    called: int
    left: Sequence[float]
    """By job that landed in time: seconds before its deadline."""
    miss: Miss | None


class Impossible(Exception):
    """The simulation is wrong: something happened before what it needs."""


def rule_on(night: Night, outcome: Outcome) -> Ruling:
    """Raises Impossible."""
    bills = sorted(outcome.provider.bills, key=lambda bill: bill.batch)
    by_batch = {number: list(of) for number, of in groupby(bills, key=lambda bill: bill.batch)}
    landed = {job: _landed(job, night, outcome, by_batch) for job in night.jobs}
    late = {job: at - job.due for job, at in landed.items() if at > job.due}
    return Ruling(
        price=sum(bill.price for bill in bills) / sum(batch.requests for batch in night.batches),
        paid_twice=sum(_twice(of) for of in by_batch.values()),
        rescued=len(outcome.rescued),
        called=outcome.called,
        left=[job.due - at for job, at in landed.items() if job not in late],
        miss=_miss(night, outcome, late) if late else None,
    )


def _landed(job: Job, night: Night, outcome: Outcome, bills: dict[int, list[Bill]]) -> float:
    """When all of its rows were stored."""
    return max(
        _stored(batch, outcome, bills.get(batch.number, []))
        for batch in night.batches
        if batch.job.number == job.number
    )


def _stored(batch: Batch, outcome: Outcome, bills: Sequence[Bill]) -> float:
    stored = outcome.landed.get(batch.number, float("inf"))
    if stored < float("inf") and _answered([bill for bill in bills if bill.at <= stored]) < batch.requests:
        raise Impossible(f"batch {batch.number} was stored before all of it was answered")
    return stored


def _answered(bills: Sequence[Bill]) -> int:
    """Requests that have an answer."""
    return sum(stop - first for first, stop in _new(bills))


def _twice(bills: Sequence[Bill]) -> int:
    """Requests that were billed more than once, counted each time after the first."""
    return sum(bill.stop - bill.first for bill in bills) - _answered(bills)


def _new(bills: Sequence[Bill]) -> Iterator[tuple[int, int]]:
    """What each bill has beyond those that begin before it."""
    reached = 0
    for bill in sorted(bills, key=lambda bill: bill.first):
        first = max(bill.first, reached)
        if bill.stop > first:
            yield first, bill.stop
            reached = bill.stop


def _miss(night: Night, outcome: Outcome, late: dict[Job, float]) -> Miss:
    last = max(late.values())
    until = max(job.due for job in late)
    pressed = outcome.pressed_at if outcome.pressed_at is not None else until
    why = _incapacity(night, pressed, until)
    return Miss(night.name, len(late), last, why or "realtime capacity held", held=not why)


def _incapacity(night: Night, since: float, until: float) -> str:
    """What kept the realtime endpoints, or a cancel, from doing all that they are known to do; empty: nothing."""
    found = []
    outage, throttle = night.outage, night.throttle
    if outage.start < until and outage.end > since:
        found.append(f"outage from {outage.start / HOUR:.1f} h to {outage.end / HOUR:.1f} h")
    if throttle.start < until and throttle.capacity < 1:
        found.append(f"{throttle.capacity:.0%} of the limit from {throttle.start / HOUR:.1f} h on")
    return f"{', '.join(found)}; last safe moment at {since / HOUR:.1f} h" if found else ""
