"""Who reads a batch asset, and what each reader declares that it tolerates."""

from collections.abc import Iterable, Mapping

import dagster as dg

from offpeak.errors import DefinitionError
from offpeak.freshness.gate import Tolerance
from offpeak.results.io_manager import undeclared
from offpeak.results.producer import producer_in


def batch_assets(definitions: Iterable[dg.AssetsDefinition]) -> dict[dg.AssetKey, dg.AssetsDefinition]:
    """The batch assets among `definitions`, by key."""
    return {spec.key: asset for asset in definitions for spec in asset.specs if producer_in(spec.metadata) is not None}


def refuse_undeclared(reader: dg.AssetsDefinition, batch: Mapping[dg.AssetKey, dg.AssetsDefinition]) -> None:
    """Raise DefinitionError when `reader` reads a batch asset and does not say how stale it may be."""
    read = {dep.asset_key for spec in reader.specs for dep in spec.deps}
    if reader.is_executable:
        read |= set(reader.node_keys_by_input_name.values())
    # a check of the batch asset itself is part of the producer: it has to see rows that no consumer would accept
    read -= {check.asset_key for check in reader.check_keys} | set(reader.keys)
    missing = sorted(read & batch.keys() - tolerated(reader).keys())
    if not missing:
        return
    if reader.is_executable and isinstance(reader.node_def, dg.GraphDefinition):
        raise DefinitionError(
            f"{reader_name(reader)} is a graph-backed asset that reads the batch asset {missing[0].to_user_string()}. "
            "Dagster drops what a graph's input declares, so its tolerance cannot be kept. Read the rows in an "
            "@asset with ins={...: tolerates(...)}, and let the graph read that."
        )
    raise DefinitionError(undeclared(reader_name(reader), missing[0].to_user_string(), check=not reader.keys))


def tolerated(asset: dg.AssetsDefinition) -> dict[dg.AssetKey, Tolerance]:
    """What an asset or check declares about each of its inputs and dependencies; those without one are left out."""
    found: dict[dg.AssetKey, Tolerance] = {}
    if asset.is_executable:
        for name, key in asset.node_keys_by_input_name.items():
            tolerance = Tolerance.from_metadata(asset.node_def.input_def_named(name).metadata)
            if tolerance is not None:
                found[key] = tolerance
    for spec in asset.specs:
        for dep in spec.deps:
            if (tolerance := Tolerance.from_metadata(dep.metadata)) is not None:
                found[dep.asset_key] = tolerance
    return found


def reader_name(reader: dg.AssetsDefinition) -> str:
    """What an asset or check is called in messages: its first key."""
    if reader.keys:
        return min(key.to_user_string() for key in reader.keys)
    return min(check.to_user_string() for check in reader.check_keys)
