"""What an asset was billed before says what it will be billed: retries, pictures, schemas and calls included."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from offpeak.lanes.rule import Forced
from offpeak.ledger import pruning, spending, tables, usage
from offpeak.ledger.lane import Lane
from offpeak.ledger.sampling import Sample
from offpeak.providers.base import Kind

from ...conftest import LocalProvider, Shop, tickets

MODEL = "gpt-5-mini"
NEAR = 0.2


def error_of(shop: Shop, rows: dict[str, str], **more: object) -> float:
    receipt = shop.buy(rows, **more)
    assert receipt.estimate_error is not None
    return receipt.estimate_error


def test_the_first_estimate_says_that_it_stands_on_length_and_the_second_on_what_was_used(any_shop: Shop) -> None:
    first = any_shop.buy(tickets(40))
    assert first.estimated_from == "length, as nothing was bought before"
    assert first.estimate_error is not None
    assert first.estimate_error > NEAR, "the schema is uploaded, and not billed here"

    second = any_shop.buy(tickets(80))
    assert second.estimated_from == "past usage of 40 requests"
    assert second.estimate_error is not None
    assert abs(second.estimate_error) < NEAR


def test_attempts_that_bring_nothing_are_expected_again(shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("unusable_lines", share=0.4, how="invalid", times=None)
    shop.buy(tickets(100))
    assert abs(error_of(shop, tickets(200))) < NEAR


def test_answers_that_were_sent_round_again_count_with_every_attempt(shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("unusable_lines", share=0.5, how="invalid", times=1)
    shop.buy(tickets(40))
    tokens = sorted(each.input_tokens for each in used(shop))
    assert tokens[-1] == 2 * tokens[0]
    with shop.ledger.database.read() as connection:
        billed = connection.execute(
            sa.select(sa.func.sum(tables.answer.c.input_tokens)).union_all(
                sa.select(sa.func.sum(tables.failure.c.input_tokens))
            )
        ).scalars()
        assert sum(tokens) == sum(map(int, billed))


def test_once_its_files_are_pruned_a_chunk_still_says_what_its_requests_took(shop: Shop) -> None:
    shop.buy(tickets(40))
    assert pruning.prune(shop.ledger, keep=timedelta(0)).files
    assert len({each.line_bytes for each in used(shop)}) == 1
    assert abs(error_of(shop, tickets(80))) < NEAR


def test_of_much_that_was_bought_only_so_much_is_looked_at(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "MOST_REQUESTS", 30)
    shop.buy(tickets(100))
    assert 20 <= len(used(shop)) <= 30


def test_another_assets_past_and_what_is_still_open_say_nothing(shop: Shop) -> None:
    shop.buy(tickets(5), asset="others")
    shop.leave(tickets(5, start=50))
    assert used(shop) == []


def test_where_this_model_was_never_asked_another_ones_past_serves(shop: Shop) -> None:
    shop.buy(tickets(20))
    found = usage.past(shop.ledger, asset="labels", model="gpt-5-nano", kind=Kind.CHAT)
    assert len(found) == 20
    assert usage.past(shop.ledger, asset="labels", model=MODEL, kind=Kind.EMBEDDING) == []


def test_a_cheaper_tier_of_the_realtime_endpoints_is_expected_where_it_was_paid_before(shop: Shop) -> None:
    called = {"forced": Forced(lane=Lane.BACKGROUND, by="the test"), "deadline": timedelta(hours=30)}
    first = shop.buy(tickets(20), **called)
    assert first.cost < first.realtime_cost, "it was not bought on the flex tier"
    assert abs(error_of(shop, tickets(40), **called)) < NEAR


def test_a_sample_is_estimated_at_the_price_of_calls(shop: Shop) -> None:
    whole, sampled = shop.quote(tickets(40)), shop.quote(tickets(40), sample=Sample(rows=20))
    assert whole.estimated_cost < sampled.estimated_cost < whole.estimated_realtime_cost
    job_id = shop.begin(tickets(40), sample=Sample(rows=20))
    found = spending.estimated_for(shop.ledger, job_id)
    assert found is not None
    assert found.pico == sampled.estimated_cost.scaleb(12)


def used(shop: Shop) -> list[usage.Used]:
    return usage.past(shop.ledger, asset="labels", model=MODEL, kind=Kind.CHAT)
