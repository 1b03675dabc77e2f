"""A job at the moment it ends, for those who are told of it."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.clock import from_micros
from offpeak.ledger import tables
from offpeak.ledger.notices import Notice
from offpeak.ledger.policy import FOR_NOW, Fate
from offpeak.ledger.states import LIVE_CHUNKS, JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """What a job came to. No text of a request, an answer or a provider is in it."""

    job_id: int
    asset: str
    state: JobState
    run_id: str
    """Of the run that planned it."""
    deadline_at: datetime
    closed_at: datetime
    rows: int
    new: int
    joined: int
    reused: int
    cost_pico: int
    """Pico-dollars, every attempt included."""
    unanswered: Mapping[str, int]
    """By reason, how many of its rows want a request that failed for good; the most frequent first."""
    let_go: Mapping[str, int]
    """By reason, how many of its rows want a request that was let go because the queue was full."""
    late: int = 0
    """How many of its rows want a request that is still on its way."""


OnClose = Callable[[Closed], Iterable[Notice]]
"""What is told of a job's end. Called within the transaction that closes it: it computes, and asks nobody."""


class OnLetGo(Protocol):
    """What is told of a job whose requests are let go, because its queue is full."""

    def __call__(self, job_id: int, *, dropped: int = 0, degraded: int = 0) -> Collection[Notice]: ...


def read(connection: Connection, job_id: int, state: JobState, *, at: datetime, cost_pico: int) -> Closed:
    """The job that `connection` is closing."""
    row = connection.execute(sa.select(tables.job).where(tables.job.c.id == job_id)).one()
    return Closed(
        job_id=job_id,
        asset=row.asset,
        state=state,
        run_id=row.run_id,
        deadline_at=from_micros(row.deadline_at),
        closed_at=at,
        rows=row.rows,
        new=row.new,
        joined=row.joined,
        reused=row.reused,
        cost_pico=cost_pico,
        unanswered=_letters(connection, job_id, tables.dead_letter.c.fate == Fate.DEAD.value),
        let_go=_letters(connection, job_id, tables.dead_letter.c.reason.in_(FOR_NOW)),
        late=late_rows(connection, job_id),
    )


def _letters(connection: Connection, job_id: int, which: sa.ColumnElement[bool]) -> dict[str, int]:
    dead, count = tables.dead_letter, sa.func.count().label("count")
    query = (
        sa.select(dead.c.reason, count)
        .join(tables.wanted, tables.wanted.c.request_id == dead.c.request_id)
        .join(tables.job_target, tables.job_target.c.target_id == tables.wanted.c.target_id)
        .where(tables.job_target.c.job_id == job_id, which)
        .group_by(dead.c.reason)
        .order_by(count.desc(), dead.c.reason)
    )
    return {str(reason): int(number) for reason, number in connection.execute(query)}


def late_rows(connection: Connection, job_id: int) -> int:
    """How many of the job's rows want a request that is still on its way."""
    request, answer, wanted, mine = tables.request, tables.answer, tables.wanted, tables.job_target
    chunk = tables.chunk
    live = chunk.c.state.in_([state.value for state in LIVE_CHUNKS])
    link = tables.job_chunk
    awaited = sa.select(chunk.c.id).join(link, link.c.chunk_id == chunk.c.id).where(link.c.job_id == job_id, live)
    if connection.execute(awaited.limit(1)).first() is None:
        return 0
    query = (
        sa.select(sa.func.count())
        .select_from(mine)
        .join(wanted, wanted.c.target_id == mine.c.target_id)
        .join(request, request.c.id == wanted.c.request_id)
        .join(chunk, chunk.c.id == request.c.chunk_id)
        .where(mine.c.job_id == job_id, live, ~sa.exists().where(answer.c.request_id == request.c.id))
    )
    return int(connection.execute(query).scalar_one())
