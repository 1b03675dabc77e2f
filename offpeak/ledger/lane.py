"""How requests are bought, and by when: what a valid plan says of the chunks that its job waits for."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.clock import from_micros, to_micros
from offpeak.ledger import tables
from offpeak.ledger.database import slices
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import LIVE_CHUNKS, OPEN_JOBS, ChunkState
from offpeak.providers.base import BATCH_WINDOW


class Lane(StrEnum):
    """Which of a provider's doors requests go through. A person who watches is served by neither."""

    BATCH = "batch"
    """The batch tier: hours, at about half the price."""
    BACKGROUND = "background"
    """The realtime endpoints, within their rate limits: minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the chunks of a job stand."""

    lane: Lane = Lane.BATCH
    due_at: datetime | None = None
    priority: int = 0


UNPLACED = Placement()


def placement(ledger: Ledger, job_id: int) -> Placement:
    """Where what a job sends round again belongs: where its plan was."""
    job, link, chunk = tables.job, tables.job_chunk, tables.chunk
    highest = (
        sa.select(sa.func.max(chunk.c.priority))
        .join(link, link.c.chunk_id == chunk.c.id)
        .where(link.c.job_id == job_id)
        .scalar_subquery()
    )
    query = sa.select(job.c.lane, job.c.deadline_at, highest.label("priority")).where(job.c.id == job_id)
    with ledger.database.read() as connection:
        row = connection.execute(query).one()
    return Placement(lane=Lane(row.lane or Lane.BATCH), due_at=from_micros(row.deadline_at), priority=row.priority or 0)


def assign(
    connection: Connection,
    job_id: int,
    own: Collection[int],
    *,
    lane: Lane,
    due_at: datetime,
    priority: int,
    now: datetime,
) -> None:
    """Give the chunks of a job the lane, the deadline and the priority of its plan. `own` are those it wrote.

    A sample is bought in the background: somebody may be waiting to look at it. What others queued, and this job waits
    for too, takes the tightest deadline and the highest priority of the two. Where it was not sent yet, it is bought in
    the background if this job's deadline cannot wait for a batch's whole window. Of a job that is bought there because
    it is small, the deadline can: what others queued would cost them twice as much for nothing.
    """
    chunk, due = tables.chunk, to_micros(due_at)
    for part in slices(sorted(own), 500):
        connection.execute(
            chunk.update()
            .where(chunk.c.id.in_(part))
            .values(
                lane=sa.case((chunk.c.drawn_for.is_not(None), Lane.BACKGROUND.value), else_=lane.value),
                due_at=due,
                priority=priority,
            )
        )
    link = tables.job_chunk
    shared = sa.and_(
        chunk.c.id.in_(sa.select(link.c.chunk_id).where(link.c.job_id == job_id)),
        chunk.c.state.in_([state.value for state in LIVE_CHUNKS]),
    )
    sooner = sa.func.coalesce(chunk.c.due_at, due + 1) > due
    # what only jobs wait for that have ended, at a deadline which is over, is due with this one
    others = sa.select(link.c.chunk_id).join(tables.job, tables.job.c.id == link.c.job_id)
    awaited = others.where(link.c.job_id != job_id, tables.job.c.state.in_([state.value for state in OPEN_JOBS]))
    connection.execute(chunk.update().where(shared, sa.or_(sooner, chunk.c.id.not_in(awaited))).values(due_at=due))
    connection.execute(chunk.update().where(shared, chunk.c.priority < priority).values(priority=priority))
    if lane is Lane.BACKGROUND and due_at < now + BATCH_WINDOW:
        connection.execute(
            chunk.update().where(shared, chunk.c.state == ChunkState.QUEUED.value).values(lane=lane.value)
        )
