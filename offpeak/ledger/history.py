"""What happened: chunks with every submission they had, the events of anything, and one job told whole.

Reads only. What belongs to one row is in `explaining`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from offpeak.clock import from_micros
from offpeak.errors import NotFound
from offpeak.ledger import parked_runs, tables
from offpeak.ledger.jobs import Bill, JobRow, bill, listed
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.parked_runs import ParkedRun
from offpeak.ledger.states import ChunkState, SubmissionState


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change of state."""

    at: datetime
    subject: str
    """job, chunk, submission, parked_run or request."""
    subject_id: int
    state: str
    who: str
    """The process: host#pid@start."""
    why: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionRecord:
    """One attempt to have a chunk answered."""

    id: int
    state: SubmissionState
    batch_id: str | None
    file_id: str | None
    intended_at: datetime
    submitted_at: datetime | None
    ended_at: datetime | None
    outcome: str | None
    """The provider's terminal state."""
    error: str | None
    called: bool
    """Its requests were called one by one, or are: there is no batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRecord:
    """Requests that are bought together, and every submission of theirs, oldest first."""

    id: int
    state: ChunkState
    attempt: int
    """Counts from 1: how often its requests have been tried with it."""
    requests: int
    realm: str
    kind: str
    model: str
    stamp: int
    """The submission that holds it, or will."""
    first_request: int | None
    spool: str | None
    """File name; None once pruned."""
    spool_bytes: int
    created_at: datetime
    billed_job_id: int | None
    drawn_for: int | None
    """The sample whose requests it carries."""
    held_by: int | None
    """The sample that has to be released before it is sent."""
    lane: Lane
    """How what is not bought yet is going to be."""
    degraded_from: str | None
    """The model that it stands in for, because that one's queue was full."""
    given_up_at: datetime | None
    """When it was decided to buy at realtime price what its batch leaves, to make a deadline."""
    rescues: int | None
    """The chunk whose rest it buys so."""
    submissions: Sequence[SubmissionRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why requests brought nothing, how often, and what that cost in pico-dollars."""

    reason: str
    count: int
    message: str | None
    """One of them, for an example."""
    cost_pico: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTarget:
    """One partition that a job planned."""

    partition_key: str
    as_of: datetime
    removed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobHistory:
    """One job told whole."""

    job: JobRow
    bill: Bill
    """Nothing on it before the job has ended."""
    targets: Sequence[PlannedTarget]
    chunks: Sequence[ChunkRecord]
    parked: ParkedRun | None
    """The run that held its place last while no process waited, if one did."""
    events: Sequence[Event]
    failures: Sequence[Reason]
    """Attempts that brought no usable answer, retried ones included."""
    dead_letters: Sequence[Reason]


def of_job(ledger: Ledger, job_id: int) -> JobHistory:
    """Everything the ledger holds about a job. Raises NotFound where there is no such job."""
    rows = listed(ledger, ids=[job_id])
    if not rows:
        raise NotFound(f"There is no job {job_id}. `offpeak jobs` lists them.")
    mine = sa.select(tables.job_chunk.c.chunk_id).where(tables.job_chunk.c.job_id == job_id)
    parked = parked_runs.of_job(ledger, job_id)
    with ledger.database.read() as connection:
        chunks = chunks_where(connection, tables.chunk.c.id.in_(mine))
        return JobHistory(
            job=rows[0],
            bill=bill(ledger, job_id),
            targets=_targets(connection, job_id),
            chunks=chunks,
            parked=parked,
            events=events_of(connection, chunks, jobs=[job_id], parked=[] if parked is None else [parked.id]),
            failures=_failures(connection, mine),
            dead_letters=_dead_letters(connection, job_id),
        )


def chunks_where(connection: Connection, condition: sa.ColumnElement[bool]) -> list[ChunkRecord]:
    """The chunks that meet a condition, oldest first."""
    rows = connection.execute(sa.select(tables.chunk).where(condition).order_by(tables.chunk.c.id)).all()
    submissions = _submissions(connection, {row.id: Lane(row.lane) for row in rows})
    return [
        ChunkRecord(
            id=row.id,
            state=ChunkState(row.state),
            attempt=row.attempt,
            requests=row.requests,
            realm=row.realm,
            kind=row.kind,
            model=row.model,
            stamp=row.stamp,
            first_request=row.first_request,
            spool=row.spool,
            spool_bytes=row.spool_bytes,
            created_at=from_micros(row.created_at),
            billed_job_id=row.billed_job_id,
            drawn_for=row.drawn_for,
            held_by=row.held_by,
            lane=Lane(row.lane),
            degraded_from=row.degraded_from,
            given_up_at=None if row.rescue_at is None else from_micros(row.rescue_at),
            rescues=row.rescues,
            submissions=submissions.get(row.id, []),
        )
        for row in rows
    ]


def _submissions(connection: Connection, lanes: Mapping[int, Lane]) -> Mapping[int, list[SubmissionRecord]]:
    table = tables.submission
    by_chunk: dict[int, list[SubmissionRecord]] = {}
    for row in connection.execute(sa.select(table).where(table.c.chunk_id.in_(list(lanes))).order_by(table.c.id)):
        by_chunk.setdefault(row.chunk_id, []).append(
            SubmissionRecord(
                id=row.id,
                state=SubmissionState(row.state),
                called=_called(row, lanes[row.chunk_id]),
                batch_id=row.batch_id,
                file_id=row.file_id,
                intended_at=from_micros(row.intended_at),
                submitted_at=moment(row.submitted_at),
                ended_at=moment(row.ended_at),
                outcome=row.outcome,
                error=row.error,
            )
        )
    return by_chunk


def _called(row: Row[Any], lane: Lane) -> bool:
    """Whether a submission is no batch, and never was about to be one."""
    match SubmissionState(row.state):
        case SubmissionState.CALLING:
            return True
        case SubmissionState.INTENDED | SubmissionState.APPLIED | SubmissionState.LEFT:
            return lane is Lane.BACKGROUND and row.batch_id is None
        case _:
            return False


def events_of(
    connection: Connection,
    chunks: Iterable[ChunkRecord],
    *,
    jobs: Sequence[int] = (),
    parked: Sequence[int] = (),
    requests: Sequence[int] = (),
) -> list[Event]:
    """What became of these chunks and their submissions, jobs, parked runs and requests, in the order it happened."""
    table = tables.event
    subjects = {
        "job": list(jobs),
        "chunk": [chunk.id for chunk in chunks],
        "submission": [each.id for chunk in chunks for each in chunk.submissions],
        "parked_run": list(parked),
        "sample": sorted({*jobs, *(each for chunk in chunks for each in (chunk.drawn_for, chunk.held_by) if each)}),
        "request": list(requests),
    }
    about = sa.or_(*(sa.and_(table.c.subject == name, table.c.subject_id.in_(ids)) for name, ids in subjects.items()))
    return [
        Event(
            at=from_micros(row.at),
            subject=row.subject,
            subject_id=row.subject_id,
            state=row.state,
            who=row.who,
            why=row.why,
        )
        for row in connection.execute(sa.select(table).where(about).order_by(table.c.id))
    ]


def _targets(connection: Connection, job_id: int) -> list[PlannedTarget]:
    mine, target = tables.job_target, tables.target
    query = (
        sa.select(target.c.partition_key, mine.c.as_of, mine.c.removed)
        .join(target, target.c.id == mine.c.target_id)
        .where(mine.c.job_id == job_id)
        .order_by(target.c.partition_key)
    )
    return [
        PlannedTarget(partition_key=row.partition_key, as_of=from_micros(row.as_of), removed=row.removed)
        for row in connection.execute(query)
    ]


def _failures(connection: Connection, chunk_ids: sa.Select[tuple[int]]) -> list[Reason]:
    failure, submission = tables.failure, tables.submission
    count = sa.func.count()
    query = (
        sa.select(failure.c.reason, count, sa.func.min(failure.c.message), sa.func.sum(failure.c.cost_pico))
        .join(submission, submission.c.id == failure.c.submission_id)
        .where(submission.c.chunk_id.in_(chunk_ids))
        .group_by(failure.c.reason)
        .order_by(count.desc(), failure.c.reason)
    )
    return [
        Reason(reason=reason, count=times, message=message, cost_pico=int(cost))
        for reason, times, message, cost in connection.execute(query)
    ]


def _dead_letters(connection: Connection, job_id: int) -> list[Reason]:
    dead, wanted, mine = tables.dead_letter, tables.wanted, tables.job_target
    of_this_job = (
        sa.select(wanted.c.request_id).join(mine, mine.c.target_id == wanted.c.target_id).where(mine.c.job_id == job_id)
    )
    count = sa.func.count()
    query = (
        sa.select(dead.c.reason, count, sa.func.min(dead.c.message))
        .where(dead.c.request_id.in_(of_this_job))
        .group_by(dead.c.reason)
        .order_by(count.desc(), dead.c.reason)
    )
    return [Reason(reason=reason, count=times, message=message) for reason, times, message in connection.execute(query)]


def moment(micros: int | None) -> datetime | None:
    """A stored time, where there is one."""
    return None if micros is None else from_micros(micros)
