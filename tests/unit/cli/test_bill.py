"""`offpeak bill`: what was bought, by whatever it is told apart by, and what a task cost."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from offpeak.errors import InvalidRequest, NotFound, OffpeakError
from offpeak.ledger import tables
from offpeak.money import to_pico
from offpeak.requests import Chat

from ...conftest import LocalProvider, Shop, tickets
from .conftest import Run


def bill(run: Run, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(run("bill", *arguments, "--json"))
    return found


def test_it_tells_what_each_asset_cost_and_the_total(any_shop: Shop, any_run: Run) -> None:
    labels = any_shop.buy(tickets(4))
    others = any_shop.buy(tickets(2, start=10), asset="others")

    found = bill(any_run)
    assert [group["asset"] for group in found["groups"]] == ["labels", "others"]
    assert [Decimal(group["cost_usd"]) for group in found["groups"]] == [labels.cost, others.cost]
    assert Decimal(found["total"]["cost_usd"]) == labels.cost + others.cost
    assert Decimal(found["total"]["realtime_usd"]) == 2 * (labels.cost + others.cost)
    shown = any_run("bill")
    assert "labels" in shown
    assert "total" in shown


def test_it_is_told_apart_by_what_is_asked_for(shop: Shop, run: Run, local_provider: LocalProvider) -> None:
    local_provider.fault("unusable_lines", share=0.5, how="length")
    shop.buy(tickets(4))

    found = bill(run, "--by", "model, attempt")
    assert [(group["model"], group["attempt"]) for group in found["groups"]] == [
        ("openai/gpt-5-mini", 1),
        ("openai/gpt-5-mini", 2),
    ]
    retry = found["groups"][1]
    assert retry["retries_usd"] == retry["cost_usd"] == found["total"]["retries_usd"]
    assert Decimal(found["total"]["unusable_usd"]) > 0


def test_only_the_assets_and_days_that_are_asked_for(shop: Shop, run: Run) -> None:
    shop.buy(tickets(2))
    shop.buy(tickets(2, start=10), asset="others")
    today = datetime.now(UTC).date()

    assert [group["asset"] for group in bill(run, "others")["groups"]] == ["others"]
    assert (
        len(bill(run, "--since", str(today - timedelta(days=1)), "--until", str(today + timedelta(days=1)))["groups"])
        == 2
    )
    assert bill(run, "--since", "2020-01-01", "--until", "2020-01-31")["groups"] == []
    assert "Nothing was bought from 2020-01-01 00:00 to 2020-02-01 00:00 UTC." in run(
        "bill", "--since", "2020-01-01", "--until", "2020-01-31"
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ("--by", "colour"),
            "--by 'colour' is nothing that a bill is told apart by. Give one or more of asset, partition",
        ),
        (("--by", ""), "is nothing that a bill is told apart by"),
        (("--since", "yesterday"), "--since 'yesterday' is no day. Write it as YYYY-MM-DD"),
        (("--until", "2026-13-01"), "--until '2026-13-01' is no day"),
        (("--since", "2026-11-02", "--until", "2026-11-01"), "there is no day between them"),
        (("--task", "t", "--since", "7d"), "leave assets, --since and --until out"),
    ],
)
def test_what_cannot_be_billed_is_refused(shop: Shop, run: Run, arguments: tuple[str, ...], complaint: str) -> None:
    shop.buy(tickets(1))
    with pytest.raises(OffpeakError, match=complaint):
        run("bill", *arguments)


def test_an_asset_that_nobody_knows_is_refused(shop: Shop, run: Run) -> None:
    shop.buy(tickets(1))
    with pytest.raises(NotFound, match="labelz"):
        run("bill", "labelz")


def row(key: str, text: str, task: str | None) -> Chat:
    return Chat(key=key, prompt=text, task=task)


def paid_for(shop: Shop, asset: str) -> dict[str, int]:
    """Pico-dollars of all attempts that each row of an asset took."""
    wanted, target = tables.wanted, tables.target
    found: dict[str, int] = {}
    with shop.ledger.database.read() as connection:
        for table in (tables.answer, tables.failure):
            query = (
                sa.select(wanted.c.key, table.c.cost_pico)
                .join(table, table.c.request_id == wanted.c.request_id)
                .join(target, target.c.id == wanted.c.target_id)
                .where(target.c.asset == asset)
            )
            for key, cost in connection.execute(query):
                found[key] = found.get(key, 0) + int(cost)
    return found


def test_a_task_costs_what_its_whole_chain_cost(any_shop: Shop, any_run: Run, local_provider: LocalProvider) -> None:
    """Its rows in three assets, with attempts in vain, and a part of a row that others ask, too."""
    local_provider.fault("unusable_lines", share=0.6, how="length")
    same = "A session of everybody."
    any_shop.buy([row("ann", "Ann's week.", "ann"), row("bob", "Bob's week.", "bob")])
    any_shop.buy(
        [row("1", "Ann's session.", "ann"), row("2", same, "ann"), row("3", "Bob's.", "bob")], asset="sessions"
    )
    any_shop.buy([row("4", same, "bob"), row("5", same, None)], asset="more_sessions")

    digests, sessions = paid_for(any_shop, "labels"), paid_for(any_shop, "sessions")
    expected = {
        "ann": digests["ann"] + sessions["1"] + sessions["2"] // 3,
        "bob": digests["bob"] + sessions["3"] + sessions["2"] // 3,
    }
    dearest = bill(any_run, "--by", "task")["groups"]
    assert {each["task"]: to_pico(Decimal(each["cost_usd"])) for each in dearest} == expected
    assert [each["rows"] for each in dearest] == [3, 3]
    assert sum(Decimal(each["unusable_usd"]) for each in dearest) > 0
    ann = bill(any_run, "--task", "ann")["groups"]
    assert [(each["asset"], each["rows"]) for each in ann] == [("labels", 1), ("sessions", 2)]
    assert sum(to_pico(Decimal(each["cost_usd"])) for each in ann) == expected["ann"]
    assert "together" in any_run("bill", "--task", "ann")


def test_a_row_that_is_given_to_another_task_is_not_bought_again_and_counts_there(shop: Shop, run: Run) -> None:
    shop.buy([row("1", "A session.", "ann")])
    before = shop.frame()
    again = shop.buy([row("1", "A session.", "bob")])

    assert (again.bought, again.reused) == (0, 1)
    assert [each["task"] for each in bill(run, "--by", "task")["groups"]] == ["bob"]
    assert shop.frame()["produced_at"].tolist() == before["produced_at"].tolist()
    with shop.ledger.database.read() as connection:  # it serves what it served before, and nothing from before that
        assert connection.execute(sa.select(tables.wanted.c.previous_id)).scalars().all() == [None]


def test_a_task_that_nobody_names_is_refused(shop: Shop, run: Run) -> None:
    shop.buy(tickets(1))
    with pytest.raises(NotFound, match="No row is a part of a task 'ann'"):
        run("bill", "--task", "ann")
    assert "No row is a part of a task" in run("bill", "--by", "task")


@pytest.mark.parametrize("task", ["", " ", "x" * 513, 7, "a\0b"])
def test_what_is_no_name_of_a_task_is_refused(shop: Shop, task: Any) -> None:
    with pytest.raises(
        InvalidRequest, match=r"row '1' has the task .* A task is the name of what the row is a part of"
    ):
        shop.buy([row("1", "A session.", task)])
