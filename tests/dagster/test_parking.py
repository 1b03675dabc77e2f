"""A run that hands its batch over ends, and leaves behind one that holds the place of all that is left to do."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
import yaml
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from offpeak import Chat, batch_asset, lifecycle_sensor, tolerates
from offpeak.assets.parking import SENSOR_NAME, why_in_place
from offpeak.errors import DefinitionError
from offpeak.ledger.states import ParkedState

from ..conftest import MODELS, LocalProvider
from .code_location import CodeLocation, checks, names, write_settings
from .parked_assets import DAILY, ROWS, TOLERATED, hold, labels, let_end, plain, sold, view

Made = Callable[..., CodeLocation]
SUCCESS = dg.DagsterRunStatus.SUCCESS


def waited_in_place(here: CodeLocation, run: dg.DagsterRun, because: str) -> None:
    """The run said why, waited for its batch, and materialised the asset itself."""
    run = here.now(run)
    assert f"labels: this run waits for its batch in place, because {because}" in here.messages(run)
    assert run.status is SUCCESS
    assert here.made("labels") == [run.run_id]
    assert here.held() == []


# Where a run cannot be parked


def test_a_run_that_nobody_queued_waits_in_place_and_says_why(code_location: Made) -> None:
    here = code_location(labels())
    here.beat()
    run = here.launch("labels", queued=False, origin=False)
    here.start(run)
    waited_in_place(here, run, "it was not launched through Dagster's run queue")


@dataclass
class Probe:
    """A code location without a batch, whose one asset asks why it would have to wait in place."""

    code_location: Made
    said: list[str | None] = field(default_factory=list)

    def at(self, **definitions: Any) -> CodeLocation:
        @dg.asset
        def probe(context: dg.AssetExecutionContext) -> None:
            self.said.append(why_in_place(context))

        return self.code_location(probe, labels(), **definitions)

    def asks(self, here: CodeLocation, **launch: Any) -> str:
        here.start(here.launch("probe", **launch))
        return self.said.pop() or "nothing"


@pytest.fixture
def probe(code_location: Made) -> Probe:
    return Probe(code_location)


def test_an_instance_without_a_queue_holds_no_run(probe: Probe, dagster_home: Path) -> None:
    at_once = {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"}
    write_settings(dagster_home, run_coordinator=at_once, concurrency={})
    here = probe.at()
    here.beat()
    assert probe.asks(here, queued=False).startswith("this instance queues no runs: remove run_coordinator from")


@pytest.mark.parametrize(
    "limits",
    [
        [],
        [{"key": "offpeak/hold", "value": "waiting", "limit": 1}],
        [{"key": "offpeak/hold", "limit": 0}],
        [{"key": "offpeak/hold", "value": "ready", "limit": 0}],
        [{"key": "hold", "value": "waiting", "limit": 0}],
    ],
)
def test_a_queue_without_the_limit_holds_no_run(probe: Probe, dagster_home: Path, limits: list[dict[str, Any]]) -> None:
    write_settings(dagster_home, concurrency={"runs": {"tag_concurrency_limits": limits}})
    here = probe.at()
    here.beat()
    said = probe.asks(here)
    assert said.startswith("dagster.yaml has no limit that holds a parked run. It needs:\nconcurrency:")
    needed = yaml.safe_load(said.partition("It needs:\n")[2])
    assert needed["concurrency"]["runs"]["tag_concurrency_limits"] == [
        {"key": "offpeak/hold", "value": "waiting", "limit": 0}
    ]


def test_both_daemons_have_to_give_signs_of_life(probe: Probe) -> None:
    here = probe.at()
    silent = "the {} daemon gives no sign of life: start dagster-daemon"
    assert probe.asks(here) == silent.format("sensor")
    here.beat("SENSOR")
    assert probe.asks(here) == silent.format("queued run coordinator")
    here.beat("QUEUED_RUN_COORDINATOR")
    assert probe.asks(here) == "nothing"
    here.beat("SENSOR", at=time.time() - 3600)
    assert probe.asks(here) == silent.format("sensor")


def switch(here: CodeLocation, status: InstigatorStatus, *, location: str = "here") -> None:
    """The sensor's switch in the UI."""
    at = InProcessCodeLocationOrigin(LoadableTargetOrigin(python_file="x.py"), location_name=location)
    origin = RemoteRepositoryOrigin(at, here.repository.name).get_instigator_origin(SENSOR_NAME)
    state = InstigatorState(origin, InstigatorType.SENSOR, status, SensorInstigatorData(min_interval=30))
    known = here.instance.get_instigator_state(state.instigator_origin_id, state.selector_id)
    (here.instance.update_instigator_state if known else here.instance.add_instigator_state)(state)


def test_the_sensor_has_to_be_there_and_switched_on(probe: Probe) -> None:
    here = probe.at()
    here.beat()
    off = f"the sensor {SENSOR_NAME} is switched off: start it under Automation in the UI"
    switch(here, InstigatorStatus.STOPPED, location="there")
    assert probe.asks(here) == "nothing"
    switch(here, InstigatorStatus.STOPPED)
    assert probe.asks(here) == off
    switch(here, InstigatorStatus.DECLARED_IN_CODE)
    assert probe.asks(here) == "nothing"

    off_by_default = probe.at(sensors=[lifecycle_sensor(default_status=dg.DefaultSensorStatus.STOPPED)])
    assert probe.asks(off_by_default) == off
    switch(here, InstigatorStatus.RUNNING)
    assert probe.asks(off_by_default) == "nothing"

    without = probe.at(through_offpeak=False)
    assert probe.asks(without).startswith(f"the sensor {SENSOR_NAME} is not among the definitions: pass them through")


class Refusing(QueuedRunCoordinator):
    """A queue that takes what a person launches, and no run that is to be held."""

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        if "offpeak/hold" in context.dagster_run.tags:
            raise OSError("the queue is down")
        return super().submit_run(context)


def test_a_run_whose_place_nobody_holds_waits_in_place_and_leaves_nothing_behind(
    code_location: Made, dagster_home: Path
) -> None:
    write_settings(dagster_home, run_coordinator={"module": __name__, "class": "Refusing"})
    here = code_location(labels())
    run = here.run("labels")
    waited_in_place(here, run, "Dagster could not queue the run that would hold its place: the queue is down")
    assert [each.run_id for each in here.instance.get_runs()] == [run.run_id]
    assert here.parked_states() == [ParkedState.ENDED]
    assert here.states() == ["completed"]


# Who decides


@pytest.mark.parametrize(
    ("declared", "tag", "parks"), [("run", None, False), ("park", "run", False), ("run", "park", True)]
)
def test_the_run_tag_comes_before_what_the_asset_declares(
    code_location: Made, declared: Any, tag: str | None, parks: bool
) -> None:
    here = code_location(labels(wait=declared))
    run = here.run("labels", tags={"offpeak/wait": tag} if tag else {})
    assert run.status is SUCCESS
    assert len(here.held()) == parks
    assert here.made("labels") == ([] if parks else [run.run_id])
    assert "in place" not in here.messages(run)


def test_a_tag_that_is_no_way_to_wait_fails_the_run_before_anything_is_bought(
    code_location: Made, local_provider: LocalProvider
) -> None:
    here = code_location(labels())
    run = here.run("labels", tags={"offpeak/wait": "sleep"})
    assert run.status is dg.DagsterRunStatus.FAILURE
    said = "labels: the run tag offpeak/wait='sleep' is not a way to wait. Nothing was submitted. Launch with 'park' or"
    assert said in here.messages(run)
    assert local_provider.batches() == []


def test_a_declared_way_to_wait_that_there_is_not_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"^labels: wait='sleep' is not a way to wait\. Use wait=\"park\""):
        labels(wait="sleep")


# What the parked run is


def test_the_parked_run_carries_the_launch_on(code_location: Made, local_provider: LocalProvider) -> None:
    hold(local_provider)
    here = code_location(plain("source"), labels(deps=["source"]), view(), plain("other"))
    backfill = {"dagster/backfill": "b1", "team": "support", "dagster/priority": "3", "dagster/max_retries": "2"}
    dropped = {
        "dagster/run_key": "k",
        "dagster/retry_number": "1",
        "dagster/is_resume_retry": "true",
        ".dagster/grpc_info": "{}",
        "offpeak/progress": "90%: of another job",
    }
    run = here.run("source", "labels", "view", "other", tags={**backfill, **dropped})
    parked = here.parked()

    assert names(parked) == {"labels", "view"}
    assert here.made("source") == here.made("other") == [run.run_id]
    assert here.made("labels") == here.made("view") == []
    kept = {name: value for name, value in parked.tags.items() if not name.startswith("offpeak/")}
    assert kept == {**backfill, "dagster/code_location": "here"}
    assert {name: value for name, value in parked.tags.items() if name.startswith("offpeak/")} == {
        "offpeak/hold": "waiting",
        "offpeak/phase": "parked",
        "offpeak/progress": f"0%: 0 of {ROWS} requests",
        "offpeak/job": "1",
        "offpeak/origin_run": run.run_id,
        "offpeak/ledger": here.ledger.identity,
    }
    assert parked.parent_run_id is None
    assert (parked.job_name, parked.remote_job_origin, parked.job_code_origin) == (
        run.job_name,
        run.remote_job_origin,
        run.job_code_origin,
    )
    assert (run.status, run.tags["offpeak/phase"], run.tags["offpeak/job"]) == (SUCCESS, "submitted", "1")
    assert f"run {parked.run_id} holds its place without a process" in here.messages(run)


def test_the_queue_holds_a_parked_run_and_lets_others_pass(code_location: Made, local_provider: LocalProvider) -> None:
    hold(local_provider)
    here = code_location(labels(), plain("other"))
    here.run("labels")
    other = here.launch("other")
    assert [run.run_id for run in here.let_go()] == [other.run_id]
    assert [run.status for run in here.held()] == [dg.DagsterRunStatus.QUEUED]


def test_a_jobs_own_run_config_and_executor_go_on(code_location: Made, local_provider: LocalProvider) -> None:
    @dg.asset(config_schema={"table": str})
    def source(context: dg.AssetExecutionContext) -> str:
        return str(context.op_execution_context.op_config["table"])

    @dg.asset(ins={"labels": tolerates(TOLERATED)}, config_schema={"title": str})
    def report(context: dg.AssetExecutionContext, labels: pd.DataFrame) -> dg.MaterializeResult[Any]:
        return dg.MaterializeResult(metadata={"title": context.op_execution_context.op_config["title"]})

    # the location's executor would start a process for each step, which cannot know these definitions
    nightly = dg.define_asset_job("nightly", selection="*", executor_def=dg.in_process_executor)
    here = code_location(source, labels(deps=["source"]), report, jobs=[nightly], executor=dg.multiprocess_executor)
    run_config = {
        "ops": {"source": {"config": {"table": "tickets"}}, "report": {"config": {"title": "Labels"}}},
        "execution": {"config": {"retries": {"disabled": {}}}},
    }
    run = here.run(job="nightly", run_config=run_config)
    assert run.status is SUCCESS
    parked = here.parked()
    assert parked.job_name == "nightly"
    assert parked.run_config == {**run_config, "ops": {"report": run_config["ops"]["report"]}}
    let_end(local_provider)
    here.turn()
    assert here.now(parked).status is SUCCESS
    assert here.made("report") == [parked.run_id]


MONTHS = dg.StaticPartitionsDefinition(["m1", "m2", "m3"])
IN_ONE_RUN: dict[str, Any] = {"partitions_def": MONTHS, "backfill_policy": dg.BackfillPolicy.single_run()}


@pytest.mark.parametrize("span", [{"partition": "m2"}, {"partitions": ("m1", "m2")}])
def test_partitions_and_ranges_go_on(code_location: Made, local_provider: LocalProvider, span: dict[str, Any]) -> None:
    here = code_location(labels(partitions_def=MONTHS), view(**IN_ONE_RUN))
    run = here.run("labels", "view", tags={"dagster/backfill": "b1"}, **span)
    parked = here.parked()
    about = {name: value for name, value in run.tags.items() if name.startswith("dagster/")}
    assert {name: value for name, value in parked.tags.items() if name.startswith("dagster/")} == about
    assert about["dagster/backfill"] == "b1"
    let_end(local_provider)
    here.turn()
    events = here.instance.fetch_materializations(dg.AssetKey("labels"), limit=10).records
    wanted = ["m2"] if "partition" in span else ["m1", "m2"]
    assert sorted(str(event.partition_key) for event in events) == wanted
    assert here.made("view") == [parked.run_id] * len(wanted)
    assert sold(local_provider) == [1] * ROWS * len(wanted)


# What it selects


def test_only_what_was_selected_and_lies_below_is_left_for_later(
    code_location: Made, local_provider: LocalProvider
) -> None:
    assets = [labels(), view(), plain("below", "view"), plain("far_below", "below"), plain("aside")]
    here = code_location(*assets)
    run = here.run("labels", "view", "far_below", "aside")
    parked = here.parked()
    assert names(parked) == {"labels", "view"}  # what links far_below to them was not selected
    assert here.made("far_below") == here.made("aside") == [run.run_id]
    let_end(local_provider)
    here.turn()
    assert here.made("labels") == here.made("view") == [parked.run_id]
    assert here.made("below") == []


def test_two_batch_parents_leave_one_run_behind_and_their_child_runs_once_after_both(
    code_location: Made, local_provider: LocalProvider
) -> None:
    hold(local_provider)
    left, right = labels("left"), labels("right", provider="anthropic")
    here = code_location(left, right, view("joined", "left", "right"))
    run = here.run("left", "right", "joined")
    parked = here.parked()
    assert names(parked) == {"left", "right", "joined"}
    assert parked.tags["offpeak/job"] == "1,2"
    assert {each.run_id for each in here.instance.get_runs()} == {run.run_id, parked.run_id}
    assert here.parked_states() == [ParkedState.REPLACED, ParkedState.WAITING]

    let_end(local_provider, *here.jobs("left")[0].batch_ids)
    here.turn()
    assert here.parked().run_id == parked.run_id

    let_end(local_provider)
    here.turn()
    assert here.now(parked).status is SUCCESS
    for asset in ("left", "right", "joined"):
        assert here.made(asset) == [parked.run_id]
    assert sold(local_provider) == [1] * 2 * ROWS
    here.turn()
    assert here.parked_states() == [ParkedState.REPLACED, ParkedState.ENDED]


def test_a_parent_that_waits_in_place_is_made_in_the_first_run_and_its_child_later(
    code_location: Made, local_provider: LocalProvider
) -> None:
    here = code_location(labels("left"), labels("right", wait="run"), view("joined", "left", "right"))
    run = here.run("left", "right", "joined")
    parked = here.parked()
    assert names(parked) == {"left", "joined"}
    assert here.made("right") == [run.run_id]
    let_end(local_provider)
    here.turn()
    assert here.made("joined") == [parked.run_id]


def test_two_batch_assets_in_a_row_park_one_after_the_other(code_location: Made, local_provider: LocalProvider) -> None:
    @batch_asset(model=MODELS["anthropic"], ins={"labels": tolerates(TOLERATED)}, **DAILY)
    def reasons(labels: pd.DataFrame) -> Any:
        row: Any
        for row in labels.itertuples():
            yield Chat(key=row.key, prompt=f"Why {row.category}, {row.key}?")

    here = code_location(labels(), reasons, view("report", "reasons"))
    first = here.run("labels", "reasons", "report")
    second = here.parked()
    let_end(local_provider)
    here.turn()
    third = here.parked()
    assert names(third) == {"reasons", "report"}
    assert third.tags["offpeak/origin_run"] == first.run_id
    let_end(local_provider)
    here.turn()
    assert (here.made("labels"), here.made("reasons")) == ([second.run_id], [third.run_id])
    assert here.made("report") == [third.run_id]
    assert sold(local_provider) == [1] * 2 * ROWS


def test_a_multi_asset_below_is_left_for_later_as_far_as_it_was_selected(
    code_location: Made, local_provider: LocalProvider
) -> None:
    @dg.multi_asset(
        outs={name: dg.AssetOut(is_required=False) for name in ("urgent", "calm")},
        ins={"labels": tolerates(TOLERATED)},
        can_subset=True,
    )
    def divided(context: dg.AssetExecutionContext, labels: pd.DataFrame) -> Any:
        for name in sorted(context.op_execution_context.selected_output_names):
            yield dg.Output(len(labels), name)

    @dg.multi_asset(outs={"first": dg.AssetOut(), "last": dg.AssetOut()}, ins={"labels": tolerates(TOLERATED)})
    def ends(labels: pd.DataFrame) -> tuple[int, int]:
        return 1, len(labels)

    here = code_location(labels(), divided, ends)
    here.run("labels", "calm", "first", "last")
    parked = here.parked()
    assert names(parked) == {"labels", "calm", "first", "last"}
    let_end(local_provider)
    here.turn()
    for asset in ("labels", "calm", "first", "last"):
        assert here.made(asset) == [parked.run_id]
    assert here.made("urgent") == []


def test_a_graph_backed_asset_below_is_left_for_later_with_all_its_ops(
    code_location: Made, local_provider: LocalProvider
) -> None:
    @dg.op(config_schema={"by": int})
    def count(context: dg.OpExecutionContext, seen: Any) -> int:
        return int(context.op_config["by"])

    @dg.op
    def double(number: int) -> int:
        return 2 * number

    @dg.graph_asset(ins={"seen": dg.AssetIn("rows")})
    def counted(seen: Any) -> Any:
        return double(count(seen))

    @dg.asset(ins={"labels": tolerates(TOLERATED)})
    def rows(labels: pd.DataFrame) -> int:
        return len(labels)

    here = code_location(labels(), rows, counted)
    run_config = {"ops": {"counted": {"ops": {"count": {"config": {"by": 3}}}}}}
    here.run("labels", "rows", "counted", run_config=run_config)
    parked = here.parked()
    assert names(parked) == {"labels", "rows", "counted"}
    assert parked.run_config == run_config
    let_end(local_provider)
    here.turn()
    assert here.now(parked).status is SUCCESS
    assert here.made("counted") == [parked.run_id]


def test_checks_are_evaluated_once_each_where_their_rows_are(
    code_location: Made, local_provider: LocalProvider
) -> None:
    @batch_asset(model=MODELS["openai"], check_specs=[dg.AssetCheckSpec("asked", asset="checked")], **DAILY)
    def checked() -> Any:
        yield dg.AssetCheckResult(check_name="asked", passed=True)
        yield Chat(key="a", prompt="Is this a question?")

    @dg.asset_check(asset="checked")
    def answered(checked: pd.DataFrame) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=len(checked) == 1)

    @dg.asset_check(asset="source", additional_ins={"checked": tolerates(TOLERATED)})
    def as_many(checked: pd.DataFrame) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=len(checked) == 1)

    @dg.asset_check(asset="source")
    def at_once() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    here = code_location(plain("source"), checked, asset_checks=[answered, as_many, at_once])
    run = here.run("source", "checked")
    assert run.status is SUCCESS
    parked = here.parked()
    assert names(parked) == {"checked"}
    own = {"checked:usable_answers", "checked:fresh"}
    assert checks(parked) == {"checked:asked", *own, "checked:answered", "source:as_many"}
    let_end(local_provider)
    here.turn()
    assert here.now(parked).status is SUCCESS
    assert {check: here.evaluated(check) for check in ("checked:asked", "source:at_once")} == {
        "checked:asked": [(run.run_id, True)],
        "source:at_once": [(run.run_id, True)],
    }
    for check in (*own, "checked:answered", "source:as_many"):
        assert here.evaluated(check) == [(parked.run_id, True)]


def test_re_executing_a_failed_run_parks_what_is_left_of_it(code_location: Made, local_provider: LocalProvider) -> None:
    fails = True

    @dg.asset
    def source() -> None:
        if fails:
            raise RuntimeError("no source today")

    here = code_location(plain("done"), source, labels(deps=["source"]), view(deps=["done"]))
    failed = here.run("done", "source", "labels", "view")
    assert failed.status is dg.DagsterRunStatus.FAILURE
    fails = False
    again = here.re_execute_from_failure(failed)
    here.start(again)
    assert here.now(again).status is SUCCESS
    parked = here.parked()
    assert names(parked) == {"labels", "view"}
    let_end(local_provider)
    here.turn()
    assert here.made("done") == [failed.run_id]
    assert here.made("source") == [again.run_id]
    assert here.made("labels") == here.made("view") == [parked.run_id]


# Rounds


def test_what_failed_goes_round_again_in_one_more_parked_run(
    code_location: Made, local_provider: LocalProvider
) -> None:
    local_provider.fault("error_lines", share=0.5)
    here = code_location(labels(), view())
    first = here.run("labels", "view")
    second = here.parked()
    let_end(local_provider)
    here.turn()
    third = here.parked()
    assert here.now(second).status is SUCCESS
    assert here.now(second).tags["offpeak/phase"] == "submitted"
    assert here.made("labels") == []
    assert names(third) == names(second) == {"labels", "view"}
    assert third.tags["offpeak/origin_run"] == second.tags["offpeak/origin_run"] == first.run_id
    assert third.tags["offpeak/job"] == second.tags["offpeak/job"]
    let_end(local_provider)
    here.turn()
    assert here.made("labels") == here.made("view") == [third.run_id]
    assert len(here.instance.get_runs()) == 3
    assert here.states() == ["completed"]
    assert sold(local_provider) == [1] * ROWS


def test_what_was_bought_before_is_materialised_at_once(code_location: Made, local_provider: LocalProvider) -> None:
    here = code_location(labels(), view())
    here.run("labels", "view")
    let_end(local_provider)
    here.turn()
    again = here.run("labels", "view")
    assert here.held() == []
    assert here.made("view")[-1] == again.run_id
    assert len(local_provider.batches()) == 1


def test_a_second_run_joins_the_purchase_and_is_parked_beside_the_first(
    code_location: Made, local_provider: LocalProvider
) -> None:
    hold(local_provider)
    here = code_location(labels(), view())
    here.run("labels", "view")
    here.run("labels", "view")
    first, second = here.held()
    let_end(local_provider)
    here.turn()
    assert sorted(here.made("view")) == sorted([first.run_id, second.run_id])
    assert here.states() == ["completed", "completed"]
    assert len(local_provider.batches()) == 1
    assert sold(local_provider) == [1] * ROWS
