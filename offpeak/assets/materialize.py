"""One run of a batch asset: plan, buy and wait, then tell Dagster what landed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from offpeak.assets.declaration import Declaration
from offpeak.assets.inputs import InputReader
from offpeak.assets.landing import land
from offpeak.assets.order import UNPARTITIONED, Order, PartitionPlan
from offpeak.assets.plan import PlanContext, stream
from offpeak.assets.purchase import purchase
from offpeak.assets.resources import API_KEY, BatchApi
from offpeak.clock import Clock, SystemClock
from offpeak.errors import DefinitionError
from offpeak.results.io_manager import RESULTS_KEY, OffpeakResults

APPROVE_TAG = "offpeak/approve"
"""A run tag: this run may go on although the surge guard would hold its plan."""

WAIT_TAG = "offpeak/wait"

_NO = frozenset({"", "false", "no", "0"})


def materialize_batch(
    declaration: Declaration, context: dg.AssetExecutionContext
) -> Iterator[dg.MaterializeResult[Any]]:
    """The body of every batch asset's op."""
    asset = context.asset_key.to_user_string()
    if context.run_tags.get(WAIT_TAG, "run") != "run":
        raise DefinitionError(
            f"{asset}: the run tag {WAIT_TAG}={context.run_tags[WAIT_TAG]!r} is not available in this version: a "
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
                PlanContext(partition_keys=keys, run_tags=context.run_tags, log=context.log),
                checks,
            ),
            run_id=context.run.run_id,
            run_tags=context.run_tags,
            elapsed=clock.now() - _created(context, clock),
        )
        receipt = purchase(order, ledger=results.ledger, provider=provider, rates=rates, clock=clock, log=context.log)
    yield land(declaration, context, receipt, store, checks)


def order_of(
    declaration: Declaration,
    asset: str,
    *,
    partitions: Iterator[PartitionPlan],
    run_id: str,
    run_tags: Mapping[str, str],
    elapsed: timedelta = timedelta(0),
) -> Order:
    """The order of one run that was created `elapsed` ago: the workload's deadline counts from there."""
    return Order(
        asset=asset,
        model=declaration.model,
        output=declaration.output,
        code_version=declaration.code_version,
        valid_for=declaration.contract.valid_for,
        deadline=max(declaration.workload.deadline - elapsed, timedelta(0)),
        partitions=partitions,
        run_id=run_id,
        approved=run_tags.get(APPROVE_TAG, "").lower() not in _NO,
    )


def partition_plans(
    declaration: Declaration,
    asset: str,
    reader: InputReader,
    keys: Sequence[str],
    context: PlanContext,
    checks: list[dg.AssetCheckResult],
) -> Iterator[PartitionPlan]:
    """A plan per partition, or one for an asset without; the inputs of a partition are loaded when it is reached."""
    for key in keys or [None]:
        as_of = reader.age(key)
        yield PartitionPlan(
            partition_key=UNPARTITIONED if key is None else key,
            as_of=as_of,
            requests=stream(
                declaration,
                asset,
                reader.read(key),
                PlanContext(
                    partition_key=key,
                    partition_keys=context.partition_keys,
                    run_tags=context.run_tags,
                    log=context.log,
                ),
                checks=checks,
            ),
        )


def _created(context: dg.AssetExecutionContext, clock: Clock) -> datetime:
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return record.create_timestamp.astimezone(UTC) if record is not None else clock.now()
