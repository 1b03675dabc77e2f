"""The end of a job: what it came to, as the ledger has it, and what it is told as."""

from collections.abc import Mapping
from datetime import datetime

from offpeak.assets.job import Job
from offpeak.assets.order import PartitionReceipt, Receipt
from offpeak.errors import JobFailed, OffpeakError, SubmissionRejected
from offpeak.ledger import closed, degrading, jobs, rescuing, spending, submissions
from offpeak.ledger.states import JobState
from offpeak.money import dollars
from offpeak.results import views
from offpeak.results.store import ResultStore, StoreSummary


def close(job: Job) -> Receipt:
    """End the job and say what it bought. Raises JobFailed or SubmissionRejected when no row has an answer."""
    asset, store = job.asset, ResultStore(job.ledger)
    targets = jobs.targets(job.ledger, job.id)
    summary = store.summary(asset, [target.partition_key for target in targets])
    ages = {part.partition_key: part.as_of for part in summary.partitions if part.rows}
    rejection = submissions.refusal(job.ledger, job.id)
    if rejection is not None:
        jobs.close(job.ledger, job.id, JobState.FAILED, why=rejection, ages=ages, on_close=job.on_close)
        raise SubmissionRejected(rejection if asset in rejection else f"{asset}: {rejection}")
    with job.ledger.database.read() as connection:
        late = closed.late_rows(connection, job.id)
    if not summary.rows and late and late == summary.missing:
        why = f"none of {late:,} rows has an answer, and all of them are still on their way at the deadline"
        jobs.close(job.ledger, job.id, JobState.EXPIRED, why=why, on_close=job.on_close)
        raise JobFailed(
            f"{asset}: {why}. There are no answers from before to serve. What is on its way is paid for and stays so: "
            f"materialise {asset} again to collect it."
        )
    if not summary.rows and summary.missing:  # without a row there is none that lacks an answer
        why = f"none of {summary.missing:,} rows got a usable answer: {jobs.reasons(job.ledger, job.id)}"
        expired = jobs.only_expired(job.ledger, job.id)
        ended = JobState.EXPIRED if expired else JobState.FAILED
        jobs.close(job.ledger, job.id, ended, why=why, on_close=job.on_close)
        raise JobFailed(
            f"{asset}: {why}. What was paid for is kept. `offpeak jobs show {job.id}` lists the reasons; "
            f"{_remedy(summary)}."
        )
    degraded = degrading.count(job.ledger, job.id)
    let_go = sum(part.dropped for part in summary.partitions)
    failed = sum(part.unanswered for part in summary.partitions) - let_go - late
    dropped = let_go - degraded
    _refuse_too_many(job, rows=summary.rows + summary.missing, failed=failed, ages=ages)
    state = JobState.COMPLETED_WITH_PARTIAL_FAILURES if failed or late else JobState.COMPLETED
    why = f"{summary.rows:,} rows, {failed + late:,} without an answer of their own"
    if late:
        why += f", {late:,} of them still on their way at the deadline"
    jobs.close(job.ledger, job.id, state, why=why, ages=ages, on_close=job.on_close)
    _renew_view(job)
    bill = jobs.bill(job.ledger, job.id)
    removed = {target.partition_key: target.removed for target in targets}
    (row,) = jobs.listed(job.ledger, ids=[job.id])
    estimated = spending.estimated_for(job.ledger, job.id)
    return Receipt(
        job_id=job.id,
        rows=summary.rows,
        bought=row.new,
        joined=row.joined,
        reused=row.reused,
        failed=failed,
        dropped=dropped,
        degraded=degraded,
        input_tokens=bill.input_tokens,
        output_tokens=bill.output_tokens,
        cached_tokens=bill.cached_tokens,
        cache_write_tokens=bill.cache_write_tokens,
        cost=dollars(bill.cost_pico),
        realtime_cost=dollars(bill.realtime_pico),
        cache_saved=dollars(bill.cache_saved_pico),
        rescued=rescuing.rescued_rows(job.ledger, job.id),
        late=late,
        estimated_cost=None if estimated is None else dollars(estimated.pico),
        estimate_error=None if estimated is None else spending.error(estimated.pico, bill.cost_pico),
        estimated_from=None if estimated is None else estimated.basis,
        possibly_paid_twice=jobs.possibly_paid_twice(job.ledger, job.id),
        lane=row.lane or "",
        lane_reason=row.reason or "",
        batch_ids=row.batch_ids,
        landed_at=row.closed_at or job.clock.now(),
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


def _renew_view(job: Job) -> None:
    """Have the asset's SQL view as it should be. What has landed has landed, whatever becomes of the view."""
    try:
        if views.renew(job.ledger.database, job.asset, output=job.output):
            job.log.info(f"{job.asset}: its rows can be read in SQL as {views.view_name(job.asset)}.")
    except OffpeakError as error:
        job.log.warning(str(error))
    except Exception as error:  # noqa: BLE001 - nothing here may cost a run what it has bought
        job.log.warning(f"{job.asset}: no SQL view of its rows was made: {type(error).__name__}: {error}")


def _refuse_too_many(job: Job, *, rows: int, failed: int, ages: Mapping[str, datetime]) -> None:
    """Raise JobFailed, and close the job as failed, when more rows have no answer than the asset accepts."""
    if job.policy.tolerates(rows, failed):
        return
    why = (
        f"{rows - failed:,} of {rows:,} rows have an answer of their own, fewer than on_failure= accepts: "
        f"{jobs.reasons(job.ledger, job.id)}"
    )
    jobs.close(job.ledger, job.id, JobState.FAILED, why=why, ages=ages, on_close=job.on_close)
    raise JobFailed(
        f"{job.asset}: {why}. Nothing was materialised; what was paid for is kept. `offpeak dead-letters list "
        f"{job.asset}` shows the rows. Mend the prompt or schema, or requeue them, and materialise again."
    )


def _remedy(summary: StoreSummary) -> str:
    """What to do about a job of which no row has an answer."""
    if all(part.dropped == part.unanswered for part in summary.partitions):
        return "all of them were let go: where a full queue did that, materialise again when there is room"
    return "mend the prompt or schema and materialise again"
