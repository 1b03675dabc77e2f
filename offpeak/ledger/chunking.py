"""Requests become chunks: one spool file each, within the provider's limits.

The file is durable under its final name before its chunk and requests are committed, in one transaction. Dying between
the two leaves a file that the ledger does not know, and nothing else.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.clock import to_micros
from offpeak.errors import LedgerUnavailable
from offpeak.faultpoints import FaultPoint, reach
from offpeak.ledger import custom_ids, queueing, tables
from offpeak.ledger.database import slices
from offpeak.ledger.lane import UNPLACED, Placement
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.sightings import OVERDUE
from offpeak.ledger.spool import SpoolFile, SpoolWriter, body_of, offsets_bytes
from offpeak.ledger.spool import lines as spool_lines
from offpeak.ledger.states import LIVE_CHUNKS, OPEN_JOBS, ChunkState, JobState, must, record
from offpeak.providers.base import Kind, Provider


class _Taken(Exception):
    """Another plan or round queued some of the same requests since they were looked up."""


_ENVELOPE = 96
"""Bytes that a line adds around body and custom_id, at most, at any provider."""

UNDIVIDED = 6_000
"""Requests that are sent as one batch."""

PARTS = 4
"""Of more than that, a chunk holds no more than this part of what was written before it."""

_DIFFERENT = 64
"""Chunks of one job have so many different sizes: where a provider keeps no name for a batch, its size helps to know
which one it is."""


class ChunkWriter:
    """Writes chunks for one job. `attempt` counts from 1 and stands in every custom_id.

    Nothing is sent before `ready_at`, nor while it is `held_by` a sample; `drawn_for` is the sample that it carries.
    `placement` is for what goes round again, or stands in for it: a plan gives its chunks theirs when it becomes valid.
    `degraded_from` is the model that it stands in for, because there was no room. `rescues` is the chunk whose rest it
    buys at realtime price, for a deadline. Of many requests none of its chunks holds more than a part, so that one slow
    batch does not hold up all of them.

    Memory: the fingerprints of the chunk being written, about 100 bytes each.
    """

    def __init__(
        self,
        ledger: Ledger,
        provider: Provider,
        *,
        model: str,
        job_id: int,
        attempt: int,
        ready_at: datetime | None = None,
        drawn_for: int | None = None,
        held_by: int | None = None,
        placement: Placement = UNPLACED,
        degraded_from: str | None = None,
        rescues: int | None = None,
    ) -> None:
        self.chunks: list[int] = []
        """Ids of the chunks committed so far."""
        self.left = 0
        """Requests that others queued first, and that were left to them."""
        self._ledger, self._provider, self._model = ledger, provider, model
        self._job_id, self._attempt, self._ready_at = job_id, attempt, ready_at
        self._drawn_for, self._held_by = drawn_for, held_by
        self._placement = placement
        self._degraded_from, self._rescues = degraded_from, rescues
        self._kind = Kind.CHAT
        self._spool: SpoolWriter | None = None
        self._lines: list[bytes] = []
        self._size = 0
        self._stamp = 0
        self._prefix = ""
        self._prints: dict[bytes, None] = {}
        self._existing: dict[int, int] = {}  # ordinal to request id, where there is a row already
        self._gap = len(provider.spooling.separator)
        self._written = 0
        self._most = 0
        tokens = queueing.most_tokens(ledger, provider.realm, model)
        most = provider.limits.max_bytes
        # what is larger than everything that may be enqueued would have to be split before it could be sent
        self._most_bytes = most if tokens is None else min(most, tokens * queueing.BYTES_PER_TOKEN)

    def holds(self, fingerprint: bytes) -> bool:
        """Whether the chunk being written carries this request already."""
        return fingerprint in self._prints

    def holds_none(self, fingerprints: Sequence[bytes]) -> bool:
        """Whether the chunk being written carries not one of these requests."""
        return self._prints.keys().isdisjoint(fingerprints)

    def add(self, kind: Kind, requests: Sequence[tuple[bytes, bytes, int]]) -> None:
        """Append requests: fingerprint, body, and the id of its row where it has one already, else 0.

        All requests of one writer are of one kind.
        """
        letters = custom_ids.base32(b"".join(print_ for print_, _, _ in requests)) if requests else ""
        line_of = self._provider.line
        envelope = custom_ids.WIDTH + _ENVELOPE
        attempt = f"{self._attempt:02d}"
        for number, (print_, body, request_id) in enumerate(requests):
            ordinal = len(self._prints)
            if self._spool is None or ordinal >= self._most or self._size + len(body) + envelope > self._most_bytes:
                self.close()
                self._begin(kind)
                ordinal = 0
            self._prints[print_] = None
            if request_id:
                self._existing[ordinal] = request_id
            custom_id = f"{self._prefix}{letters[32 * number : 32 * number + 32]}{ordinal:06d}{attempt}"
            line = line_of(kind=kind, custom_id=custom_id, body=body)
            self._size += len(line) + self._gap
            self._lines.append(line)
        self._flush()

    def _begin(self, kind: Kind) -> None:
        self._kind = kind
        spooling = self._provider.spooling
        self._stamp = self._ledger.next_submission()
        token = custom_ids.submission_token(self._stamp)
        self._prefix = f"{self._ledger.identity}{token}"
        self._spool = SpoolWriter(self._ledger.spool, f"{self._ledger.identity}-{token}.spool", spooling)
        self._size = len(spooling.head) + len(spooling.tail)
        undivided = max(UNDIVIDED, self._written // PARTS) + len(self.chunks) % _DIFFERENT
        self._most = min(self._provider.limits.max_requests, undivided)

    def _flush(self) -> None:
        if self._lines and self._spool is not None:
            self._spool.write(self._lines)
            self._lines = []

    def close(self) -> None:
        """Commit the chunk being written, if there is one.

        Requests that another plan or round queued since they were looked up are left to it, and the job waits for its
        chunks too.
        """
        if self._spool is None:
            return
        self._flush()
        spool, self._spool = self._spool.finish(), None
        reach(FaultPoint.SPOOL_PUBLISHED)
        self._ledger.spooled[spool.name] = spool.sha256
        try:
            self.chunks.append(self._commit(spool))
        except _Taken:
            self._leave_to_others(spool)
            self.close()
            return
        except LedgerUnavailable:  # the chunk may have been committed all the same, and needs its file then
            raise
        except BaseException:
            (self._ledger.spool / spool.name).unlink(missing_ok=True)
            raise
        reach(FaultPoint.CHUNK_QUEUED)
        self._written += len(self._prints)
        self._prints, self._existing = {}, {}

    def _leave_to_others(self, spool: SpoolFile) -> None:
        """Begin the chunk anew with the requests that are still this writer's to queue."""
        path, kind = self._ledger.spool / spool.name, self._kind
        requests, existing = list(self._prints), self._existing
        self._prints, self._existing = {}, {}
        taken = self._taken(requests, existing)
        self.left += len(taken)
        mine = [ordinal for ordinal, print_ in enumerate(requests) if print_ not in taken]
        for part in slices(mine):
            lines = spool_lines(path, spool.offsets, part, self._provider.spooling)
            self.add(
                kind,
                [
                    (requests[ordinal], body_of(line), existing.get(ordinal, 0))
                    for ordinal, line in zip(part, lines, strict=True)
                ],
            )
        path.unlink(missing_ok=True)

    def _taken(self, requests: Sequence[bytes], existing: Mapping[int, int]) -> set[bytes]:
        """Fingerprints that others have queued or answered by now; the job is made to wait for their chunks."""
        request, chunk = tables.request, tables.chunk
        known = {requests[ordinal] for ordinal in existing}
        taken: set[bytes] = set()
        chunks: set[int] = set()
        with self._ledger.database.write() as connection:
            for part in slices(requests, 500):
                for row in connection.execute(
                    sa.select(request.c.fingerprint, request.c.chunk_id, chunk.c.state)
                    .join(chunk, chunk.c.id == request.c.chunk_id)
                    .where(request.c.fingerprint.in_(part))
                ):
                    live = row.state in LIVE_CHUNKS
                    if live or bytes(row.fingerprint) not in known:
                        taken.add(bytes(row.fingerprint))
                        chunks |= {row.chunk_id} if live else set()
            wait_for(self._ledger, connection, self._job_id, chunks)
        return taken

    def discard(self) -> None:
        """Drop the chunk being written."""
        if self._spool is not None:
            self._spool.discard()
            self._spool = None

    def _commit(self, spool: SpoolFile) -> int:
        ledger, now = self._ledger, self._ledger.clock.now()
        prints = list(self._prints)
        existing = self._existing
        new = [print_ for ordinal, print_ in enumerate(prints) if ordinal not in existing] if existing else prints
        with ledger.database.write() as connection:
            first = ledger.next_requests(connection, len(new)) if new else 0
            inserted = connection.execute(
                tables.chunk.insert().values(
                    state=ChunkState.QUEUED.value,
                    realm=self._provider.realm,
                    kind=self._kind.value,
                    model=self._model,
                    attempt=self._attempt,
                    requests=len(prints),
                    stamp=self._stamp,
                    first_request=None if existing else first,
                    spool=spool.name,
                    spool_bytes=spool.size,
                    sha256=spool.sha256,
                    created_at=to_micros(now),
                    ready_at=None if self._ready_at is None else to_micros(self._ready_at),
                    drawn_for=self._drawn_for,
                    held_by=self._held_by,
                    degraded_from=self._degraded_from,
                    rescues=self._rescues,
                    lane=self._placement.lane.value,
                    due_at=None if self._placement.due_at is None else to_micros(self._placement.due_at),
                    priority=self._placement.priority,
                )
            )
            (chunk_id,) = inserted.inserted_primary_key or (0,)
            why = f"job {self._job_id}, attempt {self._attempt}"
            record(
                connection,
                tables.chunk,
                chunk_id,
                ChunkState.QUEUED,
                at=now,
                who=str(ledger.claimant),
                why=why,
                detail={"job": self._job_id, "requests": len(prints)},
            )
            connection.execute(tables.job_chunk.insert().values(job_id=self._job_id, chunk_id=chunk_id))
            connection.execute(
                tables.chunk_offsets.insert().values(chunk_id=chunk_id, offsets=offsets_bytes(spool.offsets))
            )
            self._insert_requests(connection, new, first, chunk_id)
            if existing:
                self._insert_members(connection, first, chunk_id)
        return int(chunk_id)

    def _insert_requests(self, connection: Connection, new: Sequence[bytes], first: int, chunk_id: int) -> None:
        # sorted by fingerprint: the unique index then grows page by page instead of at random
        rows = sorted(zip(new, range(first, first + len(new)), itertools.repeat(chunk_id), strict=False))
        inserted = self._ledger.database.bulk_insert(
            connection, tables.request, ["fingerprint", "id", "chunk_id"], rows, ignore_existing=True
        )
        if inserted != len(rows):
            raise _Taken

    def _insert_members(self, connection: Connection, first: int, chunk_id: int) -> None:
        fresh, existing = itertools.count(first), self._existing
        rows = [(chunk_id, ordinal, existing.get(ordinal) or next(fresh)) for ordinal in range(len(self._prints))]
        self._ledger.database.bulk_insert(connection, tables.chunk_member, ["chunk_id", "ordinal", "request_id"], rows)
        request = tables.request
        free = sa.select(tables.chunk.c.id).where(tables.chunk.c.state.not_in([state.value for state in LIVE_CHUNKS]))
        for part in slices(list(existing.values()), 500):
            moved = connection.execute(
                request.update().where(request.c.id.in_(part), request.c.chunk_id.in_(free)).values(chunk_id=chunk_id)
            )
            if moved.rowcount != len(part):  # another job's round has them already
                raise _Taken


def wait_for(ledger: Ledger, connection: Connection, job_id: int, chunks: Collection[int]) -> None:
    """Have a job wait for chunks that others queued; said in an event, since no state of the job changes."""
    if not chunks:
        return
    rows = [(job_id, chunk_id) for chunk_id in sorted(chunks)]
    ledger.database.bulk_insert(connection, tables.job_chunk, ["job_id", "chunk_id"], rows, ignore_existing=True)
    state = JobState(connection.execute(sa.select(tables.job.c.state).where(tables.job.c.id == job_id)).scalar_one())
    record(
        connection,
        tables.job,
        job_id,
        state,
        at=ledger.clock.now(),
        who=str(ledger.claimant),
        why=f"waits for {len(rows):,} chunks that others queued",
        detail={"chunks": sorted(chunks)},
    )


def left_open(connection: Connection, job_id: int, *, now: datetime) -> list[int]:
    """Open chunks of former jobs of the same asset that no other open job waits for, and whose batch may still end.

    Such a job ended at its deadline, or when its batch was long overdue. What it bought is paid for all the same.
    """
    chunk, link, job, submission = tables.chunk, tables.job_chunk, tables.job, tables.submission
    mine = sa.select(job.c.asset, job.c.realm).where(job.c.id == job_id).subquery()
    former = (
        sa.select(link.c.chunk_id)
        .join(job, job.c.id == link.c.job_id)
        .join(mine, sa.and_(mine.c.asset == job.c.asset, mine.c.realm == job.c.realm))
        .where(job.c.id < job_id)
    )
    awaited = (
        sa.select(link.c.chunk_id)
        .join(job, job.c.id == link.c.job_id)
        .where(job.c.id != job_id, job.c.state.in_([state.value for state in OPEN_JOBS]))
    )
    query = (
        sa.select(chunk.c.id)
        .join(submission, submission.c.id == chunk.c.stamp)
        .where(
            chunk.c.state == ChunkState.OPEN.value,
            chunk.c.id.in_(former),
            chunk.c.id.not_in(awaited),
            sa.func.coalesce(submission.c.submitted_at, submission.c.intended_at) > to_micros(now - OVERDUE),
        )
    )
    return list(connection.execute(query).scalars())


def discard_chunks(ledger: Ledger, *, job_id: int) -> None:
    """Take back what a plan queued and no other live job waits for: rows first, then the files.

    Only queued chunks: whatever was ever sent stays.
    """
    others = tables.job_chunk.alias("others")
    live = sa.select(tables.job.c.id).where(tables.job.c.state.in_([state.value for state in OPEN_JOBS]))
    mine = sa.select(tables.job_chunk.c.chunk_id).where(tables.job_chunk.c.job_id == job_id)
    shared = sa.select(others.c.chunk_id).where(others.c.job_id != job_id, others.c.job_id.in_(live))
    submitted = sa.select(tables.submission.c.chunk_id)
    with ledger.database.write() as connection:
        rows = connection.execute(
            tables.chunk.select().where(
                tables.chunk.c.id.in_(mine),
                tables.chunk.c.state == ChunkState.QUEUED.value,
                tables.chunk.c.id.not_in(shared),
                tables.chunk.c.id.not_in(submitted),
                tables.chunk.c.first_request.is_not(None),
            )
        ).all()
        ids = [row.id for row in rows]
        for column in (tables.request.c.chunk_id, tables.chunk_offsets.c.chunk_id, tables.job_chunk.c.chunk_id):
            for part in slices(ids, 500):
                connection.execute(column.table.delete().where(column.in_(part)))
        now, who = ledger.clock.now(), str(ledger.claimant)
        for chunk_id in ids:
            must(
                connection,
                chunk_id,
                ChunkState.TAKEN_BACK,
                at=now,
                who=who,
                why=f"job {job_id} does not want it after all",
                spool=None,
            )
    for row in rows:
        (ledger.spool / row.spool).unlink(missing_ok=True)
