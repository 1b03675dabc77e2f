"""The evaluation of a prompt, landed against the offline provider: its figures, and what a regression stops."""

import importlib.util
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.errors import DagsterAssetCheckFailedError

from ai_assets import evals
from ai_assets.sources import eval_cases
from offpeak.errors import SurgeHeld
from resources import sample_data
from resources.sources import SourceTables

BATCHES = ("eval_outputs", "candidate_outputs", "eval_grades", "eval_comparisons")


@dg.asset(deps=["prompt_regression"])
def rollout() -> None:
    """What a team does once the candidate is good."""


@pytest.fixture
def suite_of(project: Any, tmp_path: Path) -> Any:
    """The family over the sample cases, as its file is or after edits of it: what is written there, and what for."""
    sample_data.create(tmp_path / "source.db")
    tables = SourceTables(url=f"sqlite:///{tmp_path / 'source.db'}")

    def make(**edits: tuple[str, str]) -> Any:
        text = Path(evals.__file__).read_text()
        for old, new in edits.values():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        file = tmp_path / "edited_evals.py"
        file.write_text(text)
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        edited = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(edited)
        return project(*dg.load_assets_from_modules([edited]), eval_cases, rollout, resources={"source_tables": tables})

    return make


@pytest.fixture
def suite(suite_of: Any) -> Any:
    return suite_of()


def test_a_suite_is_answered_graded_and_judged_and_a_second_run_buys_nothing(suite: Any, provider: Any) -> None:
    everything = (*BATCHES, "eval_calibration", "prompt_regression", "rollout")
    result = suite.run(*everything)
    landed = {
        event.asset_key.to_user_string(): {name: each.value for name, each in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
    }
    cases, traced = 32, 24
    assert {name: landed[name]["rows"] for name in BATCHES} == {
        "eval_outputs": cases,
        "candidate_outputs": cases,
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
    assert provider.batches() == 4


BETTER = "Answer in at most three sentences: first the answer itself, then what there is to do."
WORSE = "Answer in one sentence."


def test_a_candidate_that_is_worse_beyond_its_interval_stops_what_waits_for_the_check(suite_of: Any) -> None:
    suite = suite_of(
        baseline=("Answer in at most two sentences.", "Answer in at most five sentences."), candidate=(BETTER, WORSE)
    )
    with pytest.raises(DagsterAssetCheckFailedError, match="no_regression"):
        suite.run(*BATCHES, "prompt_regression", "rollout")
    instance = suite.instance
    assert instance.get_latest_materialization_event(dg.AssetKey("prompt_regression")) is not None
    assert instance.get_latest_materialization_event(dg.AssetKey("rollout")) is None


def test_another_model_is_tried_by_its_name_and_what_is_in_use_is_not_asked_again(suite_of: Any, provider: Any) -> None:
    suite_of().run(*BATCHES, "prompt_regression")
    in_use = 'model="anthropic/claude-haiku-5-5", **answering)\ndef candidate_outputs'
    suite = suite_of(
        model=(in_use, in_use.replace("anthropic/claude-haiku-5-5", "openai/gpt-5-mini")),
        prompt=(BETTER, "Answer in at most two sentences."),
        trial=('TRIAL = "1"', 'TRIAL = "2"'),
    )
    landed = suite.landed(*BATCHES, "prompt_regression")
    assert landed["eval_outputs", None].metadata["bought"] == 0
    assert landed["candidate_outputs", None].metadata["bought"] == 32
    assert provider.get("/local/tally")["openai"]["answers_delivered"] == 32
    frame = suite.defs.load_asset_value("candidate_outputs", instance=suite.instance)
    assert set(frame["model"]) == {"local-gpt-5-mini"}
    # offline every model says the same, which has been graded: a grade is bought by the texts, not by who wrote them
    assert landed["eval_grades", None].metadata["bought"] == 0
    assert landed["prompt_regression", None].metadata["difference"] == 0


def test_a_candidate_without_a_new_trial_is_held_before_anything_is_graded(suite_of: Any, provider: Any) -> None:
    suite_of().run(*BATCHES)
    changed = suite_of(candidate=(BETTER, WORSE))
    with pytest.raises(SurgeHeld, match="candidate_outputs: 32 of 32 unchanged keys"):
        changed.run(*BATCHES)
    assert provider.batches() == 4
    suite_of(candidate=(BETTER, WORSE), trial=('TRIAL = "1"', 'TRIAL = "2"')).run(*BATCHES)
    assert provider.batches() == 7
