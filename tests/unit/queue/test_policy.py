"""What is declared about queues is checked where it is declared, and says what to write instead."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from offpeak import BatchApi, Chat, FreshnessContract, QueueLimits, QueuePolicy, Waiting, Workload, batch_asset
from offpeak.assets.definitions import with_offpeak
from offpeak.errors import DefinitionError
from offpeak.ledger.queueing import Limits

MODEL = "openai/gpt-5-mini"
CHEAPER = "openai/gpt-5-nano"


def asset(queue: Any) -> dg.AssetsDefinition:
    @batch_asset(
        model=MODEL,
        workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=25)),
        contract=FreshnessContract(valid_for=timedelta(hours=60)),
        queue=queue,
    )
    def labels() -> list[Chat]:
        return [Chat(key="a", prompt="A?")]

    return labels


@pytest.mark.parametrize(
    ("queue", "message"),
    [
        ("drop", "labels: queue='drop' is not a QueuePolicy"),
        (QueuePolicy(priority=True), "priority=True is not a whole number"),
        (QueuePolicy(priority=1_001), "priority=1001 is not a whole number from -1,000 to 1,000"),
        (QueuePolicy(on_full="wait"), "on_full='wait' is not one of"),  # type: ignore[arg-type]
        (QueuePolicy(on_full="drop", patience=timedelta(-1)), "patience=.* is not a duration"),
        (QueuePolicy(patience=timedelta(hours=1)), "leave patience= out"),
        (QueuePolicy(on_full="degrade"), 'needs degrade_to=, a cheaper "provider/model"'),
        (QueuePolicy(on_full="drop", degrade_to=CHEAPER), 'goes with on_full="degrade"'),
        (QueuePolicy(on_full="degrade", degrade_to="anthropic/claude-haiku-5-5"), "is of another provider"),
        (QueuePolicy(on_full="degrade", degrade_to=MODEL), "is the asset's own model"),
    ],
)
def test_a_policy_that_cannot_work_is_refused_where_it_is_declared(queue: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        asset(queue)


@pytest.mark.parametrize(
    ("other", "message"), [("openai/gpt-5", "is not cheaper than"), ("openai/no-such-model", "no price is known")]
)
def test_a_model_that_is_dearer_or_has_no_price_is_refused_when_definitions_load(other: str, message: str) -> None:
    degrading = asset(QueuePolicy(on_full="degrade", degrade_to=other))
    with pytest.raises(DefinitionError, match=message):
        with_offpeak(dg.Definitions(assets=[degrading]))


def test_a_cheaper_model_is_taken() -> None:
    defs = with_offpeak(dg.Definitions(assets=[asset(QueuePolicy(on_full="degrade", degrade_to=CHEAPER))]))
    assert defs.resolve_asset_graph().get_all_asset_keys() == {dg.AssetKey("labels")}


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"model": "gpt-5-mini", "open_batches": 1}, "names no model"),
        ({"model": "openai/gpt-*", "open_batches": 1}, "names no model"),
        ({"model": "acme/m", "open_batches": 1}, "the providers are anthropic and openai"),
        ({"model": MODEL}, "limits nothing"),
        ({"model": MODEL, "enqueued_tokens": 0}, "enqueued_tokens=0 would let nothing through"),
    ],
)
def test_limits_that_cannot_work_are_refused_where_they_are_declared(limits: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        QueueLimits(**limits)


def test_a_model_has_its_own_limits_or_else_those_of_its_provider() -> None:
    api = BatchApi(
        limits=[
            QueueLimits(model="openai/*", open_batches=50),
            QueueLimits(model=MODEL, enqueued_tokens=2_000_000, creates_per_hour=100),
        ]
    )
    assert api.limits_for(MODEL) == Limits(enqueued_tokens=2_000_000, creates_per_hour=100)
    assert api.limits_for(CHEAPER) == Limits(open_batches=50)
    assert api.limits_for("anthropic/claude-haiku-5-5") == Limits()


def test_one_model_that_is_limited_twice_is_refused() -> None:
    api = BatchApi(limits=[QueueLimits(model=MODEL, open_batches=1), QueueLimits(model=MODEL, open_batches=2)])
    with pytest.raises(DefinitionError, match="is given twice"):
        api.limits_for(MODEL)


def test_the_limits_reach_a_run_as_dagster_hands_the_resource_to_it(tmp_path: Path) -> None:
    seen: list[Limits] = []

    @dg.asset
    def reader(batch_api: BatchApi) -> None:
        seen.append(batch_api.limits_for(MODEL))

    limited = BatchApi(limits=[QueueLimits(model=MODEL, enqueued_tokens=7)])
    with dg.DagsterInstance.ephemeral(str(tmp_path)) as instance:
        assert dg.materialize([reader], resources={"batch_api": limited}, instance=instance).success
    assert seen == [Limits(enqueued_tokens=7)]
