"""Requests that are let go because the queue is full: on record, and only until the next plan asks again.

A drop is a dead letter with the fate DROPPED, so that everything that counts rows knows of it, and the state DROPPED of
its chunk, in one transaction: there is no moment at which a request is neither on its way nor on record.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.clock import to_micros
from offpeak.faultpoints import FaultPoint, reach
from offpeak.ledger import jobs, tables
from offpeak.ledger.collecting import members
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import DEGRADED, FOR_NOW, QUEUE_FULL, Fate
from offpeak.ledger.states import ChunkState, must
from offpeak.ledger.submissions import Submission


def drop(ledger: Ledger, chunk: Submission, *, asset: str, why: str, degraded: bool = False) -> bool:
    """Let the requests of a queued chunk go, on record; `degraded`: others are bought in their place.

    False, and nothing is done, where another process sent the chunk meanwhile, or where a job of another asset that
    somebody carries on waits for it, too.
    """
    now, who, table, dead = ledger.clock.now(), str(ledger.claimant), tables.chunk, tables.dead_letter
    ids, _ = members(ledger, chunk)
    reason = DEGRADED if degraded else QUEUE_FULL
    rows = [(request_id, reason, why, to_micros(now), Fate.DROPPED.value) for request_id in ids]
    with ledger.database.write(durable=True) as connection:
        here = sa.select(table.c.state, table.c.stamp).where(table.c.id == chunk.chunk_id).with_for_update()
        if tuple(connection.execute(here).one()) != (ChunkState.QUEUED.value, chunk.stamp):
            return False
        if _others(ledger, connection, chunk.chunk_id, asset):
            return False
        # all of them at once, however many: half of them on record would be neither dropped nor bought
        ledger.database.bulk_insert(
            connection, dead, ["request_id", "reason", "message", "at", "fate"], rows, ignore_existing=True
        )
        must(connection, chunk.chunk_id, ChunkState.DROPPED, at=now, who=who, why=why, detail={"reason": reason})
    reach(FaultPoint.CHUNK_DROPPED)
    return True


def _others(ledger: Ledger, connection: Connection, chunk_id: int, asset: str) -> bool:
    """Whether a job of another asset waits for the chunk, one that somebody carries on."""
    link, job = tables.job_chunk, tables.job
    of_others = sa.and_(job.c.id.in_(sa.select(link.c.job_id).where(link.c.chunk_id == chunk_id)), job.c.asset != asset)
    return any(jobs.attendance(connection, of_others, now=ledger.clock.now()).values())


def lift(connection: Connection, targets: Sequence[int]) -> None:
    """Have what these targets want and a full queue let go asked for again: a new plan of theirs is valid."""
    dead, wanted = tables.dead_letter, tables.wanted
    for_now = sa.and_(dead.c.fate == Fate.DROPPED.value, dead.c.reason.in_(FOR_NOW))
    if connection.execute(sa.select(dead.c.request_id).where(for_now).limit(1)).first() is not None:
        mine = sa.select(wanted.c.request_id).where(wanted.c.target_id.in_(targets))
        connection.execute(dead.delete().where(for_now, dead.c.request_id.in_(mine)))


def give_up_at(ledger: Ledger, chunk: Submission, at: int | None) -> None:
    """Write down until when the chunk waits for room, in microseconds; None: as long as it takes."""
    table = tables.chunk
    with ledger.database.write() as connection:
        connection.execute(table.update().where(table.c.id == chunk.chunk_id).values(give_up_at=at))
