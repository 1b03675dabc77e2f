"""One run of a batch asset: plan, buy and wait, then tell Dagster what landed."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from offpeak.assets.declaration import Declaration
from offpeak.assets.inputs import InputReader
from offpeak.assets.landing import land
from offpeak.assets.orders import order_of, partition_plans
from offpeak.assets.plan import PlanContext
from offpeak.assets.purchase import purchase
from offpeak.assets.resources import API_KEY, BatchApi
from offpeak.clock import Clock, SystemClock
from offpeak.errors import DefinitionError
from offpeak.results.io_manager import RESULTS_KEY, OffpeakResults

WAIT_TAG = "offpeak/wait"


def materialize_batch(
    declaration: Declaration, context: dg.AssetExecutionContext
) -> Iterator[dg.MaterializeResult[Any]]:
    """The body of every batch asset's op."""
    asset = context.asset_key.to_user_string()
    if context.run.tags.get(WAIT_TAG, "run") != "run":
        raise DefinitionError(
            f"{asset}: the run tag {WAIT_TAG}={context.run.tags[WAIT_TAG]!r} is not available in this version: a "
            "run waits for its batch in place. Nothing was submitted. Launch without the tag, or with the value 'run'."
        )
    clock = SystemClock()
    api: BatchApi = getattr(context.resources, API_KEY)
    results: OffpeakResults = getattr(context.resources, RESULTS_KEY)
    keys = list(context.partition_keys) if context.has_partition_key or context.has_partition_key_range else []
    checks: list[dg.AssetCheckResult] = []
    with ExitStack() as stack:
        # a missing key or price is told before anything is read
        provider = api.provider(declaration.provider, asset=asset)
        stack.callback(provider.close)
        rates = api.rates(declaration.model)
        store = results.store
        reader = stack.enter_context(
            InputReader(
                asset=context.assets_def,
                declaration=declaration,
                upstream=lambda key: context.job_def.asset_layer.get(key).assets_def,
                instance=context.instance,
                store=store,
                clock=clock,
            )
        )
        order = order_of(
            declaration,
            asset,
            partitions=partition_plans(
                declaration,
                asset,
                reader,
                keys,
                PlanContext(partition_keys=keys, run_tags=context.run.tags, log=context.log),
                checks,
            ),
            run_id=context.run.run_id,
            run_tags=context.run.tags,
            elapsed=clock.now() - _created(context, clock),
        )
        receipt = purchase(order, ledger=results.ledger, provider=provider, rates=rates, clock=clock, log=context.log)
    yield land(declaration, context, receipt, store, checks)


def _created(context: dg.AssetExecutionContext, clock: Clock) -> datetime:
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return record.create_timestamp.astimezone(UTC) if record is not None else clock.now()
