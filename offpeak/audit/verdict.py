"""The one question, asked of each job: does anybody watch, and until when is it useful? Then what speaks for a move.

Three signals say that work belongs on the batch tier: nobody waits, its requests do not need each other, and there are
many of them. Three exceptions say that it may stay: it is little, its deadline lies just inside the window, or it was
done once. The lane is that of the engine's own rule.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import time, timedelta
from decimal import Decimal

from offpeak.audit.job import SHORT, Job, Lane
from offpeak.audit.pricing import Price, Prices, about
from offpeak.clock import exactly
from offpeak.lanes.rule import UNKNOWN_TAIL, Due, Facts, decide
from offpeak.lanes.workload import Waiting
from offpeak.ledger.lane import Lane as Bought
from offpeak.money.rates import dollars, dollars_text
from offpeak.providers.base import BATCH_WINDOW

AHEAD = 2 * UNKNOWN_TAIL
"""How long before its hour a job would be submitted: twice what a slow batch is taken to need, so that what fails once
is bought again in time."""

MANY = 100
"""Calls a month from which on there is a volume to speak of."""

SMALL = Decimal(1)
"""Dollars a month. A smaller saving is not worth moving code for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One thing that speaks for the batch tier."""

    name: str
    holds: bool | None
    """None where nothing says so."""
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is to be said of a job."""

    job: Job
    lane: Lane
    """In which it belongs."""
    misfit: bool
    """It is bought in a dearer lane than that, and no exception lets it stay."""
    reason: str
    """The answer to the one question, as a sentence."""
    signals: Sequence[Signal]
    exceptions: Sequence[str]
    """What may let it stay, as sentences."""
    price: Price | None

    @property
    def unmeasured(self) -> bool:
        """What it buys is not known, or a guess."""
        return self.price is None or not self.price.known or bool(self.job.assumed)

    @property
    def monthly(self) -> bool:
        """Its figures are those of a month, and no guess."""
        return not self.unmeasured and not self.job.once

    @property
    def saving_pico(self) -> int:
        """What the move saves in a month, or once; nought where that is not known, and in the background lane, whose
        price is that of the realtime endpoints."""
        return self.price.saving_pico if self.price is not None and self.misfit and self.lane is Lane.BATCH else 0


def verdict(job: Job, prices: Prices, *, small: Decimal = SMALL) -> Verdict:
    """What the audit says of a job. `small`: dollars a month that are not worth a move."""
    price = prices.of(job)
    lane, reason = _lane(job, price)
    exceptions = list(_exceptions(job, lane, price, small))
    worse = _RANK[job.lane] > _RANK[lane]
    stays = lane is Lane.BATCH and _little(job, price, small) is not None
    return Verdict(
        job=job,
        lane=lane,
        misfit=worse and not stays,
        reason=reason,
        signals=_signals(job),
        exceptions=exceptions,
        price=price,
    )


_RANK = {Lane.BATCH: 0, Lane.BACKGROUND: 1, Lane.REALTIME: 2}


def due_in(job: Job) -> timedelta:
    """How long from its submission until a job is due; what has an hour to keep is submitted `AHEAD` of it."""
    if isinstance(job.deadline, time):
        return AHEAD
    return job.deadline if job.deadline is not None else SHORT


def _lane(job: Job, price: Price | None) -> tuple[Lane, str]:
    if job.waiting is None:
        return job.lane, "Nothing says whether anybody waits: it is left where it is."
    if job.waiting is Waiting.WATCHING:
        return Lane.REALTIME, "A person watches: it belongs in the realtime lane."
    decision = decide(
        Facts(
            waiting=job.waiting,
            due=Due(deadline=due_in(job)),
            new=max(1, job.calls),
            batch_cost=dollars(price.batch_pico) if price else Decimal(0),
            realtime_cost=dollars(price.realtime_pico) if price else Decimal(0),
            one_off=job.once,
            reserve=timedelta(hours=1),
        )
    )
    assumed = "" if job.deadline is not None else f" (no deadline is stated: {exactly(SHORT)} are assumed)"
    found = Lane.BATCH if decision.lane is Bought.BATCH else Lane.BACKGROUND
    return found, f"{decision.reason[:1].upper()}{decision.reason[1:]}{assumed}."


def _signals(job: Job) -> Sequence[Signal]:
    waits = {
        None: Signal(name="nobody waits", holds=None, why="nothing says who waits"),
        Waiting.NOBODY: Signal(name="nobody waits", holds=True, why="no person waits for it"),
        Waiting.WALKED_AWAY: Signal(name="nobody waits", holds=True, why="whoever asked does something else meanwhile"),
        Waiting.WATCHING: Signal(name="nobody waits", holds=False, why="a person watches"),
    }[job.waiting]
    parallel = {
        None: Signal(name="parallel", holds=None, why="nothing says whether a request needs another's answer"),
        True: Signal(name="parallel", holds=True, why="no request needs another's answer"),
        False: Signal(name="parallel", holds=False, why="a request needs the answer before it"),
    }[job.parallel]
    often = "once" if job.once else "a month"
    volume = (
        Signal(name="volume", holds=job.calls >= MANY, why=f"{job.calls:,} calls {often}")
        if job.calls and not job.assumed
        else Signal(name="volume", holds=None, why="nothing says how many calls there are")
    )
    return waits, parallel, volume


def _exceptions(job: Job, lane: Lane, price: Price | None, small: Decimal) -> Iterator[str]:
    if job.waiting in (None, Waiting.WATCHING) or job.lane is Lane.BATCH:
        return
    if lane is Lane.BATCH and (little := _little(job, price, small)) is not None:
        yield little
    due = due_in(job)
    if job.deadline is not None and due < BATCH_WINDOW:
        if due > BATCH_WINDOW / 4:
            yield (
                f"Its deadline, {exactly(due)}, lies just inside the window of {exactly(BATCH_WINDOW)}: most batches "
                "land in time, and the rescue buys the rest at realtime price. Ask for it earlier where that can be."
            )
        else:
            yield (
                f"Its deadline, {exactly(due)}, is far inside the window of {exactly(BATCH_WINDOW)}: buy it in the "
                "background, unless it can be asked for earlier."
            )
    if job.once:
        yield "It was done once: a batch of its own does, and an asset only pays where it comes again."
    if job.parallel is False:
        yield "Its requests need each other's answers: each step is a batch, and as many windows are needed as steps."


def _little(job: Job, price: Price | None, small: Decimal) -> str | None:
    """That it is too little to move, as a sentence; None where it is not, or where that is only a guess."""
    if job.assumed or price is None or price.unpriced or dollars(price.saving_pico) >= small:
        return None
    return f"Low volume: the move would save {about(price.saving_pico)}, less than {dollars_text(small)} a month."


def ranked(verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
    """Misfits by what they cost too much, the dearest first, what is measured before what is assumed; then the rest."""

    def order(each: Verdict) -> tuple[bool, bool, int, int, str]:
        cost = each.price.realtime_pico if each.price else 0
        return (not each.misfit, each.unmeasured, -each.saving_pico, -cost, each.job.name)

    return sorted(verdicts, key=order)
