"""One job on its way from the ledger to its receipt: submit, watch, collect, send failures round again.

Each step is taken from what the ledger says and recorded there, so this can end anywhere and be called again by another
process: nothing here remembers. A run either carries its job out, waiting in place, or hands it over to the provider
and leaves the waiting to whoever collects it.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from pydantic import BaseModel

from offpeak.assets import canary, closing, progress, sampled
from offpeak.assets.job import Job
from offpeak.assets.making_way import LAUNCH_TAG, MakingWay, OnLaunch
from offpeak.assets.order import Receipt
from offpeak.assets.pace import Pace
from offpeak.assets.pricing import DayPrices, RatesOf, by_the_sheet
from offpeak.assets.rescued import AtDeadline, Rescue
from offpeak.clock import Clock, in_words
from offpeak.errors import (
    CouldNotRead,
    JobFailed,
    LedgerUnavailable,
    OutcomeUnknown,
    ProviderUnavailable,
    SubmissionRejected,
)
from offpeak.lanes.background import TERMS, Background, Terms, Told
from offpeak.ledger import (
    calling,
    collecting,
    degrading,
    erasing,
    failing,
    jobs,
    late,
    notices,
    queueing,
    reconciling,
    retrying,
    samples,
    sightings,
    splitting,
    submissions,
)
from offpeak.ledger.chunking import discard_chunks
from offpeak.ledger.closed import OnClose, OnLetGo
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import SURFACE, FailurePolicy
from offpeak.ledger.room import on_disk
from offpeak.ledger.states import ChunkState, JobState, SampleState, SubmissionState
from offpeak.ledger.submissions import Submission
from offpeak.money import ModelRates
from offpeak.providers.base import BatchState, BatchView, Provider
from offpeak.queue import gate
from offpeak.queue.giving_way import Gave, GivingWay
from offpeak.queue.policy import DELAY, QueuePolicy

_LOG = logging.getLogger(__name__)

SHORTEST_POLL = timedelta(seconds=0.5)
LONGEST_POLL = timedelta(seconds=60)
POLLS_PER_WAIT = 10
"""A job is looked at again after a tenth of the time it has been waiting, within these bounds."""

PATIENCE = timedelta(minutes=5)
"""How long a run that is to hand its job over goes on trying to. Longer than it takes to settle an unknown create."""

LEDGER_AWAY = timedelta(hours=1)
"""How long a run that waits goes on without its ledger. A restart takes seconds, a failover minutes."""

LONGEST_PAUSE = timedelta(hours=1)
"""Between two runs that try to submit what the provider would not take, at most."""


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

Stage = Callable[[str], None]
"""Hears how far the calls of the background lane are, at each stage."""


class Work:
    """One job, to be carried out or handed over by this process.

    `model` is "provider/model". `list_lag` is how long a batch may be missing from the provider's list. `queue` says
    what is done where its queue is full, and `rates_of` prices the model that it is degraded to then.
    """

    def __init__(
        self,
        job_id: int,
        *,
        asset: str,
        model: str,
        output: type[BaseModel] | None,
        ledger: Ledger,
        provider: Provider,
        rates: ModelRates,
        clock: Clock,
        log: logging.Logger,
        policy: FailurePolicy = SURFACE,
        list_lag: timedelta = reconciling.LIST_LAG,
        report: Report | None = None,
        show: canary.Show | None = None,
        stage: Stage | None = None,
        terms: Terms = TERMS,
        on_close: OnClose | None = None,
        on_let_go: OnLetGo | None = None,
        queue: QueuePolicy = DELAY,
        rates_of: RatesOf | None = None,
        at_deadline: AtDeadline | None = None,
        on_launch: OnLaunch | None = None,
    ) -> None:
        ledger.require_home()
        self.job_id = job_id
        self._policy = policy
        self._asset, self._model = asset, model.partition("/")[2]
        self._ledger, self._provider = ledger, provider
        self._clock, self._log = clock, log
        self._list_lag, self._report, self._show = list_lag, report, show
        self._on_close, self._on_let_go = on_close, on_let_go
        self._job = Job(
            id=job_id,
            asset=asset,
            model=self._model,
            output=output,
            ledger=ledger,
            provider=provider,
            rates=rates,
            clock=clock,
            log=log,
            policy=policy,
            on_close=on_close,
        )
        self._output, self._validate = output, collecting.validator(output)
        self._terms, self._stage = terms, stage
        self._backgrounds: dict[str, Background] = {}
        self._prices = DayPrices(model, rates, rates_of=rates_of or by_the_sheet, clock=clock, log=log)
        self._queue = queue
        self._rescue = Rescue(self._job, at_deadline or AtDeadline())
        self._launches = MakingWay(self._job, on_launch)
        self._giving_way = GivingWay(job_id=job_id, asset=asset, policy=queue)
        self._no_room: dict[int, str] = {}
        self._gave_way = False
        self._said: dict[int, str] = {}
        self._finished: dict[int, int] = {}
        self._shown: dict[str, BatchView] = {}
        self._asked_to_wait = timedelta(0)
        self._away: datetime | None = None
        self._pace: Pace | None = None

    def _background_of(self, model: str) -> Background:
        """The lane for chunks that ask `model`, which stands in for the job's own where its queue was full."""
        if model not in self._backgrounds:
            self._backgrounds[model] = Background(
                self._ledger,
                self._provider,
                model=model,
                rates_at=partial(self._prices.of, model),
                validate=self._validate,
                clock=self._clock,
                terms=self._terms,
            )
        return self._backgrounds[model]

    def carry_out(self) -> None:
        """Until nothing is on its way and nothing is left to try.

        ProviderUnavailable, OutcomeUnknown and, for a while, LedgerUnavailable are waited out; raises JobFailed for a
        batch that does not end, SampleHeld where only a person can release what is left, and SampleRejected.
        """
        jobs.start(self._ledger, self.job_id)
        self._look_for_late()
        began = self._clock.now()
        self._pace = Pace(self._log.info, self._asset, unit="requests answered", clock=self._clock)
        while not self._round(in_place=True):
            pause = max(_interval(began, self._clock.now()), self._asked_to_wait)
            self._clock.sleep(self._rescue.pause(pause))

    def hand_over(self, *, patience: timedelta = PATIENCE) -> bool:
        """Collect what has landed and submit what has not been, without waiting for a batch.

        True: nothing is on its way any more. False: the rest is at the provider, except where `again_at` says when to
        try again, and for what is held until a sample is released. Raises JobFailed for a batch that does not end, and
        SampleRejected.
        """
        jobs.start(self._ledger, self.job_id)
        self._look_for_late()
        began = self._clock.now()
        while not self._round():
            now = self._clock.now()
            pause = max(_interval(began, now), self._asked_to_wait)
            if self._rescue.under_way:  # minutes count: nobody else has to begin
                self._clock.sleep(self._rescue.pause(pause))
                continue
            if self._away is None:
                unsubmitted = self._unsubmitted()
                if all(
                    chunk.chunk_id in self._no_room
                    or (chunk.ready_at is not None and chunk.ready_at - began >= patience)
                    for chunk in unsubmitted
                ):
                    return False
            if now + pause - began >= patience:
                return False
            self._clock.sleep(pause)
        return True

    def wind_down(self, *, patience: timedelta) -> bool:
        """Cancel what no other live job waits for, and collect what was finished; True once all of it has ended."""
        began = self._clock.now()
        while True:
            samples.withdraw(self._ledger, self.job_id, why=f"job {self.job_id} was stopped")
            discard_chunks(self._ledger, job_id=self.job_id)
            shared = jobs.awaited_by_others(self._ledger, self.job_id)
            mine = [each for each in submissions.of_job(self._ledger, self.job_id) if each.chunk_id not in shared]
            # what is queued costs nothing, and the next plan that wants it finds it
            ended = [self._cancel(chunk) for chunk in mine if chunk.chunk_state is not ChunkState.QUEUED]
            now = self._clock.now()
            if all(ended) or now - began >= patience:
                return all(ended)
            self._clock.sleep(_interval(began, now))

    def _cancel(self, chunk: Submission) -> bool:
        if chunk.to_be_called:
            return calling.stop(self._ledger, chunk, why=f"job {self.job_id} was stopped") is not None
        if chunk.state is SubmissionState.CREATED and chunk.batch_id and chunk.cancel_at is None:
            try:
                self._provider.cancel(chunk.batch_id)
            except ProviderUnavailable as error:
                self._log.warning(f"{self._asset}: {error}")
                return False
            submissions.asked_to_cancel(self._ledger, chunk)
        return self._advance(chunk)

    def again_at(self) -> datetime | None:
        """When to try again to submit what the provider has not taken; None when it has everything."""
        # what waits for room is released when there is some
        unsubmitted = [chunk for chunk in self._unsubmitted() if chunk.chunk_id not in self._no_room]
        if not unsubmitted:
            return None
        (row,) = jobs.listed(self._ledger, ids=[self.job_id])
        now = self._clock.now()
        pause = min(max((now - row.created_at) / 2, PATIENCE), LONGEST_PAUSE)
        ready = [chunk.ready_at for chunk in unsubmitted]
        if all(each is not None and each > now for each in ready):  # they wait by themselves
            return max(min(each for each in ready if each is not None), now + self._asked_to_wait)
        return now + max(pause, self._asked_to_wait)

    def _unsubmitted(self) -> list[sightings.OpenChunk]:
        """The chunks that are neither at the provider nor through, nor held by a sample."""
        chunks = sightings.of_jobs(self._ledger, [self.job_id])[self.job_id]
        return [chunk for chunk in chunks if not (chunk.settled or chunk.at_provider or chunk.held)]

    def _look_for_late(self) -> None:
        """See whether a batch that was given up has turned up, and settle those of this asset that have."""
        realm = self._provider.realm
        missing = late.given_up(self._ledger, realm=realm)
        try:
            if (since := late.search_from(missing)) is not None:
                late.notice(self._ledger, self._provider, self._provider.batches(since=since), missing)
            for each in late.of_asset(self._ledger, self._asset, realm=realm):
                applied = late.settle(
                    self._ledger, self._provider, each, validate=self._validate, price=self._prices.on_batch(each)
                )
                kept = "it is being cancelled" if applied is None else f"{applied.answered:,} of its answers are kept"
                self._log.warning(f"{self._asset}: batch {each.batch_id} turned up after it was given up: {kept}.")
        except (ProviderUnavailable, CouldNotRead) as error:
            self._log.warning(f"{self._asset}: batches that may have turned up late are looked at next time: {error}")

    def _refuse_overdue(self) -> None:
        """Raise JobFailed, and close the job as expired, when a batch has been out for twice its window."""
        chunks = sightings.of_jobs(self._ledger, [self.job_id])[self.job_id]
        overdue = [chunk for chunk in chunks if chunk.overdue(self._clock.now())]
        if not overdue:
            return
        hours = sightings.OVERDUE.total_seconds() / 3600
        batches = ", ".join(str(chunk.batch_id) for chunk in overdue)
        why = f"batch {batches} has not ended {hours:.0f} h after it was submitted"
        jobs.close(self._ledger, self.job_id, JobState.EXPIRED, why=why, on_close=self._on_close)
        raise JobFailed(
            f"{self._asset}: {why}. What was paid for is kept, and nothing is bought again while it may still end. "
            f"Look at the batch at the provider; once it has ended or is cancelled there, materialise {self._asset} "
            "again: it collects what there is and buys the rest."
        )

    def _round(self, *, in_place: bool = False) -> bool:
        """Take the next step; True once nothing is left to do. While the ledger is away, nothing is done.

        `in_place`: nobody will go on after this run, so what only a person can release ends it.

        An interrupted step is there or not, as after the death of a process: the next round asks the ledger which.
        """
        try:
            with on_disk(self._ledger):
                done = self._step() or self._rescue.ends_now()
                if not done:
                    self._refuse_overdue()
                if not done and in_place:
                    sampled.refuse_held(self._job)
                    self._launches.refuse_held()
        except LedgerUnavailable as error:
            now = self._clock.now()
            self._away = self._away or now
            if now - self._away > LEDGER_AWAY:
                raise
            # not to the run's own log, which may be kept in the database that is away
            _LOG.warning("%s: %s", self._asset, error)
            return False
        if self._away is not None:
            away, self._away = self._clock.now() - self._away, None
            self._log.warning(f"{self._asset}: its ledger could not be used for {in_words(away)}; it goes on.")
        return done

    def _step(self) -> bool:
        """Take the next step with every chunk; True once all lines are accounted for and nothing is tried again."""
        self._asked_to_wait, self._shown, self._no_room, self._gave_way = timedelta(0), {}, {}, False
        chunks = self._chunks()
        if self._rescue.give_up(chunks):
            chunks = self._chunks()
        self._launches.look()
        for chunk in chunks:
            self._launches.cancel(chunk)
        settled = [self._advance(chunk) for chunk in chunks]
        if self._shown:
            sightings.see(self._ledger, sightings.of_jobs(self._ledger, [self.job_id])[self.job_id], self._shown)
        self._tell(chunks, settled)
        if self._gave_way:  # other chunks may have taken the place of some
            return self._step()
        if sampled.judge_samples(self._job, chunks, show=self._show):
            return self._step()
        if self._rescue.buy_rest(chunks, settled):
            return self._step()
        if not all(settled):
            return False
        if not chunks:
            return True
        again = retrying.retry(
            self._ledger,
            self._provider,
            self.job_id,
            kind=chunks[0].kind,
            model=self._model,
            policy=self._policy,
            pressed=self._rescue.pressed() and not self._launches.held,
        )
        if again:
            self._log.warning(f"{self._asset}: {again:,} requests brought no usable answer and go round again.")
            return self._step()
        if self._buy_stand_ins(chunks):
            return self._step()
        degrading.serve(self._ledger, self.job_id)
        return True

    def _chunks(self) -> list[Submission]:
        """What the job waits for. Calls take minutes: what only has to be submitted goes first."""
        found = submissions.of_job(self._ledger, self.job_id)
        return sorted(found, key=lambda chunk: (chunk.lane is Lane.BACKGROUND, chunk.chunk_id))

    def _buy_stand_ins(self, chunks: Sequence[Submission]) -> int:
        """Queue what stands in for requests that were let go, and that a process which died did not come to."""
        if self._queue.degrade_to is None:
            return 0
        kind, other = chunks[0].kind, self._queue.degrade_to.partition("/")[2]
        return degrading.buy(self._ledger, self._provider, self.job_id, kind=kind, model=self._model, degrade_to=other)

    def _send(self, chunk: Submission) -> None:
        """Submit a queued chunk where its queue has room; else it waits, or gives way as the asset chose."""
        most = queueing.most_tokens(self._ledger, chunk.realm, chunk.model)
        if most is not None and chunk.requests > 1 and queueing.tokens_of(chunk.spool_bytes) > most:
            self._split(chunk, most)
            return
        refused = gate.submit(self._ledger, self._provider, chunk, now=self._clock.now())
        if refused is None:
            return
        gave, why = self._giving_way.give(self._ledger, self._provider, chunk, *refused, now=self._clock.now())
        match gave:
            case Gave.NOTHING:
                self._no_room[chunk.chunk_id] = why
                if self._said.get(chunk.chunk_id) is None:
                    self._log.info(f"{self._asset}: a batch of {chunk.requests:,} requests {why}.")
                    self._said[chunk.chunk_id] = why
            case Gave.PARTS:
                self._log.info(f"{self._asset}: {why}.")
            case Gave.WAY:
                self._log.warning(f"{self._asset}: {why}.")
                self._tell_full(chunk)
        self._gave_way |= gave is not Gave.NOTHING

    def _tell_full(self, chunk: Submission) -> None:
        """Have people told at once of what was let go; its end tells them where this process dies before."""
        if self._on_let_go is not None:
            how = "degraded" if self._queue.degrade_to else "dropped"
            notices.raise_new(self._ledger, self._on_let_go(self.job_id, **{how: chunk.requests}))

    def _split(self, chunk: Submission, most: int) -> None:
        """Send a chunk in parts that is larger than everything that may be enqueued."""
        name = f"{self._provider.name}/{chunk.model}"
        why = f"more than the {most:,} tokens that may be enqueued for {name}"
        offsets = splitting.offsets_of(self._ledger, chunk)
        parts = splitting.cut(offsets, chunk.spool_bytes, most_bytes=most * queueing.BYTES_PER_TOKEN)
        splitting.split(self._ledger, self._provider, chunk, parts, why=why)
        self._gave_way = True
        self._log.info(f"{self._asset}: a batch of {chunk.requests:,} requests is sent in {len(parts):,} parts: {why}.")

    def _advance(self, chunk: Submission) -> bool:
        """Take the next step with one chunk; True once its lines are accounted for."""
        settled = self._take_step(chunk)
        if not settled and self._rescue.see_through(chunk):
            self._gave_way = True
        return settled

    def _take_step(self, chunk: Submission) -> bool:
        try:
            match chunk.chunk_state:
                case (
                    ChunkState.APPLIED
                    | ChunkState.REFUSED
                    | ChunkState.LEFT
                    | ChunkState.TAKEN_BACK
                    | ChunkState.SPLIT
                    | ChunkState.DROPPED
                ):
                    return True
                case ChunkState.QUEUED:
                    if chunk.held_by is not None:
                        return False
                    if chunk.ready_at is not None and chunk.ready_at > self._clock.now():
                        return False
                    if chunk.lane is Lane.BACKGROUND:
                        return self._call(chunk)
                    if self._waits_for_launch(chunk):
                        return False
                    self._send(chunk)
                    return False
                case ChunkState.OPEN:
                    return self._advance_open(chunk)
        except SubmissionRejected as error:
            self._log.error(str(error))
            return True
        except ProviderUnavailable as error:
            self._asked_to_wait = max(self._asked_to_wait, error.retry_after or timedelta(0))
            self._log.warning(f"{self._asset}: {error}")
            return False
        except OutcomeUnknown as error:
            self._log.warning(f"{self._asset}: {error}")
            return False

    def _call(self, chunk: Submission) -> bool:
        """Call the requests of a chunk of the background lane; True once each of them has an outcome."""
        if self._waits_for_launch(chunk):
            return False
        if chunk.held_by_another(self._ledger) or not self._rescue.may_call(chunk):
            return False
        self._log.info(f"{self._asset}: {chunk.requests:,} requests are called one by one.")
        try:
            applied = self._background_of(chunk.model).call(
                chunk, self._stages(chunk), gives_way=lambda: self._gives_way(chunk)
            )
        except CouldNotRead:
            if chunk.drawn_for is not None:  # the next plan draws another one
                who, why = str(self._ledger.claimant), "its request file cannot be read"
                samples.end(self._ledger, chunk.drawn_for, SampleState.WITHDRAWN, who=who, why=why)
            raise
        if applied is None:
            return False
        self._log.info(
            f"{self._asset}: {chunk.requests:,} requests were called: {applied.answered:,} answers, "
            f"{applied.failed:,} failed."
        )
        erasing.after_apply(self._ledger, self._provider, chunk, None, log=self._log)
        return True

    def _gives_way(self, chunk: Submission) -> bool:
        """Whether the rest of a chunk's calls is left for later. Meanwhile batches are given up in time, too."""
        if chunk.rescued:
            self._rescue.give_up(self._chunks())
        return self._launches.keeps_back(chunk) is not None or not self._rescue.may_call(chunk)

    def _waits_for_launch(self, chunk: Submission) -> bool:
        """Whether a launch keeps the chunk from its provider; said once."""
        window = self._launches.keeps_back(chunk)
        if window is None:
            return False
        self._no_room[chunk.chunk_id] = str(window)
        if self._said.get(chunk.chunk_id) is None:
            self._log.info(
                f"{self._asset}: {chunk.requests:,} requests: {window}. To send them all the same, launch with the tag "
                f'{LAUNCH_TAG}: "send", or `offpeak jobs send {self.job_id}`.'
            )
            self._said[chunk.chunk_id] = str(window)
            self._launches.tell(window)
        return True

    def _stages(self, chunk: Submission) -> Told:
        """Says how far the calls of a chunk are: now and then in the log, and at each stage on the run."""
        pace = Pace(self._log.info, self._asset, unit="requests called", clock=self._clock)
        shown: str | None = None

        def told(done: int) -> None:
            nonlocal shown
            pace.at(done, of=chunk.requests)
            stage = progress.called(self._asset, done, chunk.requests)
            if self._stage is not None and not progress.same_step(shown, stage):
                self._stage(stage)
                shown = stage

        return told

    def _advance_open(self, chunk: Submission) -> bool:
        if chunk.to_be_called:
            return self._call(chunk)
        if chunk.state in {SubmissionState.INTENDED, SubmissionState.CREATING}:
            if not chunk.held_by_another(self._ledger):
                reconciling.reconcile(self._ledger, self._provider, chunk, list_lag=self._list_lag)
            return False
        batch = self._provider.retrieve(chunk.batch_id) if chunk.batch_id else None
        if chunk.state is SubmissionState.LANDED:
            self._apply(chunk, batch)
            return True
        if batch is None:
            self._log.warning(f"{self._asset}: the provider does not show batch {chunk.batch_id} at the moment.")
            return False
        self._finished[chunk.chunk_id], self._shown[batch.id] = batch.finished, batch
        if not batch.state.terminal:
            self._rescue.cancel(chunk, batch)
            return False
        if batch.state is BatchState.FAILED:
            self._log.warning(f"{self._asset}: {failing.settle(self._ledger, self._provider, chunk, batch)}.")
            return False
        self._apply(collecting.land(self._ledger, self._provider, chunk, batch), batch)
        return True

    def _apply(self, chunk: Submission, batch: BatchView | None) -> None:
        applied = collecting.apply(
            self._ledger, self._provider, chunk, batch, validate=self._validate, price=self._prices.on_batch(chunk)
        )
        self._log.info(
            f"{self._asset}: batch {chunk.batch_id} {chunk.outcome}: {applied.answered:,} answers, "
            f"{applied.failed:,} failed, {applied.missing:,} missing."
        )
        erasing.after_apply(self._ledger, self._provider, chunk, batch, log=self._log)

    def close(self) -> Receipt:
        """End the job and say what it bought. Raises JobFailed or SubmissionRejected when no row has an answer."""
        return closing.close(self._job)

    def _tell(self, chunks: list[Submission], settled: list[bool]) -> None:
        if self._pace is not None:
            done = sum(
                chunk.requests if over else self._finished.get(chunk.chunk_id, 0)
                for chunk, over in zip(chunks, settled, strict=True)
            )
            self._pace.at(done, of=sum(chunk.requests for chunk in chunks))
        if self._report is not None:
            pending = [chunk for chunk, done in zip(chunks, settled, strict=True) if not done]
            self._report(
                Progress(
                    job_id=self.job_id,
                    asset=self._asset,
                    batches=len(chunks),
                    applied=len(chunks) - len(pending),
                    requests=sum(chunk.requests for chunk in pending),
                    finished=sum(self._finished.get(chunk.chunk_id, 0) for chunk in pending),
                )
            )


def _interval(began: datetime, now: datetime) -> timedelta:
    return min(max((now - began) / POLLS_PER_WAIT, SHORTEST_POLL), LONGEST_POLL)
