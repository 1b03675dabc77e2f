"""How old the results of each batch asset are, and were, against what its contract promises."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Row

from offpeak.clock import from_micros, to_micros
from offpeak.ledger import tables
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import JobState
from offpeak.results.store import ResultStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Age:
    """One partition of an asset; an unpartitioned asset is one partition with the key ""."""

    asset: str
    partition_key: str
    as_of: datetime | None
    """Of its oldest row; None while no row has an answer."""
    valid_for: timedelta
    """What the contract promised when it was planned."""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.asset}, {self.partition_key}" if self.partition_key else self.asset

    def share(self, now: datetime) -> float:
        """The part of the promised age that it has reached; 1 is the end of the promise, and 0 without an answer."""
        return 0.0 if self.as_of is None else max((now - self.as_of) / self.valid_for, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetAges:
    """The partitions of one asset that were planned last."""

    asset: str
    partitions: int
    """All that were ever planned."""
    expired: int
    """How many of them are older than promised by their plan alone; single rows may be older than the plan."""
    newest: Sequence[Age]
    """Newest plan first, and never empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """What could be read of an asset from one moment on."""

    at: datetime
    as_of: datetime
    """Of the oldest row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgeHistory:
    """How old an asset's results were over time; of a partitioned one, the partition that was planned last by then."""

    asset: str
    valid_for: timedelta
    """What its contract promised when it was planned last."""
    landings: Sequence[Landing]
    """In order, and never empty. The first one may be earlier than what was asked for."""

    def age(self, now: datetime) -> timedelta:
        """Of what landed last."""
        return max(now - self.landings[-1].as_of, timedelta(0))

    def share(self, now: datetime) -> float:
        """The part of the promised age that it has reached; 1 is the end of the promise."""
        return self.age(now) / self.valid_for


def ages(ledger: Ledger, *, now: datetime, limit: int) -> list[AssetAges]:
    """Every asset with a plan, in order. `newest` holds about `limit` partitions over all assets, one each at least.

    The rows of those partitions are counted by the database; nothing is read for the others.
    """
    target = tables.target
    expired = sa.case((target.c.as_of + target.c.valid_for < to_micros(now), 1), else_=0)
    counts = (
        sa.select(target.c.asset, sa.func.count().label("partitions"), sa.func.sum(expired).label("expired"))
        .where(target.c.job_id.is_not(None))
        .group_by(target.c.asset)
        .order_by(target.c.asset)
    )
    newest = (
        sa.select(target.c.partition_key)
        .where(target.c.job_id.is_not(None), target.c.asset == sa.bindparam("asset"))
        .order_by(target.c.as_of.desc(), target.c.id.desc())
    )
    with ledger.database.read() as connection:
        assets = connection.execute(counts).all()
        each = max(1, limit // max(len(assets), 1))
        keys = {
            row.asset: list(connection.execute(newest.limit(each), {"asset": row.asset}).scalars()) for row in assets
        }
    store = ResultStore(ledger)
    return [
        AssetAges(
            asset=row.asset, partitions=row.partitions, expired=row.expired, newest=_newest(store, row.asset, chosen)
        )
        for row, chosen in ((row, keys[row.asset]) for row in assets)
    ]


def _newest(store: ResultStore, asset: str, keys: Sequence[str]) -> list[Age]:
    found = {
        each.partition_key: Age(
            asset=asset,
            partition_key=each.partition_key,
            as_of=each.as_of if each.rows else None,
            valid_for=each.effective_until - each.as_of,
        )
        for each in store.summary(asset, keys).partitions
    }
    return [found[key] for key in keys if key in found]


def past_ages(ledger: Ledger, *, since: datetime, until: datetime) -> list[AgeHistory]:
    """What landed of each asset from `since` to `until`, and what stood there at `since`; assets in order.

    Reads jobs and their partitions, and no rows: how old the oldest row was is written down when a job closes.
    """
    job, mine, target = tables.job, tables.job_target, tables.target
    # of a job that closed before that was written down, the plan's own age
    landed = sa.func.coalesce(mine.c.landed_as_of, sa.case((job.c.state.in_(_LANDED), mine.c.as_of)))
    newest = sa.func.row_number().over(
        partition_by=[mine.c.job_id], order_by=[mine.c.as_of.desc(), mine.c.target_id.desc()]
    )
    candidates = (
        sa.select(job.c.id, job.c.asset, job.c.closed_at, landed.label("as_of"), target.c.valid_for)
        .add_columns(newest.label("place"))
        .join(mine, mine.c.job_id == job.c.id)
        .join(target, target.c.id == mine.c.target_id)
        .where(landed.is_not(None), job.c.closed_at <= to_micros(until))
    )
    last_before = (
        sa.select(sa.func.max(job.c.id))
        .join(mine, mine.c.job_id == job.c.id)
        .where(landed.is_not(None), job.c.closed_at < to_micros(since))
        .group_by(job.c.asset)
    )
    chosen = sa.or_(job.c.closed_at >= to_micros(since), job.c.id.in_(last_before))
    of_jobs = candidates.where(chosen).subquery()
    query = sa.select(of_jobs).where(of_jobs.c.place == 1).order_by(of_jobs.c.asset, of_jobs.c.closed_at, of_jobs.c.id)
    found: dict[str, list[Row[Any]]] = {}
    with ledger.database.read() as connection:
        for row in connection.execute(query):
            before = found.setdefault(row.asset, [])
            if not before or before[-1].id < row.id:  # else a later plan had replaced it before it landed
                before.append(row)
    return [
        AgeHistory(
            asset=asset,
            valid_for=timedelta(microseconds=rows[-1].valid_for),
            landings=[Landing(at=from_micros(row.closed_at), as_of=from_micros(row.as_of)) for row in rows],
        )
        for asset, rows in found.items()
    ]


_LANDED = [JobState.COMPLETED.value, JobState.COMPLETED_WITH_PARTIAL_FAILURES.value]
