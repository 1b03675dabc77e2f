"""Requests that another model answers for now, because the queue of their own is full.

The request itself is let go on record (see `dropping`); what is bought in its place is a request of its own: the same
body for another model, under a fingerprint that follows from the first one and that model. So it is bought once,
however often the queue is full, and a plan that finds room buys the first one, which nothing has changed. Until then
the row serves the stand-in's answer as it serves the one of a former request: what it wants stays what it was.

Every step here can be taken again: what is there already is found by its fingerprint.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.faultpoints import FaultPoint, reach
from offpeak.ledger import tables
from offpeak.ledger.chunking import ChunkWriter, wait_for
from offpeak.ledger.database import ROWS_PER_TRANSACTION, slices
from offpeak.ledger.lane import placement
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import DEGRADED, QUEUE_FULL
from offpeak.ledger.retrying import bodies
from offpeak.ledger.states import LIVE_CHUNKS, ChunkState
from offpeak.providers.base import Kind, Provider
from offpeak.providers.wire import for_model
from offpeak.requests.fingerprint import SIZE

_PERSON = b"offpeak/stand-in"
_IDS_PER_STATEMENT = 500


def stand_in_for(fingerprint: bytes, model: str) -> bytes:
    """The fingerprint of what `model` (without its provider) is asked in place of another one's request."""
    return hashlib.blake2b(fingerprint + model.encode(), digest_size=SIZE, person=_PERSON).digest()


@dataclass(frozen=True, slots=True)
class _LetGo:
    """A request of a job's that was let go for a stand-in."""

    request_id: int
    fingerprint: bytes
    chunk_id: int


@dataclass(frozen=True, slots=True)
class _StandIn:
    """What the ledger has of a stand-in."""

    request_id: int
    chunk_id: int
    live: bool
    answered: bool


def buy(ledger: Ledger, provider: Provider, job_id: int, *, kind: Kind, model: str, degrade_to: str) -> int:
    """Queue what stands in for the job's requests that were let go for it; returns how many requests are on their way.

    `model` is the job's own, `degrade_to` the one that is asked; both without their provider. What another job has
    queued already is waited for, and what was answered before is not bought again. What this job has tried and got no
    answer to is not tried again.
    """
    on_their_way = 0
    for page in _let_go(ledger, job_id):
        found = _stand_ins(ledger, [stand_in_for(each.fingerprint, degrade_to) for each in page])
        awaited = _awaited(ledger, job_id)
        joined: dict[int, int] = {}
        missing: dict[int, list[tuple[_LetGo, int]]] = {}
        for each in page:
            known = found.get(stand_in_for(each.fingerprint, degrade_to))
            if known is not None and known.live and known.chunk_id not in awaited:
                joined[known.chunk_id] = joined.get(known.chunk_id, 0) + 1
            elif known is None or not (known.live or known.answered or known.chunk_id in awaited):
                missing.setdefault(each.chunk_id, []).append((each, 0 if known is None else known.request_id))
        with ledger.database.write() as connection:
            wait_for(ledger, connection, job_id, list(joined))
        on_their_way += sum(joined.values()) + sum(map(len, missing.values()))
        _queue(ledger, provider, job_id, missing, kind=kind, model=model, degrade_to=degrade_to)
    return on_their_way


def _queue(
    ledger: Ledger,
    provider: Provider,
    job_id: int,
    missing: dict[int, list[tuple[_LetGo, int]]],
    *,
    kind: Kind,
    model: str,
    degrade_to: str,
) -> None:
    place = placement(ledger, job_id)
    for chunk_id, requests in missing.items():
        writer = ChunkWriter(
            ledger, provider, model=degrade_to, job_id=job_id, attempt=1, placement=place, degraded_from=model
        )
        try:
            texts = bodies(ledger, provider, chunk_id, [each.request_id for each, _ in requests])
            writer.add(
                kind,
                [
                    (stand_in_for(each.fingerprint, degrade_to), for_model(body, degrade_to), request_id)
                    for (each, request_id), body in zip(requests, texts, strict=True)
                ],
            )
            writer.close()
        finally:
            writer.discard()
        reach(FaultPoint.STAND_INS_QUEUED)


def serve(ledger: Ledger, job_id: int) -> int:
    """Have the job's rows serve the answers that stand in for theirs; returns how many rows do.

    Requests without one are let go for good, until the next plan. The rows are as old as the job's plan is.
    """
    dead, rows = tables.dead_letter, 0
    for page in _let_go(ledger, job_id):
        answered = _answered(ledger, page)
        with ledger.database.write() as connection:
            rows += _serve(connection, job_id, answered)
            without = [each.request_id for each in page if each.request_id not in answered]
            for part in slices(without, _IDS_PER_STATEMENT):
                connection.execute(dead.update().where(dead.c.request_id.in_(part)).values(reason=QUEUE_FULL))
        reach(FaultPoint.STAND_INS_SERVED)
    return rows


def count(ledger: Ledger, job_id: int) -> int:
    """How many rows of the job's serve a stand-in's answer for now."""
    dead, wanted, mine = tables.dead_letter, tables.wanted, tables.job_target
    query = (
        sa.select(sa.func.count())
        .select_from(dead)
        .join(wanted, wanted.c.request_id == dead.c.request_id)
        .join(mine, mine.c.target_id == wanted.c.target_id)
        .where(dead.c.reason == DEGRADED, mine.c.job_id == job_id)
    )
    with ledger.database.read() as connection:
        if connection.execute(sa.select(dead.c.request_id).where(dead.c.reason == DEGRADED).limit(1)).first() is None:
            return 0
        return int(connection.execute(query).scalar_one())


def _answered(ledger: Ledger, page: Sequence[_LetGo]) -> dict[int, int]:
    """By request, the newest stand-in of it that was answered."""
    with ledger.database.read() as connection:
        models = _models(connection)
    by_print = {stand_in_for(each.fingerprint, model): each.request_id for each in page for model in models}
    found = sorted(
        (known.request_id, by_print[print_])
        for print_, known in _stand_ins(ledger, list(by_print)).items()
        if known.answered
    )
    return {request_id: stand_in for stand_in, request_id in found}


def _serve(connection: Connection, job_id: int, answered: Mapping[int, int]) -> int:
    wanted, mine = tables.wanted, tables.job_target
    served = 0
    for target in connection.execute(sa.select(mine.c.target_id, mine.c.as_of).where(mine.c.job_id == job_id)).all():
        for part in slices(list(answered), _IDS_PER_STATEMENT):
            of_target = sa.and_(wanted.c.target_id == target.target_id, wanted.c.request_id.in_(part))
            rows = connection.execute(sa.select(wanted.c.key, wanted.c.request_id).where(of_target)).all()
            served += len(rows)
            if rows:
                connection.execute(
                    wanted.update()
                    .where(wanted.c.target_id == target.target_id, wanted.c.key == sa.bindparam("of"))
                    .values(previous_id=sa.bindparam("stand_in"), previous_as_of=target.as_of),
                    [{"of": row.key, "stand_in": answered[row.request_id]} for row in rows],
                )
    return served


def _models(connection: Connection) -> list[str]:
    """The models that ever stood in for others."""
    chunk = tables.chunk
    return list(
        connection.execute(sa.select(chunk.c.model).distinct().where(chunk.c.degraded_from.is_not(None))).scalars()
    )


def stand_ins_of(connection: Connection, request_ids: Sequence[int]) -> list[int]:
    """The requests that were ever bought in place of these, of every model."""
    request, models = tables.request, _models(connection)
    if not models:
        return []
    found: list[int] = []
    for part in slices(request_ids, max(_IDS_PER_STATEMENT // len(models), 1)):
        prints = connection.execute(sa.select(request.c.fingerprint).where(request.c.id.in_(part))).scalars().all()
        wanted = [stand_in_for(bytes(print_), model) for print_ in prints for model in models]
        found += connection.execute(sa.select(request.c.id).where(request.c.fingerprint.in_(wanted))).scalars().all()
    return found


def _let_go(ledger: Ledger, job_id: int) -> Iterator[list[_LetGo]]:
    """The job's requests that were let go for a stand-in, by id, a page at a time."""
    dead, request, wanted, mine = tables.dead_letter, tables.request, tables.wanted, tables.job_target
    rows = (
        sa.select(wanted.c.request_id).join(mine, mine.c.target_id == wanted.c.target_id).where(mine.c.job_id == job_id)
    )
    query = (
        sa.select(request.c.id, request.c.fingerprint, request.c.chunk_id)
        .join(dead, dead.c.request_id == request.c.id)
        .where(dead.c.reason == DEGRADED)
        .order_by(request.c.id)
        .limit(ROWS_PER_TRANSACTION)
    )
    after = 0
    while True:
        with ledger.database.read() as connection:
            if (
                connection.execute(sa.select(dead.c.request_id).where(dead.c.reason == DEGRADED).limit(1)).first()
                is None
            ):
                return
            page = connection.execute(query.where(request.c.id > after, request.c.id.in_(rows))).all()
        if not page:
            return
        after = page[-1].id
        yield [_LetGo(row.id, bytes(row.fingerprint), row.chunk_id) for row in page]


def _stand_ins(ledger: Ledger, fingerprints: Sequence[bytes]) -> dict[bytes, _StandIn]:
    request, chunk, answer = tables.request, tables.chunk, tables.answer
    query = (
        sa.select(
            request.c.fingerprint,
            request.c.id,
            request.c.chunk_id,
            chunk.c.state,
            answer.c.request_id.is_not(None).label("answered"),
        )
        .join(chunk, chunk.c.id == request.c.chunk_id)
        .outerjoin(answer, answer.c.request_id == request.c.id)
    )
    with ledger.database.read() as connection:
        return {
            bytes(row.fingerprint): _StandIn(
                row.id, row.chunk_id, ChunkState(row.state) in LIVE_CHUNKS, bool(row.answered)
            )
            for part in slices(fingerprints, _IDS_PER_STATEMENT)
            for row in connection.execute(query.where(request.c.fingerprint.in_(part)))
        }


def _awaited(ledger: Ledger, job_id: int) -> set[int]:
    link = tables.job_chunk
    with ledger.database.read() as connection:
        return set(connection.execute(sa.select(link.c.chunk_id).where(link.c.job_id == job_id)).scalars())
