"""Consumers read rows through here, and never past their tolerance.

Writing does nothing: when a batch asset materialises, its rows are in the store already. Reading gives one frame for
one or many partitions, after the gate. A program that loads an asset by itself, outside any step (a notebook, a shell),
has declared nothing and reads the rows as they are, with their age in the columns.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
from pydantic import PrivateAttr

from offpeak.errors import DefinitionError
from offpeak.freshness.declared import readings, undeclared
from offpeak.freshness.gate import Tolerance
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.location import default_database_url, offpeak_folder
from offpeak.ledger.reads import mark_read
from offpeak.results import admission
from offpeak.results.admission import admit
from offpeak.results.producer import producer_in
from offpeak.results.store import ResultStore

RESULTS_KEY = "offpeak_results"
"""The resource key of the IO manager."""

NOT_BEFORE_KEY = "offpeak/not_before"
"""The metadata key by which Offpeak's own loads leave out rows that are too old."""


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
        metadata = upstream.definition_metadata if upstream is not None else None
        not_before = _planned(context.definition_metadata)
        if _step(context) is None:
            mark_read(self.ledger.database, asset, partitions, at=admission.clock.now())
        for consumer, tolerance in _consumers(context):

            def warn(warning: str) -> None:
                context.log.warning(warning)
                # Dagster has no place for it on an input of several partitions
                if partitions is None or len(partitions) == 1:
                    context.add_input_metadata({"stale": warning})

            admitted = admit(
                self.store,
                consumer=consumer,
                asset=asset,
                partitions=partitions,
                tolerance=tolerance,
                promise=producer.valid_for,
                producer=metadata,
                warn=warn,
            )
            not_before = admitted.not_before
        return self.store.frame(asset, partitions=partitions, output=producer.output, not_before=not_before)


def _step(context: dg.InputContext) -> Any:
    """The step that reads; None for a program that loads an asset by itself."""
    try:
        return context.step_context
    except dg.DagsterInvariantViolationError:
        return None


def leaving_out(not_before: datetime | None) -> dict[str, Any]:
    """Input metadata for a load outside any step that leaves out rows older than `not_before`."""
    return {} if not_before is None else {NOT_BEFORE_KEY: not_before.isoformat()}


def _planned(metadata: Mapping[str, Any] | None) -> datetime | None:
    found = (metadata or {}).get(NOT_BEFORE_KEY)
    return datetime.fromisoformat(found) if isinstance(found, str) else None


def _consumers(context: dg.InputContext) -> Iterator[tuple[str, Tolerance]]:
    """Who reads in this step, and what each tolerates; nobody outside a step, and for a check of the batch asset
    itself. Raises DefinitionError for somebody who has not declared it.
    """
    step = _step(context)
    if step is None:
        return
    reader = step.job_def.asset_layer.get_assets_def_for_node(step.node_handle)
    if reader is None:
        tolerance = Tolerance.from_metadata(context.definition_metadata)
        if tolerance is None:
            asset = context.asset_key.to_user_string()
            raise DefinitionError(
                f"The op {step.op_def.name} reads the batch asset {asset} without saying how stale its rows may be. "
                "Nothing was read. Read them in an asset, or declare it on the op's input: "
                "dg.In(metadata=tolerates(timedelta(hours=...)).metadata)."
            )
        yield step.op_def.name, tolerance
        return
    found = [each for each in readings(reader) if each.asset == context.asset_key]
    if not found and context.asset_key not in {check.asset_key for check in reader.check_keys}:
        # Dagster loads every input of a step, whichever of its assets are selected
        context.log.info(
            f"{context.asset_key.to_user_string()} is loaded without looking at its age: none of the selected assets "
            "reads it."
        )
    for each in found:
        if each.tolerance is None:
            raise DefinitionError(undeclared(reader, each))
        yield each.name, each.tolerance
