"""Samples that were drawn: what came of them, and what becomes of the requests that they hold.

Whether held requests may be sent is one transition of the sample, with its event, in the transaction that lets them go
or takes them back; a chunk that is held cannot be claimed for a submission. Time alone releases nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from offpeak.clock import from_micros, to_micros
from offpeak.errors import NotFound, PlanError
from offpeak.ledger import tables
from offpeak.ledger.chunking import wait_for
from offpeak.ledger.database import slices
from offpeak.ledger.jobs import attendance
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import (
    LIVE_CHUNKS,
    OPEN_JOBS,
    UNDECIDED,
    ChunkState,
    JobState,
    SampleState,
    must,
    record,
    transition,
)

_OPEN = [state.value for state in OPEN_JOBS]
_UNDECIDED = [state.value for state in UNDECIDED]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnSample:
    """A sample as the ledger has it. Money is pico-dollars."""

    id: int
    """Of the job whose plan it was drawn from."""
    asset: str
    state: SampleState
    entered_at: datetime
    """When it entered that state."""
    max_failures: float | None
    requests: int
    failed: int | None
    """Of them, without a usable answer; None before it is judged, like the next three."""
    cost_pico: int | None
    rest: int | None
    """Requests that were held when it was judged."""
    rest_pico: int | None
    """What they would cost by the sample's tokens."""

    @property
    def undecided(self) -> bool:
        return self.state in UNDECIDED


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnRow:
    """One request of a sample, once it has an outcome."""

    keys: Sequence[str]
    """The rows that ask it, the first few."""
    request_id: int
    chunk_id: int
    output: str | None
    """JSON of the answer's fields, or plain text; None without a usable answer, and for a vector."""
    vector: bytes | None
    reason: str | None
    """Why it has no usable answer."""
    message: str | None
    cost_pico: int
    input_tokens: int
    output_tokens: int

    @property
    def failed(self) -> bool:
        return self.output is None and self.vector is None


_SPENT = ("cost_pico", "input_tokens", "output_tokens")
"""Of an answer, and of every attempt before it."""

KEYS_SHOWN = 3
"""Of the rows that ask the same."""


def get(ledger: Ledger, sample_id: int) -> DrawnSample | None:
    """The sample that was drawn from the plan of this job; None where none was, or the plan is still being made."""
    with ledger.database.read() as connection:
        row = connection.execute(sa.select(tables.sample).where(tables.sample.c.id == sample_id)).one_or_none()
    return None if row is None else _read(row)


def of_job(ledger: Ledger, job_id: int, *, of_others: bool = False) -> DrawnSample | None:
    """The sample that decides about a job: the one that holds its chunks, else the one drawn from its own plan.

    `of_others`: it may be another asset's, which asks the same.
    """
    chunk, link, sample = tables.chunk, tables.job_chunk, tables.sample
    holding = (
        sa.select(sample)
        .join(chunk, chunk.c.held_by == sample.c.id)
        .join(link, link.c.chunk_id == chunk.c.id)
        .join(tables.job, tables.job.c.id == link.c.job_id)
        .where(link.c.job_id == job_id, sa.true() if of_others else sample.c.asset == tables.job.c.asset)
        .order_by(sample.c.state.in_(_UNDECIDED).desc(), sample.c.id.desc())
        .limit(1)
    )
    with ledger.database.read() as connection:
        row = connection.execute(holding).first()
    return get(ledger, job_id) if row is None else _read(row)


def _read(row: Row[Any]) -> DrawnSample:
    return DrawnSample(
        id=row.id,
        asset=row.asset,
        state=SampleState(row.state),
        entered_at=from_micros(row.entered_at),
        max_failures=row.max_failures,
        requests=row.requests,
        failed=row.failed,
        cost_pico=row.cost_pico,
        rest=row.rest,
        rest_pico=row.rest_pico,
    )


def landed(ledger: Ledger, sample_id: int) -> bool:
    """Whether every request of the sample has an outcome."""
    chunk = tables.chunk
    query = sa.select(chunk.c.id).where(
        chunk.c.drawn_for == sample_id, chunk.c.state.in_([state.value for state in LIVE_CHUNKS])
    )
    with ledger.database.read() as connection:
        return connection.execute(query.limit(1)).first() is None


def attend(ledger: Ledger, job_id: int, sample_id: int) -> bool:
    """Have a job that is held by a sample wait for the sample's chunks too, so that somebody buys and collects them.

    A plan does not wait for what it finds answered, although the chunk that brought it may still be open. True where it
    waits for more than before.
    """
    chunk, link = tables.chunk, tables.job_chunk
    linked = sa.select(link.c.chunk_id).where(link.c.job_id == job_id)
    query = sa.select(chunk.c.id).where(
        chunk.c.drawn_for == sample_id,
        chunk.c.state.in_([state.value for state in LIVE_CHUNKS]),
        chunk.c.id.not_in(linked),
    )
    with ledger.database.write() as connection:
        found = list(connection.execute(query).scalars())
        wait_for(ledger, connection, job_id, found)
    return bool(found)


def refused(ledger: Ledger, sample_id: int) -> bool:
    """Whether the sample was a batch that the provider would not take: there is nothing of it to look at."""
    chunk = tables.chunk
    query = sa.select(chunk.c.id).where(chunk.c.drawn_for == sample_id, chunk.c.state == ChunkState.REFUSED.value)
    with ledger.database.read() as connection:
        return connection.execute(query.limit(1)).first() is not None


def rows(ledger: Ledger, sample_id: int) -> list[DrawnRow]:
    """What was drawn and what came of it, failures first, then by key."""
    request, answer, failure = tables.request, tables.answer, tables.failure
    drawn = (
        sa.select(request.c.id)
        .join(tables.chunk, tables.chunk.c.id == request.c.chunk_id)
        .where(tables.chunk.c.drawn_for == sample_id)
    )
    latest = (
        sa.select(
            failure.c.request_id,
            sa.func.max(failure.c.submission_id).label("submission_id"),
            *(sa.func.sum(failure.c[name]).label(name) for name in _SPENT),
        )
        .where(failure.c.request_id.in_(drawn))
        .group_by(failure.c.request_id)
        .subquery()
    )
    query = (
        sa.select(
            request.c.id,
            request.c.chunk_id,
            answer.c.output,
            answer.c.vector,
            failure.c.reason,
            failure.c.message,
            *(sa.func.coalesce(answer.c[name], 0) + sa.func.coalesce(latest.c[name], 0) for name in _SPENT),
        )
        .select_from(request)
        .outerjoin(answer, answer.c.request_id == request.c.id)
        .outerjoin(latest, latest.c.request_id == request.c.id)
        .outerjoin(
            failure,
            sa.and_(failure.c.request_id == request.c.id, failure.c.submission_id == latest.c.submission_id),
        )
        .where(request.c.id.in_(drawn))
    )
    with ledger.database.read() as connection:
        found = [tuple(row) for row in connection.execute(query)]
        keys = _keys(connection, sample_id, [row[0] for row in found])
    told = [
        DrawnRow(
            keys=keys.get(request_id, []),
            request_id=request_id,
            chunk_id=chunk_id,
            output=output,
            vector=None if vector is None else bytes(vector),
            reason=None if output is not None or vector is not None else reason or "missing",
            message=message,
            **{name: int(spent) for name, spent in zip(_SPENT, spents, strict=True)},
        )
        for request_id, chunk_id, output, vector, reason, message, *spents in found
    ]
    return sorted(told, key=lambda row: (not row.failed, row.keys[:1], row.request_id))


def _keys(connection: Connection, sample_id: int, requests: Sequence[int]) -> dict[int, list[str]]:
    wanted, mine = tables.wanted, tables.job_target
    keys: dict[int, list[str]] = {}
    for part in slices(requests, 500):
        query = (
            sa.select(wanted.c.request_id, wanted.c.key)
            .join(mine, mine.c.target_id == wanted.c.target_id)
            .where(mine.c.job_id == sample_id, wanted.c.request_id.in_(part))
            .order_by(wanted.c.request_id, wanted.c.key)
        )
        for request_id, key in connection.execute(query):
            shown = keys.setdefault(request_id, [])
            if len(shown) < KEYS_SHOWN:
                shown.append(key)
    return keys


def held_requests(ledger: Ledger, sample_id: int) -> int:
    """How many requests wait for the sample's release."""
    with ledger.database.read() as connection:
        return int(connection.execute(_held_requests(sample_id)).scalar_one())


def lane_of_rest(ledger: Ledger, sample_id: int) -> Lane:
    """How what waits for the sample's release is going to be bought."""
    chunk = tables.chunk
    query = sa.select(chunk.c.lane).where(chunk.c.held_by == sample_id).limit(1)
    with ledger.database.read() as connection:
        return Lane(connection.execute(query).scalar() or Lane.BATCH)


def _held_requests(sample_id: int) -> sa.Select[tuple[int]]:
    chunk = tables.chunk
    return sa.select(sa.func.coalesce(sa.func.sum(chunk.c.requests), 0)).where(
        chunk.c.held_by == sample_id, chunk.c.state == ChunkState.QUEUED.value
    )


def judge(
    ledger: Ledger, sample_id: int, to: SampleState, *, why: str, failed: int, cost_pico: int, rest: int, rest_pico: int
) -> bool:
    """Write down what came of a sample that has landed: WAITING for a person, or RELEASED. False: it was judged."""
    values = {"failed": failed, "cost_pico": cost_pico, "rest": rest, "rest_pico": rest_pico}
    with ledger.database.write(durable=True) as connection:
        return _decide(ledger, connection, sample_id, to, who=str(ledger.claimant), why=why, **values)


def _decide(
    ledger: Ledger, connection: Connection, sample_id: int, to: SampleState, *, who: str, why: str, **values: Any
) -> bool:
    """Enter a state of the sample; where it is RELEASED, what it held may be sent from the end of this transaction."""
    now = ledger.clock.now()
    detail = values or {"held": int(connection.execute(_held_requests(sample_id)).scalar_one())}
    entered = transition(
        connection, sample_id, to, at=now, who=who, why=why, detail=detail, entered_at=to_micros(now), **values
    )
    if entered and to is SampleState.RELEASED:
        chunk = tables.chunk
        freed = connection.execute(
            chunk.update()
            .where(chunk.c.held_by == sample_id, chunk.c.state == ChunkState.QUEUED.value)
            .values(held_by=None)
            .returning(chunk.c.id)
        )
        for chunk_id in sorted(freed.scalars()):
            said = f"the sample of job {sample_id} is released"
            record(
                connection, chunk, chunk_id, ChunkState.QUEUED, at=now, who=who, why=said, detail={"sample": sample_id}
            )
    return entered


def approve(ledger: Ledger, job_id: int, *, who: str, why: str = "approved") -> DrawnSample:
    """Let the rest of a plan be bought. Raises NotFound for no job, PlanError for one without a waiting sample."""
    found = _waiting(ledger, job_id, "approved")
    with ledger.database.write(durable=True) as connection:
        _decide(ledger, connection, found.id, SampleState.RELEASED, who=who, why=why)
    return found


def reject(ledger: Ledger, job_id: int, *, who: str) -> DrawnSample:
    """Have the rest of a job's plan not bought; what the sample brought is kept. Raises as `approve` does.

    Jobs that a parked run holds the place of are ended by that run; this ends the others.
    """
    found = _waiting(ledger, job_id, "rejected")
    end(ledger, found.id, SampleState.REJECTED, who=who, why="rejected")
    return found


def _waiting(ledger: Ledger, job_id: int, done: str) -> DrawnSample:
    table = tables.job
    with ledger.database.read() as connection:
        asset = connection.execute(sa.select(table.c.asset).where(table.c.id == job_id)).scalar()
    if asset is None:
        raise NotFound(f"There is no job {job_id}. Nothing was {done}. `offpeak jobs` lists them.")
    found = of_job(ledger, job_id) or of_job(ledger, job_id, of_others=True)
    if found is None:
        raise PlanError(f"Job {job_id} of {asset} has no sample that waits for anybody. Nothing was {done}.")
    match found.state:
        case SampleState.WAITING:
            return found
        case SampleState.BUYING:
            remedy = "it is still being bought, so there is nothing to look at yet; to stop it, terminate its run"
        case _:
            remedy = f"it is {found.state.value} already"
    raise PlanError(f"Job {job_id} of {asset} has a sample, but {remedy}. Nothing was {done}.")


def end(ledger: Ledger, sample_id: int, to: SampleState, *, who: str, why: str) -> bool:
    """REJECTED or WITHDRAWN: what the sample holds is taken back, and was never sent. False: it was decided before.

    Requests that another asset waits for go round again for that asset alone.
    """
    with ledger.database.write(durable=True) as connection:
        if not _decide(ledger, connection, sample_id, to, who=who, why=why):
            return False
        names = _take_back(ledger, connection, sample_id, who=who, why=f"the sample of job {sample_id} is {to.value}")
    for name in names:
        (ledger.spool / name).unlink(missing_ok=True)
    return True


def take_back_unplanned(ledger: Ledger, job_id: int) -> None:
    """Take back what a plan held that never became valid."""
    who = str(ledger.claimant)
    with ledger.database.write() as connection:
        names = _take_back(ledger, connection, job_id, who=who, why=f"job {job_id} does not want it after all")
    for name in names:
        (ledger.spool / name).unlink(missing_ok=True)


def take_back_of_the_dead(ledger: Ledger, job_id: int) -> bool:
    """Abandon a plan whose process died, and take back what it held; False where it lives, or became valid."""
    table, now, who = tables.job, ledger.clock.now(), str(ledger.claimant)
    why = "its process died while planning"
    with ledger.database.write() as connection:
        planning = sa.and_(table.c.id == job_id, table.c.state == JobState.PLANNING.value)
        if attendance(connection, planning, now=now).get(job_id, True):
            return False
        if not transition(connection, job_id, JobState.ABANDONED, at=now, who=who, why=why, reason=why):
            return False
    take_back_unplanned(ledger, job_id)
    return True


def _take_back(ledger: Ledger, connection: Connection, sample_id: int, *, who: str, why: str) -> list[str]:
    """Take back the held chunks; returns the spool files that nobody needs any more.

    The requests stay, as those of a refused chunk do: they are new for the next plan that wants them.
    """
    chunk, link, job = tables.chunk, tables.job_chunk, tables.job
    asset = sa.select(job.c.asset).where(job.c.id == sample_id).scalar_subquery()
    others = sa.select(job.c.id).where(job.c.state.in_(_OPEN), job.c.asset != asset)
    shared = sa.exists().where(link.c.chunk_id == chunk.c.id, link.c.job_id.in_(others))
    query = sa.select(chunk.c.id, chunk.c.spool, shared.label("shared")).where(
        chunk.c.held_by == sample_id, chunk.c.state == ChunkState.QUEUED.value
    )
    now, names = ledger.clock.now(), []
    for row in connection.execute(query).all():
        values = {} if row.shared else {"spool": None}
        must(connection, row.id, ChunkState.TAKEN_BACK, at=now, who=who, why=why, **values)
        if not row.shared:
            connection.execute(tables.chunk_offsets.delete().where(tables.chunk_offsets.c.chunk_id == row.id))
            names.append(row.spool)
    return names


def withdraw(ledger: Ledger, job_id: int, *, why: str) -> None:
    """The job is stopped: so is the sample that decides about it, unless another open job of its asset waits for it."""
    found = of_job(ledger, job_id)
    if found is None or not found.undecided:
        return
    chunk, link, job = tables.chunk, tables.job_chunk, tables.job
    others = (
        sa.select(job.c.id)
        .join(link, link.c.job_id == job.c.id)
        .join(chunk, chunk.c.id == link.c.chunk_id)
        .where(chunk.c.held_by == found.id, job.c.id != job_id, job.c.asset == found.asset, job.c.state.in_(_OPEN))
    )
    with ledger.database.read() as connection:
        if connection.execute(others.limit(1)).first() is not None:
            return
    end(ledger, found.id, SampleState.WITHDRAWN, who=str(ledger.claimant), why=why)


def supersede(ledger: Ledger, job_id: int) -> list[int]:
    """A plan became valid: samples of what its asset asked before, all of whose partitions it covers, are withdrawn.

    Returns them. Those that its own chunks are held by, and its own, stay.
    """
    sample, mine, theirs = tables.sample, tables.job_target.alias("mine"), tables.job_target.alias("theirs")
    chunk, link = tables.chunk, tables.job_chunk
    asset = sa.select(tables.job.c.asset).where(tables.job.c.id == job_id).scalar_subquery()
    covered = sa.select(mine.c.target_id).where(mine.c.job_id == job_id)
    holding = (
        sa.select(chunk.c.held_by)
        .join(link, link.c.chunk_id == chunk.c.id)
        .where(link.c.job_id == job_id, chunk.c.held_by.is_not(None))
    )
    query = sa.select(sample.c.id).where(
        sample.c.asset == asset,
        sample.c.id < job_id,
        sample.c.state.in_(_UNDECIDED),
        sample.c.id.not_in(holding),
        ~sa.exists().where(theirs.c.job_id == sample.c.id, theirs.c.target_id.not_in(covered)),
    )
    with ledger.database.read() as connection:
        found = list(connection.execute(query).scalars())
    why = f"job {job_id} asks something else of the same rows"
    return [each for each in found if end(ledger, each, SampleState.WITHDRAWN, who=str(ledger.claimant), why=why)]


def jobs_of(ledger: Ledger, sample_id: int) -> list[int]:
    """The open jobs of the sample's asset that wait for what it holds or held, and the one it was drawn from."""
    chunk, link, job, sample = tables.chunk, tables.job_chunk, tables.job, tables.sample
    waiting = (
        sa.select(link.c.job_id)
        .join(chunk, chunk.c.id == link.c.chunk_id)
        .where(sa.or_(chunk.c.held_by == sample_id, chunk.c.drawn_for == sample_id))
    )
    asset = sa.select(sample.c.asset).where(sample.c.id == sample_id).scalar_subquery()
    query = sa.select(job.c.id).where(
        job.c.id.in_(waiting), job.c.asset == asset, job.c.state.in_([JobState.QUEUED, JobState.IN_PROGRESS])
    )
    with ledger.database.read() as connection:
        return sorted(connection.execute(query).scalars())
