"""A Dagster instance, a ledger of its own and the offline provider, over HTTP with the real SDKs."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from offpeak import BatchApi, OffpeakResults, offpeak_resources, with_offpeak
from offpeak.assets import freshness_sensor
from offpeak.ledger import tables
from offpeak.ledger.ledger import Ledger

from ..conftest import HeldClock, LocalProvider, Place, lay_tables
from .code_location import CodeLocation, copy_home, make_home

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class OfflineProvider:
    """The local provider, and what it counted."""

    url: str

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
            return json.load(answer)

    def batches(self) -> int:
        return len(self.get("/local/batches")["batches"])

    def fault(self, fault: str, **rule: object) -> None:
        LocalProvider(self.url).fault(fault, **rule)

    def api(self, *, keep: bool = False, **more: Any) -> BatchApi:
        """An account there. `keep`: of batches that are through, too, so that they can be looked at."""
        return BatchApi(
            **more,
            keep_provider_files=keep,
            openai_api_key="local",
            openai_base_url=f"{self.url}/v1",
            anthropic_api_key="local",
            anthropic_base_url=self.url,
        )


@pytest.fixture(scope="session")
def _provider_process() -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-m", "local_provider", "--port", "0", "--latency", "0.1"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "listening on " in line, "the local provider did not start"
        yield line.rpartition(" ")[2].strip()
        process.terminate()


@pytest.fixture
def provider(_provider_process: str) -> OfflineProvider:
    """The offline provider, with nothing bought yet."""
    reset = urllib.request.Request(f"{_provider_process}/local/reset", method="POST")
    urllib.request.urlopen(reset, timeout=10).close()
    return OfflineProvider(_provider_process)


@pytest.fixture
def resources(provider: OfflineProvider, tmp_path: Path, sqlite_tables: Path) -> dict[str, Any]:
    """Offpeak's resources, with a ledger in the test's own folder."""
    lay_tables(tmp_path / "offpeak.db", sqlite_tables)
    return offpeak_resources(database_url=f"sqlite:///{tmp_path / 'offpeak.db'}", batch_api=provider.api())


def age(resources_or_ledger: Any, asset: str, by: timedelta, *, partition: str | None = None) -> None:
    """Make the rows of an asset, or of one partition of it, older than they are."""
    if not isinstance(resources_or_ledger, Ledger):
        with Ledger.open(resources_or_ledger["offpeak_results"].database_url) as ledger:
            return age(ledger, asset, by, partition=partition)
    target, wanted = tables.target, tables.wanted
    which = [target.c.asset == asset, *([target.c.partition_key == partition] if partition is not None else [])]
    micros = by // timedelta(microseconds=1)
    with resources_or_ledger.database.write() as connection:
        moved = connection.execute(sa.update(target).where(*which).values(as_of=target.c.as_of - micros))
        assert moved.rowcount, f"{asset} has not landed"
        connection.execute(
            sa.update(wanted)
            .where(wanted.c.target_id.in_(sa.select(target.c.id).where(*which)))
            .values(previous_as_of=wanted.c.previous_as_of - micros)
        )
    return None


def read_partitions(resources: dict[str, Any]) -> list[str]:
    """The partitions of the labels that a consumer has read."""
    target = tables.target
    query = sa.select(target.c.partition_key).where(target.c.asset == "labels", target.c.read_at.is_not(None))
    with Ledger.open(resources["offpeak_results"].database_url) as ledger, ledger.database.read() as connection:
        return sorted(connection.execute(query).scalars())


@dataclass(frozen=True)
class Landed:
    """One materialization of a run."""

    asset: str
    partition: str | None
    metadata: dict[str, Any]
    data_version: str | None


class Project:
    """Definitions through `with_offpeak`, run in this process."""

    def __init__(self, defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.defs = with_offpeak(defs)
        self.instance = instance
        self._job = self.defs.resolve_implicit_global_asset_job_def()

    def run(
        self, *assets: str, partition: str | None = None, partitions: tuple[str, str] | None = None, **tags: str
    ) -> dg.ExecuteInProcessResult:
        """Materialise `assets`; an error of a step is raised as it is."""
        given = {name.replace("__", "/"): value for name, value in tags.items()}
        if partition is not None:
            given["dagster/partition"] = partition
        if partitions is not None:
            given["dagster/asset_partition_range_start"], given["dagster/asset_partition_range_end"] = partitions
        return self._job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey.from_user_string(name) for name in assets],
            tags=given,
        )

    def landed(self, *assets: str, **arguments: Any) -> dict[tuple[str, str | None], Landed]:
        """Materialise, and what landed by asset and partition."""
        result = self.run(*assets, **arguments)
        return {(each.asset, each.partition): each for each in landed_in(result)}


def landed_in(result: dg.ExecuteInProcessResult) -> Sequence[Landed]:
    return [
        Landed(
            asset=event.step_materialization_data.materialization.asset_key.to_user_string(),
            partition=event.step_materialization_data.materialization.partition,
            metadata={
                name: value.value for name, value in event.step_materialization_data.materialization.metadata.items()
            },
            data_version=(event.step_materialization_data.materialization.tags or {}).get("dagster/data_version"),
        )
        for event in result.all_events
        if event.is_step_materialization
    ]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def project(resources: dict[str, Any], instance: dg.DagsterInstance) -> Any:
    """Make a `Project` of assets; resources beside Offpeak's own are merged in."""

    def make(*assets: Any, **definitions: Any) -> Project:
        merged = {**resources, **definitions.pop("resources", {})}
        return Project(dg.Definitions(assets=list(assets), resources=merged, **definitions), instance)

    return make


@dataclass
class FreshnessSensor:
    """The ticks of the sensor that tells what time has changed, at moments of one's choice."""

    project: Project
    monkeypatch: pytest.MonkeyPatch
    cursor: str | None = None

    def tick(self, at: datetime) -> list[tuple[str, bool, str]]:
        """What is told: each check by name, whether it passed, and its description."""
        self.monkeypatch.setattr(freshness_sensor, "SystemClock", lambda: HeldClock(at))
        repository = self.project.defs.get_repository_def()
        sensor = repository.get_sensor_def(freshness_sensor.FRESHNESS_SENSOR)
        with dg.build_sensor_context(
            instance=self.project.instance,
            cursor=self.cursor,
            repository_def=repository,
            resources={name: (self.project.defs.resources or {})[name] for name in sensor.required_resource_keys},
        ) as context:
            ticked = sensor.evaluate_tick(context)
        self.cursor = ticked.cursor
        for each in ticked.asset_events:
            self.project.instance.report_runless_asset_event(each)
        told = [each for each in ticked.asset_events if isinstance(each, dg.AssetCheckEvaluation)]
        return [(each.check_name, each.passed, each.description or "") for each in told]


@pytest.fixture
def sensor_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Project], FreshnessSensor]:
    return lambda made: FreshnessSensor(made, monkeypatch)


@pytest.fixture(scope="session")
def _empty_dagster_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("dagster-home"))


@pytest.fixture
def dagster_home(_empty_dagster_home: Path, tmp_path: Path) -> Path:
    """The home of a persistent instance that holds parked runs."""
    return copy_home(_empty_dagster_home, tmp_path / "dagster-home")


@pytest.fixture
def code_location(dagster_home: Path, place: Place, local_provider: LocalProvider) -> Iterator[Any]:
    """Make a `CodeLocation` of assets. All of a test share one instance, and one ledger unless another is given."""
    with ExitStack() as stack:

        @cache
        def instance() -> dg.DagsterInstance:
            return stack.enter_context(dg.DagsterInstance.from_config(str(dagster_home)))

        @cache
        def ledger(at: Place) -> Ledger:
            return stack.enter_context(at.open())

        def make(*assets: Any, name: str = "here", at: Place = place, **definitions: Any) -> CodeLocation:
            resources = {
                "batch_api": OfflineProvider(local_provider.url).api(keep=True),
                "offpeak_results": OffpeakResults(database_url=at.url, spool_dir=str(at.spool)),
                **definitions.pop("resources", {}),
            }
            definitions.setdefault("executor", dg.in_process_executor)
            through = definitions.pop("through_offpeak", True)
            made = dg.Definitions(assets=list(assets), resources=resources, **definitions)
            return CodeLocation(made, instance(), ledger(at), name=name, through_offpeak=through)

        yield make
