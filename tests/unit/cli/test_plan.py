"""`offpeak plan` in a project of its own: what it says is what a run would then buy, and it buys nothing."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from offpeak.cli import build_app
from offpeak.cli.plan import on_this_machine
from offpeak.cli.project import find_project, load_definitions
from offpeak.errors import ConfigurationError, NotFound

from ...conftest import LocalProvider

MODULE = "plan_command_project"

DEFINITIONS = """
import os
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pandas as pd

from offpeak import BatchApi, Budget, Chat, FreshnessContract, Waiting, Workload, batch_asset, with_offpeak

SYSTEM = os.environ.get("SHOP_SYSTEM", "Say it shorter.")
DECLARED = {
    "model": "openai/gpt-5-mini",
    "workload": Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=24)),
    "contract": FreshnessContract(valid_for=timedelta(hours=37)),
}


class Rows(dg.IOManager):
    def handle_output(self, context, obj):
        raise NotImplementedError

    def load_input(self, context):
        return pd.read_csv(Path(__file__).parent / "letters.csv", dtype=str)


@batch_asset(**DECLARED)
def shorter(letters: pd.DataFrame):
    for row in letters.itertuples():
        yield Chat(key=row.id, system=SYSTEM, prompt=row.text)


@batch_asset(**DECLARED, budget=Budget(job="0.0000001", day=3, over=os.environ.get("SHOP_OVER", "ask")))
def dear(letters: pd.DataFrame):
    for row in letters.itertuples():
        yield Chat(key=row.id, system=SYSTEM, prompt=f"Dear: {row.text}")


@batch_asset(**DECLARED | {"model": "openai/gpt-6-luna"})
def alike(letters: pd.DataFrame):
    for row in letters.itertuples():
        yield Chat(key=row.id, prefix=500 * SYSTEM, prompt=f"Alike: {row.text}")


@batch_asset(**DECLARED, partitions_def=dg.StaticPartitionsDefinition(["2026-01", "2026-02", "2026-03"]))
def monthly(context, letters: pd.DataFrame):
    for row in letters.itertuples():
        yield Chat(key=row.id, system=SYSTEM, prompt=f"{context.partition_key}: {row.text}")


@batch_asset(**DECLARED | {"workload": Workload(waiting=Waiting.WALKED_AWAY, deadline=timedelta(hours=1), volume=900)})
def soon(letters: pd.DataFrame):
    for row in letters.itertuples():
        yield Chat(key=row.id, system=SYSTEM, prompt=f"Soon: {row.text}")


@dg.asset
def unrelated() -> int:
    return 1


defs = with_offpeak(
    dg.Definitions(
        assets=[shorter, dear, alike, monthly, soon, unrelated, dg.AssetSpec("letters").with_io_manager_key("rows")],
        resources={
            "rows": Rows(),
            "batch_api": BatchApi(openai_api_key="key-of-a-test", openai_base_url=os.environ["SHOP_URL"]),
        },
    )
)
"""

Run = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path, local_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Dagster project with one upstream table of four letters, inside which the command runs."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        f'[tool.dg.project]\nroot_module = "shop"\ncode_location_target_module = "{MODULE}"\n'
    )
    (folder / f"{MODULE}.py").write_text(DEFINITIONS)
    write_letters(folder, 4)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SHOP_URL", f"{local_provider.url}/v1")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("OFFPEAK_DATABASE_URL", raising=False)
    yield folder
    sys.modules.pop(MODULE, None)


def write_letters(folder: Path, count: int) -> None:
    lines = [f"L{number},Letter number {number} tells a story." for number in range(count)]
    (folder / "letters.csv").write_text("id,text\n" + "\n".join(lines) + "\n")


@pytest.fixture
def run(project: Path) -> Run:
    """`offpeak plan` in the project; gives what it printed on stdout. Errors pass through."""

    def command(*arguments: str) -> str:
        sys.modules.pop(MODULE, None)
        result = CliRunner().invoke(build_app(), ["plan", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    return command


def materialize(project: Path) -> None:
    """Buy what was planned, as `dg.materialize` does."""
    import dagster as dg

    sys.modules.pop(MODULE, None)
    defs = load_definitions(find_project(project))
    with dg.DagsterInstance.get() as instance:
        assert (
            defs.resolve_implicit_global_asset_job_def()
            .execute_in_process(asset_selection=[dg.AssetKey("shorter")], instance=instance)
            .success
        )


def test_a_plan_says_what_a_run_would_buy_and_buys_nothing(run: Run, local_provider: LocalProvider) -> None:
    told = json.loads(run("shorter", "--json"))
    assert (told["asset"], told["rows"], told["new"], told["reused"], told["joined"]) == ("shorter", 4, 4, 0, 0)
    assert 0 < float(told["estimated_cost_usd"]) < float(told["estimated_realtime_cost_usd"])
    assert isinstance(told["estimated_cost_usd"], str)
    assert told["lane"] == "batch"
    assert told["lane_reason"] == "nobody watches, due in 24 h: no tighter than the provider's window of 24 h"
    assert told["estimated_cost_usd"] == told["estimated_batch_cost_usd"]
    assert told["lands_by"].endswith("+00:00")
    assert (told["held"], told["surge"]) == (False, None)
    assert local_provider.batches() == []


def test_a_plan_says_whether_prefixes_would_be_cached_and_why(project: Path, run: Run) -> None:
    told = json.loads(run("alike", "--json"))
    assert (told["prefix_requests"], told["prefix_requests_cached"]) == (4, 4)
    assert told["prefix_caching"] == (
        "a write costs 1.25 times as much as input, a read 0.1 times; with 64% of cached text being read, as long as "
        "the past tells nothing, that pays from 2 requests of one prefix on, and the cache takes them from 1,024 "
        "tokens on"
    )
    assert "asked for with 4 of 4 requests: a write costs" in run("alike")
    write_letters(project, 1)
    assert "asked for with none of 1 requests: a write costs" in run("alike")
    assert json.loads(run("shorter", "--json"))["prefix_caching"] is None
    assert "prefix caching" not in run("shorter")


def test_after_a_run_only_what_changed_is_new(project: Path, run: Run) -> None:
    materialize(project)
    write_letters(project, 6)
    told = json.loads(run("shorter", "--json"))
    assert (told["rows"], told["new"], told["reused"], told["removed"]) == (6, 2, 4, 0)
    write_letters(project, 3)
    told = json.loads(run("shorter", "--json"))
    assert (told["rows"], told["new"], told["reused"], told["removed"]) == (3, 0, 3, 1)


def test_a_plan_that_the_surge_guard_would_hold_says_why(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch, local_provider: LocalProvider
) -> None:
    materialize(project)
    bought = local_provider.tally("openai")["answers_delivered"]
    monkeypatch.setenv("SHOP_SYSTEM", "Say it longer.")
    told = json.loads(run("shorter", "--json"))
    assert told["held"]
    assert "What differs: system" in told["surge"]
    shown = run("shorter")
    assert "It would be held." in shown
    assert "Nothing was bought." in shown
    assert local_provider.tally("openai")["answers_delivered"] == bought


def test_a_plan_says_what_is_left_of_each_budget_and_what_would_become_of_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = json.loads(run("dear", "--json"))
    assert (told["held"], told["refused"], told["surge"]) == (True, False, None)
    assert told["over_budget"].startswith("Over budget: dear is estimated at $0.0")
    assert [each["name"] for each in told["budgets"]] == ["a job of dear", "dear on this UTC day"]
    assert told["estimated_from"] == "length, as nothing was bought before"
    shown = run("dear")
    assert "$3.00 left of $3.00 for dear on this UTC day" in shown
    assert "estimated from length, as nothing was bought before" in shown
    assert "It would be held. Over budget: dear" in shown
    assert "`offpeak jobs approve` lets it through" in shown

    monkeypatch.setenv("SHOP_OVER", "refuse")
    told = json.loads(run("dear", "--json"))
    assert (told["held"], told["refused"]) == (False, True)
    assert "It would be refused. Over budget: dear" in run("dear")
    assert json.loads(run("shorter", "--json"))["budgets"] == []


def test_the_table_shows_rows_price_lane_and_landing_time(run: Run) -> None:
    shown = run("shorter")
    for part in ("4 to buy", "at list price", "realtime", "batch: nobody watches", "lands by", "simulated"):
        assert part in shown


def test_a_plan_for_the_background_lane_has_its_price_and_says_when_each_lane_would_land(run: Run) -> None:
    told = json.loads(run("soon", "--json"))
    assert (told["lane"], told["other_lane"]) == ("background", "batch")
    assert told["estimated_cost_usd"] == told["estimated_realtime_cost_usd"]
    assert 0 < float(told["estimated_batch_cost_usd"]) < float(told["estimated_cost_usd"])
    assert told["volume"] == 900
    assert told["lands_by_why"] == "4 requests at 50 a minute, assumed"
    assert told["lands_by"] < told["other_lands_by"]
    shown = " ".join(run("soon").split())
    for part in (
        "4 to buy; 900 are usual",
        "at realtime list price",
        "on the batch tier, which would save",
        "background: a person asked and walked away, due in 1 h",
        "4 requests at 50 a minute, assumed",
        "in batch would land by",
        "the provider's window of 24 h",
    ):
        assert part in shown


def test_a_partitioned_asset_is_planned_for_its_newest_partition(run: Run) -> None:
    assert json.loads(run("monthly", "--json"))["partitions"] == ["2026-03"]
    assert json.loads(run("monthly", "--partition", "2026-01", "--json"))["partitions"] == ["2026-01"]


def test_a_range_of_partitions_is_one_plan(run: Run) -> None:
    told = json.loads(run("monthly", "--partition-range", "2026-01...2026-03", "--json"))
    assert told["partitions"] == ["2026-01", "2026-02", "2026-03"]
    assert told["rows"] == 12


def test_partitions_that_do_not_exist_or_make_no_range_are_refused(run: Run) -> None:
    with pytest.raises(NotFound, match=r"no partition '2026-1'.*2026-01"):
        run("monthly", "--partition", "2026-1")
    with pytest.raises(ConfigurationError, match="no range"):
        run("monthly", "--partition-range", "2026-01")
    with pytest.raises(ConfigurationError, match="comes after"):
        run("monthly", "--partition-range", "2026-03...2026-01")
    with pytest.raises(ConfigurationError, match="has no partitions"):
        run("shorter", "--partition", "2026-01")


def test_a_partition_beside_a_range_is_a_wrong_option(project: Path) -> None:
    arguments = ["plan", "monthly", "--partition", "2026-01", "--partition-range", "2026-01...2026-02"]
    assert CliRunner().invoke(build_app(), arguments).exit_code == 2


def test_a_name_that_is_no_batch_asset_is_answered_with_the_nearest(run: Run) -> None:
    with pytest.raises(NotFound, match=r"There is no batch asset 'shortr'. Did you mean shorter"):
        run("shortr")
    with pytest.raises(NotFound, match="unrelated is not a batch asset: it buys nothing"):
        run("unrelated")


def test_definitions_without_offpeak_are_told_how_to_add_it(project: Path, run: Run) -> None:
    (project / f"{MODULE}.py").write_text("import dagster as dg\n\ndefs = dg.Definitions()\n")
    with pytest.raises(ConfigurationError, match="with_offpeak"):
        run("shorter")


@pytest.mark.parametrize(
    ("realm", "expected"),
    [
        ("openai:127.0.0.1:8099", True),
        ("anthropic:localhost", True),
        ("openai:[::1]:80", True),
        ("openai:api.openai.com", False),
        ("openai:10.0.0.7:8099", False),
    ],
)
def test_only_a_loopback_address_is_this_machine(realm: str, expected: bool) -> None:
    assert on_this_machine(realm) is expected


def test_a_sample_is_named_and_priced_and_not_bought(run: Run, project: Path, local_provider: LocalProvider) -> None:
    write_letters(project, 40)
    told = json.loads(run("shorter", "--sample", "10", "--json"))
    assert len(told["sample_keys"]) == 10
    assert 0 < float(told["estimated_sample_cost_usd"]) < float(told["estimated_cost_usd"])
    said = run("shorter", "--sample", "10")
    assert "Sample: 10 rows would be bought first, for about $" in said
    assert f"the others held until it is approved: {', '.join(told['sample_keys'])}." in said
    assert 'offpeak/sample: "20"' in said
    assert json.loads(run("shorter", "--json"))["sample_keys"] == []
    assert local_provider.batches() == []
