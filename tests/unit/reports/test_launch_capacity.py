"""What is said of a launch's limits, and the picture of its guesses."""

import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from offpeak.launches.capacity import capacity
from offpeak.launches.limits import Limits
from offpeak.launches.sensitivity import Guess, sensitivities
from offpeak.reports.launches.capacity_words import judgement, section, summary
from offpeak.reports.launches.sensitivity_plot import sensitivity_figure
from offpeak.reports.plots import png

from ..launches.sample import HAIKU, MINI, STARTS, TIER, launch, limits
from .test_operations import NotInstalled

EARLY = STARTS - timedelta(days=20)
ENOUGH = {**TIER, HAIKU: limits(100, 100_000)}


def said(known: Mapping[str, Limits], *, days_before: float = 20, **changes: Any) -> str:
    return judgement(capacity(launch(**changes), known, now=STARTS - timedelta(days=days_before)))


def about(known: Mapping[str, Limits], **changes: Any) -> str:
    return section(capacity(launch(**changes), known, now=EARLY), known)


def test_of_what_fits_it_says_how_tightly() -> None:
    assert said(ENOUGH) == (
        "It fits. The tightest limit is that of `anthropic/claude-haiku-5-5`: 54,000 of 80,000 usable tokens a minute "
        "are needed at the peak, 32% of them are left."
    )


def test_each_limit_that_is_too_low_is_named_the_worst_first() -> None:
    text = said(TIER, precomputed_share=0)
    raised = ("230,000 tokens", "150 requests", "900,000 tokens", "600 requests")
    places = [text.index(f"to {each} a minute") for each in raised]
    assert places == sorted(places)
    assert text.endswith("Ask for it by 2027-02-23 09:00 Europe/Berlin, in 6 d.")


def test_what_is_not_known_has_to_be_written_down_before_it_is_too_late_to_ask() -> None:
    named = "Nobody has said yet what `openai/gpt-5-mini` and `anthropic/claude-haiku-5-5` allow in a minute"
    text = said({})
    assert text.startswith(named)
    assert text.endswith(
        "What is too low for the launch has to be asked for by 2027-02-23 09:00 Europe/Berlin, in 6 d."
    )
    assert "What is too low for the launch had to be asked for by 2027-02-23" in said({}, days_before=10)


def test_nothing_is_needed_where_no_model_is_asked() -> None:
    assert said({}, precomputed_share=1) == "It fits: nothing of it asks a model."


def test_without_precomputation_it_says_that_there_is_none() -> None:
    text = about(TIER, precomputed_share=0)
    assert "Nothing is pre-computed: every request at the peak asks a model." in text
    assert "| pre-computed share |" not in text


def test_a_limit_that_nobody_states_is_named() -> None:
    text = said({MINI: TIER[MINI], HAIKU: limits(50, None)})
    assert text.startswith("It fits. ")
    assert "Nobody states a limit of tokens a minute of `anthropic/claude-haiku-5-5`: it is taken for none." in text


def test_what_hangs_on_no_guess_says_so() -> None:
    plenty = {MINI: limits(10_000, 10**7), HAIKU: limits(10_000, 10**7)}
    assert "| pre-computed share | 70% | whatever it is |" in about(plenty)


def test_no_launch_is_a_sentence() -> None:
    assert summary([]).startswith("No launch is ahead.")


def test_the_summary_has_a_line_for_each_launch() -> None:
    first, second = summary([capacity(launch(), known, now=EARLY) for known in (TIER, {})]).splitlines()
    start = "- `spring_release`, which starts at 2027-03-09 09:00 Europe/Berlin:"
    assert first.startswith(f"{start} Raise `anthropic/claude-haiku-5-5` from 50,000 to 68,000 tokens a minute")
    assert second.startswith(f"{start} Nobody has said yet")


def test_the_picture_has_a_line_for_each_guess_and_is_a_small_file() -> None:
    figure = sensitivity_figure(sensitivities(launch(), TIER), title="What is left", spare=0.2)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["does not fit", "the whole limit", *Guess]
    assert len(png(figure)) < 40_000


def test_without_matplotlib_the_picture_is_words(monkeypatch: pytest.MonkeyPatch) -> None:
    plotting = ("offpeak.reports.plots", "offpeak.reports.launches.sensitivity_plot")
    loaded = [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]
    for name in (*loaded, *plotting):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in plotting:
        monkeypatch.delattr(name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [NotInstalled("matplotlib"), *sys.meta_path])
    text = about(TIER)
    assert "The picture needs matplotlib, which is not installed" in text
    assert "68,000" in text
