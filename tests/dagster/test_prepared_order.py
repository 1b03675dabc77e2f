"""An order can be looked at without a run: what `offpeak plan` stands on."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from offpeak import Chat, FreshnessContract, Waiting, Workload, batch_asset
from offpeak.assets.orders import prepared_order
from offpeak.assets.purchase import quote
from offpeak.clock import SystemClock
from offpeak.errors import ConfigurationError, PlanError

DAYS = dg.StaticPartitionsDefinition(["mon", "tue"])
ARGUMENTS: dict[str, Any] = {
    "model": "openai/gpt-5-mini",
    "workload": Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
    "lane": "batch",
    "contract": FreshnessContract(valid_for=timedelta(hours=37)),
}


@dg.asset
def tickets() -> pd.DataFrame:
    return pd.DataFrame({"id": ["a", "b"]})


@batch_asset(**ARGUMENTS)
def labels(tickets: pd.DataFrame) -> Iterator[Chat]:
    ticket: Any
    for ticket in tickets.itertuples():
        yield Chat(key=ticket.id, prompt=f"What is {ticket.id}?")


@batch_asset(**ARGUMENTS, partitions_def=DAYS)
def digests() -> Iterator[Chat]:
    yield Chat(key="a", prompt="?")


def quoted(made: Any, asset: str, *partition_keys: str) -> Any:
    with prepared_order(
        made.defs,
        dg.AssetKey(asset),
        partition_keys=partition_keys,
        instance=made.instance,
        clock=SystemClock(),
    ) as prepared:
        return quote(
            prepared.order,
            ledger=prepared.ledger,
            provider=prepared.provider,
            rates=prepared.rates,
            clock=SystemClock(),
        )


def test_a_quote_tells_what_is_new_and_buys_nothing(project: Any, provider: Any) -> None:
    made = project(tickets, labels)
    made.run("tickets")
    before = quoted(made, "labels")
    assert (before.rows, before.new, before.reused) == (2, 2, 0)
    assert before.estimated_cost > 0
    assert provider.batches() == 0
    made.run("labels")
    after = quoted(made, "labels")
    assert (after.rows, after.new, after.reused) == (2, 0, 2)


def test_an_input_that_was_never_materialised_is_named_with_what_to_do(project: Any) -> None:
    with pytest.raises(PlanError, match=r"labels: its input tickets has nothing to read.*Materialise tickets first"):
        quoted(project(tickets, labels), "labels")


def test_partitions_are_quoted_together(project: Any) -> None:
    assert quoted(project(digests), "digests", "mon", "tue").rows == 2


def test_an_asset_that_is_none_is_refused_with_those_that_are(project: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"tickets is not a batch asset.*labels"):
        quoted(project(tickets, labels), "tickets")


def test_a_partition_too_many_or_too_few_is_refused(project: Any) -> None:
    made = project(tickets, labels, digests)
    with pytest.raises(ConfigurationError, match="labels has no partitions: leave the partition out"):
        quoted(made, "labels", "mon")
    with pytest.raises(ConfigurationError, match="digests has partitions: name at least one"):
        quoted(made, "digests")
