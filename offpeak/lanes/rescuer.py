"""Whose turn it is to be given up, over everything that is open in the ledger.

Every process that carries jobs on, and the sensor that looks after parked runs, comes to the same answer from the same
ledger; each acts on the chunks of its own jobs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby

from offpeak.lanes.landing import ASSUMED_PER_MINUTE
from offpeak.lanes.rescue import Awaited, Owed, Rate, RescueTerms, judge, reserve
from offpeak.ledger import launch_windows, limits_seen, rescuing
from offpeak.ledger.lane import Lane
from offpeak.ledger.launch_windows import LaunchWindow
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.rescuing import OpenWork
from offpeak.providers.realtime import Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is to be given up now, over all models, and when that changes by itself."""

    give_up: frozenset[int] = frozenset()
    """Chunks that are to be given up now and are not yet."""
    moment: datetime | None = None
    """The next last safe moment; None where nothing is open that has one."""


def outlook(ledger: Ledger, terms: RescueTerms, *, now: datetime) -> Outlook:
    """Judge everything that is open, model by model. A rescue is over before a launch, and none begins during one."""
    windows = [each for each in launch_windows.known(ledger) if each.ends > now]
    work = sorted(rescuing.open_work(ledger), key=_model)
    give_up: set[int] = set()
    moments: list[datetime] = []
    for (realm, model), group in groupby(work, key=_model):
        chunks = list(group)
        if all(each.lane is Lane.BACKGROUND for each in chunks):
            continue
        rate = rate_of(ledger, realm=realm, model=model)
        before = _before_launches(chunks, windows, rate, terms, now=now)
        verdict = judge(_awaited(before, rate), _owed(chunks, rate, terms), terms, now=now)
        give_up.update(verdict.give_up)
        if verdict.moment is not None:
            moments.append(verdict.moment)
    return Outlook(give_up=frozenset(give_up), moment=min(moments, default=None))


def rate_of(ledger: Ledger, *, realm: str, model: str) -> Rate:
    """What a model's realtime endpoints take in a minute: as their headers said last, or less where calls were slower.

    Without either, what a new account is allowed.
    """
    allowed = limits_seen.remembered(ledger, realm=realm, model=model)
    seen = rescuing.speed(ledger, realm=realm, model=model)
    requests = [each for each in (allowed.get(Measure.REQUESTS), seen) if each]
    return Rate(requests=min(requests, default=float(ASSUMED_PER_MINUTE)), tokens=allowed.get(Measure.TOKENS))


def time_for(ledger: Ledger, *, realm: str, model: str, requests: int, tokens: int) -> timedelta:
    """How long so much takes to buy at the realtime endpoints, once through."""
    return rate_of(ledger, realm=realm, model=model).time_for(requests, tokens)


def _model(each: OpenWork) -> tuple[str, str]:
    return each.realm, each.model


def _before_launches(
    chunks: Iterable[OpenWork], windows: Sequence[LaunchWindow], rate: Rate, terms: RescueTerms, *, now: datetime
) -> list[OpenWork]:
    """The same, due before a launch where there is no time for a rescue after it; without what has to wait for one.

    What a launch has begun with in flight may be late, and is not bought at the endpoints that the launch needs.
    """
    if not windows:
        return list(chunks)
    found: list[OpenWork] = []
    for each in chunks:
        needed = reserve(rate.time_for(each.requests, each.tokens), terms)
        met = [
            window
            for window in windows
            if window.provider == each.realm.partition(":")[0]
            and window.holds_from < each.due_at <= window.ends + needed
            and not each.sent_anyway
        ]
        if any(window.holds(now) for window in met):
            continue
        found.append(replace(each, due_at=min([each.due_at, *(window.holds_from for window in met)])))
    return found


def _awaited(chunks: Iterable[OpenWork], rate: Rate) -> list[Awaited]:
    """What may still be given up: no batch that has ended, or is about to."""
    return [
        Awaited(
            chunk_id=each.chunk_id,
            due_at=each.due_at,
            time=rate.time_for(each.requests, each.tokens),
            finished=each.finished / each.requests,
        )
        for each in chunks
        if each.lane is Lane.BATCH and each.given_up_at is None and not each.ended
    ]


def _owed(chunks: Iterable[OpenWork], rate: Rate, terms: RescueTerms) -> list[Owed]:
    """What the endpoints have to take whatever is decided; of calls under way, what is left."""
    found: list[Owed] = []
    for each in chunks:
        if each.lane is Lane.BACKGROUND:
            left = (each.requests - each.finished) / each.requests
            found.append(Owed(due_at=each.due_at, time=rate.time_for(each.requests, each.tokens) * left))
        elif each.given_up_at is not None:
            ready_at = each.given_up_at + terms.cancel_bound if each.at_provider else None
            time = rate.time_for(each.requests, each.tokens)
            found.append(Owed(due_at=each.due_at, time=time, ready_at=ready_at))
    return found
