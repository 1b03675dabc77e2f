"""Whatever looks at chunks and their files knows those whose requests are called one by one, as samples are."""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from offpeak.errors import CouldNotRead, SampleHeld, SampleRejected
from offpeak.faultpoints import FaultPoint, on_reach
from offpeak.ledger import adopting, cleaning, erasing, history, jobs, parked_runs, pruning, samples, sightings, tables
from offpeak.ledger.conditions import Condition
from offpeak.ledger.explaining import RowState, explain
from offpeak.ledger.lane import Lane
from offpeak.ledger.sampling import Sample
from offpeak.ledger.sightings import OVERDUE
from offpeak.ledger.states import ChunkState, JobState, ParkedState, SampleState, SubmissionState
from offpeak.ledger.watching import queue_depth, timings, watched

from ...conftest import LOG, LocalProvider, Place, Shop, tickets
from .test_pruning import in_a_month, names
from .test_watching import gone

ROWS = tickets(12)
THREE = Sample(rows=3)


class Stopped(BaseException):
    """Ends something as a kill would: nothing of the product catches it."""


@pytest.fixture
def calls_take(local_provider: LocalProvider) -> Iterator[Callable[[float], None]]:
    """Sets how many seconds pass until a call is answered."""

    def take(seconds: float) -> None:
        local_provider.settings(realtime_latency_seconds=seconds)

    yield take
    take(0.0)
    on_reach(None)


@pytest.fixture
def interrupted(any_shop: Shop, local_provider: LocalProvider, calls_take: Callable[[float], None]) -> Shop:
    """A shop whose job 1 is of a process that is gone: of the three calls of its sample one was answered."""

    def reached(point: FaultPoint) -> None:
        if point is FaultPoint.CALLS_RECORDED:
            raise Stopped

    local_provider.fault("realtime_429", retry_after=60, times=2)
    calls_take(0.3)
    here, any_shop.ledger.claimant = any_shop.ledger.claimant, gone()
    job_id = any_shop.begin(ROWS, sample=THREE)
    on_reach(reached)
    with pytest.raises(Stopped):
        any_shop.work(job_id, asset=any_shop.asset).hand_over()
    on_reach(None)
    calls_take(0.0)
    any_shop.ledger.claimant = here
    local_provider.call("DELETE", "/local/faults")
    return any_shop


def drawn(shop: Shop) -> sightings.OpenChunk:
    (found,) = [each for each in sightings.of_jobs(shop.ledger, [1])[1] if each.drawn_for]
    return found


def waiting(shop: Shop) -> Shop:
    """The shop, once the sample of its job 1 waits for somebody."""
    with pytest.raises(SampleHeld):
        shop.buy(ROWS, sample=THREE)
    return shop


# Conditions and progress


def test_it_is_running_with_its_count_and_at_no_provider(interrupted: Shop) -> None:
    chunk = drawn(interrupted)
    assert (chunk.calling, chunk.at_provider, chunk.landed) == (True, False, False)
    assert (chunk.finished, chunk.requests, chunk.batch_id) == (1, 3, None)
    assert not chunk.overdue(interrupted.ledger.clock.now() + 2 * OVERDUE)

    with_owner(interrupted, 1, str(interrupted.ledger.claimant))
    (found,) = watched(interrupted.ledger, now=interrupted.ledger.clock.now())
    assert (found.condition, found.why) == (Condition.RUNNING, "")
    assert (found.requests, found.finished) == (12, 1)
    assert (found.batches, found.landed, found.applied) == (1, 0, 0)
    assert found.submitted_at is not None


def with_owner(shop: Shop, job_id: int, owner: str) -> None:
    with shop.ledger.database.write() as connection:
        connection.execute(tables.job.update().where(tables.job.c.id == job_id).values(owner=owner))


def test_one_whose_process_is_gone_is_to_go_on(interrupted: Shop) -> None:
    (found,) = watched(interrupted.ledger, now=interrupted.ledger.clock.now())
    assert found.condition is Condition.UNATTENDED
    assert found.why.endswith("materialise the asset again to go on")


def test_it_waits_in_no_queue_of_the_account(any_shop: Shop) -> None:
    now = any_shop.ledger.clock.now
    began = now()
    waiting(any_shop)
    depth = queue_depth(any_shop.ledger, since=began - timedelta(hours=1), until=now(), steps=50)
    assert depth.requests == {}
    (timing,) = timings(any_shop.ledger, ids=[1])
    assert timing.submitted_at is not None
    assert sightings.past_durations(any_shop.ledger, ["labels"]) == {"labels": []}


def test_a_parked_run_goes_on_to_call_what_is_left(interrupted: Shop) -> None:
    number = parked_runs.intend(interrupted.ledger, run_id="parked", origin_run_id="origin", location="here")
    held = {"jobs": {1: "labels"}, "joining": 1, "progress": ""}
    parked_runs.hold(interrupted.ledger, number, origin_run_id="origin", **held)  # type: ignore[arg-type]
    (run,) = parked_runs.open_ones(interrupted.ledger)
    assert run.state is ParkedState.WAITING
    chunks = sightings.of_jobs(interrupted.ledger, [1])[1]
    assert run.why_now(chunks, interrupted.ledger.clock.now()) == "requests of it are to be called"


# Explaining


def test_a_row_that_was_called_tells_so_and_names_no_batch(any_shop: Shop) -> None:
    key = samples.rows(waiting(any_shop).ledger, 1)[0].keys[0]
    row = explain(any_shop.ledger, "labels", key)
    assert row.state is RowState.ANSWERED
    (attempt,) = row.attempts
    assert (attempt.answered, attempt.submission.called, attempt.custom_id) == (True, True, None)
    assert attempt.chunk.lane is Lane.BACKGROUND
    assert row.answer is not None
    assert row.answer.batch_id is None
    assert row.answer.cost_pico == row.answer.realtime_pico > 0
    assert key.lstrip("T0") in json.dumps(row.body)
    assert [each.state for each in row.events if each.subject == "submission"] == ["intended", "calling", "applied"]


def test_a_call_that_was_lost_and_made_again_shows_both_attempts(any_shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("realtime_reset", times=3)
    key = samples.rows(waiting(any_shop).ledger, 1)[0].keys[0]
    first, second = explain(any_shop.ledger, "labels", key).attempts
    assert first.failure is not None
    assert (first.failure.reason, first.failure.cost_pico) == ("possibly_paid_twice", 0)
    assert second.answered
    told = history.of_job(any_shop.ledger, 1)
    assert [(each.reason, each.count) for each in told.failures] == [("possibly_paid_twice", 3)]
    assert told.dead_letters == []


# A request file that cannot be read


def test_what_cannot_be_read_is_not_called_and_written_anew_by_the_next_plan(
    interrupted: Shop, local_provider: LocalProvider
) -> None:
    (spool,) = [each.spool for each in history.of_job(interrupted.ledger, 1).chunks if each.drawn_for]
    path = interrupted.ledger.spool / str(spool)
    path.write_bytes(path.read_bytes()[:-40])
    interrupted.ledger.spooled.clear()  # as in another process
    with pytest.raises(CouldNotRead):
        interrupted.collect(1)
    assert len(local_provider.answered()) == 1
    found = samples.get(interrupted.ledger, 1)
    assert found is not None
    assert found.state is SampleState.WITHDRAWN

    with pytest.raises(SampleHeld, match="0 of 3 sampled rows"):
        interrupted.buy(ROWS, sample=THREE)
    samples.approve(interrupted.ledger, 2, who="me")
    receipt = interrupted.buy(ROWS, sample=THREE)
    assert (receipt.rows, receipt.failed) == (12, 0)
    assert [each["answered"] for each in local_provider.answered()] == [1] * 12


# Erasing, adopting, housekeeping


def test_a_key_that_is_erased_is_gone_from_spool_and_ledger(any_shop: Shop) -> None:
    canary = "xyzzy-canary-text"
    rows = {key: f"{canary} {text}" for key, text in ROWS.items()}
    shop = Shop(any_shop.ledger, any_shop.provider, output=None)
    with pytest.raises(SampleHeld):
        shop.buy(rows, sample=THREE)
    for row in samples.rows(shop.ledger, 1):
        erasing.erase(shop.ledger, shop.asset, row.keys[0], who="a test")
    finished = erasing.finish(shop.ledger, [shop.provider])
    assert (finished.done, finished.on_their_way) == (3, 0)
    (spool,) = [each.spool for each in history.of_job(shop.ledger, 1).chunks if each.drawn_for]
    assert canary not in (shop.ledger.spool / str(spool)).read_text()
    with shop.ledger.database.read() as connection:
        assert connection.execute(sa.select(tables.answer.c.output)).scalars().all() == [None] * 3
        assert connection.execute(sa.select(tables.call)).all() == []
    samples.approve(shop.ledger, 1, who="me")
    assert shop.collect(1).rows == 9


def test_a_key_that_is_erased_while_it_is_called_goes_once_it_has_an_outcome(
    interrupted: Shop, local_provider: LocalProvider
) -> None:
    keys = [row.keys[0] for row in samples.rows(interrupted.ledger, 1)]
    erasing.erase(interrupted.ledger, interrupted.asset, keys[0], who="a test")
    assert erasing.finish(interrupted.ledger, [interrupted.provider]).on_their_way == 1
    with pytest.raises(SampleHeld):
        interrupted.collect(1)
    assert erasing.finish(interrupted.ledger, [interrupted.provider]).on_their_way == 0
    (spool,) = [each.spool for each in history.of_job(interrupted.ledger, 1).chunks if each.drawn_for]
    assert ROWS[keys[0]] not in (interrupted.ledger.spool / str(spool)).read_text()


def test_a_copy_that_is_set_apart_leaves_what_is_called_to_the_original(
    interrupted: Shop, local_provider: LocalProvider
) -> None:
    calls = local_provider.tally("openai")["realtime_calls"]
    adopted = adopting.set_apart(interrupted.ledger, who="me", although_at_home=True)
    assert (adopted.jobs, adopted.chunks, adopted.requests) == (1, 2, 12)
    told = history.of_job(interrupted.ledger, 1)
    assert told.job.state is JobState.CANCELLED
    assert {chunk.state for chunk in told.chunks} == {ChunkState.LEFT}
    (submission,) = [each for chunk in told.chunks for each in chunk.submissions]
    assert (submission.state, submission.called) == (SubmissionState.LEFT, True)
    found = samples.get(interrupted.ledger, 1)
    assert found is not None
    assert found.state is SampleState.WITHDRAWN
    assert local_provider.tally("openai")["realtime_calls"] == calls

    receipt = interrupted.buy(ROWS)  # what was answered before the copy is the copy's too
    assert (receipt.rows, receipt.reused, receipt.bought) == (12, 1, 11)


@pytest.mark.parametrize("any_place", ["sqlite"], indirect=True)  # a file is copied
def test_one_that_takes_the_originals_place_goes_on_calling(
    interrupted: Shop, place: Place, tmp_path: Path, local_provider: LocalProvider
) -> None:
    interrupted.ledger.database.checkpoint()
    folder = tmp_path / "copy"
    shutil.copytree(place.spool, folder / "spool")
    for path in place.spool.parent.glob("ledger.db*"):
        shutil.copy2(path, folder)
    with Place(f"sqlite:///{folder / 'ledger.db'}", folder / "spool").open() as copied:
        adopting.take_over(copied, who="me")
        shop = Shop(copied, interrupted.provider)
        with pytest.raises(SampleHeld):
            shop.collect(1)
        assert jobs.possibly_paid_twice(copied, 1) == 0
    assert [each["answered"] for each in local_provider.answered()] == [1] * 3


def test_its_files_go_as_those_of_batches_do(any_shop: Shop) -> None:
    waiting(any_shop)
    in_a_month(any_shop)
    assert len(names(any_shop.ledger)) == 2  # its job is open
    samples.reject(any_shop.ledger, 1, who="me")
    with pytest.raises(SampleRejected):
        any_shop.collect(1)
    assert in_a_month(any_shop).files == 1
    assert names(any_shop.ledger) == set()


def test_housekeeping_finds_nothing_of_it_at_the_provider(any_shop: Shop, local_provider: LocalProvider) -> None:
    waiting(any_shop)
    cleaned = cleaning.sweep(any_shop.ledger, any_shop.provider, log=LOG)
    assert (cleaned.batches, cleaned.uploads, cleaned.failed) == (0, 0, 0)


def test_files_of_one_that_is_still_called_stay(interrupted: Shop) -> None:
    before = names(interrupted.ledger)
    in_a_month(interrupted)
    pruning.sweep_folder(interrupted.ledger)
    assert names(interrupted.ledger) == before
    with pytest.raises(SampleHeld):
        interrupted.collect(1)
