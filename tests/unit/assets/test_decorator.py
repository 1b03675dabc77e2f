"""What `@batch_asset` accepts, what it refuses when definitions load, and what survives Dagster's copies."""

import re
from collections.abc import Iterator
from datetime import UTC, time, timedelta
from decimal import Decimal
from typing import Any, Literal

import dagster as dg
import pandas as pd
import pytest
from pydantic import BaseModel, create_model

from offpeak import BatchAsset, Budget, Chat, FreshnessContract, Sample, Waiting, Workload, batch_asset, tolerates
from offpeak.errors import DefinitionError
from offpeak.ledger.deadline import OnDeadline, OnUnresolved

NIGHTLY = Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12))
CONTRACT = FreshnessContract(valid_for=timedelta(hours=37), warn_after=timedelta(hours=30))


class Label(BaseModel):
    category: Literal["billing", "bug"]


def declared(**changes: Any) -> BatchAsset:
    arguments: dict[str, Any] = {
        "model": "anthropic/claude-haiku-5-5",
        "output": Label,
        "workload": NIGHTLY,
        "contract": CONTRACT,
    }

    def ticket_labels(support_tickets: pd.DataFrame) -> Iterator[Chat]:
        """Category of every ticket."""
        for ticket in support_tickets.itertuples():
            yield Chat(key=str(ticket.ticket_id), prompt=str(ticket.body))

    return batch_asset(**{**arguments, **changes})(ticket_labels)


def spec_of(asset: dg.AssetsDefinition) -> dg.AssetSpec:
    return next(iter(asset.specs))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": "claude-haiku-5-5"}, "does not name its provider"),
        ({"model": "mistral/large"}, "'mistral', which Offpeak does not know"),
        ({"output": dict}, "not a pydantic model"),
        ({"sample": "20"}, r"sample='20' says nothing that Offpeak knows. Give the number of rows"),
        ({"sample": True}, "sample=True says nothing"),
        ({"sample": 0}, "rows=0 is not a whole number from 1 to 1,000"),
        ({"sample": 1001}, "rows=1001 is not a whole number"),
        ({"sample": Sample(rows=2.5)}, "rows=2.5 is not a whole number"),
        ({"sample": Sample(rows=20, max_failures=1)}, "max_failures=1 is not a share"),
        ({"sample": Sample(rows=20, max_failures=-0.1)}, "max_failures=-0.1 is not a share"),
        ({"sample": Sample(rows=20, max_failures="5%")}, "max_failures='5%' is not a share"),
        ({"budget": "5"}, r"budget='5' is not a Budget"),
        ({"budget": Budget(day=0.5)}, r"budget: day=0.5 is a float, which holds most amounts only nearly"),  # type: ignore[arg-type]
        ({"budget": Budget(pay_twice=0)}, r"budget: pay_twice=0 is no amount of dollars above nought"),
        ({"on_deadline": "hope"}, """on_deadline='hope' is none of "rescue", "serve_last_good" and "fail\""""),
        ({"on_unresolved": "twice"}, """on_unresolved='twice' is none of "wait" and "pay_twice\""""),
        ({"on_unresolved": "pay_twice"}, 'on_unresolved="pay_twice" without a bound'),
        ({"on_unresolved": "pay_twice", "budget": Budget(day="5")}, 'on_unresolved="pay_twice" without a bound'),
        ({"on_unresolved": "pay_twice", "on_deadline": "fail"}, 'on_deadline="fail" has none'),
        ({"output": create_model("Empty")}, "has no fields"),
        ({"workload": Workload(waiting=Waiting.WATCHING, deadline=timedelta(minutes=1))}, "Waiting.WATCHING"),
        ({"workload": None}, "workload=None is not a Workload"),
        ({"contract": timedelta(hours=37)}, "is not a FreshnessContract"),
        ({"contract": FreshnessContract(valid_for=timedelta(hours=12))}, "does not outlast the workload's deadline"),
        ({"freshness_policy": dg.FreshnessPolicy.time_window(timedelta(hours=1))}, "freshness_policy= is not for"),
        ({"wait": "sleep"}, "wait='sleep' is not a way to wait"),
        ({"lane": "realtime"}, 'Use lane="batch"'),
        ({"wait": "forever"}, "wait='forever' is not a way to wait"),
        ({"config_schema": {"a": str}}, "config_schema= is not for"),
        ({"ins": {"tickets": dg.AssetIn()}}, "ins= names tickets, which the function does not take"),
        ({"ins": {"support_tickets": dg.AssetIn(input_manager_key="mine")}}, "sets input_manager_key="),
    ],
)
def test_a_wrong_declaration_is_refused_naming_asset_and_field(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        declared(**changes)
    assert str(refused.value).startswith("ticket_labels: ")
    assert told in str(refused.value)


@pytest.mark.parametrize(
    "column",
    [
        "key",
        "text",
        "embedding",
        "partition_key",
        "as_of",
        "produced_at",
        "effective_until",
        "model",
        "cost_usd",
        "rescued",
    ],
)
def test_an_output_field_with_a_reserved_name_is_refused_naming_it(column: str) -> None:
    with pytest.raises(DefinitionError, match=f"has the field '{column}'"):
        declared(output=create_model("Clash", **{column: (str, ...)}))  # type: ignore[call-overload]


def test_what_was_declared_of_lane_and_workload_stands_on_the_asset() -> None:
    nine = Workload(waiting=Waiting.NOBODY, deadline=time(9, tzinfo=UTC), volume=300)
    metadata = spec_of(declared(workload=nine, lane="batch")).metadata

    assert (metadata["offpeak/deadline"], metadata["offpeak/lane"], metadata["offpeak/volume"]) == (
        "09:00 UTC",
        "batch",
        300,
    )
    assert {"offpeak/lane", "offpeak/volume"}.isdisjoint(spec_of(declared()).metadata)


def test_how_long_it_is_until_a_time_of_day_is_not_judged_without_the_schedule() -> None:
    morning = Workload(waiting=Waiting.NOBODY, deadline=time(9, tzinfo=UTC))
    declared(workload=morning, contract=FreshnessContract(valid_for=timedelta(hours=20)))


def test_a_function_with_catch_all_parameters_is_refused() -> None:
    def labels(*frames: pd.DataFrame) -> Iterator[Chat]:
        yield from ()

    with pytest.raises(DefinitionError, match="names no asset"):
        batch_asset(model="openai/gpt-5-mini", workload=NIGHTLY, contract=CONTRACT)(labels)


def test_an_argument_that_dagster_does_not_know_is_refused() -> None:
    with pytest.raises(Exception, match="moddel"):
        declared(moddel="openai/gpt-5-mini")


def test_parameters_are_dependencies_and_not_inputs_that_dagster_loads() -> None:
    asset = declared()
    assert [dep.asset_key for dep in spec_of(asset).deps] == [dg.AssetKey("support_tickets")]
    assert all(each.dagster_type.is_nothing for each in asset.op.input_defs)


def test_ins_give_a_dependency_its_key_mapping_and_tolerance() -> None:
    mapping = dg.AllPartitionMapping()
    (dep,) = spec_of(
        declared(
            ins={"support_tickets": tolerates(timedelta(hours=1), key=["crm", "tickets"], partition_mapping=mapping)}
        )
    ).deps
    assert dep.asset_key == dg.AssetKey(["crm", "tickets"])
    assert dep.partition_mapping is mapping
    assert "offpeak/tolerance" in dep.metadata


def test_dagsters_own_arguments_pass_through() -> None:
    asset = declared(
        key_prefix="support",
        group_name="classification",
        owners=["team:support"],
        tags={"domain": "support"},
        automation_condition=dg.AutomationCondition.eager(),
        retry_policy=dg.RetryPolicy(max_retries=2),
        pool="batches",
        op_tags={"dagster/priority": "3"},
        deps=["calendar"],
        metadata={"runbook": "docs"},
    )
    spec = spec_of(asset)
    assert spec.key == dg.AssetKey(["support", "ticket_labels"])
    assert spec.group_name == "classification"
    assert spec.owners == ["team:support"]
    assert spec.tags["domain"] == "support"
    assert spec.automation_condition is not None
    assert spec.metadata["runbook"] == "docs"
    assert asset.op.retry_policy == dg.RetryPolicy(max_retries=2)
    assert asset.op.pool == "batches"
    assert asset.op.tags["dagster/priority"] == "3"
    assert {dep.asset_key.to_user_string() for dep in spec.deps} == {"calendar", "support_tickets"}


def test_the_ui_is_told_kinds_description_and_a_native_freshness_policy() -> None:
    spec = spec_of(declared())
    assert spec.kinds == {"offpeak", "anthropic"}
    assert spec.description == "Category of every ticket."
    assert spec.freshness_policy == dg.FreshnessPolicy.time_window(
        # from then on rows may be past their promise, if their batch took its whole deadline
        fail_window=timedelta(hours=37),
        warn_window=timedelta(hours=24, minutes=30),
    )


def test_own_kinds_and_description_replace_the_defaults() -> None:
    spec = spec_of(declared(kinds={"llm"}, description="Mine."))
    assert spec.kinds == {"llm"}
    assert spec.description == "Mine."


def test_the_code_version_changes_with_the_authors_the_model_and_the_schema_only() -> None:
    class Other(BaseModel):
        category: Literal["billing", "bug", "how-to"]

    versions = {
        spec_of(declared(**changes)).code_version
        for changes in (
            {"code_version": "1"},
            {"code_version": "2"},
            {"code_version": "1", "model": "openai/gpt-5-mini"},
            {"code_version": "1", "output": Other},
        )
    }
    assert len(versions) == 4
    same = spec_of(declared(code_version="1", group_name="elsewhere")).code_version
    assert same == spec_of(declared(code_version="1")).code_version
    assert same is not None
    assert same.startswith("1-")


def test_a_range_of_partitions_is_one_run_unless_said_otherwise() -> None:
    days = dg.StaticPartitionsDefinition(["a", "b"])
    assert declared(partitions_def=days).backfill_policy == dg.BackfillPolicy.single_run()
    several = dg.BackfillPolicy.multi_run(5)
    assert declared(partitions_def=days, backfill_policy=several).backfill_policy == several


@pytest.mark.parametrize(
    "copied",
    [
        lambda asset: asset.with_attributes(
            asset_key_replacements={asset.key: dg.AssetKey(["prefix", *asset.key.path])}
        ),
        lambda asset: asset.map_asset_specs(lambda spec: spec.replace_attributes(group_name="moved")),
        lambda asset: asset.map_asset_specs(lambda spec: spec.replace_attributes(deps=[*spec.deps, "calendar"])),
    ],
    ids=["another key", "another group", "another dependency"],
)  # fmt: skip
def test_a_copy_that_dagster_makes_can_still_be_planned(copied: Any) -> None:
    copy = copied(declared())
    assert isinstance(copy, BatchAsset)
    planned = copy.plan(pd.DataFrame({"ticket_id": ["T-1"], "body": ["It crashes."]}))
    assert planned == [Chat(key="T-1", prompt="It crashes.")]


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("owner", "neither @batch_asset nor dg.asset takes owner=. Did you mean owners"),
    ],
)
def test_an_argument_that_nobody_takes_is_refused_by_name(argument: str, told: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(told)):
        declared(**{argument: "team:support"})


@pytest.mark.parametrize("model", ["openai/gpt-5-mini", "anthropic/claude-haiku-5-5"])
def test_a_schema_that_the_provider_cannot_take_is_refused_at_load_naming_asset_and_field(model: str) -> None:
    class Free(BaseModel):
        extras: dict[str, str]

    with pytest.raises(DefinitionError, match=r"ticket_notes: output=Free.*extras"):

        @batch_asset(model=model, output=Free, workload=NIGHTLY, contract=CONTRACT)
        def ticket_notes() -> Iterator[Chat]:
            yield Chat(key="1", prompt="?")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, None),
        (20, Sample(rows=20)),
        (Sample(rows=5, max_failures=0), Sample(rows=5, max_failures=0)),
        (Sample(rows=1000, max_failures=0.05), Sample(rows=1000, max_failures=0.05)),
    ],
)
def test_a_sample_is_a_number_of_rows_or_says_more(given: Any, found: Sample | None) -> None:
    assert declared(sample=given).declaration.sample == found


def test_a_budget_stands_on_the_declaration_in_exact_dollars() -> None:
    found = declared(budget=Budget(job="2.50", pay_twice=1, over="refuse")).declaration.budget
    assert found == Budget(job=Decimal("2.50"), pay_twice=Decimal(1), over="refuse")
    assert declared().declaration.budget is None


def test_a_batch_asset_is_rescued_unless_it_says_otherwise() -> None:
    assert declared().declaration.on_deadline is OnDeadline.RESCUE
    willing = declared(on_unresolved="pay_twice", budget=Budget(pay_twice="2.50")).declaration
    assert (willing.on_unresolved, willing.pay_twice) == (OnUnresolved.PAY_TWICE, Decimal("2.50"))
    assert declared().declaration.pay_twice == 0
    assert spec_of(declared(on_deadline="fail")).metadata["offpeak/on_deadline"] == "fail"
