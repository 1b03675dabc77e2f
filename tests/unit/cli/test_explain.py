"""`offpeak explain`: what a person and a program are told of one row."""

import json
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from offpeak.cli import build_app
from offpeak.cli.explain import LONGEST
from offpeak.errors import NotFound
from offpeak.requests import Chat

from ...conftest import LocalProvider, Place, Shop, tickets

Run = Callable[..., str]


@pytest.fixture
def run(place: Place, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("OFFPEAK_DATABASE_URL", place.url)
    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments: str) -> str:
        result = CliRunner().invoke(build_app(), ["explain", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    return command


def test_a_person_is_told_what_was_asked_how_and_what_came_back(shop: Shop, run: Run) -> None:
    (batch_id,) = shop.buy({"T1": "The invoice is wrong.\nPlease look."}).batch_ids
    shown = run("labels", "T1")
    assert "Row T1 of labels: answered" in shown
    assert "The invoice is wrong.\nPlease look." in shown
    assert batch_id in shown
    assert "Attempt 1: answered" in shown
    assert '"category"' in shown
    assert "at realtime price" in shown


def test_a_program_is_told_the_same_in_one_document(shop: Shop, run: Run, local_provider: LocalProvider) -> None:
    shop.buy(tickets(3))
    found = json.loads(run("labels", "T0001", "--json"))
    (attempt,) = found["attempts"]
    assert found["state"] == "answered"
    assert attempt["submission"]["batch_id"] == local_provider.batches()[0]["id"]
    assert found["fingerprint"] in attempt["custom_id"]
    assert isinstance(found["answer"]["cost_usd"], str)
    assert found["answer"]["produced_at"].endswith("+00:00")
    assert "number 1 " in json.dumps(found["body"])


def test_what_a_row_is_a_part_of_and_what_touched_a_cache_are_told(shop: Shop, run: Run) -> None:
    luna, rules = "openai/gpt-6-luna", "These are the rules. " * 300
    rows = [Chat(key=str(number), task="user 4", prefix=rules, prompt=f"Ticket {number}.") for number in range(3)]
    Shop(shop.ledger, shop.provider, model=luna).buy(rows)
    told = [json.loads(run("labels", each.key, "--json")) for each in rows]
    assert {each["task"] for each in told} == {"user 4"}
    assert sorted(each["answer"]["cache_write_tokens"] > 0 for each in told) == [False, False, True]
    (written,) = [each["key"] for each in told if each["answer"]["cache_write_tokens"]]
    assert "written to it" in run("labels", written)
    assert "user 4" in run("labels", written)


def test_a_changed_row_shows_the_answer_before(shop: Shop, run: Run) -> None:
    rows = tickets(10)
    shop.buy(rows)
    shop.buy(rows | {"T0000": "The app crashes."})
    assert "before the request changed" in run("labels", "T0000")


def test_a_row_that_others_ask_too_names_them(shop: Shop, run: Run) -> None:
    shop.buy({"K1": "The same.", "K2": "The same."})
    assert "K2 of labels: one purchase serves them all" in run("labels", "K1")


def test_a_long_request_is_cut_for_people_and_whole_for_programs(shop: Shop, run: Run) -> None:
    text = "word " * LONGEST
    shop.buy({"K1": text})
    assert text not in run("labels", "K1")
    assert text in json.dumps(json.loads(run("labels", "K1", "--json"))["body"])


def test_markup_in_a_text_is_shown_as_it_is(shop: Shop, run: Run) -> None:
    shop.buy({"[red]K[/red]": "A [bold]text[/] with brackets."})
    shown = run("labels", "[red]K[/red]")
    assert "Row [red]K[/red] of labels" in shown
    assert "A [bold]text[/] with brackets." in shown


def test_a_mistyped_asset_or_key_is_answered_with_the_nearest(shop: Shop, run: Run) -> None:
    shop.buy(tickets(5))
    with pytest.raises(NotFound, match="Did you mean labels"):
        run("lables", "T0001")
    with pytest.raises(NotFound, match="T0001"):
        run("labels", "T001")
