"""A whole Dagster deployment in a folder: code server, daemon and webserver as processes of their own.

Everything is done to it as a person does it, over the webserver's GraphQL. What came of it is read from Dagster's
storage, so that it can be watched while the webserver is down.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import psutil
import psycopg
import yaml
from dagster._core.scheduler.instigation import InstigatorType

from offpeak.assets.parking import SENSOR_NAME
from offpeak.cli.up import KEEP_BACKFILLS
from offpeak.cli.webserver import AssetNode, Webserver, WebserverError
from offpeak.errors import ConfigurationError
from offpeak.ledger.jobs import JobRow, listed
from offpeak.ledger.ledger import Ledger
from offpeak.processes import accepts_connections

from ..conftest import ROOT, LocalProvider, free_port

DEFINITIONS = Path(__file__).parent / "project" / "definitions.py"
DG_PROJECT = """\
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "definitions"
code_location_target_module = "definitions"
code_location_name = "parked"
"""
SOURCE_ROWS = 20
"""Rows of the sample data in each of the deployment's source tables."""

LOOK_EVERY_S = 1.0
ENDS_WITHIN_S = 400.0
"""For anything that is waited for: the daemon starts one run after the other, each in 2 s, or in 10 on busy cores."""

UNFINISHED = frozenset(
    {
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    }
)
DAEMONS = frozenset({"SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR", "BACKFILL", "ASSET"})


class Program:
    """One process of the deployment with its children; it can be stopped, killed and started again."""

    def __init__(self, name: str, arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self._arguments, self._environment, self._folder = list(arguments), dict(environment), folder
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._arguments],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """As a machine that goes away: the process and everything that it started, with signal 9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As a redeployment does it: asked first, and killed when it does not hear."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        family = [*self.children(), self._process.pid]
        self._signal(number)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(15)
        self._signal(signal.SIGKILL)
        self._process.wait()
        psutil.wait_procs([psutil.Process(pid) for pid in family if psutil.pid_exists(pid)], timeout=5)
        self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    @property
    def ended(self) -> bool:
        """Whether it ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def children(self) -> list[int]:
        """The processes that it started and that live."""
        if self._process is None:
            return []
        try:
            return [child.pid for child in psutil.Process(self._process.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def log(self, characters: int = 6_000) -> str:
        return self._log.read_text(errors="replace")[-characters:] if self._log.exists() else "(nothing)"


class UserInterface(Webserver):
    """What a person presses in the UI, beside what Offpeak's own client of the webserver does."""

    def backfill(self, assets: Sequence[AssetNode], partitions: Sequence[str]) -> str:
        """Launch a backfill of these partitions; its id."""
        answer = self._ask(
            _BACKFILL,
            params={
                "assetSelection": [{"path": list(asset.path)} for asset in assets],
                "partitionNames": list(partitions),
            },
        )["launchPartitionBackfill"]
        return str(_succeeded(answer, "LaunchBackfillSuccess")["backfillId"])

    def cancel_backfill(self, backfill_id: str) -> None:
        _succeeded(
            self._ask(_CANCEL_BACKFILL, backfillId=backfill_id)["cancelPartitionBackfill"], "CancelBackfillSuccess"
        )

    def terminate(self, run_id: str) -> None:
        """The Terminate button, without the force of it."""
        (answer,) = _succeeded(self._ask(_TERMINATE, runIds=[run_id])["terminateRuns"], "TerminateRunsResult")[
            "terminateRunResults"
        ]
        _succeeded(answer, "TerminateRunSuccess")

    def re_execute(self, run_id: str) -> str:
        """ "Re-execute all" on a run's page; the new run's id."""
        params = {"parentRunId": run_id, "strategy": "ALL_STEPS", "useParentRunTags": True}
        answer = self._ask(_RE_EXECUTE, params=params)["launchRunReexecution"]
        return str(_succeeded(answer, "LaunchRunSuccess")["run"]["runId"])


def _succeeded(answer: dict[str, Any], expected: str) -> dict[str, Any]:
    if answer["__typename"] != expected:
        raise WebserverError(f"Dagster answered {answer['__typename']}: {answer}")
    return answer


@dataclass(frozen=True)
class Landed:
    """One materialization in Dagster's event log."""

    asset: str
    partition: str | None
    run_id: str


@dataclass
class Deployment:
    """A deployment in `folder` that buys at `provider`. Everything is stored on the Postgres server where one is given.

    Thread-safe, but for starting and ending it.
    """

    folder: Path
    provider: LocalProvider
    postgres: str | None = None
    definitions: Path = DEFINITIONS
    instance: dg.DagsterInstance = field(init=False)
    ledger: Ledger = field(init=False)
    _told: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.home = self.folder / "dagster"
        self.home.mkdir(parents=True)
        spool = self.folder / "spool"
        self.database_url = f"sqlite:///{self.folder / 'offpeak.db'}"
        settings = yaml.safe_load((ROOT / "dagster.yaml").read_text())
        if self.postgres is not None:
            settings["storage"] = {"postgres": {"postgres_url": self._new_database("dagster")}}
            self.database_url = self._new_database("offpeak").replace("postgresql:", "postgresql+psycopg:")
        (self.home / "dagster.yaml").write_text(yaml.safe_dump(settings))
        self.project = self.folder / "project"
        self.project.mkdir()
        shutil.copy(self.definitions, self.project / "definitions.py")
        (self.project / "pyproject.toml").write_text(DG_PROJECT)
        sources = self.folder / "sources"
        sources.mkdir()
        for table in ("support_tickets", "documents"):
            rows = pd.read_csv(ROOT / "sample_data" / f"{table}.csv", dtype=str, nrows=SOURCE_ROWS)
            rows.to_csv(sources / f"{table}.csv", index=False)
        self.environment = {
            **os.environ,
            **KEEP_BACKFILLS,
            "DAGSTER_HOME": str(self.home),
            "OFFPEAK_DATABASE_URL": self.database_url,
            "OFFPEAK_SOURCE_URL": f"folder:{sources}",
            "OFFPEAK_PROVIDER": "local",
            "OFFPEAK_LOCAL_URL": self.provider.url,
            "PARKED_SPOOL": str(spool),
            "PARKED_TABLES": str(self.folder / "tables"),
            "PYTHONUNBUFFERED": "1",
        }
        code_port, port = free_port(), free_port()
        at = {"host": "127.0.0.1", "port": code_port, "location_name": "parked"}
        workspace = self.folder / "workspace.yaml"
        workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": at}]}))
        self._code_at = f"127.0.0.1:{code_port}"
        serve = ["-h", "127.0.0.1", "-p", str(code_port), "-m", "definitions", "-d", str(self.project)]
        self.code_server = self._program("code-server", "dagster", "api", "grpc", *serve, "--location-name", "parked")
        self.daemon = self._program("daemon", "dagster._daemon", "run", "-w", str(workspace))
        self.webserver = self._program(
            "webserver", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", str(workspace)
        )
        self.programs = (self.code_server, self.daemon, self.webserver)
        self.ui = UserInterface(port)
        # The databases are made before several processes find that they are missing.
        self.instance = dg.DagsterInstance.from_config(str(self.home))
        self.ledger = Ledger.open(self.database_url, spool_dir=spool)

    def _new_database(self, name: str) -> str:
        name = f"{name}_{time.monotonic_ns()}"
        with psycopg.connect(f"{self.postgres}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"{self.postgres}/{name}"

    def _program(self, name: str, *arguments: str) -> Program:
        return Program(name, arguments, folder=self.folder, environment=self.environment)

    # Processes

    def start(self, *programs: Program) -> None:
        """Start programs, by default all, and wait until they do their work."""
        chosen = programs or self.programs
        began = time.time()
        if self.code_server in chosen:  # first: the others look for it once, when they start
            self.code_server.start()
            self.until(lambda: accepts_connections(self._code_at), what="The code server")
        for program in chosen:
            if program is not self.code_server:
                program.start()
        since = began if self.daemon in chosen else 0
        self.until(lambda: self._ready(since), what="The start of the deployment")

    def _ready(self, since: float) -> bool:
        """Whether the webserver shows the definitions, and every daemon has shown a sign of life since a time."""
        try:
            if not self.ui.is_ready():
                return False
        except ConfigurationError:  # the webserver has not seen yet that the code server is back
            return False
        alive = self.instance.get_daemon_heartbeats()
        return all(kind in alive and alive[kind].timestamp >= since for kind in DAEMONS)

    def stop(self) -> None:
        for program in reversed(self.programs):
            program.stop()
        self.ledger.close()
        self.instance.dispose()

    def run_in_shell(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command of this environment's `bin` folder, as a person types it in the project's folder."""
        return subprocess.run(
            [Path(sys.executable).with_name(command[0]), *command[1:]],
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ENDS_WITHIN_S,
        )

    # What a person does

    def _nodes(self, names: Sequence[str]) -> list[AssetNode]:
        nodes = {node.name: node for node in self.ui.assets()}
        return [nodes[name] for name in names]

    def launch(
        self, *assets: str, partition: str | None = None, partitions: tuple[str, str] | None = None, **tags: str
    ) -> str:
        """The Materialize button on these assets; the run's id.

        `partitions` are the first and the last of a range; a double underscore in a tag's name is a slash.
        """
        tags = {name.replace("__", "/"): value for name, value in tags.items()}
        if partition is not None:
            tags["dagster/partition"] = partition
        if partitions is not None:
            tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"] = partitions
        return self.ui.launch(self._nodes(assets), tags)

    def backfill(self, *assets: str, partitions: Sequence[str]) -> str:
        """A backfill of these partitions, as the UI launches it; its id."""
        return self.ui.backfill(self._nodes(assets), partitions)

    # What came of it

    def runs(self, **tags: str) -> list[dg.DagsterRun]:
        """The runs with these tags (a double underscore is a slash), oldest first."""
        wanted = {name.replace("__", "/"): value for name, value in tags.items()}
        return list(reversed(self.instance.get_runs(dg.RunsFilter(tags=wanted))))

    def run(self, run_id: str) -> dg.DagsterRun:
        found = self.instance.get_run_by_id(run_id)
        assert found is not None
        return found

    def ended(self, run_id: str) -> dg.DagsterRun | None:
        """The run, when it has ended."""
        run = self.run(run_id)
        return None if run.status in UNFINISHED else run

    def parked(self, origin: str) -> dg.DagsterRun | None:
        """The run that holds the place of the run `origin` now, the newest where one is about to replace another."""
        held = self.runs(offpeak__origin_run=origin, offpeak__hold="waiting")
        return next((run for run in reversed(held) if run.status is dg.DagsterRunStatus.QUEUED), None)

    def wait_until_parked(self, origin: str) -> dg.DagsterRun:
        """The parked run of a run that was launched. Fails at once when it ended without one."""

        def found() -> dg.DagsterRun | None:
            self._refuse_failed(origin)
            return self.parked(origin)

        parked: dg.DagsterRun = self.until(found, what=f"A parked run of {origin}")
        return parked

    def wait_until_submitted(self, origin: str) -> dg.DagsterRun:
        """The submitting run, once it has ended. Fails unless it ended well."""
        self.until(lambda: self.ended(origin), what=f"The end of run {origin}")
        self._refuse_failed(origin)
        return self.run(origin)

    def _refuse_failed(self, run_id: str) -> None:
        status = self.run(run_id).status
        assert status not in {dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}, (
            f"run {run_id} is {status.value}: {self.why(run_id)}"
        )

    def wait_until_landed(self, origin: str) -> list[dg.DagsterRun]:
        """Every run of the chain that began with `origin`, once all have ended; fails unless all ended well."""

        def chain() -> list[dg.DagsterRun] | None:
            runs = [self.run(origin), *self.runs(offpeak__origin_run=origin)]
            return None if any(run.status in UNFINISHED for run in runs) else runs

        runs: list[dg.DagsterRun] = self.until(chain, what=f"The landing of what run {origin} began")
        for run in runs:
            self._refuse_failed(run.run_id)
        return runs

    def wait_until_backfilled(self, backfill_id: str, status: str = "COMPLETED_SUCCESS") -> None:
        """Until a backfill has ended; fails unless it ended like this."""

        def outcome() -> str | None:
            backfill = self.instance.get_backfill(backfill_id)
            assert backfill is not None
            return None if backfill.status.value in {"REQUESTED", "CANCELING", "FAILING"} else backfill.status.value

        found = self.until(outcome, what=f"The end of backfill {backfill_id}")
        assert found == status

    def landed(self, asset: str) -> list[Landed]:
        """The asset's materializations, oldest first."""
        key = dg.AssetKey.from_user_string(asset)
        records = self.instance.fetch_materializations(key, limit=1_000).records
        return [Landed(asset, record.partition_key, record.run_id) for record in reversed(records)]

    def checks(self, asset: str, check: str) -> list[dg.AssetCheckEvaluation]:
        """The evaluations of an asset's check, oldest first."""
        key = dg.AssetCheckKey(dg.AssetKey.from_user_string(asset), check)
        records = self.instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
        found = [record.event.asset_check_evaluation for record in reversed(records) if record.event is not None]
        return [evaluation for evaluation in found if evaluation is not None]

    def workers(self, run_id: str) -> list[int]:
        """The living processes that carry out a run."""
        said = [re.search(r"Started process for run \(pid: (\d+)\)", entry.message) for entry in self._entries(run_id)]
        children = self.code_server.children()
        return [pid for match in said if match is not None and (pid := int(match[1])) in children]

    def why(self, run_id: str) -> str:
        """What the run reports of its failures."""
        said = []
        for entry in self._entries(run_id):
            event = entry.dagster_event
            if event is not None and (event.is_step_failure or event.is_run_failure or event.is_job_failure):
                error = getattr(event.event_specific_data, "error", None)
                while error is not None and error.cause is not None:
                    error = error.cause
                said.append(f"{event.message} {error.message if error is not None else ''}")
        return "\n".join(said)

    def messages(self, run_id: str) -> str:
        """Everything that the run logged."""
        return "\n".join(entry.message for entry in self._entries(run_id))

    def _entries(self, run_id: str) -> list[dg.EventLogEntry]:
        return list(self.instance.all_logs(run_id))

    def ticks(self) -> int:
        """How many passes the lifecycle sensor has finished."""
        (sensor,) = [
            state
            for state in self.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
            if state.instigator_name == SENSOR_NAME
        ]
        ticks = self.instance.get_ticks(sensor.instigator_origin_id, sensor.selector_id)
        return sum(tick.is_completed for tick in ticks)

    def wait_for_ticks(self, number: int = 2) -> None:
        """Until the lifecycle sensor has looked again, so often: what it had to decide is decided."""
        before = self.ticks()
        self.until(lambda: self.ticks() >= before + number, what="A tick of the lifecycle sensor")

    def hold(self, model: str, *, share: float = 0.5) -> None:
        """Let the next batch of a model answer this share of its requests and then go on without end."""
        self.provider.fault("never_end", match={"model": model}, share=share)

    def sold(self, model: str) -> list[int]:
        """For each distinct request to a model that was answered in a batch or at once: how often it was."""
        return [row["answered"] for row in self.provider.answered() if row["model"] == model]

    def jobs(self, asset: str) -> list[JobRow]:
        """The asset's jobs in the ledger, oldest first."""
        return list(reversed(listed(self.ledger, asset=asset)))

    def batches(self, asset: str) -> list[dict[str, Any]]:
        """The batches at the provider that an asset's jobs wait or waited for, oldest first."""
        known = {batch["id"]: batch for batch in self.provider.batches()}
        ids = dict.fromkeys(batch_id for job in self.jobs(asset) for batch_id in job.batch_ids)
        return [known[batch_id] for batch_id in ids]

    def heal(self, asset: str) -> None:
        """Let every batch of the asset end."""
        for batch in self.batches(asset):
            if batch["outcome"] is None:
                self.provider.heal(batch["id"])

    # Waiting

    def until(self, condition: Callable[[], Any], *, what: str) -> Any:
        """What `condition` returns once that is truthy. Raises AssertionError after a deadline."""
        deadline = time.monotonic() + ENDS_WITHIN_S
        while time.monotonic() < deadline:
            for program in self.programs:
                assert not program.ended, f"the {program.name} ended by itself:\n{program.log()}"
            if found := condition():
                return found
            time.sleep(LOOK_EVERY_S)
        raise AssertionError(f"{what} did not happen within {ENDS_WITHIN_S:.0f} s")

    @contextmanager
    def evidence(self) -> Iterator[None]:
        """An error inside carries what the deployment was doing, the first one everything."""
        try:
            yield
        except BaseException as error:
            error.add_note("see the first failure for the state of the deployment" if self._told else self.report())
            self._told = True
            raise

    def report(self) -> str:
        """Runs, jobs and batches as they are now, and the end of every log."""
        lines = ["--- runs, oldest first"]
        for run in self.runs():
            tags = {name: value for name, value in run.tags.items() if name.startswith(("offpeak/", "dagster/"))}
            assets = sorted(key.to_user_string() for key in run.asset_selection or ())
            lines.append(f"{run.run_id[:8]} {run.status.value:<9} {','.join(assets)} {json.dumps(tags)}")
            if run.status is dg.DagsterRunStatus.FAILURE:
                lines.append(self.why(run.run_id))
        lines.append("--- jobs")
        lines += [
            f"{job.id} {job.asset} {job.state.value} batches={job.batch_ids} {job.reason}"
            for job in reversed(listed(self.ledger, limit=200))
        ]
        lines.append("--- batches")
        lines += [json.dumps(batch) for batch in self.provider.batches()]
        for program in self.programs:
            lines.append(f"--- {program.name}\n{program.log()}")
        return "\n".join(lines)


@contextmanager
def deployed(
    folder: Path, provider: LocalProvider, *, postgres: str | None = None, definitions: Path = DEFINITIONS
) -> Iterator[Deployment]:
    """A deployment that is up, ended with all its processes afterwards; `provider` has sold nothing yet."""
    provider.reset()
    deployment = Deployment(folder, provider, postgres, definitions)
    try:
        with deployment.evidence():
            deployment.start()
        yield deployment
    finally:
        deployment.stop()
        shutil.rmtree(deployment.home / "storage", ignore_errors=True)


_BACKFILL = """
mutation Backfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on Error { message }
  }
}
"""

_CANCEL_BACKFILL = """
mutation CancelBackfill($backfillId: String!) {
  cancelPartitionBackfill(backfillId: $backfillId) { __typename ... on Error { message } }
}
"""

_TERMINATE = """
mutation Terminate($runIds: [String!]!) {
  terminateRuns(runIds: $runIds, terminatePolicy: SAFE_TERMINATE) {
    __typename
    ... on TerminateRunsResult { terminateRunResults { __typename ... on Error { message } } }
    ... on Error { message }
  }
}
"""

_RE_EXECUTE = """
mutation ReExecute($params: ReexecutionParams!) {
  launchRunReexecution(reexecutionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on Error { message }
  }
}
"""
