"""What a job does about a launch: it waits for its end, and lets go of its batches before it where that was chosen.

What is let go keeps what it had finished; the rest goes round again, and waits for the end of the launch like all else.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from offpeak.assets.job import Job
from offpeak.clock import moment
from offpeak.errors import DefinitionError, LaunchUnderWay, ProviderUnavailable
from offpeak.ledger import jobs, launch_windows, notices, submissions
from offpeak.ledger.lane import Lane
from offpeak.ledger.launch_windows import LaunchWindow
from offpeak.ledger.notices import Notice
from offpeak.ledger.sightings import OpenChunk
from offpeak.ledger.states import LIVE_CHUNKS, ChunkState, SubmissionState
from offpeak.ledger.submissions import Submission
from offpeak.providers.base import BatchState

LAUNCH_TAG = "offpeak/during_launch"
"""A run tag: "send" submits although a launch keeps scheduled work from the provider."""

SEND = "send"


def sends_anyway(asset: str, run_tags: Mapping[str, str]) -> bool:
    """Whether a run is to submit during a launch, too. Raises DefinitionError for a tag that says something else."""
    asked = run_tags.get(LAUNCH_TAG)
    if asked not in (None, SEND):
        raise DefinitionError(
            f"{asset}: the run tag {LAUNCH_TAG}={asked!r} says nothing. Nothing was submitted. Launch with {SEND!r}, "
            "or without the tag."
        )
    return asked == SEND


class OnLaunch(Protocol):
    """What is told of a job that is due before the launch ends which keeps it from its provider."""

    def __call__(self, job_id: int, launch: str, ends: datetime, deadline_at: datetime) -> Collection[Notice]: ...


class MakingWay:
    """The launches of one job, as its process sees to them. Decides from what the ledger says, step by step."""

    def __init__(self, job: Job, tell: OnLaunch | None) -> None:
        self._job, self._tell = job, tell
        self._windows: Sequence[LaunchWindow] = ()
        self._provider = job.provider.name

    def look(self) -> None:
        """See which launches count for the job now."""
        windows = launch_windows.known(self._job.ledger)
        self._windows = () if windows and launch_windows.sent_anyway(self._job.ledger, self._job.id) else windows

    @property
    def held(self) -> LaunchWindow | None:
        """The launch that keeps the job from its provider; None where none does."""
        return launch_windows.holding(self._windows, self._provider, self._job.clock.now())

    def keeps_back(self, chunk: Submission) -> LaunchWindow | None:
        """The launch that keeps a chunk from its provider. A rescue that has begun goes on."""
        return None if chunk.rescue_at is not None or chunk.rescues is not None else self.held

    def tell(self, window: LaunchWindow) -> None:
        """Say, and have people told, where the job is due before the launch ends."""
        job = self._job
        deadline_at = jobs.deadline_of(job.ledger, job.id).deadline_at
        if deadline_at >= window.ends:
            return
        job.log.warning(f"{job.asset}: job {job.id} is due at {moment(deadline_at)}, and {window}: it will be late.")
        if self._tell is not None:
            notices.raise_new(job.ledger, self._tell(job.id, window.name, window.ends, deadline_at))

    def cancel(self, chunk: Submission) -> None:
        """Ask the provider to cancel a batch that is open when a launch begins, where that was chosen.

        Where the provider is away it is asked again with the next step.
        """
        window, job = self.held, self._job
        if window is None or not window.cancels or not _to_cancel(chunk):
            return
        try:
            batch = job.provider.retrieve(chunk.batch_id or "")
            if batch is None or batch.state in _ENDING or batch.state.terminal:
                return
            job.provider.cancel(batch.id)
        except ProviderUnavailable as error:
            job.log.warning(f"{job.asset}: {error}")
            return
        submissions.asked_to_cancel(job.ledger, chunk)
        job.log.info(
            f"{job.asset}: batch {chunk.batch_id} of {chunk.requests:,} requests is cancelled for the launch "
            f"{window.name}. What it has finished is kept, and the rest is sent after it."
        )

    def refuse_held(self) -> None:
        """Raise LaunchUnderWay when nothing is on its way any more, and what is left waits for the end of a launch."""
        job, window = self._job, self.held
        if window is None:
            return
        pending = [each for each in submissions.of_job(job.ledger, job.id) if each.chunk_state in LIVE_CHUNKS]
        if not pending or not all(_waiting(each) and self.keeps_back(each) for each in pending):
            return
        requests = sum(each.requests for each in pending)
        jobs.leave(job.ledger, job.id, why=f"{window}, without a run")
        raise LaunchUnderWay(
            f"{job.asset}: {requests:,} requests are not sent: job {job.id} {window}. Nothing is lost: materialise "
            f"{job.asset} again after that, which goes on. To send them all the same, launch with the tag "
            f'{LAUNCH_TAG}: "{SEND}".'
        )


_ENDING = frozenset({BatchState.FINALIZING, BatchState.CANCELLING})


def _to_cancel(chunk: Submission) -> bool:
    return (
        chunk.lane is Lane.BATCH
        and chunk.chunk_state is ChunkState.OPEN
        and chunk.state is SubmissionState.CREATED
        and chunk.cancel_at is None
        and chunk.rescue_at is None
    )


def _waiting(chunk: Submission) -> bool:
    """Nothing of it is on its way."""
    return chunk.held_by is None and (chunk.chunk_state is ChunkState.QUEUED or chunk.to_be_called)


def making_way(chunks: Sequence[OpenChunk], windows: Sequence[LaunchWindow], *, now: datetime) -> str | None:
    """Why a parked run has to go on because of a launch: its batches are to be cancelled. None where it need not."""
    for chunk in chunks:
        if not chunk.at_provider or chunk.landed or chunk.seen_state in _ENDING:
            continue
        if chunk.cancel_at is not None or chunk.given_up_at is not None:
            continue
        window = launch_windows.holding(windows, chunk.realm.partition(":")[0], now)
        if window is not None and window.cancels and not chunk.sent_anyway:
            return f"its batches are to be cancelled for the launch {window.name}"
    return None
