"""What a job does about samples that hold requests of it: judges its own, and ends where only a person can go on."""

from collections.abc import Sequence

from offpeak.assets import canary
from offpeak.assets.closing import close
from offpeak.assets.job import Job
from offpeak.errors import SampleHeld, SampleRejected
from offpeak.faultpoints import FaultPoint, reach
from offpeak.ledger import jobs, retrying, samples, sightings
from offpeak.ledger.samples import DrawnSample
from offpeak.ledger.states import JobState, SampleState
from offpeak.ledger.submissions import Submission
from offpeak.money import dollars
from offpeak.providers.base import Kind


def judge_samples(job: Job, chunks: Sequence[Submission], *, show: canary.Show | None) -> bool:
    """Look at the samples of this asset that hold chunks of the job; True where the job can go on because of it."""
    go_on = False
    for sample_id in sorted({chunk.held_by for chunk in chunks if chunk.held_by is not None}):
        sample = samples.get(job.ledger, sample_id)
        if sample is None:  # its plan is being made, unless its process died over it
            go_on |= samples.take_back_of_the_dead(job.ledger, sample_id)
            continue
        if sample.asset != job.asset:  # a run of that asset looks
            continue
        match sample.state:
            case SampleState.BUYING:
                if samples.landed(job.ledger, sample_id):
                    go_on |= _call_again(job, sample, chunks[0].kind) or _judge(job, sample, show)
                else:
                    go_on |= samples.attend(job.ledger, job.id, sample_id)
            case SampleState.REJECTED | SampleState.WITHDRAWN:
                _end_rejected(job, sample)
            case SampleState.WAITING | SampleState.RELEASED:
                pass
    return go_on


def _call_again(job: Job, sample: DrawnSample, kind: Kind) -> bool:
    """Have those called again whose answer never came: they say nothing of the question. True where any did not."""
    again = retrying.call_again(
        job.ledger,
        job.provider,
        sample.id,
        job_id=job.id,
        kind=kind,
        model=job.model,
        policy=job.policy,
    )
    if again:
        job.log.warning(f"{job.asset}: {again:,} requests of the sample got no answer and are called again.")
    return again > 0


def _judge(job: Job, sample: DrawnSample, show: canary.Show | None) -> bool:
    """Show what came of a sample, and write it down; True where the rest may follow at once."""
    if samples.refused(job.ledger, sample.id):  # the job ends with the provider's words
        who = str(job.ledger.claimant)
        samples.end(job.ledger, sample.id, SampleState.WITHDRAWN, who=who, why="the provider refused it")
        close(job)
    verdict = canary.look(job.ledger, job.provider, sample, job.rates)
    job.log.info(f"{job.asset}: {canary.summary(verdict)}\n{verdict.table}")
    if show is not None:
        show(verdict)
    reach(FaultPoint.SAMPLE_SHOWN)
    judged = samples.judge(
        job.ledger,
        sample.id,
        verdict.to,
        why=verdict.why,
        failed=verdict.failed,
        cost_pico=verdict.cost_pico,
        rest=verdict.rest,
        rest_pico=verdict.rest_pico,
    )
    reach(FaultPoint.SAMPLE_JUDGED)
    return judged and verdict.to is SampleState.RELEASED


def _end_rejected(job: Job, sample: DrawnSample) -> None:
    """Raise SampleRejected, and close the job as cancelled: the rest of its plan is not bought."""
    (row,) = jobs.listed(job.ledger, ids=[job.id])
    why = f"the sample of job {sample.id} was {sample.state.value}"
    if row.closed_at is None:
        jobs.close(job.ledger, job.id, JobState.CANCELLED, why=why)
    raise SampleRejected(
        f"{job.asset}: {why}, so the rest of job {job.id} is not bought. The sample's answers are kept. "
        "Mend the prompt or schema and materialise again; materialising as it is draws another sample."
    )


def refuse_held(job: Job) -> None:
    """Raise SampleHeld when nothing is on its way any more, and what is left waits for a person."""
    chunks = sightings.of_jobs(job.ledger, [job.id])[job.id]
    pending = [chunk for chunk in chunks if not chunk.settled]
    if not pending or not all(chunk.held for chunk in pending):
        return
    held = pending[0]
    if any(chunk.sample_state is None or _still_judged(chunk) for chunk in pending):
        return
    sample = samples.get(job.ledger, held.held_by or 0)
    if sample is None:
        return
    requests = sum(chunk.requests for chunk in pending)
    jobs.leave(job.ledger, job.id, why=f"waits for the sample of job {sample.id}, without a run")
    if not held.sample_of_own:
        raise SampleHeld(
            f"{job.asset}: {requests:,} requests are those that {sample.asset} asks, too, and its sample (job "
            f"{sample.id}) is not released, so none of them is bought. `offpeak jobs approve {sample.id}` releases "
            f"them; after `offpeak jobs reject {sample.id}` they are bought for {job.asset} alone. Materialise "
            f"{job.asset} again then."
        )
    raise SampleHeld(
        f"{job.asset}: {sample.failed or 0:,} of {sample.requests:,} sampled rows have no usable answer; the "
        "table is among the asset's observations and in the log of the run that collected it. The sample cost "
        f"${dollars(sample.cost_pico or 0):,.6f}; the {requests:,} requests that are held would cost about "
        f"${dollars(sample.rest_pico or 0):,.4f}. If it is right, `offpeak jobs approve {sample.id}` and "
        'materialise again, which goes on (or launch with the tag offpeak/approve: "true"); if not, mend the asset '
        f"and materialise again, or `offpeak jobs reject {sample.id}`."
    )


def _still_judged(chunk: sightings.OpenChunk) -> bool:
    """Whether this job, or another one of its asset, is about to judge the sample that holds the chunk."""
    return chunk.sample_of_own and chunk.sample_state is not SampleState.WAITING
