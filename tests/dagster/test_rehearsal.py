"""`offpeak launch rehearse` in a project of its own: real SDKs, the local provider as the stand-in, a real ledger."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from offpeak.cli import build_app
from offpeak.cli.project import find_project, load_definitions
from offpeak.errors import ConfigurationError, LedgerUnreadable

from ..conftest import ROOT
from .conftest import OfflineProvider

MODULE = "rehearsed_project"

DEFINITIONS = """
import os
from datetime import timedelta
from pathlib import Path

import dagster as dg

from offpeak import BatchApi, Chat, FreshnessContract, SourceTables, Waiting, Workload, batch_asset, with_offpeak

HERE = Path(__file__).parent
LAUNCHES = dg.StaticPartitionsDefinition(["spring_release"])


@batch_asset(
    model="openai/gpt-5-mini",
    workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=24)),
    contract=FreshnessContract(valid_for=timedelta(hours=37)),
    partitions_def=LAUNCHES,
)
def launch_starters():
    for number in range(8):
        yield Chat(key=f"S{number}", prompt=f"The first answer to question {number}.")


defs = with_offpeak(
    dg.Definitions(
        assets=[launch_starters],
        resources={
            "source_tables": SourceTables(url=f"folder:{HERE / 'tables'}"),
            "batch_api": BatchApi(
                openai_api_key="key-of-a-test",
                openai_base_url=os.environ["SHOP_URL"],
                price_sheet=str(HERE / "prices.toml"),
                launches=str(HERE / "launches.yaml"),
            ),
        },
    )
)
"""

# 12 a second at the peak; without pre-computed results that is more than four times what the models allow.
LAUNCH = """
launches:
  - name: spring_release
    starts: 2027-03-09 09:00
    ends: 2027-03-09 21:00
    zone: Europe/Berlin
    peak_users: 144
    session: {minutes: 1, requests: 5, input_tokens: 1000, output_tokens: 250}
    precomputed_share: 0.8
    models: {openai/gpt-5-mini: 0.8, anthropic/claude-haiku-5-5: 0.2}
"""
STAND_IN = """
rehearsal:
  provider: python -m local_provider --port {port} --limits {limits} --realtime-latency 0.05 --answers full
"""
LIMITS = """
[[terms]]
model = "openai/gpt-5-mini"
source = "a test"
requests_per_minute = 160
tokens_per_minute = 1_000_000

[[terms]]
model = "anthropic/claude-haiku-5-5"
source = "a test"
requests_per_minute = 60
"""
# 8 of 10 requests are for rows that are pre-computed, the others for what is not.
TRAFFIC = (
    "row_id,asset,key,requests\n" + "".join(f"{n},launch_starters,S{n},100\n" for n in range(8)) + "8,other,x,200\n"
)


@pytest.fixture
def project(tmp_path: Path, provider: OfflineProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Dagster project with one launch, inside which the command runs."""
    folder = tmp_path / "shop"
    (folder / "tables").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        f'[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "shop"\n'
        f'code_location_target_module = "{MODULE}"\n'
    )
    (folder / f"{MODULE}.py").write_text(DEFINITIONS)
    (folder / "launches.yaml").write_text(LAUNCH + STAND_IN)
    (folder / "prices.toml").write_text(LIMITS)
    (folder / "tables" / "launch_traffic.csv").write_text(TRAFFIC)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SHOP_URL", f"{provider.url}/v1")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # where the stand-in of these tests is
    for name in ("OFFPEAK_DATABASE_URL", "OFFPEAK_SOURCE_URL"):
        monkeypatch.delenv(name, raising=False)
    yield folder
    sys.modules.pop(MODULE, None)


@pytest.fixture
def landed(project: Path) -> Path:
    """The project, with what was pre-computed for its launch."""
    sys.modules.pop(MODULE, None)
    defs = load_definitions(find_project(project))
    with dg.DagsterInstance.get() as instance:
        job = defs.resolve_implicit_global_asset_job_def()
        tags = {"offpeak/wait": "run"}
        assert job.execute_in_process(
            asset_selection=[dg.AssetKey("launch_starters")],
            partition_key="spring_release",
            instance=instance,
            tags=tags,
        ).success
    return project


@pytest.fixture
def run() -> Callable[..., str]:
    """`offpeak launch` in the project; gives what it printed on stdout. Errors pass through."""

    def command(*arguments: str) -> str:
        sys.modules.pop(MODULE, None)
        result = CliRunner().invoke(build_app(), ["launch", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    return command


Run = Callable[..., str]


@pytest.mark.slow
def test_a_rehearsal_shows_the_peak_with_and_without_what_was_precomputed(landed: Path, run: Run) -> None:
    told: dict[str, Any] = json.loads(run("rehearse", "spring_release", "--seconds", "10", "--json"))
    first, second = told["with_results"], told["without"]
    assert (told["peak_per_second"], told["scale"]) == (12, 1)
    assert first["requests"] == second["requests"] > 60
    assert first["hit_rate"] > 0.5
    assert second["hit_rate"] == second["hits"] == 0
    assert second["throttled"] > first["throttled"]
    assert second["refusals"] >= second["throttled"]
    assert second["latency"]["p99_ms"] > first["latency"]["p99_ms"]
    assert 0 < float(first["cost_usd"]) < float(second["cost_usd"])
    assert first["hit_latency"]["p50_ms"] < first["miss_latency"]["p50_ms"]
    assert f"{second['throttled'] / second['requests']:.0%} of the requests are throttled" in told["compared"]


@pytest.mark.slow
def test_the_table_says_both_columns_and_the_scale(landed: Path, run: Run) -> None:
    said = run("rehearse", "spring_release", "--seconds", "5", "--scale", "0.5")
    assert "both played at the scale 0.5: 6.0 a second at the peak" in said
    assert "openai/gpt-5-mini: 80 requests a minute, 500,000 tokens a minute" in said
    for label in ("requests", "hit rate", "p50 / p99 of all, ms", "throttled", "failed", "cost at realtime price"):
        assert any(line.startswith(label) for line in said.splitlines()), label
    assert "Without pre-computed results" in said.splitlines()[-1]


def test_the_launches_are_listed_with_their_state(project: Path, run: Run) -> None:
    assert "2027-03-09 09:00 to 21:00 Europe/Berlin" in run("list")
    (told,) = json.loads(run("list", "--json"))
    assert (told["name"], told["starts"]) == ("spring_release", "2027-03-09T08:00:00+00:00")
    assert told["quiet_from"] == "2027-03-02T08:00:00+00:00"
    assert told["models"] == {"openai/gpt-5-mini": 0.8, "anthropic/claude-haiku-5-5": 0.2}


def test_an_unknown_launch_is_an_error(project: Path, run: Run) -> None:
    with pytest.raises(ConfigurationError, match=r"no launch 'autumn'.*there are: spring_release"):
        run("rehearse", "autumn")


def test_without_a_stand_in_it_says_what_to_write(project: Path, run: Run) -> None:
    (project / "launches.yaml").write_text(LAUNCH)
    with pytest.raises(ConfigurationError, match=r"(?s)never calls the real ones.*provider: python -m local_provider"):
        run("rehearse", "spring_release")


def test_without_a_ledger_it_says_so_and_makes_none(project: Path, run: Run) -> None:
    with pytest.raises(LedgerUnreadable, match="There is no ledger"):
        run("rehearse", "spring_release")
    assert not (project / ".offpeak" / "offpeak.db").exists()


@pytest.mark.slow
def test_what_is_missing_is_said_before_anything_is_played(landed: Path, run: Run) -> None:
    (landed / "prices.toml").write_text("")  # what a run declared to the ledger before is not what a provider said
    with pytest.raises(
        ConfigurationError,
        match=r'(?s)what openai/gpt-5-mini and anthropic/claude-haiku-5-5 allow .*\[\[terms\]\]\nmodel = "openai',
    ):
        run("rehearse", "spring_release")
    (landed / "prices.toml").write_text(LIMITS)
    (landed / "launches.yaml").write_text(LAUNCH + STAND_IN.replace("-m local_provider", "-c 'raise SystemExit(3)'"))
    with pytest.raises(ConfigurationError, match="stand-in ended by itself with exit code 3"):
        run("rehearse", "spring_release")
    (landed / "tables" / "launch_traffic.csv").write_text("asset,key\nlaunch_starters,S0\n")
    with pytest.raises(ConfigurationError, match="It has no requests, only asset, key"):
        run("rehearse", "spring_release")
    (landed / "tables" / "launch_traffic.csv").unlink()
    with pytest.raises(ConfigurationError, match=r"needs the table launch_traffic .* asset, key .* and requests"):
        run("rehearse", "spring_release")
