"""A plan that would cost more than a budget has left is held or refused, and of two at once only one slips under."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from offpeak import Budget
from offpeak.errors import BudgetExceeded, PlanError
from offpeak.ledger import jobs, spending, tables
from offpeak.ledger.chunking import discard_chunks
from offpeak.ledger.conditions import Condition
from offpeak.ledger.sampling import Sample
from offpeak.ledger.states import JobState
from offpeak.ledger.watching import watched
from offpeak.money.budget import declared_budget

from ...conftest import LocalProvider, Shop, tickets

TINY = "0.000001"


def budget(**given: Any) -> Budget | None:
    return declared_budget("labels", Budget(**given))


def refused(shop: Shop, rows: dict[str, str], **more: Any) -> str:
    with pytest.raises(BudgetExceeded) as found:
        shop.begin(rows, **more)
    return str(found.value)


def states(shop: Shop, table: sa.Table = tables.job) -> list[str]:
    with shop.ledger.database.read() as connection:
        return list(connection.execute(sa.select(table.c.state).order_by(table.c.id)).scalars())


def estimate(shop: Shop, rows: dict[str, str], **more: Any) -> Decimal:
    found: Decimal = shop.quote(rows, **more).estimated_cost
    return found


def test_over_its_budget_a_job_is_held_with_the_figures_and_nothing_is_queued(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    said = refused(any_shop, tickets(10), budget=budget(job=TINY))

    assert said.startswith("Over budget: labels is estimated at $0.000")
    assert "the budget of a job of labels is $0.000001. Nothing was submitted." in said
    assert "`offpeak jobs approve 1` and materialise again" in said
    assert states(any_shop) == ["held"]
    assert states(any_shop, tables.chunk) == ["taken_back"]
    assert any_shop.summary().partitions == []
    assert local_provider.batches() == []
    (found,) = watched(any_shop.ledger, now=datetime.now(UTC))
    assert found.condition is Condition.HELD
    assert found.why in said
    assert "surge" not in found.why


def test_once_approved_it_goes_through_whatever_the_budget(any_shop: Shop) -> None:
    refused(any_shop, tickets(10), budget=budget(job=TINY, day=TINY), budget_per_day=Decimal(TINY))
    jobs.approve(any_shop.ledger, 1, who="a test")

    bought = any_shop.buy(tickets(10), budget=budget(job=TINY, day=TINY), budget_per_day=Decimal(TINY))
    assert bought.bought == 10
    assert states(any_shop) == ["abandoned", "completed"]


def test_an_approval_covers_a_surge_and_a_budget(shop: Shop) -> None:
    shop.buy(tickets(10))
    refused(shop, tickets(20), budget=budget(job=TINY))
    jobs.approve(shop.ledger, 2, who="a test")

    edited = {key: f"Edited {key}." for key in tickets(20)}
    assert shop.buy(edited, budget=budget(job=TINY)).bought == 20


def test_a_run_that_carries_the_approval_goes_through(shop: Shop) -> None:
    assert shop.buy(tickets(10), budget=budget(job=TINY, over="refuse"), approved=True).bought == 10


def test_where_it_is_to_refuse_the_run_fails_and_nobody_can_approve_it(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    said = refused(any_shop, tickets(10), budget=budget(job=TINY, over="refuse"))

    assert "approve 1" not in said
    assert "launch a run with the tag offpeak/approve" in said
    assert states(any_shop) == ["abandoned"]
    assert states(any_shop, tables.chunk) == ["taken_back"]
    assert local_provider.batches() == []
    with pytest.raises(PlanError, match="not held"):
        jobs.approve(any_shop.ledger, 1, who="a test")


def test_a_plan_with_nothing_new_to_buy_is_never_over_budget(shop: Shop) -> None:
    shop.buy(tickets(10))

    assert shop.buy(tickets(10), budget=budget(job=TINY, day=TINY), budget_per_day=Decimal(TINY)).reused == 10


def test_what_is_open_counts_by_its_estimate_and_what_ended_by_its_bill(any_shop: Shop) -> None:
    cost = estimate(any_shop, tickets(10))
    job_id = any_shop.leave(tickets(10))
    assert spending.spent(any_shop.ledger, "labels").asset_pico == int(cost.scaleb(12))
    assert "of which $0.000" in refused(any_shop, tickets(20), budget=budget(day=cost))

    receipt = any_shop.collect(job_id)
    assert receipt.cost < cost
    assert spending.spent(any_shop.ledger, "labels").asset_pico == int(receipt.cost.scaleb(12))


def test_what_was_sent_round_again_is_on_the_days_bill(any_shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("unusable_lines", share=0.5, how="invalid", times=1)
    receipt = any_shop.buy(tickets(10))
    spent = spending.spent(any_shop.ledger, "labels")
    assert spent.asset_pico == spent.total_pico == int(receipt.cost.scaleb(12))


def test_each_asset_has_its_own_day_and_all_share_the_ledgers(shop: Shop) -> None:
    shop.buy(tickets(10), asset="others")
    spent = spending.spent(shop.ledger, "labels")
    assert (spent.asset_pico, spent.total_pico > 0) == (0, True)
    cost = estimate(shop, tickets(10, start=50))
    others = Decimal(spent.total_pico).scaleb(-12)

    said = refused(shop, tickets(10, start=50), budget=budget(day=1), budget_per_day=cost)
    assert "the budget of all assets on this UTC day is" in said
    assert "labels on this UTC day" not in said
    assert shop.buy(tickets(10, start=50), budget_per_day=cost + others).bought == 10


def test_the_day_begins_anew_at_midnight_utc(shop: Shop) -> None:
    shop.buy(tickets(10))
    assert spending.spent(shop.ledger, "labels").asset_pico
    with shop.ledger.database.write() as connection:
        day = timedelta(days=1) // timedelta(microseconds=1)
        connection.execute(tables.job.update().values(closed_at=tables.job.c.closed_at - day))
    assert spending.spent(shop.ledger, "labels") == spending.Spent()


def test_what_is_held_or_refused_counts_as_nothing(shop: Shop) -> None:
    refused(shop, tickets(10), budget=budget(job=TINY))
    refused(shop, tickets(10), budget=budget(job=TINY, over="refuse"))
    assert spending.spent(shop.ledger, "labels") == spending.Spent()


def test_a_later_plan_that_goes_through_leaves_nothing_held_for_its_price(shop: Shop) -> None:
    refused(shop, tickets(10), budget=budget(job=TINY))
    shop.buy(tickets(10), budget=budget(job=1))
    assert states(shop) == ["abandoned", "completed"]


def test_a_later_plan_of_another_partition_leaves_what_is_held(shop: Shop) -> None:
    with pytest.raises(BudgetExceeded):
        shop.begin(partitions={"a": tickets(10)}, budget=budget(job=TINY))
    shop.buy(partitions={"b": tickets(10, start=20)})
    assert states(shop) == ["held", "completed"]


def test_a_sample_is_a_part_of_the_job(shop: Shop, local_provider: LocalProvider) -> None:
    rows, drawn = tickets(40), Sample(rows=10)
    cost = estimate(shop, rows, sample=drawn)
    refused(shop, rows, sample=drawn, budget=budget(job=cost - Decimal(TINY)))
    assert local_provider.tally("openai")["answers_delivered"] == 0
    assert shop.begin(rows, sample=drawn, budget=budget(job=cost))


def test_a_plan_shows_what_is_left_and_whether_it_would_be_held_and_takes_no_place(shop: Shop) -> None:
    quote = shop.quote(tickets(10), budget=budget(job=TINY, day=2), budget_per_day=Decimal(5))
    assert [each.left for each in quote.budgets] == [Decimal(TINY), 2, 5]
    assert quote.over_budget is not None
    assert quote.over_budget.startswith("Over budget: labels is estimated at")
    assert not quote.refused
    assert shop.quote(tickets(10), budget=budget(job=TINY, over="refuse")).refused
    assert shop.quote(tickets(10), budget=budget(job=1)).over_budget is None
    assert spending.spent(shop.ledger, "labels") == spending.Spent()


def test_of_two_plans_at_the_same_moment_one_slips_under(
    any_shop: Shop, local_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost = estimate(any_shop, tickets(20))
    both, outcomes = threading.Barrier(2, timeout=20), dict[str, str]()
    settled = spending.settled

    def at_once(*given: Any) -> spending.Settled:
        found = settled(*given)
        both.wait()  # both have looked, and neither has taken its place
        return found

    monkeypatch.setattr(spending, "settled", at_once)

    def run(asset: str, start: int) -> None:
        try:
            any_shop.begin(tickets(20, start=start), asset=asset, budget_per_day=cost * Decimal("1.5"))
            outcomes[asset] = "through"
        except BudgetExceeded:
            outcomes[asset] = "held"

    threads = [threading.Thread(target=run, args=(f"asset_{start}", start)) for start in (100, 200)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert sorted(outcomes.values()) == ["held", "through"]
    assert sorted(states(any_shop)) == ["held", "queued"]


def test_a_plan_that_died_after_it_took_its_place_counts_no_more(any_shop: Shop) -> None:
    job_id = any_shop.begin(tickets(10), budget=budget(day=1))
    with any_shop.ledger.database.write() as connection:  # as it was before it became valid, and its process gone
        job = tables.job
        values = {"state": JobState.PLANNING.value, "owner": "elsewhere#1@1", "created_at": 0}
        connection.execute(job.update().where(job.c.id == job_id).values(values))
    discard_chunks(any_shop.ledger, job_id=job_id)
    assert spending.spent(any_shop.ledger, "labels") == spending.Spent()
