"""The sample launch on a held clock, from a week before it until the day after.

Assets and schedules are this project's own; Dagster's engine carries out what the daemon would start.
"""

import csv
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from ai_assets import sources
from ai_assets.classification import support_dashboard, ticket_labels
from ai_assets.launch_plans import launch_capacity, launch_coverage, launch_report
from offpeak.freshness.cadence import Cron
from offpeak.launches.listed import read_launches
from offpeak.results.row import served_row
from resources import sample_data
from resources.batch_api import LAUNCHES, PRICES
from resources.sources import SourceTables
from schedules.launch_plans import launch_plans
from schedules.launch_precompute import PRECOMPUTED, launch_checks, launch_precompute

from ..conftest import LocalProvider
from .code_location import CodeLocation
from .conftest import OfflineProvider
from .held_launch import Stage, holding
from .parked_assets import sold

NAME = "spring_release"
LAUNCH = read_launches(LAUNCHES).named(NAME)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FIRST, LAST = LAUNCH.starts - 7 * DAY, LAUNCH.ends + DAY

RAISED_ON = LAUNCH.starts - 4 * DAY
"""When the provider agrees to a higher limit, and somebody writes it down."""
CHANGED_ON = LAUNCH.starts - 2 * DAY
"""When somebody changes an item of the catalogue."""

LABELS = dg.ScheduleDefinition(
    name="labels",
    job=dg.define_asset_job("labels_of_the_hour", selection=["ticket_labels", "support_dashboard"]),
    cron_schedule="0 * * * *",
)
TABLES = ("support_tickets", "launch_prompts", "catalog_items", "launch_traffic")


CHECKS = [f"{each.key.to_user_string()}:fresh_to_the_end" for each in PRECOMPUTED]
ROWS = {
    "launch_starters": ("launch_prompts", "prompt_id", "starter"),
    "launch_examples": ("launch_prompts", "prompt_id", "example"),
    "launch_catalog_summaries": ("catalog_items", "item_id", None),
    "launch_embeddings": ("catalog_items", "item_id", None),
}
"""By asset: the table whose rows it pre-computes, their key, and of which kind."""


@dataclass
class Days:
    """The stage, and the files that people edit in these days."""

    stage: Stage
    tables: Path
    prices: Path
    passed: datetime = FIRST

    def pass_to(self, moment: datetime) -> None:
        """Have every schedule tick until then, each with what the daemon does in the half hour after it.

        The one that ticks each hour does so from two hours before the launch until five after it; the others always.
        """
        ticks = [
            (tick, each.name)
            for each in (launch_precompute, launch_plans, LABELS)
            for tick in Cron(name=each.name, cron_schedule=str(each.cron_schedule), timezone="UTC").ticks(
                self.passed, moment
            )
            if each is not LABELS or LAUNCH.starts - 2 * HOUR <= tick < LAUNCH.ends + 5 * HOUR
        ]
        for at, name in sorted(ticks):
            self.stage.schedule(name, at)
            for minutes in (10, 20, 30):
                self.stage.time.to(at + timedelta(minutes=minutes))
                self.stage.turn()
                self.stage.after()
        self.passed = moment
        self.stage.time.to(moment)

    def rows(self, table: str) -> list[dict[str, str]]:
        with (self.tables / f"{table}.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def change(self, table: str, number: int, **changes: str) -> None:
        """What somebody else does to a row of a table."""
        rows = self.rows(table)
        rows[number] |= changes
        with (self.tables / f"{table}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def raise_limits(self) -> None:
        """Write down what the provider has agreed to."""
        text = self.prices.read_text()
        raised = text.replace("requests_per_minute = 50\n", "requests_per_minute = 1_000\n")
        raised = raised.replace("tokens_per_minute = 50_000\n", "tokens_per_minute = 450_000\n")
        assert raised != text
        self.prices.write_text(raised)

    def submitted(self, since: datetime, until: datetime) -> int:
        """Batches that the provider took in this time."""
        times = [datetime.fromtimestamp(each["created_at"], UTC) for each in self.stage.provider.batches()]
        return sum(since <= each < until for each in times)

    def served(self, asset: str, at: datetime) -> list[bool]:
        """Of every row that is to be pre-computed, whether a reader gets it at a moment."""
        table, key, kind = ROWS[asset]
        keys = [each[key] for each in self.rows(table) if kind is None or each["kind"] == kind]
        database = self.stage.here.ledger.database
        return [served_row(database, asset, NAME, each, at=at) is not None for each in keys]


@pytest.fixture
def days(
    code_location: Callable[..., CodeLocation],
    local_provider: LocalProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Days]:
    tables, prices = tmp_path / "tables", tmp_path / "price_sheet.toml"
    tables.mkdir()
    for table in TABLES:
        shutil.copy(sample_data.FOLDER / f"{table}.csv", tables)
    shutil.copy(PRICES, prices)
    api = OfflineProvider(local_provider.url).api(keep=True, launches=str(LAUNCHES), price_sheet=str(prices))
    with holding(local_provider, FIRST, monkeypatch) as time:
        here = code_location(
            *(getattr(sources, table) for table in TABLES),
            *(*PRECOMPUTED, ticket_labels, support_dashboard, launch_capacity, launch_coverage, launch_report),
            asset_checks=launch_checks,
            schedules=[launch_precompute, launch_plans, LABELS],
            resources={"batch_api": api, "source_tables": SourceTables(url=f"folder:{tables}")},
        )
        yield Days(Stage(here, time, local_provider), tables, prices)


def test_from_a_week_before_a_launch_until_the_day_after_it(days: Days, local_provider: LocalProvider) -> None:
    here, stage = days.stage.here, days.stage

    days.pass_to(RAISED_ON)
    fits = [passed for _, passed in here.evaluated(f"launch_capacity:fits_{NAME}")]
    assert fits == [False] * 3, "red on each morning before the limit is raised"
    assert days.submitted(FIRST, RAISED_ON) == len(PRECOMPUTED), (
        "bought in the first night, and looked at in the others"
    )

    days.raise_limits()
    days.pass_to(CHANGED_ON)
    fits = [passed for _, passed in here.evaluated(f"launch_capacity:fits_{NAME}")]
    assert fits == [False] * 3 + [True] * 2, "and green after"

    days.change("catalog_items", 0, description="Glazed twice and fired slowly, for whoever starts a studio of tiles.")
    days.pass_to(LAUNCH.starts)
    assert days.submitted(CHANGED_ON, LAUNCH.starts - 3 * HOUR) == 2, "the changed item: a summary and a vector"
    for asset in ROWS:
        assert all(days.served(asset, LAUNCH.starts)), asset
        assert all(days.served(asset, LAUNCH.ends - timedelta(microseconds=1))), asset
    for check in CHECKS:
        assert here.evaluated(check)[-1][1], check
    assert days.submitted(LAUNCH.starts - 2 * HOUR, LAUNCH.starts) > 0, "the hourly labels"

    for hour in range(12):
        days.change("support_tickets", hour, body=f"At {hour} past the start of the launch I cannot log in any more.")
        days.pass_to(LAUNCH.starts + (hour + 1) * HOUR)
    assert stage.time.now == LAUNCH.ends
    assert days.submitted(LAUNCH.starts, LAUNCH.ends) == 0
    assert [name for name, _ in stage.skipped] == ["labels"] * 12
    assert {reason for _, reason in stage.skipped} == {
        f"Skipped for the launch {NAME}, until 2027-03-09 20:00 UTC. It is made up after that."
    }
    for asset in ROWS:
        assert all(days.served(asset, LAUNCH.ends - timedelta(microseconds=1))), asset

    days.pass_to(LAST)
    made_up = here.instance.get_runs(dg.RunsFilter(tags={"offpeak/made_up_after": NAME}))
    assert len(made_up) == 1
    assert days.submitted(LAUNCH.ends, LAST) == 1, "what changed in the twelve hours is one batch"
    assert set(here.states()) == {"completed"}
    assert here.held() == []
    assert set(sold(local_provider)) == {1}, "each request once"
