"""`offpeak jobs`, as somebody at a terminal and a program that reads its JSON see it."""

import json
import re
from datetime import timedelta

import pytest

from offpeak import Budget
from offpeak.errors import BudgetExceeded, LedgerUnreadable, NotFound, OffpeakError, PlanError, SurgeHeld
from offpeak.ledger import parked_runs, tables
from offpeak.money.budget import declared_budget

from ...conftest import LocalProvider, Place, Shop, tickets
from .conftest import Run

MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def held(shop: Shop) -> Shop:
    """A shop whose second job the surge guard holds."""
    shop.buy(tickets(10))
    with pytest.raises(SurgeHeld):
        shop.buy(tickets(10), system="Another prompt.")
    return shop


def test_jobs_are_listed_newest_first_with_what_they_bought(shop: Shop, run: Run) -> None:
    bought = shop.buy(tickets(3))
    shop.buy(tickets(4))
    second, first = json.loads(run("jobs", "--json"))["jobs"]

    assert (first["id"], second["id"]) == (1, 2)
    assert (first["rows"], first["new"], first["reused"]) == (3, 3, 0)
    assert (second["rows"], second["new"], second["reused"]) == (4, 1, 3)
    assert first["state"] == "completed"
    assert first["lane"] == "batch"
    assert first["cost_usd"] == f"{bought.cost.normalize():f}"
    assert first["batch_ids"] == list(bought.batch_ids)
    assert first["created_at"].endswith("+00:00")


def test_the_table_says_the_same_and_which_ledger_it_is(shop: Shop, run: Run, place: Place) -> None:
    shop.buy(tickets(3))
    shown = run("jobs")
    (line,) = [line for line in shown.splitlines() if " labels " in line]
    assert line.split()[:8] == ["1", "labels", "completed", "batch", "3", "3", "0", "0"]
    assert "1: 1 applied" in line
    assert place.url in shown


def test_a_narrow_terminal_leaves_columns_out_and_names_whole(
    shop: Shop, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.buy(tickets(1), asset="a_rather_long_name")
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    for width, named in (("80", False), ("130", True)):
        monkeypatch.setenv("COLUMNS", width)
        shown = run("jobs")
        assert " a_rather_long_name " in shown
        assert all((name in shown) is named for name in ("lane", "on their way", "created"))


def test_a_held_job_is_open_and_has_no_cost_yet(held: Shop, run: Run) -> None:
    (job,) = json.loads(run("jobs", "--open", "--json"))["jobs"]
    assert (job["state"], job["cost_usd"], job["closed_at"]) == ("held", None, None)
    shown = run("jobs", "--open")
    assert "Job 2 is held." in shown
    assert "offpeak jobs approve 2" in shown
    assert "system" in shown


def test_an_open_job_shows_how_it_is_getting_on_instead_of_its_state(
    shop: Shop, run: Run, local_provider: LocalProvider
) -> None:
    local_provider.settings(latency_seconds=3600)
    running = shop.leave(tickets(3))
    late = shop.leave(tickets(2, start=10), deadline=timedelta(microseconds=1))
    shown = run("jobs")
    lines = {line.split()[0]: line.split()[2] for line in shown.splitlines() if " labels " in line}
    assert (lines[str(running)], lines[str(late)]) == ("running", "late")
    assert f"Job {late} of labels is late: " in shown
    assert f"Job {running} of" not in shown

    first, second = json.loads(run("jobs", "--open", "--json"))["jobs"]
    assert (first["id"], first["state"], first["condition"]) == (late, "in_progress", "late")
    assert first["why"].endswith("past its deadline")
    assert (second["condition"], second["why"], second["parked_run"]) == ("running", None, None)
    progress = second["progress"]
    assert progress.pop("elapsed_seconds") >= 0
    assert progress.pop("submitted_at").endswith("+00:00")
    assert progress == {
        "requests": 3,
        "finished": 0,
        "batches": 1,
        "landed": 0,
        "applied": 0,
        "typical_seconds": None,
    }


def test_a_job_that_has_ended_has_no_condition(shop: Shop, run: Run) -> None:
    shop.buy(tickets(1))
    (job,) = json.loads(run("jobs", "--json"))["jobs"]
    assert (job["condition"], job["why"], job["progress"], job["parked_run"]) == (None, None, None, None)


def test_a_parked_job_is_shown_with_its_run_progress_and_times(
    shop: Shop, run: Run, local_provider: LocalProvider
) -> None:
    local_provider.settings(latency_seconds=3600)
    job = shop.leave(tickets(3))
    number = parked_runs.intend(shop.ledger, run_id="0000-parked", origin_run_id="run", location="here")
    parked_runs.hold(
        shop.ledger, number, origin_run_id="run", jobs={job: "labels"}, joining=job, progress="0%: 0 of 3 requests"
    )
    shown = json.loads(run("jobs", "show", str(job), "--json"))
    assert (shown["parked"]["run_id"], shown["parked"]["state"]) == ("0000-parked", "waiting")
    assert shown["job"]["parked_run"] == {
        "run_id": "0000-parked",
        "state": "waiting",
        "shown": "0%: 0 of 3 requests",
    }
    assert shown["job"]["condition"] == "running"
    assert shown["timing"]["to_submit_seconds"] >= 0
    assert (shown["timing"]["ended_at"], shown["timing"]["to_collect_seconds"]) == (None, None)
    assert [event["state"] for event in shown["events"] if event["subject"] == "parked_run"] == ["intended", "waiting"]

    text = run("jobs", "show", str(job))
    told = text.splitlines()[1:]
    pairs = dict(
        re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in told[: [line.strip() for line in told].index("")]
    )
    assert pairs["condition"] == "running"
    assert pairs["progress"].startswith("0 of 3 requests, ")
    assert pairs["parked run"] == "0000-parked, waiting"
    assert "to submit" in pairs
    assert "to collect" not in pairs


def test_a_collected_job_is_shown_with_where_its_time_went(shop: Shop, run: Run) -> None:
    shop.buy(tickets(2))
    table = tables.job
    with shop.ledger.database.write() as connection:
        connection.execute(table.update().values(closed_at=table.c.closed_at + timedelta(hours=5) // MICROSECOND))
    timing = json.loads(run("jobs", "show", "1", "--json"))["timing"]
    assert all(timing[name] is not None for name in ("submitted_at", "ended_at", "at_provider_seconds"))
    assert timing["to_collect_seconds"] >= 5 * 3600
    text = run("jobs", "show", "1")
    for name, took in (("to submit", r"\d+ s"), ("at the provider", r"\d+ s"), ("to collect", "5 h")):
        assert re.search(rf"^{name} +{took}", text, re.MULTILINE)
    assert "condition" not in text


def test_jobs_of_one_asset_are_listed_alone(shop: Shop, run: Run) -> None:
    shop.buy(tickets(2))
    shop.buy(tickets(2), asset="other")
    found = json.loads(run("jobs", "--asset", "other", "--json"))["jobs"]
    assert [job["asset"] for job in found] == ["other"]


def test_an_unknown_asset_is_answered_with_the_nearest(shop: Shop, run: Run) -> None:
    shop.buy(tickets(2))
    with pytest.raises(NotFound, match="Did you mean labels"):
        run("jobs", "--asset", "lables")


def test_a_job_is_shown_with_its_batches_events_and_failures(
    shop: Shop, run: Run, local_provider: LocalProvider
) -> None:
    local_provider.fault("error_lines", share=1.0)
    shop.buy(tickets(2))
    shown = json.loads(run("jobs", "show", "1", "--json"))

    assert [(chunk["attempt"], chunk["requests"]) for chunk in shown["chunks"]] == [(1, 2), (2, 2)]
    batches = {batch["id"] for batch in local_provider.batches()}
    assert {each["batch_id"] for chunk in shown["chunks"] for each in chunk["submissions"]} == batches
    (failure,) = shown["failures"]
    assert failure["count"] == 2
    assert "500" in failure["reason"]
    assert shown["dead_letters"] == []
    states = [event["state"] for event in shown["events"] if event["subject"] == "job"]
    assert states == ["planning", "queued", "in_progress", "completed"]
    assert shown["job"]["cost_usd"] is not None

    text = run("jobs", "show", "1")
    assert "Attempts that brought no usable answer" in text
    for batch in batches:
        assert batch in text


def test_dead_letters_are_counted_by_reason(shop: Shop, run: Run, local_provider: LocalProvider) -> None:
    local_provider.fault("error_lines", share=1.0, code="invalid_request")
    with pytest.raises(OffpeakError):
        shop.buy(tickets(3))
    (dead,) = json.loads(run("jobs", "show", "1", "--json"))["dead_letters"]
    assert (dead["reason"], dead["count"]) == ("invalid_request_error", 3)
    assert "Dead letters" in run("jobs", "show", "1")


def test_a_partitioned_job_names_its_partitions(shop: Shop, run: Run) -> None:
    shop.buy(partitions={"monday": tickets(1), "tuesday": tickets(1, start=1)})
    assert "monday, tuesday" in run("jobs", "show", "1")


def test_an_approved_job_lets_the_same_plan_through(held: Shop, run: Run) -> None:
    assert held.quote(tickets(10), system="Another prompt.").surge is not None
    assert "materialise labels again" in run("jobs", "approve", "2")
    assert held.quote(tickets(10), system="Another prompt.").surge is None
    assert held.buy(tickets(10), system="Another prompt.").bought == 10


def test_what_is_not_held_cannot_be_approved(shop: Shop, run: Run) -> None:
    shop.buy(tickets(2))
    with pytest.raises(PlanError, match="completed, not held"):
        run("jobs", "approve", "1")
    with pytest.raises(NotFound, match="There is no job 9"):
        run("jobs", "approve", "9")
    with pytest.raises(NotFound, match="There is no job 9"):
        run("jobs", "show", "9")


def test_a_ledger_that_is_not_there_is_an_error_and_is_not_made(run: Run, place: Place) -> None:
    with pytest.raises(LedgerUnreadable, match="There is no ledger"):
        run("jobs", "--database-url", f"{place.url}-elsewhere")
    assert list(place.spool.parent.glob("*elsewhere*")) == []


def test_another_ledger_can_be_named(shop: Shop, run: Run, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.buy(tickets(1))
    monkeypatch.setenv("OFFPEAK_DATABASE_URL", "sqlite:///not-there.db")
    assert len(json.loads(run("jobs", "--database-url", place.url, "--json"))["jobs"]) == 1


def test_a_job_says_what_it_was_estimated_at_from_what_and_how_far_that_was_from_its_bill(shop: Shop, run: Run) -> None:
    shop.buy(tickets(20))
    receipt = shop.buy(tickets(40))
    first, second = (json.loads(run("jobs", "show", number, "--json"))["job"] for number in "12")
    assert first["estimated_from"] == "length, as nothing was bought before"
    assert second["estimated_from"] == "past usage of 20 requests"
    assert receipt.estimated_cost is not None
    assert second["estimate_usd"] == f"{receipt.estimated_cost.normalize():f}"
    assert second["estimate_error"] == receipt.estimate_error
    assert second["estimate_input_tokens"] > 0
    shown = run("jobs", "show", "2")
    assert f", from past usage of 20 requests: {abs(receipt.estimate_error or 0):.1%} too " in " ".join(shown.split())


def test_an_open_job_shows_its_estimate_and_no_error(shop: Shop, run: Run) -> None:
    shop.leave(tickets(3))
    job = json.loads(run("jobs", "show", "1", "--json"))["job"]
    assert (job["estimate_usd"] is None, job["estimate_error"]) == (False, None)
    assert "from length, as nothing was bought before" in run("jobs", "show", "1")
    assert "too high" not in run("jobs", "show", "1")


def test_a_job_that_is_held_for_its_price_says_so_and_not_the_surge_guard(shop: Shop, run: Run) -> None:
    with pytest.raises(BudgetExceeded):
        shop.buy(tickets(3), budget=declared_budget("labels", Budget(job="0.000001")))
    (job,) = json.loads(run("jobs", "--open", "--json"))["jobs"]
    assert job["condition"] == "held"
    assert job["why"].startswith("Over budget: labels is estimated at $0.000")
    shown = run("jobs", "--open")
    assert "Job 1 is held. Over budget: labels is estimated at" in shown
    assert "offpeak jobs approve 1" in shown
    assert "surge" not in shown + run("jobs", "show", "1")
    assert "Nothing is bought yet: materialise labels again." in run("jobs", "approve", "1")
