"""Runs that wait without a process: everything here that knows how Dagster is made to hold one.

Dagster has no way to suspend a run. So a step that has handed its job to the provider yields nothing, and leaves behind
a queued run of its asset and of everything selected below it, which a tag concurrency limit of nought keeps from
starting. The lifecycle sensor changes that tag when the batches have landed; the run then collects. Runs that Dagster
can suspend by itself would replace this module and nothing else.
"""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import dagster as dg
from dagster._core.execution.api import create_execution_plan
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext
from dagster._core.scheduler.instigation import InstigatorStatus
from dagster._core.snap import snapshot_from_execution_plan
from dagster._core.utils import make_new_run_id
from dagster._core.workspace.context import BaseWorkspaceRequestContext

from offpeak.errors import OffpeakError
from offpeak.ledger import parked_runs
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import ParkedState

SENSOR_NAME = "offpeak_batch_lifecycle"

HOLD_TAG = "offpeak/hold"
WAITING, READY = "waiting", "ready"
PHASE_TAG = "offpeak/phase"
SUBMITTING, SUBMITTED, PARKED, COLLECTING = "submitting", "submitted", "parked", "collecting"
PROGRESS_TAG = "offpeak/progress"
JOB_TAG = "offpeak/job"
ORIGIN_TAG = "offpeak/origin_run"
"""The run that somebody launched, whose place the others hold one after the other."""
LEDGER_TAG = "offpeak/ledger"

LIMIT = """\
concurrency:
  runs:
    tag_concurrency_limits:
      - {key: offpeak/hold, value: waiting, limit: 0}
"""
"""What dagster.yaml has to say for a run to be held."""

_OF_ONE_RUN = (
    "dagster/run_key",
    "dagster/parent_run_id",
    "dagster/root_run_id",
    "dagster/is_resume_retry",
    "dagster/is_asset_resume_retry",
    "dagster/step_selection",
    "dagster/solid_selection",
    "dagster/retry_number",
    "dagster/will_retry",
    "dagster/did_retry",
    "dagster/auto_retry_run_id",
    "dagster/failure_reason",
    ".dagster/grpc_info",
    ".dagster/run_worker",
    ".dagster/pool/",
    PROGRESS_TAG,
)
"""Beginnings of tags that say something of one run alone; every other tag goes on to the run that holds its place."""


class CannotHold(OffpeakError):
    """Dagster did not take the run that would hold a place; nothing is lost, but somebody else has to wait."""


EntityKey = dg.AssetKey | dg.AssetCheckKey


@dataclass(frozen=True, slots=True)
class Selection:
    """What a run executes."""

    assets: Set[dg.AssetKey]
    checks: Set[dg.AssetCheckKey]


def why_in_place(context: dg.AssetExecutionContext) -> str | None:
    """Why this run has to wait for its batch itself, with what would change that; None when it can be parked."""
    run, instance = context.run, context.instance
    if run.remote_job_origin is None or instance.is_ephemeral:
        return "it was not launched through Dagster's run queue (a button, a schedule, a sensor or a backfill does)"
    if not isinstance(instance.run_coordinator, QueuedRunCoordinator):
        return "this instance queues no runs: remove run_coordinator from dagster.yaml, or make it the queued one"
    limits = instance.get_concurrency_config().run_queue_config
    if not any(_holds(limit) for limit in (limits.tag_concurrency_limits or () if limits else ())):
        return f"dagster.yaml has no limit that holds a parked run. It needs:\n{LIMIT}"
    for daemon, status in instance.get_daemon_statuses(["SENSOR", "QUEUED_RUN_COORDINATOR"]).items():
        if not status.healthy:
            return f"the {daemon.lower().replace('_', ' ')} daemon gives no sign of life: start dagster-daemon"
    return _why_no_sensor(context)


def _holds(limit: Mapping[str, object]) -> bool:
    return (limit.get("key"), limit.get("value"), limit.get("limit")) == (HOLD_TAG, WAITING, 0)


def _why_no_sensor(context: dg.AssetExecutionContext) -> str | None:
    if not context.repository_def.has_sensor_def(SENSOR_NAME):
        return f"the sensor {SENSOR_NAME} is not among the definitions: pass them through offpeak.with_offpeak"
    running = context.repository_def.get_sensor_def(SENSOR_NAME).default_status is dg.DefaultSensorStatus.RUNNING
    for state in context.instance.all_instigator_state():
        if state.name == SENSOR_NAME and _location(state.origin) == _location(context.run.remote_job_origin):
            running = state.status is not InstigatorStatus.STOPPED and (
                running or state.status is InstigatorStatus.RUNNING
            )
    return None if running else f"the sensor {SENSOR_NAME} is switched off: start it under Automation in the UI"


def _location(origin: object) -> str:
    repository = getattr(origin, "repository_origin", None)
    return str(getattr(getattr(repository, "code_location_origin", None), "location_name", ""))


def begin_submitting(context: dg.AssetExecutionContext) -> None:
    """Say that this run is going to be parked: terminating it from now on stops what it submits."""
    if context.run.tags.get(PHASE_TAG) != COLLECTING:
        context.instance.add_run_tags(context.run.run_id, {PHASE_TAG: SUBMITTING})


def park(
    context: dg.AssetExecutionContext, ledger: Ledger, job_id: int, *, again_at: datetime | None, progress: str
) -> str:
    """Leave behind one run that holds the place of this one for `job_id` and all that it parked before; returns its id.

    `again_at` is when it goes on although not everything has landed. Raises CannotHold.
    """
    run, instance = context.run, context.instance
    own = context.asset_key.to_user_string()
    while True:
        jobs = parked_runs.members(ledger, run.run_id) | {job_id: own}
        tags = {
            HOLD_TAG: WAITING,
            PHASE_TAG: PARKED,
            PROGRESS_TAG: progress,
            JOB_TAG: ",".join(map(str, sorted(jobs))),
            ORIGIN_TAG: run.tags.get(ORIGIN_TAG, run.run_id),
            LEDGER_TAG: ledger.identity,
        }
        run_id, number = queue_held_run(
            instance,
            ledger,
            context.repository_def,
            run,
            origin_run_id=run.run_id,
            location=location_of(run),
            selection=_below(context, {dg.AssetKey.from_user_string(asset) for asset in jobs.values()}),
            tags=tags,
        )
        replaced = parked_runs.hold(
            ledger,
            number,
            origin_run_id=run.run_id,
            jobs=jobs,
            joining=job_id,
            progress=progress,
            release_at=again_at,
        )
        for surplus in replaced if replaced is not None else [run_id]:
            instance.delete_run(surplus)
        if replaced is not None:
            break
    instance.add_run_tags(run.run_id, {PHASE_TAG: SUBMITTED, JOB_TAG: tags[JOB_TAG]})
    return run_id


def _below(context: dg.AssetExecutionContext, assets: Collection[dg.AssetKey]) -> Selection:
    """The assets and checks of the steps that make `assets`, and of every step of this run that needs one of those."""
    steps = _steps(context.instance, context.run)
    return _selection(steps, _and_below(steps, {key for key, step in steps.items() if step.makes & set(assets)}))


@dataclass(frozen=True, slots=True)
class _Step:
    """A step of a run, with the keys of the steps it needs."""

    needs: Set[str]
    makes: Set[EntityKey]


def _steps(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[str, _Step]:
    """The steps that `run` executes, by key. Raises CannotHold for a run that does not say."""
    if run.execution_plan_snapshot_id is None:
        raise CannotHold(f"run {run.run_id} was created without its execution plan")
    plan = instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)
    needs, chosen = plan.step_deps, set(plan.step_keys_to_execute)
    return {
        step.key: _Step(needs=needs[step.key], makes=frozenset(step.entity_keys))
        for step in plan.steps
        if step.key in chosen
    }


def _and_below(steps: Mapping[str, _Step], keys: Set[str]) -> Set[str]:
    """These steps, and all that need one of them."""
    found = set(keys)
    while more := {key for key, step in steps.items() if key not in found and step.needs & found}:
        found |= more
    return found


def _selection(steps: Mapping[str, _Step], keys: Set[str]) -> Selection:
    made = {entity for key in keys for entity in steps[key].makes}
    return Selection(
        assets=frozenset(entity for entity in made if isinstance(entity, dg.AssetKey)),
        checks=frozenset(entity for entity in made if isinstance(entity, dg.AssetCheckKey)),
    )


def queue_held_run(
    instance: dg.DagsterInstance,
    ledger: Ledger,
    repository: dg.RepositoryDefinition,
    like: dg.DagsterRun,
    *,
    origin_run_id: str,
    location: str,
    selection: Selection,
    tags: Mapping[str, str],
) -> tuple[str, int]:
    """Write down and queue a run of `selection` that is held; its id, and its number in the ledger.

    It holds no place yet. Raises CannotHold; nothing is left of it then.
    """
    run_id = make_new_run_id()
    number = parked_runs.intend(ledger, run_id=run_id, origin_run_id=origin_run_id, location=location)
    try:
        _create_held_run(instance, repository, like, run_id=run_id, selection=selection, tags=tags)
    except Exception as error:
        instance.delete_run(run_id)
        parked_runs.enter(ledger, number, ParkedState.ENDED, why=f"could not be queued: {error}")
        raise CannotHold(f"Dagster could not queue the run that would hold its place: {error}") from error
    return run_id, number


def _create_held_run(
    instance: dg.DagsterInstance,
    repository: dg.RepositoryDefinition,
    like: dg.DagsterRun,
    *,
    run_id: str,
    selection: Selection,
    tags: Mapping[str, str],
) -> None:
    """Queue a run of `selection`, with the job, the run config, the partitions and the tags of `like`."""
    job = repository.get_job(like.job_name).get_subset(
        asset_selection=selection.assets, asset_check_selection=selection.checks
    )
    ops = like.run_config.get("ops")
    run_config = dict(like.run_config)
    if isinstance(ops, Mapping):
        run_config["ops"] = {name: config for name, config in ops.items() if name in job.graph.node_dict}
    kept = {name: value for name, value in like.tags.items() if not name.startswith(_OF_ONE_RUN)}
    plan = create_execution_plan(job, run_config=run_config, instance_ref=instance.get_ref(), tags={**kept, **tags})
    run = instance.create_run(
        job_name=job.name,
        run_id=run_id,
        run_config=run_config,
        status=dg.DagsterRunStatus.NOT_STARTED,
        tags={**kept, **tags},
        root_run_id=None,
        parent_run_id=None,
        step_keys_to_execute=None,
        execution_plan_snapshot=snapshot_from_execution_plan(plan, job.get_job_snapshot_id()),
        job_snapshot=job.get_job_snapshot(),
        parent_job_snapshot=job.get_parent_job_snapshot(),
        asset_selection=selection.assets,
        asset_check_selection=selection.checks,
        resolved_op_selection=None,
        op_selection=None,
        remote_job_origin=like.remote_job_origin,
        job_code_origin=like.job_code_origin,
        asset_graph=job.asset_layer.asset_graph,
    )
    # the queue needs no workspace: only a coordinator that launches at once would
    nowhere = cast("BaseWorkspaceRequestContext", None)
    instance.run_coordinator.submit_run(SubmitRunContext(run, workspace=nowhere))


def location_of(run: dg.DagsterRun) -> str:
    """The name of the code location that a run was launched from; empty for one that was launched from none."""
    return _location(run.remote_job_origin)


def held(instance: dg.DagsterInstance, ledger: Ledger) -> set[str]:
    """The runs that are queued and held for this ledger.

    A query for each tag: Dagster's own for both takes a time that grows with the square of the runs on SQLite, which is
    0.4 CPU seconds instead of 0.02 among a thousand.
    """

    def queued(tag: str, value: str) -> set[str]:
        filters = dg.RunsFilter(tags={tag: value}, statuses=[dg.DagsterRunStatus.QUEUED])
        return set(instance.get_run_ids(filters))

    return queued(HOLD_TAG, WAITING) & queued(LEDGER_TAG, ledger.identity)


def runs(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> dict[str, dg.DagsterRun]:
    """These runs, as far as Dagster has them."""
    if not run_ids:
        return {}
    return {run.run_id: run for run in instance.get_runs(dg.RunsFilter(run_ids=list(run_ids)))}


def release(instance: dg.DagsterInstance, run_id: str) -> None:
    """Let a held run start."""
    instance.add_run_tags(run_id, {HOLD_TAG: READY, PHASE_TAG: COLLECTING})


def show_progress(instance: dg.DagsterInstance, run_id: str, progress: str) -> None:
    """Say on a run how far it is: on a held one its batches, on one that makes calls these."""
    instance.add_run_tags(run_id, {PROGRESS_TAG: progress})


def still_possible(instance: dg.DagsterInstance, original: dg.DagsterRun, parked: dg.DagsterRun) -> Selection | None:
    """What is left to run of `parked` when `original` has failed: nothing below what did not succeed there.

    None when nothing has to be left out.
    """
    steps = _steps(instance, original)
    succeeded = {
        record.event_log_entry.step_key
        for record in instance.get_records_for_run(original.run_id, of_type=dg.DagsterEventType.STEP_SUCCESS).records
    }
    kept: Set[EntityKey] = {*(parked.asset_selection or ()), *(parked.asset_check_selection or ())}
    parts = {key for key, step in steps.items() if step.makes & kept}
    lost = {key for key, step in steps.items() if step.makes and key not in succeeded and key not in parts}
    possible = parts - _and_below(steps, lost)
    return _selection(steps, possible) if possible != parts else None
