"""Whether a consumer may read: the gate with the ledger behind it, the same for every kind of reader."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from offpeak.clock import Clock, SystemClock
from offpeak.errors import StaleInput
from offpeak.freshness.gate import SHOWN, Details, InputState, Tolerance, Verdict, complaint, judge
from offpeak.ledger.reads import mark_read
from offpeak.results.lagging import lagging
from offpeak.results.producer import next_run
from offpeak.results.store import ResultStore

clock: Clock = SystemClock()
"""What the gate goes by where its caller has no clock of its own; a test may hold it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """What may be read."""

    as_of: datetime | None
    """The oldest row's; None where no partition is read, or no row is left."""
    not_before: datetime | None
    """Rows older than this are left out; None: none are."""
    warning: str | None
    """What is wrong with rows that are read all the same."""


def admit(
    store: ResultStore,
    *,
    consumer: str,
    asset: str,
    partitions: Sequence[str] | None,
    tolerance: Tolerance,
    promise: timedelta | None,
    warn: Callable[[str], object],
    now: datetime | None = None,
    producer: Mapping[str, Any] | None = None,
    declared_as: str = "tolerates({})",
) -> Admitted:
    """Judge what `consumer` is about to read, before anything is read. Raises StaleInput when it may not be.

    `promise` is the producer's `valid_for`, None to take it from what landed. `producer` is its metadata, which tells
    when it runs next. Where the consumer only wants to be warned, `warn` is told. What it may read counts as read.
    """
    now = clock.now() if now is None else now
    if partitions is not None and not partitions:
        return Admitted(as_of=None, not_before=None, warning=None)
    floor = tolerance.not_before(now)
    summary = store.summary(asset, partitions, not_before=floor)
    landed = {each.partition_key for each in summary.partitions if each.rows or not each.missing}
    state = InputState(
        asset=asset,
        as_of=summary.as_of,
        rows=summary.rows,
        missing=summary.missing,
        fresh=summary.fresh,
        promise=promise or min((each.effective_until - each.as_of for each in summary.partitions), default=None),
        not_landed=[each for each in partitions or () if each not in landed],
    )
    verdict = judge(state, tolerance, now=now)
    warning = None
    if verdict is not Verdict.PASS:
        old = verdict is Verdict.TOO_OLD or tolerance.drops_stale
        found = lagging(store.database, asset, partitions, not_before=floor if old else None, limit=SHOWN)
        details = Details(
            lagging=found.words, more=found.count - len(found.words), next_run=next_run(producer, after=now)
        )
        warning = complaint(
            verdict, state, tolerance, consumer=consumer, now=now, details=details, declared_as=declared_as
        )
        if tolerance.on_stale != "warn" or verdict is Verdict.NEVER_LANDED:
            raise StaleInput(warning)
        warn(warning)
    mark_read(store.database, asset, partitions, at=now)
    if tolerance.drops_stale:
        return Admitted(as_of=summary.fresh_as_of, not_before=floor, warning=warning)
    return Admitted(as_of=summary.as_of, not_before=None, warning=warning)
