"""The failed slice goes round again: what a job still wants, and has neither answer nor dead letter, gets a new chunk.

Bodies come from the spool files that carried them. A request is tried `MAX_ATTEMPTS` times at most, and not again where
trying cannot help; what is left is a dead letter, with its reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from offpeak.clock import to_micros
from offpeak.faultpoints import FaultPoint, reach
from offpeak.ledger import spool, tables
from offpeak.ledger.chunking import ChunkWriter
from offpeak.ledger.database import slices
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import LIVE_CHUNKS, ChunkState
from offpeak.providers.base import Finish, Kind, Outcome, Provider

MAX_ATTEMPTS = 3
"""Purchases of one request at most, unusable ones included."""

HOPELESS = frozenset({"invalid_request", "invalid_request_error", Finish.REFUSED.value, Finish.FILTERED.value})
"""Reasons that the same bytes would meet again."""


@dataclass(frozen=True, slots=True)
class _Unanswered:
    request_id: int
    fingerprint: bytes
    chunk_id: int
    attempt: int
    reason: str
    message: str | None


def retry(ledger: Ledger, provider: Provider, job_id: int, *, kind: Kind, model: str) -> int:
    """Queue another round for the job's unanswered requests; returns how many. 0: nothing is left to try.

    Where another job has queued some of them already, this one waits for that round instead of buying its own.
    """
    unanswered = _unanswered(ledger, job_id)
    if joined := _join(ledger, job_id):  # after the look at what is unanswered: what left that list meanwhile is here
        return joined
    dead = [row for row in unanswered if row.attempt >= MAX_ATTEMPTS or row.reason in HOPELESS]
    _bury(ledger, dead)
    reach(FaultPoint.BURIED)
    again = [row for row in unanswered if row.attempt < MAX_ATTEMPTS and row.reason not in HOPELESS]
    by_attempt: dict[int, list[_Unanswered]] = {}
    for row in again:
        by_attempt.setdefault(row.attempt + 1, []).append(row)
    for attempt, rows in by_attempt.items():
        writer = ChunkWriter(ledger, provider, model=model, job_id=job_id, attempt=attempt)
        try:
            _respool(ledger, provider, writer, kind, rows)
            writer.close()
        finally:
            writer.discard()
    return len(again)


def _join(ledger: Ledger, job_id: int) -> int:
    """Wait for the chunks that carry again what this job wants; returns how many of its requests are in them."""
    request, wanted, chunk, job_chunk = tables.request, tables.wanted, tables.chunk, tables.job_chunk
    query = (
        sa.select(chunk.c.id, sa.func.count())
        .select_from(tables.job_target)
        .join(wanted, wanted.c.target_id == tables.job_target.c.target_id)
        .join(request, request.c.id == wanted.c.request_id)
        .join(chunk, chunk.c.id == request.c.chunk_id)
        .where(
            tables.job_target.c.job_id == job_id,
            chunk.c.state.in_([state.value for state in LIVE_CHUNKS]),
            ~sa.exists().where(job_chunk.c.job_id == job_id, job_chunk.c.chunk_id == chunk.c.id),
        )
        .group_by(chunk.c.id)
    )
    with ledger.database.write() as connection:
        found = connection.execute(query).all()
        rows = [(job_id, chunk_id) for chunk_id, _ in found]
        ledger.database.bulk_insert(connection, job_chunk, ["job_id", "chunk_id"], rows, ignore_existing=True)
    return sum(requests for _, requests in found)


def _unanswered(ledger: Ledger, job_id: int) -> list[_Unanswered]:
    """What the job's targets want, whose chunk is closed without an answer for it."""
    request, wanted, chunk = tables.request, tables.wanted, tables.chunk
    failure = tables.failure
    latest = (
        sa.select(
            failure.c.request_id,
            sa.func.max(failure.c.submission_id).label("submission_id"),
            # what somebody cancelled was no attempt
            sa.func.count().filter(failure.c.reason != Outcome.CANCELLED.value).label("times"),
        )
        .group_by(failure.c.request_id)
        .subquery()
    )
    query = (
        sa.select(
            request.c.id, request.c.fingerprint, request.c.chunk_id, chunk.c.attempt,
            failure.c.reason, failure.c.message, latest.c.times,
        )
        .select_from(tables.job_target)
        .join(wanted, wanted.c.target_id == tables.job_target.c.target_id)
        .join(request, request.c.id == wanted.c.request_id)
        .join(chunk, chunk.c.id == request.c.chunk_id)
        .outerjoin(latest, latest.c.request_id == request.c.id)
        .outerjoin(
            failure,
            sa.and_(failure.c.request_id == request.c.id, failure.c.submission_id == latest.c.submission_id),
        )
        .where(
            tables.job_target.c.job_id == job_id,
            chunk.c.state == ChunkState.APPLIED.value,
            ~sa.exists().where(tables.answer.c.request_id == request.c.id),
            ~sa.exists().where(tables.dead_letter.c.request_id == request.c.id),
        )
        .distinct()
    )  # fmt: skip
    with ledger.database.read() as connection:
        return [
            _Unanswered(
                row.id,
                bytes(row.fingerprint),
                row.chunk_id,
                max(row.attempt, row.times or 0),  # a plan after a crash begins a chunk at attempt 1 again
                row.reason or "missing",
                row.message,
            )
            for row in connection.execute(query)
        ]


def _bury(ledger: Ledger, dead: Sequence[_Unanswered]) -> None:
    now = to_micros(ledger.clock.now())
    for part in slices(dead):
        with ledger.database.write() as connection:
            ledger.database.bulk_insert(
                connection,
                tables.dead_letter,
                ["request_id", "reason", "message", "at"],
                [(row.request_id, row.reason, row.message, now) for row in part],
                ignore_existing=True,
            )


def _respool(ledger: Ledger, provider: Provider, writer: ChunkWriter, kind: Kind, rows: Sequence[_Unanswered]) -> None:
    by_chunk: dict[int, list[_Unanswered]] = {}
    for row in rows:
        by_chunk.setdefault(row.chunk_id, []).append(row)
    for chunk_id, members in by_chunk.items():
        texts = bodies(ledger, provider, chunk_id, [row.request_id for row in members])
        parts = [(row.fingerprint, body, row.request_id) for row, body in zip(members, texts, strict=True)]
        writer.add(kind, parts)


def bodies(ledger: Ledger, provider: Provider, chunk_id: int, request_ids: Sequence[int]) -> list[bytes]:
    """The encoded bodies of requests of one chunk, out of its spool file. Raises CouldNotRead when it is torn."""
    chunk, offsets = tables.chunk, tables.chunk_offsets
    with ledger.database.read() as connection:
        row = connection.execute(
            sa.select(chunk.c.spool, chunk.c.first_request, chunk.c.sha256, offsets.c.offsets)
            .join(offsets, offsets.c.chunk_id == chunk.c.id)
            .where(chunk.c.id == chunk_id)
        ).one()
        if row.first_request is not None:
            ordinals = [request_id - row.first_request for request_id in request_ids]
        else:
            member = tables.chunk_member
            rows = connection.execute(
                sa.select(member.c.request_id, member.c.ordinal).where(member.c.chunk_id == chunk_id)
            )
            found: dict[int, int] = {row.request_id: row.ordinal for row in rows}
            ordinals = [found[request_id] for request_id in request_ids]
    path = ledger.spool / row.spool
    spool.check(path, sha256=row.sha256)
    lines = spool.lines(path, spool.read_offsets(row.offsets), ordinals, provider.spooling)
    return [spool.body_of(line) for line in lines]
