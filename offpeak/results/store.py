"""The bought rows, read: which answer each key serves now, and how old it is.

Nothing is copied to be read. A key serves the answer of the request it wants; where that has not landed, the answer it
served before, with the age that one had. So a changed row never shows a new text's place with an old text's freshness,
and a row that was found unchanged is as fresh as the plan that looked at it.
"""

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import orjson
import pandas as pd
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.engine import Connection, Row

from offpeak.clock import from_micros, to_micros
from offpeak.ledger import tables
from offpeak.ledger.database import Database
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import Fate
from offpeak.ledger.rescuing import answered_in_rescue
from offpeak.providers.base import Kind

_PICO = 1e-12
_MICROSECOND = timedelta(microseconds=1)
_LET_GO = tables.dead_letter.c.fate.in_([Fate.DROPPED.value, Fate.DISCARDED.value])
_PAGE = 10_000

MODERATION_COLUMNS = ("flagged", "categories", "category_scores")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSummary:
    """One partition as it stands. An unpartitioned asset is one partition with the key ""."""

    partition_key: str
    rows: int
    """Wanted rows that serve an answer."""
    missing: int
    """Wanted rows that have none to serve."""
    unanswered: int
    """Wanted rows whose own request has no answer: the missing ones, and those that serve a former answer."""
    dropped: int
    """Those of them that were let go on record: nobody waits for an answer to them."""
    fresh: int
    """Rows that are at least as young as was asked for; all of them where nothing was."""
    fresh_as_of: datetime | None
    """The oldest of these; None without any."""
    as_of: datetime
    """The oldest row's; of an empty partition, the plan's."""
    produced_at: datetime | None
    """The oldest answer's; None without rows."""
    effective_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstStale:
    """The row of a partition that gets stale first, and when."""

    key: str
    at: datetime
    """Its `effective_until`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSummary:
    """Several partitions of one asset together. Without any, the times are None."""

    rows: int
    missing: int
    fresh: int
    fresh_as_of: datetime | None
    as_of: datetime | None
    produced_at: datetime | None
    effective_until: datetime | None
    partitions: Sequence[PartitionSummary]


class ResultStore:
    """Reads what a ledger holds for its assets. Asset keys are as Dagster prints them: "prefix/name".

    The database of a ledger is enough: reading needs no spool files.
    """

    def __init__(self, ledger: Ledger | Database) -> None:
        self.database = ledger.database if isinstance(ledger, Ledger) else ledger

    def assets(self) -> list[str]:
        """The assets that have ever landed a plan, in order."""
        table = tables.target
        query = sa.select(table.c.asset).where(table.c.job_id.is_not(None)).distinct().order_by(table.c.asset)
        with self.database.read() as connection:
            return list(connection.execute(query).scalars())

    def partitions(self, asset: str) -> list[str]:
        """The partitions of an asset that were ever planned to the end, in order; [""] for one without any."""
        with self.database.read() as connection:
            return [row.partition_key for row in self._targets(connection, asset, None)]

    def summary(
        self, asset: str, partitions: Sequence[str] | None, *, not_before: datetime | None = None
    ) -> StoreSummary:
        """How many rows there are and how old they are; `partitions` None means all that were ever planned.

        Rows that are `not_before` or younger count as fresh.
        """
        current, former = tables.answer.alias("current"), tables.answer.alias("former")
        served = sa.func.coalesce(current.c.request_id, former.c.request_id)
        as_of = as_of_served(current, former)
        fresh = as_of >= (-sys.maxsize if not_before is None else to_micros(not_before))
        found: list[PartitionSummary] = []
        with self.database.read() as connection:
            for target in self._targets(connection, asset, partitions):
                row = connection.execute(
                    sa.select(
                        sa.func.count().label("wanted"),
                        sa.func.count(served).label("rows"),
                        sa.func.count(current.c.request_id).label("answered"),
                        sa.func.count().filter(current.c.request_id.is_(None), _LET_GO).label("dropped"),
                        sa.func.count().filter(fresh).label("fresh"),
                        sa.func.min(as_of).filter(fresh).label("fresh_as_of"),
                        sa.func.min(as_of).label("as_of"),
                        sa.func.min(sa.func.coalesce(current.c.produced_at, former.c.produced_at)).label("produced_at"),
                    )
                    .select_from(rows_served(current, former))
                    .join(tables.target, tables.target.c.id == tables.wanted.c.target_id)
                    .outerjoin(tables.dead_letter, tables.dead_letter.c.request_id == tables.wanted.c.request_id)
                    .where(tables.wanted.c.target_id == target.id)
                ).one()
                oldest = from_micros(target.as_of if row.as_of is None else row.as_of)
                found.append(
                    PartitionSummary(
                        partition_key=target.partition_key,
                        rows=row.rows,
                        missing=row.wanted - row.rows,
                        unanswered=row.wanted - row.answered,
                        dropped=row.dropped,
                        fresh=row.fresh,
                        fresh_as_of=None if row.fresh_as_of is None else from_micros(row.fresh_as_of),
                        as_of=oldest,
                        produced_at=None if row.produced_at is None else from_micros(row.produced_at),
                        effective_until=oldest + target.valid_for * _MICROSECOND,
                    )
                )
        return StoreSummary(
            rows=sum(each.rows for each in found),
            missing=sum(each.missing for each in found),
            fresh=sum(each.fresh for each in found),
            fresh_as_of=min((each.fresh_as_of for each in found if each.fresh_as_of), default=None),
            as_of=min((each.as_of for each in found), default=None),
            produced_at=min((each.produced_at for each in found if each.produced_at), default=None),
            effective_until=min((each.effective_until for each in found), default=None),
            partitions=found,
        )

    def first_stale(self, asset: str, partition_key: str) -> FirstStale | None:
        """The row that gets stale first, of several the first by key; None where no row serves an answer."""
        current, former = tables.answer.alias("current"), tables.answer.alias("former")
        as_of = as_of_served(current, former).label("as_of")
        with self.database.read() as connection:
            for target in self._targets(connection, asset, [partition_key]):
                row = connection.execute(
                    sa.select(tables.wanted.c.key, as_of)
                    .select_from(rows_served(current, former))
                    .join(tables.target, tables.target.c.id == tables.wanted.c.target_id)
                    .where(tables.wanted.c.target_id == target.id, as_of_served(current, former).is_not(None))
                    .order_by(as_of, tables.wanted.c.key)
                    .limit(1)
                ).first()
                if row is not None:
                    return FirstStale(key=row.key, at=from_micros(row.as_of + target.valid_for))
        return None

    def data_version(self, asset: str, partition_key: str) -> str:
        """A digest of which answer each key serves: equal as long as a consumer would read the same rows."""
        current, former = tables.answer.alias("current"), tables.answer.alias("former")
        served = sa.func.coalesce(current.c.request_id, former.c.request_id).label("served")
        digest = hashlib.blake2b(digest_size=16)
        for rows in self._pages(asset, [partition_key], [served], current, former, plain=True):
            digest.update(repr([row for row in rows if row[1] is not None]).encode())
        return digest.hexdigest()

    def frame(
        self,
        asset: str,
        *,
        partitions: Sequence[str] | None,
        output: type[BaseModel] | None,
        limit: int | None = None,
        not_before: datetime | None = None,
    ) -> pd.DataFrame:
        """The rows that serve an answer, ordered by partition and key, as a consumer sees them.

        `output` is the asset's output model; with None, its fields are those that the last plan wrote down.
        Columns: key; the output's fields, or text, or embedding (float32 arrays), or a moderation's flagged, categories
        and category_scores; partition_key where the asset is partitioned; as_of, produced_at, effective_until (UTC);
        model; cost_usd (dollars, float; what this answer cost at its lane's price); rescued (whether that was the
        realtime price, because its batch would have been late). `limit` stops after about so many. Rows that are older
        than `not_before` are left out.
        """
        declared = list(output.model_fields) if output is not None else None
        parts: list[pd.DataFrame] = []
        for kind, rows in self._served_rows(asset, partitions, not_before, page=min(limit or _PAGE, _PAGE)):
            parts.append(_frame(rows, kind, declared or _fields(rows[0].fields)))
            if limit is not None and sum(map(len, parts)) >= limit:
                break
        if not parts:
            with self.database.read() as connection:
                planned = self._targets(connection, asset, partitions)
            parts = [_frame([], None, declared or _fields(planned[0].fields if planned else None))]
        frame = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
        if "partition_key" in frame.columns and not frame["partition_key"].astype(bool).any():
            frame = frame.drop(columns="partition_key")
        return frame

    def _served_rows(
        self, asset: str, partitions: Sequence[str] | None, not_before: datetime | None, *, page: int
    ) -> Iterator[tuple[Kind | None, Sequence[Row[Any]]]]:
        current, former = tables.answer.alias("current"), tables.answer.alias("former")

        def either(name: str) -> sa.Label[Any]:
            return sa.func.coalesce(current.c[name], former.c[name]).label(name)

        as_of = as_of_served(current, former)
        young = [] if not_before is None else [as_of >= to_micros(not_before)]
        chosen = [
            *(either(name) for name in ("request_id", "produced_at", "model", "output", "vector", "cost_pico")),
            as_of.label("as_of"),
            rescued_served(current, former).label("rescued"),
            tables.target.c.valid_for,
            tables.target.c.partition_key,
            tables.target.c.fields,
            tables.job.c.kind,
        ]
        for rows in self._pages(asset, partitions, chosen, current, former, page, where=young):
            served = [row for row in rows if row.request_id is not None]
            if served:
                kind = served[0].kind
                yield None if kind is None else Kind(kind), served

    def _pages(
        self,
        asset: str,
        partitions: Sequence[str] | None,
        columns: Sequence[Any],
        current: sa.FromClause,
        former: sa.FromClause,
        page: int = _PAGE,
        *,
        plain: bool = False,
        where: Sequence[sa.ColumnElement[bool]] = (),
    ) -> Iterator[Sequence[Any]]:
        """Rows of each target in key order, page by page; no transaction stays open between two pages.

        The key comes first. With `plain`, rows are the driver's tuples, of `wanted` and its answers alone.
        """
        with self.database.read() as connection:
            targets = self._targets(connection, asset, partitions)
        for target in targets:
            after: str | None = None
            while True:
                source = rows_served(current, former)
                if not plain:
                    source = source.join(tables.target, tables.target.c.id == tables.wanted.c.target_id).outerjoin(
                        tables.job, tables.job.c.id == tables.target.c.job_id
                    )
                query = (
                    sa.select(tables.wanted.c.key, *columns)
                    .select_from(source)
                    .where(tables.wanted.c.target_id == target.id, *where)
                    .order_by(tables.wanted.c.key)
                    .limit(page)
                )
                if after is not None:
                    query = query.where(tables.wanted.c.key > after)
                with self.database.read() as connection:
                    rows: Sequence[Any] = (
                        self.database.tuples(connection, query) if plain else connection.execute(query).all()
                    )
                if rows:
                    yield rows
                if len(rows) < page:
                    break
                after = rows[-1][0]

    def _targets(self, connection: Connection, asset: str, partitions: Sequence[str] | None) -> Sequence[Row[Any]]:
        table = tables.target
        query = (
            sa.select(table).where(table.c.asset == asset, table.c.job_id.is_not(None)).order_by(table.c.partition_key)
        )
        if partitions is not None:
            query = query.where(table.c.partition_key.in_(partitions))
        return connection.execute(query).all()


def rows_served(current: sa.FromClause, former: sa.FromClause) -> sa.Join:
    """Each wanted row with the answer of the request it wants or, where that has none, the one it served before."""
    wanted = tables.wanted
    return wanted.outerjoin(current, current.c.request_id == wanted.c.request_id).outerjoin(
        former, sa.and_(current.c.request_id.is_(None), former.c.request_id == wanted.c.previous_id)
    )


def as_of_served(current: sa.FromClause, former: sa.FromClause) -> sa.Case[Any]:
    """The age of what a row serves: NULL where that is nothing."""
    return sa.case(
        (current.c.request_id.is_not(None), tables.target.c.as_of),
        (former.c.request_id.is_not(None), tables.wanted.c.previous_as_of),
    )


def select_served(current: sa.FromClause, former: sa.FromClause, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Columns of what one partition serves, once it was planned. Binds `asset` and `partition`, "" for none."""
    target = tables.target
    return (
        sa.select(*columns)
        .select_from(rows_served(current, former).join(target, target.c.id == tables.wanted.c.target_id))
        .where(
            target.c.asset == sa.bindparam("asset"),
            target.c.partition_key == sa.bindparam("partition"),
            target.c.job_id.is_not(None),
        )
    )


def rescued_served(current: sa.FromClause, former: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether what a row serves was bought at realtime price because of a deadline."""
    return answered_in_rescue(sa.func.coalesce(current.c.submission_id, former.c.submission_id))


def _fields(stored: str | None) -> list[str] | None:
    return None if stored is None else list(orjson.loads(stored))


def _frame(rows: Sequence[Row[Any]], kind: Kind | None, fields: Sequence[str] | None) -> pd.DataFrame:
    data: dict[str, Any] = {"key": [row.key for row in rows]}
    if fields is not None:
        data |= _parsed(rows, fields)
    elif kind is Kind.EMBEDDING:
        data["embedding"] = [np.frombuffer(row.vector, dtype="<f4") for row in rows]
    elif kind is Kind.MODERATION:
        data |= _parsed(rows, MODERATION_COLUMNS)
    else:
        data["text"] = [row.output for row in rows]
    data["partition_key"] = [row.partition_key for row in rows]
    as_of = np.array([row.as_of for row in rows], dtype="int64")
    data["as_of"] = _times(as_of)
    data["produced_at"] = _times(np.array([row.produced_at for row in rows], dtype="int64"))
    data["effective_until"] = _times(as_of + np.array([row.valid_for for row in rows], dtype="int64"))
    data["model"] = [row.model for row in rows]
    data["cost_usd"] = np.array([row.cost_pico for row in rows], dtype="float64") * _PICO
    data["rescued"] = np.array([row.rescued for row in rows], dtype="bool")
    return pd.DataFrame(data)


def _parsed(rows: Sequence[Row[Any]], fields: Sequence[str]) -> Mapping[str, list[Any]]:
    values = [_object(row.output) for row in rows]
    return {field: [value.get(field) for value in values] for field in fields}


def _object(output: str | None) -> Mapping[str, Any]:
    """The fields of a stored answer. A row that still serves an answer of a former, other form has none of them."""
    try:
        value = orjson.loads(output or "{}")
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _times(micros: "np.ndarray[Any, np.dtype[np.int64]]") -> Any:
    return pd.to_datetime(micros, unit="us", utc=True).as_unit("us")
