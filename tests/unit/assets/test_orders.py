"""What a run's order says of its deadlines, its lane and who started it."""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest

from offpeak import BatchApi, Chat, FreshnessContract, Waiting, Workload, batch_asset
from offpeak.assets.order import Order
from offpeak.assets.orders import order_of
from offpeak.errors import ConfigurationError, DefinitionError
from offpeak.freshness.cadence import Cron
from offpeak.freshness.chain import Chain, Node, Producer
from offpeak.freshness.gate import Tolerance
from offpeak.lanes.rule import Due, Forced
from offpeak.ledger.lane import Lane
from offpeak.results.producer import Rhythm

CREATED = datetime(2026, 11, 23, 1, 30, tzinfo=UTC)
H, MIN = timedelta(hours=1), timedelta(minutes=1)
CONTRACT = FreshnessContract(valid_for=300 * H)
NIGHTLY = Cron(cron_schedule="30 1 * * *", timezone="UTC", name="nightly")


def order(deadline: timedelta | time = 24 * H, *, elapsed: timedelta = MIN, lane: Any = None, **more: Any) -> Order:
    def labels() -> Iterator[Chat]:
        yield Chat(key="a", prompt="?")

    asset = batch_asset(
        model="openai/gpt-5-mini",
        workload=Workload(waiting=Waiting.NOBODY, deadline=deadline),
        contract=CONTRACT,
        lane=lane,
    )(labels)
    return order_of(
        asset.declaration,
        "labels",
        plans=lambda _whole: iter(()),
        run_id="run",
        run_tags=more.pop("run_tags", {}),
        created_at=CREATED,
        now=CREATED + elapsed,
        **more,
    )


def rhythm(*crons: Cron, follows: bool = False, later: float | None = None) -> Rhythm:
    """Of labels; with `later`, its job buys summaries after it, within so many hours."""
    nodes = [Node(name="labels", jobs=frozenset({"nightly"}), producer=producer(24))]
    if later is not None:
        reads = {"labels": Tolerance(max_staleness=300 * H)}
        nodes.append(Node(name="summaries", jobs=frozenset({"nightly"}), producer=producer(later), inputs=reads))
    return Rhythm(crons=crons, follows=follows, name="labels", chain=Chain(nodes, now=CREATED))


def producer(deadline: float) -> Producer:
    return Producer(model="openai/gpt-5-mini", lane="batch", deadline=deadline * H, contract=CONTRACT)


def test_what_has_passed_since_the_runs_creation_counts_for_the_deadline_and_within_an_hour_not_for_the_lane() -> None:
    soon, late = order(elapsed=10 * MIN), order(elapsed=3 * H)

    assert (soon.deadline, soon.dues) == (24 * H - 10 * MIN, [Due(deadline=24 * H)])
    assert (late.deadline, late.dues) == (21 * H, [Due(deadline=22 * H)])
    assert order(elapsed=50 * H).dues == [Due(deadline=timedelta(0))]


def test_a_time_of_day_is_the_next_one_after_the_runs_creation() -> None:
    assert order(time(9, tzinfo=UTC), elapsed=timedelta(0)).deadline == 7.5 * H


def test_a_deadline_that_is_inherited_is_taken_where_it_is_tighter() -> None:
    inherited = order(needed_in=6 * H)

    assert (inherited.deadline, inherited.dues) == (6 * H, [Due(deadline=6 * H)])
    assert order(needed_in=60 * H).dues == [Due(deadline=24 * H)]


def test_what_the_run_buys_later_has_a_deadline_that_leaves_room_for_both() -> None:
    made = order(rhythm=rhythm(later=48))

    assert made.dues == [Due(deadline=24 * H), Due(deadline=48 * H, steps=2, of="summaries")]
    assert order(rhythm=rhythm(later=48), selected={"labels"}).dues == [Due(deadline=24 * H)]


def test_a_lane_is_forced_by_the_runs_tag_before_the_asset() -> None:
    assert order().forced is None
    assert order(lane="batch").forced == Forced(lane=Lane.BATCH, by="the asset's lane=")
    tagged = order(lane="batch", run_tags={"offpeak/lane": "background"})
    assert tagged.forced == Forced(lane=Lane.BACKGROUND, by="the run tag offpeak/lane")


def test_a_tag_that_is_no_lane_is_refused_before_anything_is_bought() -> None:
    with pytest.raises(DefinitionError, match=r"offpeak/lane='fast' is not a lane\. Nothing was submitted"):
        order(run_tags={"offpeak/lane": "fast"})


def test_a_run_is_one_off_where_a_person_launched_it_and_nothing_schedules_the_asset() -> None:
    assert order().one_off
    assert order(rhythm=rhythm()).one_off
    assert not order(rhythm=rhythm(NIGHTLY)).one_off
    assert not order(rhythm=rhythm(follows=True)).one_off
    assert not order(run_tags={"dagster/sensor_name": "data_changes"}).one_off


def test_a_lane_that_there_is_not_is_refused_where_it_is_declared() -> None:
    with pytest.raises(DefinitionError, match=r"^labels: lane='realtime' is not a lane\. Use lane=\"batch\""):
        order(lane="realtime")


def test_the_smallest_saving_is_an_amount_of_dollars() -> None:
    assert BatchApi(smallest_saving="0.01").worth_waiting_for() == Decimal("0.01")
    assert BatchApi().worth_waiting_for() == 0
    for wrong in ("a cent", "-1", "NaN", ""):
        with pytest.raises(ConfigurationError, match="smallest_saving="):
            BatchApi(smallest_saving=wrong).worth_waiting_for()


def test_the_budget_of_a_day_is_an_amount_of_dollars() -> None:
    assert BatchApi(budget_per_day="50").daily_budget() == 50
    assert BatchApi().daily_budget() is None
    for wrong in ("fifty", "-1", "NaN", "", "0"):
        with pytest.raises(ConfigurationError, match=r"budget_per_day=.* is no amount above nought"):
            BatchApi(budget_per_day=wrong).daily_budget()
