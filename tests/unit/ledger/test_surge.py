"""A plan in which too many unchanged keys ask something else waits for somebody to say that it is meant."""

import re
from collections.abc import Callable
from decimal import Decimal

import pytest
import sqlalchemy as sa
from pydantic import BaseModel

from offpeak.errors import NotFound, PlanError, SurgeHeld
from offpeak.ledger import jobs, tables
from offpeak.ledger.states import JobState
from offpeak.providers.base import Provider
from offpeak.requests import Chat

from ...conftest import LocalProvider, Place, Shop, tickets


def edited(changed: int, count: int = 10) -> dict[str, str]:
    return tickets(count) | {key: f"Edited {key}." for key in list(tickets(count))[:changed]}


def held_job(said: str) -> int:
    found = re.search(r"`offpeak jobs approve (\d+)`", said)
    assert found, said
    return int(found[1])


def hold(shop: Shop, rows: object = None, **more: object) -> int:
    """Buy what is held; the held job's id."""
    with pytest.raises(SurgeHeld) as held:
        shop.buy(rows or tickets(10), **more)  # type: ignore[arg-type]
    return held_job(str(held.value))


def test_a_fifth_of_the_rows_may_change(any_shop: Shop) -> None:
    any_shop.buy(tickets(10))

    assert any_shop.buy(edited(2)).bought == 2


def test_more_than_a_fifth_is_held_with_its_share_component_and_price(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    any_shop.buy(tickets(10))
    with pytest.raises(SurgeHeld) as held:
        any_shop.buy(edited(3))

    said = str(held.value)
    assert said.startswith("labels: 3 of 10 unchanged keys (30%) ask something else than before, more than 20%.")
    assert "What differs: prompt (the rows' own text) (row 'T0000' for one)." in said
    assert "Buying 3 requests anew costs about $" in said
    assert "Nothing was submitted." in said
    price = re.search(r"\$([\d.]+) at the batch rate", said)
    assert price
    assert Decimal(price[1]) > 0
    assert local_provider.tally("openai")["batches_created"] == 1
    with any_shop.ledger.database.read() as connection:
        chunks = connection.execute(sa.select(tables.chunk.c.state).order_by(tables.chunk.c.id)).scalars().all()
        states = connection.execute(sa.select(tables.job.c.state).order_by(tables.job.c.id)).scalars().all()
    assert states == ["completed", "held"]
    assert chunks == ["applied", "taken_back"]


def test_what_was_held_leaves_the_rows_that_are_served_as_they_were(any_shop: Shop) -> None:
    any_shop.buy(tickets(10))
    before = any_shop.frame()
    hold(any_shop, edited(5))

    assert any_shop.frame().equals(before)


def test_new_and_removed_keys_are_no_surge(any_shop: Shop) -> None:
    any_shop.buy(tickets(10))

    assert any_shop.buy(tickets(30, start=9)).bought == 29


@pytest.mark.parametrize(
    ("change", "named"),
    [({"system": "Label it well."}, "system"), ({"model": "openai/gpt-4.1-mini"}, "model")],
    ids=["system", "model"],
)
def test_the_component_that_changed_is_named(shop: Shop, change: dict[str, str], named: str) -> None:
    shop.buy(tickets(10))
    with pytest.raises(SurgeHeld, match=rf"10 of 10 unchanged keys \(100%\).* What differs: {named} \(row"):
        shop.buy(tickets(10), **change)


def test_a_changed_output_and_changed_parameters_are_named_together(shop: Shop) -> None:
    class Other(BaseModel):
        category: str

    shop.buy(tickets(10))
    rows = [Chat(key=key, system=shop.system, prompt=text, temperature=0.0) for key, text in tickets(10).items()]
    with pytest.raises(SurgeHeld, match=r"What differs: output, parameters \(row"):
        shop.buy(rows, output=Other)


def test_a_raised_code_version_says_that_it_is_meant(any_shop: Shop) -> None:
    any_shop.buy(tickets(10), code_version="1")
    hold(any_shop, system="Other.", code_version="1")

    assert any_shop.buy(tickets(10), system="Other.", code_version="2").bought == 10
    hold(any_shop, system="Third.", code_version="2")


def test_a_run_that_carries_the_approval_goes_on(any_shop: Shop) -> None:
    any_shop.buy(tickets(10))

    assert any_shop.buy(tickets(10), system="Other.", approved=True).bought == 10


def test_approving_goes_on_and_is_used_up_by_that(any_shop: Shop) -> None:
    any_shop.buy(tickets(10))
    job_id = hold(any_shop, system="Other.")
    approved = jobs.approve(any_shop.ledger, job_id, who="somebody")
    assert approved.state is JobState.APPROVED

    assert any_shop.buy(tickets(10), system="Other.").bought == 10
    any_shop.buy(tickets(10), system="Label the ticket.", approved=True)
    any_shop.buy(edited(9), approved=True)
    hold(any_shop, tickets(10), system="Other.", asset="labels")


def test_an_approval_is_for_the_plan_that_was_held(any_shop: Shop) -> None:
    any_shop.buy(tickets(10))
    jobs.approve(any_shop.ledger, hold(any_shop, system="Other."), who="somebody")

    hold(any_shop, system="Third.")
    assert any_shop.buy(tickets(10), system="Other.").bought == 10


def test_only_a_held_job_can_be_approved(shop: Shop) -> None:
    done = shop.buy(tickets(2)).job_id
    with pytest.raises(PlanError, match=f"Job {done} of labels is completed, not held. Nothing was approved"):
        jobs.approve(shop.ledger, done, who="somebody")
    with pytest.raises(NotFound, match="There is no job 99"):
        jobs.approve(shop.ledger, 99, who="somebody")


def test_a_first_purchase_in_another_realm_is_no_surge(any_shop: Shop, open_account: Callable[..., Provider]) -> None:
    any_shop.buy(tickets(10))
    elsewhere = Shop(any_shop.ledger, open_account("anthropic"))
    receipt = elsewhere.buy(tickets(10))

    assert (receipt.bought, receipt.reused) == (10, 0)


def test_a_first_purchase_in_another_scope_is_no_surge(any_shop: Shop) -> None:
    def rows(scope: str) -> list[Chat]:
        return [Chat(key=key, prompt=text, scope=scope) for key, text in tickets(10).items()]

    any_shop.buy(rows("tenant-1"))
    assert any_shop.buy(rows("tenant-2")).bought == 10


def test_a_quote_says_that_the_plan_would_be_held(any_shop: Shop) -> None:
    any_shop.buy(tickets(10))

    assert any_shop.quote(edited(2)).surge is None
    assert "3 of 10 unchanged keys (30%)" in (any_shop.quote(edited(3)).surge or "")
    assert any_shop.quote(edited(3), approved=True).surge is None


def test_a_surge_is_found_again_after_the_ledger_is_opened_again(place: Place, local_provider: LocalProvider) -> None:
    provider = local_provider.open("openai")
    with place.open() as ledger:
        Shop(ledger, provider).buy(tickets(10))
    with place.open() as ledger:
        hold(Shop(ledger, provider), system="Other.")
    provider.close()
