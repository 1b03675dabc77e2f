"""`offpeak contracts` in projects of their own: what is promised, how old rows get, and who has agreed to it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from typer.testing import CliRunner

from offpeak.cli import build_app
from offpeak.cli.project import find_project, load_definitions
from offpeak.errors import ConfigurationError, CouldNotRead, DefinitionError, LedgerUnreadable, NotFound

from ...conftest import LocalProvider

MODULE = "contracts_command_project"

BEFORE = """
import dagster as dg


@dg.asset
def shorter():
    return ["what", "a", "model", "said"]


@dg.asset
def board(shorter):
    return len(shorter)


defs = dg.Definitions(assets=[shorter, board])
"""

AFTER = """
import os
from datetime import timedelta

import dagster as dg
import pandas as pd

from offpeak import BatchApi, Chat, FreshnessContract, Waiting, Workload, batch_asset, tolerates, with_offpeak


class Rows(dg.IOManager):
    def handle_output(self, context, obj):
        raise NotImplementedError

    def load_input(self, context):
        return pd.DataFrame({"id": ["L1"], "text": ["A letter tells a story."]})


@batch_asset(
    model="openai/gpt-5-mini",
    workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
    lane="batch",
    contract=FreshnessContract(valid_for=timedelta(hours=37)),
)
def shorter(letters: pd.DataFrame):
    for row in letters.itertuples():
        yield Chat(key=row.id, system="Say it shorter.", prompt=row.text)


@dg.asset(ins={"shorter": tolerates(timedelta(hours=38), min_coverage=0.9)})
def board(shorter):
    return len(shorter)


@dg.asset(ins={"shorter": tolerates(timedelta(hours=48))})
def export(shorter):
    return len(shorter)


nightly = dg.ScheduleDefinition(
    name="nightly",
    job=dg.define_asset_job("refresh", selection=["shorter", "board"]),
    cron_schedule="30 1 * * *",
    execution_timezone="UTC",
)
defs = with_offpeak(
    dg.Definitions(
        assets=[shorter, board, export, dg.AssetSpec("letters").with_io_manager_key("rows")],
        schedules=[nightly],
        resources={
            "rows": Rows(),
            "batch_api": BatchApi(
                openai_api_key=dg.EnvVar("SHOP_KEY"), openai_base_url=os.environ.get("SHOP_URL", "")
            ),
        },
    )
)
"""


class Project:
    """A Dagster project, its definitions, and the command run within it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = folder / "contracts.lock"
        self.define(AFTER)

    def define(self, definitions: str) -> None:
        (self.folder / f"{MODULE}.py").write_text(definitions)

    def change(self, *pairs: tuple[str, str]) -> None:
        text = (self.folder / f"{MODULE}.py").read_text()
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new)
        self.define(text)

    def run(self, *arguments: str, code: int = 0) -> str:
        """`offpeak contracts ...`; what it printed on stdout. Errors pass through."""
        sys.modules.pop(MODULE, None)
        result = CliRunner().invoke(build_app(), ["contracts", *arguments], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return str(result.stdout)

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code))

    def materialize(self) -> None:
        import dagster as dg

        sys.modules.pop(MODULE, None)
        defs = load_definitions(find_project(self.folder))
        with dg.DagsterInstance.ephemeral() as instance:
            job = defs.resolve_implicit_global_asset_job_def()
            assert job.execute_in_process(asset_selection=[dg.AssetKey("shorter")], instance=instance).success


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Letters are said shorter every night, and read in the same run and by hand. No key, no ledger, no network."""
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.dg.project]\nroot_module = "shop"\ncode_location_target_module = "{MODULE}"\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    for variable in ("OFFPEAK_DATABASE_URL", "DAGSTER_HOME", "OPENAI_API_KEY", "SHOP_KEY", "SHOP_URL"):
        monkeypatch.delenv(variable, raising=False)
    yield Project(tmp_path)
    sys.modules.pop(MODULE, None)


def test_a_job_that_moves_to_batch_is_caught_until_every_reader_has_agreed(project: Project) -> None:
    project.define(BEFORE)
    assert "nothing is promised yet" in project.run("accept")
    assert "no batch assets" in project.run("check")
    project.define(AFTER)
    shown = project.run("check", code=1)
    assert "board reads shorter: not acknowledged before." in shown
    assert "made in the run itself, at realtime" in shown
    assert "batch, openai/gpt-5-mini, valid for 37 h, 24 h between runs, deadline 12 h" in shown
    assert "38 h, min_coverage 0.9" in shown
    assert "12 h deadline of shorter" in shown
    assert "holds, with 25 h 30 min to spare" in shown
    assert "offpeak contracts accept board" in shown
    assert "offpeak contracts accept export" in shown

    told = project.run("accept", "board")
    assert "board acknowledges what shorter promises" in told
    assert "export reads shorter: for the first time" in told
    assert project.json("check", code=1)["run"] == "offpeak contracts accept export"
    project.run("accept", "export")
    assert "agrees with the definitions" in project.run("check")
    assert project.json("check") == {
        "lock": str(project.lock),
        "agrees": True,
        "pending": [],
        "outdated": [],
        "run": None,
    }


def test_another_model_and_a_longer_promise_are_caught_again(project: Project) -> None:
    project.run("accept", "--all")
    project.change(('model="openai/gpt-5-mini"', 'model="openai/gpt-4o-mini"'))
    pending = project.json("check", code=1)["pending"]
    assert [each["consumer"] for each in pending] == ["board", "export"]
    assert pending[0]["changes"] == ["model openai/gpt-4o-mini, was openai/gpt-5-mini"]
    assert pending[0]["old_promise"]["model"] == "openai/gpt-5-mini"
    project.run("accept", "--all")
    project.run("check")
    project.change(("valid_for=timedelta(hours=37)", "valid_for=timedelta(hours=60)"))
    pending = project.json("check", code=1)["pending"]
    assert pending[0]["changes"] == ["valid_for 60 h, was 37 h"]
    assert pending[0]["new_promise"]["valid_for_seconds"] == 60 * 3600


def test_a_schedule_that_runs_less_often_is_caught(project: Project) -> None:
    project.run("accept", "--all")
    weekly = ("hours=37", "hours=400"), ("hours=38", "hours=400"), ("hours=48", "hours=400")
    project.change(*weekly, ('"30 1 * * *"', '"30 1 * * 1"'))
    changes = project.json("check", code=1)["pending"][0]["changes"]
    assert "cadence 168 h, was 24 h" in changes


def test_a_check_that_reads_agrees_as_an_asset_does(project: Project) -> None:
    project.run("accept", "--all")
    check = """
@dg.asset_check(asset="board", additional_ins={"shorter": tolerates(timedelta(hours=40))})
def counted(shorter):
    return dg.AssetCheckResult(passed=bool(len(shorter)))


nightly = """
    project.change(("nightly = ", check), ("schedules=[nightly],", "schedules=[nightly], asset_checks=[counted],"))
    found = project.json("check", code=1)
    assert [each["consumer"] for each in found["pending"]] == ["board:counted"]
    assert found["pending"][0]["before"] == "none that was acknowledged"
    project.run("accept", "board:counted")
    assert project.json("check")["agrees"]


def test_what_makes_nothing_worse_is_recorded_without_a_name(project: Project) -> None:
    project.run("accept", "--all")
    project.change(("deadline=timedelta(hours=12)", "deadline=timedelta(hours=6)"), ("hours=38", "hours=40"))
    found = project.json("check", code=1)
    assert (found["pending"], found["run"]) == ([], "offpeak contracts accept")
    assert "shorter promises deadline 6 h, was 12 h" in project.run("check", code=1)
    told = project.json("accept")
    assert told["written"]
    assert told["recorded"] == found["outdated"]
    project.run("check")
    assert "says all of it already" in project.run("accept")


def test_a_project_without_a_lock_is_told_that_there_is_none_yet(project: Project) -> None:
    shown = project.run("check", code=1)
    assert shown.startswith("There is no contracts.lock yet.")
    assert "not recorded: there is no contracts.lock yet" in shown
    told = project.run("accept")
    assert "shorter promises: batch" in told
    assert "Run: offpeak contracts accept board export" in told
    assert "none that was acknowledged" in project.run("check", code=1)


def test_accepting_touches_nothing_but_the_lock(project: Project) -> None:
    def others() -> dict[Path, bytes]:
        files = [each for each in project.folder.rglob("*") if each.is_file() and each.suffix != ".pyc"]
        return {each: each.read_bytes() for each in files if each != project.lock}

    before = others()
    project.run("accept", "--all")
    assert others() == before
    assert project.lock.is_file()


def test_a_consumer_that_nobody_knows_is_answered_with_the_nearest(project: Project) -> None:
    with pytest.raises(NotFound, match=r"bord reads no batch asset, so nothing was recorded\. Did you mean board"):
        project.run("accept", "bord", "export")
    assert not project.lock.exists()
    with pytest.raises(NotFound, match=r"neither a batch asset nor a consumer of one\. Did you mean board"):
        project.run("show", "bord")


def test_names_beside_all_are_a_wrong_option(project: Project) -> None:
    assert CliRunner().invoke(build_app(), ["contracts", "accept", "board", "--all"]).exit_code == 2


def test_what_cannot_be_met_is_not_accepted(project: Project) -> None:
    """Schedules that are added around the wrapper are seen here for the first time."""
    project.change(
        ("schedules=[nightly],", ""),
        ("\ndefs = with_offpeak(", "\nparts = with_offpeak("),
        ("hours=38", "hours=13"),
    )
    more = """
morning = dg.ScheduleDefinition(
    name="morning",
    job=dg.define_asset_job("boarding", selection=["board"]),
    cron_schedule="0 9 * * *",
    execution_timezone="UTC",
)
parts = [parts, dg.Definitions(schedules=[nightly, morning])]
defs = dg.Definitions.merge(*parts)
"""
    project.define((project.folder / f"{MODULE}.py").read_text() + more)
    shown = project.run("check", code=1)
    assert "cannot be met" in shown
    with pytest.raises(DefinitionError, match=r"board: max_staleness=13 h .*cannot be met.* Nothing was recorded\."):
        project.run("accept", "board")
    assert not project.lock.exists()


def test_a_tolerance_that_cannot_be_met_says_so_as_definitions_load(project: Project) -> None:
    project.change(("hours=38", "hours=6"))
    with pytest.raises(DefinitionError, match="cannot be met"):
        project.run("accept", "--all")
    assert not project.lock.exists()


def test_a_half_merged_lock_stops_every_verb_that_reads_it(project: Project) -> None:
    project.lock.write_text("<<<<<<< HEAD\nversion = 1\n=======\nversion = 1\n>>>>>>> theirs\n")
    for verb in (["check"], ["accept"], ["accept", "--all"], ["show", "board"]):
        with pytest.raises(CouldNotRead, match="half merged: line 1"):
            project.run(*verb)
    assert project.lock.read_text().startswith("<<<<<<<")


def test_batch_assets_that_nothing_wraps_are_told_how(project: Project) -> None:
    project.change(("defs = with_offpeak(", "defs = ("), ('"batch_api": BatchApi(', '"other": BatchApi('))
    with pytest.raises(ConfigurationError, match="with_offpeak"):
        project.run("check")


def test_the_table_shows_producers_and_consumers_and_makes_no_ledger(project: Project) -> None:
    shown = project.run()
    assert shown == project.run("show")
    lines = [line.split() for line in shown.splitlines()]
    assert [
        "shorter",
        "openai/gpt-5-mini",
        "24",
        "h,",
        "nightly",
        "12",
        "h",
        "37",
        "h",
        "36",
        "h",
        "30",
        "min",
    ] in lines
    (board,) = [" ".join(line) for line in lines if line[:1] == ["board"]]
    assert board == "board shorter 38 h 12 h 30 min 12 h 30 min 25 h 30 min"
    (export,) = [" ".join(line) for line in lines if line[:1] == ["export"]]
    assert export == "export shorter 48 h 36 h 30 min 24 h 30 min 11 h 30 min"
    assert "the whole deadline. There is no ledger" in shown
    assert not (project.folder / ".offpeak").exists()


@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_of_the_tables_is_wider_than_the_terminal(
    columns: int, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.change(("def shorter(", "def digests_of_letters("), ("(shorter)", "(digests_of_letters)"))
    project.change(('"shorter"', '"digests_of_letters"'), ("[shorter,", "[digests_of_letters,"))
    project.change(("openai/gpt-5-mini", "anthropic/claude-haiku-5-5"))
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal then
    tables = click.unstyle(project.run()).partition("Typical:")[0]
    assert tables.count("digests_of_letters") == 3
    assert "anthropic/claude-haiku-5-5" in tables
    assert max(len(line.rstrip()) for line in tables.splitlines()) <= columns
    assert "…" not in tables


def test_the_arithmetic_is_shown_on_request(project: Project) -> None:
    shown = project.run("show", "board")
    assert "board reads shorter" in shown
    assert "+ 30 min for collecting" in shown
    assert "= 12 h 30 min" in shown
    assert "nothing yet" in shown
    project.run("accept", "--all")
    assert "the same" in project.run("show", "board")
    shown = project.run("show", "shorter")
    assert "24 h between two runs of shorter (nightly, '30 1 * * *' in UTC)" in shown
    assert "= 36 h 30 min" in shown
    assert "board, export" in shown


def test_readers_that_a_late_batch_would_turn_away_are_named(project: Project) -> None:
    assert "misses its deadline" not in project.run()  # what is late is rescued
    project.change(('lane="batch",', 'lane="batch", on_deadline="serve_last_good",'))
    assert "misses its deadline" in project.run()  # 48 h 30 min at `export`, which tolerates 48
    assert "24 h 30 min with a batch that takes its provider's whole window" in project.run("show", "board")
    project.change(("hours=48", "hours=49"))
    assert "misses its deadline" not in project.run()


def test_what_is_unknown_is_marked_and_named(project: Project) -> None:
    project.change(("schedules=[nightly],", ""))
    shown = project.run()
    assert "no schedule" in shown
    assert "≥ 12 h 30 min" in shown
    assert "≥: not counted is the time between two runs of shorter, which has no schedule." in shown
    assert "as far as is known" in project.run("show", "board")
    assert project.json()["producers"][0]["cadence_seconds"] is None


def test_json_has_the_figures_in_seconds(project: Project) -> None:
    told = project.json()
    (producer,) = told["producers"]
    assert producer["schedules"] == [{"name": "nightly", "cron_schedule": "30 1 * * *", "timezone": "UTC"}]
    assert (producer["cadence_seconds"], producer["rows_get"]["seconds"]) == (24 * 3600, 36.5 * 3600)
    board, export = told["readings"]
    assert board["tolerance"] == {
        "max_staleness_seconds": 38 * 3600,
        "min_coverage": 0.9,
        "on_stale": "fail",
        "rows": "all",
    }
    assert (board["worst"]["seconds"], board["spare_seconds"]) == (12.5 * 3600, 25.5 * 3600)
    assert (export["typical"]["seconds"], export["verdict"]) == (24.5 * 3600, "holds, with 11 h 30 min to spare")
    assert project.json("show", "board")["readings"] == [board]


def test_typical_ages_go_by_what_landings_took(
    project: Project, local_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", "key-of-a-test")
    monkeypatch.setenv("SHOP_URL", f"{local_provider.url}/v1")
    project.materialize()
    told = project.json()
    board, _ = told["readings"]
    assert board["worst"]["seconds"] == 12.5 * 3600
    assert 0 < board["typical"]["seconds"] < 600
    assert told["typical_by"].endswith("what the last 20 landings took.")
    assert "until shorter usually has landed" in project.run("show", "board")


def test_a_ledger_that_was_named_and_is_not_there_is_an_error(project: Project) -> None:
    with pytest.raises(LedgerUnreadable, match="There is no ledger"):
        project.run("--database-url", f"sqlite:///{project.folder / 'elsewhere.db'}")


def test_the_lock_of_this_project_agrees_with_its_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `make lint` asks: with no key, no ledger, and providers that nobody can reach."""
    root = Path(__file__).parents[3]
    ended = subprocess.run(
        [sys.executable, "-m", "offpeak.cli", "contracts", "check"],
        cwd=root,
        env={
            "PATH": "/usr/bin:/bin",
            "OPENAI_BASE_URL": "http://127.0.0.1:9",
            "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    assert "contracts check" in (root / "Makefile").read_text(encoding="utf-8")
