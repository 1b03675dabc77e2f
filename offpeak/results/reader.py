"""`offpeak.read`: bought rows for programs outside Dagster, behind the same gate as every consumer.

It needs the ledger's database and nothing else: no project, no definitions, no spool files, no keys. Nothing is
created, migrated or bought by reading.
"""

import warnings
from collections.abc import Sequence
from datetime import timedelta

import pandas as pd

from offpeak.errors import DefinitionError, StaleInput, StaleInputWarning, did_you_mean
from offpeak.freshness.gate import OnStale, Rows, Tolerance
from offpeak.ledger.ledger import existing
from offpeak.ledger.location import default_database_url
from offpeak.results.admission import admit
from offpeak.results.store import ResultStore

CONSUMER = "offpeak.read"


def read(
    asset: str,
    *,
    max_staleness: timedelta,
    min_coverage: float = 1.0,
    on_stale: OnStale = "fail",
    rows: Rows = "all",
    partitions: Sequence[str] | str | None = None,
    database_url: str | None = None,
) -> pd.DataFrame:
    """The rows of a batch asset as one frame, as a Dagster consumer would get them.

    `asset` is the key as Dagster prints it ("prefix/name"). `max_staleness` is the age that the oldest row may have,
    `min_coverage` the share (0 to 1) of wanted rows that must have an answer. With `on_stale="warn"` older or fewer
    rows are read all the same, with a StaleInputWarning; with `rows="drop_stale"` rows that are too old are left out,
    and count as missing. `partitions` names one partition or several; None reads all that ever landed. `database_url`
    is the ledger's; None takes OFFPEAK_DATABASE_URL, then the SQLite file in the `.offpeak/` of the project around the
    current folder.

    Raises StaleInput when rows are older or fewer than that or have never landed, DefinitionError for a tolerance that
    makes no sense, ConfigurationError and LedgerUnreadable when there is no ledger to read.
    """
    tolerance = Tolerance(max_staleness=max_staleness, min_coverage=min_coverage, on_stale=on_stale, rows=rows)
    chosen = [partitions] if isinstance(partitions, str) else partitions
    if chosen is not None and not chosen:
        raise DefinitionError(f"{CONSUMER}(partitions={partitions!r}) names none. Leave it out to read all of them.")
    with existing(database_url or default_database_url()) as database:
        store = ResultStore(database)
        _refuse_unknown(asset, store)
        admitted = admit(
            store,
            consumer=CONSUMER,
            asset=asset,
            partitions=chosen,
            tolerance=tolerance,
            promise=None,
            warn=_warn,
            declared_as="read(..., max_staleness={})",
        )
        return store.frame(asset, partitions=chosen, output=None, not_before=admitted.not_before)


def _warn(warning: str) -> None:
    warnings.warn(warning, StaleInputWarning, stacklevel=4)


def _refuse_unknown(asset: str, store: ResultStore) -> None:
    """Raise StaleInput where the ledger knows no such asset at all; return where only its partitions are missing."""
    known = store.assets()
    if asset in known:
        return
    raise StaleInput(
        f"{CONSUMER} reads {asset}, and no asset of that name has ever landed in this ledger. Nothing was read. "
        f"{did_you_mean(asset, known, nothing='Nothing has landed there at all.')}"
    )
