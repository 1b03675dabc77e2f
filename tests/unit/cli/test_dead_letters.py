"""`offpeak dead-letters`: what is not tried again is counted, shown, sent round again or let go, on record."""

import json
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from offpeak.cli import build_app
from offpeak.errors import NotFound
from offpeak.ledger import tables
from offpeak.ledger.policy import FailurePolicy

from ...conftest import LocalProvider, Shop, tickets
from .conftest import Run


def dead(
    shop: Shop, provider: LocalProvider, rows: dict[str, str], *, code: str = "invalid_request", **more: Any
) -> None:
    """Buy rows that all fail, beside one that lands."""
    asset = more.get("asset", shop.asset)
    shop.buy({"OK": f"fine {asset}"}, **more)
    provider.fault("error_lines", share=1.0, code=code, times=None)
    shop.buy({"OK": f"fine {asset}"} | rows, **more)
    provider.call("DELETE", "/local/faults")


def unusable(shop: Shop, provider: LocalProvider, rows: dict[str, str]) -> None:
    """Buy rows whose answers do not fit what was asked for, and are billed."""
    shop.buy({"OK": "fine"})
    provider.fault("unusable_lines", share=1.0, how="invalid", times=None)
    shop.buy({"OK": "fine"} | rows)
    provider.call("DELETE", "/local/faults")


def letters(run: Run, *arguments: str) -> Any:
    return json.loads(run("dead-letters", "list", *arguments, "--json"))


def events_of_requests(shop: Shop) -> list[tuple[str, str, str | None]]:
    table = tables.event
    with shop.ledger.database.read() as connection:
        query = sa.select(table).where(table.c.subject == "request").order_by(table.c.id)
        return [(row.state, row.who, row.why) for row in connection.execute(query)]


def test_they_are_counted_by_asset_and_reason_and_listed_by_key(
    any_shop: Shop, any_run: Run, local_provider: LocalProvider
) -> None:
    dead(any_shop, local_provider, tickets(3))
    dead(any_shop, local_provider, {"Z": "other"}, asset="others")

    shown = letters(any_run)
    assert [
        (each["asset"], each["reason"], each["fate"], each["requests"], each["rows"]) for each in shown["counts"]
    ] == [
        ("labels", "invalid_request_error", "dead", 3, 3),
        ("others", "invalid_request_error", "dead", 1, 1),
    ]
    assert [(each["asset"], each["key"], each["attempts"]) for each in shown["dead_letters"]] == [
        ("labels", "T0000", 1),
        ("labels", "T0001", 1),
        ("labels", "T0002", 1),
        ("others", "Z", 1),
    ]
    assert [each["key"] for each in letters(any_run, "others")["dead_letters"]] == ["Z"]
    assert letters(any_run, "--reason", "expired")["dead_letters"] == []
    text = any_run("dead-letters", "list", "labels")
    assert "T0002" in text
    assert "others" not in text


def test_a_list_is_given_a_page_at_a_time(any_shop: Shop, any_run: Run, local_provider: LocalProvider) -> None:
    dead(any_shop, local_provider, tickets(5))
    first = letters(any_run, "--limit", "2")
    rest = letters(any_run, "--limit", "3", "--skip", "2")
    assert [each["key"] for each in first["dead_letters"] + rest["dead_letters"]] == sorted(tickets(5))
    assert (first["left"], rest["left"]) == (3, 0)
    assert "3 more: --skip 2" in any_run("dead-letters", "list", "--limit", "2")


def test_an_asset_that_was_never_planned_is_refused_with_the_nearest_name(any_shop: Shop, any_run: Run) -> None:
    any_shop.buy(tickets(1))
    for arguments in (("list", "lables"), ("requeue", "lables", "--all"), ("discard", "lables", "--all")):
        with pytest.raises(NotFound, match="Did you mean labels"):
            any_run("dead-letters", *arguments)


def test_one_is_shown_with_every_raw_answer_that_could_not_be_used_and_its_cost(
    any_shop: Shop, any_run: Run, local_provider: LocalProvider
) -> None:
    unusable(any_shop, local_provider, {"T": "unwelcome"})
    shown = json.loads(any_run("dead-letters", "show", "labels", "T", "--json"))
    assert (shown["reason"], shown["fate"], len(shown["attempts"])) == ("invalid_output", "dead", 3)
    assert all(each["raw"] and each["batch_id"] and float(each["cost_usd"]) > 0 for each in shown["attempts"])
    assert Decimal(shown["cost_usd"]) == sum(Decimal(each["cost_usd"]) for each in shown["attempts"])
    if any_shop.ledger.database.sqlite:  # the command looks for the files of a Postgres ledger in the project
        assert "unwelcome" in json.dumps(shown["body"])
    text = any_run("dead-letters", "show", "labels", "T")
    assert all(each["raw"] in text for each in shown["attempts"])
    assert "offpeak dead-letters requeue labels T" in text


def test_a_row_that_is_no_dead_letter_is_told_what_it_is(any_shop: Shop, any_run: Run) -> None:
    any_shop.buy(tickets(1))
    with pytest.raises(NotFound, match="it is answered"):
        any_run("dead-letters", "show", "labels", "T0000")


def test_a_requeued_one_is_bought_again_with_all_attempts(
    any_shop: Shop, any_run: Run, local_provider: LocalProvider
) -> None:
    dead(any_shop, local_provider, tickets(2), code="server_error")
    attempts = FailurePolicy().attempts
    assert [each["attempts"] for each in letters(any_run)["dead_letters"]] == [attempts, attempts]

    done = json.loads(any_run("dead-letters", "requeue", "labels", "T0000", "--json"))
    assert (done["requeued"], done["shared_with"]) == (1, [])
    ((state, who, _),) = events_of_requests(any_shop)
    assert state == "requeued"
    assert "offpeak dead-letters requeue" in who

    before = local_provider.tally("openai")["batches_created"]
    local_provider.fault("error_lines", share=1.0, code="server_error", times=attempts - 1)
    receipt = any_shop.buy({"OK": "fine labels"} | tickets(2))
    assert (receipt.bought, receipt.failed) == (1, 1)
    assert local_provider.tally("openai")["batches_created"] == before + attempts
    assert [each["key"] for each in letters(any_run)["dead_letters"]] == ["T0001"]


def test_one_that_was_refused_is_bought_again_when_requeued_and_only_then(
    any_shop: Shop, any_run: Run, local_provider: LocalProvider
) -> None:
    """A reason that is hopeless for the policy must not bury it again before it was tried."""
    dead(any_shop, local_provider, tickets(1))
    assert any_shop.buy({"OK": "fine labels"} | tickets(1)).bought == 0
    any_run("dead-letters", "requeue", "labels", "--reason", "invalid_request_error")
    receipt = any_shop.buy({"OK": "fine labels"} | tickets(1))
    assert (receipt.bought, receipt.failed, receipt.rows) == (1, 0, 2)


def test_one_that_is_requeued_and_fails_again_is_a_dead_letter_again(
    any_shop: Shop, any_run: Run, local_provider: LocalProvider
) -> None:
    dead(any_shop, local_provider, tickets(1), code="server_error")
    any_run("dead-letters", "requeue", "labels", "--all")
    local_provider.fault("error_lines", share=1.0, code="server_error", times=None)
    assert any_shop.buy({"OK": "fine labels"} | tickets(1)).failed == 1
    (each,) = letters(any_run)["dead_letters"]
    assert each["attempts"] == 2 * FailurePolicy().attempts


def test_a_discarded_one_is_not_bought_again_and_counts_as_let_go(
    any_shop: Shop, any_run: Run, local_provider: LocalProvider
) -> None:
    dead(any_shop, local_provider, tickets(2))
    told = any_run("dead-letters", "discard", "labels", "T0000", "--why", "a test ticket")
    assert "Discarded 1 dead letter of labels" in told
    assert [(state, why) for state, _, why in events_of_requests(any_shop)] == [("discarded", "a test ticket")]
    told = json.loads(any_run("explain", "labels", "T0000", "--json"))
    assert [event["why"] for event in told["events"] if event["subject"] == "request"] == ["a test ticket"]
    assert told["dead_letter"]["fate"] == "discarded"

    receipt = any_shop.buy({"OK": "fine labels"} | tickets(2))
    assert (receipt.bought, receipt.failed, receipt.dropped) == (0, 1, 1)
    assert [each["key"] for each in letters(any_run)["dead_letters"]] == ["T0001"]
    assert [each["key"] for each in letters(any_run, "--fate", "discarded")["dead_letters"]] == ["T0000"]


def test_what_a_person_let_go_is_only_taken_by_its_key(
    any_shop: Shop, any_run: Run, local_provider: LocalProvider
) -> None:
    dead(any_shop, local_provider, tickets(2))
    any_run("dead-letters", "discard", "labels", "T0000")
    assert json.loads(any_run("dead-letters", "requeue", "labels", "--all", "--json"))["requeued"] == 1
    assert json.loads(any_run("dead-letters", "requeue", "labels", "T0000", "--json"))["requeued"] == 1
    assert letters(any_run)["counts"] == []


def test_other_assets_that_ask_the_same_are_named(any_shop: Shop, any_run: Run, local_provider: LocalProvider) -> None:
    dead(any_shop, local_provider, tickets(2))
    any_shop.buy({"OK": "fine others", "Q": tickets(1)["T0000"]}, asset="others")
    done = json.loads(any_run("dead-letters", "requeue", "labels", "--all", "--json"))
    assert (done["requeued"], done["shared_with"]) == (2, [{"asset": "others", "requests": 1}])
    assert any_shop.buy({"OK": "fine others"} | {"Q": tickets(1)["T0000"]}, asset="others").failed == 0


def test_a_key_that_is_none_changes_nothing(any_shop: Shop, any_run: Run, local_provider: LocalProvider) -> None:
    dead(any_shop, local_provider, tickets(1))
    for verb in ("requeue", "discard"):
        with pytest.raises(NotFound, match=r"'OK'\. Nothing was changed"):
            any_run("dead-letters", verb, "labels", "T0000", "OK")
    assert [each["fate"] for each in letters(any_run)["dead_letters"]] == ["dead"]


@pytest.mark.parametrize("wrong", [(), ("T0000", "--all"), ("--all", "--reason", "expired")])
def test_it_has_to_be_said_which(wrong: tuple[str, ...]) -> None:
    for verb in ("requeue", "discard"):
        assert CliRunner().invoke(build_app(), ["dead-letters", verb, "labels", *wrong]).exit_code == 2


def test_thousands_are_requeued_in_short_transactions(
    any_shop: Shop, any_run: Run, local_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offpeak.ledger.dead_letters.ROWS_PER_TRANSACTION", 2)
    dead(any_shop, local_provider, tickets(5))
    assert json.loads(any_run("dead-letters", "requeue", "labels", "--all", "--json"))["requeued"] == 5
    assert len(events_of_requests(any_shop)) == 5
