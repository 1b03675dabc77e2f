"""A consumer that Offpeak's IO manager does not see is gated in front of its body.

That is one with `deps=[tolerates(...)]`, which reads the rows itself, and one whose batch input is stored by an IO
manager of the user's own.
"""

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import dagster as dg

from offpeak.assets.declaration import declaration_of, without_beta_warnings
from offpeak.assets.readers import tolerated
from offpeak.clock import SystemClock
from offpeak.freshness.gate import Tolerance
from offpeak.results.io_manager import RESULTS_KEY, OffpeakResults, admit
from offpeak.results.producer import Producer, producer_in


def gated(asset: dg.AssetsDefinition, batch: Mapping[dg.AssetKey, dg.AssetsDefinition]) -> dg.AssetsDefinition:
    """`asset` with its gates in front of the body; `asset` itself where it needs none. `batch`: all batch assets."""
    if not asset.is_executable or not isinstance(asset.node_def, dg.OpDefinition) or declaration_of(asset) is not None:
        return asset
    gates = _gates(asset, batch)
    if not gates:
        return asset
    op = asset.node_def
    compute: Any = op.compute_fn
    decorated = getattr(compute, "decorated_fn", None)
    behind: Any = _behind(decorated or compute, gates)
    if decorated is not None:
        # Dagster wraps a decorated function in a class of its own, which is built anew around ours
        behind = type(compute)(behind)
    guarded = dg.OpDefinition(
        compute_fn=behind,
        name=op.name,
        ins={each.name: dg.In.from_definition(each) for each in op.input_defs},
        outs={each.name: dg.Out.from_definition(each) for each in op.output_defs},
        description=op.description,
        config_schema=op.config_schema,
        required_resource_keys={*op.required_resource_keys, RESULTS_KEY},
        tags=op.tags,
        retry_policy=op.retry_policy,
        pool=op.pool,
    )
    with without_beta_warnings():
        return type(asset)(**{**asset.get_attributes_dict(), "node_def": guarded})


def _gates(
    asset: dg.AssetsDefinition, batch: Mapping[dg.AssetKey, dg.AssetsDefinition]
) -> dict[str, tuple[dg.AssetKey, Tolerance, Producer]]:
    """By op input: what is read, what is tolerated and who produced it."""
    names = {key: name for name, key in asset.node_keys_by_input_name.items()}
    found = {}
    for key, tolerance in tolerated(asset).items():
        producer = producer_in(batch[key].specs_by_key[key].metadata) if key in batch else None
        if producer is None:
            continue
        loaded = not asset.node_def.input_def_named(names[key]).dagster_type.is_nothing
        if loaded and batch[key].get_io_manager_key_for_asset_key(key) == RESULTS_KEY:
            continue  # the IO manager is the gate
        found[names[key]] = (key, tolerance, producer)
    return found


def _behind(
    function: Callable[..., Any], gates: Mapping[str, tuple[dg.AssetKey, Tolerance, Producer]]
) -> Callable[..., Any]:
    """`function` behind its gates, of the same kind: Dagster tells plain, generator and async functions apart."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generator(*arguments: Any, **named: Any) -> Iterator[Any]:
            _pass(gates)
            yield from function(*arguments, **named)

        return generator
    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def async_generator(*arguments: Any, **named: Any) -> AsyncIterator[Any]:
            _pass(gates)
            async for each in function(*arguments, **named):
                yield each

        return async_generator
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def coroutine(*arguments: Any, **named: Any) -> Any:
            _pass(gates)
            return await function(*arguments, **named)

        return coroutine

    @functools.wraps(function)
    def plain(*arguments: Any, **named: Any) -> Any:
        _pass(gates)
        return function(*arguments, **named)

    return plain


def _pass(gates: Mapping[str, tuple[dg.AssetKey, Tolerance, Producer]]) -> None:
    """Raise StaleInput unless the running step may read everything it declared."""
    context = dg.OpExecutionContext.get()
    results: OffpeakResults = getattr(context.resources, RESULTS_KEY)
    assets = context.job_def.asset_layer
    consumer = min(key.to_user_string() for key in context.selected_asset_keys)
    for name, (key, tolerance, producer) in gates.items():
        partitioned = assets.get(key).partitions_def is not None
        admit(
            results.store,
            consumer=consumer,
            asset=key.to_user_string(),
            partitions=list(context.asset_partition_keys_for_input(name)) if partitioned else None,
            tolerance=tolerance,
            promise=producer.valid_for,
            now=SystemClock().now(),
        )
