"""Samples on the command line: who sees that one waits, and who says what becomes of the rest."""

import json
import re

import pytest

from offpeak.errors import NotFound, PlanError, SampleHeld, SampleRejected
from offpeak.ledger import samples
from offpeak.ledger.sampling import Sample

from ...conftest import LocalProvider, Shop, tickets
from .conftest import Run

ROWS = tickets(12)


@pytest.fixture
def waiting(shop: Shop) -> Shop:
    """A shop whose only job has a sample that waits for somebody."""
    with pytest.raises(SampleHeld):
        shop.buy(ROWS, sample=Sample(rows=3))
    return shop


def test_the_list_says_that_a_sample_waits_since_when_and_what_can_be_done(waiting: Shop, run: Run) -> None:
    told = run("jobs")
    assert "awaiting approval" in told
    assert "Job 1 of labels: 9 requests wait for approval of its sample since 20" in told
    assert "If it is right: offpeak jobs approve 1; if not: offpeak jobs reject 1" in told
    (job,) = json.loads(run("jobs", "--open", "--json"))["jobs"]
    assert (job["state"], job["condition"]) == ("in_progress", "awaiting_approval")


def test_one_job_shows_what_came_of_its_sample_and_the_events(waiting: Shop, run: Run) -> None:
    told = run("jobs", "show", "1")
    assert "3 requests, waiting since 20" in told
    assert ": 0 without a usable answer, $0.000" in told
    assert "called" in told
    assert "9 held, about $0.000" in told
    sample = json.loads(run("jobs", "show", "1", "--json"))["sample"]
    assert (sample["id"], sample["state"], sample["requests"], sample["rest"]) == (1, "waiting", 3, 9)
    # three times as many, at half the price
    assert float(sample["rest_usd"]) == pytest.approx(1.5 * float(sample["cost_usd"]))
    run("jobs", "approve", "1")
    events = json.loads(run("jobs", "show", "1", "--json"))["events"]
    (released,) = [each for each in events if (each["subject"], each["state"]) == ("sample", "released")]
    assert released["who"].endswith(", offpeak jobs approve")


def test_a_row_that_was_called_names_no_batch(waiting: Shop, run: Run) -> None:
    key = waiting.frame()["key"][0]
    told = run("explain", "labels", key)
    assert "Attempt 1: answered" in told
    assert "called by itself" in told
    assert "by itself, at the realtime endpoint" in told
    assert re.search(r"request \d of 3 in chunk", told)
    assert not re.search(r"None|no batch|custom_id|batch_", told)
    document = json.loads(run("explain", "labels", key, "--json"))
    assert [(each["custom_id"], each["submission"]["called"]) for each in document["attempts"]] == [(None, True)]
    held = next(key for key in ROWS if key not in set(waiting.frame()["key"]))
    assert "It is not sent yet; it stands in chunk" in run("explain", "labels", held)


def test_the_list_counts_what_was_called_apart_from_batches(waiting: Shop, run: Run) -> None:
    assert "2: 1 called" in run("jobs")
    assert "Batches and calls" in run("jobs", "show", "1")
    (job,) = json.loads(run("jobs", "--json"))["jobs"]
    assert (job["chunks"], job["called"], job["applied"], job["batch_ids"]) == (2, 1, 0, [])
    assert (job["progress"]["batches"], job["progress"]["applied"]) == (1, 0)
    samples.approve(waiting.ledger, 1, who="me")
    waiting.collect(1)
    assert "2: 1 called, 1 applied" in run("jobs")


def test_approval_says_how_it_goes_on(waiting: Shop, run: Run, local_provider: LocalProvider) -> None:
    said = run("jobs", "approve", "1")
    assert "The sample of job 1 of labels is approved: 9 requests are released." in said
    assert "To buy them, materialise labels again." in said
    assert len(local_provider.answered()) == 3
    assert waiting.buy(ROWS).rows == 12
    with pytest.raises(PlanError, match=r"has a sample, but it is released already\. Nothing was approved\."):
        run("jobs", "approve", "1")


def test_rejection_ends_the_job_that_no_run_holds_the_place_of(
    waiting: Shop, run: Run, local_provider: LocalProvider
) -> None:
    assert "9 requests are not bought" in run("jobs", "reject", "1")
    (job,) = json.loads(run("jobs", "--json"))["jobs"]
    assert (job["state"], job["condition"]) == ("cancelled", None)
    assert float(job["cost_usd"]) > 0
    assert len(local_provider.answered()) == 3
    with pytest.raises(SampleRejected):
        waiting.collect(1)
    with pytest.raises(PlanError, match=r"it is rejected already\. Nothing was rejected\."):
        run("jobs", "reject", "1")


def test_what_has_no_sample_cannot_be_rejected(shop: Shop, run: Run) -> None:
    with pytest.raises(NotFound, match=r"There is no job 3\. Nothing was rejected\."):
        run("jobs", "reject", "3")
    shop.buy(tickets(2))
    with pytest.raises(PlanError, match=r"has no sample that waits for anybody\. Nothing was rejected\."):
        run("jobs", "reject", "1")
    with pytest.raises(PlanError, match="not held"):
        run("jobs", "approve", "1")
