"""Until when rows are effective, of many at a time, for those who want to know what will be served: not the rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from offpeak.clock import from_micros
from offpeak.ledger import tables
from offpeak.ledger.database import Database
from offpeak.results.store import as_of_served, select_served


def effective_until(database: Database, asset: str, partition: str, keys: Sequence[str]) -> Mapping[str, datetime]:
    """Until when what each key of a partition serves is effective, in UTC; without the keys that have no answer.

    One query, by indexes alone. Give no more than a thousand keys or so.
    """
    given = {"asset": asset, "partition": partition, "keys": list(keys)}
    with database.read() as connection:
        rows = connection.execute(_query(), given).all()
    return {key: from_micros(as_of + valid_for) for key, as_of, valid_for in rows if as_of is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One asset's partition of a launch, as it landed last. Times are in UTC."""

    asset: str
    landed_at: datetime | None
    """When the job closed whose plan is valid; None while it is open."""
    rows: int
    """That serve an answer."""
    missing: int
    """Wanted rows without one."""
    as_of: datetime | None
    """The oldest row's; None without rows."""
    effective_until: datetime | None
    """Of the row that goes stale first; None without rows."""


def prepared(database: Database, partition: str) -> Sequence[Prepared]:
    """Every asset that has planned this partition, in order."""
    with database.read() as connection:
        rows = connection.execute(_prepared_query(), {"partition": partition}).all()
    return [
        Prepared(
            asset=row.asset,
            landed_at=None if row.closed_at is None else from_micros(row.closed_at),
            rows=row.rows,
            missing=row.wanted - row.rows,
            as_of=None if row.as_of is None else from_micros(row.as_of),
            effective_until=None if row.as_of is None else from_micros(row.as_of + row.valid_for),
        )
        for row in rows
    ]


@cache
def _query() -> sa.Select[Any]:
    current, former = tables.answer.alias("current"), tables.answer.alias("former")
    key = tables.wanted.c.key
    return select_served(current, former, key, as_of_served(current, former), tables.target.c.valid_for).where(
        key.in_(sa.bindparam("keys", expanding=True))
    )


@cache
def _prepared_query() -> sa.Select[Any]:
    current, former = tables.answer.alias("current"), tables.answer.alias("former")
    target, wanted, job = tables.target, tables.wanted, tables.job
    as_of = as_of_served(current, former)
    return (
        sa.select(
            target.c.asset,
            target.c.valid_for,
            job.c.closed_at,
            sa.func.count(wanted.c.key).label("wanted"),
            sa.func.count(as_of).label("rows"),
            sa.func.min(as_of).label("as_of"),
        )
        .select_from(
            target.join(job, job.c.id == target.c.job_id)
            .outerjoin(wanted, wanted.c.target_id == target.c.id)
            .outerjoin(current, current.c.request_id == wanted.c.request_id)
            .outerjoin(former, sa.and_(current.c.request_id.is_(None), former.c.request_id == wanted.c.previous_id))
        )
        .where(target.c.partition_key == sa.bindparam("partition"))
        .group_by(target.c.asset, target.c.valid_for, job.c.closed_at)
        .order_by(target.c.asset)
    )
