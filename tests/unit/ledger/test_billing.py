"""For whom what was bought is billed: partitions, shares, tiers, days, and what may have been paid twice."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from offpeak.errors import ConfigurationError, JobFailed
from offpeak.lanes.rule import Forced
from offpeak.ledger import attribution, billing, dead_letters, tables
from offpeak.ledger.billing import Line
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import POSSIBLY_PAID, FailurePolicy
from offpeak.money import PriceSheet
from offpeak.money.bill import Bill, By
from offpeak.money.rates import ModelRates
from offpeak.providers.base import Provider, Usage
from offpeak.requests import Chat

from ...conftest import LocalProvider, Shop, tickets

EVER = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def lines(ledger: Ledger, since: datetime = EVER[0], until: datetime = EVER[1]) -> list[Line]:
    return list(billing.lines(ledger, since=since, until=until))


def cost_by(ledger: Ledger, *by: By) -> dict[Any, int]:
    """Pico-dollars by group."""
    bill = Bill.of(lines(ledger), by)
    return {key[0] if len(key) == 1 else key: total.cost_pico for key, total in bill.groups.items()}


def paid(ledger: Ledger) -> int:
    """Pico-dollars of all attempts, whoever they were for."""
    with ledger.database.read() as connection:
        return sum(
            int(connection.execute(sa.select(sa.func.coalesce(sa.func.sum(table.c.cost_pico), 0))).scalar_one())
            for table in (tables.answer, tables.failure)
        )


def cost_of(ledger: Ledger, shop: Shop, *keys: str) -> list[int]:
    """Pico-dollars of the answers that the shop's asset serves for these keys."""
    wanted, answer, target = tables.wanted, tables.answer, tables.target
    query = (
        sa.select(wanted.c.key, answer.c.cost_pico)
        .join(answer, answer.c.request_id == wanted.c.request_id)
        .join(target, target.c.id == wanted.c.target_id)
        .where(target.c.asset == shop.asset)
    )
    with ledger.database.read() as connection:
        found = {row.key: int(row.cost_pico) for row in connection.execute(query)}
    return [found[key] for key in keys]


def test_a_line_says_everything_about_a_purchase(any_shop: Shop) -> None:
    receipt = any_shop.buy(tickets(6))

    (line,) = lines(any_shop.ledger)
    assert (line.asset, line.partition_key, line.job_id) == ("labels", "", receipt.job_id)
    assert (line.lane, line.tier, line.rescue, line.attempt) == (Lane.BATCH, "batch", False, 1)
    assert line.model == "openai/gpt-5-mini"
    assert line.day == datetime.now(UTC).date()
    assert (line.answers, line.failed, line.unusable) == (6, 0, 0)
    assert (line.input_tokens, line.output_tokens) == (receipt.input_tokens, receipt.output_tokens)
    assert Decimal(line.cost_pico).scaleb(-12) == receipt.cost
    assert line.realtime_pico == 2 * line.cost_pico


def test_only_what_was_bought_within_the_time_is_on_the_bill(shop: Shop) -> None:
    before = datetime.now(UTC)
    shop.buy(tickets(2))
    after = datetime.now(UTC)

    assert lines(shop.ledger, until=before) == []
    assert lines(shop.ledger, since=after) == []
    assert len(lines(shop.ledger, since=before, until=after)) == 1


def test_each_partition_pays_for_what_it_asked_first_and_a_share_of_what_another_asked(any_shop: Shop) -> None:
    same = {"again": tickets(4)["T0002"]}
    any_shop.buy(partitions={"mon": tickets(4), "tue": {**tickets(3, start=10), **same}, "wed": {"too": same["again"]}})

    costs = cost_by(any_shop.ledger, "partition")
    mine = cost_of(any_shop.ledger, any_shop, "T0000", "T0001", "T0003")
    hers = cost_of(any_shop.ledger, any_shop, "T0010", "T0011", "T0012")
    (shared,) = cost_of(any_shop.ledger, any_shop, "T0002")
    assert shared % 3  # so that it matters who pays what is left
    assert costs == {
        "mon": sum(mine) + shared - 2 * (shared // 3),
        "tue": sum(hers) + shared // 3,
        "wed": shared // 3,
    }
    assert sum(costs.values()) == paid(any_shop.ledger)


def test_for_whom_it_is_bought_is_written_in_short_transactions(
    any_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few rows at a time, so that what is asked more than once falls on both sides of a cut."""
    monkeypatch.setattr(attribution, "ROWS_PER_TRANSACTION", 2)
    everybody = tickets(2)
    partitions = {f"day {number}": {**everybody, **tickets(3, start=10 * number)} for number in range(1, 5)}
    first = any_shop.begin(partitions=partitions)
    other = any_shop.begin(everybody | tickets(3, start=10), asset="other")
    any_shop.collect(first)
    any_shop.collect(other, asset="other")

    ledger = any_shop.ledger
    shared = sum(each // 5 for each in cost_of(ledger, any_shop, *everybody))
    own = {number: cost_of(ledger, any_shop, *tickets(3, start=10 * number)) for number in range(1, 5)}
    costs = cost_by(ledger, "asset", "partition")
    for number in range(2, 5):
        assert costs["labels", f"day {number}"] == sum(own[number]) + shared
    assert costs["other", ""] == shared + sum(each // 2 for each in own[1])
    assert sum(costs.values()) == paid(ledger)


def test_an_asset_that_joins_what_is_on_its_way_pays_its_share_and_one_that_comes_later_nothing(
    any_shop: Shop,
) -> None:
    ledger = any_shop.ledger
    first = any_shop.begin(tickets(5))
    second = any_shop.begin(tickets(3), asset="second")
    any_shop.collect(first)
    any_shop.collect(second, asset="second")
    any_shop.buy(tickets(5), asset="third")

    costs = cost_by(ledger, "asset")
    shared = cost_of(ledger, any_shop, "T0000", "T0001", "T0002")
    assert costs == {
        "labels": paid(ledger) - sum(each // 2 for each in shared),
        "second": sum(each // 2 for each in shared),
    }
    by_share = {line.asset: line for line in lines(ledger)}
    assert (by_share["second"].share, by_share["second"].job_id, by_share["second"].answers) == (True, second, 0)
    assert by_share["labels"].answers == 5


def test_planning_again_while_it_is_on_its_way_makes_nobody_share_with_himself(any_shop: Shop) -> None:
    first = any_shop.begin(tickets(3))
    again = any_shop.begin(tickets(3))
    any_shop.collect(first)
    any_shop.collect(again)

    assert [line.share for line in lines(any_shop.ledger)] == [False]
    assert cost_by(any_shop.ledger, "asset") == {"labels": paid(any_shop.ledger)}


def test_several_partitions_on_their_way_share_with_nobody_when_they_are_planned_again(any_shop: Shop) -> None:
    partitions = {"mon": tickets(3), "tue": tickets(3, start=10)}
    first = any_shop.begin(partitions=partitions)
    again = any_shop.begin(partitions=partitions)
    any_shop.collect(first)
    any_shop.collect(again)

    assert [(line.partition_key, line.share) for line in lines(any_shop.ledger)] == [("mon", False), ("tue", False)]
    assert sum(cost_by(any_shop.ledger, "partition").values()) == paid(any_shop.ledger)


def test_a_partition_that_joins_what_another_of_its_own_asset_has_on_its_way_pays_its_share(any_shop: Shop) -> None:
    monday = tickets(2)
    first = any_shop.begin(partitions={"mon": monday, "tue": tickets(1, start=10)})
    again = any_shop.begin(partitions={"mon": monday, "tue": {**tickets(1, start=10), "too": monday["T0000"]}})
    any_shop.collect(first)
    any_shop.collect(again)

    (shared, *_), costs = cost_of(any_shop.ledger, any_shop, "T0000"), cost_by(any_shop.ledger, "partition")
    (own,) = cost_of(any_shop.ledger, any_shop, "T0010")
    assert costs["tue"] == own + shared // 2
    assert sum(costs.values()) == paid(any_shop.ledger)


def test_which_of_several_partitions_asked_what_another_asset_had_asked_in_vain_is_not_known(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    any_shop.buy(partitions={"mon": tickets(2), "tue": tickets(2, start=2)})
    local_provider.fault("unusable_lines", share=1, how="refused")
    with pytest.raises(JobFailed):
        any_shop.buy(tickets(1, start=9), asset="other", policy=FailurePolicy(attempts=1))
    dead_letters.requeue(any_shop.ledger, dead_letters.Chosen(asset="other"), who="a test")
    again = any_shop.buy(partitions={"mon": tickets(2), "tue": {**tickets(2, start=2), **tickets(1, start=9)}})

    (line,) = [line for line in lines(any_shop.ledger) if line.job_id == again.job_id]
    assert (line.asset, line.partition_key, line.answers) == ("labels", None, 1)
    assert sum(cost_by(any_shop.ledger, "partition").values()) == paid(any_shop.ledger)


def test_a_plan_that_never_became_valid_shares_nothing(any_shop: Shop) -> None:
    """Its process died between writing down its share and making its plan valid."""
    first = any_shop.begin(tickets(3))
    second = any_shop.begin(tickets(3), asset="second")
    with any_shop.ledger.database.write() as connection:
        connection.execute(tables.job_target.delete().where(tables.job_target.c.job_id == second))
    any_shop.collect(first)
    assert cost_by(any_shop.ledger, "asset") == {"labels": paid(any_shop.ledger)}

    # and the next plan of the asset takes its place
    with any_shop.ledger.database.read() as connection:
        before = connection.execute(sa.select(tables.share.c.job_id).distinct()).scalars().all()
    assert before == [second]


def test_the_next_plan_takes_over_the_share_of_one_that_never_became_valid(any_shop: Shop) -> None:
    first = any_shop.begin(tickets(3))
    second = any_shop.begin(tickets(3), asset="second")
    with any_shop.ledger.database.write() as connection:
        connection.execute(tables.job_target.delete().where(tables.job_target.c.job_id == second))
    third = any_shop.begin(tickets(3), asset="second")
    any_shop.collect(first)
    any_shop.collect(third, asset="second")

    assert {line.job_id for line in lines(any_shop.ledger) if line.share} == {third}


def test_attempts_that_bring_nothing_are_on_the_bill_as_such(any_shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("unusable_lines", share=0.5, how="length")
    any_shop.buy(tickets(4))

    first, second = lines(any_shop.ledger)
    assert (first.attempt, first.answers, first.failed, first.unusable) == (1, 2, 2, 2)
    assert 0 < first.unusable_pico < first.cost_pico
    assert (second.attempt, second.answers, second.unusable_pico) == (2, 2, 0)
    total = Bill.of(lines(any_shop.ledger)).total
    assert (total.retries_pico, total.unusable_pico) == (second.cost_pico, first.unusable_pico)
    assert total.cost_pico == paid(any_shop.ledger)


def test_what_was_not_answered_is_not_billed(any_shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("error_lines", share=0.5)
    any_shop.buy(tickets(4))

    first, _ = lines(any_shop.ledger)
    assert (first.answers, first.failed, first.unusable, first.unusable_pico) == (2, 2, 0, 0)


def test_a_request_that_had_failed_for_good_is_billed_to_whoever_sends_it_round_again(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    """Its chunk is one of requests that the ledger knows already, among new ones, over two partitions."""
    local_provider.fault("unusable_lines", share=1, how="refused")
    with pytest.raises(JobFailed):
        any_shop.buy(partitions={"mon": tickets(2), "tue": tickets(2, start=2)}, policy=FailurePolicy(attempts=1))
    dead_letters.requeue(any_shop.ledger, dead_letters.Chosen(asset=any_shop.asset), who="a test")
    any_shop.buy(partitions={"mon": tickets(2), "tue": tickets(3, start=2)})

    costs = cost_by(any_shop.ledger, "partition")
    assert sum(costs.values()) == paid(any_shop.ledger)
    assert set(costs) == {"mon", "tue"}
    assert costs["mon"] > 0


def test_a_call_of_which_no_answer_came_may_have_been_paid_and_is_told_apart(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    local_provider.fault("realtime_ghost_reset")
    any_shop.buy(tickets(3), forced=Forced(lane=Lane.BACKGROUND, by="a test"))

    total = Bill.of(lines(any_shop.ledger)).total
    answers = local_provider.purchases()
    assert len(answers) == 4  # by the provider's count one was answered twice
    with any_shop.ledger.database.read() as connection:
        lost = connection.execute(
            sa.select(tables.answer.c.realtime_pico)
            .join(tables.failure, tables.failure.c.request_id == tables.answer.c.request_id)
            .where(tables.failure.c.reason == POSSIBLY_PAID)
        ).scalar_one()
    assert total.possibly_paid_twice_pico == lost
    assert total.cost_pico == paid(any_shop.ledger)


def test_what_caching_saved_is_on_the_bill(any_shop: Shop) -> None:
    any_shop.buy(tickets(3), system="An invoice is about money, and a crash is a bug. " * 120)

    (line,) = lines(any_shop.ledger)
    assert line.cached_tokens > 0
    rates = PriceSheet.load().rates(any_shop.model, at=datetime.now(UTC)).batch.base
    assert line.cache_saved_pico == line.cached_tokens * (rates.input - rates.cache_read)
    assert line.cost_pico == (
        (line.input_tokens - line.cached_tokens) * rates.input
        + line.cached_tokens * rates.cache_read
        + line.output_tokens * rates.output
    )


def test_a_batch_is_charged_at_the_price_of_the_day_on_which_it_was_made(
    shop: Shop, open_account: Callable[..., Provider]
) -> None:
    """And the ledger says what that was, so that the sum can be reckoned again."""
    job_id = shop.leave(tickets(2))
    yesterday = datetime.now(UTC) - timedelta(days=1)
    submission = tables.submission
    with shop.ledger.database.write() as connection:
        connection.execute(submission.update().values(create_at=int(yesterday.timestamp() * 1_000_000)))
    asked: list[datetime] = []

    def rates_of(model_ref: str, at: datetime) -> ModelRates:
        asked.append(at)
        today = PriceSheet.load().rates(model_ref, at=datetime.now(UTC))
        return ModelRates(model_ref=model_ref, batch=today.realtime, realtime=today.realtime)

    work = shop.work(job_id, asset=shop.asset, rates_of=rates_of)
    work.carry_out()
    receipt = work.close()

    assert {at.date() for at in asked} == {yesterday.date()}
    assert receipt.cost == receipt.realtime_cost
    (line,) = lines(shop.ledger)
    assert line.day == yesterday.date()
    with shop.ledger.database.read() as connection:
        prices = orjson.loads(connection.execute(sa.select(submission.c.prices)).scalar_one())
    assert (prices["model"], prices["day"]) == ("openai/gpt-5-mini", yesterday.date().isoformat())
    batch = prices["batch"]
    assert line.cost_pico == line.input_tokens * batch["input"] + line.output_tokens * batch["output"]


def test_what_a_day_cost_that_nobody_knows_the_price_of_any_more_is_charged_as_of_today(shop: Shop) -> None:
    job_id = shop.leave(tickets(2))
    yesterday = datetime.now(UTC) - timedelta(days=1)
    with shop.ledger.database.write() as connection:
        connection.execute(tables.submission.update().values(create_at=int(yesterday.timestamp() * 1_000_000)))

    def rates_of(model_ref: str, at: datetime) -> ModelRates:
        raise ConfigurationError(f"no price is known for {model_ref}")

    work = shop.work(job_id, asset=shop.asset, rates_of=rates_of)
    work.carry_out()
    assert work.close().cost > 0


def test_saved_by_a_cache_is_what_it_would_have_cost_without(shop: Shop) -> None:
    rates = PriceSheet.load().rates("anthropic/claude-sonnet-5-5", at=datetime.now(UTC))
    usage = Usage(
        input_tokens=10_000,
        output_tokens=5,
        cache_read_tokens=7_000,
        cache_write_tokens=2_000,
        cache_write_1h_tokens=2_000,
    )
    cost = rates.cost(usage)
    assert cost.batch_pico + cost.cache_saved_pico == rates.cost(Usage(10_000, 5)).batch_pico
    assert cost.cache_saved_pico == 7_000 * 950_000 - 2_000 * 1_000_000


@pytest.mark.parametrize(
    "by", [("asset",), ("lane", "model"), ("month", "asset"), ("day",), ("job", "attempt", "tier")]
)
def test_groups_add_up_to_the_total(shop: Shop, local_provider: LocalProvider, by: tuple[By, ...]) -> None:
    local_provider.fault("unusable_lines", share=0.5, how="length")
    shop.buy(tickets(4))
    shop.buy([Chat(key="a", prompt="Another question.")], asset="other")

    bill = Bill.of(lines(shop.ledger), by)
    assert sum(total.cost_pico for total in bill.groups.values()) == bill.total.cost_pico == paid(shop.ledger)
