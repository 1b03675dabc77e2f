"""Terminating a parked run: what only it waited for is cancelled, and what was answered until then is kept."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent

from offpeak import BatchApi
from offpeak.assets import stopping
from offpeak.assets.stopping import STOP_JOB
from offpeak.ledger import history, parked_runs
from offpeak.ledger.states import ParkedState
from offpeak.results.store import ResultStore

from ..conftest import LocalProvider, until
from .code_location import CodeLocation
from .parked_assets import ROWS, Label, hold, labels, let_end, outcome, plain, sold, view

Made = Callable[..., CodeLocation]
SUCCESS, FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE


def half_answered(local_provider: LocalProvider, batches: int = 1) -> None:
    """Until so many held batches have answered half of their requests."""
    until(
        lambda: [batch["answered"] for batch in local_provider.batches()] == [ROWS // 2] * batches,
        what="half of the answers",
    )


def stop_runs(here: CodeLocation) -> list[dg.DagsterRun]:
    """The runs that stopped jobs, oldest first."""
    return list(reversed(here.instance.get_runs(dg.RunsFilter(job_name=STOP_JOB))))


def why(here: CodeLocation, job_id: int) -> str | None:
    """The reason of the job's last event."""
    return [event.why for event in history.of_job(here.ledger, job_id).events if event.subject == "job"][-1]


def open_batches(local_provider: LocalProvider) -> list[str]:
    return [batch["id"] for batch in local_provider.batches() if batch["outcome"] is None]


def test_what_a_stopped_batch_answered_is_kept_and_only_the_rest_is_bought_later(
    code_location: Made, local_provider: LocalProvider, provider_name: str
) -> None:
    hold(local_provider, share=0.5)
    here = code_location(labels(provider=provider_name), view())
    here.run("labels", "view")
    parked = here.parked()
    half_answered(local_provider)
    here.terminate(parked)
    here.turn()

    assert [batch["outcome"] for batch in local_provider.batches()] == ["cancelled"]
    (job,) = here.jobs()
    assert (job.state.value, why(here, job.id)) == (
        "cancelled",
        f"run {parked.run_id} was terminated; {ROWS // 2} rows have an answer, which is kept",
    )
    assert here.parked_states() == [ParkedState.STOPPED]
    assert [run.status for run in stop_runs(here)] == [SUCCESS]
    assert len(ResultStore(here.ledger).frame("labels", partitions=None, output=Label)) == ROWS // 2
    assert here.made("labels") == []
    here.turn()
    assert len(stop_runs(here)) == 1

    local_provider.call("DELETE", "/local/faults")
    here.run("labels", "view")
    (again,) = here.jobs("labels")[1:]
    assert (again.new, again.reused) == (ROWS // 2, ROWS // 2)
    let_end(local_provider)
    here.turn()
    assert len(here.made("view")) == 1
    assert sold(local_provider) == [1] * ROWS


def test_a_batch_that_another_job_waits_for_goes_on_and_is_billed_to_that_one(
    code_location: Made, local_provider: LocalProvider
) -> None:
    hold(local_provider)
    here = code_location(labels(), labels("others", about="labels"))
    here.run("labels")
    first = here.parked()
    here.run("others")
    here.terminate(first)
    here.turn()
    assert here.states() == ["cancelled", "in_progress"]
    (batch,) = local_provider.batches()
    assert batch["status"] == "in_progress"
    here.turn()
    assert outcome(local_provider, batch["id"]) is None

    let_end(local_provider)
    here.turn()
    assert here.states() == ["cancelled", "completed"]
    bills = [history.of_job(here.ledger, job.id).bill for job in here.jobs()]
    assert bills[0].cost_pico == 0
    assert bills[1].cost_pico > 0
    assert (here.made("labels"), len(here.made("others"))) == ([], 1)
    assert sold(local_provider) == [1] * ROWS


def test_when_all_who_wait_for_a_batch_are_stopped_it_is_cancelled(
    code_location: Made, local_provider: LocalProvider
) -> None:
    hold(local_provider)
    here = code_location(labels(), labels("others", about="labels"))
    here.run("labels")
    here.run("others")
    for run in here.held():
        here.terminate(run)
    here.turn()
    assert [batch["outcome"] for batch in local_provider.batches()] == ["cancelled"]
    assert here.states() == ["cancelled", "cancelled"]
    assert len(stop_runs(here)) == 1


def test_both_batches_of_a_diamond_are_cancelled_with_the_one_run_that_held_their_place(
    code_location: Made, local_provider: LocalProvider
) -> None:
    hold(local_provider)
    here = code_location(labels("left"), labels("right", provider="anthropic"), view("joined", "left", "right"))
    here.run("left", "right", "joined")
    here.terminate(here.parked())
    here.turn()
    assert [batch["outcome"] for batch in local_provider.batches()] == ["cancelled"] * 2
    assert here.states() == ["cancelled"] * 2


def test_a_batch_that_landed_before_the_run_was_terminated_is_kept_whole(
    code_location: Made, local_provider: LocalProvider
) -> None:
    here = code_location(labels())
    here.run("labels")
    let_end(local_provider)
    here.terminate(here.parked())
    here.turn()
    assert here.states() == ["cancelled"]
    again = here.run("labels")
    assert here.made("labels") == [again.run_id]
    assert len(local_provider.batches()) == 1


def test_a_provider_that_is_slow_to_cancel_is_looked_at_again_and_then_collected(
    code_location: Made, local_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "GRACE", timedelta(0))
    local_provider.fault("latency", seconds=6_000)  # then cancelling takes ten minutes
    here = code_location(labels())
    here.run("labels")
    here.terminate(here.parked())
    here.turn()
    (batch,) = local_provider.batches()
    assert batch["status"] == "cancelling"
    assert here.states() == ["in_progress"]
    (run,) = stop_runs(here)
    assert "labels: not all batches have ended yet; looked at again later." in here.messages(run)
    assert [each.state for each in here.parked_runs()] == [ParkedState.STOPPING]
    here.turn()
    assert len(stop_runs(here)) == 1  # the next look is in a minute

    let_end(local_provider, batch["id"])
    (parked,) = here.parked_runs()
    parked_runs.note(here.ledger, [parked.id], release_at=datetime.now(UTC))
    here.turn()
    assert [run.status for run in stop_runs(here)] == [SUCCESS, SUCCESS]
    assert here.states() == ["cancelled"]
    assert here.parked_runs() == []


def test_everything_is_cancelled_before_anything_is_waited_for(
    code_location: Made, local_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "GRACE", timedelta(0))
    local_provider.fault("latency", seconds=6_000, times=None)  # then cancelling takes ten minutes
    here = code_location(labels("left"), labels("right", provider="anthropic"), labels("others"))
    here.run("left", "right")
    here.run("others")
    for run in here.held():
        here.terminate(run)
    here.turn()
    assert [batch["status"] for batch in local_provider.batches() if batch["provider"] == "openai"] == [
        "cancelling"
    ] * 2
    assert [batch["status"] for batch in local_provider.batches() if batch["provider"] == "anthropic"] == ["canceling"]


def test_a_run_that_died_while_it_stopped_jobs_keeps_them_waiting_for_an_hour_at_most(
    code_location: Made, local_provider: LocalProvider, dagster_home: Path
) -> None:
    hold(local_provider)
    here = code_location(labels())
    here.run("labels")
    here.terminate(here.parked())
    died = here.launch(job=STOP_JOB)
    here.instance.report_dagster_event(DagsterEvent("PIPELINE_START", job_name=STOP_JOB), died.run_id)
    assert here.now(died).status is dg.DagsterRunStatus.STARTED
    here.turn()
    assert here.states() == ["in_progress"]
    long_ago = str(datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1, minutes=1))
    with sqlite3.connect(dagster_home / "history" / "runs.db") as connection:
        connection.execute("UPDATE runs SET create_timestamp = ? WHERE run_id = ?", (long_ago, died.run_id))
    here.turn()
    assert here.states() == ["cancelled"]


def test_one_job_that_cannot_be_stopped_keeps_no_other_from_it_and_is_tried_again(
    code_location: Made, local_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    hold(local_provider)
    assets = [labels("a", provider="anthropic"), labels("b"), labels("c")]
    here = code_location(*assets)
    here.run("a", "b")
    here.run("c")
    for run in here.held():
        here.terminate(run)
    api = BatchApi(openai_api_key="local", openai_base_url=f"{local_provider.url}/v1")
    without_key = code_location(*assets, resources={"batch_api": api})
    without_key.turn()
    (failed,) = stop_runs(here)
    assert failed.status is FAILURE
    assert "Not every job could be stopped; it is tried again." in here.messages(failed)
    assert "a: no API key for anthropic" in here.messages(failed)
    assert {job.asset: job.state.value for job in here.jobs()} == {
        "a": "in_progress",
        "b": "cancelled",
        "c": "cancelled",
    }
    without_key.turn()
    assert len(stop_runs(here)) == 1

    (parked,) = here.parked_runs()
    assert parked.release_at is not None
    assert parked.release_at - datetime.now(UTC) > timedelta(minutes=9)
    parked_runs.note(here.ledger, [parked.id], release_at=datetime.now(UTC))
    here.turn()
    assert here.states() == ["cancelled"] * 3
    assert open_batches(local_provider) == []


def test_terminating_a_run_that_was_let_go_stops_it(code_location: Made, local_provider: LocalProvider) -> None:
    here = code_location(labels(), view())
    here.run("labels", "view")
    parked = here.parked()
    let_end(local_provider)
    here.tick()
    assert here.parked_states() == [ParkedState.RELEASED]
    here.terminate(parked)
    here.turn()
    assert here.states() == ["cancelled"]
    assert here.parked_states() == [ParkedState.STOPPED]
    again = here.run("labels", "view")
    assert here.made("view") == [again.run_id]
    assert sold(local_provider) == [1] * ROWS


def test_a_job_whose_asset_is_gone_says_what_to_do(code_location: Made, local_provider: LocalProvider) -> None:
    hold(local_provider)
    here = code_location(labels(), labels("others"))
    here.run("labels")
    here.terminate(here.parked())
    code_location(plain("labels"), labels("others")).turn()
    (failed,) = stop_runs(here)
    assert "labels is no batch asset of this code location any more, so its open batches cannot be" in here.messages(
        failed
    )
    assert len(open_batches(local_provider)) == 1


def test_a_run_that_stops_jobs_leaves_those_of_other_code_locations_alone(
    code_location: Made, local_provider: LocalProvider
) -> None:
    hold(local_provider)
    here, there = code_location(labels()), code_location(labels("others"), name="there")
    here.run("labels")
    there.run("others")
    for run in here.held():
        here.terminate(run)
    here.turn()
    there.tick()
    here.launch(job=STOP_JOB)
    here.let_go()
    assert (here.states("labels"), here.states("others")) == (["cancelled"], ["in_progress"])


def test_a_job_is_not_stopped_twice_at_the_same_time(code_location: Made, local_provider: LocalProvider) -> None:
    hold(local_provider)
    here = code_location(labels())
    here.run("labels")
    here.terminate(here.parked())
    here.launch(job=STOP_JOB)
    assert here.tick().run_requests == []
    here.let_go()
    assert here.states() == ["cancelled"]


def test_stopping_a_later_round_keeps_what_the_first_one_brought(
    code_location: Made, local_provider: LocalProvider
) -> None:
    local_provider.fault("error_lines", share=0.5)
    here = code_location(labels())
    here.run("labels")
    let_end(local_provider)
    hold(local_provider)
    here.turn()  # half of it goes round again
    here.terminate(here.parked())
    here.turn()
    assert here.states() == ["cancelled"]
    assert sorted(str(batch["outcome"]) for batch in local_provider.batches()) == ["cancelled", "completed"]
    local_provider.call("DELETE", "/local/faults")
    here.run("labels")
    let_end(local_provider)
    here.turn()
    assert len(here.made("labels")) == 1
    assert sold(local_provider) == [1] * ROWS
