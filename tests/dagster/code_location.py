"""A code location on an instance without a daemon: a test does what the daemon would do, when it wants it done.

Runs are created, queued, let go by Dagster's own queue and executed by Dagster's own engine, in this process.
"""

import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import dagster as dg
import sqlalchemy as sa
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.events import DagsterEvent
from dagster._core.execution.api import create_execution_plan, execute_run
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import BaseWorkspaceRequestContext
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon
from dagster._daemon.types import DaemonHeartbeat

from offpeak import with_offpeak
from offpeak.assets.parking import HOLD_TAG, SENSOR_NAME, WAITING
from offpeak.ledger import parked_runs, tables
from offpeak.ledger.jobs import JobRow, listed
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.parked_runs import ParkedRun
from offpeak.ledger.states import ParkedState

from ..conftest import ROOT

DAEMONS = ("SENSOR", "QUEUED_RUN_COORDINATOR")
ALL_ASSETS = "__ASSET_JOB"
"""The job that Dagster makes of all assets, which a launch from the UI selects from."""
NOWHERE = cast("BaseWorkspaceRequestContext", None)
"""The queue needs no workspace: only a coordinator that launches at once would."""


def keys(names: Iterable[str]) -> frozenset[dg.AssetKey]:
    return frozenset(map(dg.AssetKey.from_user_string, names))


class _Job(InMemoryJob):
    """A job of a repository that is in this process, subsets of it included."""

    def __init__(self, job: dg.JobDefinition, repository: dg.RepositoryDefinition) -> None:
        super().__init__(job)
        self._repository = repository

    def get_repository_definition(self) -> dg.RepositoryDefinition:
        return self._repository

    def get_subset(self, **selection: Any) -> "_Job":
        return _Job(self.get_definition().get_subset(**selection), self._repository)


def job_of(repository: dg.RepositoryDefinition, name: str) -> InMemoryJob:
    """A job as Dagster's engine takes it."""
    return _Job(repository.get_job(name), repository)


@dataclass
class CodeLocation:
    """Definitions on an instance; `ledger` is theirs, opened by the test."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    ledger: Ledger
    name: str = "here"
    through_offpeak: bool = True
    repository: dg.RepositoryDefinition = field(init=False)

    def __post_init__(self) -> None:
        found = with_offpeak(self.definitions) if self.through_offpeak else self.definitions
        self.repository = found.get_repository_def()
        self.origin = InProcessCodeLocationOrigin(
            LoadableTargetOrigin(python_file=f"{self.name}.py"), location_name=self.name
        )

    def beat(self, *daemons: str, at: float | None = None) -> None:
        """A sign of life of these daemons, by default of all that parking needs."""
        for daemon in daemons or DAEMONS:
            self.instance.add_daemon_heartbeat(DaemonHeartbeat(at or time.time(), daemon, "a daemon"))

    # Launching

    def launch(
        self,
        *assets: str,
        job: str = ALL_ASSETS,
        tags: dict[str, str] | None = None,
        run_config: dict[str, Any] | None = None,
        partition: str | None = None,
        partitions: tuple[str, str] | None = None,
        queued: bool = True,
        origin: bool = True,
    ) -> dg.DagsterRun:
        """A run of these assets (all of the job's without any), created as the UI does it."""
        tags = dict(tags or {})
        if partition is not None:
            tags["dagster/partition"] = partition
        if partitions is not None:
            tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"] = partitions
        run = self.instance.create_run_for_job(
            self.repository.get_job(job),
            asset_selection=keys(assets) or None,
            run_config=run_config,
            tags=tags,
            status=dg.DagsterRunStatus.NOT_STARTED,
            remote_job_origin=self._job_origin(job) if origin else None,
            job_code_origin=self._code_origin(job) if origin else None,
        )
        return self._queue(run) if queued else run

    def re_execute_from_failure(self, parent: dg.DagsterRun) -> dg.DagsterRun:
        """A run of the steps of a failed run that did not succeed, as the UI makes it."""
        steps, known = KnownExecutionState.build_resume_retry_reexecution(self.instance, parent)
        job = self.repository.get_job(parent.job_name).get_subset(asset_selection=parent.asset_selection)
        plan = create_execution_plan(
            job, run_config=parent.run_config, step_keys_to_execute=list(steps), known_state=known, tags=parent.tags
        )
        tags = {"dagster/parent_run_id": parent.run_id, "dagster/root_run_id": parent.run_id}
        run = self.instance.create_run_for_job(
            self.repository.get_job(parent.job_name),
            plan,
            asset_selection=parent.asset_selection,
            run_config=parent.run_config,
            tags={**parent.tags, **tags, "dagster/is_resume_retry": "true"},
            parent_run_id=parent.run_id,
            root_run_id=parent.run_id,
            status=dg.DagsterRunStatus.NOT_STARTED,
            remote_job_origin=self._job_origin(parent.job_name),
            job_code_origin=self._code_origin(parent.job_name),
        )
        return self._queue(run)

    def _queue(self, run: dg.DagsterRun) -> dg.DagsterRun:
        self.instance.submit_run(run.run_id, NOWHERE)
        return self.now(run)

    def _job_origin(self, job: str) -> Any:
        return RemoteRepositoryOrigin(self.origin, self.repository.name).get_job_origin(job)

    def _code_origin(self, job: str) -> JobPythonOrigin:
        return JobPythonOrigin(job, RepositoryPythonOrigin(sys.executable, ModuleCodePointer(self.name, "defs", None)))

    # What the daemon does

    def run(self, *assets: str, **more: Any) -> dg.DagsterRun:
        """Launch a run, and let the daemon carry it out."""
        self.beat()
        run = self.launch(*assets, **more)
        self.start(run)
        return self.now(run)

    def start(self, run: dg.DagsterRun) -> None:
        """Carry a run out, as its process would; how it ended is in the instance."""
        self.instance.report_dagster_event(DagsterEvent("PIPELINE_STARTING", job_name=run.job_name), run.run_id)
        execute_run(job_of(self.repository, run.job_name), self.now(run), self.instance)

    def let_go(self) -> list[dg.DagsterRun]:
        """Start every run that Dagster's queue has no reason to hold; returns them."""
        with QueuedRunCoordinatorDaemon(interval_seconds=1) as daemon:
            ready = daemon._get_runs_to_dequeue(self.instance, self.instance.get_concurrency_config(), None)
        for run in ready:
            self.start(run)
        return [self.now(run) for run in ready]

    def tick(self, cursor: str | None = None) -> SensorExecutionData:
        """One evaluation of the lifecycle sensor. Without a cursor, it is its first and looks at every account."""
        with dg.SensorEvaluationContext(
            None,
            instance=self.instance,
            cursor=cursor,
            repository_name=self.repository.name,
            repository_def=self.repository,
            sensor_name=SENSOR_NAME,
            resources=self.repository.get_top_level_resources(),
            code_location_origin=self.origin,
        ) as context:
            return self.repository.get_sensor_def(SENSOR_NAME).evaluate_tick(context)

    def turn(self) -> SensorExecutionData:
        """A tick, then the runs that it requests and those that it released."""
        tick = self.tick()
        for request in tick.run_requests or ():
            job = request.job_name or self.repository.get_sensor_def(SENSOR_NAME).job_name
            self.launch(job=job, tags=dict(request.tags))
        self.let_go()
        return tick

    def terminate(self, run: dg.DagsterRun) -> None:
        """The Terminate button on a run that has not started."""
        assert self.instance.run_coordinator.cancel_run(run.run_id)

    # What came of it

    def now(self, run: dg.DagsterRun) -> dg.DagsterRun:
        found = self.instance.get_run_by_id(run.run_id)
        assert found is not None
        return found

    def held(self) -> list[dg.DagsterRun]:
        """The runs that are queued and held, oldest first."""
        filters = dg.RunsFilter(tags={HOLD_TAG: WAITING}, statuses=[dg.DagsterRunStatus.QUEUED])
        return list(reversed(self.instance.get_runs(filters)))

    def parked(self) -> dg.DagsterRun:
        """The one run that is held."""
        (run,) = self.held()
        return run

    def made(self, asset: str) -> list[str]:
        """The runs that materialised an asset, oldest first."""
        key = dg.AssetKey.from_user_string(asset)
        return [record.run_id for record in reversed(self.instance.fetch_materializations(key, limit=100).records)]

    def jobs(self, asset: str | None = None) -> list[JobRow]:
        """Jobs in the ledger, oldest first."""
        return list(reversed(listed(self.ledger, asset=asset)))

    def states(self, asset: str | None = None) -> list[str]:
        """Their states."""
        return [job.state.value for job in self.jobs(asset)]

    def parked_runs(self) -> list[ParkedRun]:
        """Those that are not over, in the ledger, oldest first."""
        return parked_runs.open_ones(self.ledger)

    def parked_states(self) -> list[ParkedState]:
        """What became of every parked run that the ledger ever wrote down, oldest first."""
        with self.ledger.database.read() as connection:
            query = sa.select(tables.parked_run.c.state).order_by(tables.parked_run.c.id)
            return [ParkedState(state) for state in connection.execute(query).scalars()]

    def evaluated(self, check: str) -> list[tuple[str, bool]]:
        """The evaluations of a check ("asset:check"), oldest first: in which run, and whether it passed."""
        asset, _, name = check.partition(":")
        key = dg.AssetCheckKey(dg.AssetKey.from_user_string(asset), name)
        records = self.instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
        found = [(record.run_id, record.event) for record in reversed(records)]
        return [
            (run_id, evaluation.passed)
            for run_id, event in found
            if event is not None and (evaluation := event.asset_check_evaluation) is not None
        ]

    def messages(self, run: dg.DagsterRun) -> str:
        """Everything that a run logged, its errors included."""
        said = []
        for entry in self.instance.all_logs(run.run_id):
            said.append(entry.message)
            error = getattr(getattr(entry.dagster_event, "event_specific_data", None), "error", None)
            while error is not None:
                said.append(error.message)
                error = error.cause
        return "\n".join(said)


def names(run: dg.DagsterRun) -> set[str]:
    """The assets of a run."""
    return {key.to_user_string() for key in run.asset_selection or ()}


def checks(run: dg.DagsterRun) -> set[str]:
    """The checks of a run, each as "asset:check"."""
    return {f"{key.asset_key.to_user_string()}:{key.name}" for key in run.asset_check_selection or ()}


def make_home(home: Path) -> Path:
    """Databases and settings for an instance, in a folder."""
    write_settings(home)
    with dg.DagsterInstance.from_config(str(home)) as made:
        made.get_runs(limit=1)
        made.all_instigator_state()
    return home


def copy_home(made: Path, home: Path) -> Path:
    """The same elsewhere, which takes a fraction of the time."""
    shutil.copytree(made, home)
    write_settings(home)
    return home


def write_settings(home: Path, **changes: Any) -> None:
    """This project's own, but for the events of all runs in one file: making one for each run takes longer than it."""
    events = {
        "module": "dagster._core.storage.event_log",
        "class": "ConsolidatedSqliteEventLogStorage",
        "config": {"base_dir": str(home / "history")},
    }
    own = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    (home / "dagster.yaml").write_text(yaml.safe_dump(own | {"event_log_storage": events} | changes))
