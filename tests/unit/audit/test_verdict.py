"""The one question, its signals and its exceptions; and what the answer is worth."""

from datetime import time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from offpeak.audit.job import Lane, Source
from offpeak.audit.pricing import Prices, about
from offpeak.audit.verdict import ranked, verdict
from offpeak.audit.words import amount, costs
from offpeak.lanes.workload import Waiting
from offpeak.money import PriceSheet, to_pico

from .jobs import MODEL, NOW, job, judged, month


def test_what_nobody_waits_for_belongs_on_the_batch_tier() -> None:
    found = judged(parallel=True)
    assert (found.lane, found.misfit) == (Lane.BATCH, True)
    assert found.reason == "Nobody watches, due in 24 h: no tighter than the provider's window of 24 h."
    assert [(signal.name, signal.holds) for signal in found.signals] == [
        ("nobody waits", True),
        ("parallel", True),
        ("volume", True),
    ]
    assert found.exceptions == []


def test_what_a_person_watches_stays() -> None:
    found = judged(waiting=Waiting.WATCHING)
    assert (found.lane, found.misfit, found.saving_pico) == (Lane.REALTIME, False, 0)
    assert found.reason == "A person watches: it belongs in the realtime lane."


def test_what_nothing_is_known_of_is_left_where_it_is() -> None:
    found = judged(waiting=None)
    assert (found.lane, found.misfit) == (Lane.REALTIME, False)
    assert found.signals[0].holds is None


def test_what_is_on_the_batch_tier_already_is_no_misfit() -> None:
    assert not judged(lane=Lane.BATCH).misfit


def test_who_walked_away_for_minutes_is_served_in_the_background_which_saves_no_money() -> None:
    found = judged(waiting=Waiting.WALKED_AWAY, deadline=timedelta(minutes=30))
    assert (found.lane, found.misfit, found.saving_pico) == (Lane.BACKGROUND, True, 0)
    assert any("far inside the window" in text for text in found.exceptions)
    assert not judged(waiting=Waiting.WALKED_AWAY, deadline=timedelta(minutes=30), lane=Lane.BACKGROUND).misfit


def test_a_deadline_just_inside_the_window_is_an_exception_that_is_spelled_out() -> None:
    found = judged(deadline=timedelta(hours=20))
    assert found.misfit
    (said,) = found.exceptions
    assert said.startswith("Its deadline, 20 h, lies just inside the window of 24 h")
    assert judged(deadline=timedelta(hours=24)).exceptions == []


def test_what_has_an_hour_to_keep_is_asked_for_half_a_day_before() -> None:
    found = judged(deadline=time(9, tzinfo=ZoneInfo("Europe/Berlin")))
    assert found.lane is Lane.BATCH
    assert "due in 12 h" in found.reason


def test_low_volume_lets_a_job_stay() -> None:
    found = judged(month=month(calls=10))
    assert (found.lane, found.misfit) == (Lane.BATCH, False)
    assert found.exceptions == ["Low volume: the move would save about $0.0082, less than $1.00 a month."]
    assert found.signals[2].holds is False
    assert verdict(job(month=month(calls=10)), Prices(PriceSheet.load(), NOW), small=Decimal(0)).misfit


def test_a_guess_is_no_low_volume() -> None:
    assert judged(month=month(calls=10), assumed="for 10 calls", sources=(Source.CODE,)).misfit


def test_what_was_done_once_and_what_needs_the_answer_before_it_is_said() -> None:
    said = " ".join(judged(once=True, parallel=False).exceptions)
    assert "It was done once" in said
    assert "as many windows are needed as steps" in said


def test_a_deadline_that_nobody_stated_is_said_to_be_assumed() -> None:
    assert "(no deadline is stated: 24 h are assumed)" in judged(deadline=None).reason


@pytest.mark.parametrize(
    ("written", "priced_as"),
    [
        ("gpt-5.4-mini", MODEL),
        ("openai/gpt-5.4-mini", MODEL),
        ("azure/gpt-5.4-mini", MODEL),
        ("openrouter/openai/gpt-5.4-mini", MODEL),
        ("claude-haiku-4-5", "anthropic/claude-haiku-4-5"),
        ("bedrock/us.anthropic.claude-haiku-4-5-v1:0", "anthropic/claude-haiku-4-5"),
        ("vertex_ai/claude-haiku-4-5", "anthropic/claude-haiku-4-5"),
        ("gemini-3-flash", None),
        ("my-own-model", None),
    ],
)
def test_a_model_is_priced_by_whatever_name_it_is_written(written: str, priced_as: str | None) -> None:
    assert Prices(PriceSheet.load(), NOW).ref(written) == priced_as


def test_both_lanes_are_priced_and_what_cannot_be_is_named() -> None:
    other = "anthropic/claude-haiku-4-5"
    all_of_it = {**month(), **month(model=other), **month(model="gemini-3-flash")}
    price = judged(month=all_of_it).price
    assert price is not None
    rates = [PriceSheet.load().rates(model, at=NOW) for model in (MODEL, other)]
    for found, tiers in (
        (price.realtime_pico, [each.realtime.base for each in rates]),
        (price.batch_pico, [each.batch.base for each in rates]),
    ):
        assert found == sum(10_000 * (1_000 * tier.input + 200 * tier.output) for tier in tiers)
    assert price.unpriced == ("gemini-3-flash",)


def test_what_has_no_price_is_a_misfit_without_a_figure() -> None:
    found = judged(month=month(model="gemini-3-flash"))
    assert found.misfit
    assert not found.monthly
    assert (costs(found), amount(found, found.saving_pico)) == ("?", "?")


def test_the_dearest_misfit_comes_first_and_guesses_after_what_is_measured() -> None:
    found = ranked(
        [
            judged(name="stays", waiting=Waiting.WATCHING),
            judged(name="guessed", month=month(10**6), assumed="for 1,000,000 calls"),
            judged(name="small", month=month(5_000)),
            judged(name="large", month=month(50_000)),
        ]
    )
    assert [each.job.name for each in found] == ["large", "small", "guessed", "stays"]


@pytest.mark.parametrize(
    ("dollars", "text"),
    [
        ("0", "$0"),
        ("1234.5", "about $1,200"),
        ("99.9", "about $100"),
        ("3.456", "about $3.50"),
        ("0.567", "about $0.57"),
        ("0.001234", "about $0.0012"),
    ],
)
def test_dollars_are_told_to_two_digits(dollars: str, text: str) -> None:
    assert about(to_pico(Decimal(dollars))) == text
