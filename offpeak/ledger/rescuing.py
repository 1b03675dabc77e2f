"""The rescue in the ledger: what is open and wanted by when, what was given up, and what was bought again unresolved.

    open chunk -> given up (`rescue_at`, durable) -> the provider is asked to cancel -> terminal -> applied
               -> its rest in a new chunk of the background lane (`rescues`)

Given up is a decision on record, before anything is asked of the provider: whoever carries the job on sees it through.
Nothing of a chunk is bought again before its batch is terminal and applied, but where its asset would rather pay twice
than be late, and that is on record, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.clock import from_micros, to_micros, utc_day
from offpeak.faultpoints import FaultPoint, reach
from offpeak.ledger import queueing, submissions, tables
from offpeak.ledger.claims import Claimant
from offpeak.ledger.database import slices
from offpeak.ledger.deadline import OnDeadline
from offpeak.ledger.jobs import attendance
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import LIVE_CHUNKS, ChunkState, JobState, SubmissionState, record
from offpeak.ledger.submissions import Submission
from offpeak.providers.base import BatchState, Provider

FEWEST_CALLS = 100
"""Requests of a chunk that was called from which on its speed says something."""

SPEEDS = 10
"""Chunks that were called last, of which the fastest counts: the slower ones had less to do at once."""

_MEAN_OUTPUT = 256
"""Tokens of an answer where no plan has estimated them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWork:
    """A live chunk, as the shared rate of its model sees it."""

    chunk_id: int
    realm: str
    model: str
    due_at: datetime
    requests: int
    tokens: int
    finished: int
    """Requests that have an outcome by now: by the provider's count, or that of whoever calls them."""
    lane: Lane
    given_up_at: datetime | None
    at_provider: bool
    """A batch, or what may have become one, has to end before the rest can be bought."""
    ended: bool
    """That batch has ended, or is about to: nothing is won by cancelling it."""
    sent_anyway: bool = False
    """No launch keeps it from its provider."""


def open_work(ledger: Ledger) -> list[OpenWork]:
    """What a rescue may have to buy, and what the realtime endpoints have to take anyway, of all jobs carried on."""
    chunk, link, job, submission = tables.chunk, tables.job_chunk, tables.job, tables.submission
    query = (
        sa.select(
            *(chunk.c[name] for name in _CHUNK),
            submission.c.state.label("submission_state"),
            submission.c.seen_state,
            submission.c.finished,
            job.c.id.label("job_id"),
            job.c.on_deadline,
            job.c.sent_anyway_at,
            job.c.new,
            job.c.estimate_output_tokens,
        )
        .select_from(chunk)
        .join(link, link.c.chunk_id == chunk.c.id)
        .join(job, job.c.id == link.c.job_id)
        .outerjoin(submission, submission.c.id == chunk.c.stamp)
        .where(
            chunk.c.state.in_([state.value for state in LIVE_CHUNKS]),
            chunk.c.held_by.is_(None),
            chunk.c.due_at.is_not(None),
            job.c.state.in_(_OPEN_JOBS),
        )
        .order_by(chunk.c.id)
    )
    with ledger.database.read() as connection:
        rows = connection.execute(query).all()
        ids = list({row.job_id for row in rows})
        attended: dict[int, bool] = {}
        for part in slices(ids, 500):
            attended |= attendance(connection, job.c.id.in_(part), now=ledger.clock.now())
    found: list[OpenWork] = []
    for _, group in groupby((row for row in rows if attended.get(row.job_id)), key=_chunk_id):
        waiting = list(group)
        rescued = any(row.on_deadline == OnDeadline.RESCUE.value for row in waiting)
        if rescued or waiting[0].lane == Lane.BACKGROUND.value:
            found.append(_read(waiting))
    return found


_CHUNK = ("id", "realm", "model", "state", "lane", "due_at", "requests", "spool_bytes", "rescue_at")
_OPEN_JOBS = [JobState.QUEUED.value, JobState.IN_PROGRESS.value]


def _chunk_id(row: "sa.Row[Any]") -> int:
    return int(row.id)


def _read(waiting: "Sequence[sa.Row[Any]]") -> OpenWork:
    """A chunk, of the rows that there are of it: one for each job that waits for it."""
    row = waiting[0]
    per_request = [
        each.estimate_output_tokens / each.new for each in waiting if each.estimate_output_tokens and each.new
    ]
    answers = max(per_request, default=_MEAN_OUTPUT)
    unended = {SubmissionState.INTENDED.value, SubmissionState.CREATING.value, SubmissionState.CREATED.value}
    seen = None if row.seen_state is None else BatchState(row.seen_state)
    landed = row.submission_state == SubmissionState.LANDED.value
    return OpenWork(
        chunk_id=row.id,
        realm=row.realm,
        model=row.model,
        due_at=from_micros(row.due_at),
        requests=row.requests,
        tokens=queueing.tokens_of(row.spool_bytes) + int(answers * row.requests),
        finished=min(row.finished or 0, row.requests),
        lane=Lane(row.lane),
        given_up_at=None if row.rescue_at is None else from_micros(row.rescue_at),
        at_provider=row.state == ChunkState.OPEN.value and row.submission_state in unended,
        sent_anyway=any(each.sent_anyway_at is not None for each in waiting),
        ended=landed or (seen is not None and (seen.terminal or seen is BatchState.FINALIZING)),
    )


def speed(ledger: Ledger, *, realm: str, model: str) -> float | None:
    """Requests a minute that the realtime endpoints were last seen to take of one run; None before any has tried."""
    chunk, submission = tables.chunk, tables.submission
    query = (
        sa.select(chunk.c.requests, submission.c.submitted_at, submission.c.ended_at)
        .join(submission, submission.c.id == chunk.c.stamp)
        .where(
            chunk.c.realm == realm,
            chunk.c.model == model,
            chunk.c.lane == Lane.BACKGROUND.value,
            chunk.c.state == ChunkState.APPLIED.value,
            chunk.c.requests >= FEWEST_CALLS,
            submission.c.ended_at > submission.c.submitted_at,
        )
        .order_by(chunk.c.id.desc())
        .limit(SPEEDS)
    )
    with ledger.database.read() as connection:
        rows = connection.execute(query).all()
    minute = timedelta(minutes=1) // timedelta(microseconds=1)
    return max((row.requests / ((row.ended_at - row.submitted_at) / minute) for row in rows), default=None)


def give_up(ledger: Ledger, chunk: Submission, *, why: str) -> bool:
    """Write down that what the chunk's batch leaves is bought at realtime price. False where it is through, or was.

    One that was never sent goes to the background lane as it is.
    """
    now, who, table = ledger.clock.now(), str(ledger.claimant), tables.chunk
    never_sent = sa.and_(table.c.id == chunk.chunk_id, table.c.state == ChunkState.QUEUED.value)
    with ledger.database.write(durable=True) as connection:
        changed = connection.execute(
            table.update()
            .where(
                table.c.id == chunk.chunk_id,
                table.c.stamp == chunk.stamp,
                table.c.state.in_([state.value for state in LIVE_CHUNKS]),
                table.c.rescue_at.is_(None),
            )
            .values(rescue_at=to_micros(now))
        )
        if changed.rowcount != 1:
            return False
        connection.execute(
            table.update().where(never_sent).values(lane=Lane.BACKGROUND.value, ready_at=None, give_up_at=None)
        )
        state = ChunkState(
            connection.execute(sa.select(table.c.state).where(table.c.id == chunk.chunk_id)).scalar_one()
        )
        record(connection, table, chunk.chunk_id, state, at=now, who=who, why=why, detail={"given_up": True})
    reach(FaultPoint.GIVEN_UP)
    return True


def _spent_twice(connection: Connection, asset: str, *, since: datetime, but_for: int) -> int:
    """What may have been paid twice on purpose for an asset since then, in pico-dollars, by estimate."""
    chunk, link, job = tables.chunk, tables.job_chunk, tables.job
    mine = sa.select(link.c.chunk_id).join(job, job.c.id == link.c.job_id).where(job.c.asset == asset)
    query = sa.select(sa.func.coalesce(sa.func.sum(chunk.c.twice_pico), 0)).where(
        chunk.c.twice_at >= to_micros(since), chunk.c.id.in_(mine), chunk.c.id != but_for
    )
    return int(connection.execute(query).scalar_one())


def pay_twice(
    ledger: Ledger, provider: Provider, chunk: Submission, *, asset: str, cost_pico: int, most_pico: int, why: str
) -> bool:
    """Queue an open chunk in the background lane although nobody knows what its batch has bought.

    `cost_pico` is what that may cost for nothing, `most_pico` what may be spent so for `asset` in a day (UTC). False
    where that is not left, or where another process settled the chunk meanwhile.
    """
    now = ledger.clock.now()
    with ledger.database.write(durable=True) as connection:
        # locked, so that two runs do not both spend what is left
        connection.execute(sa.select(tables.identity.c.id).with_for_update())
        if _spent_twice(connection, asset, since=utc_day(now), but_for=chunk.chunk_id) + cost_pico > most_pico:
            return False
        connection.execute(
            tables.chunk.update()
            .where(tables.chunk.c.id == chunk.chunk_id, tables.chunk.c.stamp == chunk.stamp)
            .values(twice_at=to_micros(now), twice_pico=cost_pico)
        )
    reach(FaultPoint.TWICE_INTENDED)
    known = chunk.state is SubmissionState.CREATED
    if not known:
        submissions.forget_file(provider, chunk.file_id)
    return submissions.requeue(
        ledger,
        chunk,
        why=why,
        ended=SubmissionState.LATE if known else SubmissionState.ABSENT,
        lane=Lane.BACKGROUND,
    )


def turn(ledger: Ledger, chunk: Submission) -> bool:
    """Whether a rescued chunk may be called now: no other one of its model that is due sooner is being called.

    The rate is shared, and a process that calls what is due later takes it from what is due now.
    """
    if not chunk.rescued or chunk.due_at is None:
        return True
    table, submission, now = tables.chunk, tables.submission, ledger.clock.now()
    sooner = sa.or_(
        table.c.due_at < to_micros(chunk.due_at),
        sa.and_(table.c.due_at == to_micros(chunk.due_at), table.c.id < chunk.chunk_id),
    )
    query = (
        sa.select(submission.c.owner, submission.c.intended_at)
        .join(table, table.c.stamp == submission.c.id)
        .where(
            table.c.realm == chunk.realm,
            table.c.model == chunk.model,
            table.c.state == ChunkState.OPEN.value,
            was_rescued(table),
            submission.c.owner != str(ledger.claimant),
            sooner,
        )
    )
    with ledger.database.read() as connection:
        rows = connection.execute(query).all()
    owners = [(Claimant.parse(row.owner), from_micros(row.intended_at)) for row in rows]
    return not any(owner is not None and owner.alive(claimed_at=since, now=now) for owner, since in owners)


def rescued_rows(ledger: Ledger, job_id: int) -> int:
    """How many of the job's rows have an answer that it bought at realtime price because of a deadline."""
    answer, wanted, mine, submission = tables.answer, tables.wanted, tables.job_target, tables.submission
    with ledger.database.read() as connection:
        rescues = connection.execute(_chunks(job_id, was_rescued(tables.chunk))).scalars().all()
        if not rescues:
            return 0
        query = (
            sa.select(sa.func.count())
            .select_from(mine)
            .join(wanted, wanted.c.target_id == mine.c.target_id)
            .join(answer, answer.c.request_id == wanted.c.request_id)
            .join(submission, submission.c.id == answer.c.submission_id)
            .where(mine.c.job_id == job_id, submission.c.chunk_id.in_(rescues))
        )
        return int(connection.execute(query).scalar_one())


def was_rescued(chunk: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether a chunk's requests are bought at realtime price because of a deadline."""
    given_up = sa.or_(chunk.c.rescues.is_not(None), chunk.c.rescue_at.is_not(None))
    # written out, because SQL views hold it too
    return sa.and_(chunk.c.lane == sa.literal_column(f"'{Lane.BACKGROUND.value}'"), given_up)


def answered_in_rescue(submission_id: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Whether an answer of that submission was bought at realtime price because of a deadline."""
    submission, chunk = tables.submission, tables.chunk
    rescues = sa.select(submission.c.id).join(chunk, chunk.c.id == submission.c.chunk_id).where(was_rescued(chunk))
    return submission_id.in_(rescues)


def _chunks(job_id: int, *conditions: sa.ColumnElement[bool]) -> sa.Select[tuple[int]]:
    """The chunks that a job waits for and that meet conditions."""
    link, chunk = tables.job_chunk, tables.chunk
    return sa.select(chunk.c.id).join(link, link.c.chunk_id == chunk.c.id).where(link.c.job_id == job_id, *conditions)
