"""The sensor that looks whether source assets have changed, where no listener tells of it. It starts no run.

A look is one query of constant cost. What a listener looks after is left alone, and so is a table whose changes nobody
keeps track of: looking at that would mean reading all of it, every time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import dagster as dg

from offpeak.assets.heartbeat import listened_to
from offpeak.assets.observing import Observed, in_one_line
from offpeak.clock import Clock, SystemClock
from offpeak.errors import ConfigurationError

SOURCES_SENSOR = "offpeak_sources"

PATIENCE = timedelta(seconds=5)
"""A look that fails after so long is the last one at its IO manager in this tick: the others would take as long."""


def sources_sensor(managers: Mapping[dg.AssetKey, str], *, minimum_interval_seconds: int = 30) -> dg.SensorDefinition:
    """The sensor that `with_offpeak` adds; `managers` names each source asset's IO manager."""

    @dg.sensor(
        name=SOURCES_SENSOR,
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys=set(managers.values()),
        description="Tells of changed source assets that `offpeak sources listen` does not look after; starts no run.",
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        sources = [Observed(key, getattr(context.resources, manager)) for key, manager in sorted(managers.items())]
        found = look_at(sources, context.instance, SystemClock())
        for line in found.said:
            context.log.warning(line)
        return dg.SensorResult(
            asset_events=[source.observation(version) for source, version in found.changed],
            skip_reason=dg.SkipReason(str(found)),
        )

    return look


@dataclass(slots=True)
class Look:
    """What one tick has found."""

    sources: int
    listened_to: int
    changed: list[tuple[Observed, str]] = field(default_factory=list)
    """With the new data version."""
    said: list[str] = field(default_factory=list)
    """Of each source that could not be looked at, why."""

    def __str__(self) -> str:
        if self.listened_to == self.sources:
            return f"A listener looks after all {self.sources}: nothing was asked."
        changed = ", ".join(source.key.to_user_string() for source, _ in self.changed)
        parts = [f"Changed: {changed}." if changed else "Nothing has changed."]
        parts += [f"A listener looks after {self.listened_to} of {self.sources}."] if self.listened_to else []
        return " ".join([*parts, *(f"{each}." for each in self.said)])


def look_at(sources: Sequence[Observed], instance: dg.DagsterInstance, clock: Clock) -> Look:
    """Ask those that no listener looks after for their data version, one query each."""
    left_alone = listened_to(instance, [source.key for source in sources], now=clock.now())
    found, gave_up = Look(sources=len(sources), listened_to=len(left_alone)), set()
    for source in sources:
        name, began = source.key.to_user_string(), clock.now()
        if source.key in left_alone:
            continue
        if id(source.manager) in gave_up:
            found.said.append(f"{name} was not looked at: its source answers late")
            continue
        try:
            version = source.new_version(instance)
        except ConfigurationError as error:
            found.said.append(f"{name} is not looked at: {in_one_line(error)}")
        except Exception as error:  # noqa: BLE001 - of whatever kind, it must not keep the others from being looked at
            found.said.append(f"{name} could not be looked at: {in_one_line(error)}")
            if clock.now() - began > PATIENCE:
                gave_up.add(id(source.manager))
        else:
            found.changed += [] if version is None else [(source, version)]
    return found
