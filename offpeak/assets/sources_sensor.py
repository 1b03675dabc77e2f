"""The sensor that looks whether source assets have changed, where no listener tells of it. It starts no run.

A look is one question of constant cost. What a listener looks after is left alone. A table that cannot be looked at
cheaply, because nothing keeps track of its changes, is not asked again for a while: the cursor remembers until when.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

import dagster as dg

from offpeak.assets.heartbeat import listened_to
from offpeak.assets.observing import Observed, in_one_line
from offpeak.clock import Clock, SystemClock
from offpeak.errors import ConfigurationError

SOURCES_SENSOR = "offpeak_sources"

PATIENCE = timedelta(seconds=5)
"""A look that fails after so long is the last one at its IO manager in this tick: the others would take as long."""

NOT_AGAIN_FOR = timedelta(minutes=10)
"""How long a table is left alone that cannot be looked at cheaply."""


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
        tick = Tick(sources, context.instance, SystemClock(), cursor=context.cursor)
        tick.run()
        for line in tick.failed:
            context.log.warning(line)
        return dg.SensorResult(
            asset_events=[source.observation(version) for source, version in tick.changed],
            cursor=tick.cursor,
            skip_reason=dg.SkipReason(str(tick)),
        )

    return look


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftAlone:
    """A source that cannot be looked at cheaply."""

    until: str
    why: str


@dataclass(slots=True)
class Tick:
    """One evaluation, and what it has found."""

    sources: Sequence[Observed]
    instance: dg.DagsterInstance
    clock: Clock
    cursor: str | None
    listened_to: int = 0
    changed: list[tuple[Observed, str]] = field(default_factory=list)
    """With the new data version."""
    failed: list[str] = field(default_factory=list)
    """Of each source that could not be looked at this time, why."""
    left_alone: dict[str, LeftAlone] = field(default_factory=dict)

    def run(self) -> None:
        """Ask the sources that no listener looks after for their data version."""
        now = self.clock.now()
        covered = listened_to(self.instance, [source.key for source in self.sources], now=now)
        self.listened_to = len(covered)
        before, late = _read(self.cursor), set[int]()
        for source in self.sources:
            name = source.key.to_user_string()
            if source.key in covered:
                continue
            if name in before and now < datetime.fromisoformat(before[name].until):
                self.left_alone[name] = before[name]
            elif id(source.manager) in late:
                self.failed.append(f"{name} was not looked at, because its source answers late")
            elif not self._look(source, name):
                late.add(id(source.manager))
        self.cursor = json.dumps({name: asdict(each) for name, each in self.left_alone.items()})

    def _look(self, source: Observed, name: str) -> bool:
        """Whether the source answered in time, with whatever."""
        began = self.clock.now()
        try:
            version = source.new_version(self.instance)
        except ConfigurationError as error:
            self.left_alone[name] = LeftAlone(until=(began + NOT_AGAIN_FOR).isoformat(), why=in_one_line(error))
        except Exception as error:  # noqa: BLE001 - of whatever kind, it must not keep the others from being looked at
            self.failed.append(f"{name} could not be looked at: {in_one_line(error)}")
            return self.clock.now() - began <= PATIENCE
        else:
            self.changed += [] if version is None else [(source, version)]
        return True

    def __str__(self) -> str:
        if self.listened_to == len(self.sources):
            return f"A listener looks after all {self.listened_to}: nothing was asked."
        changed = ", ".join(source.key.to_user_string() for source, _ in self.changed)
        parts = [f"Changed: {changed}." if changed else "Nothing has changed."]
        parts += [f"A listener looks after {self.listened_to} of {len(self.sources)}."] if self.listened_to else []
        parts += [f"{each}." for each in self.failed]
        if self.left_alone:
            first = next(iter(self.left_alone.values()))
            parts.append(f"Not looked at: {', '.join(self.left_alone)}. {first.why}.")
        return " ".join(parts)


def _read(cursor: str | None) -> dict[str, LeftAlone]:
    """As it was written; empty where another version wrote it."""
    try:
        kept = {str(name): LeftAlone(**each) for name, each in json.loads(cursor or "{}").items()}
        assert all(datetime.fromisoformat(each.until).tzinfo for each in kept.values())  # noqa: S101
    except (ValueError, TypeError, AttributeError, AssertionError):
        return {}
    return kept
