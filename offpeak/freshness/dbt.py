"""What a dbt model or test declares in its `meta`, read from the manifest that dagster-dbt puts on its specs.

config:
  meta:
    offpeak:
      tolerates:
        ticket_labels: {max_staleness_hours: 38, min_coverage: 0.99}
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NoReturn

import dagster as dg

from offpeak.errors import DefinitionError, did_you_mean
from offpeak.freshness.gate import LONGEST, Tolerance, cannot_drop

_MANIFEST = "dagster_dbt/manifest"
_UNIQUE_ID = "dagster_dbt/unique_id"
_FIELDS = ("max_staleness_hours", "min_coverage", "on_stale", "rows")


def manifest_in(metadata: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The manifest that a spec's metadata carries; None for what dagster-dbt did not make."""
    manifest = getattr((metadata or {}).get(_MANIFEST), "manifest", None)
    return manifest if isinstance(manifest, Mapping) else None


def tolerances_of(metadata: Mapping[str, Any] | None, manifest: Mapping[str, Any]) -> dict[dg.AssetKey, Tolerance]:
    """What the model or test of a spec declares. Raises DefinitionError that names it and the field."""
    unique_id = (metadata or {}).get(_UNIQUE_ID)
    unique_id = unique_id.value if isinstance(unique_id, dg.TextMetadataValue) else unique_id
    node = (manifest.get("nodes") or {}).get(unique_id)
    if node is None:
        return {}
    name, place = f"dbt {node.get('resource_type', 'model')} {node.get('name')}", "meta: offpeak"
    offpeak = ((node.get("config") or {}).get("meta") or node.get("meta") or {}).get("offpeak")
    if offpeak is None:
        return {}
    declared = _mapping(name, place, offpeak, ("tolerates",)).get("tolerates")
    by_asset = _mapping(name, f"{place}: tolerates", declared)
    return {
        dg.AssetKey.from_user_string(asset): _tolerance(name, f"{place}: tolerates: {asset}", given)
        for asset, given in by_asset.items()
    }


def _tolerance(name: str, place: str, given: object) -> Tolerance:
    fields = _mapping(name, place, given, _FIELDS)
    hours = fields.get("max_staleness_hours")
    if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours <= LONGEST / timedelta(hours=1):
        _refuse(name, f"{place}: max_staleness_hours", f"{hours!r} is not a number of hours, such as 38")
    if fields.get("rows") == "drop_stale":
        raise DefinitionError(cannot_drop(f"{name}, {place}: rows", "dbt"))
    try:
        return Tolerance(
            max_staleness=timedelta(hours=hours),
            min_coverage=fields.get("min_coverage", 1.0),
            on_stale=fields.get("on_stale", "fail"),
            rows=fields.get("rows", "all"),
        )
    except DefinitionError as error:
        _refuse(name, place, str(error).rstrip("."))


def _mapping(name: str, place: str, given: object, known: tuple[str, ...] | None = None) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        _refuse(name, place, f"{given!r} is not a mapping")
    for key in given:
        if known is not None and key not in known:
            _refuse(name, f"{place}: {key}", f"unknown. {did_you_mean(str(key), known, nothing='').rstrip('.')}")
    return given


def _refuse(name: str, place: str, wrong: str) -> NoReturn:
    raise DefinitionError(
        f"{name}, {place}: {wrong}. Write for example `ticket_labels: {{max_staleness_hours: 38, min_coverage: 0.99}}` "
        "under `meta: offpeak: tolerates:`."
    )
