"""Rows without an answer of their own, and why: what a consumer is told that is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from offpeak.clock import from_micros, moment, to_micros
from offpeak.ledger import tables
from offpeak.ledger.database import Database
from offpeak.ledger.explaining import RowState, row_state
from offpeak.ledger.policy import Fate
from offpeak.ledger.states import ChunkState


@dataclass(frozen=True, slots=True, kw_only=True)
class Lagging:
    """The first few of them, as words, and how many there are in all."""

    words: Sequence[str]
    count: int


def lagging(
    database: Database, asset: str, partitions: Sequence[str] | None, *, not_before: datetime | None, limit: int
) -> Lagging:
    """The wanted rows that serve nothing, or an answer older than `not_before`; None: those that serve nothing.

    Only rows whose own request has no answer count: what is old because nobody looked at it again is not lagging.
    """
    wanted, target, request, dead = tables.wanted, tables.target, tables.request, tables.dead_letter
    current, former = tables.answer.alias("current"), tables.answer.alias("former")
    old = sa.false() if not_before is None else wanted.c.previous_as_of < to_micros(not_before)
    source = (
        wanted.join(target, target.c.id == wanted.c.target_id)
        .join(request, request.c.id == wanted.c.request_id)
        .join(tables.chunk, tables.chunk.c.id == request.c.chunk_id)
        .outerjoin(current, current.c.request_id == wanted.c.request_id)
        .outerjoin(former, former.c.request_id == wanted.c.previous_id)
        .outerjoin(dead, dead.c.request_id == wanted.c.request_id)
    )
    which = [
        target.c.asset == asset,
        target.c.job_id.is_not(None),
        current.c.request_id.is_(None),
        sa.or_(former.c.request_id.is_(None), old),
    ]
    if partitions is not None:
        which.append(target.c.partition_key.in_(partitions))
    query = (
        sa.select(
            wanted.c.key,
            target.c.partition_key,
            former.c.request_id.label("former"),
            wanted.c.previous_as_of,
            dead.c.reason,
            dead.c.fate,
            tables.chunk.c.id.label("chunk_id"),
            tables.chunk.c.state,
        )
        .select_from(source)
        .where(*which)
        .order_by(target.c.partition_key, wanted.c.key)
        .limit(limit)
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
        count = connection.execute(sa.select(sa.func.count()).select_from(source).where(*which)).scalar_one()
        return Lagging(words=[_words(connection, row) for row in rows], count=count)


def _words(connection: Connection, row: Row[Any]) -> str:
    place = f" of {row.partition_key}" if row.partition_key else ""
    former = f", shows one as of {_moment(row.previous_as_of)}" if row.former is not None else ""
    return f"{row.key}{place} ({_reason(connection, row)}{former})"


def _reason(connection: Connection, row: Row[Any]) -> str:
    state = row_state(ChunkState(row.state), answered=False, dead=row.reason is not None)
    match state:
        case RowState.DEAD if Fate(row.fate) is Fate.DEAD:
            return f"dead letter, {row.reason}"
        case RowState.DEAD:
            return f"let go on record, {row.reason}"
        case RowState.ON_ITS_WAY:
            return _batch(connection, row.chunk_id)
        case RowState.UNANSWERED:
            return "not tried again yet"
        case RowState.REFUSED:
            return "refused by the provider"
        case _:
            return state.value


def _batch(connection: Connection, chunk_id: int) -> str:
    table = tables.submission
    query = (
        sa.select(table.c.batch_id, table.c.submitted_at)
        .where(table.c.chunk_id == chunk_id, table.c.batch_id.is_not(None))
        .order_by(table.c.id.desc())
        .limit(1)
    )
    found = connection.execute(query).first()
    if found is None or found.submitted_at is None:
        return RowState.ON_ITS_WAY.value
    return f"on its way as batch {found.batch_id} since {_moment(found.submitted_at)}"


def _moment(micros: int | None) -> str:
    return "an unknown time" if micros is None else moment(from_micros(micros))
