"""Schedules during a launch: what would compete with it is skipped, with the reason, and made up after it.

A tick is judged by its own time, not by when somebody comes to it: a daemon that was away comes to the same. What was
skipped is read from Dagster's own ticks, so a schedule that was switched off has missed nothing; and as Dagster's
scheduler does after an absence, the last skipped tick stands for all of them.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._check import CheckError
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorTick, TickStatus

from offpeak.assets.resources import API_KEY, BatchApi
from offpeak.clock import SystemClock, moment
from offpeak.freshness.chain import Chain
from offpeak.launches.launch import Launch
from offpeak.launches.listed import LONGEST
from offpeak.ledger import launch_windows, notices
from offpeak.ledger.notices import Notice
from offpeak.notifier import NOTIFIER_KEY, Notifier
from offpeak.results.io_manager import RESULTS_KEY, OffpeakResults

LAUNCH_SENSOR = "offpeak_launch_window"

MADE_UP_TAG = "offpeak/made_up_after"
"""On a run that makes up what a launch has skipped: the name of the launch."""

_SKIPPED = "Skipped for the launch "

_LOOKED_BACK = LONGEST + timedelta(days=7)
"""For how long ticks are looked for that are to be made up: the longest window, and a week without a daemon."""


@dataclass
class Competing:
    """Which schedules compete with launches: those that buy from a provider. Known once the definitions are made."""

    providers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By schedule."""

    def learn(self, chain: Chain) -> None:
        """Read from the graph what each schedule buys."""
        found: dict[str, set[str]] = {}
        for node in chain.nodes.values():
            if node.producer is None:
                continue
            for schedule in node.jobs:
                found.setdefault(schedule, set()).add(node.producer.model.partition("/")[0])
        self.providers = {name: frozenset(each) for name, each in found.items()}

    def launch_at(self, schedule: str, launches: Iterable[Launch], at: datetime) -> Launch | None:
        """The launch that a schedule would compete with at a moment; of several, the one that ends last."""
        bought = self.providers.get(schedule, frozenset())
        found = [each for each in launches if each.holds(at) and each.providers & bought]
        return max(found, key=lambda each: each.ends, default=None)


def moved_out(schedule: dg.ScheduleDefinition, api: BatchApi, competing: Competing) -> dg.ScheduleDefinition:
    """The same schedule, which skips the ticks that fall into a launch whose providers it buys from."""

    def evaluate(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        launch = competing.launch_at(schedule.name, api.planned_launches().launches, _time_of(context))
        if launch is not None:
            yield dg.SkipReason(f"{_SKIPPED}{launch.name}, until {moment(launch.ends)}. It is made up after that.")
            return
        tick = schedule.evaluate_tick(context)
        if tick.run_requests:
            yield from tick.run_requests
        else:
            yield dg.SkipReason(tick.skip_message)

    target: dict[str, object] = {"job": schedule.job} if schedule.has_job else {"job_name": schedule.job_name}
    return dg.ScheduleDefinition(
        name=schedule.name,
        cron_schedule=schedule.cron_schedule,
        execution_fn=evaluate,
        execution_timezone=schedule.execution_timezone,
        description=schedule.description,
        default_status=schedule.default_status,
        required_resource_keys=schedule.required_resource_keys,
        tags=schedule.tags,
        metadata=schedule.metadata,
        **target,  # type: ignore[arg-type]
    )


def _time_of(context: dg.ScheduleEvaluationContext) -> datetime:
    """The tick's own time; now where it has none, as in a test that builds a context without one."""
    try:
        return context.scheduled_execution_time.astimezone(UTC)
    except CheckError:
        return SystemClock().now()


Tell = Callable[[Sequence[Launch], datetime, Notifier], Collection[Notice]]
"""What people are to be told of launches, at a moment, as far as the notifier can reach them."""


def launch_sensor(
    schedules: Sequence[dg.ScheduleDefinition],
    jobs: Sequence[object],
    competing: Competing,
    *,
    tell: Tell,
    minimum_interval_seconds: int = 30,
) -> dg.SensorDefinition:
    """The sensor that makes up what launches have skipped, and tells beforehand what they will hold up.

    `schedules` are as their project made them, `jobs` what they run.
    """
    by_name = {each.name: each for each in schedules}

    @dg.sensor(
        name=LAUNCH_SENSOR,
        jobs=jobs,  # type: ignore[arg-type]
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={API_KEY, RESULTS_KEY, NOTIFIER_KEY},
        description="Makes up what schedules have skipped for a launch, and tells beforehand what it will hold up.",
    )
    def after_launches(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        api: BatchApi = getattr(context.resources, API_KEY)
        results: OffpeakResults = getattr(context.resources, RESULTS_KEY)
        now = SystemClock().now()
        launches = api.planned_launches().launches
        windows = launch_windows.windows_of(launches, cancel_bound=api.rescue_terms().cancel_bound)
        launch_windows.declare(results.ledger, windows)
        notices.raise_new(results.ledger, tell(launches, now, getattr(context.resources, NOTIFIER_KEY)))
        done: dict[str, float] = json.loads(context.cursor or "{}")
        requests: list[dg.RunRequest] = []
        for tick in _skipped(context, by_name, since=now - _LOOKED_BACK):
            over = competing.launch_at(tick.schedule, launches, now) is None
            if over and tick.at.timestamp() > done.get(tick.schedule, 0.0):
                requests += _made_up(context, by_name[tick.schedule], tick)
                done[tick.schedule] = tick.at.timestamp()
        context.update_cursor(json.dumps(done, sort_keys=True))
        if requests:
            yield from requests
        else:
            coming = next((each for each in launches if each.ends > now), None)
            yield dg.SkipReason(
                "No launch is planned."
                if coming is None
                else f"The next launch is {coming.name}, from {moment(coming.starts)} to {moment(coming.ends)}."
            )

    return after_launches


@dataclass(frozen=True, slots=True, kw_only=True)
class _Skipped:
    """The last tick of a schedule that a launch has skipped."""

    schedule: str
    at: datetime
    launch: str


def _skipped(context: dg.SensorEvaluationContext, schedules: Collection[str], *, since: datetime) -> Sequence[_Skipped]:
    """By schedule, the last tick that was skipped for a launch; the earliest of these first."""
    found: list[_Skipped] = []
    for state in _switched_on(context, schedules):
        ticks = context.instance.get_ticks(
            state.instigator_origin_id,
            state.selector_id,
            after=since.timestamp(),
            statuses=[TickStatus.SKIPPED],
        )
        mine = [each for each in ticks if (each.skip_reason or "").startswith(_SKIPPED)]
        if mine:
            last: InstigatorTick = max(mine, key=lambda each: each.timestamp)
            name = str(last.skip_reason).removeprefix(_SKIPPED).partition(",")[0]
            at = datetime.fromtimestamp(last.timestamp, UTC)
            found.append(_Skipped(schedule=state.instigator_name, at=at, launch=name))
    return sorted(found, key=lambda each: (each.at, each.schedule))


def _switched_on(context: dg.SensorEvaluationContext, schedules: Collection[str]) -> Iterator[InstigatorState]:
    """The states of this code location's schedules that are switched on."""
    origin = context.code_location_origin
    for state in context.instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE):
        location = state.origin.repository_origin.code_location_origin.location_name
        if state.instigator_name not in schedules or (origin is not None and location != origin.location_name):
            continue
        if state.status is not InstigatorStatus.STOPPED:
            yield state


def _made_up(
    context: dg.SensorEvaluationContext, schedule: dg.ScheduleDefinition, tick: _Skipped
) -> list[dg.RunRequest]:
    """What the schedule asks for at a tick that was skipped. Asked again, it names the same runs."""
    repository = context.repository_def
    needed = schedule.required_resource_keys
    there = {} if repository is None else repository.get_top_level_resources()
    at = tick.at.astimezone(ZoneInfo(schedule.execution_timezone or "UTC"))
    with dg.build_schedule_context(
        instance=context.instance,
        scheduled_execution_time=at,
        repository_def=repository,
        resources={name: there[name] for name in needed},
    ) as made:
        requests = schedule.evaluate_tick(made).run_requests or []
    context.log.info(f"{tick.schedule}: {len(requests):,} runs make up for {at:%Y-%m-%d %H:%M %Z}.")
    return [
        request.with_replaced_attrs(
            run_key=f"{tick.schedule} {tick.at.isoformat()} {request.run_key or number}",
            job_name=request.job_name or schedule.job_name,
            tags={**request.tags, MADE_UP_TAG: tick.launch},
        )
        for number, request in enumerate(requests)
    ]
