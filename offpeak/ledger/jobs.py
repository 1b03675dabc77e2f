"""Jobs as the ledger holds them: to work on, to close, and to show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from offpeak.clock import from_micros, to_micros
from offpeak.errors import NotFound, PlanError, did_you_mean
from offpeak.faultpoints import FaultPoint, reach
from offpeak.ledger import attempts, closed, notices, tables
from offpeak.ledger.claims import Claimant
from offpeak.ledger.closed import OnClose
from offpeak.ledger.deadline import OnDeadline
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import POSSIBLY_PAID
from offpeak.ledger.states import (
    LIVE_CHUNKS,
    OPEN_JOBS,
    PARKED,
    ChunkState,
    JobState,
    ParkedState,
    must,
    record,
    transition,
)
from offpeak.providers.base import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a job's own chunks cost, every attempt included. Tokens and pico-dollars."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    """Of the input, read from a cache."""
    cache_write_tokens: int = 0
    """Of the input, written to a cache."""
    cost_pico: int = 0
    realtime_pico: int = 0
    cache_saved_pico: int = 0
    """What it would have cost more without a cache; below nought where writing one cost more than it saved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """One job, for people."""

    id: int
    asset: str
    state: JobState
    model: str
    run_id: str
    created_at: datetime
    deadline_at: datetime
    closed_at: datetime | None
    rows: int
    new: int
    joined: int
    reused: int
    removed: int
    lane: str | None
    reason: str | None
    chunks: int
    landed: int
    """Chunks whose batch has ended but whose lines are not applied yet."""
    applied: int
    """Chunks whose batch is applied."""
    called: int
    """Chunks whose requests were called one by one, and have an outcome."""
    batch_ids: tuple[str, ...]
    estimate_input_tokens: int | None = None
    """Of what its plan had to buy, like the next two; None for a plan that nobody estimated."""
    estimate_output_tokens: int | None = None
    estimate_pico: int | None = None
    """At the price of its lane."""
    on_deadline: OnDeadline | None = None
    """What is done about what has not landed by its deadline; None: it goes on, late."""


def start(ledger: Ledger, job_id: int) -> None:
    """The job is being worked on."""
    with ledger.database.write() as connection:
        transition(connection, job_id, JobState.IN_PROGRESS, at=ledger.clock.now(), who=str(ledger.claimant))


def close(
    ledger: Ledger,
    job_id: int,
    state: JobState,
    *,
    why: str,
    ages: Mapping[str, datetime] | None = None,
    on_close: OnClose | None = None,
) -> None:
    """End a job and what it took over: the cost of their chunks counts for it, where no other job has it already.

    A cancelled job takes nothing over, and what others still wait for is theirs to pay. `ages` is the `as_of` of the
    oldest row that each of its partitions serves now. What `on_close` tells is in the outbox when the job is closed.
    """
    now, who = ledger.clock.now(), str(ledger.claimant)
    with ledger.database.write() as connection:
        _write_ages(connection, job_id, ages or {})
        orphans = _orphans(connection, job_id, now) if state is not JobState.CANCELLED else []
        theirs = sa.select(tables.job_chunk.c.chunk_id).where(tables.job_chunk.c.job_id.in_([job_id, *orphans]))
        billed = connection.execute(
            tables.chunk.update()
            .where(
                tables.chunk.c.id.in_(theirs),
                tables.chunk.c.billed_job_id.is_(None),
                tables.chunk.c.state.not_in([state.value for state in LIVE_CHUNKS]),
            )
            .values(billed_job_id=job_id)
            .returning(tables.chunk.c.id)
        )
        detail = {"billed": sorted(billed.scalars())}
        must(connection, job_id, state, at=now, who=who, why=why, detail=detail, closed_at=to_micros(now))
        for older in orphans:
            why_older = f"nobody carried it on; job {job_id} took over"
            transition(connection, older, JobState.SUPERSEDED, at=now, who=who, why=why_older, closed_at=to_micros(now))
        if on_close is not None:
            cost_pico = _bills(connection, [job_id])[job_id].cost_pico
            for notice in on_close(closed.read(connection, job_id, state, at=now, cost_pico=cost_pico)):
                notices.raise_notice(connection, ledger, notice)
    reach(FaultPoint.JOB_CLOSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """When a job is due, and what is done then."""

    deadline_at: datetime
    on_deadline: OnDeadline | None
    """None: it goes on, late."""


def deadline_of(ledger: Ledger, job_id: int) -> Deadline:
    """The deadline of a job."""
    job = tables.job
    with ledger.database.read() as connection:
        row = connection.execute(sa.select(job.c.deadline_at, job.c.on_deadline).where(job.c.id == job_id)).one()
    on_deadline = None if row.on_deadline is None else OnDeadline(row.on_deadline)
    return Deadline(deadline_at=from_micros(row.deadline_at), on_deadline=on_deadline)


def ending(ledger: Ledger, *, now: datetime) -> set[int]:
    """Open jobs that end at their deadline, whatever is still on its way then, and whose deadline has come."""
    job = tables.job
    ends = [OnDeadline.FAIL.value, OnDeadline.SERVE_LAST_GOOD.value]
    query = sa.select(job.c.id).where(
        job.c.state.in_([JobState.QUEUED.value, JobState.IN_PROGRESS.value]),
        job.c.on_deadline.in_(ends),
        job.c.deadline_at <= to_micros(now),
    )
    with ledger.database.read() as connection:
        return set(connection.execute(query).scalars())


def leave(ledger: Ledger, job_id: int, *, why: str) -> None:
    """This process does not carry the job on any more: the next plan of the same rows takes it over."""
    job, now, who = tables.job, ledger.clock.now(), str(ledger.claimant)
    with ledger.database.write() as connection:
        connection.execute(job.update().where(job.c.id == job_id).values(owner=None))
        state = connection.execute(sa.select(job.c.state).where(job.c.id == job_id)).scalar_one()
        record(connection, job, job_id, JobState(state), at=now, who=who, why=why, detail={"left": True})


def _write_ages(connection: Connection, job_id: int, ages: Mapping[str, datetime]) -> None:
    mine, target = tables.job_target, tables.target
    chosen = sa.select(target.c.id, target.c.partition_key).join(mine, mine.c.target_id == target.c.id)
    found = connection.execute(chosen.where(mine.c.job_id == job_id)).all()
    values = [
        {"of": row.id, "micros": to_micros(ages[row.partition_key])} for row in found if row.partition_key in ages
    ]
    if values:
        of_target = sa.and_(mine.c.job_id == job_id, mine.c.target_id == sa.bindparam("of"))
        connection.execute(mine.update().where(of_target).values(landed_as_of=sa.bindparam("micros")), values)


def _orphans(connection: Connection, job_id: int, now: datetime) -> list[int]:
    """Older open jobs of the same asset, whose targets this job covers and that nobody carries on or is stopping."""
    job, mine, theirs = tables.job, tables.job_target.alias("mine"), tables.job_target.alias("theirs")
    asset = sa.select(job.c.asset).where(job.c.id == job_id).scalar_subquery()
    covered = sa.select(mine.c.target_id).where(mine.c.job_id == job_id)
    uncovered = sa.exists().where(theirs.c.job_id == job.c.id, theirs.c.target_id.not_in(covered))
    parked = tables.parked_run
    stopping = sa.exists().where(parked.c.id == job.c.parked_id, parked.c.state == ParkedState.STOPPING.value)
    older = job.c.id.in_(
        sa.select(job.c.id).where(
            job.c.asset == asset,
            job.c.id < job_id,
            job.c.state.in_([JobState.QUEUED.value, JobState.IN_PROGRESS.value]),
            ~uncovered,
            ~stopping,
        )
    )
    return [each for each, attended in attendance(connection, older, now=now).items() if not attended]


def attendance(connection: Connection, which: sa.ColumnElement[bool], *, now: datetime) -> dict[int, bool]:
    """For each of these open jobs, whether somebody carries it on: a living process, or a parked run."""
    job, parked = tables.job, tables.parked_run
    query = (
        sa.select(job.c.id, job.c.owner, job.c.created_at, parked.c.state)
        .outerjoin(parked, parked.c.id == job.c.parked_id)
        .where(which, job.c.state.in_([state.value for state in OPEN_JOBS]))
    )
    found = {}
    for row in connection.execute(query):
        owner = Claimant.parse(row.owner or "")
        works = owner is not None and owner.alive(claimed_at=from_micros(row.created_at), now=now)
        found[int(row.id)] = row.state in PARKED or (row.state is None and works)
    return found


def movements(ledger: Ledger, assets: Sequence[str]) -> dict[str, str]:
    """By asset, a text that is another whenever one of its jobs was planned or closed, or its rows were re-verified."""
    job, target = tables.job, tables.target
    query = (
        sa.select(job.c.asset, sa.func.max(job.c.id), sa.func.count(job.c.closed_at), sa.func.max(job.c.closed_at))
        .where(job.c.asset.in_(assets))
        .group_by(job.c.asset)
    )
    planned = (
        sa.select(
            target.c.asset, sa.func.max(target.c.job_id), sa.func.min(target.c.as_of), sa.func.max(target.c.as_of)
        )
        .where(target.c.asset.in_(assets))
        .group_by(target.c.asset)
    )
    with ledger.database.read() as connection:
        found = {row[0]: list(row[1:]) for row in connection.execute(query)}
        for row in connection.execute(planned):
            found.setdefault(row[0], []).extend(row[1:])
    return {asset: "/".join(map(str, figures)) for asset, figures in found.items()}


def abandoned(ledger: Ledger) -> dict[str, list[int]]:
    """By run: open jobs whose process is gone and that were never parked."""
    job = tables.job
    open_states = [state.value for state in (JobState.QUEUED, JobState.IN_PROGRESS)]
    unparked = sa.and_(job.c.state.in_(open_states), job.c.parked_id.is_(None))
    found: dict[str, list[int]] = {}
    with ledger.database.read() as connection:
        attended = attendance(connection, unparked, now=ledger.clock.now())
        gone = [job_id for job_id, attends in attended.items() if not attends]
        for row in connection.execute(sa.select(job.c.id, job.c.run_id).where(job.c.id.in_(gone))):
            found.setdefault(row.run_id, []).append(row.id)
    return found


def awaited_by_others(ledger: Ledger, job_id: int) -> set[int]:
    """The job's chunks that another job waits for too, one that somebody carries on."""
    mine, theirs = tables.job_chunk.alias("mine"), tables.job_chunk.alias("theirs")
    query = (
        sa.select(theirs.c.chunk_id, theirs.c.job_id)
        .join(mine, mine.c.chunk_id == theirs.c.chunk_id)
        .where(mine.c.job_id == job_id, theirs.c.job_id != job_id)
    )
    with ledger.database.read() as connection:
        pairs = connection.execute(query).all()
        others = tables.job.c.id.in_({pair.job_id for pair in pairs})
        attended = attendance(connection, others, now=ledger.clock.now())
    return {pair.chunk_id for pair in pairs if attended.get(pair.job_id)}


def answered(ledger: Ledger, job_id: int) -> int:
    """How many of the rows that the job planned have an answer."""
    query = (
        sa.select(sa.func.count())
        .select_from(tables.job_target)
        .join(tables.wanted, tables.wanted.c.target_id == tables.job_target.c.target_id)
        .join(tables.answer, tables.answer.c.request_id == tables.wanted.c.request_id)
        .where(tables.job_target.c.job_id == job_id)
    )
    with ledger.database.read() as connection:
        return int(connection.execute(query).scalar_one())


def bill(ledger: Ledger, job_id: int) -> Bill:
    """Sums over the answers and failures of the chunks that are billed to the job."""
    return bills(ledger, [job_id])[job_id]


def bills(ledger: Ledger, job_ids: Sequence[int]) -> dict[int, Bill]:
    """The bills of several jobs. One that has not ended has nothing on it yet."""
    with ledger.database.read() as connection:
        return _bills(connection, job_ids)


def _bills(connection: Connection, job_ids: Sequence[int]) -> dict[int, Bill]:
    found = attempts.billed(connection, job_ids, Bill.__slots__)
    return {job_id: Bill(**dict(zip(Bill.__slots__, sums, strict=True))) for job_id, sums in found.items()}


def possibly_paid_twice(ledger: Ledger, job_id: int) -> int:
    """Requests of the job's chunks that were answered after a call of theirs was lost, which may have been billed."""
    failure, answer, submission, link = tables.failure, tables.answer, tables.submission, tables.job_chunk
    query = (
        sa.select(sa.func.count(failure.c.request_id.distinct()))
        .join(submission, submission.c.id == failure.c.submission_id)
        .join(link, link.c.chunk_id == submission.c.chunk_id)
        .join(answer, answer.c.request_id == failure.c.request_id)
        .where(link.c.job_id == job_id, failure.c.reason == POSSIBLY_PAID)
    )
    with ledger.database.read() as connection:
        return int(connection.execute(query).scalar_one())


def approve(ledger: Ledger, job_id: int, *, who: str) -> JobRow:
    """Let the next plan like a held job's go through. Raises NotFound for no job, PlanError for one not held."""
    with ledger.database.write() as connection:
        found = transition(connection, job_id, JobState.APPROVED, at=ledger.clock.now(), who=who, why="approved")
    rows = listed(ledger, ids=[job_id])
    if not rows:
        raise NotFound(f"There is no job {job_id}. Nothing was approved. `offpeak jobs` lists them.")
    if not found:
        raise PlanError(f"Job {job_id} of {rows[0].asset} is {rows[0].state.value}, not held. Nothing was approved.")
    return rows[0]


def listed(
    ledger: Ledger,
    *,
    asset: str | None = None,
    open_only: bool = False,
    ids: Sequence[int] | None = None,
    limit: int = 50,
) -> list[JobRow]:
    """Jobs, newest first."""
    job = tables.job
    query = sa.select(job).order_by(job.c.id.desc()).limit(limit)
    if asset is not None:
        query = query.where(job.c.asset == asset)
    if open_only:
        query = query.where(job.c.state.in_([state.value for state in OPEN_JOBS] + [JobState.HELD.value]))
    if ids is not None:
        query = query.where(job.c.id.in_(ids))
    with ledger.database.read() as connection:
        rows = connection.execute(query).all()
        chunks = connection.execute(
            sa.select(
                tables.job_chunk.c.job_id,
                tables.chunk.c.state,
                tables.submission.c.state.label("submission"),
                tables.submission.c.batch_id,
            )
            .join(tables.chunk, tables.chunk.c.id == tables.job_chunk.c.chunk_id)
            .outerjoin(tables.submission, tables.submission.c.id == tables.chunk.c.stamp)
            .where(
                tables.job_chunk.c.job_id.in_([row.id for row in rows]),
                tables.chunk.c.state != ChunkState.SPLIT.value,
            )
            .order_by(tables.chunk.c.id)
        ).all()
    by_job: dict[int, list[Row[Any]]] = {}
    for chunk in chunks:
        by_job.setdefault(chunk.job_id, []).append(chunk)
    return [_job_row(row, by_job.get(row.id, [])) for row in rows]


def refuse_unknown_asset(ledger: Ledger, asset: str) -> None:
    """Raise NotFound, with the nearest names, for an asset that never had a job."""
    with ledger.database.read() as connection:
        known = list(connection.execute(sa.select(tables.job.c.asset).distinct()).scalars())
    if asset not in known:
        hint = did_you_mean(asset, known, nothing="No asset ever had one.")
        raise NotFound(f"No job of an asset {asset!r} is in this ledger. {hint}")


def _job_row(row: Row[Any], chunks: Sequence[Row[Any]]) -> JobRow:
    return JobRow(
        id=row.id,
        asset=row.asset,
        state=JobState(row.state),
        model=row.model,
        run_id=row.run_id,
        created_at=from_micros(row.created_at),
        deadline_at=from_micros(row.deadline_at),
        closed_at=None if row.closed_at is None else from_micros(row.closed_at),
        rows=row.rows,
        new=row.new,
        joined=row.joined,
        reused=row.reused,
        removed=row.removed,
        lane=row.lane,
        reason=row.reason,
        chunks=len(chunks),
        landed=sum(chunk.submission == "landed" for chunk in chunks),
        applied=sum(chunk.state == "applied" and chunk.batch_id is not None for chunk in chunks),
        called=sum(chunk.state == "applied" and chunk.batch_id is None for chunk in chunks),
        batch_ids=tuple(chunk.batch_id for chunk in chunks if chunk.batch_id),
        estimate_input_tokens=row.estimate_input_tokens,
        estimate_output_tokens=row.estimate_output_tokens,
        estimate_pico=row.estimate_pico,
        on_deadline=None if row.on_deadline is None else OnDeadline(row.on_deadline),
    )


@dataclass(frozen=True, slots=True)
class JobTarget:
    """One partition that a job planned."""

    partition_key: str
    removed: int


def targets(ledger: Ledger, job_id: int) -> list[JobTarget]:
    """The partitions a job planned, in key order."""
    mine, target = tables.job_target, tables.target
    query = (
        sa.select(target.c.partition_key, mine.c.removed)
        .join(target, target.c.id == mine.c.target_id)
        .where(mine.c.job_id == job_id)
        .order_by(target.c.partition_key)
    )
    with ledger.database.read() as connection:
        return [JobTarget(row.partition_key, row.removed) for row in connection.execute(query)]


def only_expired(ledger: Ledger, job_id: int) -> bool:
    """Whether every request of the job's that failed for good did so because its batches were not run in time."""
    dead = tables.dead_letter
    query = (
        sa.select(dead.c.reason)
        .distinct()
        .join(tables.wanted, tables.wanted.c.request_id == dead.c.request_id)
        .join(tables.job_target, tables.job_target.c.target_id == tables.wanted.c.target_id)
        .where(tables.job_target.c.job_id == job_id)
    )
    with ledger.database.read() as connection:
        return set(connection.execute(query).scalars()) == {Outcome.EXPIRED.value}


def reasons(ledger: Ledger, job_id: int) -> str:
    """Why requests of the job's chunks brought nothing, most frequent first, as text."""
    dead = tables.dead_letter
    count = sa.func.count().label("count")
    query = (
        sa.select(dead.c.reason, sa.func.min(dead.c.message).label("message"), count)
        .join(tables.wanted, tables.wanted.c.request_id == dead.c.request_id)
        .join(tables.job_target, tables.job_target.c.target_id == tables.wanted.c.target_id)
        .where(tables.job_target.c.job_id == job_id)
        .group_by(dead.c.reason)
        .order_by(count.desc())
        .limit(3)
    )
    with ledger.database.read() as connection:
        rows = connection.execute(query).all()
    return "; ".join(f"{row.reason} ({row.count:,}; {row.message})" for row in rows) or "no reason was recorded"
