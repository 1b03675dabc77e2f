"""How old the results of each batch asset are, against what its contract promises."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from offpeak.clock import to_micros
from offpeak.ledger import tables
from offpeak.ledger.ledger import Ledger
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
