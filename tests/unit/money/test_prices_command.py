"""`offpeak prices`, as somebody at a terminal sees it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from offpeak.cli.prices import CURRENT, register
from offpeak.clock import SystemClock
from offpeak.errors import ConfigurationError

OWN = """
[[price]]
model = "acme/large"
since = 2026-01-01
source = "contract 7"
batch = { input = 0.125 }
realtime = { input = 0.25 }
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """The verb alone, run inside a project with one price of its own, on 2026-11-20."""
    (tmp_path / "pyproject.toml").write_text("[tool.dg]\n")
    (tmp_path / "price_sheet.toml").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    hold_clock(monkeypatch, datetime(2026, 11, 20, tzinfo=UTC))
    app = typer.Typer()
    register(app)
    return app


def hold_clock(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    monkeypatch.setattr(SystemClock, "now", lambda self: moment)


def run(app: typer.Typer, *arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_without_arguments_the_sheets_models_and_the_current_ones_are_shown_with_both_prices(app: typer.Typer) -> None:
    output = run(app)
    for model in ("acme/large", "openai/text-embedding-3-small", *CURRENT):
        assert model in output
    lines = [line.split() for line in output.splitlines()]
    at = lines.index(["anthropic/claude-haiku-4-5"])
    assert lines[at + 1] == ["batch", "0.5", "0.05", "0.625", "1", "2.5", "list"]
    assert lines[at + 2] == ["realtime", "1", "0.1", "1.25", "2", "5", "list"]


def test_a_price_says_where_it_comes_from_and_how_old_the_list_is(app: typer.Typer, tmp_path: Path) -> None:
    output = run(app, "acme/large", "openai/text-embedding-3-small")
    assert "own 2026-01-01" in output
    assert "shipped 2025-11-05" in output
    assert "genai-prices" in output
    assert "days ago)" in output
    assert str(tmp_path / "price_sheet.toml") in output
    assert "older than" not in output


def test_list_prices_older_than_sixty_days_are_warned_about(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_clock(monkeypatch, datetime(2028, 1, 1, tzinfo=UTC))
    assert "older than 60 days" in run(app, "openai/gpt-6-luna")


def test_json_gives_decimal_text_tiers_sources_and_age(app: typer.Typer) -> None:
    document = json.loads(run(app, "anthropic/claude-haiku-5-5", "acme/large", "--json"))
    assert document["unit"] == "US dollars per million tokens"
    assert document["list_prices"]["age_days"] >= 0
    haiku, own = document["prices"]
    assert (haiku["batch"]["input"], haiku["realtime"]["input"]) == ("0.05", "0.1")
    assert haiku["batch"]["long_context"][0]["above_input_tokens"] == 100_000
    assert haiku["batch"]["long_context"][0]["input"] == "0.25"
    assert own["batch"]["output"] is None
    assert (own["batch"]["cited"], own["batch"]["since"]) == ("contract 7", "2026-01-01")


def test_an_unknown_model_is_refused_by_name(app: typer.Typer) -> None:
    with pytest.raises(ConfigurationError, match="openai/gpt-9"):
        run(app, "openai/gpt-9")
