"""A person may say what became of a create, and is held to what the provider shows."""

from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from offpeak.errors import NotFound, PlanError
from offpeak.ledger import reconciling, resolving, tables
from offpeak.ledger.ledger import Ledger
from offpeak.providers.base import Provider

from ...conftest import LocalProvider, Shop, tickets, until

WHO = "a test"


@pytest.fixture
def each_shop(ledger: Ledger, open_account: Callable[..., Provider], provider_name: str) -> Shop:
    return Shop(ledger, open_account(provider_name), list_lag=timedelta(0))


def lose(shop: Shop, local_provider: LocalProvider, fault: str, rows: int = 3, *, start: int = 0) -> int:
    """A job whose create was sent, and whose answer never came; its number."""
    local_provider.fault(fault)
    shop.list_lag = timedelta(days=1)
    job_id = shop.begin(tickets(rows, start=start))
    shop.work(job_id, asset="labels").hand_over(patience=timedelta(0))
    return job_id


def only(shop: Shop) -> resolving.Unknown:
    (found,) = resolving.unknown(shop.ledger)
    return found


def why(shop: Shop) -> list[str]:
    with shop.ledger.database.read() as connection:
        return list(connection.execute(sa.select(tables.event.c.why).order_by(tables.event.c.id)).scalars())


def test_a_lost_create_is_listed_with_the_batches_it_may_have_become(
    each_shop: Shop, local_provider: LocalProvider
) -> None:
    job_id = lose(each_shop, local_provider, "ghost_reset")
    each = only(each_shop)
    assert (list(each.jobs), list(each.assets), each.submission.requests) == ([job_id], ["labels"], 3)
    (candidate,) = resolving.candidates(each_shop.ledger, each_shop.provider, each)
    (batch,) = local_provider.batches()
    assert candidate.batch_id == batch["id"]
    assert candidate.requests in {0, 3}  # OpenAI counts none before the input is validated
    if each_shop.provider.name == "openai":
        assert candidate.proven


def test_a_batch_that_somebody_names_is_adopted_and_collected(each_shop: Shop, local_provider: LocalProvider) -> None:
    job_id = lose(each_shop, local_provider, "ghost_reset")
    (batch,) = local_provider.batches()
    resolving.adopt(each_shop.ledger, each_shop.provider, only(each_shop), batch["id"], who=WHO)

    assert f"a test says it is batch {batch['id']}" in why(each_shop)
    assert each_shop.collect(job_id).rows == 3
    assert local_provider.answered(at_least=2) == []


def test_what_became_nothing_is_queued_again(each_shop: Shop, local_provider: LocalProvider) -> None:
    job_id = lose(each_shop, local_provider, "create_reset")
    resolving.declare_absent(each_shop.ledger, each_shop.provider, only(each_shop), who=WHO)

    assert "a test says it became nothing" in why(each_shop)
    assert resolving.unknown(each_shop.ledger) == []
    assert each_shop.collect(job_id).rows == 3
    assert local_provider.answered(at_least=2) == []


def test_a_batch_that_the_list_proves_cannot_be_declared_absent(each_shop: Shop, local_provider: LocalProvider) -> None:
    lose(each_shop, local_provider, "ghost_reset")
    until(lambda: all(batch["outcome"] for batch in local_provider.batches()), what="the end of the batch")
    with pytest.raises(PlanError, match=r"became batch \S+: the provider's list shows it. Nothing was changed"):
        resolving.declare_absent(each_shop.ledger, each_shop.provider, only(each_shop), who=WHO)
    assert len(resolving.unknown(each_shop.ledger)) == 1


def test_a_batch_of_somebody_else_cannot_be_adopted(each_shop: Shop, local_provider: LocalProvider) -> None:
    each_shop.buy(tickets(5, start=50))
    (taken,) = reconciling.known_batches(each_shop.ledger)
    lose(each_shop, local_provider, "ghost_reset")
    with pytest.raises(PlanError, match=r"is another submission's already|is not what submission"):
        resolving.adopt(each_shop.ledger, each_shop.provider, only(each_shop), taken, who=WHO)
    with pytest.raises(NotFound, match="shows no batch batch_none"):
        resolving.adopt(each_shop.ledger, each_shop.provider, only(each_shop), "batch_none", who=WHO)


def test_only_what_is_unknown_can_be_resolved(shop: Shop, local_provider: LocalProvider) -> None:
    shop.buy(tickets(2))
    with pytest.raises(PlanError, match=r"Submission 1 is applied: its outcome is known"):
        resolving.unknown(shop.ledger, 1)
    with pytest.raises(NotFound, match="no submission 77"):
        resolving.unknown(shop.ledger, 77)
    assert resolving.unknown(shop.ledger) == []


def test_an_account_elsewhere_is_not_asked(
    shop: Shop, local_provider: LocalProvider, open_account: Callable[..., Provider]
) -> None:
    lose(shop, local_provider, "ghost_reset")
    stranger = open_account("anthropic")
    with pytest.raises(PlanError, match=r"was sent to openai:\S+, and this project's account is at anthropic:"):
        resolving.candidates(shop.ledger, stranger, only(shop))


def test_a_create_that_a_living_process_sends_is_left_to_it(shop: Shop, local_provider: LocalProvider) -> None:
    lose(shop, local_provider, "ghost_reset")
    with shop.ledger.database.write() as connection:
        connection.execute(tables.submission.update().values(owner="elsewhere#1@1"))
    each = only(shop)
    assert each.attended
    for act in (
        lambda: resolving.adopt(shop.ledger, shop.provider, each, "batch_1", who=WHO),
        lambda: resolving.declare_absent(shop.ledger, shop.provider, each, who=WHO),
    ):
        with pytest.raises(PlanError, match=r"is being sent by a living process \(elsewhere#1@1\)"):
            act()
