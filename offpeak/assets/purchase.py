"""One order from its plan to its receipt, waiting in place: plan, submit, watch, collect, send failures round again.

Each step is taken from what the ledger says and recorded there, so this can end anywhere and be called again: the next
call plans the same fingerprints, finds them queued, on their way or answered, and goes on. Nothing here remembers.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from offpeak.assets.order import Order, PartitionReceipt, Quote, Receipt
from offpeak.clock import Clock
from offpeak.errors import JobFailed, OutcomeUnknown, ProviderUnavailable, SubmissionRejected, SurgeHeld
from offpeak.ledger import collecting, jobs, retrying, submissions
from offpeak.ledger.coding import Coding
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.planning import JobSpec, Plan
from offpeak.ledger.staging import Surge
from offpeak.ledger.states import ChunkState, JobState, SubmissionState
from offpeak.ledger.submissions import Submission
from offpeak.money import ModelRates, dollars, estimate_usage
from offpeak.providers.base import BatchState, BatchView, Kind, Provider
from offpeak.requests.fingerprint import differing
from offpeak.results.store import ResultStore

SURGE_SHARE = 0.2
"""Share of the unchanged keys that may get a new fingerprint before a plan is held."""

BATCH_WINDOW = timedelta(hours=24)
"""Within which both providers finish a batch or expire it (their batch guides)."""

SHORTEST_POLL = timedelta(seconds=0.5)
LONGEST_POLL = timedelta(seconds=60)
POLLS_PER_WAIT = 10
"""A job is looked at again after a tenth of the time it has been waiting, within these bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a job stands. Counts are requests of the batches that are not applied yet, by the provider's own count."""

    job_id: int
    asset: str
    batches: int
    applied: int
    """Batches whose answers are stored."""
    requests: int
    finished: int


Report = Callable[[Progress], None]


def quote(order: Order, *, ledger: Ledger, provider: Provider, rates: ModelRates, clock: Clock) -> Quote:
    """What the order would buy. Reads its partitions to the end; sends nothing and writes nothing."""
    with _planned(order, ledger, provider, clock, dry=True) as (plan, coding):
        counts = plan.counts
        cost, realtime, tokens = _estimate(order, ledger, rates, coding, counts.new, counts.new_bytes)
        surge = plan.surge() if not order.approved and plan.approval() is None else None
        lane, why = _lane(order)
        return Quote(
            asset=order.asset,
            model=order.model,
            rows=counts.rows,
            new=counts.new,
            joined=counts.joined,
            reused=counts.reused,
            dead=counts.dead,
            removed=counts.removed,
            estimated_input_tokens=tokens[0],
            estimated_output_tokens=tokens[1],
            estimated_cost=dollars(cost),
            estimated_realtime_cost=dollars(realtime),
            lane=lane,
            lane_reason=why,
            lands_by=clock.now() + (BATCH_WINDOW if counts.new or counts.joined else timedelta(0)),
            surge=_surge_reason(order, surge, coding, rates, ledger, counts.new, counts.new_bytes) if surge else None,
        )


def purchase(
    order: Order,
    *,
    ledger: Ledger,
    provider: Provider,
    rates: ModelRates,
    clock: Clock,
    log: logging.Logger,
    progress: Report | None = None,
    list_lag: timedelta = submissions.LIST_LAG,
) -> Receipt:
    """Buy what the order lacks and wait until it has landed.

    Raises PlanError and SurgeHeld (nothing was bought), SubmissionRejected (the provider refused), JobFailed (no row
    has an answer). ProviderUnavailable and OutcomeUnknown are waited out, however long: the purchase is in the ledger.
    """
    with _planned(order, ledger, provider, clock, dry=False) as (plan, coding):
        approval = plan.approval()
        surge = plan.surge()
        if surge is not None and not order.approved and approval is None:
            counts = plan.counts
            reason = _surge_reason(order, surge, coding, rates, ledger, counts.new, counts.new_bytes)
            if reason is not None:
                plan.hold(reason)
                raise SurgeHeld(
                    f"{reason} Nothing was submitted. If it is meant, `offpeak jobs approve {plan.job_id}` and "
                    "materialise again (or raise the asset's code_version, which says so for good); if not, mend the "
                    "asset and materialise again."
                )
        lane, why = _lane(order)
        plan.commit(lane=lane, reason=why, approval=approval)
        job_id, kind, counts = plan.job_id, coding.kind or Kind.CHAT, plan.counts
    log.info(
        f"{order.asset}: job {job_id}, {counts.rows:,} rows: {counts.new:,} to buy, {counts.joined:,} on their way, "
        f"{counts.reused:,} bought before, {counts.removed:,} removed. Lane {lane}: {why}."
    )
    work = _Work(order, ledger, provider, rates, clock, log, job_id, kind, list_lag, progress)
    work.carry_out()
    return work.close(counts.new, counts.joined, counts.reused)


@contextmanager
def _planned(
    order: Order, ledger: Ledger, provider: Provider, clock: Clock, *, dry: bool
) -> Iterator[tuple[Plan, Coding]]:
    """The order's plan, read to its end and sealed."""
    spec = JobSpec(
        asset=order.asset,
        model=order.model,
        run_id=order.run_id,
        code_version=order.code_version,
        deadline_at=clock.now() + order.deadline,
        valid_for=order.valid_for,
        fields=list(order.output.model_fields) if order.output is not None else None,
    )
    coding = Coding(provider, asset=order.asset, model=order.model.partition("/")[2], output=order.output)
    with Plan(ledger, provider, spec, coding, dry=dry) as plan:
        for part in order.partitions:
            plan.add_partition(part.partition_key, part.as_of, part.requests)
        plan.seal()
        yield plan, coding


def _lane(order: Order) -> tuple[str, str]:
    if order.deadline < BATCH_WINDOW:
        return (
            "batch",
            f"nobody watches; due in {_hours(order.deadline)}, the provider's window is {_hours(BATCH_WINDOW)}",
        )
    return (
        "batch",
        f"nobody watches, and {_hours(order.deadline)} outlast the provider's window of {_hours(BATCH_WINDOW)}",
    )


def _hours(duration: timedelta) -> str:
    return f"{duration.total_seconds() / 3600:.3g} h"


def _estimate(
    order: Order, ledger: Ledger, rates: ModelRates, coding: Coding, requests: int, size: int
) -> tuple[int, int, tuple[int, int]]:
    """Batch and realtime price in pico-dollars, and (input, output) tokens."""
    mean = jobs.mean_output_tokens(ledger, order.asset) if coding.kind is Kind.CHAT else 0.0
    usage = estimate_usage(requests, size, mean, None)
    cost = rates.cost_of_many(usage, answers=max(requests, 1))
    return cost.batch_pico, cost.realtime_pico, (usage.input_tokens, usage.output_tokens)


def _surge_reason(
    order: Order, surge: Surge, coding: Coding, rates: ModelRates, ledger: Ledger, requests: int, size: int
) -> str | None:
    if surge.share <= SURGE_SHARE:
        return None
    names = differing(dict(surge.components), coding.components()) or ["prompt (the rows' own text)"]
    cost, _, _ = _estimate(order, ledger, rates, coding, requests, size)
    return (
        f"{order.asset}: {surge.changed:,} of {surge.common:,} unchanged keys ({surge.share:.0%}) ask something else "
        f"than before, more than {SURGE_SHARE:.0%}. What differs: {', '.join(names)} (row {surge.example!r} for one). "
        f"Buying {requests:,} requests anew costs about ${dollars(cost):,.4f} at the batch rate."
    )


class _Work:
    """One job being carried out in place."""

    def __init__(
        self,
        order: Order,
        ledger: Ledger,
        provider: Provider,
        rates: ModelRates,
        clock: Clock,
        log: logging.Logger,
        job_id: int,
        kind: Kind,
        list_lag: timedelta,
        report: Report | None,
    ) -> None:
        self._order, self._ledger, self._provider, self._rates = order, ledger, provider, rates
        self._clock, self._log, self._job_id, self._kind = clock, log, job_id, kind
        self._list_lag, self._report = list_lag, report
        self._validate = collecting.validator(order.output)
        self._finished: dict[int, int] = {}
        self._rejection: SubmissionRejected | None = None

    def carry_out(self) -> None:
        """Until nothing is on its way and nothing is left to try."""
        jobs.start(self._ledger, self._job_id)
        began = self._clock.now()
        while True:
            chunks = submissions.of_job(self._ledger, self._job_id)
            settled = [self._advance(chunk) for chunk in chunks]
            self._tell(chunks, settled)
            if all(settled):
                again = retrying.retry(
                    self._ledger,
                    self._provider,
                    self._job_id,
                    kind=self._kind,
                    model=self._order.model.partition("/")[2],
                )
                if not again:
                    return
                self._log.warning(
                    f"{self._order.asset}: {again:,} requests brought no usable answer and go round again."
                )
            else:
                self._clock.sleep(_interval(began, self._clock.now()))

    def _advance(self, chunk: Submission) -> bool:
        """Take the next step with one chunk; True once its lines are accounted for."""
        try:
            match chunk.chunk_state:
                case ChunkState.APPLIED | ChunkState.REFUSED:
                    return True
                case ChunkState.QUEUED:
                    submissions.submit(self._ledger, self._provider, chunk)
                    return False
                case ChunkState.OPEN:
                    return self._advance_open(chunk)
        except SubmissionRejected as error:
            self._rejection = error
            return True
        except (ProviderUnavailable, OutcomeUnknown) as error:
            self._log.warning(f"{self._order.asset}: {error}")
            return False

    def _advance_open(self, chunk: Submission) -> bool:
        if chunk.state in {SubmissionState.INTENDED, SubmissionState.CREATING}:
            if not chunk.held_by_another(self._ledger):
                submissions.reconcile(self._ledger, self._provider, chunk, list_lag=self._list_lag)
            return False
        batch = self._provider.retrieve(chunk.batch_id) if chunk.batch_id else None
        if chunk.state is SubmissionState.LANDED:
            self._apply(chunk, batch)
            return True
        if batch is None:
            self._log.warning(f"{self._order.asset}: the provider does not show batch {chunk.batch_id} at the moment.")
            return False
        self._finished[chunk.chunk_id] = batch.finished
        if not batch.state.terminal:
            return False
        if batch.state is BatchState.FAILED:
            reason = f"batch {batch.id} failed its validation and was not run: {batch.error}"
            submissions.refuse(self._ledger, chunk, reason)
            raise SubmissionRejected(f"{self._order.asset}: {reason}. Nothing of it was bought.")
        self._apply(collecting.land(self._ledger, self._provider, chunk, batch), batch)
        return True

    def _apply(self, chunk: Submission, batch: BatchView | None) -> None:
        applied = collecting.apply(
            self._ledger, self._provider, chunk, batch, validate=self._validate, price=self._rates.cost
        )
        self._log.info(
            f"{self._order.asset}: batch {chunk.batch_id} {chunk.outcome}: {applied.answered:,} answers, "
            f"{applied.failed:,} failed, {applied.missing:,} missing."
        )

    def _tell(self, chunks: list[Submission], settled: list[bool]) -> None:
        if self._report is not None:
            pending = [chunk for chunk, done in zip(chunks, settled, strict=True) if not done]
            self._report(
                Progress(
                    job_id=self._job_id,
                    asset=self._order.asset,
                    batches=len(chunks),
                    applied=len(chunks) - len(pending),
                    requests=sum(chunk.requests for chunk in pending),
                    finished=sum(self._finished.get(chunk.chunk_id, 0) for chunk in pending),
                )
            )

    def close(self, new: int, joined: int, reused: int) -> Receipt:
        """End the job and say what it bought. Raises JobFailed or SubmissionRejected when no row has an answer."""
        asset, store = self._order.asset, ResultStore(self._ledger)
        targets = jobs.targets(self._ledger, self._job_id)
        summary = store.summary(asset, [target.partition_key for target in targets])
        if self._rejection is not None:
            jobs.close(self._ledger, self._job_id, JobState.FAILED, why=str(self._rejection))
            raise self._rejection
        if not summary.rows:
            why = f"none of {summary.missing:,} rows got a usable answer: {jobs.reasons(self._ledger, self._job_id)}"
            jobs.close(self._ledger, self._job_id, JobState.FAILED, why=why)
            raise JobFailed(
                f"{asset}: {why}. What was paid for is kept. `offpeak jobs show {self._job_id}` lists the reasons; "
                "mend the prompt or schema and materialise again."
            )
        failed = sum(part.unanswered for part in summary.partitions)
        state = JobState.COMPLETED_WITH_PARTIAL_FAILURES if failed else JobState.COMPLETED
        jobs.close(
            self._ledger, self._job_id, state, why=f"{summary.rows:,} rows, {failed:,} without an answer of their own"
        )
        bill = jobs.bill(self._ledger, self._job_id)
        removed = {target.partition_key: target.removed for target in targets}
        (row,) = jobs.listed(self._ledger, ids=[self._job_id])
        return Receipt(
            job_id=self._job_id,
            rows=summary.rows,
            bought=new,
            joined=joined,
            reused=reused,
            failed=failed,
            input_tokens=bill.input_tokens,
            output_tokens=bill.output_tokens,
            cached_tokens=bill.cached_tokens,
            cost=dollars(bill.cost_pico),
            realtime_cost=dollars(bill.realtime_pico),
            batch_ids=row.batch_ids,
            partitions=[
                PartitionReceipt(
                    partition_key=part.partition_key,
                    rows=part.rows,
                    missing=part.missing,
                    removed=removed[part.partition_key],
                    as_of=part.as_of,
                    produced_at=part.produced_at,
                    effective_until=part.effective_until,
                    data_version=store.data_version(asset, part.partition_key),
                )
                for part in summary.partitions
            ],
        )


def _interval(began: datetime, now: datetime) -> timedelta:
    return min(max((now - began) / POLLS_PER_WAIT, SHORTEST_POLL), LONGEST_POLL)
