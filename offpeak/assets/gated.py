"""A consumer that Offpeak's IO manager does not see is gated in front of its body.

That is one with `deps=[tolerates(...)]`, which reads the rows itself, a dbt model or test, and one whose batch input is
stored by an IO manager of the user's own. A step that makes several assets or checks is gated for those that are
selected.
"""

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from offpeak.assets.declaration import declaration_of, without_beta_warnings
from offpeak.assets.readers import loaded_by_offpeak
from offpeak.freshness.declared import Consumer, readings
from offpeak.freshness.gate import Tolerance
from offpeak.results.admission import admit
from offpeak.results.io_manager import RESULTS_KEY, OffpeakResults
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gate:
    """What one consumer of the step reads by itself."""

    consumer: Consumer
    mapped: str | None
    """The input whose partition mapping says which partitions are read; None for an asset without partitions, and for
    what a check depends on that is made together with its asset: Dagster makes no input of it, so all are read."""
    asset: dg.AssetKey
    tolerance: Tolerance
    producer: Producer
    metadata: Mapping[str, Any]
    """The producer's."""


def _gates(asset: dg.AssetsDefinition, batch: Mapping[dg.AssetKey, dg.AssetsDefinition]) -> list[_Gate]:
    names = {key: name for name, key in asset.node_keys_by_input_name.items()}
    found = []
    for each in readings(asset):
        if each.asset not in batch or each.tolerance is None or loaded_by_offpeak(asset, each.asset, batch[each.asset]):
            continue
        spec = batch[each.asset].specs_by_key[each.asset]
        producer = producer_in(spec.metadata)
        if producer is not None:
            found.append(
                _Gate(
                    consumer=each.consumer,
                    mapped=names.get(each.asset) if spec.partitions_def is not None else None,
                    asset=each.asset,
                    tolerance=each.tolerance,
                    producer=producer,
                    metadata=spec.metadata,
                )
            )
    return found


def _behind(function: Callable[..., Any], gates: Sequence[_Gate]) -> Callable[..., Any]:
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


def _pass(gates: Sequence[_Gate]) -> None:
    """Raise StaleInput unless those consumers that the running step makes may read everything they declared."""
    context = dg.OpExecutionContext.get()
    results: OffpeakResults = getattr(context.resources, RESULTS_KEY)
    assets = context.job_def.asset_layer
    step = assets.get_assets_def_for_node(context.op_handle)
    for gate in gates:
        if step is not None and gate.consumer not in step.asset_and_check_keys:
            continue
        admit(
            results.store,
            consumer=gate.consumer.to_user_string(),
            asset=gate.asset.to_user_string(),
            partitions=list(context.asset_partition_keys_for_input(gate.mapped)) if gate.mapped is not None else None,
            tolerance=gate.tolerance,
            promise=gate.producer.valid_for,
            producer=gate.metadata,
            warn=context.log.warning,
        )
