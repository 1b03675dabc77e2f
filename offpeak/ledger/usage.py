"""What an asset's requests took that are bought and billed: the past that an estimate is made from.

A request counts whole: its answer, and every attempt before it that was billed and brought nothing. Its length is that
of its line as it was first sent; once its file is pruned, the mean of its chunk. The newest come first, and where there
are many, they are taken evenly out of each chunk, so that reading them costs the same whatever was bought.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from offpeak.ledger import tables
from offpeak.ledger.database import slices
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.spool import read_offsets
from offpeak.ledger.states import ChunkState
from offpeak.providers.base import Kind

MOST_REQUESTS = 1_000
MOST_CHUNKS = 50
"""What is looked at; of each asset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """One request that is bought and billed, with all of its attempts."""

    line_bytes: int
    """Of its line in the file that was uploaded, custom_id included."""
    lane: Lane
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_long_tokens: int = 0
    cost_pico: int = 0
    realtime_pico: int = 0


def past(ledger: Ledger, *, asset: str, model: str, kind: Kind, elsewhere: bool = True) -> list[Used]:
    """What requests of the asset took at this model, which is named without its provider; where it bought none there,
    at any other, or nothing without `elsewhere`. Stand-ins of a full queue do not count, nor does what nobody has been
    billed for yet."""
    with ledger.database.read() as connection:
        chunks = _chunks(connection, asset, kind, tables.chunk.c.model == model)
        if elsewhere and not chunks:
            chunks = _chunks(connection, asset, kind)
        found: list[Used] = []
        for chunk in chunks:
            room = MOST_REQUESTS - len(found)
            if room <= 0:
                break
            found += _of_chunk(connection, chunk, room)
        return found


def _chunks(
    connection: Connection, asset: str, kind: Kind, which: sa.ColumnElement[bool] | None = None
) -> Sequence[Row[Any]]:
    """First attempts that an ended job of the asset was billed for, the newest first."""
    chunk, job, link, offsets = tables.chunk, tables.job, tables.job_chunk, tables.chunk_offsets
    query = (
        sa.select(chunk, offsets.c.offsets)
        .join(link, link.c.chunk_id == chunk.c.id)
        .join(job, sa.and_(job.c.id == link.c.job_id, job.c.id == chunk.c.billed_job_id))
        .outerjoin(offsets, offsets.c.chunk_id == chunk.c.id)
        .where(
            job.c.asset == asset,
            chunk.c.kind == kind.value,
            chunk.c.attempt == 1,
            chunk.c.state == ChunkState.APPLIED.value,
            chunk.c.degraded_from.is_(None),
            chunk.c.rescues.is_(None),
            sa.true() if which is None else which,
        )
        .order_by(chunk.c.id.desc())
        .limit(MOST_CHUNKS)
    )
    return connection.execute(query).all()


def _of_chunk(connection: Connection, chunk: Row[Any], room: int) -> list[Used]:
    ordinals = range(0, chunk.requests, -(-chunk.requests // room))
    requests, lengths = _requests(connection, chunk, ordinals), _lengths(chunk, ordinals)
    sums = _sums(connection, requests, chunk.billed_job_id)
    return [
        Used(line_bytes=length, lane=Lane(chunk.lane), **sums.get(request_id, {}))
        for request_id, length in zip(requests, lengths, strict=True)
    ]


def _requests(connection: Connection, chunk: Row[Any], ordinals: range) -> list[int]:
    if chunk.first_request is not None:
        return [chunk.first_request + ordinal for ordinal in ordinals]
    member = tables.chunk_member
    query = sa.select(member.c.request_id).where(member.c.chunk_id == chunk.id).order_by(member.c.ordinal)
    found = list(connection.execute(query).scalars())
    return [found[ordinal] for ordinal in ordinals]


def _lengths(chunk: Row[Any], ordinals: range) -> list[int]:
    if chunk.offsets is None:
        return [chunk.spool_bytes // chunk.requests] * len(ordinals)
    starts = read_offsets(chunk.offsets)
    starts.append(chunk.spool_bytes)
    return [starts[ordinal + 1] - starts[ordinal] for ordinal in ordinals]


def _sums(connection: Connection, requests: Sequence[int], job_id: int) -> Mapping[int, dict[str, int]]:
    """By request, what its answer and its failed attempts took that the job was billed for."""
    submission, chunk = tables.submission, tables.chunk
    names = (
        "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "cache_write_long_tokens", "cost_pico",
        "realtime_pico",
    )  # fmt: skip
    found: dict[int, dict[str, int]] = {}
    for table in (tables.answer, tables.failure):
        columns = [table.c[name] for name in names]
        for part in slices(list(requests), 500):
            query = (
                sa.select(table.c.request_id, *columns)
                .join(submission, submission.c.id == table.c.submission_id)
                .join(chunk, chunk.c.id == submission.c.chunk_id)
                .where(table.c.request_id.in_(part), chunk.c.billed_job_id == job_id)
            )
            for request_id, *taken in connection.execute(query):
                mine = found.setdefault(request_id, dict.fromkeys(names, 0))
                for name, more in zip(names, taken, strict=True):
                    mine[name] += int(more)
    return found
