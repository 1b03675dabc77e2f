"""What a reader has to know of the asset that produced its rows, found again from the asset's metadata.

In a run that does not select a batch asset, Dagster keeps only its spec. The spec's metadata names the function that
declared it, and under that name the output model and the promise are registered when definitions load.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import BaseModel

PRODUCER_KEY = "offpeak/declared_in"
"""The metadata key: the module and qualified name of the declaring function, with the asset's key."""

_PRODUCERS: dict[str, "Producer"] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Producer:
    """A batch asset, as its readers know it."""

    output: type[BaseModel] | None
    valid_for: timedelta
    """The oldest that its rows may be by its own contract."""


def register(name: str, producer: Producer) -> None:
    """Make `producer` findable for assets whose metadata carries `name`; a reloaded module replaces its own."""
    _PRODUCERS[name] = producer


def producer_in(metadata: Mapping[str, Any] | None) -> Producer | None:
    """The producer that a spec's metadata names; None for an asset that is not a batch asset."""
    name = (metadata or {}).get(PRODUCER_KEY)
    if isinstance(name, dg.TextMetadataValue):
        name = name.value
    return _PRODUCERS.get(name) if isinstance(name, str) else None
