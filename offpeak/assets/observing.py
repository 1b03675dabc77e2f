"""Source assets whose rows can be looked at cheaply, and what Dagster knows of their data versions.

Dagster's last observation is the only memory there is. Whoever looks, the listener or the sensor, asks the source what
has changed since that version, and tells Dagster of another one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from offpeak.errors import OffpeakError
from offpeak.sources.changed import Versioned
from offpeak.sources.tables import known_version


def observable(assets: Iterable[dg.AssetsDefinition], resources: Mapping[str, Any]) -> dict[dg.AssetKey, str]:
    """The observable source assets whose IO manager offers `data_version`, with the IO manager's key."""
    found = {
        key: asset.get_io_manager_key_for_asset_key(key)
        for asset in assets
        if asset.is_observable
        for key in asset.keys
    }
    return {key: manager for key, manager in found.items() if isinstance(resources.get(manager), Versioned)}


@dataclass(frozen=True, slots=True)
class Observed:
    """One source asset."""

    key: dg.AssetKey
    manager: Versioned

    def new_version(self, instance: dg.DagsterInstance) -> str | None:
        """The data version that Dagster does not know yet; None where nothing has changed.

        Raises ConfigurationError where looking would mean reading the whole table, and what the source raises.
        """
        since = known_version(instance, self.key)
        version = self.manager.data_version(self.key, since=since)
        return None if version == since else version

    def observation(self, version: str) -> dg.AssetObservation:
        """What tells Dagster of it."""
        return dg.AssetObservation(asset_key=self.key, tags={DATA_VERSION_TAG: version})


def in_one_line(error: BaseException) -> str:
    """An error for a line of a log, without a full stop. Of one that is not Offpeak's the first line says enough."""
    if isinstance(error, OffpeakError):
        return " ".join(str(error).split()).rstrip(".")
    first, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first}".rstrip(".: ")
