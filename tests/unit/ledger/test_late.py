"""A batch that the provider's list hid for too long is cancelled when it turns up, and what it finished is kept."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from offpeak.ledger import jobs, tables
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import PAID_TWICE
from offpeak.providers.base import BatchView, Provider

from ...conftest import LocalProvider, Shop, Through, tickets, until


@pytest.fixture
def each_shop(ledger: Ledger, open_account: Callable[..., Provider], provider_name: str) -> Shop:
    return Shop(ledger, open_account(provider_name), list_lag=timedelta(0))


def hidden(inner: Provider, **_: object) -> Iterator[BatchView]:
    return iter(())


def submitted_twice(shop: Shop, local_provider: LocalProvider) -> int:
    """A job whose first batch is hidden by the list, and that has been sent again; its number."""
    real = shop.provider
    local_provider.fault("ghost_reset")
    job_id = shop.begin(tickets(4))
    shop.provider = Through(real, batches=hidden)  # type: ignore[assignment]
    work = shop.work(job_id, asset="labels")
    until(lambda: not work.hand_over() and len(local_provider.batches()) == 2, what="the second batch")
    shop.provider = real
    return job_id


def in_order(local_provider: LocalProvider) -> list[dict[str, Any]]:
    """The provider's batches, the oldest first."""
    return sorted(local_provider.batches(), key=lambda batch: batch["created_at"])


def submission_states(shop: Shop) -> list[str]:
    with shop.ledger.database.read() as connection:
        return list(connection.execute(sa.select(tables.submission.c.state).order_by(tables.submission.c.id)).scalars())


def paid_twice(shop: Shop) -> int:
    with shop.ledger.database.read() as connection:
        query = sa.select(sa.func.count()).where(tables.failure.c.reason == PAID_TWICE)
        return int(connection.execute(query).scalar_one())


def test_one_that_still_runs_is_cancelled_and_buys_nothing(each_shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("never_end", share=0.0)
    job_id = submitted_twice(each_shop, local_provider)
    if each_shop.provider.name == "anthropic":  # which only tells whose a batch is by its results
        local_provider.heal(in_order(local_provider)[0]["id"])
        until(lambda: any(batch["outcome"] for batch in local_provider.batches()), what="the end of the first")

    receipt = each_shop.collect(job_id)
    assert receipt.rows == 4
    until(lambda: all(batch["outcome"] for batch in local_provider.batches()), what="the end of both batches")
    each_shop.buy(tickets(4))

    assert submission_states(each_shop) == ["applied", "applied"]
    if each_shop.provider.name == "openai":
        assert [batch["outcome"] for batch in in_order(local_provider)] == ["cancelled", "completed"]
        assert local_provider.answered(at_least=2) == []


def test_what_it_had_finished_is_kept_and_served_when_it_comes_first(shop: Shop, local_provider: LocalProvider) -> None:
    shop.list_lag = timedelta(0)
    job_id = submitted_twice(shop, local_provider)
    _, second = in_order(local_provider)
    local_provider.fault("never_end", batch=second["id"], share=0.0)
    until(lambda: in_order(local_provider)[0]["outcome"], what="the end of the first")

    shop.work(job_id, asset="labels").hand_over()
    assert submission_states(shop)[0] == "applied"
    assert jobs.answered(shop.ledger, job_id) == 4
    local_provider.heal(second["id"])
    receipt = shop.collect(job_id)

    assert (receipt.rows, receipt.failed) == (4, 0)
    assert paid_twice(shop) == 4
    assert receipt.cost == 2 * shop.buy(tickets(4, start=100)).cost


def test_a_dead_letter_that_it_answers_is_none_any_more(shop: Shop, local_provider: LocalProvider) -> None:
    shop.list_lag = timedelta(0)
    job_id = submitted_twice(shop, local_provider)
    _, second = in_order(local_provider)
    local_provider.fault("never_end", batch=second["id"], share=0.0)
    with shop.ledger.database.write() as connection:
        connection.execute(tables.dead_letter.insert().values(request_id=1, reason="refused", at=0))
    until(lambda: in_order(local_provider)[0]["outcome"], what="the end of the first")

    shop.work(job_id, asset="labels").hand_over()

    with shop.ledger.database.read() as connection:
        assert connection.execute(sa.select(tables.dead_letter)).all() == []


def test_a_batch_of_somebody_else_is_left_alone(each_shop: Shop, local_provider: LocalProvider) -> None:
    job_id = submitted_twice(each_shop, local_provider)
    with each_shop.ledger.database.write() as connection:
        connection.execute(tables.identity.update().values(ledger="ZZZZZZZZ"))
    with Ledger.open(str(each_shop.ledger.database.url), spool_dir=each_shop.ledger.spool) as other:
        stranger = Shop(other, each_shop.provider, list_lag=timedelta(0))
        until(lambda: all(batch["outcome"] for batch in local_provider.batches()), what="the end of both")
        stranger.work(job_id, asset="labels")._look_for_late()
    assert submission_states(each_shop)[0] == "absent"
