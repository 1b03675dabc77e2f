"""What a consumer declares about each batch asset that it reads, whatever kind of consumer it is.

| | where the tolerance stands |
| --- | --- |
| an input of an asset, a multi-asset or a check | on the input |
| a dependency of an asset, a multi-asset or a spec of `multi_asset_check` | on the dependency |
| a graph-backed asset; a dependency of an `asset_check` | in the metadata of the consumer: Dagster drops the others |
| a dbt model or test | in its `meta` |
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import dagster as dg

from offpeak.errors import DefinitionError, did_you_mean
from offpeak.freshness.dbt import manifest_in, tolerances_of
from offpeak.freshness.gate import Tolerance, tolerances_in

Consumer = dg.AssetKey | dg.AssetCheckKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One asset that one consumer reads: an asset or a check, of which a step may make several."""

    consumer: Consumer
    asset: dg.AssetKey
    tolerance: Tolerance | None

    @property
    def name(self) -> str:
        """What the consumer is called in messages."""
        return self.consumer.to_user_string()


def readings(reader: dg.AssetsDefinition) -> list[Reading]:
    """Everything that the selected assets and checks of `reader` read beside themselves.

    A check reads the asset that it is of as a part of it, without a tolerance, so that is left out. Raises
    DefinitionError for two tolerances that contradict each other, for one of an asset that is not read, and for `meta`
    of a dbt model that makes no sense.
    """
    on_inputs = _on_inputs(reader)
    manifest = next(filter(None, (manifest_in(spec.metadata) for spec in reader.specs)), None)
    found = []
    for consumer, deps, metadata in _consumers(reader):
        on_consumer = [tolerances_in(metadata)]
        if manifest is not None:
            on_consumer.append(tolerances_of(metadata, manifest))
        for declared in on_consumer:
            _refuse_unread(consumer, declared, deps)
        for asset, on_dep in sorted(deps.items()):
            given = [on_dep, *(each.get(asset) for each in on_consumer), on_inputs.get(asset)]
            found.append(Reading(consumer=consumer, asset=asset, tolerance=_only(consumer, asset, given)))
    return found


def tolerated(reader: dg.AssetsDefinition) -> dict[dg.AssetKey, Tolerance]:
    """What `reader` declares about each asset that it reads, the strictest where it makes several consumers."""
    found: dict[dg.AssetKey, Tolerance] = {}
    for each in readings(reader):
        if each.tolerance is None:
            continue
        known = found.get(each.asset)
        if known is None or each.tolerance.max_staleness < known.max_staleness:
            found[each.asset] = each.tolerance
    return found


def undeclared(reader: dg.AssetsDefinition, reading: Reading) -> str:
    """What a reader without a tolerance is told, with the line to add for its kind."""
    asset = reading.asset.to_user_string()
    name = reading.asset.path[-1]
    simple = len(reading.asset.path) == 1
    key = "" if simple else f", key={list(reading.asset.path)}"
    as_dep = f'"{name}"' if simple else f"dg.AssetKey({list(reading.asset.path)})"
    on_input = f'{{"{name}": tolerates(timedelta(hours=...){key})}}'
    on_consumer = f'metadata=tolerances({{"{asset}": tolerates(timedelta(hours=...))}})'
    if any(manifest_in(spec.metadata) is not None for spec in reader.specs):
        how = f"config: {{meta: {{offpeak: {{tolerates: {{{asset}: {{max_staleness_hours: ...}}}}}}}}}} in its YAML"
    elif reader.is_executable and isinstance(reader.node_def, dg.GraphDefinition):
        how = (
            f"{on_consumer}, on the graph-backed asset, or on its AssetOut where it has several: Dagster drops what "
            "ins= of a graph-backed asset declares"
        )
    elif isinstance(reading.consumer, dg.AssetCheckKey):
        how = (
            f"additional_ins={on_input}; or, where the check reads the rows itself, additional_deps=[{as_dep}] with "
            f"{on_consumer}: Dagster drops what additional_deps= of an asset_check declares"
        )
    elif not reader.is_executable:
        how = f"deps=[tolerates({as_dep}, timedelta(hours=...))] on its AssetSpec"
    else:
        how = (
            f"ins={on_input}; or, where {reading.name} reads the rows itself, "
            f"deps=[tolerates({as_dep}, timedelta(hours=...))]"
        )
    return (
        f"{reading.name} reads the batch asset {asset} without saying how stale its rows may be. Nothing was read. "
        f"Declare it: {how}."
    )


def _consumers(
    reader: dg.AssetsDefinition,
) -> Iterator[tuple[Consumer, dict[dg.AssetKey, Tolerance | None], Mapping[str, object]]]:
    """Each selected asset and check of `reader`, what it depends on and what its dependencies carry, its metadata."""
    keys = set(reader.keys)
    for spec in reader.specs:
        if spec.key in keys:
            yield spec.key, _on_deps(spec.deps, without=keys), spec.metadata
    for check in reader.check_specs:
        yield check.key, _on_deps(check.additional_deps, without={check.asset_key}), check.metadata or {}


def _on_deps(deps: Iterable[dg.AssetDep], *, without: set[dg.AssetKey]) -> dict[dg.AssetKey, Tolerance | None]:
    return {dep.asset_key: Tolerance.from_metadata(dep.metadata) for dep in deps if dep.asset_key not in without}


def _on_inputs(reader: dg.AssetsDefinition) -> dict[dg.AssetKey, Tolerance | None]:
    if not reader.is_executable:
        return {}
    return {
        key: Tolerance.from_metadata(reader.node_def.input_def_named(name).metadata)
        for name, key in reader.node_keys_by_input_name.items()
    }


def _refuse_unread(
    consumer: Consumer, declared: Mapping[dg.AssetKey, Tolerance], deps: Mapping[dg.AssetKey, object]
) -> None:
    for asset in declared:
        if asset not in deps:
            hint = did_you_mean(
                asset.to_user_string(), (key.to_user_string() for key in deps), nothing="It reads nothing at all."
            )
            raise DefinitionError(
                f"{consumer.to_user_string()} declares a tolerance for {asset.to_user_string()}, which it does not "
                f"read. {hint}"
            )


def _only(consumer: Consumer, asset: dg.AssetKey, given: Iterable[Tolerance | None]) -> Tolerance | None:
    distinct = list(dict.fromkeys(filter(None, given)))
    if len(distinct) > 1:
        raise DefinitionError(
            f"{consumer.to_user_string()} declares two tolerances for {asset.to_user_string()}, {distinct[0]} and "
            f"{distinct[1]}. Keep one of them."
        )
    return distinct[0] if distinct else None
