"""A chunk becomes several smaller ones that ask the same, because it is too large for the account's queue.

The parts' files are durable before the ledger knows of them. Then the whole ends and its parts are queued in one
transaction: a process that dies before it leaves files that nothing knows, one that dies after it a file that nothing
needs.
"""

from array import array
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.faultpoints import FaultPoint, reach
from offpeak.ledger import custom_ids, spool, tables
from offpeak.ledger.chunking import wait_for
from offpeak.ledger.collecting import members
from offpeak.ledger.database import slices
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.spool import SpoolFile, SpoolWriter
from offpeak.ledger.states import OPEN_JOBS, ChunkState, SubmissionState, must, record, transition
from offpeak.ledger.submissions import Submission
from offpeak.providers.base import Provider

_LINES = 1_000
"""Lines that are rewritten together."""


def cut(offsets: Sequence[int], size: int, *, most_bytes: int, first_bytes: int | None = None) -> list[range]:
    """The ordinals of a file of `size` bytes in parts, in order, of at most so many bytes each.

    `first_bytes` bounds the first part where that is to be smaller. A line that is larger than a part is one by itself.
    """
    ends = [*offsets[1:], size]
    parts, begin, most = [], 0, most_bytes if first_bytes is None else first_bytes
    for ordinal, end in enumerate(ends):
        if ordinal > begin and end - offsets[begin] > most:
            parts.append(range(begin, ordinal))
            begin, most = ordinal, most_bytes
    return [*parts, range(begin, len(ends))] if ends else []


def offsets_of(ledger: Ledger, chunk: Submission) -> "array[int]":
    """Where each line of the chunk's file begins, in bytes."""
    table = tables.chunk_offsets
    with ledger.database.read() as connection:
        stored = connection.execute(sa.select(table.c.offsets).where(table.c.chunk_id == chunk.chunk_id)).scalar_one()
    return spool.read_offsets(stored)


def split(
    ledger: Ledger,
    provider: Provider,
    chunk: Submission,
    parts: Sequence[range],
    *,
    why: str,
    ended: SubmissionState | None = None,
) -> list[int]:
    """Queue `parts` (ordinals, which together are the whole) in place of the chunk; returns their ids.

    `ended` is what becomes of the submission that held it; None where it is queued. Nothing is done, and no id
    returned, where another process sent or split it in the meantime. Raises CouldNotRead when its file is lost or torn.
    """
    path, offsets = ledger.spool / chunk.spool, offsets_of(ledger, chunk)
    spool.check(path, sha256=chunk.sha256)
    ids, letters = members(ledger, chunk)
    written = [_write(ledger, provider, chunk, offsets, part, letters) for part in parts]
    reach(FaultPoint.PARTS_SPOOLED)
    now, who, queued = ledger.clock.now(), str(ledger.claimant), list[int]()
    with ledger.database.write(durable=True) as connection:
        if mine := _end(ledger, connection, chunk, ended, why=why):
            queued = [
                _queue(ledger, connection, chunk, part, ids[part.start : part.stop], stamp, file, why=why)
                for part, (stamp, file) in zip(parts, written, strict=True)
            ]
            must(
                connection,
                chunk.chunk_id,
                ChunkState.SPLIT,
                at=now,
                who=who,
                why=why,
                detail={"parts": queued},
                spool=None,
            )
            offsets_table = tables.chunk_offsets
            connection.execute(offsets_table.delete().where(offsets_table.c.chunk_id == chunk.chunk_id))
            for job_id in _waiting(connection, chunk.chunk_id):
                wait_for(ledger, connection, job_id, queued)
    reach(FaultPoint.CHUNK_SPLIT)
    for surplus in [path] if mine else [ledger.spool / file.name for _, file in written]:
        surplus.unlink(missing_ok=True)
    return queued


def _waiting(connection: Connection, chunk_id: int) -> Sequence[int]:
    """The open jobs that wait for a chunk."""
    link, job = tables.job_chunk, tables.job
    query = (
        sa.select(job.c.id)
        .join(link, link.c.job_id == job.c.id)
        .where(link.c.chunk_id == chunk_id, job.c.state.in_([state.value for state in OPEN_JOBS]))
        .order_by(job.c.id)
    )
    return connection.execute(query).scalars().all()


def _end(ledger: Ledger, connection: Connection, chunk: Submission, ended: SubmissionState | None, *, why: str) -> bool:
    """End what held the chunk; False where that is not, or not any more, this process's to do."""
    if ended is not None:
        now, who = ledger.clock.now(), str(ledger.claimant)
        return transition(connection, chunk.stamp, ended, at=now, who=who, why=why, error=why)
    table = tables.chunk
    here = sa.select(table.c.state, table.c.stamp).where(table.c.id == chunk.chunk_id).with_for_update()
    return tuple(connection.execute(here).one()) == (ChunkState.QUEUED.value, chunk.stamp)


def _write(
    ledger: Ledger, provider: Provider, chunk: Submission, offsets: Sequence[int], part: range, letters: str
) -> tuple[int, SpoolFile]:
    """One part's file, under a submission of its own; its lines count from 0 again."""
    stamp = ledger.next_submission()
    token = custom_ids.submission_token(stamp)
    prefix, attempt = f"{ledger.identity}{token}", f"{chunk.attempt:02d}"
    path = ledger.spool / chunk.spool
    with SpoolWriter(ledger.spool, f"{ledger.identity}-{token}.spool", provider.spooling) as writer:
        for ordinals in slices(part, _LINES):
            lines = spool.lines(path, offsets, ordinals, provider.spooling)
            writer.write(
                [
                    provider.line(
                        kind=chunk.kind,
                        custom_id=(
                            f"{prefix}{letters[32 * ordinal : 32 * ordinal + 32]}{ordinal - part.start:06d}{attempt}"
                        ),
                        body=spool.body_of(line),
                    )
                    for ordinal, line in zip(ordinals, lines, strict=True)
                ]
            )
        return stamp, writer.finish()


def _queue(
    ledger: Ledger,
    connection: Connection,
    chunk: Submission,
    part: range,
    ids: Sequence[int],
    stamp: int,
    file: SpoolFile,
    *,
    why: str,
) -> int:
    """A part as a chunk of its own, like the whole but for what it carries; it keeps its age in the queue."""
    table, request, now = tables.chunk, tables.request, ledger.clock.now()
    of_its_own: dict[str, object] = {
        "state": ChunkState.QUEUED.value,
        "requests": len(part),
        "stamp": stamp,
        "first_request": None if chunk.first_request is None else chunk.first_request + part.start,
        "spool": file.name,
        "spool_bytes": file.size,
        "sha256": file.sha256,
        "ready_at": None,
    }
    whole = connection.execute(sa.select(table).where(table.c.id == chunk.chunk_id)).one()
    # parts of parts have the later ids: this keeps all of them in the order of their requests
    of_its_own["created_at"] = whole.created_at + part.start
    if whole.rescue_at is not None:  # another batch would come too late
        of_its_own["lane"] = Lane.BACKGROUND.value
    values = {name: value for name, value in whole._mapping.items() if name != "id"} | of_its_own
    (part_id,) = connection.execute(table.insert().values(values)).inserted_primary_key or (0,)
    record(
        connection,
        table,
        part_id,
        ChunkState.QUEUED,
        at=now,
        who=str(ledger.claimant),
        why=f"part of chunk {chunk.chunk_id}: {why}",
        detail={"whole": chunk.chunk_id, "requests": len(part)},
    )
    connection.execute(
        tables.chunk_offsets.insert().values(chunk_id=part_id, offsets=spool.offsets_bytes(file.offsets))
    )
    if chunk.first_request is None:
        rows = [(part_id, ordinal, request_id) for ordinal, request_id in enumerate(ids)]
        ledger.database.bulk_insert(connection, tables.chunk_member, ["chunk_id", "ordinal", "request_id"], rows)
        for some in slices(ids, 500):
            connection.execute(request.update().where(request.c.id.in_(some)).values(chunk_id=part_id))
    else:
        mine = request.c.id.between(ids[0], ids[-1])
        connection.execute(request.update().where(mine).values(chunk_id=part_id))
    return int(part_id)
