"""One row's whole history: what it asks, how that was bought, what came back, and what it serves now. Reads only."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from offpeak.clock import from_micros
from offpeak.errors import CouldNotRead, NotFound, did_you_mean
from offpeak.ledger import custom_ids, spool, tables
from offpeak.ledger.history import ChunkRecord, Event, SubmissionRecord, chunks_where, events_of
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import Fate
from offpeak.ledger.states import ChunkState

SHARERS_SHOWN = 20

_MICROSECOND = timedelta(microseconds=1)
_FLOAT_BYTES = 4


class RowState(StrEnum):
    """Where the request that a row wants has got to."""

    QUEUED = "queued"
    """Written to disk, and not sent yet."""
    ON_ITS_WAY = "on its way"
    UNANSWERED = "unanswered"
    """Its last attempt brought nothing, and the next one is not written yet: materialising goes on with it."""
    ANSWERED = "answered"
    DEAD = "dead letter"
    REFUSED = "refused"
    """The provider would not take its chunk; nothing was bought."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was bought. Money is pico-dollars."""

    request_id: int
    submission_id: int
    batch_id: str | None
    """None for one that was called by itself."""
    produced_at: datetime
    model: str
    """The model that answered, as the provider names it."""
    output: str | None
    """JSON or text; None for a vector."""
    dimensions: int | None
    """The length of a vector."""
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    cost_pico: int
    realtime_pico: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An attempt that brought no usable answer. Money is pico-dollars."""

    reason: str
    message: str | None
    raw: str | None
    """The unusable answer, as it came."""
    at: datetime
    input_tokens: int
    output_tokens: int
    cost_pico: int
    realtime_pico: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One submission that carried the request."""

    chunk: ChunkRecord
    submission: SubmissionRecord
    ordinal: int
    """Its place in the chunk, from 0."""
    custom_id: str | None
    """Its name in the batch; None for one that was called by itself, without a name."""
    answered: bool
    failure: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Why the request is not tried again."""

    reason: str
    message: str | None
    at: datetime
    fate: Fate


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharer:
    """Another row that wants the same request."""

    asset: str
    partition_key: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Previous:
    """The answer that the row served before its request changed, and the age that it has."""

    answer: Answer
    as_of: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Everything the ledger holds about one row."""

    asset: str
    partition_key: str
    key: str
    scope: str | None
    task: str | None
    """What it is a part of, whose cost is told as one."""
    as_of: datetime | None
    """The age of the plan that last looked at the row; None when its plan is not finished."""
    effective_until: datetime | None
    planned_by_job: int | None
    state: RowState
    request_id: int
    fingerprint: str
    realm: str
    kind: str
    model: str
    body: dict[str, Any] | None
    """What was, or will be, sent to the provider; None where its spool file does not tell."""
    body_missing: str | None
    """Why there is no body."""
    chunks: Sequence[ChunkRecord]
    attempts: Sequence[Attempt]
    answer: Answer | None
    previous: Previous | None
    dead_letter: DeadLetter | None
    shared_with: Sequence[Sharer]
    """The first few of them."""
    sharers: int
    events: Sequence[Event]


def explain(ledger: Ledger, asset: str, key: str, *, partition_key: str | None = None) -> Explanation:
    """Everything about one row. Raises NotFound, with the nearest names, for a row that no valid plan holds.

    Without `partition_key` the row must stand in one partition only.
    """
    with ledger.database.read() as connection:
        target = _target(connection, asset, key, partition_key)
        wanted, table = tables.wanted, tables.request
        row = connection.execute(
            sa.select(wanted, table.c.fingerprint, table.c.chunk_id)
            .join(table, table.c.id == wanted.c.request_id)
            .where(wanted.c.target_id == target.id, wanted.c.key == key)
        ).one()
        request_id: int = row.request_id
        chunks = _chunks(connection, request_id)
        current = next((chunk for chunk in chunks if chunk.id == row.chunk_id), None)
        if current is None:
            raise CouldNotRead(
                f"Row {key!r} of {asset} wants request {request_id}, whose chunk {row.chunk_id} is not in the ledger. "
                "It was edited, or restored from a backup in part. Nothing was changed."
            )
        ordinals = {chunk.id: _ordinal(connection, chunk, request_id) for chunk in chunks}
        answer, dead = _answer(connection, request_id), _dead_letter(connection, request_id)
        sharers, shared_with = _sharers(connection, row)
        letters = custom_ids.base32(bytes(row.fingerprint))
        body, body_missing = _body(ledger, connection, current, ordinals[current.id], letters)
        as_of = target.as_of if target.job_id is not None else None
        return Explanation(
            asset=asset,
            partition_key=target.partition_key,
            key=key,
            scope=row.scope,
            task=row.task,
            as_of=None if as_of is None else from_micros(as_of),
            effective_until=None if as_of is None else from_micros(as_of) + target.valid_for * _MICROSECOND,
            planned_by_job=target.job_id,
            state=row_state(current.state, answered=answer is not None, dead=dead is not None),
            request_id=request_id,
            fingerprint=letters,
            realm=current.realm,
            kind=current.kind,
            model=current.model,
            body=body,
            body_missing=body_missing,
            chunks=chunks,
            attempts=_attempts(connection, ledger.identity, chunks, ordinals, request_id, letters, answer),
            answer=answer,
            previous=_previous(connection, row),
            dead_letter=dead,
            shared_with=shared_with,
            sharers=sharers,
            events=events_of(connection, chunks, requests=[request_id]),
        )


def known_assets(connection: Connection) -> list[str]:
    """Every asset that was ever planned."""
    return list(connection.execute(sa.select(tables.target.c.asset).distinct()).scalars())


def refuse_unknown_asset(connection: Connection, asset: str) -> None:
    """Raise NotFound, with the nearest names, for an asset that was never planned."""
    known = known_assets(connection)
    if asset not in known:
        hint = did_you_mean(asset, known, nothing="No asset was ever planned in this ledger.")
        raise NotFound(f"There is no asset {asset!r} in this ledger. {hint}")


def _target(connection: Connection, asset: str, key: str, partition_key: str | None) -> Row[Any]:
    """The partition that holds the row. Raises NotFound."""
    table, wanted = tables.target, tables.wanted
    refuse_unknown_asset(connection, asset)
    targets = connection.execute(sa.select(table).where(table.c.asset == asset).order_by(table.c.partition_key)).all()
    if partition_key is not None:
        partitions = [target.partition_key for target in targets]
        targets = [target for target in targets if target.partition_key == partition_key]
        if not targets:
            hint = did_you_mean(partition_key, filter(None, partitions), nothing="It has no partitions.")
            raise NotFound(f"{asset} was never planned for partition {partition_key!r}. {hint}")
    ids = [target.id for target in targets]
    holding = set(
        connection.execute(
            sa.select(wanted.c.target_id).where(wanted.c.target_id.in_(ids), wanted.c.key == key)
        ).scalars()
    )
    found = [target for target in targets if target.id in holding]
    if not found:
        hint = did_you_mean(key, _neighbours(connection, ids, key), nothing="Its last plan holds no row at all.")
        raise NotFound(f"The last plan of {asset} holds no row {key!r}; what is not planned any more is gone. {hint}")
    if len(found) > 1:
        names = ", ".join(target.partition_key for target in found[:SHARERS_SHOWN])
        raise NotFound(f"{asset} holds {key!r} in {len(found):,} partitions ({names}). Say which: --partition.")
    return found[0]


def _neighbours(connection: Connection, target_ids: Sequence[int], key: str) -> list[str]:
    """Keys that stand near `key` in key order: what is mistyped is mostly there, however many rows there are."""
    wanted = tables.wanted
    near: list[str] = []
    for target_id in target_ids[:SHARERS_SHOWN]:
        mine = sa.select(wanted.c.key).where(wanted.c.target_id == target_id)
        near += connection.execute(mine.where(wanted.c.key > key).order_by(wanted.c.key).limit(5)).scalars().all()
        before = mine.where(wanted.c.key < key).order_by(wanted.c.key.desc()).limit(5)
        near += connection.execute(before).scalars().all()
    return near


def _chunks(connection: Connection, request_id: int) -> list[ChunkRecord]:
    """Every chunk that carried the request: the one it was planned into, and those of its retries."""
    chunk, member = tables.chunk, tables.chunk_member
    carrying = sa.select(member.c.chunk_id).where(member.c.request_id == request_id)
    return chunks_where(
        connection,
        sa.or_(
            sa.and_(chunk.c.first_request <= request_id, chunk.c.first_request + chunk.c.requests > request_id),
            chunk.c.id.in_(carrying),
        ),
    )


def _ordinal(connection: Connection, chunk: ChunkRecord, request_id: int) -> int:
    if chunk.first_request is not None:
        return request_id - chunk.first_request
    member = tables.chunk_member
    query = sa.select(member.c.ordinal).where(member.c.chunk_id == chunk.id, member.c.request_id == request_id)
    return int(connection.execute(query).scalar_one())


def row_state(chunk: ChunkState, *, answered: bool, dead: bool) -> RowState:
    """Where a request has got to whose chunk is in that state."""
    if answered:
        return RowState.ANSWERED
    if dead:
        return RowState.DEAD
    match chunk:
        case ChunkState.QUEUED:
            return RowState.QUEUED
        case ChunkState.OPEN:
            return RowState.ON_ITS_WAY
        case ChunkState.APPLIED | ChunkState.LEFT | ChunkState.TAKEN_BACK | ChunkState.SPLIT | ChunkState.DROPPED:
            return RowState.UNANSWERED
        case ChunkState.REFUSED:
            return RowState.REFUSED


def _attempts(
    connection: Connection,
    identity: str,
    chunks: Sequence[ChunkRecord],
    ordinals: dict[int, int],
    request_id: int,
    letters: str,
    answer: Answer | None,
) -> list[Attempt]:
    failures = _failures(connection, request_id)
    return [
        Attempt(
            chunk=chunk,
            submission=submission,
            ordinal=ordinals[chunk.id],
            custom_id=None
            if submission.called
            else (
                f"{identity}{custom_ids.submission_token(submission.id)}{letters}"
                f"{ordinals[chunk.id]:06d}{chunk.attempt:02d}"
            ),
            answered=answer is not None and answer.submission_id == submission.id,
            failure=failures.get(submission.id),
        )
        for chunk in chunks
        for submission in chunk.submissions
    ]


def _failures(connection: Connection, request_id: int) -> dict[int, Failure]:
    table = tables.failure
    return {
        row.submission_id: Failure(
            reason=row.reason,
            message=row.message,
            raw=row.raw,
            at=from_micros(row.at),
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            cost_pico=row.cost_pico,
            realtime_pico=row.realtime_pico,
        )
        for row in connection.execute(sa.select(table).where(table.c.request_id == request_id))
    }


def _answer(connection: Connection, request_id: int) -> Answer | None:
    table, submission = tables.answer, tables.submission
    row = connection.execute(
        sa.select(table, submission.c.batch_id)
        .outerjoin(submission, submission.c.id == table.c.submission_id)
        .where(table.c.request_id == request_id)
    ).first()
    if row is None:
        return None
    return Answer(
        request_id=request_id,
        submission_id=row.submission_id,
        batch_id=row.batch_id,
        produced_at=from_micros(row.produced_at),
        model=row.model,
        output=row.output,
        dimensions=None if row.vector is None else len(row.vector) // _FLOAT_BYTES,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cached_tokens=row.cached_tokens,
        cache_write_tokens=row.cache_write_tokens,
        cost_pico=row.cost_pico,
        realtime_pico=row.realtime_pico,
    )


def _previous(connection: Connection, wanted: Row[Any]) -> Previous | None:
    answer = None if wanted.previous_id is None else _answer(connection, wanted.previous_id)
    if answer is None:
        return None
    as_of = wanted.previous_as_of
    return Previous(answer=answer, as_of=None if as_of is None else from_micros(as_of))


def _dead_letter(connection: Connection, request_id: int) -> DeadLetter | None:
    table = tables.dead_letter
    row = connection.execute(sa.select(table).where(table.c.request_id == request_id)).first()
    if row is None:
        return None
    return DeadLetter(reason=row.reason, message=row.message, at=from_micros(row.at), fate=Fate(row.fate))


def _sharers(connection: Connection, row: Row[Any]) -> tuple[int, list[Sharer]]:
    """How many other rows want the same request, and the first of them."""
    wanted, target = tables.wanted, tables.target
    mine = sa.and_(wanted.c.target_id == row.target_id, wanted.c.key == row.key)
    same = sa.and_(wanted.c.request_id == row.request_id, ~mine)
    count = connection.execute(sa.select(sa.func.count()).select_from(wanted).where(same)).scalar_one()
    query = (
        sa.select(target.c.asset, target.c.partition_key, wanted.c.key)
        .select_from(wanted)
        .join(target, target.c.id == wanted.c.target_id)
        .where(same)
        .order_by(target.c.asset, target.c.partition_key, wanted.c.key)
        .limit(SHARERS_SHOWN)
    )
    found = [
        Sharer(asset=each.asset, partition_key=each.partition_key, key=each.key) for each in connection.execute(query)
    ]
    return int(count), found


def _body(
    ledger: Ledger, connection: Connection, chunk: ChunkRecord, ordinal: int, letters: str
) -> tuple[dict[str, Any] | None, str | None]:
    """The request as it stands in its spool file, or why it cannot be shown; that makes nothing else unreadable."""
    if chunk.spool is None:
        return None, "its spool file was pruned after the answers were stored"
    table = tables.chunk_offsets
    stored = connection.execute(sa.select(table.c.offsets).where(table.c.chunk_id == chunk.id)).scalar()
    if stored is None:
        return None, "the ledger does not say where it stands in its spool file"
    offsets = spool.read_offsets(stored)
    end = offsets[ordinal + 1] if ordinal + 1 < len(offsets) else None
    try:
        line = _line(ledger.spool / chunk.spool, offsets[ordinal], end)
    except (OSError, ValueError) as error:
        return None, f"its spool file {chunk.spool} cannot be read ({error})"
    if letters not in str(line.get("custom_id")):
        return None, f"its spool file {chunk.spool} holds another request in its place"
    return line.get("body") or line.get("params"), None


def _line(path: Path, start: int, end: int | None) -> dict[str, Any]:
    with path.open("rb") as file:
        file.seek(start)
        text = file.read(-1 if end is None else end - start).decode()
    # what follows the line is the provider's separator or the end of its document
    parsed, _ = json.JSONDecoder().raw_decode(text)
    return parsed if isinstance(parsed, dict) else {}
