"""What parked runs cost: a tick of the lifecycle sensor, Dagster's queue among them, and the way from landed to there.

    python -m tests.bench.bench_parked [--jobs 1000] [--rounds 3] [--postgres] [--json]

A whole deployment (code server, daemon, webserver) buys at two accounts of the local provider, whose batches do not end
until they are told to. Every parked run is left behind by a run that planned and submitted its partition; only that
those runs share a few processes, and are not launched one by one. Compared are the same queue with Offpeak's sensor and
without it, and the landing of a small asset with a run that does nothing.
"""

import argparse
import json
import logging
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import sqlalchemy as sa
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.execution.api import execute_run
from dagster._core.origin import JobPythonOrigin
from dagster._grpc.impl import get_external_sensor_execution

from offpeak.assets import parking
from offpeak.assets.lifecycle import WRITTEN_PER_TICK
from offpeak.clock import from_micros
from offpeak.ledger import tables
from offpeak.ledger.jobs import listed
from offpeak.ledger.states import ParkedState
from schedules.batch_lifecycle import batch_lifecycle

from ..conftest import ROOT, LocalProvider, fleeting_postgres
from ..parked.deployment import Deployment, UserInterface

PROJECT = Path(__file__).parent / "project" / "definitions.py"
ASSETS = {"openai": "openai_labels", "anthropic": "anthropic_labels"}
PAGES = {"openai": 100, "anthropic": 1_000}
"""Batches on a page of each provider's list, at most."""
SHIPPED_S = batch_lifecycle.minimum_interval_seconds or 30
SHORT_S = 5
PARKERS = 2
"""Processes that leave parked runs behind."""
TARGET_CPU_S = 1.0
FIRST = "the first of a process"
"""It imports the providers' SDKs."""
WITHIN_S = 900.0

Figures = dict[str, list[float]]


class Desk(UserInterface):
    """What a person does in the UI beside launching."""

    def switch_sensor(self, on: bool) -> None:
        """Start or stop the lifecycle sensor, as the switch under Automation does."""
        selector = {
            "repositoryLocationName": "parked",
            "repositoryName": "__repository__",
            "sensorName": parking.SENSOR_NAME,
        }
        if on:
            self._ask(_START_SENSOR, selector=selector)
        else:
            sensor = self._ask(_SENSOR, selector=selector)["sensorOrError"]
            self._ask(_STOP_SENSOR, id=sensor["sensorState"]["id"])

    def runs_page(self, **filters: object) -> float:
        """Seconds that the webserver takes for what the Runs page shows."""
        began = time.perf_counter()
        self._ask(_RUNS_PAGE, filter=filters)
        return time.perf_counter() - began


class Bench:
    """The deployment under measurement."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment, self.instance = deployment, deployment.instance
        self.desk = Desk(int(deployment.ui.url.rpartition(":")[2]))
        self._partitions = {asset: iter([f"p{number:04}" for number in range(1_000)]) for asset in ASSETS.values()}
        self._turn = 0
        self._like = ""

    def set_interval(self, seconds: int) -> None:
        """Let the lifecycle sensor tick so often, from the (re)start of the code server on."""
        (self.deployment.project / "interval").write_text(str(seconds))

    def empty_run(self) -> dict[str, float]:
        """Launch the run that does nothing, and follow it to its end. Seconds."""
        launched = time.time()
        run_id = self.deployment.launch("nothing")
        self._like = self._like or run_id
        record = self._ended(run_id)
        created = record.create_timestamp.timestamp()
        return {"launched to started": record.start_time - launched, "created to success": record.end_time - created}

    def _ended(self, run_id: str) -> Any:
        self.deployment.until(lambda: self.deployment.ended(run_id), what=f"The end of run {run_id}")
        record = self.instance.get_run_record_by_id(run_id)
        assert record is not None
        assert record.dagster_run.is_success, self.deployment.why(run_id)
        return record

    def park(self, count: int) -> list[str]:
        """Leave `count` more parked runs behind; their ids."""
        before = self._held()
        wanted = [self._next_partition() for _ in range(count)]
        self._like = self._like or self.deployment.launch("nothing")
        parts = [wanted[number::PARKERS] for number in range(PARKERS)]
        with ExitStack() as stack:
            children = [stack.enter_context(self.child("--park", *part)) for part in parts if part]
            for child in children:
                if child.wait(WITHIN_S):
                    raise SystemExit(f"Runs could not be parked: {self._said()}")
        parked = self._held() - before
        if len(parked) != count:
            raise SystemExit(f"{len(parked)} of {count} runs are parked: {self._said()}")
        return sorted(parked)

    def _held(self) -> set[str]:
        return parking.held(self.instance, self.deployment.ledger)

    def _next_partition(self) -> str:
        self._turn += 1
        asset = list(ASSETS.values())[self._turn % len(ASSETS)]
        return f"{asset}:{next(self._partitions[asset])}"

    @contextmanager
    def child(self, *arguments: str, **streams: Any) -> Iterator["subprocess.Popen[str]"]:
        """This program in a process of its own, with the code server's environment."""
        command = [sys.executable, "-m", "tests.bench.bench_parked", "--like", self._like, *arguments]
        with (self.deployment.folder / "children.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=self.deployment.environment, text=True, stderr=log, **{"stdout": log, **streams}
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def _said(self) -> str:
        return (self.deployment.folder / "children.log").read_text()[-4_000:]

    def let_end(self, parked_run_id: str) -> str:
        """Let the batch of a parked run's job end; its id."""
        job_id = int(self.deployment.run(parked_run_id).tags[parking.JOB_TAG])
        (job,) = listed(self.deployment.ledger, ids=[job_id])
        (batch_id,) = job.batch_ids
        self.deployment.provider.heal(batch_id)
        return batch_id

    # What is measured

    def landing(self, interval: int) -> dict[str, float]:
        """One small asset from its batch's end to its materialization, in seconds."""
        asset, partition = self._next_partition().split(":")
        origin = self.deployment.launch(asset, partition=partition)
        parked = self.deployment.wait_until_parked(origin)
        self.deployment.wait_until_submitted(origin)
        time.sleep(random.uniform(0, interval))  # the end of a batch knows nothing of the sensor's ticks
        batch_id = self.let_end(parked.run_id)
        record = self._ended(parked.run_id)
        (ended,) = [batch["ended_at"] for batch in self.deployment.provider.batches() if batch["id"] == batch_id]
        key = dg.AssetKey(asset)
        (event,) = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition]), limit=1
        ).records
        released = self._released_at(parked.run_id)
        return {
            "ended to released": released - ended,
            "released to started": record.start_time - released,
            "started to materialised": event.timestamp - record.start_time,
            "ended to materialised": event.timestamp - ended,
        }

    def _released_at(self, run_id: str) -> float:
        event, parked = tables.event, tables.parked_run
        query = sa.select(event.c.at).where(
            event.c.subject == parked.name,
            event.c.state == ParkedState.RELEASED.value,
            event.c.subject_id == sa.select(parked.c.id).where(parked.c.run_id == run_id).scalar_subquery(),
        )
        with self.deployment.ledger.database.read() as connection:
            return from_micros(connection.execute(query).scalar_one()).timestamp()

    def landings(self, interval: int, rounds: int) -> Figures:
        """Landings and empty runs in turn."""
        pairs = [{**self.landing(interval), **self.empty_run()} for _ in range(rounds)]
        return {name: [pair[name] for pair in pairs] for name in pairs[0]}

    def queue(self, spare: Sequence[str]) -> Figures:
        """Starts of released and of unrelated runs, and what the servers use meanwhile."""
        servers = {"daemon": self._server("dagster._daemon"), "code server": self._server("dagster", "api", "grpc")}
        before, began = {name: _cpu(server) for name, server in servers.items()}, time.time()
        found: Figures = {"release to started": [], "launch to started": []}
        for run_id in spare:
            released = time.time()
            parking.release(self.instance, run_id)
            self.let_end(run_id)
            found["release to started"].append(self._ended(run_id).start_time - released)
            found["launch to started"].append(self.empty_run()["launched to started"])
        minutes = (time.time() - began) / 60
        for name, server in servers.items():
            found[f"CPU s a minute, {name}"] = [(_cpu(server) - before[name]) / minutes]
        found["runs page"] = [self.desk.runs_page() for _ in range(3)]
        found["runs page, queued"] = [self.desk.runs_page(statuses=["QUEUED"]) for _ in range(3)]
        return found

    def _server(self, *words: str) -> psutil.Process:
        (found,) = [
            child for child in psutil.Process().children() if child.cmdline()[2 : 2 + len(words)] == list(words)
        ]
        return found

    def queues(self, rounds: int) -> dict[str, Figures]:
        """The same queue with Offpeak's sensor and without it."""
        spare = self.park(2 * rounds)
        self.deployment.wait_for_ticks(2)
        found = {"with": self.queue(spare[:rounds])}
        self.desk.switch_sensor(False)
        found["without"] = self.queue(spare[rounds:])
        return found

    def ticks(self, rounds: int) -> dict[str, Any]:
        """Ticks of the sensor, which has to be switched off, evaluated in a process of their own."""
        with self.child("--ticks", str(rounds), stdout=subprocess.PIPE) as child:
            told, _ = child.communicate(timeout=WITHIN_S)
            if child.returncode:
                raise SystemExit(f"The ticks could not be measured: {self._said()}")
        found: dict[str, Any] = json.loads(told.splitlines()[-1])
        return found

    def processes_held(self) -> int:
        """Processes that carry out a run, once those that were started have had time to end."""
        deadline = time.monotonic() + 60
        while (held := self._run_processes()) and time.monotonic() < deadline:
            time.sleep(1)
        return held

    def _run_processes(self) -> int:
        found = []
        for pid in self.deployment.code_server.children():
            with suppress(psutil.NoSuchProcess):
                found.append(" ".join(psutil.Process(pid).cmdline()))
        return sum("multiprocessing.spawn" in command for command in found)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


# In processes of their own


def recon_job(like: dg.DagsterRun, *assets: dg.AssetKey) -> ReconstructableJob:
    """The job of a launched run, as the process of a run finds it."""
    origin = like.job_code_origin
    assert isinstance(origin, JobPythonOrigin)
    from_origin = origin.repository_origin
    repository = ReconstructableRepository(from_origin.code_pointer, from_origin.container_image)
    return ReconstructableJob(repository, origin.job_name, asset_selection=frozenset(assets) or None)


def park_here(like_run_id: str, wanted: Sequence[str]) -> None:
    """Carry out a run for each "asset:partition", with everything that a launched one has but its own process."""
    with dg.DagsterInstance.get() as instance:
        like = instance.get_run_by_id(like_run_id)
        assert like is not None
        for asset, partition in (each.split(":") for each in wanted):
            job = recon_job(like, dg.AssetKey(asset))
            run = instance.create_run_for_job(
                job.get_definition(),
                tags={"dagster/partition": partition},
                asset_selection=frozenset({dg.AssetKey(asset)}),
                remote_job_origin=like.remote_job_origin,
                job_code_origin=like.job_code_origin,
            )
            execute_run(job, run, instance)


class Ticker:
    """Evaluates the sensor as the code server does for the daemon, and counts what it asks the providers."""

    def __init__(self, like_run_id: str) -> None:
        self.instance = dg.DagsterInstance.get()
        like = self.instance.get_run_by_id(like_run_id)
        assert like is not None
        assert like.remote_job_origin is not None
        self._repository = recon_job(like).repository.get_definition()
        self._location = like.remote_job_origin.repository_origin.code_location_origin
        self.provider = LocalProvider(os.environ["OFFPEAK_LOCAL_URL"])
        self._asked: list[str] = []
        http = logging.getLogger("httpx2")
        http.setLevel(logging.INFO)
        http.addFilter(self._note)
        self.cursor: str | None = None

    def _note(self, record: logging.LogRecord) -> bool:
        self._asked.append(record.getMessage())
        return False

    def tick(self, *, look: bool) -> dict[str, Any]:
        """One tick; with `look` one at which a look at every account is due."""
        self._asked.clear()
        began, cpu = time.perf_counter(), time.process_time()
        done = get_external_sensor_execution(
            self._repository,
            self._location,
            self.instance.get_ref(),
            parking.SENSOR_NAME,
            None,
            None,
            None if look else self.cursor,
            None,
            None,
        )
        figures: dict[str, Any] = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - began}
        if not isinstance(done, SensorExecutionData):
            raise SystemExit(f"The tick failed: {done}")
        self.cursor = done.cursor
        lists = [line for line in self._asked if "batches?" in line]
        figures["lists"] = Counter("anthropic" if "/messages/" in line else "openai" for line in lists)
        figures["said"] = done.skip_message
        return figures

    def open_batches(self) -> list[dict[str, Any]]:
        return [batch for batch in self.provider.batches() if batch["outcome"] is None]

    def progress(self, share: float) -> None:
        """Let every open batch answer this share of its requests."""
        for batch in self.open_batches():
            self.provider.fault("never_end", batch=batch["id"], share=share)
        while any(batch["answered"] < int(share * batch["requests"]) for batch in self.open_batches()):
            time.sleep(0.2)

    def end_one(self) -> None:
        batch_id = self.open_batches()[0]["id"]
        self.provider.heal(batch_id)
        while any(batch["id"] == batch_id for batch in self.open_batches()):
            time.sleep(0.05)


def ticks_here(like_run_id: str, rounds: int) -> dict[str, Any]:
    """Ticks of every kind."""
    ticker = Ticker(like_run_id)

    def several(look: bool, before: Callable[[int], object] = lambda _: None) -> list[dict[str, Any]]:
        found = []
        for number in range(rounds):
            before(number)
            found.append(ticker.tick(look=look))
        return found

    kinds = {
        FIRST: [ticker.tick(look=True)],
        "idle": several(False),
        "a look, nothing changed": several(True),
    }
    if opened := Counter(batch["provider"] for batch in ticker.open_batches()):
        kinds["a look, every job progressed"] = several(
            True, lambda number: ticker.progress(0.1 + 0.8 * (number + 1) / rounds)
        )
        kinds["idle, progress left to write"] = several(False)
        for _ in range(0, opened.total(), WRITTEN_PER_TICK):
            ticker.tick(look=False)
        kinds["a look, one run released"] = several(True, lambda _: ticker.end_one())
    listed_batches = Counter(batch["provider"] for batch in ticker.provider.batches())
    return {
        "kinds": kinds,
        "open": opened,
        "pages expected": {name: -(-count // PAGES[name]) for name, count in listed_batches.items()},
    }


# From one end to the other


@contextmanager
def local_provider(folder: Path) -> Iterator[LocalProvider]:
    """A local provider whose batches go on without end until they are told to end."""
    config = folder / "provider.json"
    endless = {"fault": "never_end", "times": None}
    settings = {"answers": "cheap", "latency_seconds": 0.1}
    config.write_text(json.dumps({"settings": settings, "faults": [endless]}))
    command = [sys.executable, "-m", "local_provider", "--port", "0", "--config", str(config)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            yield LocalProvider(line.split()[-1])
        finally:
            process.terminate()


@contextmanager
def deployed(folder: Path, *, postgres: bool) -> Iterator[Bench]:
    """A deployment that is up and has bought nothing."""
    with ExitStack() as stack:
        provider = stack.enter_context(local_provider(folder))
        url = None
        if postgres:
            server = fleeting_postgres(folder / "postgres")
            stack.callback(server.stop)
            server.start()
            url = server.url
        deployment = Deployment(folder / "deployment", provider, url)
        stack.callback(deployment.stop)
        (deployment.project / "definitions.py").write_text(PROJECT.read_text())
        bench = Bench(deployment)
        bench.set_interval(SHORT_S)
        with deployment.evidence():
            deployment.start()
            yield bench


def measured(bench: Bench, jobs: int, rounds: int, tell: Callable[[str], None]) -> dict[str, Any]:
    deployment = bench.deployment
    tell("one landing that is not counted")
    bench.landing(0)
    found: dict[str, Any] = {"landings": {}, "queue": {}, "ticks": {}}
    tell(f"landings, sensor every {SHORT_S} s")
    found["landings"][SHORT_S] = bench.landings(SHORT_S, rounds)
    bench.set_interval(SHIPPED_S)
    deployment.daemon.stop()
    deployment.code_server.stop()
    deployment.start(deployment.code_server, deployment.daemon)
    tell(f"landings, sensor every {SHIPPED_S} s")
    found["landings"][SHIPPED_S] = bench.landings(SHIPPED_S, rounds)
    parked = 0
    for count in (0, jobs // 10, jobs):
        tell(f"parking {count - parked} runs")
        began = time.time()
        bench.park(count - parked)
        parked = count
        tell(f"the queue among {count} parked runs (parked in {time.time() - began:.0f} s)")
        found["queue"][count] = bench.queues(rounds)
        if count in (0, jobs):
            tell(f"ticks with {count} open jobs")
            found["ticks"][count] = bench.ticks(rounds)
        if count < jobs:
            bench.desk.switch_sensor(True)
    found["processes held"] = bench.processes_held()
    return found


def report(found: dict[str, Any]) -> None:
    for open_jobs, ticks in found["ticks"].items():
        print(
            f"\nOne tick of the lifecycle sensor, {open_jobs:,} jobs open {dict(ticks['open'])}: CPU s, median (most)"
        )
        for kind, each in ticks["kinds"].items():
            cpu = [tick["cpu"] for tick in each]
            lists = Counter[str]()
            for tick in each:
                lists.update(tick["lists"])
            asked = ", ".join(f"{name} {number / len(each):g}" for name, number in sorted(lists.items()))
            print(f"  {kind:30} {statistics.median(cpu):6.2f} ({max(cpu):.2f})   list requests: {asked or 'none'}")
        if ticks["pages expected"]:
            expected = ", ".join(f"{name} {pages}" for name, pages in sorted(ticks["pages expected"].items()))
            print(f"  pages of the accounts' lists: {expected}")
        most = max(tick["cpu"] for kind, each in ticks["kinds"].items() if kind != FIRST for tick in each)
        print(f"  the most of a tick but the first: {most:.2f} CPU s (to be under {TARGET_CPU_S:g})")
    print(f"  processes held by parked runs: {found['processes held']}")

    print("\nDagster's queue among parked runs, with Offpeak's sensor and with it switched off: median (most)")
    for name in next(iter(found["queue"].values()))["with"]:
        for count, sides in found["queue"].items():
            ours, plain = (statistics.median(sides[side][name]) for side in ("with", "without"))
            most = ", ".join(f"{max(sides[side][name]):.2f}" for side in ("with", "without"))
            print(
                f"  {name:26} {count:6,} parked  {ours:6.2f} with, {plain:6.2f} without ({most})  {ours / plain:5.2f}"
            )

    for interval, figures in found["landings"].items():
        print(f"\nFrom the batch's end to the materialization, sensor every {interval} s: median (least to most)")
        for name, values in figures.items():
            print(f"  {name:26} {statistics.median(values):6.2f} s ({min(values):.2f} to {max(values):.2f})")
        pairs = zip(figures["ended to materialised"], figures["created to success"], strict=True)
        ratio = statistics.median(ours / empty for ours, empty in pairs)
        print(f"  landing / empty run        {ratio:6.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgres", action="store_true", help="Dagster's storage and the ledger on Postgres")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--like", help=argparse.SUPPRESS)
    parser.add_argument("--park", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--ticks", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.park:
        park_here(given.like, given.park)
        return
    if given.ticks:
        print(json.dumps(ticks_here(given.like, given.ticks)))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # with everything that was started
    began = time.time()

    def tell(what: str) -> None:
        print(f"{time.time() - began:5.0f} s  {what}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="offpeak_bench_") as folder:
        tell("starting a deployment")
        with deployed(Path(folder), postgres=given.postgres) as bench:
            found = measured(bench, given.jobs, given.rounds, tell)
        tell("done")
    if given.json:
        print(json.dumps(found))
    else:
        report(found)


_SENSOR = """
query Sensor($selector: SensorSelector!) {
  sensorOrError(sensorSelector: $selector) { ... on Sensor { sensorState { id } } }
}
"""

_START_SENSOR = """
mutation Start($selector: SensorSelector!) {
  startSensor(sensorSelector: $selector) { __typename }
}
"""

_STOP_SENSOR = """
mutation Stop($id: String!) {
  stopSensor(id: $id) { __typename }
}
"""

_RUNS_PAGE = """
query RunsPage($filter: RunsFilter!) {
  runsFeedOrError(limit: 30, view: RUNS, filter: $filter) {
    ... on RunsFeedConnection {
      results {
        id runStatus creationTime startTime endTime jobName
        tags { key value }
        assetSelection { path }
      }
      cursor
      hasMore
    }
  }
  runsFeedCountOrError(view: RUNS, filter: $filter) { ... on RunsFeedCount { count } }
}
"""


if __name__ == "__main__":
    main()
