"""How requests are bought, and by when: what a valid plan says of the chunks that its job waits for."""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.clock import to_micros
from offpeak.ledger import tables
from offpeak.ledger.database import slices
from offpeak.ledger.states import LIVE_CHUNKS, ChunkState


class Lane(StrEnum):
    """Which of a provider's doors requests go through. A person who watches is served by neither."""

    BATCH = "batch"
    """The batch tier: hours, at about half the price."""
    BACKGROUND = "background"
    """The realtime endpoints, within their rate limits: minutes."""


def assign(
    connection: Connection, job_id: int, own: Collection[int], *, lane: Lane, due_at: datetime, priority: int
) -> None:
    """Give the chunks of a job the lane, the deadline and the priority of its plan. `own` are those it wrote.

    A sample is bought in the background: somebody may be waiting to look at it. What others queued, and this job waits
    for too, takes the tightest deadline and the highest priority of the two; where it was not sent yet, it is bought in
    the background as soon as one of them is.
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
    connection.execute(chunk.update().where(shared, sa.func.coalesce(chunk.c.due_at, due + 1) > due).values(due_at=due))
    connection.execute(chunk.update().where(shared, chunk.c.priority < priority).values(priority=priority))
    if lane is Lane.BACKGROUND:
        connection.execute(
            chunk.update().where(shared, chunk.c.state == ChunkState.QUEUED.value).values(lane=lane.value)
        )
