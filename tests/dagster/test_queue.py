"""Runs whose batches have no room at the provider hold no process, and go on one after the other as there is some."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dagster as dg

from offpeak import QueueLimits, QueuePolicy
from offpeak.ledger.conditions import Condition
from offpeak.ledger.states import ChunkState
from offpeak.ledger.submissions import of_job
from offpeak.ledger.watching import watched
from offpeak.queue import gate

from ..conftest import LocalProvider
from .code_location import CodeLocation
from .conftest import OfflineProvider
from .parked_assets import ROWS, hold, labels, let_end, sold

Made = Callable[..., CodeLocation]


def limited(local_provider: LocalProvider) -> dict[str, Any]:
    api = OfflineProvider(local_provider.url).api(keep=True)
    return {"batch_api": api.model_copy(update={"limits": [ONE]})}


ONE = QueueLimits(model="openai/*", open_batches=1)


def test_runs_without_room_are_parked_at_once_and_released_one_at_a_time(
    code_location: Made, local_provider: LocalProvider
) -> None:
    hold(local_provider)
    here = code_location(
        labels("first"),
        labels("second", queue=QueuePolicy(priority=1)),
        labels("third", queue=QueuePolicy(priority=2)),
        resources=limited(local_provider),
    )
    for asset in ("first", "second", "third"):
        assert here.run(asset).status is dg.DagsterRunStatus.SUCCESS
    assert len(local_provider.batches()) == 1
    assert len(here.held()) == 3
    here.turn()
    assert len(here.held()) == 3

    now = here.ledger.clock.now()
    found = {each.job.asset: each for each in watched(here.ledger, now=now, no_room=gate.waits(here.ledger, now=now))}
    assert found["second"].condition is Condition.QUEUED
    assert found["second"].why == "waits for room: 1 of 1 batches are open for openai/gpt-5-mini, 1 batch is ahead"

    order = []
    for _ in range(3):
        let_end(local_provider)
        hold(local_provider)
        for _ in range(3):
            here.turn()
        order.append(len(local_provider.batches()))
    assert order == [2, 3, 3], "more than there was room for"
    sent = {asset: of_job(here.ledger, here.jobs(asset)[0].id)[0].create_at for asset in ("first", "second", "third")}
    assert sorted(sent, key=lambda asset: sent[asset] or here.ledger.clock.now()) == ["first", "third", "second"]
    let_end(local_provider)
    for _ in range(3):
        here.turn()
    assert here.held() == []
    assert all(len(here.made(asset)) == 1 for asset in ("first", "second", "third"))
    assert sold(local_provider) == [1] * (3 * ROWS)


def test_a_run_whose_patience_is_over_is_released_and_degrades(
    code_location: Made, local_provider: LocalProvider
) -> None:
    hold(local_provider)
    degrade = QueuePolicy(on_full="degrade", degrade_to="openai/gpt-5-nano", patience=timedelta(seconds=2))
    here = code_location(labels("first"), labels("second", queue=degrade), resources=limited(local_provider))
    here.run("first")
    here.run("second")
    assert len(here.held()) == 2
    (job,) = here.jobs("second")
    (chunk,) = of_job(here.ledger, job.id)
    assert chunk.chunk_state is ChunkState.QUEUED
    assert chunk.give_up_at is not None

    while here.ledger.clock.now() < chunk.give_up_at:
        here.ledger.clock.sleep(timedelta(seconds=0.2))
    here.turn()
    assert [batch["model"] for batch in local_provider.batches()] == ["gpt-5-nano", "gpt-5-mini"]
    let_end(local_provider)
    for _ in range(2):
        here.turn()
    run_id = here.made("second")[0]
    record = here.instance.fetch_materializations(dg.AssetKey("second"), limit=1).records[0]
    assert record.run_id == run_id
    metadata = record.asset_materialization.metadata if record.asset_materialization else {}
    assert (metadata["degraded"].value, metadata["dropped"].value, metadata["rows"].value) == (ROWS, 0, ROWS)
