"""What a reader has to know of the asset that produced its rows, found again from the asset's metadata.

In a run that does not select a batch asset, Dagster keeps only its spec. The spec's metadata names the function that
declared it, and under that name the output model and the promise are registered when definitions load.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import BaseModel

from offpeak.freshness.cadence import Cron, next_tick
from offpeak.freshness.chain import Chain, Handed
from offpeak.freshness.deadlines import Later, bought_after

PRODUCER_KEY = "offpeak/declared_in"
"""The metadata key: the module and qualified name of the declaring function, with the asset's key."""

_PRODUCERS: dict[str, "Producer"] = {}
_RHYTHMS: dict[str, "Rhythm"] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Producer:
    """A batch asset, as its readers know it."""

    output: type[BaseModel] | None
    valid_for: timedelta
    """The oldest that its rows may be by its own contract."""


def register(name: str, producer: Producer) -> None:
    """Make `producer` findable for assets whose metadata carries `name`; a reloaded module replaces its own."""
    _PRODUCERS[name] = producer


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """When a batch asset runs by itself, by when others downstream need its rows, and what is bought after it."""

    crons: Sequence[Cron] = ()
    follows: bool = False
    """It also runs when its inputs have been renewed."""
    handed: Sequence[Handed] = ()
    name: str = ""
    """The asset's key in the chain."""
    chain: Chain | None = None
    """The graph as it was loaded."""

    @property
    def recurs(self) -> bool:
        """Something other than a person starts it."""
        return bool(self.crons) or self.follows

    def later(self, selected: Collection[str] | None) -> Sequence[Later]:
        """What is bought after it in a run of `selected`; None: in any of its scheduled jobs."""
        return () if self.chain is None else bought_after(self.chain, self.name, selected=selected)

    def due(self, now: datetime) -> tuple[datetime, Handed] | None:
        """The nearest moment by which somebody downstream needs its batches to have ended."""
        found = [(due, each) for each in self.handed if (due := each.due(now)) is not None]
        return min(found, key=lambda each: each[0], default=None)


def keep_time(metadata: Mapping[str, Any], rhythm: Rhythm) -> None:
    """Remember the rhythm of the producer that a spec's metadata names, as loaded definitions have it."""
    if (name := _name(metadata)) is not None:
        _RHYTHMS[name] = rhythm


def rhythm_of(metadata: Mapping[str, Any] | None) -> Rhythm:
    """The rhythm of the producer that a spec's metadata names; an empty one where nothing that was loaded has any."""
    name = _name(metadata)
    return _RHYTHMS.get(name, _NONE) if name is not None else _NONE


def producer_in(metadata: Mapping[str, Any] | None) -> Producer | None:
    """The producer that a spec's metadata names; None for an asset that is not a batch asset."""
    name = _name(metadata)
    return _PRODUCERS.get(name) if name is not None else None


def next_run(metadata: Mapping[str, Any] | None, *, after: datetime) -> datetime | None:
    """When the producer runs next by its schedules; None where nothing that was loaded says so."""
    return next_tick(rhythm_of(metadata).crons, after=after)


def _name(metadata: Mapping[str, Any] | None) -> str | None:
    name = (metadata or {}).get(PRODUCER_KEY)
    if isinstance(name, dg.TextMetadataValue):
        name = name.value
    return name if isinstance(name, str) else None


_NONE = Rhythm()
