"""The sensor decides: what it asks of providers, when it lets a run go, what becomes of runs that people touched."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import pandas as pd
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext

from offpeak import BatchApi, tolerates
from offpeak.assets import lifecycle
from offpeak.clock import to_micros
from offpeak.ledger import parked_runs, tables
from offpeak.ledger.states import ParkedState

from ..conftest import LocalProvider, Place, until
from .code_location import CodeLocation, checks, names, write_settings
from .conftest import OfflineProvider
from .gateway import gateway
from .parked_assets import ROWS, TOLERATED, hold, labels, let_end, plain, sold, view

Made = Callable[..., CodeLocation]
SUCCESS, FAILURE, CANCELED = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED
LAST: Any = {"op_tags": {"dagster/priority": "-1"}}
"""Of the steps that could run next, this one is the last."""


def earlier(cursor: str | None, by: timedelta) -> str:
    """The cursor of a tick that looked so much earlier."""
    looks = json.loads(cursor or "{}")
    return json.dumps({realm: (datetime.fromisoformat(at) - by).isoformat() for realm, at in looks.items()})


# Looking


def test_a_tick_reads_each_accounts_list_once_however_many_jobs_are_open(
    code_location: Made, local_provider: LocalProvider
) -> None:
    hold(local_provider)
    assets = [labels(name) for name in "abc"] + [labels(name, provider="anthropic") for name in "de"]
    with gateway(local_provider.url) as between:
        here = code_location(*assets, resources={"batch_api": OfflineProvider(between.url).api()})
        here.run("a", "b", "d")
        here.run("a", "c", "e")
        between.asked.clear()
        tick = here.tick()
        assert Counter(between.asked) == {"GET /v1/batches": 1, "GET /v1/messages/batches": 1}
        assert len(json.loads(tick.cursor or "")) == 2

        between.asked.clear()
        again = here.tick(tick.cursor)
        assert (between.asked, again.cursor) == ([], tick.cursor)

        here.tick(earlier(tick.cursor, timedelta(seconds=6)))
        assert len(between.asked) == 2


def test_an_account_is_not_asked_once_nothing_is_open_there(code_location: Made, local_provider: LocalProvider) -> None:
    with gateway(local_provider.url) as between:
        here = code_location(labels(), resources={"batch_api": OfflineProvider(between.url).api()})
        here.run("labels")
        let_end(local_provider)
        here.turn()
        between.asked.clear()
        tick = here.tick()
        assert (between.asked, tick.cursor) == ([], "{}")


def test_progress_stands_on_the_parked_run_and_is_written_when_it_moves(
    code_location: Made, local_provider: LocalProvider
) -> None:
    hold(local_provider, share=0.5)
    here = code_location(labels())
    here.run("labels")
    assert here.parked().tags["offpeak/progress"] == f"0%: 0 of {ROWS} requests"
    until(lambda: local_provider.batches()[0]["answered"] == ROWS // 2, what="half of the answers")
    here.tick()
    half = f"50%: {ROWS // 2} of {ROWS} requests"
    assert here.parked().tags["offpeak/progress"] == half
    (parked,) = here.parked_runs()
    assert parked.progress == half

    here.instance.add_run_tags(parked.run_id, {"offpeak/progress": "as a person left it"})
    here.tick()
    assert here.parked().tags["offpeak/progress"] == "as a person left it"


# Letting go


def test_a_run_is_let_go_when_its_batch_has_landed_and_not_before(
    code_location: Made, local_provider: LocalProvider
) -> None:
    hold(local_provider)
    here = code_location(labels(), view())
    here.run("labels", "view")
    parked = here.parked()
    assert here.turn().skip_message == "1 parked, 0 being stopped."
    assert here.parked().run_id == parked.run_id

    let_end(local_provider)
    assert here.turn().skip_message == f"released run {parked.run_id}: everything has landed"
    assert here.now(parked).status is SUCCESS
    assert here.now(parked).tags["offpeak/hold"] == "ready"
    assert here.now(parked).tags["offpeak/phase"] == "collecting"
    assert here.made("labels") == here.made("view") == [parked.run_id]
    assert here.parked_states() == [ParkedState.RELEASED]
    here.turn()
    assert here.parked_states() == [ParkedState.ENDED]
    assert here.turn().skip_message == "0 parked, 0 being stopped."


def test_a_tick_lets_few_runs_go_and_what_landed_with_them_is_let_go_at_the_next(
    code_location: Made, local_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "WRITTEN_PER_TICK", 2)
    hold(local_provider)
    here = code_location(*(labels(name) for name in "abc"))
    for name in "abc":
        here.run(name)
    let_end(local_provider)
    here.tick()
    assert [names(run) for run in here.held()] == [{"c"}]
    here.tick()
    assert here.held() == []


def test_a_run_is_not_let_go_while_the_one_that_submitted_still_runs(
    code_location: Made, local_provider: LocalProvider
) -> None:
    seen: list[Any] = []

    @dg.asset(**LAST)
    def long_one() -> None:
        let_end(local_provider)
        here.tick()
        seen.extend(here.held())

    here = code_location(labels(), long_one)
    here.run("labels", "long_one")
    (parked,) = seen
    assert here.parked().run_id == parked.run_id
    here.turn()
    assert here.made("labels") == [parked.run_id]


def test_a_run_goes_on_when_its_time_has_come_although_nothing_has_landed(
    code_location: Made, local_provider: LocalProvider
) -> None:
    hold(local_provider)
    here = code_location(labels())
    here.run("labels")
    (first,) = here.parked_runs()
    parked_runs.note(here.ledger, [first.id], release_at=datetime.now(UTC) + timedelta(minutes=1))
    here.turn()
    assert here.parked().run_id == first.run_id
    parked_runs.note(here.ledger, [first.id], release_at=datetime.now(UTC) - timedelta(seconds=1))
    tick = here.turn()
    assert tick.skip_message == f"released run {first.run_id}: what could not be submitted is tried again"
    second = here.parked()  # the batch is still out, so it is parked again
    assert second.run_id != first.run_id
    assert len(local_provider.batches()) == 1


def test_a_batch_that_does_not_end_is_given_up_and_collected_all_the_same_when_it_does(
    code_location: Made, local_provider: LocalProvider
) -> None:
    hold(local_provider, share=0.5)
    here = code_location(labels(), view())
    here.run("labels", "view")
    parked = here.parked()
    long_ago = to_micros(datetime.now(UTC) - timedelta(hours=49))
    with here.ledger.database.write() as connection:
        connection.execute(tables.submission.update().values(submitted_at=long_ago))
    tick = here.turn()
    assert (
        tick.skip_message == f"released run {parked.run_id}: a batch has not ended 2 days, 0:00:00 after its submission"
    )
    assert here.now(parked).status is FAILURE
    (batch,) = local_provider.batches()
    said = f"labels: batch {batch['id']} has not ended 48 h after it was submitted. What was paid for is kept"
    assert said in here.messages(parked)
    assert here.states() == ["expired"]
    here.turn()
    assert here.parked_runs() == []

    let_end(local_provider)
    again = here.run("labels", "view")
    assert here.made("view") == [again.run_id]
    assert sold(local_provider) == [1] * ROWS


# The original run


def broken(name: str = "broken", **arguments: Any) -> dg.AssetsDefinition:
    @dg.asset(name=name, **arguments)
    def fails() -> None:
        raise RuntimeError("it fails")

    return fails


def test_what_lies_below_an_asset_that_failed_is_left_out(code_location: Made, local_provider: LocalProvider) -> None:
    @dg.asset_check(asset="joined", additional_ins={"labels": tolerates(TOLERATED)})
    def of_joined(labels: pd.DataFrame) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    @dg.asset_check(asset="view", additional_ins={"labels": tolerates(TOLERATED)})
    def of_view(labels: pd.DataFrame) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    @dg.multi_asset(outs={"one": dg.AssetOut(), "other": dg.AssetOut()}, deps=["joined"])
    def together() -> tuple[int, int]:
        return 1, 2

    here = code_location(
        labels(),
        broken(),
        view(),
        view("joined", deps=["broken"]),
        plain("below", "joined"),
        together,
        asset_checks=[of_joined, of_view],
    )
    hold(local_provider)
    backfill = {"dagster/backfill": "b1", "team": "support"}
    origin = here.run("labels", "broken", "view", "joined", "below", "one", "other", tags=backfill)
    assert origin.status is FAILURE
    wide = here.parked()
    assert names(wide) == {"labels", "view", "joined", "below", "one", "other"}

    tick = here.turn()
    narrow = here.parked()
    assert tick.skip_message == (
        f"run {narrow.run_id} leaves out below, joined, joined:of_joined, one, other: run {origin.run_id} failed above "
        "them"
    )
    assert names(narrow) == {"labels", "view"}
    assert checks(narrow) == {"labels:usable_answers", "labels:fresh", "view:of_view"}
    assert narrow.tags == wide.tags
    assert here.instance.get_run_by_id(wide.run_id) is None
    here.turn()
    assert here.parked().run_id == narrow.run_id

    let_end(local_provider)
    here.turn()
    assert here.now(narrow).status is SUCCESS
    assert here.made("labels") == here.made("view") == [narrow.run_id]
    assert here.made("joined") == []


def test_what_a_failed_blocking_check_forbids_is_left_out(code_location: Made, local_provider: LocalProvider) -> None:
    @dg.asset_check(asset="source", blocking=True)
    def sound() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False)

    here = code_location(plain("source"), labels(), view(), view("joined", deps=["source"]), asset_checks=[sound])
    origin = here.run("source", "labels", "view", "joined")
    assert (origin.status, here.made("source")) == (FAILURE, [origin.run_id])
    let_end(local_provider)
    here.turn()
    here.turn()
    assert len(here.made("view")) == 1
    assert here.made("joined") == []
    assert here.held() == []


def test_a_check_that_reads_an_asset_that_failed_is_left_out(
    code_location: Made, local_provider: LocalProvider
) -> None:
    @dg.asset_check(asset="view", additional_ins={"labels": tolerates(TOLERATED)}, additional_deps=["broken"])
    def both(labels: pd.DataFrame) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    here = code_location(labels(), broken(), view(), asset_checks=[both])
    here.run("labels", "broken", "view")
    assert checks(here.parked()) == {"labels:usable_answers", "labels:fresh", "view:both"}
    let_end(local_provider)
    here.turn()
    here.turn()
    assert len(here.made("view")) == 1
    assert here.evaluated("view:both") == []
    assert {run.status for run in here.instance.get_runs()} == {FAILURE, SUCCESS}


class FullQueue(QueuedRunCoordinator):
    """A queue that may be full."""

    full: ClassVar[bool] = False

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        if self.full:
            raise OSError("the queue is full")
        return super().submit_run(context)


def test_a_run_that_cannot_be_replaced_now_keeps_no_other_waiting(
    code_location: Made, local_provider: LocalProvider, dagster_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_settings(dagster_home, run_coordinator={"module": __name__, "class": "FullQueue"})
    here = code_location(labels(), broken(), view("joined", deps=["broken"]), labels("others"))
    here.run("labels", "broken", "joined")
    wide = here.parked()
    here.run("others")
    let_end(local_provider)
    monkeypatch.setattr(FullQueue, "full", True)
    for _ in range(2):
        tick = here.turn()
        assert f"run {wide.run_id} cannot be replaced now: " in str(tick.skip_message)
        assert "the queue is full" in str(tick.skip_message)
        assert names(here.parked()) == {"labels", "joined"}
    assert len(here.made("others")) == 1

    monkeypatch.setattr(FullQueue, "full", False)
    here.turn()
    here.turn()
    assert len(here.made("labels")) == 1
    assert here.held() == []
    here.turn()
    assert here.parked_runs() == []


def test_a_run_that_failed_elsewhere_takes_nothing_from_what_it_parked(
    code_location: Made, local_provider: LocalProvider
) -> None:
    here = code_location(labels(), view(), broken())
    assert here.run("labels", "view", "broken").status is FAILURE
    parked = here.parked()
    let_end(local_provider)
    here.turn()
    assert here.made("view") == [parked.run_id]


def test_terminating_the_run_that_submitted_stops_what_it_parked(
    code_location: Made, local_provider: LocalProvider
) -> None:
    @dg.asset(**LAST)
    def interrupted(context: dg.AssetExecutionContext) -> None:
        context.instance.report_run_canceling(context.run)  # what Terminate does, before the process gets a signal
        raise DagsterExecutionInterruptedError

    hold(local_provider)
    here = code_location(labels(), interrupted)
    origin = here.run("labels", "interrupted")
    assert origin.status is CANCELED
    parked = here.parked()
    here.turn()
    assert here.now(parked).status is CANCELED
    assert [batch["outcome"] for batch in local_provider.batches()] == ["cancelled"]
    assert here.states() == ["cancelled"]
    assert here.parked_states() == [ParkedState.STOPPED]


# What people do to parked runs


def test_deleting_a_parked_run_by_hand_stops_its_jobs(code_location: Made, local_provider: LocalProvider) -> None:
    hold(local_provider)
    here = code_location(labels())
    here.run("labels")
    here.instance.delete_run(here.parked().run_id)
    here.turn()
    assert [batch["outcome"] for batch in local_provider.batches()] == ["cancelled"]
    assert here.states() == ["cancelled"]


def test_lifting_the_hold_by_hand_lets_the_run_go_and_it_parks_again(
    code_location: Made, local_provider: LocalProvider
) -> None:
    hold(local_provider)
    here = code_location(labels())
    here.run("labels")
    first = here.parked()
    here.instance.add_run_tags(first.run_id, {"offpeak/hold": "ready"})
    here.turn()
    assert here.parked_states() == [ParkedState.RELEASED, ParkedState.WAITING]
    assert here.parked().run_id != first.run_id
    assert len(local_provider.batches()) == 1


def test_re_executing_a_cancelled_parked_run_plans_anew_and_does_not_wait_for_ever(
    code_location: Made, local_provider: LocalProvider
) -> None:
    hold(local_provider)
    here = code_location(labels(), view())
    here.run("labels", "view")
    cancelled = here.parked()
    here.terminate(cancelled)
    here.turn()
    assert here.states() == ["cancelled"]
    local_provider.call("DELETE", "/local/faults")

    copied = {**here.now(cancelled).tags, "dagster/parent_run_id": cancelled.run_id}
    again = here.launch("labels", "view", tags=copied)
    assert here.let_go() == []
    tick = here.turn()
    assert tick.skip_message == f"released run {again.run_id}, which holds the place of no job"
    parked = here.parked()
    assert here.now(again).status is SUCCESS
    let_end(local_provider)
    here.turn()
    assert here.made("labels") == here.made("view") == [parked.run_id]
    assert sold(local_provider) == [1] * ROWS


# Neighbours


def test_a_held_run_of_another_ledger_is_left_alone(
    code_location: Made, local_provider: LocalProvider, tmp_path: Path
) -> None:
    elsewhere = Place(f"sqlite:///{tmp_path / 'other.db'}", tmp_path / "other-spool")
    here = code_location(labels())
    there = code_location(labels("others"), at=elsewhere)
    there.run("others")
    parked = there.parked()
    let_end(local_provider)
    assert here.turn().skip_message == "0 parked, 0 being stopped."
    assert there.parked().run_id == parked.run_id
    there.turn()
    assert there.made("others") == [parked.run_id]


def test_a_parked_run_of_another_code_location_is_left_alone(
    code_location: Made, local_provider: LocalProvider
) -> None:
    here, there = code_location(labels()), code_location(labels("others"), name="there")
    there.run("others")
    parked = there.parked()
    let_end(local_provider)
    assert here.turn().skip_message == "0 parked, 0 being stopped."
    assert there.parked().run_id == parked.run_id
    there.turn()
    assert there.made("others") == [parked.run_id]


# Accounts that cannot be asked


def two_accounts(code_location: Made, openai: str, **anthropic: Any) -> CodeLocation:
    """An asset at each provider: OpenAI's at the URL `openai`, Anthropic's as its arguments say."""
    api = BatchApi(openai_api_key="local", openai_base_url=f"{openai}/v1", **anthropic)
    return code_location(labels("left"), labels("right", provider="anthropic"), resources={"batch_api": api})


def park(here: CodeLocation, local_provider: LocalProvider, *assets: str) -> None:
    """Leave landed batches, each with a parked run of its own."""
    for asset in assets:
        here.run(asset)
    let_end(local_provider)


def test_an_account_that_gives_errors_keeps_no_other_waiting(
    code_location: Made, local_provider: LocalProvider
) -> None:
    with gateway(local_provider.url) as between:
        here = two_accounts(
            code_location, local_provider.url, anthropic_api_key="local", anthropic_base_url=between.url
        )
        park(here, local_provider, "right", "left")
        between.refused.add("GET /v1/messages/batches")
        assert f"anthropic:{between.address} could not be asked: " in str(here.turn().skip_message)
        assert len(here.made("left")) == 1
        assert names(here.parked()) == {"right"}
        between.refused.clear()
        here.turn()
        assert len(here.made("right")) == 1


def test_an_account_that_is_configured_elsewhere_or_without_a_key_is_named_and_looked_at_again(
    code_location: Made, local_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    url = local_provider.url
    here = two_accounts(code_location, url, anthropic_api_key="local", anthropic_base_url=url)
    park(here, local_provider, "right")
    with gateway(url) as between:
        moved = two_accounts(code_location, url, anthropic_api_key="local", anthropic_base_url=between.url)
        said = f"batches are open there, but anthropic is configured to be reached at anthropic:{between.address}"
        assert said in str(moved.turn().skip_message)
        assert between.asked == []
    without_key = two_accounts(code_location, url, anthropic_base_url=url)
    assert "could not be asked: no API key for anthropic" in str(without_key.turn().skip_message)
    assert names(here.parked()) == {"right"}
    here.turn()
    assert len(here.made("right")) == 1
