"""The daemon was away: what it missed is made up, by Dagster's own scheduler on the project's own definitions."""

import logging
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
import yaml
from dagster._core.test_utils import create_test_daemon_workspace_context, instance_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster._scheduler.scheduler import ScheduleIterationTimes, launch_scheduled_runs

from offpeak import partitions_due
from offpeak.errors import DefinitionError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace() -> Iterator[WorkspaceProcessContext]:
    settings = {"run_launcher": {"module": "dagster._core.test_utils", "class": "MockedRunLauncher"}}
    target = ModuleTarget(
        module_name="definitions", attribute=None, working_directory=str(ROOT), location_name="offpeak"
    )
    with (
        instance_for_test(overrides=settings) as instance,
        create_test_daemon_workspace_context(target, instance) as context,
    ):
        yield context


def iterate(workspace: WorkspaceProcessContext, at: datetime, times: dict[str, ScheduleIterationTimes]) -> None:
    for _ in launch_scheduled_runs(workspace, logging.getLogger("scheduler"), at, times):
        pass


def test_a_daemon_that_was_away_for_three_weeks_makes_up_every_week_and_one_night(
    workspace: WorkspaceProcessContext,
) -> None:
    instance, times = workspace.instance, dict[str, ScheduleIterationTimes]()
    now = datetime.now(UTC)
    today = now.astimezone(ZoneInfo("Europe/Berlin")).date()
    monday = today - timedelta(days=today.weekday())
    made_last = str(monday - timedelta(weeks=1))
    for asset in ("weekly_digests", "digest_outbox"):
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=made_last))
    (location,) = workspace.create_request_context().code_locations
    (repository,) = location.get_repositories().values()
    for name in ("nightly", "weekly"):
        instance.start_schedule(repository.get_schedule(name))
    iterate(workspace, now, times)
    assert instance.get_runs_count() == 0

    iterate(workspace, now + timedelta(weeks=3), times)
    runs = instance.get_runs()
    begun = Counter(run.tags["dagster/schedule_name"] for run in runs)
    assert (begun["weekly"], begun["nightly"]) == (3, 1)
    weeks = sorted(run.tags["dagster/partition"] for run in runs if "dagster/partition" in run.tags)
    assert weeks == [str(monday + timedelta(weeks=number)) for number in range(3)]

    iterate(workspace, now + timedelta(weeks=3), times)
    assert instance.get_runs_count() == len(runs), "and only once"


def test_a_tick_that_failed_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(yaml.safe_load((ROOT / "dagster.yaml").read_text())))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.scheduler.max_tick_retries == 3  # type: ignore[union-attr]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with instance_for_test() as made:
        yield made


WEEKS = dg.WeeklyPartitionsDefinition(start_date="2026-06-01", timezone="Europe/Berlin", day_offset=1)
TICK = datetime(2026, 11, 16, 0, 15, tzinfo=ZoneInfo("Europe/Berlin"))


@dg.asset(partitions_def=WEEKS)
def digests() -> None: ...


def due(instance: dg.DagsterInstance, *made: str, asset: dg.AssetsDefinition = digests, **more: int) -> list[str]:
    for week in made:
        instance.report_runless_asset_event(dg.AssetMaterialization("digests", partition=week))
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=TICK)
    return list(partitions_due(context, asset, **more))


def test_the_first_tick_makes_the_newest_week_alone(instance: dg.DagsterInstance) -> None:
    assert due(instance) == ["2026-11-09"]


def test_weeks_since_the_last_one_are_made_up_and_gaps_before_it_are_not(instance: dg.DagsterInstance) -> None:
    assert due(instance, "2026-10-12", "2026-10-26") == ["2026-11-02", "2026-11-09"]


def test_a_week_that_somebody_has_made_by_hand_is_made_again_at_its_time(instance: dg.DagsterInstance) -> None:
    assert due(instance, "2026-11-02", "2026-11-09") == ["2026-11-09"]


def test_after_a_long_rest_only_the_newest_weeks_are_made_up(instance: dg.DagsterInstance) -> None:
    assert due(instance, "2026-06-15") == ["2026-10-12", "2026-10-19", "2026-10-26", "2026-11-02", "2026-11-09"]
    assert due(instance, at_most=2) == ["2026-11-02", "2026-11-09"]


def test_a_week_that_is_on_its_way_is_left_out(instance: dg.DagsterInstance) -> None:
    job = dg.Definitions(assets=[digests]).resolve_implicit_global_asset_job_def()
    instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTED, tags={"dagster/partition": "2026-11-09"}, asset_selection=None
    )
    assert due(instance, "2026-10-26") == ["2026-11-02"]


def test_an_asset_without_time_partitions_is_refused(instance: dg.DagsterInstance) -> None:
    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["de", "fr"]))
    def translations() -> None: ...

    with pytest.raises(DefinitionError, match="translations has no time partitions"):
        due(instance, asset=translations)
