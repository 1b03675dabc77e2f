"""`with_offpeak`: what it adds, and which graphs it refuses when definitions load."""

from collections.abc import Iterator
from datetime import timedelta
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
    OffpeakResults,
    Waiting,
    Workload,
    batch_asset,
    lifecycle_sensor,
    tolerates,
    with_offpeak,
)
from offpeak.errors import DefinitionError

STALENESS = timedelta(hours=38)


def labels_of(model: str = "openai/gpt-5-mini") -> BatchAsset:
    def labels() -> Iterator[Chat]:
        yield Chat(key="a", prompt="?")

    return batch_asset(
        model=model,
        workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
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
