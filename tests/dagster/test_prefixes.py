"""An asset with a long prefix, materialised at both providers: its materialization says what the cache was good for."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from offpeak import Chat, FreshnessContract, Waiting, Workload, batch_asset
from offpeak.money import PriceSheet

TAXONOMY = "\n".join(f"- topic {number}: what is about the number {number}" for number in range(200))
"""More than 1,024 tokens."""
ROWS = 40
BUYING: dict[str, Any] = {
    "workload": Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
    "contract": FreshnessContract(valid_for=timedelta(hours=37)),
    "lane": "batch",
}
FIGURES = {"cache_write_tokens", "cache_hit_percent", "cache_saved_usd"}


@dg.asset
def tickets() -> pd.DataFrame:
    return pd.DataFrame({"id": [f"T-{number:02d}" for number in range(ROWS)]})


def asked(tickets: pd.DataFrame) -> Iterator[Chat]:
    row: Any
    for row in tickets.itertuples():
        yield Chat(key=row.id, prefix=TAXONOMY, system="Name its topic.", prompt=f"Ticket {row.id}", max_tokens=50)


@batch_asset(model="openai/gpt-6-luna", **BUYING)
def topics_of_openai(tickets: pd.DataFrame) -> Iterator[Chat]:
    yield from asked(tickets)


@batch_asset(model="anthropic/claude-sonnet-5-5", **BUYING)
def topics_of_anthropic(tickets: pd.DataFrame) -> Iterator[Chat]:
    yield from asked(tickets)


@batch_asset(model="openai/gpt-5-mini", **BUYING)
def topics_without_a_prefix(tickets: pd.DataFrame) -> Iterator[Chat]:
    row: Any
    for row in tickets.itertuples():
        yield Chat(key=row.id, system="Name its topic.", prompt=f"Ticket {row.id}")


@pytest.mark.parametrize(
    ("name", "model"),
    [("topics_of_openai", "openai/gpt-6-luna"), ("topics_of_anthropic", "anthropic/claude-sonnet-5-5")],
)
def test_hits_and_savings_are_on_the_materialization(project: Any, provider: Any, name: str, model: str) -> None:
    made = project(tickets, topics_of_openai, topics_of_anthropic)
    metadata = made.landed("tickets", name)[name, None].metadata

    read, written = metadata["cached_tokens"], metadata["cache_write_tokens"]
    tally = provider.get("/local/tally")[model.partition("/")[0]]
    assert (read, written) == (tally["cache_read_tokens"], tally["cache_write_tokens"])
    assert read > written > 0
    assert metadata["cache_hit_percent"] == round(100 * read / (read + written), 2)
    rates = PriceSheet.load().rates(model, at=datetime.now(UTC)).batch.base
    plain = metadata["input_tokens"] * rates.input + metadata["output_tokens"] * rates.output
    assert metadata["cache_saved_usd"] == pytest.approx(plain / 1e12 - metadata["cost_usd"])
    assert metadata["cache_saved_usd"] > metadata["cost_usd"]


def test_where_nothing_touched_a_cache_nothing_is_said_of_one(project: Any) -> None:
    landed = project(tickets, topics_without_a_prefix).landed("tickets", "topics_without_a_prefix")
    metadata = landed["topics_without_a_prefix", None].metadata

    assert metadata["cached_tokens"] == 0
    assert not FIGURES & set(metadata)
