"""`launch_coverage` and `launch_report`, materialised over what the sample's assets have really bought."""

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ai_assets import sources
from ai_assets.launch_plans import launch_coverage, launch_report
from ai_assets.launches import launch_catalog_summaries, launch_embeddings, launch_examples, launch_starters
from offpeak import Chat, FreshnessContract, Waiting, Workload, batch_asset
from resources import sample_data
from resources.sources import SourceTables

from ..conftest import ROOT, LocalProvider
from .conftest import OfflineProvider
from .held_launch import Time, holding

SPRING = "spring_release"
QUIET = datetime(2027, 3, 3, 2, 30, tzinfo=UTC)
FILES = {"launches": str(ROOT / "launches.yaml"), "price_sheet": str(ROOT / "price_sheet.toml")}
TABLES = SourceTables(url=f"folder:{sample_data.FOLDER}")


@pytest.fixture
def held(local_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Time]:
    """Time stands where a test puts it, for Offpeak and for the provider; what sleeps has it pass."""
    with holding(local_provider, QUIET, monkeypatch) as time:
        yield time


@pytest.fixture
def plans(project: Any, local_provider: LocalProvider, held: Time) -> Any:
    """The sample's assets and plans."""
    return project(
        *(sources.catalog_items, sources.launch_prompts, sources.launch_traffic),
        *(launch_starters, launch_examples, launch_catalog_summaries, launch_embeddings),
        *(launch_coverage, launch_report),
        resources={"source_tables": TABLES, "batch_api": OfflineProvider(local_provider.url).api(**FILES)},
    )


def share_of(plans: Any, *assets: str) -> float:
    """Of the sample's past traffic, to rows that these assets have, reckoned here."""
    there = {
        (asset, key)
        for asset in assets
        for key in plans.defs.load_asset_value(asset, partition_key=SPRING, instance=plans.instance)["key"]
    }
    with (sample_data.FOLDER / "launch_traffic.csv").open(encoding="utf-8") as file:
        asked = {(row["asset"], row["key"]): float(row["requests"]) for row in csv.DictReader(file)}
    return sum(requests for row, requests in asked.items() if row in there) / sum(asked.values())


def landed(plans: Any, asset: str) -> dict[str, Any]:
    (found,) = plans.landed(asset).values()
    return dict(found.metadata)


@pytest.mark.slow
def test_the_hit_rate_is_that_of_the_rows_that_were_bought_and_holds_to_the_end(plans: Any, held: Time) -> None:
    assert landed(plans, "launch_coverage")["hit_rate/spring_release"] == 0
    plans.run("launch_starters", "launch_catalog_summaries", partition=SPRING)
    first = landed(plans, "launch_coverage")
    assert first["hit_rate/spring_release"] == pytest.approx(
        share_of(plans, "launch_starters", "launch_catalog_summaries")
    )
    assert "| `launch_embeddings` | 19.9% | 0% | 0% | 100% | 0 of 90 |" in first["launch/spring_release"]

    plans.run("launch_examples", "launch_embeddings", partition=SPRING)
    whole = landed(plans, "launch_coverage")
    assert 0.68 < whole["hit_rate/spring_release"] < 0.72
    assert whole["hit_rate_at_peak/spring_release"] == whole["hit_rate/spring_release"]
    assert whole["misses_usd/spring_release"] < first["misses_usd/spring_release"]

    held.to(QUIET + timedelta(days=7))  # it has been over for hours
    assert landed(plans, "launch_coverage")["summary"] == "No launch is ahead."


@pytest.mark.slow
def test_the_report_has_the_five_figures_and_a_file_and_buys_nothing(plans: Any, local_provider: LocalProvider) -> None:
    plans.run("launch_starters", partition=SPRING)
    batches = len(local_provider.batches())
    coverage, report = landed(plans, "launch_coverage"), landed(plans, "launch_report")
    assert len(local_provider.batches()) == batches

    assert report["summary"].startswith("**spring_release, 9 March 2027, in 6 d ")
    assert "| **50,000 tokens/min** | **-35%** | **23 Feb 2027** |" in report["summary"]
    figures = {name: figure for name, figure in coverage.items() if isinstance(figure, float)}
    assert len(figures) == 6
    assert figures.items() <= report.items()
    page = Path(report["file"]).read_text(encoding="utf-8")
    for said in ("Binding limit", "Headroom", "Raise by", "Hit rate", "Cost of misses", "data:image/png;base64,"):
        assert said in page


def test_a_run_of_a_code_location_knows_what_the_launch_holds_up(
    code_location: Any, held: Time, local_provider: LocalProvider
) -> None:
    @batch_asset(
        model="openai/gpt-5-mini",
        workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=24)),
        contract=FreshnessContract(valid_for=timedelta(hours=49)),
    )
    def at_noon() -> Iterator[Chat]:
        yield Chat(key="a", prompt="?")

    schedule = dg.ScheduleDefinition(
        name="noon",
        job=dg.define_asset_job("noon_job", selection=dg.AssetSelection.assets(at_noon)),
        cron_schedule="0 12 * * *",
        execution_timezone="UTC",
    )
    here = code_location(
        *(sources.launch_traffic, launch_report, at_noon),
        schedules=[schedule],
        resources={"source_tables": TABLES, "batch_api": OfflineProvider(local_provider.url).api(**FILES)},
    )
    assert here.run("launch_report").status is dg.DagsterRunStatus.SUCCESS
    event = here.instance.get_latest_materialization_event(dg.AssetKey("launch_report"))
    told = event.asset_materialization.metadata["launch/spring_release"].value
    assert "Scheduled runs of 1 asset fall into its window" in told
    assert "| `at_noon` | yes | 1 run is skipped and made up at 2027-03-09 20:00 UTC" in told
