"""`.plan(...)`: how users test a prompt, without Dagster or a ledger."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from offpeak import BatchAsset, Chat, Embedding, FreshnessContract, PlanContext, Waiting, Workload, batch_asset
from offpeak.errors import InvalidRequest, PlanError


def asset_of(function: Callable[..., Any], **arguments: Any) -> BatchAsset:
    return batch_asset(
        model="openai/gpt-5-mini",
        workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
        lane="batch",
        contract=FreshnessContract(valid_for=timedelta(hours=37)),
        **arguments,
    )(function)


def labels(rows: pd.DataFrame) -> Iterator[Chat]:
    row: Any
    for row in rows.itertuples():
        yield Chat(key=row.id, prompt="?")


def rows(*keys: object) -> pd.DataFrame:
    return pd.DataFrame({"id": pd.Series(keys, dtype=object)})


def test_inputs_may_be_given_by_place_or_by_name() -> None:
    assert asset_of(labels).plan(rows("a")) == asset_of(labels).plan(rows=rows("a")) == [Chat(key="a", prompt="?")]


def test_an_input_that_the_function_does_not_take_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="tickets"):
        asset_of(labels).plan(rows("a"), tickets=rows("a"))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (("a", None), "row 1 of the plan has no key"),
        (("a", float("nan")), "row 1 of the plan has no key"),
        (("a", " "), "row 1 of the plan has an empty key"),
        (("a", "b" * 513), "row 1 of the plan has a key of 513 characters"),
        (("a", 7), "row 1 of the plan has the key 7 of type int"),
        (("a", "b", "a"), "rows 0 and 2 of the plan have the same key 'a'"),
    ],
)
def test_a_bad_key_is_refused_naming_asset_and_row(keys: tuple[object, ...], told: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asset_of(labels).plan(rows(*keys))
    assert str(refused.value).startswith("labels: ")
    assert told in str(refused.value)


def test_something_else_than_a_request_is_refused_naming_its_type() -> None:
    def prompts() -> Iterator[Any]:
        yield "Summarise this."

    with pytest.raises(InvalidRequest, match="row 0 of the plan is a str"):
        asset_of(prompts).plan()


@pytest.mark.parametrize("returned", [None, "text", {"a": 1}, 3])
def test_a_function_that_returns_no_requests_is_refused(returned: object) -> None:
    def prompts() -> object:
        return returned

    with pytest.raises(PlanError, match=f"prompts returned {type(returned).__name__}, not requests"):
        asset_of(prompts).plan()


def test_a_list_of_requests_will_do() -> None:
    def vectors() -> list[Embedding]:
        return [Embedding(key="a", text="x")]

    assert asset_of(vectors).plan() == [Embedding(key="a", text="x")]


def test_a_first_parameter_called_context_is_told_the_partition() -> None:
    def daily(context: PlanContext, rows: pd.DataFrame) -> Iterator[Chat]:
        yield Chat(key="a", prompt=f"{context.partition_key} of {len(context.partition_keys)}, {len(rows)} rows")

    context = PlanContext(partition_key="2026-11-20", partition_keys=["2026-11-20", "2026-11-21"])
    assert asset_of(daily).plan(rows("x"), context=context)[0].prompt == "2026-11-20 of 2, 1 rows"  # type: ignore[union-attr]
    assert [dep.asset_key for spec in asset_of(daily).specs for dep in spec.deps] == [dg.AssetKey("rows")]


def test_an_empty_plan_is_an_empty_list() -> None:
    assert asset_of(labels).plan(rows()) == []
