"""Who reads a batch asset, and whether each reader declares a tolerance that can be kept."""

from collections.abc import Iterable, Iterator, Mapping

import dagster as dg

from offpeak.assets.declaration import declaration_of
from offpeak.errors import DefinitionError
from offpeak.freshness.dbt import manifest_in
from offpeak.freshness.declared import Reading, readings, undeclared
from offpeak.freshness.gate import cannot_drop
from offpeak.results.io_manager import RESULTS_KEY
from offpeak.results.producer import producer_in


def batch_assets(definitions: Iterable[dg.AssetsDefinition]) -> dict[dg.AssetKey, dg.AssetsDefinition]:
    """The batch assets among `definitions`, by key."""
    return {spec.key: asset for asset in definitions for spec in asset.specs if producer_in(spec.metadata) is not None}


def refuse_undeclared(reader: dg.AssetsDefinition, batch: Mapping[dg.AssetKey, dg.AssetsDefinition]) -> None:
    """Raise DefinitionError when `reader` reads a batch asset and does not say how stale it may be.

    Or says so in a way that cannot be kept.
    """
    found = [each for each in readings(reader) if each.asset in batch]
    for each in found:
        if each.tolerance is None:
            raise DefinitionError(undeclared(reader, each))
        _refuse_ungated(reader, each, batch[each.asset])
    _refuse_two_frames(found)


def loaded_by_offpeak(reader: dg.AssetsDefinition, key: dg.AssetKey, producer: dg.AssetsDefinition) -> bool:
    """Whether Offpeak's IO manager loads the rows of `key` for `reader`, and so is the gate."""
    return key in _loaded(reader) and _loaders(reader, key, producer) == {RESULTS_KEY}


def reader_name(reader: dg.AssetsDefinition) -> str:
    """What an asset or check is called in messages: its first key."""
    if reader.keys:
        return min(key.to_user_string() for key in reader.keys)
    return min(check.to_user_string() for check in reader.check_keys)


def _loaded(reader: dg.AssetsDefinition) -> set[dg.AssetKey]:
    """What is loaded for the body: by an IO manager, or by a batch asset while it plans."""
    if not reader.is_executable:
        return set()
    if (declaration := declaration_of(reader)) is not None:
        return {reader.node_keys_by_input_name[each.op_input] for each in declaration.inputs}
    return {
        key
        for name, key in reader.node_keys_by_input_name.items()
        if not reader.node_def.input_def_named(name).dagster_type.is_nothing
    }


def _loaders(reader: dg.AssetsDefinition, key: dg.AssetKey, producer: dg.AssetsDefinition) -> set[str]:
    """The IO managers that load `key` for `reader`: the producer's, unless an input names another one."""
    own = producer.get_io_manager_key_for_asset_key(key)
    names = [name for name, each in reader.node_keys_by_input_name.items() if each == key]
    return {loader or own for name in names for loader in _input_managers(reader.node_def, name)}


def _input_managers(node: object, name: str) -> Iterator[str | None]:
    """What an op's input, or each op's input that a graph's is handed on to, names as its input manager."""
    if isinstance(node, dg.OpDefinition):
        yield node.input_def_named(name).input_manager_key
        return
    if isinstance(node, dg.GraphDefinition):
        for mapping in node.input_mappings:
            if mapping.graph_input_name == name:
                inner = node.node_named(mapping.maps_to.node_name).definition
                yield from _input_managers(inner, mapping.maps_to.input_name)


def _refuse_ungated(reader: dg.AssetsDefinition, reading: Reading, producer: dg.AssetsDefinition) -> None:
    """Raise DefinitionError for rows that nobody gates, or that are to be left out by somebody who cannot."""
    key = reading.asset
    if loaded_by_offpeak(reader, key, producer):
        return
    asset = key.to_user_string()
    elsewhere = ", ".join(repr(each) for each in sorted(_loaders(reader, key, producer) - {RESULTS_KEY}))
    if reader.is_executable and isinstance(reader.node_def, dg.GraphDefinition):
        how = (
            f"the IO manager {elsewhere} loads it"
            if key in _loaded(reader)
            else "it is not loaded by an op of the graph"
        )
        raise DefinitionError(
            f"{reading.name} is a graph-backed asset that reads the batch asset {asset}, and {how}: nobody would check "
            "its age. Read it in an @asset with deps=[tolerates(...)], and let the graph read that."
        )
    if reading.tolerance is not None and reading.tolerance.drops_stale:
        by_dbt = any(manifest_in(spec.metadata) is not None for spec in reader.specs)
        loader = "dbt" if by_dbt else f"the IO manager {elsewhere}" if key in _loaded(reader) else reading.name
        raise DefinitionError(cannot_drop(f"{reading.name} reads {asset} with rows='drop_stale'", loader))


def _refuse_two_frames(found: Iterable[Reading]) -> None:
    """Raise DefinitionError where several consumers of one step want different rows of one frame."""
    by_asset: dict[dg.AssetKey, Reading] = {}
    for each in found:
        other = by_asset.setdefault(each.asset, each)
        if each.tolerance != other.tolerance and any(
            tolerance is not None and tolerance.drops_stale for tolerance in (each.tolerance, other.tolerance)
        ):
            raise DefinitionError(
                f"{other.name} and {each.name} are made by one step and read one frame of "
                f"{each.asset.to_user_string()}, but tolerate different things, with rows='drop_stale'. Give both the "
                "same tolerance."
            )
