"""Which row of a partition gets stale first."""

from datetime import UTC, datetime, timedelta

from offpeak.results.store import FirstStale, ResultStore

from ...conftest import LocalProvider, Shop, tickets

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
DAY = timedelta(days=1)


def test_rows_of_one_plan_get_stale_together_and_the_first_key_is_named(any_shop: Shop) -> None:
    any_shop.buy(tickets(10), as_of=NOW)
    summary = any_shop.summary()
    found = ResultStore(any_shop.ledger).first_stale("labels", "")
    assert found == FirstStale(key="T0000", at=summary.effective_until)


def test_a_row_that_serves_its_former_answer_is_as_old_as_that(any_shop: Shop, local_provider: LocalProvider) -> None:
    any_shop.buy(tickets(10), as_of=NOW)
    before = any_shop.summary().effective_until
    local_provider.fault("error_lines", share=1, code="invalid_request")
    any_shop.buy({**tickets(10), "T0001": "Something else altogether."}, as_of=NOW + DAY)
    found = ResultStore(any_shop.ledger).first_stale("labels", "")
    assert found == FirstStale(key="T0001", at=before)


def test_without_an_answer_no_row_gets_stale(shop: Shop) -> None:
    shop.leave(tickets(2))
    assert ResultStore(shop.ledger).first_stale("labels", "") is None
    assert ResultStore(shop.ledger).first_stale("labels", "never planned") is None
