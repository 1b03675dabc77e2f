"""The queue of one model at one account, as the ledger has it: its limits, what is in it, and what waits.

Only the batch lane counts, and only what Offpeak enqueued: what others do with the same account shows when the provider
refuses a batch for it. Tokens are estimated from the bytes that are uploaded.

Configured limits stand here too, as the last run wrote them: every process goes by the same ones, also a command that
loads no definitions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from offpeak.clock import from_micros, to_micros
from offpeak.ledger import tables
from offpeak.ledger.claims import Claimant
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import TOKEN_LIMIT, pause_before
from offpeak.ledger.states import PARKED, ChunkState, JobState, SubmissionState
from offpeak.ledger.submissions import Submission
from offpeak.providers.base import BATCH_WINDOW, BatchState

BYTES_PER_TOKEN = 4
"""As in `offpeak.money.estimate`, which lies above the ledger."""

LEARNED_FOR = timedelta(days=1)
"""How long a limit holds that the provider named when it refused a batch. After that it is tried for more: a raised
limit is found within a day, and at the cost of one refused batch, of which nothing is bought."""

PROBE = timedelta(minutes=2)
"""After one batch was sent to an account that was full, until the next one is: by then its fate is known."""

ACCEPTED_AFTER = timedelta(minutes=10)
"""A batch that has not failed so long after its submission was not refused for a full account."""

CREATES_WITHIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may be enqueued for one model; None: no limit is known."""

    enqueued_tokens: int | None = None
    """Of all open batches."""
    open_batches: int | None = None
    creates_per_hour: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A chunk that waits to be sent."""

    chunk_id: int
    tokens: int
    priority: int
    since: datetime
    """When it was queued."""
    due_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What is enqueued for one model, and what waits for it."""

    realm: str
    model: str
    limits: Limits
    tokens: int
    """Of all open batches."""
    batches: int
    creates: int
    """Within the last hour, those included that are about to be sent."""
    full_until: datetime | None
    """The provider said that the account is full: nothing is sent before."""
    probing: bool
    """Since it said so no batch was accepted: they are sent one at a time."""
    waiting: Sequence[Waiting]

    @property
    def provider(self) -> str:
        return self.realm.partition(":")[0]


def tokens_of(spool_bytes: int) -> int:
    """About how many tokens a chunk's file is."""
    return spool_bytes // BYTES_PER_TOKEN


def declare(ledger: Ledger, realm: str, model: str, limits: Limits) -> None:
    """Write down the limits that are configured for a model; what the provider said stays."""
    table = tables.queue
    values = {
        "limit_tokens": limits.enqueued_tokens,
        "limit_batches": limits.open_batches,
        "limit_creates": limits.creates_per_hour,
    }
    with ledger.database.read() as connection:
        row = connection.execute(_row(realm, model)).one_or_none()
    if row is None and limits == Limits():
        return
    if row is not None and all(getattr(row, name) == value for name, value in values.items()):
        return
    with ledger.database.write() as connection:
        _ensure(connection, realm, model)
        connection.execute(table.update().where(*_at(realm, model)).values(values))


def most_tokens(ledger: Ledger, realm: str, model: str) -> int | None:
    """What all open batches of a model may hold together, in tokens; None where no limit is known."""
    with ledger.database.read() as connection:
        row = connection.execute(_row(realm, model)).one_or_none()
    return None if row is None else _limits(row, ledger.clock.now()).enqueued_tokens


def read(connection: Connection, realm: str, model: str, *, now: datetime, own: int | None = None) -> Queue | None:
    """The queue of a model; None where nothing limits it. `own` is a chunk that this process carries on.

    Chunks that nobody carries on, that are held or wait for a time, keep no place.
    """
    row = connection.execute(_row(realm, model)).one_or_none()
    if row is None or (_limits(row, now) == Limits() and not row.full_times):
        return None
    return _read(connection, row, own=own, now=now)


def lock(connection: Connection, realm: str, model: str) -> bool:
    """Have this transaction be the only one that decides about a model's queue, until it ends.

    False where nothing is known of that queue, and so nothing limits it.
    """
    return connection.execute(_row(realm, model).with_for_update()).one_or_none() is not None


def limited(ledger: Ledger, now: datetime) -> list[Queue]:
    """Every queue that is limited, and that something waits for."""
    chunk, table = tables.chunk, tables.queue
    waits = sa.exists().where(
        chunk.c.realm == table.c.realm, chunk.c.model == table.c.model, chunk.c.state == ChunkState.QUEUED.value
    )
    with ledger.database.read() as connection:
        rows = connection.execute(sa.select(table).where(waits)).all()
        return [
            _read(connection, row, own=None, now=now) for row in rows if _limits(row, now) != Limits() or row.full_times
        ]


def probe(connection: Connection, queue: Queue, now: datetime) -> None:
    """A batch is about to be sent to an account that was full: leave the others until its fate is known."""
    until = to_micros(now + PROBE)
    connection.execute(tables.queue.update().where(*_at(queue.realm, queue.model)).values(full_until=until))


def note_full(ledger: Ledger, realm: str, model: str, *, sent_at: datetime | None, limit: int | None) -> Limits:
    """The provider failed a batch because the account is full; returns the limits that are known now.

    `limit` is the one that it named, if it did. Where that is news, the queue goes by it from now on. Otherwise the
    account is left alone, for longer each time, up to half an hour. Batches that were `sent_at` a time before it last
    said so tell nothing new.
    """
    table, now = tables.queue, ledger.clock.now()
    with ledger.database.write(durable=True) as connection:
        _ensure(connection, realm, model)
        row = connection.execute(_row(realm, model).with_for_update()).one()
        known = _learned(row, now)
        if limit is not None:
            connection.execute(
                table.update().where(*_at(realm, model)).values(enqueued_tokens=limit, enqueued_seen_at=to_micros(now))
            )
        news = limit is not None and limit != known and (row.limit_tokens is None or limit < row.limit_tokens)
        stale = row.full_at is not None and sent_at is not None and to_micros(sent_at) <= row.full_at
        if not news and not stale:
            times = 1 if _accepted(connection, row, now) else row.full_times + 1
            connection.execute(
                table.update()
                .where(*_at(realm, model))
                .values(
                    full_at=to_micros(now),
                    full_until=to_micros(now + pause_before(times + 1, TOKEN_LIMIT)),
                    full_times=times,
                )
            )
        return _limits(connection.execute(_row(realm, model)).one(), now)


def alone(ledger: Ledger, chunk: Submission) -> bool:
    """Whether no other batch of its model is open."""
    table = tables.chunk
    query = (
        sa.select(table.c.id)
        .where(
            _of_queue(chunk.realm, chunk.model),
            table.c.state == ChunkState.OPEN.value,
            table.c.id != chunk.chunk_id,
        )
        .limit(1)
    )
    with ledger.database.read() as connection:
        return connection.execute(query).first() is None


def _row(realm: str, model: str) -> sa.Select[Any]:
    return sa.select(tables.queue).where(*_at(realm, model))


def _at(realm: str, model: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (tables.queue.c.realm == realm, tables.queue.c.model == model)


def _ensure(connection: Connection, realm: str, model: str) -> None:
    connection.execute(
        sa.text("INSERT INTO queue (realm, model) VALUES (:realm, :model) ON CONFLICT DO NOTHING"),
        {"realm": realm, "model": model},
    )


def _learned(row: Row[Any], now: datetime) -> int | None:
    """The limit on enqueued tokens that the provider named, as long as it holds."""
    if row.enqueued_tokens is None or now - from_micros(row.enqueued_seen_at) > LEARNED_FOR:
        return None
    return int(row.enqueued_tokens)


def _limits(row: Row[Any], now: datetime) -> Limits:
    """The smaller of what is configured and what the provider named: it refuses what goes beyond."""
    tokens = [each for each in (row.limit_tokens, _learned(row, now)) if each is not None]
    return Limits(
        enqueued_tokens=min(tokens, default=None), open_batches=row.limit_batches, creates_per_hour=row.limit_creates
    )


def _read(connection: Connection, row: Row[Any], *, own: int | None, now: datetime) -> Queue:
    limits, full_until = _limits(row, now), None if row.full_until is None else from_micros(row.full_until)
    probing = bool(row.full_times) and not _accepted(connection, row, now)
    tokens, batches = _enqueued(connection, row.realm, row.model, now)
    return Queue(
        realm=row.realm,
        model=row.model,
        limits=limits,
        tokens=tokens,
        batches=batches,
        creates=0 if limits.creates_per_hour is None else _creates(connection, row.realm, row.model, now),
        full_until=full_until if probing and full_until is not None and full_until > now else None,
        probing=probing,
        waiting=_waiting(connection, row.realm, row.model, own=own, now=now),
    )


def _of_queue(realm: str, model: str) -> sa.ColumnElement[bool]:
    """The chunks that one queue is about: the background lane has limits of its own."""
    chunk = tables.chunk
    return sa.and_(chunk.c.realm == realm, chunk.c.model == model, chunk.c.lane == Lane.BATCH.value)


def _enqueued(connection: Connection, realm: str, model: str, now: datetime) -> tuple[int, int]:
    """Tokens and number of the batches that have not ended, those included that are about to be sent.

    One that nobody looks at any more counts until its provider must have ended it.
    """
    chunk, submission = tables.chunk, tables.submission
    ended = [state.value for state in BatchState if state.terminal]
    query = (
        sa.select(sa.func.coalesce(sa.func.sum(chunk.c.spool_bytes), 0), sa.func.count())
        .outerjoin(submission, submission.c.id == chunk.c.stamp)
        .where(
            _of_queue(realm, model),
            chunk.c.state == ChunkState.OPEN.value,
            submission.c.state != SubmissionState.LANDED.value,
            sa.or_(submission.c.seen_state.is_(None), submission.c.seen_state.not_in(ended)),
            sa.func.coalesce(submission.c.submitted_at, submission.c.intended_at) > to_micros(now - BATCH_WINDOW),
        )
    )
    size, number = connection.execute(query).one()
    return tokens_of(int(size)), int(number)


def _creates(connection: Connection, realm: str, model: str, now: datetime) -> int:
    """How many batches were claimed to be sent within the last hour: as many were created, or fewer."""
    chunk, submission = tables.chunk, tables.submission
    query = (
        sa.select(sa.func.count())
        .select_from(submission)
        .join(chunk, chunk.c.id == submission.c.chunk_id)
        .where(
            submission.c.intended_at > to_micros(now - CREATES_WITHIN),
            _of_queue(realm, model),
        )
    )
    return int(connection.execute(query).scalar_one())


def _accepted(connection: Connection, row: Row[Any], now: datetime) -> bool:
    """Whether the provider took a batch that was sent since it last said that the account is full."""
    if row.full_at is None:
        return True
    chunk, submission = tables.chunk, tables.submission
    through = [SubmissionState.LANDED.value, SubmissionState.APPLIED.value]
    query = (
        sa.select(submission.c.id)
        .join(chunk, chunk.c.id == submission.c.chunk_id)
        .where(
            submission.c.intended_at >= row.full_at,
            _of_queue(row.realm, row.model),
            sa.or_(
                submission.c.state.in_(through),
                sa.and_(
                    submission.c.state == SubmissionState.CREATED.value,
                    submission.c.submitted_at < to_micros(now - ACCEPTED_AFTER),
                    sa.func.coalesce(submission.c.seen_state, "") != BatchState.FAILED.value,
                ),
            ),
        )
        .limit(1)
    )
    return connection.execute(query).first() is not None


def _waiting(connection: Connection, realm: str, model: str, *, own: int | None, now: datetime) -> list[Waiting]:
    chunk, link, job, parked = tables.chunk, tables.job_chunk, tables.job, tables.parked_run
    query = (
        sa.select(
            chunk.c.id,
            chunk.c.spool_bytes,
            chunk.c.priority,
            chunk.c.created_at,
            chunk.c.due_at,
            job.c.owner,
            job.c.created_at.label("owned_at"),
            parked.c.state.label("parked"),
        )
        .join(link, link.c.chunk_id == chunk.c.id)
        .join(job, job.c.id == link.c.job_id)
        .outerjoin(parked, parked.c.id == job.c.parked_id)
        .where(
            _of_queue(realm, model),
            chunk.c.state == ChunkState.QUEUED.value,
            chunk.c.held_by.is_(None),
            sa.func.coalesce(chunk.c.ready_at, 0) <= to_micros(now),
            job.c.state.in_([JobState.QUEUED.value, JobState.IN_PROGRESS.value]),
        )
    )

    @cache
    def lives(owner: str, owned_at: int) -> bool:
        claimant = Claimant.parse(owner)
        return claimant is not None and claimant.alive(claimed_at=from_micros(owned_at), now=now)

    @cache
    def here(owner: str) -> bool:
        """Whether it is on this host, where its life does not depend on when it claimed the job."""
        claimant = Claimant.parse(owner)
        return claimant is not None and claimant.host == Claimant.this_process().host

    found: dict[int, Waiting] = {}
    for row in connection.execute(query):
        if row.id in found:
            continue
        owner = row.owner or ""
        attended = (
            row.id == own
            or row.parked in _PARKED
            or (row.parked is None and lives(owner, 0 if here(owner) else row.owned_at))
        )
        if attended:
            found[row.id] = Waiting(
                chunk_id=row.id,
                tokens=tokens_of(row.spool_bytes),
                priority=row.priority,
                since=from_micros(row.created_at),
                due_at=None if row.due_at is None else from_micros(row.due_at),
            )
    return list(found.values())


_PARKED = frozenset(state.value for state in PARKED)
