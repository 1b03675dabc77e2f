"""The evaluation of a prompt, landed against the offline provider: its figures, and what a regression stops."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.errors import DagsterAssetCheckFailedError

from ai_assets import evals
from ai_assets.sources import eval_cases
from resources import sample_data
from resources.sources import SourceTables

BATCHES = ("eval_outputs", "eval_grades", "eval_comparisons")


@dg.asset(deps=["prompt_regression"])
def rollout() -> None:
    """What a team does once the candidate is good."""


@pytest.fixture
def suite(project: Any, tmp_path: Path) -> Any:
    """The family over the sample cases."""
    sample_data.create(tmp_path / "source.db")
    tables = SourceTables(url=f"sqlite:///{tmp_path / 'source.db'}")
    assets = dg.load_assets_from_modules([evals])
    return project(*assets, eval_cases, rollout, resources={"source_tables": tables})


def test_a_suite_is_answered_graded_and_judged_and_a_second_run_buys_nothing(suite: Any, provider: Any) -> None:
    everything = (*BATCHES, "eval_calibration", "prompt_regression", "rollout")
    result = suite.run(*everything)
    landed = {
        event.asset_key.to_user_string(): {name: each.value for name, each in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
    }
    cases, traced = 32, 24
    assert {name: landed[name]["rows"] for name in BATCHES} == {
        "eval_outputs": 2 * cases,
        "eval_grades": 2 * cases + traced,
        "eval_comparisons": 2 * cases,
    }
    judge = landed["eval_calibration"]
    assert judge["graded_by_people"] == traced
    assert 0.7 <= judge["agreement"] <= 1
    assert 0.4 <= judge["cohens_kappa"] <= 1
    assert judge["first_wins"] > 0.5  # the offline judge leans to the first, as real ones do
    assert "| 0.900 |" in judge["thresholds"]
    assert "base64," in judge["plot"]
    assert landed["prompt_regression"]["cases"] == cases
    assert landed["prompt_regression"]["difference"] > 0
    assert "rollout" in landed
    (check,) = [each for each in result.get_asset_check_evaluations() if each.check_name == "no_regression"]
    assert check.passed
    again = suite.landed(*BATCHES)
    assert {name: again[name, None].metadata["bought"] for name in BATCHES} == dict.fromkeys(BATCHES, 0)
    assert provider.batches() == 3


def test_a_candidate_that_is_worse_beyond_its_interval_stops_what_waits_for_the_check(
    suite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(evals.PROMPTS, "baseline", evals.ROLE + "Answer in at most five sentences.")
    monkeypatch.setitem(evals.PROMPTS, "candidate", evals.ROLE + "Answer in one sentence.")
    with pytest.raises(DagsterAssetCheckFailedError, match="no_regression"):
        suite.run(*BATCHES, "prompt_regression", "rollout")
    instance = suite.instance
    assert instance.get_latest_materialization_event(dg.AssetKey("prompt_regression")) is not None
    assert instance.get_latest_materialization_event(dg.AssetKey("rollout")) is None
