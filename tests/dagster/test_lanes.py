"""The lane of a run's purchase, as Dagster shows it: by who waits, by what else the run buys, or forced."""

from collections.abc import Iterator
from datetime import time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pandas as pd
import pytest

from offpeak import Chat, FreshnessContract, Waiting, Workload, batch_asset, tolerates
from offpeak.assets.graph import chain_of
from offpeak.clock import SystemClock
from offpeak.errors import ConfigurationError, DefinitionError

HOUR = timedelta(hours=1)
LONG = FreshnessContract(valid_for=400 * HOUR)
DAY = "no tighter than the provider's window of 24 h"


def declared(name: str, deadline: timedelta | time = 24 * HOUR, **more: Any) -> Any:
    def asks() -> Iterator[Chat]:
        yield Chat(key="a", prompt=f"What is {name}?")

    waiting = more.pop("waiting", Waiting.NOBODY)
    return batch_asset(
        name=name,
        model="openai/gpt-5-mini",
        workload=Workload(waiting=waiting, deadline=deadline),
        contract=more.pop("contract", LONG),
        **more,
    )(asks)


def summaries(hours: float) -> Any:
    """Bought of the labels, in the same run."""

    @batch_asset(
        model="openai/gpt-5-mini",
        workload=Workload(waiting=Waiting.NOBODY, deadline=hours * HOUR),
        contract=LONG,
        ins={"labels": tolerates(400 * HOUR)},
    )
    def summaries(labels: pd.DataFrame) -> Iterator[Chat]:
        for key in labels["key"]:
            yield Chat(key=key, prompt="Sum it up.")

    return summaries


def told(made: Any, *assets: str, **tags: str) -> dict[str, tuple[str, str]]:
    """Lane and reason of what was materialised, by asset."""
    landed = made.landed(*assets, **tags)
    return {name: (each.metadata["lane"], each.metadata["lane_reason"]) for (name, _), each in landed.items()}


def test_a_materialization_tells_its_lane_and_the_arithmetic(project: Any) -> None:
    assert told(project(declared("labels")), "labels") == {"labels": ("batch", f"nobody watches, due in 24 h: {DAY}")}


def test_whoever_walked_away_is_served_in_the_background(project: Any) -> None:
    lane, why = told(project(declared("labels", HOUR, waiting=Waiting.WALKED_AWAY)), "labels")["labels"]

    assert lane == "background"
    assert why == "a person asked and walked away, due in 1 h: minutes, not the provider's window of 24 h"


def test_a_run_that_calls_shows_how_far_it_is(project: Any) -> None:
    made = project(declared("labels", HOUR, waiting=Waiting.WALKED_AWAY))
    run_id = made.run("labels").run_id

    run = made.instance.get_run_by_id(run_id)
    assert run is not None
    assert run.tags["offpeak/progress"] == "100%: 1 of 1 requests of labels are called"


def test_what_the_run_buys_next_has_to_leave_room_for_both_and_what_it_does_not_buy_does_not_count(
    project: Any,
) -> None:
    made = project(declared("labels", on_deadline="fail"), summaries(30))

    assert told(made, "labels", "summaries")["labels"] == (
        "background",
        "nobody watches, due in 30 h with summaries: tighter than 2 batches in a row, 2 x 24 h = 48 h",
    )
    assert told(made, "labels")["labels"] == ("batch", "nothing is bought: every row has its answer")


def test_with_a_rescue_a_chain_need_only_leave_room_for_slow_batches(project: Any) -> None:
    lane, why = told(project(declared("labels"), summaries(30)), "labels", "summaries")["labels"]
    assert lane == "batch"
    assert why.startswith("nobody watches, due in 30 h with summaries: looser than 2 x 6 h = 12 h that a slow batch is")


def test_alone_it_goes_by_its_own_deadline(project: Any) -> None:
    assert told(project(declared("labels"), summaries(30)), "labels")["labels"][0] == "batch"


def test_with_room_for_two_windows_both_are_bought_on_batch(project: Any) -> None:
    lanes = told(project(declared("labels"), summaries(48)), "labels", "summaries")

    assert {name: lane for name, (lane, _) in lanes.items()} == {"labels": "batch", "summaries": "batch"}


def test_the_runs_tag_comes_before_the_asset_and_the_reason_says_so(project: Any) -> None:
    made = project(declared("labels", lane="background"))

    lane, why = told(made, "labels", offpeak__lane="batch")["labels"]
    assert (lane, why) == (
        "batch",
        f"forced by the run tag offpeak/lane; the rule says the same: nobody watches, due in 24 h: {DAY}",
    )


def test_a_tag_that_is_no_lane_fails_the_run_before_anything_is_bought(project: Any, provider: Any) -> None:
    with pytest.raises(DefinitionError, match="offpeak/lane='fast' is not a lane"):
        told(project(declared("labels")), "labels", offpeak__lane="fast")
    assert provider.batches() == 0


@pytest.mark.parametrize(("scheduled", "said"), [(False, "a one-off job: about $"), (True, "low volume (1 request): ")])
def test_a_small_saving_is_that_of_a_one_off_job_unless_something_schedules_the_asset(
    project: Any, provider: Any, scheduled: bool, said: str
) -> None:
    job = dg.define_asset_job("nightly", selection="labels")
    nightly = dg.ScheduleDefinition(job=job, cron_schedule="30 1 * * *")
    api = provider.api(smallest_saving="0.01")
    made = project(declared("labels"), resources={"batch_api": api}, schedules=[nightly] if scheduled else [])

    lane, why = told(made, "labels")["labels"]
    assert lane == "background"
    assert why.startswith(said)


def test_a_deadline_that_is_a_time_of_day_is_judged_over_the_schedule(project: Any) -> None:
    nine = time(9, tzinfo=ZoneInfo("Europe/Berlin"))
    job = dg.define_asset_job("nightly", selection="labels")
    nightly = dg.ScheduleDefinition(job=job, cron_schedule="30 1 * * *", execution_timezone="UTC")
    # 24 h between two runs, 6 h 30 min until nine in winter, and the collecting
    enough = FreshnessContract(valid_for=31 * HOUR)

    made = project(declared("labels", nine, contract=enough), schedules=[nightly])
    producer = chain_of(made.defs, now=SystemClock().now()).producers["labels"]
    assert (producer.deadline, producer.lane) == (6.5 * HOUR, "background")
    assert made.defs.resolve_asset_graph().get(dg.AssetKey("labels")).metadata["offpeak/deadline"] == (
        "09:00 Europe/Berlin"
    )
    short = FreshnessContract(valid_for=30 * HOUR)
    with pytest.raises(DefinitionError, match=r"labels: contract valid_for=30 h .* 6 h 30 min deadline of labels"):
        project(declared("labels", nine, contract=short), schedules=[nightly])


def test_deadlines_that_contradict_each_other_are_refused_when_definitions_load(project: Any) -> None:
    job = dg.define_asset_job("nightly", selection="*")
    nightly = dg.ScheduleDefinition(job=job, cron_schedule="30 1 * * *", execution_timezone="UTC")
    with pytest.raises(DefinitionError, match=r"summaries: workload deadline=12 h ends before that of labels, 24 h"):
        project(declared("labels"), summaries(12), schedules=[nightly])


def test_a_budget_of_a_day_that_is_no_amount_is_refused_when_definitions_load(project: Any, provider: Any) -> None:
    with pytest.raises(ConfigurationError, match="budget_per_day='a lot' of the resource 'batch_api' is no amount"):
        project(declared("labels"), resources={"batch_api": provider.api(budget_per_day="a lot")})


def test_a_smallest_saving_that_is_no_amount_is_refused_when_definitions_load(project: Any, provider: Any) -> None:
    api = provider.api(smallest_saving="a cent")
    with pytest.raises(ConfigurationError, match="smallest_saving='a cent' of the resource 'batch_api' is no amount"):
        project(declared("labels"), resources={"batch_api": api})
