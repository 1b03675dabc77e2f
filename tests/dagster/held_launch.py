"""A launch on a held clock: the daemon's part in it, done when a test wants it done."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.remote_origin import RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    TickData,
    TickStatus,
)

from offpeak.assets import materialize
from offpeak.assets.launch_schedules import LAUNCH_SENSOR
from offpeak.clock import SystemClock

from ..conftest import LocalProvider
from .code_location import CodeLocation


@dataclass
class Time:
    """The time of Offpeak and of the provider, held; what sleeps has it pass."""

    provider: LocalProvider
    now: datetime

    def to(self, moment: datetime) -> None:
        self.now = moment
        self.provider.call("POST", "/local/clock", {"now": moment.timestamp()})


@contextmanager
def holding(provider: LocalProvider, at: datetime, monkeypatch: pytest.MonkeyPatch) -> Iterator[Time]:
    """Have it be this moment, here and there, until it is said to be another."""
    held = Time(provider, at)
    monkeypatch.setattr(SystemClock, "now", lambda self: held.now)
    monkeypatch.setattr(SystemClock, "sleep", lambda self, duration: held.to(held.now + duration))
    # Dagster's own clock goes on, so the moment at which it created a run is not one of this time
    monkeypatch.setattr(materialize, "_created", lambda context, clock: clock.now())
    held.to(at)
    yield held
    provider.call("DELETE", "/local/clock")


@dataclass
class Stage:
    """A code location with a launch, and what the daemon would do there."""

    here: CodeLocation
    time: Time
    provider: LocalProvider
    cursor: str | None = None
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def turn(self) -> None:
        """What the daemon does of itself: a look at parked runs, and what it releases."""
        self.here.beat()
        self.here.turn()

    def schedule(self, name: str, at: datetime) -> list[dg.DagsterRun]:
        """One tick, as Dagster's scheduler makes and records it; the runs that it began, carried out."""
        self.time.to(at)
        schedule, there = self.here.repository.get_schedule_def(name), self.here.repository.get_top_level_resources()
        with dg.build_schedule_context(
            instance=self.here.instance,
            scheduled_execution_time=at,
            repository_def=self.here.repository,
            resources={name: there[name] for name in schedule.required_resource_keys},
        ) as context:
            tick = schedule.evaluate_tick(context)
        requests = tick.run_requests or []
        origin = RemoteRepositoryOrigin(self.here.origin, self.here.repository.name).get_instigator_origin(name)
        state = InstigatorState(
            origin,
            InstigatorType.SCHEDULE,
            InstigatorStatus.RUNNING,
            ScheduleInstigatorData("0 * * * *", at.timestamp()),
        )
        if self.here.instance.get_instigator_state(state.instigator_origin_id, state.selector_id) is None:
            self.here.instance.add_instigator_state(state)
        self.here.instance.create_tick(
            TickData(
                instigator_origin_id=state.instigator_origin_id,
                instigator_name=name,
                instigator_type=InstigatorType.SCHEDULE,
                status=TickStatus.SUCCESS if requests else TickStatus.SKIPPED,
                timestamp=at.timestamp(),
                selector_id=state.selector_id,
                skip_reason=tick.skip_message,
                run_ids=[],
            )
        )
        if tick.skip_message:
            self.skipped.append((name, tick.skip_message))
        return self.begin(requests, schedule.job_name)

    def after(self) -> SensorExecutionData:
        """A tick of the sensor that makes up what was skipped; what it asks for is carried out."""
        sensor = self.here.repository.get_sensor_def(LAUNCH_SENSOR)
        with dg.SensorEvaluationContext(
            None,
            instance=self.here.instance,
            cursor=self.cursor,
            repository_name=self.here.repository.name,
            repository_def=self.here.repository,
            sensor_name=LAUNCH_SENSOR,
            resources=self.here.repository.get_top_level_resources(),
            code_location_origin=self.here.origin,
        ) as context:
            tick = sensor.evaluate_tick(context)
        self.cursor = tick.cursor
        self.begin(tick.run_requests or [], "")
        return tick

    def begin(self, requests: Any, job: str) -> list[dg.DagsterRun]:
        self.here.beat()
        runs = []
        for request in requests:
            run = self.here.launch(job=request.job_name or job, tags=dict(request.tags))
            self.here.start(run)
            runs.append(self.here.now(run))
        return runs

    def batches(self) -> int:
        return len(self.provider.batches())
