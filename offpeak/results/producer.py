"""What a reader has to know of the asset that produced its rows, found again from the asset's metadata.

In a run that does not select a batch asset, Dagster keeps only its spec. The spec's metadata names the function that
declared it, and under that name the output model and the promise are registered when definitions load.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import BaseModel

from offpeak.freshness.cadence import Cron, next_tick

PRODUCER_KEY = "offpeak/declared_in"
"""The metadata key: the module and qualified name of the declaring function, with the asset's key."""

_PRODUCERS: dict[str, "Producer"] = {}
_SCHEDULES: dict[str, Sequence[Cron]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Producer:
    """A batch asset, as its readers know it."""

    output: type[BaseModel] | None
    valid_for: timedelta
    """The oldest that its rows may be by its own contract."""


def register(name: str, producer: Producer) -> None:
    """Make `producer` findable for assets whose metadata carries `name`; a reloaded module replaces its own."""
    _PRODUCERS[name] = producer


def schedule(metadata: Mapping[str, Any], crons: Sequence[Cron]) -> None:
    """Remember when the producer that a spec's metadata names runs by itself."""
    if (name := _name(metadata)) is not None:
        _SCHEDULES[name] = crons


def producer_in(metadata: Mapping[str, Any] | None) -> Producer | None:
    """The producer that a spec's metadata names; None for an asset that is not a batch asset."""
    name = _name(metadata)
    return _PRODUCERS.get(name) if name is not None else None


def next_run(metadata: Mapping[str, Any] | None, *, after: datetime) -> datetime | None:
    """When the producer runs next by its schedules; None where nothing that was loaded says so."""
    name = _name(metadata)
    return next_tick(_SCHEDULES.get(name, ()), after=after) if name is not None else None


def _name(metadata: Mapping[str, Any] | None) -> str | None:
    name = (metadata or {}).get(PRODUCER_KEY)
    if isinstance(name, dg.TextMetadataValue):
        name = name.value
    return name if isinstance(name, str) else None
