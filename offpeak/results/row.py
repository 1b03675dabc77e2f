"""One row, for a program that answers somebody who waits: a single query, by indexes alone."""

from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from offpeak.clock import from_micros, to_micros
from offpeak.ledger import tables
from offpeak.ledger.database import Database
from offpeak.results.store import as_of_served, select_served


class ServedRow(NamedTuple):
    """What a key serves. Times are in UTC."""

    key: str
    output: str | None
    """JSON of the output's fields, or plain text."""
    vector: bytes | None
    """Float32, little-endian."""
    model: str
    as_of: datetime
    effective_until: datetime


def served_row(database: Database, asset: str, partition: str, key: str, *, at: datetime) -> ServedRow | None:
    """What a key of a partition serves at a moment; None where it has no answer, or one that is not effective any more.

    An unpartitioned asset is the partition "".
    """
    given = {"asset": asset, "partition": partition, "key": key}
    with database.read() as connection:
        row = connection.execute(_query(), given).one_or_none()
    if row is None or row.model is None or to_micros(at) >= row.as_of + row.valid_for:
        return None
    return ServedRow(
        key=key,
        output=row.output,
        vector=row.vector,
        model=row.model,
        as_of=from_micros(row.as_of),
        effective_until=from_micros(row.as_of + row.valid_for),
    )


@cache
def _query() -> sa.Select[Any]:
    """Made once: making it takes longer than asking it."""
    current, former = tables.answer.alias("current"), tables.answer.alias("former")
    return select_served(
        current,
        former,
        *(sa.func.coalesce(current.c[name], former.c[name]).label(name) for name in ("model", "output", "vector")),
        as_of_served(current, former).label("as_of"),
        tables.target.c.valid_for,
    ).where(tables.wanted.c.key == sa.bindparam("key"))
