"""How jobs are getting on is read from the ledger alone, in a few queries however many they are."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from offpeak.clock import to_micros
from offpeak.errors import SurgeHeld
from offpeak.ledger import jobs, parked_runs, tables
from offpeak.ledger.claims import LEASE, Claimant
from offpeak.ledger.conditions import Condition
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.sightings import OVERDUE
from offpeak.ledger.states import JobState, ParkedState
from offpeak.ledger.watching import Timing, Watched, queue_depth, timings, watched
from offpeak.providers.base import Provider

from ...conftest import LocalProvider, Shop, tickets, until
from .test_sightings import ended, look, only, set_durations, settled_at, stay_out
from .test_submitting import HeldClock

H = timedelta(hours=1)
MIN = timedelta(minutes=1)


@pytest.fixture
def clock(any_ledger: Ledger) -> HeldClock:
    """The ledger's, held a day ago, so that whatever happens at the provider happens after it."""
    any_ledger.clock = held = HeldClock()
    held.forward(days=-1)
    return held


@pytest.fixture
def shop(any_ledger: Ledger, clock: HeldClock, open_account: Callable[..., Provider]) -> Shop:
    """Buys into each database in turn, by a clock that the test holds."""
    return Shop(any_ledger, open_account())


def other_account(shop: Shop, open_account: Callable[..., Provider]) -> Shop:
    """The same ledger, and another realm."""
    return Shop(shop.ledger, open_account("anthropic"), asset="elsewhere")


def now_watched(shop: Shop, *, later: timedelta = timedelta(0)) -> Watched:
    """The one open job."""
    (found,) = watched(shop.ledger, now=shop.ledger.clock.now() + later)
    return found


def gone() -> Claimant:
    """A process of this machine that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return replace(Claimant.this_process(), pid=process.pid)


def owned_by(shop: Shop, owner: Claimant) -> Shop:
    shop.ledger.claimant = owner
    return shop


def park(shop: Shop, *assets_of_jobs: tuple[int, str]) -> int:
    """One parked run for these jobs."""
    number = 0
    for count, (job, _) in enumerate(assets_of_jobs, start=1):
        number = parked_runs.intend(shop.ledger, run_id=f"parked {count}", origin_run_id="origin", location="here")
        parked_runs.hold(
            shop.ledger,
            number,
            origin_run_id="origin",
            jobs=dict(assets_of_jobs[:count]),
            joining=job,
            progress="0%: as shown on the run",
        )
    return number


def test_a_job_that_is_not_sent_yet_is_queued(shop: Shop) -> None:
    job = shop.begin(tickets(3))
    found = now_watched(shop)
    assert (found.job.id, found.condition, found.why) == (job, Condition.QUEUED, "")
    assert (found.requests, found.finished, found.batches, found.landed, found.applied) == (3, 0, 1, 0, 0)
    assert (found.submitted_at, found.elapsed, found.typical, found.parked) == (None, None, None, None)
    assert found.deadline_at == found.job.deadline_at


def test_a_batch_at_the_provider_is_told_with_its_progress_and_what_is_usual(
    shop: Shop, local_provider: LocalProvider, clock: HeldClock
) -> None:
    for start in (10, 20, 30):
        shop.buy(tickets(1, start=start))
    set_durations(shop, 3, 1, 2)
    stay_out(local_provider, share=0.5)
    job = shop.leave(tickets(4))
    submitted = clock.now()
    clock.forward(minutes=20)
    settled_at(shop, job, 2)

    found = now_watched(shop)
    assert (found.condition, found.requests, found.finished) == (Condition.RUNNING, 4, 2)
    assert (found.submitted_at, found.elapsed, found.typical) == (submitted, 20 * MIN, 2 * H)
    assert now_watched(shop, later=4 * H).condition is Condition.RUNNING_LONG


def test_a_run_that_waits_in_place_writes_its_progress_down_too(
    shop: Shop, local_provider: LocalProvider, clock: HeldClock
) -> None:
    stay_out(local_provider, share=0.5)
    job = shop.leave(tickets(4))
    waiting = threading.Thread(target=shop.collect, args=(job,))
    waiting.start()
    until(lambda: now_watched(shop).finished == 2, what="the progress")
    (batch,) = local_provider.batches()
    local_provider.heal(batch["id"])
    waiting.join(30)
    assert watched(shop.ledger, now=clock.now()) == []


def test_a_batch_that_has_ended_is_told_from_one_that_is_collected(
    shop: Shop, local_provider: LocalProvider, clock: HeldClock
) -> None:
    stay_out(local_provider)
    job = shop.leave(tickets(4))
    clock.forward(hours=1)
    ended(shop, local_provider, job)

    found = now_watched(shop, later=5 * MIN)
    assert found.condition is Condition.LANDED
    assert (found.finished, found.batches, found.landed, found.applied) == (4, 1, 1, 0)
    assert found.elapsed == 1 * H
    shop.collect(job)
    assert watched(shop.ledger, now=clock.now()) == []


def test_nothing_more_comes_of_a_batch_that_expired(shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("expire", share=0.5)
    job = shop.leave(tickets(4))

    def landed() -> bool:
        look(shop, job)
        return only(shop, job).landed

    until(landed, what="the batch's end")
    assert only(shop, job).finished == 2
    found = now_watched(shop)
    assert (found.condition, found.finished, found.requests) == (Condition.LANDED, 4, 4)


def test_what_goes_round_again_counts_again(shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("error_lines", share=0.5)
    job = shop.leave(tickets(4))
    stay_out(local_provider)
    work = shop.work(job, asset="labels")

    def again() -> bool:
        assert not work.hand_over()
        return now_watched(shop).batches == 2

    until(again, what="the second round")
    found = now_watched(shop)
    assert (found.applied, found.landed, found.condition) == (1, 0, Condition.RUNNING)
    assert (found.requests, found.finished) == (4 + 2, 4)


def test_a_batch_that_was_refused_counts_for_nothing(shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("fail_validation", code="model_mismatch")
    job = shop.begin(tickets(3))
    work = shop.work(job, asset="labels")
    until(work.hand_over, what="the refusal")
    found = now_watched(shop)
    assert (found.batches, found.requests, found.landed, found.applied) == (1, 0, 0, 0)


def test_a_job_past_its_deadline_is_late(shop: Shop, local_provider: LocalProvider) -> None:
    stay_out(local_provider)
    shop.leave(tickets(1), deadline=2 * H)
    left = now_watched(shop).deadline_at - shop.ledger.clock.now()
    assert now_watched(shop, later=left - MIN).condition is not Condition.LATE
    assert now_watched(shop, later=left + MIN).condition is Condition.LATE


def test_a_job_whose_process_is_gone_is_unattended_until_a_parked_run_holds_its_place(
    shop: Shop, local_provider: LocalProvider
) -> None:
    stay_out(local_provider)
    job = owned_by(shop, gone()).leave(tickets(1))
    found = now_watched(shop)
    assert found.condition is Condition.UNATTENDED
    assert found.why.startswith("its process is gone")

    park(shop, (job, "labels"))
    found = now_watched(shop)
    assert (found.condition, found.why) == (Condition.RUNNING, "")
    assert found.parked is not None
    assert (found.parked.run_id, found.parked.state) == ("parked 1", ParkedState.WAITING)
    assert found.parked.progress == "0%: as shown on the run"


def test_a_process_on_another_host_is_named_once_its_lease_is_over(shop: Shop, local_provider: LocalProvider) -> None:
    stay_out(local_provider)
    owned_by(shop, Claimant("worker-2", 1, 1)).leave(tickets(1))
    shop.ledger.claimant = Claimant.this_process()
    assert now_watched(shop, later=LEASE / 2).condition is Condition.RUNNING
    found = now_watched(shop, later=LEASE)
    assert found.condition is Condition.UNATTENDED
    assert "its process was on worker-2" in found.why


def test_a_landed_job_says_which_other_job_its_run_waits_for(
    shop: Shop, local_provider: LocalProvider, clock: HeldClock
) -> None:
    stay_out(local_provider)
    stay_out(local_provider)
    one = shop.leave(tickets(1), asset="one")
    two = shop.leave(tickets(1, start=1), asset="two")
    number = park(shop, (one, "one"), (two, "two"))
    ended(shop, local_provider, one)

    (found,) = watched(shop.ledger, now=clock.now(), asset="one")
    assert (found.condition, found.why) == (Condition.LANDED, f"its run also waits for job {two}")
    ended(shop, local_provider, two)
    (found,) = watched(shop.ledger, now=clock.now(), asset="one")
    assert (found.condition, found.why) == (Condition.LANDED, "")
    (found,) = watched(shop.ledger, now=clock.now() + H, asset="one")
    assert "its run is not released" in found.why
    parked_runs.enter(shop.ledger, number, ParkedState.RELEASED, why="landed")
    (found,) = watched(shop.ledger, now=clock.now() + H, asset="one")
    assert "its run has not collected it" in found.why


def test_a_job_whose_run_was_terminated_is_stopping(shop: Shop, local_provider: LocalProvider) -> None:
    stay_out(local_provider)
    job = owned_by(shop, gone()).leave(tickets(1))
    parked_runs.enter(shop.ledger, park(shop, (job, "labels")), ParkedState.STOPPING, why="terminated")
    assert now_watched(shop).condition is Condition.STOPPING


def test_what_the_provider_did_not_take_says_when_it_is_tried_again(shop: Shop, clock: HeldClock) -> None:
    job = shop.begin(tickets(1))
    number = park(shop, (job, "labels"))
    parked_runs.note(shop.ledger, [number], release_at=clock.now() + 5 * MIN)
    found = now_watched(shop)
    assert found.condition is Condition.QUEUED
    assert f"tried again at {clock.now() + 5 * MIN:%Y-%m-%d %H:%M:%S} UTC" in found.why


def test_a_held_job_is_open_and_says_why_it_is_held(shop: Shop) -> None:
    shop.buy(tickets(10))
    with pytest.raises(SurgeHeld):
        shop.buy(tickets(10), system="Another prompt.")
    found = now_watched(shop)
    assert found.condition is Condition.HELD
    assert found.why == found.job.reason
    assert "system" in found.why


def test_stuck_is_what_makes_no_progress_while_the_queue_of_its_account_grows(
    shop: Shop, local_provider: LocalProvider, clock: HeldClock, open_account: Callable[..., Provider]
) -> None:
    for _ in range(3):
        stay_out(local_provider)
    job = shop.leave(tickets(5))
    later = 7 * H

    def found() -> Watched:
        (mine,) = [each for each in watched(shop.ledger, now=clock.now() + later) if each.job.id == job]
        return mine

    assert found().condition is Condition.RUNNING_LONG
    clock.forward(minutes=10)
    other_account(shop, open_account).leave(tickets(9, start=5))
    assert found().condition is Condition.RUNNING_LONG
    behind = shop.leave(tickets(3, start=20), asset="behind")
    assert found().condition is Condition.STUCK
    assert "grown by 3 requests" in found().why
    ended(shop, local_provider, behind)
    assert found().condition is Condition.RUNNING_LONG


def test_a_queue_that_only_moves_on_has_not_grown(shop: Shop, local_provider: LocalProvider, clock: HeldClock) -> None:
    for _ in range(3):
        stay_out(local_provider)
    before = shop.leave(tickets(3, start=20), asset="before")
    clock.forward(minutes=10)
    job = shop.leave(tickets(5))
    clock.forward(minutes=10)
    shop.leave(tickets(2, start=30), asset="behind")
    conditions = {each.job.id: each.condition for each in watched(shop.ledger, now=clock.now() + 7 * H)}
    assert conditions[job] is Condition.STUCK
    ended(shop, local_provider, before)
    conditions = {each.job.id: each.condition for each in watched(shop.ledger, now=clock.now() + 7 * H)}
    assert conditions[job] is Condition.RUNNING_LONG


def test_open_jobs_are_listed_newest_first_and_by_asset(shop: Shop, clock: HeldClock) -> None:
    shop.buy(tickets(1))
    one = shop.begin(tickets(2), asset="one")
    two = shop.begin(tickets(3), asset="two")
    assert [each.job.id for each in watched(shop.ledger, now=clock.now())] == [two, one]
    assert [each.job.id for each in watched(shop.ledger, now=clock.now(), asset="one")] == [one]
    assert watched(shop.ledger, now=clock.now(), asset="labels") == []


@contextmanager
def statements(ledger: Ledger) -> Iterator[list[str]]:
    """The queries that are sent."""
    sent: list[str] = []

    def note(*given: object) -> None:
        sent.append(str(given[2]))

    sa.event.listen(ledger.database.engine, "before_cursor_execute", note)
    yield sent
    sa.event.remove(ledger.database.engine, "before_cursor_execute", note)


def test_more_jobs_need_no_more_queries(shop: Shop, clock: HeldClock) -> None:
    counts = []
    for start in (0, 10):
        for more in range(5):
            job = shop.begin(tickets(1, start=start + more))
            number = parked_runs.intend(
                shop.ledger, run_id=f"run {job}", origin_run_id=f"origin {job}", location="here"
            )
            parked_runs.hold(
                shop.ledger, number, origin_run_id=f"origin {job}", jobs={job: "labels"}, joining=job, progress=""
            )
        with statements(shop.ledger) as sent:
            assert len(watched(shop.ledger, now=clock.now())) == start // 2 + 5
        counts.append(len([each for each in sent if each.startswith("SELECT")]))
    assert counts[0] == counts[1] <= 12


def timing_of(shop: Shop, job_id: int) -> Timing:
    (found,) = timings(shop.ledger, ids=[job_id])
    return found


def test_a_closed_job_tells_where_its_time_went(shop: Shop, local_provider: LocalProvider, clock: HeldClock) -> None:
    stay_out(local_provider)
    created = clock.now()
    job = shop.begin(tickets(2))
    clock.forward(minutes=3)
    shop.work(job, asset="labels").hand_over()
    clock.forward(hours=2)
    ended(shop, local_provider, job)
    assert timing_of(shop, job) == Timing(
        job_id=job,
        asset="labels",
        state=JobState.IN_PROGRESS,
        created_at=created,
        submitted_at=created + 3 * MIN,
        ended_at=created + 3 * MIN + 2 * H,
        closed_at=None,
    )
    assert timings(shop.ledger, since=created) == []

    shop.collect(job)
    set_durations(shop, 2)
    with shop.ledger.database.write() as connection:
        closed = to_micros(created + 3 * MIN + 2 * H + 20 * MIN)
        connection.execute(tables.job.update().values(closed_at=closed))
    (found,) = timings(shop.ledger, since=created)
    assert (found.state, found.to_submit, found.at_provider) == (JobState.COMPLETED, 3 * MIN, 2 * H)
    assert found.to_collect == 20 * MIN


def test_only_jobs_that_closed_since_are_told_newest_first(shop: Shop, clock: HeldClock) -> None:
    ids = []
    for start in range(3):
        ids.append(shop.buy(tickets(1, start=start)).job_id)
        clock.forward(hours=1)
    shop.begin(tickets(1, start=9))
    closed_at = clock.now() - 2 * H
    assert [each.job_id for each in timings(shop.ledger, since=closed_at)] == [ids[2], ids[1]]
    assert [each.job_id for each in timings(shop.ledger, since=closed_at + MIN)] == [ids[2]]


def test_a_job_that_joins_a_batch_waits_at_the_provider_from_its_own_creation(
    shop: Shop, local_provider: LocalProvider, clock: HeldClock
) -> None:
    stay_out(local_provider)
    shop.leave(tickets(2), asset="one")
    clock.forward(hours=1)
    joined = clock.now()
    two = shop.leave(tickets(2), asset="two")
    assert len(local_provider.batches()) == 1
    found = timing_of(shop, two)
    assert (found.created_at, found.submitted_at, found.to_submit) == (joined, joined, timedelta(0))
    (mine,) = watched(shop.ledger, now=joined + 5 * MIN, asset="two")
    assert mine.elapsed == 5 * MIN


def test_a_job_with_nothing_to_buy_was_never_submitted(shop: Shop) -> None:
    shop.buy(tickets(1))
    found = timing_of(shop, shop.buy(tickets(1)).job_id)
    assert (found.submitted_at, found.ended_at) == (None, None)
    assert (found.to_submit, found.at_provider, found.to_collect) == (None, None, None)


def test_a_job_has_not_ended_while_one_of_its_batches_has_not(shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("error_lines", share=0.5)
    job = shop.leave(tickets(4))
    stay_out(local_provider)
    work = shop.work(job, asset="labels")

    def again() -> bool:
        work.hand_over()
        return now_watched(shop).batches == 2

    until(again, what="the second round")
    assert timing_of(shop, job).ended_at is None


def test_queue_depth_is_what_was_submitted_and_had_not_ended(
    shop: Shop, local_provider: LocalProvider, clock: HeldClock, open_account: Callable[..., Provider]
) -> None:
    for _ in range(3):
        stay_out(local_provider)
    begin = clock.now()
    clock.forward(hours=1)
    one = shop.leave(tickets(2), asset="one")
    clock.forward(hours=1)
    shop.leave(tickets(3, start=10), asset="two")
    other = other_account(shop, open_account)
    other.leave(tickets(7, start=20))
    clock.forward(hours=1)
    ended(shop, local_provider, one)

    depth = queue_depth(shop.ledger, since=begin, until=begin + 4 * H, steps=9)
    assert list(depth.at) == [begin + half * H / 2 for half in range(9)]
    assert depth.requests == {
        shop.provider.realm: [0, 0, 2, 2, 5, 5, 3, 3, 3],
        other.provider.realm: [0, 0, 0, 0, 7, 7, 7, 7, 7],
    }
    within = queue_depth(shop.ledger, since=begin + 1.5 * H, until=begin + 3.5 * H, steps=3)
    assert within.requests[shop.provider.realm] == [2, 5, 3]
    assert queue_depth(shop.ledger, since=begin, until=begin + 0.5 * H, steps=3).requests == {}


def test_a_batch_that_never_ends_counts_until_nobody_waits_for_it(
    shop: Shop, local_provider: LocalProvider, clock: HeldClock
) -> None:
    stay_out(local_provider)
    shop.leave(tickets(2))
    begin, days = clock.now(), OVERDUE
    depth = queue_depth(shop.ledger, since=begin, until=begin + 2 * days, steps=9)
    assert depth.requests == {shop.provider.realm: [2, 2, 2, 2, 0, 0, 0, 0, 0]}
    assert queue_depth(shop.ledger, since=begin + days, until=begin + 2 * days, steps=2).requests == {}


def test_batches_that_were_not_run_were_never_in_the_queue(
    shop: Shop, local_provider: LocalProvider, clock: HeldClock
) -> None:
    local_provider.fault("fail_validation", code="model_mismatch")
    job = shop.begin(tickets(3))
    until(shop.work(job, asset="labels").hand_over, what="the refusal")
    assert queue_depth(shop.ledger, since=clock.now() - H, until=clock.now() + H, steps=5).requests == {}


def test_reading_changes_nothing(shop: Shop, local_provider: LocalProvider, clock: HeldClock) -> None:
    stay_out(local_provider)
    job = shop.leave(tickets(2))
    look(shop, job)

    def rows() -> list[object]:
        with shop.ledger.database.read() as connection:
            return [tuple(row) for table in tables.metadata.sorted_tables for row in connection.execute(table.select())]

    before = rows()
    watched(shop.ledger, now=clock.now() + 9 * H)
    timings(shop.ledger, since=clock.now())
    queue_depth(shop.ledger, since=clock.now() - H, until=clock.now(), steps=5)
    assert rows() == before
    jobs.close(shop.ledger, job, JobState.CANCELLED, why="a test")
    assert rows() != before
