"""A plan buys what is new and nothing else, on both databases."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from offpeak.assets.order import PartitionPlan
from offpeak.errors import InvalidRequest, PlanError
from offpeak.ledger import tables
from offpeak.providers.base import Provider
from offpeak.requests import Chat, Embedding

from ...conftest import EMBEDDING_MODEL, LocalProvider, Shop, tickets


def count(shop: Shop, table: sa.Table) -> int:
    with shop.ledger.database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def test_a_plan_is_bought_once(any_shop: Shop, local_provider: LocalProvider) -> None:
    first = any_shop.buy(tickets(10))
    again = any_shop.buy(tickets(10))

    assert (first.rows, first.bought, first.reused) == (10, 10, 0)
    assert (again.rows, again.bought, again.reused) == (10, 0, 10)
    tally = local_provider.tally("openai")
    assert (tally["batches_created"], tally["answers_delivered"]) == (1, 10)
    assert sorted(any_shop.frame()["key"]) == sorted(tickets(10))


def test_only_the_changed_row_is_bought(any_shop: Shop, local_provider: LocalProvider) -> None:
    rows = tickets(10)
    any_shop.buy(rows)
    receipt = any_shop.buy(rows | {"T0003": "The app crashes."})

    assert (receipt.bought, receipt.reused) == (1, 9)
    assert local_provider.tally("openai")["answers_delivered"] == 11
    assert len(any_shop.frame()) == 10
