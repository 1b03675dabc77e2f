"""`with_offpeak`: what it adds, and which graphs it refuses when definitions load."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from offpeak import (
    BatchApi,
    BatchAsset,
    Chat,
    FreshnessContract,
    Notifier,
    Notify,
    OffpeakResults,
    Waiting,
    Workload,
    batch_asset,
    freshness_sla,
    lifecycle_sensor,
    tolerates,
    with_offpeak,
)
from offpeak.assets.graph import chain_of
from offpeak.assets.notices_sensor import NOTICES_SENSOR
from offpeak.errors import DefinitionError

STALENESS = timedelta(hours=38)


def labels_of(model: str = "openai/gpt-5-mini") -> BatchAsset:
    def labels() -> Iterator[Chat]:
        yield Chat(key="a", prompt="?")

    return batch_asset(
        model=model,
        workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
        lane="batch",
        contract=FreshnessContract(valid_for=timedelta(hours=37)),
    )(labels)


def loaded(*assets: Any, **definitions: Any) -> dg.Definitions:
    defs = with_offpeak(dg.Definitions(assets=[labels_of(), *assets], **definitions))
    dg.Definitions.validate_loadable(defs)
    return defs


def test_missing_resources_are_added_and_present_ones_kept() -> None:
    own = OffpeakResults(database_url="sqlite:////somewhere/else.db")
    resources = loaded(resources={"offpeak_results": own, "mine": "x"}).resources or {}
    assert resources["offpeak_results"] is own
    assert isinstance(resources["batch_api"], BatchApi)
    assert resources["mine"] == "x"


def test_schedules_jobs_and_executor_stay() -> None:
    job = dg.define_asset_job("nightly", selection="labels")
    schedule = dg.ScheduleDefinition(job=job, cron_schedule="0 1 * * *")
    defs = loaded(jobs=[job], schedules=[schedule], executor=dg.in_process_executor)
    assert [each.name for each in defs.jobs or ()] == ["nightly", "offpeak_stop_batches", "offpeak_housekeeping"]
    assert list(defs.schedules or ()) == [schedule]
    assert defs.executor is dg.in_process_executor


def test_an_input_without_a_tolerance_is_refused_with_the_line_to_add() -> None:
    @dg.asset
    def dashboard(labels: pd.DataFrame) -> None: ...

    with pytest.raises(DefinitionError) as refused:
        loaded(dashboard)
    assert str(refused.value).startswith("dashboard reads the batch asset labels without saying how stale")
    assert 'ins={"labels": tolerates(timedelta(hours=...))}' in str(refused.value)


def test_a_dependency_without_a_tolerance_is_refused() -> None:
    @dg.asset(deps=["labels"])
    def report() -> None: ...

    with pytest.raises(DefinitionError, match=r'deps=\[tolerates\("labels", timedelta\(hours=...\)\)\]'):
        loaded(report)


def test_a_multi_asset_without_a_tolerance_is_refused() -> None:
    @dg.multi_asset(specs=[dg.AssetSpec("one", deps=["labels"]), dg.AssetSpec("two")])
    def both() -> Iterator[dg.MaterializeResult[None]]:
        yield dg.MaterializeResult(asset_key="one")
        yield dg.MaterializeResult(asset_key="two")

    with pytest.raises(DefinitionError, match=r"^one reads the batch asset labels"):
        loaded(both)


def test_a_batch_asset_that_reads_another_needs_a_tolerance_too() -> None:
    def summaries(labels: pd.DataFrame) -> Iterator[Chat]:
        yield Chat(key="a", prompt="?")

    declare: Any = batch_asset(
        model="openai/gpt-5-mini",
        workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
        lane="batch",
        contract=FreshnessContract(valid_for=timedelta(hours=37)),
    )
    with pytest.raises(DefinitionError, match=r"^summaries reads the batch asset labels"):
        loaded(declare(summaries))


def test_a_check_that_reads_a_batch_asset_besides_its_own_is_refused_without_a_tolerance() -> None:
    @dg.asset
    def dashboard() -> None: ...

    @dg.asset_check(asset=dashboard, additional_ins={"labels": dg.AssetIn("labels")})
    def as_many(labels: pd.DataFrame) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    with pytest.raises(DefinitionError, match="additional_ins="):
        loaded(dashboard, asset_checks=[as_many])


def test_a_check_of_the_batch_asset_itself_needs_none() -> None:
    @dg.asset_check(asset="labels")
    def has_rows(labels: pd.DataFrame) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    loaded(asset_checks=[has_rows])


def test_a_graph_backed_reader_is_refused_with_a_way_out() -> None:
    @dg.op
    def count(labels: pd.DataFrame) -> int:
        return len(labels)

    @dg.graph_asset(ins={"labels": tolerates(STALENESS)})
    def counted(labels: Any) -> Any:
        return count(labels)

    with pytest.raises(DefinitionError, match="graph-backed asset"):
        loaded(counted)


def test_readers_that_declare_a_tolerance_load() -> None:
    @dg.asset(ins={"labels": tolerates(STALENESS)})
    def dashboard(labels: pd.DataFrame) -> None: ...

    @dg.asset(deps=[tolerates("labels", STALENESS)])
    def report() -> None: ...

    @dg.asset_check(asset=report, additional_ins={"labels": tolerates(STALENESS, key="labels")})
    def as_many(labels: pd.DataFrame) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    loaded(dashboard, report, asset_checks=[as_many])


def test_a_model_without_a_price_is_refused_naming_the_asset() -> None:
    with pytest.raises(DefinitionError, match=r"^labels: model='openai/gpt-nobody-sells'"):
        with_offpeak(dg.Definitions(assets=[labels_of("openai/gpt-nobody-sells")]))


def test_a_price_sheet_gives_a_model_its_price(tmp_path: Path) -> None:
    sheet = tmp_path / "prices.toml"
    sheet.write_text(
        '[[price]]\nmodel = "openai/gpt-nobody-sells"\nsince = 2026-01-01\nsource = "contract"\n'
        "batch = { input = 1.0, output = 1.0 }\nrealtime = { input = 2.0, output = 2.0 }\n"
    )
    api = BatchApi(price_sheet=str(sheet))
    with_offpeak(dg.Definitions(assets=[labels_of("openai/gpt-nobody-sells")], resources={"batch_api": api}))


def test_the_sensors_and_jobs_are_added_once() -> None:
    once = loaded()
    names = {"offpeak_batch_lifecycle", "offpeak_freshness"}
    assert {each.name for each in once.sensors or ()} == names
    own = lifecycle_sensor(minimum_interval_seconds=5)
    assert own in list(loaded(sensors=[own]).sensors or ())
    twice = with_offpeak(once)
    assert sorted(each.name for each in twice.sensors or ()) == sorted(names)
    assert len(list(twice.jobs or ())) == 2


def test_a_project_without_a_batch_asset_gets_no_sensor() -> None:
    defs = with_offpeak(dg.Definitions())
    assert not list(defs.sensors or ())
    assert not list(defs.jobs or ())


def test_definitions_that_are_merged_afterwards_are_refused_with_what_to_do() -> None:
    @dg.asset(required_resource_keys={"warehouse"})
    def orders() -> None: ...

    nightly = dg.ScheduleDefinition(name="nightly", job_name="elsewhere", cron_schedule="0 1 * * *")
    parts: list[dict[str, Any]] = [{"assets": [labels_of(), orders]}, {"assets": [labels_of()], "schedules": [nightly]}]
    for part in parts:
        with pytest.raises(DefinitionError, match=r"with_offpeak\(dg.Definitions.merge\(...\)\)"):
            with_offpeak(dg.Definitions(**part))


def test_a_check_of_ones_own_may_not_have_the_name_of_the_one_for_deadlines() -> None:
    report = dg.AssetSpec("report", deps=[tolerates("labels", STALENESS)], freshness_policy=freshness_sla("0 9 * * *"))

    @dg.asset_check(asset="report")
    def on_time() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    with pytest.raises(DefinitionError, match=r"report has a check called 'on_time'.*another name"):
        loaded(report, asset_checks=[on_time])


def test_an_asset_that_somebody_else_makes_by_a_deadline_is_watched_too() -> None:
    report = dg.AssetSpec("report", deps=[tolerates("labels", STALENESS)], freshness_policy=freshness_sla("0 9 * * *"))
    defs = loaded(report)
    assert dg.AssetCheckKey(dg.AssetKey("report"), "on_time") in defs.get_repository_def().asset_graph.asset_check_keys
    dg.Definitions.validate_loadable(with_offpeak(defs))


def test_every_way_to_schedule_an_asset_is_known() -> None:
    """By a job, its name, a target, several expressions, a partitioned job; and a schedule of no asset says nothing."""

    @dg.op
    def sweep() -> None: ...

    @dg.job
    def sweeping() -> None:
        sweep()

    days = dg.DailyPartitionsDefinition(start_date="2026-10-01", timezone="Europe/Berlin")

    @dg.asset(partitions_def=days)
    def daily() -> None: ...

    @dg.asset
    def other() -> None: ...

    job, of_days = dg.define_asset_job("a", selection="other"), dg.define_asset_job("b", selection="daily")
    defs = loaded(
        daily,
        other,
        jobs=[job, of_days, sweeping],
        schedules=[
            dg.ScheduleDefinition(name="by_job", job=job, cron_schedule="0 1 * * *"),
            dg.ScheduleDefinition(name="by_name", job_name="a", cron_schedule=["0 2 * * *", "0 3 * * *"]),
            dg.ScheduleDefinition(
                name="by_target",
                target=dg.AssetSelection.all(),
                cron_schedule="0 4 * * *",
                execution_timezone="Asia/Tokyo",
            ),
            dg.build_schedule_from_partitioned_job(of_days, name="by_day", hour_of_day=5),
            dg.ScheduleDefinition(name="of_ops", job=sweeping, cron_schedule="0 6 * * *"),
            dg.ScheduleDefinition(name="of_ours", job_name="offpeak_housekeeping", cron_schedule="0 7 * * *"),
        ],
    )
    chain = chain_of(defs, now=datetime(2026, 11, 21, tzinfo=UTC))
    ticks = {
        name: sorted((each.name, each.cron_schedule, each.timezone) for each in chain.nodes[name].crons)
        for name in ("other", "daily", "labels")
    }
    by_target = ("by_target", "0 4 * * *", "Asia/Tokyo")
    assert ticks == {
        "other": [
            ("by_job", "0 1 * * *", "UTC"),
            ("by_name", "0 2 * * *", "UTC"),
            ("by_name", "0 3 * * *", "UTC"),
            by_target,
        ],
        "daily": [("by_day", "0 5 * * *", "Europe/Berlin"), by_target],
        "labels": [by_target],
    }
    assert chain.nodes["other"].jobs == {"by_job", "by_name", "by_target"}


def test_a_schedule_is_known_without_making_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes Dagster longer than everything else."""
    monkeypatch.setattr(dg.RepositoryDefinition, "get_job", None)
    nightly = dg.ScheduleDefinition(name="nightly", target="labels", cron_schedule="0 1 * * *")
    defs = with_offpeak(dg.Definitions(assets=[labels_of()], schedules=[nightly]))
    assert chain_of(defs, now=datetime(2026, 11, 21, tzinfo=UTC)).triggers("labels")


def test_an_automation_condition_says_when_and_whether_inputs_are_waited_for() -> None:
    condition = dg.AutomationCondition

    def asset(name: str, automation: Any) -> dg.AssetsDefinition:
        @dg.asset(name=name, automation_condition=automation, deps=["source"])
        def made() -> None: ...

        return made

    conditions = {
        "eager": condition.eager(),
        "on_cron": condition.on_cron("0 9 * * *", "Europe/Berlin"),
        "ticks": condition.cron_tick_passed("0 9 * * *", "Asia/Tokyo") & ~condition.in_progress(),
        "missing": condition.on_missing(),
    }
    chain = chain_of(
        loaded(*(asset(name, each) for name, each in conditions.items())), now=datetime(2026, 11, 21, tzinfo=UTC)
    )
    found = {
        name: ({each.timezone for each in chain.nodes[name].crons}, chain.nodes[name].follows) for name in conditions
    }
    assert found["eager"] == (set(), True)
    assert found["on_cron"] == ({"Europe/Berlin"}, True)
    assert found["ticks"] == ({"Asia/Tokyo"}, False)


def telling(notify: Any) -> BatchAsset:
    def labels() -> Iterator[Chat]:
        yield Chat(key="a", prompt="?")

    return batch_asset(
        model="openai/gpt-5-mini",
        workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
        contract=FreshnessContract(valid_for=timedelta(hours=37)),
        notify=notify,
    )(labels)


def with_telling(notify: Any, **resources: Any) -> dg.Definitions:
    defs = with_offpeak(dg.Definitions(assets=[telling(notify)], resources=resources))
    dg.Definitions.validate_loadable(defs)
    return defs


def test_an_asset_that_says_whom_to_tell_gets_the_sensor_that_does() -> None:
    assert NOTICES_SENSOR in {each.name for each in with_telling("ops").sensors or ()}
    assert NOTICES_SENSOR not in {each.name for each in loaded().sensors or ()}
    assert isinstance((loaded().resources or {})["notifier"], Notifier)


def test_a_destination_that_the_notifier_does_not_have_is_refused_with_the_nearest_name() -> None:
    given = Notifier(destinations={"support": dg.EnvVar("SUPPORT_URL"), "ops": "json://127.0.0.1/token"})
    with_telling(["ops", Notify(to="support", on={"landed"})], notifier=given)
    with pytest.raises(DefinitionError, match=r"^labels: notify= names 'suport', .* Did you mean support\?") as refused:
        with_telling(Notify(to="suport"), notifier=given)
    assert "token" not in str(refused.value)
    with_telling("ops", notifier=Notifier())  # tells nobody


def test_a_resource_of_somebody_elses_by_that_name_is_refused_where_an_asset_tells() -> None:
    with pytest.raises(DefinitionError, match=r"^labels: notify= needs the resource 'notifier', which is a BatchApi"):
        with_telling("ops", notifier=BatchApi())
    with_offpeak(dg.Definitions(assets=[labels_of()], resources={"notifier": BatchApi()}))
