"""What a job does about its deadline: gives batches up in time, buys what they leave, or ends with what it has.

In this order, whoever does it: a chunk is given up, on record; its batch is cancelled, unless it has ended meanwhile;
its lines are applied; its rest is called. Only for an asset that would rather pay twice than be late, and within its
budget, is the rest called while nobody knows what the batch has bought.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from offpeak.assets.estimating import Estimator
from offpeak.assets.job import Job
from offpeak.clock import exactly, moment
from offpeak.errors import JobFailed, ProviderUnavailable
from offpeak.lanes.rescue import TERMS, RescueTerms
from offpeak.lanes.rescuer import Outlook, outlook
from offpeak.lanes.rule import room_for_batch
from offpeak.ledger import jobs, notices, rescuing, retrying, sightings, submissions
from offpeak.ledger.deadline import OnDeadline, OnUnresolved
from offpeak.ledger.lane import Lane
from offpeak.ledger.notices import Notice
from offpeak.ledger.states import LIVE_CHUNKS, ChunkState, JobState, SubmissionState
from offpeak.ledger.submissions import Submission
from offpeak.money import dollars, to_pico
from offpeak.providers.base import BatchState, BatchView

LOOKS = 20
"""While batches are being cancelled they are looked at so often within the time that it may take."""

LONGEST_LOOK = timedelta(seconds=5)


class OnRescue(Protocol):
    """What is told of a job whose batches are given up. `twice` is what may be paid for nothing, in dollars."""

    def __call__(self, job_id: int, *, requests: int, twice: Decimal | None = None) -> Collection[Notice]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AtDeadline:
    """What an asset and its deployment say of deadlines, beside what stands in the job itself."""

    on_unresolved: OnUnresolved = OnUnresolved.WAIT
    pay_twice: Decimal = Decimal(0)
    """Dollars that may be paid twice for the asset in a day (UTC)."""
    terms: RescueTerms = TERMS
    tell: OnRescue | None = None


class Rescue:
    """The deadline of one job, as its process sees to it. Decides from what the ledger says, step by step."""

    def __init__(self, job: Job, at_deadline: AtDeadline) -> None:
        self._job, self._settings = job, at_deadline
        self._row = jobs.deadline_of(job.ledger, job.id)
        self._outlook = Outlook()
        self._rest_bought: set[int] = set()
        self._said: set[int] = set()
        self._cancelling = self._waiting = self._begun = self._awaits = False

    @property
    def _terms(self) -> RescueTerms:
        return self._settings.terms

    def give_up(self, chunks: Sequence[Submission]) -> bool:
        """Give up, and cancel, what has to be given up now; True where that is any of these chunks, the job's.

        Whoever is here does it for everybody at that account: the job that it is for may have to wait for this one.
        """
        self._cancelling = self._waiting = self._awaits = False
        if self._row.on_deadline is not OnDeadline.RESCUE:
            return False
        now, job = self._job.clock.now(), self._job
        self._outlook = outlook(job.ledger, self._terms, now=now)
        given_up: set[int] = set()
        for chunk in submissions.of_chunks(job.ledger, self._outlook.give_up):
            if chunk.realm == job.provider.realm and self._give_up(chunk):
                given_up.add(chunk.chunk_id)
        mine = [each for each in chunks if each.rescue_at is not None or each.chunk_id in given_up]
        if mine and not self._begun and self._settings.tell is not None:
            told = self._settings.tell(job.id, requests=sum(each.requests for each in mine))
            notices.raise_new(job.ledger, told)
        self._begun |= bool(mine)
        self._awaits = any(
            each.lane is Lane.BATCH and each.chunk_state in LIVE_CHUNKS and each.chunk_id not in given_up
            for each in chunks
        )
        return bool(given_up & {each.chunk_id for each in chunks})

    def _give_up(self, chunk: Submission) -> bool:
        job = self._job
        batch = self._look_at(chunk)
        if batch is not None and (batch.state.terminal or batch.state is BatchState.FINALIZING):
            sightings.see(job.ledger, sightings.of_chunk(job.ledger, chunk.chunk_id), {batch.id: batch})
            return False  # nothing is won any more
        due = "" if chunk.due_at is None else f"due at {moment(chunk.due_at)}: "
        why = f"{due}the last safe moment for buying at realtime price what its batch leaves has come"
        if not rescuing.give_up(job.ledger, chunk, why=why):
            return False
        where = f"batch {chunk.batch_id}" if chunk.batch_id else "a batch that is not sent"
        job.log.warning(
            f"{job.asset}: {where}, of {chunk.requests:,} requests, may not end in time. It is given up, and what it "
            f"leaves is bought at realtime price ({why})."
        )
        if batch is not None:
            self.cancel(replace(chunk, rescue_at=job.clock.now()), batch)
        return True

    def _look_at(self, chunk: Submission) -> BatchView | None:
        """The batch of a chunk as it is now; None where there is none, or its provider is away."""
        if chunk.state is not SubmissionState.CREATED or chunk.batch_id is None:
            return None
        try:
            return self._job.provider.retrieve(chunk.batch_id)
        except ProviderUnavailable as error:
            self._job.log.warning(f"{self._job.asset}: {error}")
            return None

    def cancel(self, chunk: Submission, batch: BatchView) -> None:
        """Ask the provider to cancel the batch of a chunk that was given up, where that still changes anything.

        Where the provider is away it is asked again with the next step.
        """
        if chunk.rescue_at is None or chunk.cancel_at is not None or batch.state.terminal:
            return
        if batch.state in {BatchState.FINALIZING, BatchState.CANCELLING}:
            return
        try:
            self._job.provider.cancel(batch.id)
        except ProviderUnavailable as error:
            self._job.log.warning(f"{self._job.asset}: {error}")
        else:
            submissions.asked_to_cancel(self._job.ledger, chunk)

    def see_through(self, chunk: Submission) -> bool:
        """A chunk that was given up and has not ended yet; True where it is queued now although that may cost twice."""
        if chunk.rescue_at is None or chunk.lane is not Lane.BATCH or chunk.chunk_state is not ChunkState.OPEN:
            return False
        if chunk.state is SubmissionState.LANDED:
            return False
        if chunk.state is not SubmissionState.CREATED and chunk.held_by_another(self._job.ledger):
            return False  # somebody is about to send it
        overdue = self._job.clock.now() - chunk.rescue_at - self._terms.cancel_bound
        self._cancelling |= overdue < self._terms.cancel_bound
        return overdue > timedelta(0) and self._unresolved(chunk)

    def _unresolved(self, chunk: Submission) -> bool:
        job, settings = self._job, self._settings
        what = f"batch {chunk.batch_id}" if chunk.batch_id else "a create without an answer"
        unknown = (
            f"{exactly(self._terms.cancel_bound)} after {what} of {chunk.requests:,} requests was given up, nobody can "
            "know what it has bought"
        )
        if settings.on_unresolved is OnUnresolved.WAIT:
            self._say(chunk, f'{unknown}. Nothing is bought twice (on_unresolved="wait"): the deadline may be missed.')
            return False
        estimator = Estimator(job.ledger, job.provider, job.rates, asset=job.asset, model=chunk.model, kind=chunk.kind)
        cost = estimator.of(chunk.requests, chunk.spool_bytes).batch_pico
        why = f"{unknown}; about ${dollars(cost):,.4f} may be paid twice"
        most = to_pico(settings.pay_twice)
        paid = rescuing.pay_twice(
            job.ledger, job.provider, chunk, asset=job.asset, cost_pico=cost, most_pico=most, why=why
        )
        if not paid:
            budget = f"Budget(pay_twice={settings.pay_twice})"
            self._say(chunk, f"{why}, which is more than {budget} leaves today. Nothing is bought twice.")
            return False
        job.log.warning(f"{job.asset}: {why}, and it is bought again.")
        if settings.tell is not None:
            told = settings.tell(job.id, requests=chunk.requests, twice=dollars(cost))
            notices.raise_new(job.ledger, told)
        return True

    def _say(self, chunk: Submission, what: str) -> None:
        if chunk.chunk_id not in self._said:
            self._job.log.warning(f"{self._job.asset}: {what}")
            self._said.add(chunk.chunk_id)

    def may_call(self, chunk: Submission) -> bool:
        """Whether it is the chunk's turn at the realtime endpoints, which rescues share by their deadlines."""
        mine = rescuing.turn(self._job.ledger, chunk)
        self._waiting |= not mine
        return mine

    def buy_rest(self, chunks: Sequence[Submission], settled: Sequence[bool]) -> int:
        """Queue what settled chunks left that were given up, or that are part of a rescue; returns how many requests.

        Once for each chunk: what fails again goes round in a chunk of its own.
        """
        queued = 0
        for chunk, done in zip(chunks, settled, strict=True):
            part = chunk.rescue_at is not None or chunk.rescues is not None
            if part and done and chunk.chunk_id not in self._rest_bought:
                job = self._job
                queued += retrying.buy_rest(job.ledger, job.provider, job.id, chunk, policy=job.policy)
                self._rest_bought.add(chunk.chunk_id)
        if queued:
            self._job.log.info(
                f"{self._job.asset}: {queued:,} requests that a batch left are bought at realtime price."
            )
        return queued

    def pressed(self) -> bool:
        """Whether what goes round again has no time for another batch before the deadline."""
        if self._row.on_deadline is not OnDeadline.RESCUE:
            return False
        left = self._row.deadline_at - self._job.clock.now()
        past = sightings.past_durations(self._job.ledger, [self._job.asset])[self._job.asset]
        return not room_for_batch(left - self._terms.margin - self._terms.cancel_bound, past)

    def ends_now(self) -> bool:
        """Whether the job is to be closed with what it has. Raises JobFailed, and closes it, where it is to fail.

        What is on its way stays so: the next run of the asset collects it.
        """
        job, row = self._job, self._row
        late = job.clock.now() - row.deadline_at
        if late < timedelta(0) or row.on_deadline not in {OnDeadline.FAIL, OnDeadline.SERVE_LAST_GOOD}:
            return False
        open_ones = [each for each in submissions.of_job(job.ledger, job.id) if each.chunk_state in LIVE_CHUNKS]
        requests = sum(each.requests for each in open_ones)
        if row.on_deadline is OnDeadline.SERVE_LAST_GOOD:
            job.log.warning(
                f"{job.asset}: at its deadline {requests:,} requests are still on their way. It is materialised with "
                "what has landed; the other rows keep the answers from before, and the next run collects the rest."
            )
            return True
        why = f'{requests:,} requests were still on their way at the deadline, and on_deadline="fail"'
        jobs.close(job.ledger, job.id, JobState.EXPIRED, why=why, on_close=job.on_close)
        raise JobFailed(
            f"{job.asset}: {why}. Nothing was materialised. What is on its way is paid for and stays so: materialise "
            f'{job.asset} again to collect it. Where such a deadline has to hold, on_deadline="rescue" buys in time '
            "what is late."
        )

    @property
    def under_way(self) -> bool:
        """Whether minutes count now: a run that sees to it stays where it is."""
        now, bound, next_one = self._job.clock.now(), self._terms.cancel_bound, self._outlook.moment
        soon = next_one is not None and next_one <= now + bound
        pressed = self._begun or self._row.deadline_at - now <= self._terms.margin + 2 * bound
        return self._cancelling or self._waiting or (self._awaits and soon and pressed)

    def pause(self, usual: timedelta) -> timedelta:
        """How long to wait until the next step, where it is `usual` otherwise."""
        return min(usual, LONGEST_LOOK, self._terms.cancel_bound / LOOKS) if self.under_way else usual


def pressing(
    chunks: Sequence[sightings.OpenChunk],
    found: Outlook,
    due: Collection[int],
    terms: RescueTerms,
    *,
    now: datetime,
) -> str | None:
    """Why a parked run has to go on because of a deadline; None where it need not.

    `chunks` are those of its jobs, and `due` the jobs that end at a deadline which has come.
    """
    requests = sum(chunk.requests for chunk in chunks if chunk.chunk_id in found.give_up)
    if requests:
        return f"the last safe moment to rescue {requests:,} requests has come"
    for chunk in (each for each in chunks if each.given_up_at is not None and each.at_provider and not each.settled):
        if chunk.landed:
            return "a batch that was given up has ended, and what it left is to be bought"
        if chunk.given_up_at is not None and now - chunk.given_up_at < 2 * terms.cancel_bound:
            return "a batch that was given up has to be seen through"
    if {chunk.job_id for chunk in chunks} & set(due):
        return "its deadline has come"
    return None
