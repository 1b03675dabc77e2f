"""What the providers' lists show of open batches, written down where it changed; and how long batches took before.

Nothing here decides what is bought: a batch is collected from the provider's own answer at that time. Of requests that
are called one by one no list tells: whoever calls them counts them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Row

from offpeak.clock import from_micros, to_micros
from offpeak.ledger import tables
from offpeak.ledger.database import slices
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import LIVE_CHUNKS, ChunkState, SampleState, SubmissionState
from offpeak.ledger.submissions import CLOCK_SKEW
from offpeak.providers.base import BATCH_WINDOW, BatchState, BatchView

REMEMBERED = 20
"""Past batches of an asset that tell how long the next one will take."""

OVERDUE = 2 * BATCH_WINDOW
"""After its submission, when a batch that has still not ended is no longer waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenChunk:
    """A chunk that a job waits for, as last seen."""

    job_id: int
    chunk_id: int
    realm: str
    requests: int
    chunk_state: ChunkState
    submission_id: int | None
    state: SubmissionState | None
    batch_id: str | None
    created_at: datetime
    create_at: datetime | None
    """When the paid call was about to be sent."""
    submitted_at: datetime | None
    seen_state: BatchState | None
    finished: int
    """Requests answered or failed, by the provider's count or that of whoever calls them; all once it is applied."""
    progress_at: datetime | None
    cancel_at: datetime | None
    ready_at: datetime | None
    """It is not sent before; None: at once."""
    drawn_for: int | None = None
    """The sample whose requests it carries."""
    held_by: int | None = None
    """The sample that has to be released before it is sent; still there where that was rejected."""
    sample_state: SampleState | None = None
    """Of the sample that holds it; None while its plan is being made."""
    sample_since: datetime | None = None
    """When that sample entered its state."""
    sample_of_own: bool = False
    """That sample is of the asset of the job that waits for this chunk."""
    lane: Lane = Lane.BATCH
    give_up_at: datetime | None = None
    """When it has waited for room for as long as its asset lets it."""
    given_up_at: datetime | None = None
    """When it was decided to buy at realtime price what its batch leaves."""
    sent_anyway: bool = False
    """The job is not kept from the provider by launches."""

    @property
    def held(self) -> bool:
        """It waits for the release of a sample."""
        return self.held_by is not None and not self.settled

    @property
    def settled(self) -> bool:
        """Its lines are accounted for."""
        return self.chunk_state not in LIVE_CHUNKS

    @property
    def at_provider(self) -> bool:
        """The provider has it as a batch, whose id is known."""
        return self.state in {SubmissionState.CREATED, SubmissionState.LANDED}

    @property
    def calling(self) -> bool:
        """Its requests are called one by one, by a process that may have died over it."""
        return self.state is SubmissionState.CALLING and not self.settled

    @property
    def landed(self) -> bool:
        """Nothing more comes of waiting for it."""
        if self.settled or self.state is SubmissionState.LANDED:
            return True
        return self.at_provider and self.seen_state is not None and self.seen_state.terminal

    def overdue(self, now: datetime) -> bool:
        """Whether it is a batch that should have ended long ago."""
        return (
            self.at_provider and not self.landed and self.submitted_at is not None and now - self.submitted_at > OVERDUE
        )


def of_jobs(ledger: Ledger, job_ids: Sequence[int]) -> dict[int, list[OpenChunk]]:
    """The chunks that each of these jobs waits for."""
    found: dict[int, list[OpenChunk]] = {job_id: [] for job_id in job_ids}
    with ledger.database.read() as connection:
        for part in slices(job_ids, 500):
            for row in connection.execute(_open_chunks().where(tables.job_chunk.c.job_id.in_(part))):
                found[row.job_id].append(_read(row))
    return found


def of_chunk(ledger: Ledger, chunk_id: int) -> list[OpenChunk]:
    """A chunk, once for each job that waits for it."""
    with ledger.database.read() as connection:
        return [_read(row) for row in connection.execute(_open_chunks().where(tables.chunk.c.id == chunk_id))]


def _open_chunks() -> sa.Select[Any]:
    chunk, submission, link = tables.chunk, tables.submission, tables.job_chunk
    sample, job = tables.sample, tables.job
    return (
        sa.select(
            link.c.job_id,
            chunk.c.id,
            chunk.c.realm,
            chunk.c.requests,
            chunk.c.state,
            chunk.c.created_at,
            chunk.c.ready_at,
            chunk.c.drawn_for,
            chunk.c.held_by,
            chunk.c.lane,
            chunk.c.give_up_at,
            chunk.c.rescue_at,
            sample.c.state.label("sample_state"),
            sample.c.entered_at.label("sample_since"),
            (sample.c.asset == job.c.asset).label("sample_of_own"),
            job.c.sent_anyway_at,
            submission.c.id.label("submission_id"),
            submission.c.state.label("submission_state"),
            *(submission.c[name] for name in _SEEN),
        )
        .select_from(link)
        .join(chunk, chunk.c.id == link.c.chunk_id)
        .join(job, job.c.id == link.c.job_id)
        .outerjoin(submission, submission.c.id == chunk.c.stamp)
        .outerjoin(sample, sample.c.id == chunk.c.held_by)
        .where(chunk.c.state != ChunkState.SPLIT.value)  # its parts have taken its place
        .order_by(chunk.c.id)
    )


_SEEN = ("batch_id", "create_at", "submitted_at", "seen_state", "finished", "progress_at", "cancel_at")


def _read(row: Row[Any]) -> OpenChunk:
    def moment(micros: int | None) -> datetime | None:
        return None if micros is None else from_micros(micros)

    state = ChunkState(row.state)
    return OpenChunk(
        job_id=row.job_id,
        chunk_id=row.id,
        realm=row.realm,
        requests=row.requests,
        chunk_state=state,
        submission_id=row.submission_id,
        state=None if row.submission_state is None else SubmissionState(row.submission_state),
        batch_id=row.batch_id,
        created_at=from_micros(row.created_at),
        create_at=moment(row.create_at),
        submitted_at=moment(row.submitted_at),
        seen_state=None if row.seen_state is None else BatchState(row.seen_state),
        finished=row.requests if state is ChunkState.APPLIED else min(row.finished or 0, row.requests),
        progress_at=moment(row.progress_at),
        cancel_at=moment(row.cancel_at),
        ready_at=moment(row.ready_at),
        drawn_for=row.drawn_for,
        held_by=row.held_by,
        sample_state=None if row.sample_state is None else SampleState(row.sample_state),
        sample_since=moment(row.sample_since),
        sample_of_own=bool(row.sample_of_own),
        lane=Lane(row.lane),
        give_up_at=moment(row.give_up_at),
        given_up_at=moment(row.rescue_at),
        sent_anyway=row.sent_anyway_at is not None,
    )


def see(ledger: Ledger, chunks: Iterable[OpenChunk], shown: Mapping[str, BatchView]) -> int:
    """Write down what the list shows of the batches of `chunks`, where it changed. Returns how many changed."""
    now = to_micros(ledger.clock.now())
    changed: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        batch = shown.get(chunk.batch_id or "")
        if batch is None or chunk.submission_id is None or not chunk.at_provider:
            continue
        finished = min(batch.finished, chunk.requests)
        if (batch.state, finished) != (chunk.seen_state, chunk.finished):
            number = chunk.submission_id
            changed[number] = {"number": number, "shown_state": batch.state.value, "shown_finished": finished}
    table = tables.submission
    statement = (
        table.update()
        .where(table.c.id == sa.bindparam("number"))
        .values(seen_state=sa.bindparam("shown_state"), finished=sa.bindparam("shown_finished"), progress_at=now)
    )
    for part in slices(list(changed.values()), 500):
        with ledger.database.write() as connection:
            connection.execute(statement, list(part))
    return len(changed)


def past_durations(ledger: Ledger, assets: Sequence[str]) -> dict[str, list[timedelta]]:
    """How long the last batches of each asset took from submission to their end at the provider, newest first."""
    job, link, submission = tables.job, tables.job_chunk, tables.submission
    durations: dict[str, list[timedelta]] = {}
    with ledger.database.read() as connection:
        for asset in assets:
            query = (
                sa.select(submission.c.submitted_at, submission.c.ended_at)
                .select_from(job)
                .join(link, link.c.job_id == job.c.id)
                .join(tables.chunk, tables.chunk.c.id == link.c.chunk_id)
                .join(submission, submission.c.id == tables.chunk.c.stamp)
                .where(
                    job.c.asset == asset,
                    submission.c.ended_at.is_not(None),
                    submission.c.submitted_at.is_not(None),
                    submission.c.outcome == BatchState.COMPLETED.value,
                )
                .order_by(job.c.id.desc())
                .limit(REMEMBERED)
            )
            rows = connection.execute(query).all()
            took = [from_micros(row.ended_at) - from_micros(row.submitted_at) for row in rows]
            durations[asset] = [max(each, timedelta(0)) for each in took]
    return durations


def since(chunks: Iterable[OpenChunk]) -> datetime | None:
    """From when on the provider's list has to be read so that it shows every batch of `chunks`; None without any."""
    moments = [chunk.create_at for chunk in chunks if chunk.create_at is not None]
    return min(moments) - CLOCK_SKEW if moments else None
