"""`offpeak.read`: bought rows for programs outside Dagster, behind the same gate as every consumer.

It needs the ledger's database and nothing else: no project, no definitions, no spool files, no keys. Nothing is
created, migrated or bought by reading.
"""

from collections.abc import Sequence
from datetime import timedelta

import pandas as pd

from offpeak.clock import SystemClock
from offpeak.errors import StaleInput, did_you_mean
from offpeak.freshness.gate import InputState, Tolerance, judge
from offpeak.ledger.ledger import existing
from offpeak.ledger.location import default_database_url
from offpeak.results.store import ResultStore

CONSUMER = "offpeak.read"


def read(
    asset: str,
    *,
    max_staleness: timedelta,
    min_coverage: float = 1.0,
    partitions: Sequence[str] | str | None = None,
    database_url: str | None = None,
) -> pd.DataFrame:
    """The rows of a batch asset as one frame, as a Dagster consumer would get them.

    `asset` is the key as Dagster prints it ("prefix/name"). `max_staleness` is the age that the oldest row may have,
    `min_coverage` the share (0 to 1) of wanted rows that must have an answer. `partitions` names one partition or
    several; None reads all that ever landed. `database_url` is the ledger's; None takes OFFPEAK_DATABASE_URL, then
    the SQLite file in the `.offpeak/` of the project around the current folder.

    Raises StaleInput when rows are older or fewer than that or have never landed, DefinitionError for a tolerance that
    makes no sense, ConfigurationError and LedgerUnreadable when there is no ledger to read.
    """
    tolerance = Tolerance(max_staleness=max_staleness, min_coverage=min_coverage)
    chosen = [partitions] if isinstance(partitions, str) else partitions
    with existing(database_url or default_database_url()) as database:
        store = ResultStore(database)
        summary = store.summary(asset, chosen)
        if not summary.partitions:
            _refuse_unknown(asset, store)
        landed = {each.partition_key for each in summary.partitions}
        promises = [each.effective_until - each.as_of for each in summary.partitions]
        judge(
            InputState(
                asset=asset,
                as_of=summary.as_of,
                rows=summary.rows,
                missing=summary.missing,
                promise=min(promises, default=None),
                not_landed=[each for each in chosen or () if each not in landed],
            ),
            tolerance,
            consumer=CONSUMER,
            now=SystemClock().now(),
            declared_as="read(..., max_staleness={})",
        )
        return store.frame(asset, partitions=chosen, output=None)


def _refuse_unknown(asset: str, store: ResultStore) -> None:
    """Raise StaleInput where the ledger knows no such asset at all; return where only its partitions are missing."""
    known = store.assets()
    if asset in known:
        return
    raise StaleInput(
        f"{CONSUMER} reads {asset}, and no asset of that name has ever landed in this ledger. Nothing was read. "
        f"{did_you_mean(asset, known, nothing='Nothing has landed there at all.')}"
    )
