"""Consumers read rows through here, and never past their tolerance.

Writing does nothing: when a batch asset materialises, its rows are in the store already. Reading gives one frame for
one or many partitions, after the gate. A program that loads an asset by itself, outside any step (a notebook, a shell),
has declared nothing and reads the rows as they are, with their age in the columns.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
from pydantic import PrivateAttr

from offpeak.clock import SystemClock
from offpeak.errors import DefinitionError
from offpeak.freshness.gate import InputState, Tolerance, judge
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.location import default_database_url, offpeak_folder
from offpeak.results.producer import producer_in
from offpeak.results.store import ResultStore

RESULTS_KEY = "offpeak_results"
"""The resource key of the IO manager."""


class OffpeakResults(dg.ConfigurableIOManager):
    """The store of bought rows, and the ledger it lives in. Resource key `offpeak_results`.

    `database_url` is any SQLite or Postgres URL, by default OFFPEAK_DATABASE_URL and then SQLite in the project's
    `.offpeak/`. `spool_dir` is where request and result files are written: by default beside a SQLite file, and for
    Postgres in the project's `.offpeak/spool`, which has to be the same folder for every process that works on it.
    `keep_files_days` is how long those files are kept once their batch is through; the housekeeping job deletes them.
    """

    database_url: str | None = None
    spool_dir: str | None = None
    keep_files_days: float = 14.0

    _ledger: Ledger | None = PrivateAttr(default=None)

    @property
    def ledger(self) -> Ledger:
        """The open ledger; opened at first use and closed with the resource."""
        if self._ledger is None:
            url = self.database_url or default_database_url()
            spool_dir = Path(self.spool_dir) if self.spool_dir else None
            if spool_dir is None and not url.startswith("sqlite"):
                spool_dir = offpeak_folder() / "spool"
            self._ledger = Ledger.open(url, spool_dir=spool_dir)
        return self._ledger

    @property
    def store(self) -> ResultStore:
        return ResultStore(self.ledger)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 - Dagster's signature
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Nothing to do for a batch asset. Raises DefinitionError for any other: this store only holds bought rows."""
        if producer_in(context.definition_metadata) is None:
            raise DefinitionError(
                f"{context.asset_key.to_user_string()}: io_manager_key={RESULTS_KEY!r} only holds rows of batch "
                f"assets, so the {type(obj).__name__} was not stored. Use another IO manager."
            )

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        """The rows of one or many partitions as one frame. Raises StaleInput when the consumer tolerates less."""
        upstream = context.upstream_output
        producer = producer_in(upstream.definition_metadata if upstream is not None else None)
        asset = context.asset_key.to_user_string()
        if producer is None:
            raise DefinitionError(f"{asset} is not a batch asset, so {RESULTS_KEY} holds no rows of it.")
        partitions = list(context.asset_partition_keys) if context.has_asset_partitions else None
        consumer = _consumer(context)
        if consumer is not None:
            tolerance = Tolerance.from_metadata(context.definition_metadata)
            if tolerance is None:
                raise DefinitionError(undeclared(consumer, asset))
            admit(
                self.store,
                consumer=consumer,
                asset=asset,
                partitions=partitions,
                tolerance=tolerance,
                promise=producer.valid_for,
                now=SystemClock().now(),
            )
        return self.store.frame(asset, partitions=partitions, output=producer.output)


def admit(
    store: ResultStore,
    *,
    consumer: str,
    asset: str,
    partitions: Sequence[str] | None,
    tolerance: Tolerance,
    promise: timedelta | None,
    now: datetime,
) -> datetime | None:
    """Judge what `consumer` is about to read; return its `as_of` (None when no partition is read).

    Raises StaleInput when it may not be read.
    """
    if partitions is not None and not partitions:
        return None
    summary = store.summary(asset, partitions)
    landed = {each.partition_key for each in summary.partitions}
    judge(
        InputState(
            asset=asset,
            as_of=summary.as_of,
            rows=summary.rows,
            missing=summary.missing,
            promise=promise,
            not_landed=[each for each in partitions or () if each not in landed],
        ),
        tolerance,
        consumer=consumer,
        now=now,
    )
    return summary.as_of


def undeclared(consumer: str, producer: str, *, check: bool = False) -> str:
    """What a reader without a tolerance is told, with the line to add. `check`: the reader is an asset check."""
    argument = producer.rpartition("/")[2]
    line = f'{"additional_" if check else ""}ins={{"{argument}": tolerates(timedelta(hours=...))}}'
    other = f"; or, where {consumer} reads the rows itself, deps=[tolerates({argument}, timedelta(hours=...))]"
    return (
        f"{consumer} reads the batch asset {producer} without saying how stale its rows may be. Nothing was read. "
        f"Declare it: {line}{'' if check else other}."
    )


def _consumer(context: dg.InputContext) -> str | None:
    """The asset or check whose step reads; None outside a step, and for a check of the batch asset itself."""
    try:
        step = context.step_context
    except dg.DagsterInvariantViolationError:
        return None
    reader = step.job_def.asset_layer.get_assets_def_for_node(step.node_handle)
    if reader is None:
        return step.op_def.name
    if reader.keys:
        return min(key.to_user_string() for key in reader.keys)
    checks = sorted(reader.check_keys)
    if checks and all(check.asset_key == context.asset_key for check in checks):
        return None
    return checks[0].to_user_string() if checks else step.op_def.name
