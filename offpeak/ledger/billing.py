"""The bill: what each attempt cost, for whom it was bought, and how. Reckoned from the attempts whenever it is asked.

Every attempt that was billed is an answer or a failure in the ledger, with its cost as it was bought and its cost at a
realtime endpoint. It is counted once: for the partition that first asked the request (`attribution`). Of what others
wanted too before it was answered, each of the others pays the same whole number of pico-dollars, and the first one what
is left, so that shares add up to the cost exactly. Their share is money alone: attempts and tokens stay with the first.

What is billed is read chunk by chunk and added up by the database; memory does not grow with requests.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from offpeak.clock import from_micros, to_micros
from offpeak.ledger import tables
from offpeak.ledger.attempts import carried_by
from offpeak.ledger.database import slices
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import PAID_TWICE, POSSIBLY_PAID
from offpeak.ledger.states import SubmissionState

MONEY = (
    "cost_pico", "realtime_pico", "cache_saved_pico", "unusable_pico", "paid_twice_pico", "possibly_paid_twice_pico",
)  # fmt: skip
COUNTS = (
    "answers", "failed", "unusable", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one submission cost one partition. Money is whole pico-dollars (1e-12 $)."""

    day: date
    """The UTC day on which it was bought: its batch was created, or its calls began."""
    asset: str
    partition_key: str | None
    """None where the ledger does not know which of a job's partitions asked."""
    job_id: int
    submission_id: int
    lane: Lane
    tier: str
    """Whose price was paid: batch, realtime or flex."""
    rescue: bool
    """It was bought at realtime price because of a deadline."""
    model: str
    """As "provider/model"."""
    attempt: int
    """From 1."""
    share: bool = False
    """A part of what another partition bought. Attempts and tokens are counted there."""
    answers: int = 0
    failed: int = 0
    """Attempts that brought no usable answer."""
    unusable: int = 0
    """Of these, how many were billed."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cost_pico: int = 0
    realtime_pico: int = 0
    """What the same attempts would have cost at realtime endpoints."""
    cache_saved_pico: int = 0
    """What they would have cost more without a cache; below nought where writing it cost more than it saved."""
    unusable_pico: int = 0
    """The part of the cost that brought no usable answer."""
    paid_twice_pico: int = 0
    """The part of that which brought answers that had been bought already."""
    possibly_paid_twice_pico: int = 0
    """Not part of the cost: what may have been billed besides, for calls and batches of which no answer came. By the
    price of the answer that was bought in their place, or by estimate."""


def lines(ledger: Ledger, *, since: datetime, until: datetime) -> Iterator[Line]:
    """What was bought from `since` up to before `until`, in the order in which it was queued."""
    with ledger.database.read() as connection:
        submissions = connection.execute(_submissions(since, until)).all()
    for _, of_chunk in groupby(submissions, key=lambda row: row.chunk_id):
        bought = list(of_chunk)
        with ledger.database.read() as connection:
            found = _of_chunk(connection, bought)
        yield from found


def _submissions(since: datetime, until: datetime) -> sa.Select[Any]:
    chunk, submission, job, link = tables.chunk, tables.submission, tables.job, tables.job_chunk
    first = sa.select(sa.func.min(link.c.job_id)).where(link.c.chunk_id == chunk.c.id).scalar_subquery()
    buyer = sa.func.coalesce(chunk.c.billed_job_id, first)
    at = sa.func.coalesce(submission.c.create_at, submission.c.intended_at)
    return (
        sa.select(
            submission.c.id.label("submission_id"),
            submission.c.batch_id,
            at.label("at"),
            chunk.c.id.label("chunk_id"),
            *(chunk.c[name] for name in _OF_CHUNK),
            job.c.id.label("job_id"),
            job.c.asset,
        )
        .join(chunk, chunk.c.id == submission.c.chunk_id)
        .join(job, job.c.id == buyer)
        .where(at >= to_micros(since), at < to_micros(until))
        .order_by(chunk.c.id, submission.c.id)
    )


_OF_CHUNK = (
    "requests", "first_request", "realm", "model", "lane", "attempt", "stamp", "rescues", "rescue_at", "twice_at",
    "twice_pico",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Segment:
    """Requests of a chunk that were first asked by one partition."""

    target_id: int | None
    which: sa.ColumnElement[bool]
    """Of `_attempt.c.request_id`."""


def _of_chunk(connection: Connection, bought: Sequence[Row[Any]]) -> list[Line]:
    segments = _segments(connection, bought[0])
    names = _names(connection, [segment.target_id for segment in segments])
    known = {row.submission_id: row for row in bought}
    found: list[Line] = []
    for segment in segments:
        sums = _sums(connection, segment, bought)
        shared = _shares(connection, segment, bought)
        given: defaultdict[tuple[int, str], list[int]] = defaultdict(lambda: [0] * len(MONEY))
        for share in shared:
            mine = given[share.submission_id, share.tier]
            given[share.submission_id, share.tier] = [
                have + int(getattr(share, name)) for have, name in zip(mine, MONEY, strict=True)
            ]
        asset, partition = names.get(segment.target_id, (bought[0].asset, None))
        for row in sums:
            parts = given[row.submission_id, row.tier]
            money = {name: int(getattr(row, name)) - part for name, part in zip(MONEY, parts, strict=True)}
            counts = {name: int(getattr(row, name)) for name in COUNTS}
            found.append(
                _line(known[row.submission_id], row.tier, asset=asset, partition_key=partition, **counts, **money)
            )
        found += [
            _line(
                known[share.submission_id],
                share.tier,
                asset=share.asset,
                partition_key=share.partition_key,
                job_id=share.job_id,
                share=True,
                **{name: int(getattr(share, name)) for name in MONEY},
            )
            for share in shared
        ]
    found += _lost_batches(connection, bought, names, segments)
    return found


def _line(submission: Row[Any], tier: str, **more: Any) -> Line:
    lane = _lane(submission)
    rescued = submission.rescues is not None or submission.rescue_at is not None
    values = {
        "day": from_micros(submission.at).date(),
        "job_id": submission.job_id,
        "submission_id": submission.submission_id,
        "lane": lane,
        "tier": tier,
        "rescue": lane is Lane.BACKGROUND and rescued,
        "model": f"{submission.realm.partition(':')[0]}/{submission.model}",
        "attempt": submission.attempt,
    }
    return Line(**values | more)


def _lane(submission: Row[Any]) -> Lane:
    """What had a batch was bought so, in whichever lane its chunk was bought again."""
    return Lane.BATCH if submission.batch_id is not None else Lane(submission.lane)


_failure, _answer = tables.failure, tables.answer
_replaced = (
    sa.select(sa.func.coalesce(sa.func.max(_answer.c.realtime_pico), 0))
    .where(_answer.c.request_id == _failure.c.request_id)
    .scalar_subquery()
)
_SAME = (
    "request_id", "submission_id", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens",
    "cost_pico", "realtime_pico", "cache_saved_pico",
)  # fmt: skip
_billed = sa.or_(_failure.c.cost_pico > 0, _failure.c.output_tokens > 0)
_none = sa.literal(0)
_attempt = sa.union_all(
    sa.select(
        *(_answer.c[name] for name in _SAME),
        sa.literal(1).label("answers"),
        _none.label("failed"),
        _none.label("unusable"),
        _none.label("unusable_pico"),
        _none.label("paid_twice_pico"),
        _none.label("possibly_paid_twice_pico"),
    ),
    sa.select(
        *(_failure.c[name] for name in _SAME),
        _none.label("answers"),
        sa.literal(1).label("failed"),
        sa.case((_billed, 1), else_=0).label("unusable"),
        _failure.c.cost_pico.label("unusable_pico"),
        sa.case((_failure.c.reason == PAID_TWICE, _failure.c.cost_pico), else_=0).label("paid_twice_pico"),
        sa.case((_failure.c.reason == POSSIBLY_PAID, _replaced), else_=0).label("possibly_paid_twice_pico"),
    ),
).subquery("attempt")
"""Answers and failures side by side."""


def _tier(bought: Sequence[Row[Any]]) -> sa.Label[str]:
    """Whose price an attempt was bought at. Of what was called, flex processing is the one cheaper way."""
    on_batch = [row.submission_id for row in bought if _lane(row) is Lane.BATCH]
    return sa.case(
        (_attempt.c.submission_id.in_(on_batch), "batch"),
        (_attempt.c.cost_pico < _attempt.c.realtime_pico, "flex"),
        else_="realtime",
    ).label("tier")


def _sums(connection: Connection, segment: _Segment, bought: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
    """By submission and tier, everything that its attempts took and cost."""
    tier, submissions = _tier(bought), [row.submission_id for row in bought]
    query = (
        sa.select(
            _attempt.c.submission_id,
            tier,
            *(sa.func.sum(_attempt.c[name]).label(name) for name in (*COUNTS, *MONEY)),
        )
        .where(segment.which, _attempt.c.submission_id.in_(submissions))
        .group_by(_attempt.c.submission_id, tier)
        .order_by(_attempt.c.submission_id, tier)
    )
    return connection.execute(query).all()


def _shares(connection: Connection, segment: _Segment, bought: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
    """The same for each partition that wanted some of it too: its part of the money."""
    tier, submissions = _tier(bought), [row.submission_id for row in bought]
    share, other, mine, target = tables.share, tables.share.alias("other"), tables.job_target, tables.target
    valid, valid_other = mine.alias("valid"), mine.alias("valid_other")

    def counts(table: sa.FromClause, job_target: sa.FromClause) -> sa.ColumnElement[bool]:
        return sa.and_(
            table.c.target_id != (segment.target_id or 0),
            sa.exists().where(job_target.c.job_id == table.c.job_id, job_target.c.target_id == table.c.target_id),
        )

    payers = (
        sa.select(sa.func.count() + 1)
        .where(other.c.request_id == share.c.request_id, counts(other, valid_other))
        .scalar_subquery()
    )
    query = (
        sa.select(
            _attempt.c.submission_id,
            tier,
            target.c.asset,
            target.c.partition_key,
            share.c.job_id,
            *(sa.func.sum(_attempt.c[name] // payers).label(name) for name in MONEY),
        )
        .select_from(share)
        .join(_attempt, _attempt.c.request_id == share.c.request_id)
        .join(target, target.c.id == share.c.target_id)
        .where(segment.which, _attempt.c.submission_id.in_(submissions), counts(share, valid))
        .group_by(_attempt.c.submission_id, tier, target.c.asset, target.c.partition_key, share.c.job_id)
        .order_by(_attempt.c.submission_id, target.c.asset, target.c.partition_key)
    )
    return connection.execute(query).all()


def _segments(connection: Connection, chunk: Row[Any]) -> list[_Segment]:
    """The chunk's requests by the partition that first asked them."""
    mine, member, request_id = tables.job_target, tables.chunk_member, _attempt.c.request_id
    targets = connection.execute(sa.select(mine.c.target_id).where(mine.c.job_id == chunk.job_id)).scalars().all()
    if len(targets) <= 1:
        return [_Segment(targets[0] if targets else None, carried_by(chunk, request_id))]
    members, first = sa.select(member.c.request_id).where(member.c.chunk_id == chunk.chunk_id), chunk.first_request
    ids: Iterable[int] = (
        connection.execute(members).scalars().all() if first is None else range(first, first + chunk.requests)
    )
    runs = _runs(connection, targets)
    if first is None:
        by_target: defaultdict[int | None, list[int]] = defaultdict(list)
        for each in ids:
            by_target[_first_asker(runs, each)].append(each)
        return [
            _Segment(target, request_id.in_(part)) for target, found in by_target.items() for part in slices(found, 500)
        ]
    found: list[_Segment] = []
    for target, run in groupby(ids, key=lambda each: _first_asker(runs, each)):
        numbers = list(run)
        found.append(_Segment(target, request_id.between(numbers[0], numbers[-1])))
    return found


def _runs(connection: Connection, targets: Sequence[int]) -> list[tuple[int, int, int]]:
    bought = tables.bought
    query = sa.select(bought).where(bought.c.target_id.in_(targets)).order_by(bought.c.first_request)
    return [(row.first_request, row.requests, row.target_id) for row in connection.execute(query)]


def _first_asker(runs: Sequence[tuple[int, int, int]], request_id: int) -> int | None:
    place = bisect_right(runs, request_id, key=lambda run: run[0]) - 1
    if place < 0:
        return None
    first, length, target = runs[place]
    return target if request_id < first + length else None


def _names(connection: Connection, targets: Iterable[int | None]) -> dict[int | None, tuple[str, str]]:
    target = tables.target
    wanted = {each for each in targets if each is not None}
    rows = connection.execute(sa.select(target).where(target.c.id.in_(wanted)))
    return {row.id: (row.asset, row.partition_key) for row in rows}


def _lost_batches(
    connection: Connection,
    bought: Sequence[Row[Any]],
    names: dict[int | None, tuple[str, str]],
    segments: Sequence[_Segment],
) -> list[Line]:
    """What a batch may have cost that was bought again before anybody knew, for as long as nobody does."""
    chunk = bought[0]
    if chunk.twice_at is None or not chunk.twice_pico:
        return []
    submission = tables.submission
    known = sa.select(submission.c.id).where(
        submission.c.chunk_id == chunk.chunk_id,
        submission.c.id < chunk.stamp,
        submission.c.state == SubmissionState.APPLIED.value,
    )
    lost = [row for row in bought if row.submission_id < chunk.stamp]
    if not lost or connection.execute(known.limit(1)).first() is not None:
        return []
    targets = {segment.target_id for segment in segments}
    asset, partition = names.get(next(iter(targets)), (chunk.asset, None)) if len(targets) == 1 else (chunk.asset, None)
    return [
        _line(
            lost[-1],
            Lane.BATCH.value,
            asset=asset,
            partition_key=partition,
            possibly_paid_twice_pico=int(chunk.twice_pico),
        )
    ]
