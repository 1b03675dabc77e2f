"""One parked run holds the place of one original run, for all of its jobs, at any moment."""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from offpeak.errors import LedgerUnreadable
from offpeak.ledger import jobs, parked_runs, sightings, submissions, tables
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import JobState, ParkedState, SubmissionState
from offpeak.providers.base import Provider

from ...conftest import LocalProvider, Place, Shop, tickets, until

P = ParkedState
NONE = "0%: 0 of 1 requests"


@pytest.fixture
def shop(any_ledger: Ledger, open_account: Callable[..., Provider], local_provider: LocalProvider) -> Shop:
    """Leaves batches at a provider that does not end them."""
    local_provider.settings(latency_seconds=3600)
    return Shop(any_ledger, open_account())


def leave(shop: Shop, *assets: str) -> dict[int, str]:
    """Jobs at the provider, one for each asset."""
    return {shop.leave(tickets(1), asset=asset, system=f"Label for {asset}."): asset for asset in assets}


def hold(
    ledger: Ledger, number: int, held: Mapping[int, str], *, joining: int | None, origin: str = "origin", **more: Any
) -> Sequence[str] | None:
    return parked_runs.hold(
        ledger, number, origin_run_id=origin, jobs=held, joining=joining, **{"progress": NONE} | more
    )


def park(shop: Shop, run_id: str, job: int, asset: str, *, origin: str = "origin") -> int:
    """A parked run that holds the place of one job, the first of its origin."""
    number = intend(shop, run_id, origin=origin)
    assert hold(shop.ledger, number, {job: asset}, joining=job, origin=origin) == []
    return number


def intend(shop: Shop, run_id: str, *, origin: str = "origin", location: str = "here") -> int:
    return parked_runs.intend(shop.ledger, run_id=run_id, origin_run_id=origin, location=location)


def states(shop: Shop) -> dict[str, str]:
    with shop.ledger.database.read() as connection:
        rows = connection.execute(sa.select(tables.parked_run.c.run_id, tables.parked_run.c.state))
        return {row.run_id: row.state for row in rows}


def test_a_run_holds_a_place_only_once_it_is_there(shop: Shop) -> None:
    (job,) = leave(shop, "labels")
    number = intend(shop, "parked")
    assert parked_runs.members(shop.ledger, "origin") == {}
    assert parked_runs.job_of(shop.ledger, run_id="parked", asset="labels") is None

    assert hold(shop.ledger, number, {job: "labels"}, joining=job) == []
    assert parked_runs.members(shop.ledger, "origin") == {job: "labels"}
    assert parked_runs.job_of(shop.ledger, run_id="parked", asset="labels") == job
    (found,) = parked_runs.open_ones(shop.ledger)
    assert (found.id, found.run_id, found.origin_run_id, found.location) == (number, "parked", "origin", "here")
    assert (found.state, found.origin_ended, found.release_at, found.progress) == (
        P.WAITING,
        False,
        None,
        "0%: 0 of 1 requests",
    )
    assert found.jobs == {job: "labels"}


def test_a_second_step_of_the_run_brings_a_run_for_both_jobs_and_replaces_the_first(shop: Shop) -> None:
    one, two = leave(shop, "one", "two")
    park(shop, "first", one, "one")
    number = intend(shop, "second")
    both = {one: "one", two: "two"}

    assert hold(shop.ledger, number, both, joining=two) == ["first"]
    assert states(shop) == {"first": P.REPLACED, "second": P.WAITING}
    assert parked_runs.members(shop.ledger, "origin") == both
    assert parked_runs.job_of(shop.ledger, run_id="first", asset="one") is None
    assert parked_runs.job_of(shop.ledger, run_id="second", asset="one") == one


def test_a_step_that_did_not_know_of_another_begins_again_and_changes_nothing(shop: Shop) -> None:
    one, two = leave(shop, "one", "two")
    number = intend(shop, "second")
    park(shop, "first", one, "one")

    assert hold(shop.ledger, number, {two: "two"}, joining=two) is None
    assert states(shop) == {"second": P.REPLACED, "first": P.WAITING}
    assert parked_runs.members(shop.ledger, "origin") == {one: "one"}
    assert parked_runs.job_of(shop.ledger, run_id="second", asset="two") is None


def test_two_steps_that_park_in_the_same_moment_leave_one_run_that_holds_both_or_one_that_begins_again(
    shop: Shop, any_place: Place
) -> None:
    one, two = leave(shop, "one", "two")
    numbers = {one: intend(shop, "first"), two: intend(shop, "second")}
    begin = threading.Barrier(2)
    replaced: dict[int, object] = {}

    def step(job: int) -> None:
        with any_place.open() as ledger:
            begin.wait()
            replaced[job] = hold(ledger, numbers[job], {job: "asset"}, joining=job)

    threads = [threading.Thread(target=step, args=(job,)) for job in numbers]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert sorted(states(shop).values()) == [P.REPLACED, P.WAITING]
    assert sorted(replaced.values(), key=str) == [None, []]


@pytest.mark.parametrize("any_place", ["postgres"], indirect=True)
def test_another_step_waits_while_one_is_becoming_the_holder(shop: Shop, any_place: Place) -> None:
    """The first one has read who else is there, and is kept from writing: the second must not read the same.

    SQLite has one writer at a time.
    """
    one, two = leave(shop, "one", "two")
    numbers = {one: intend(shop, "first"), two: intend(shop, "second")}
    replaced: dict[int, object] = {}

    def step(job: int) -> None:
        with any_place.open() as ledger:
            replaced[job] = hold(ledger, numbers[job], {job: "asset"}, joining=job)

    threads = {job: threading.Thread(target=step, args=(job,)) for job in numbers}
    with shop.ledger.database.write() as connection:
        connection.execute(sa.select(tables.job.c.id).where(tables.job.c.id == one).with_for_update())
        threads[one].start()
        until(lambda: _waiting_for_a_lock(shop) == 1, what="the first step's wait for its job")
        threads[two].start()
        until(lambda: two in replaced or _waiting_for_a_lock(shop) == 2, what="the second step's end or wait")
        assert two not in replaced
    for each in threads.values():
        each.join(30)
    assert states(shop) == {"first": P.WAITING, "second": P.REPLACED}
    assert replaced == {one: [], two: None}


def _waiting_for_a_lock(shop: Shop) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with shop.ledger.database.read() as connection:
        return int(connection.execute(sa.text(query)).scalar_one())


def test_the_earliest_time_to_go_on_is_kept(shop: Shop) -> None:
    one, two, three = leave(shop, "one", "two", "three")
    now = shop.ledger.clock.now()
    held: dict[int, str] = {}
    for job, minutes in ((one, 20), (two, 10), (three, None)):
        held = {**held, job: "asset"}
        number = intend(shop, f"run {job}")
        release_at = None if minutes is None else now + timedelta(minutes=minutes)
        hold(shop.ledger, number, held, joining=job, release_at=release_at)
    (found,) = parked_runs.open_ones(shop.ledger)
    assert found.release_at == now + timedelta(minutes=10)
    assert set(found.jobs) == {one, two, three}


def test_a_run_goes_on_when_a_batch_that_it_waits_for_is_queued_again_by_another_job(shop: Shop) -> None:
    (job,) = leave(shop, "labels")
    park(shop, "parked", job, "labels")
    ready_at = shop.ledger.clock.now() + timedelta(minutes=4)
    (chunk,) = submissions.of_job(shop.ledger, job)

    submissions.requeue(shop.ledger, chunk, why="the account is full", ended=SubmissionState.REFUSED, ready_at=ready_at)

    (found,) = parked_runs.open_ones(shop.ledger)
    chunks = sightings.of_jobs(shop.ledger, [job])[job]
    assert found.why_now(chunks, ready_at - timedelta(seconds=1)) is None
    assert "sent again" in (found.why_now(chunks, ready_at) or "")


def test_a_run_may_take_over_without_a_new_job(shop: Shop) -> None:
    (job,) = leave(shop, "one")
    park(shop, "wide", job, "one")
    number = intend(shop, "narrow")
    held = hold(shop.ledger, number, {job: "one"}, joining=None, origin_ended=True)
    assert held == ["wide"]
    (found,) = parked_runs.open_ones(shop.ledger)
    assert (found.run_id, found.origin_ended) == ("narrow", True)


def test_runs_of_different_origins_do_not_mix(shop: Shop) -> None:
    one, two = leave(shop, "one", "two")
    park(shop, "first", one, "one", origin="monday")
    park(shop, "second", two, "two", origin="tuesday")
    assert parked_runs.members(shop.ledger, "monday") == {one: "one"}
    assert parked_runs.members(shop.ledger, "tuesday") == {two: "two"}
    assert set(states(shop).values()) == {P.WAITING}


def test_the_released_run_finds_its_job_by_asset_until_the_job_has_ended(shop: Shop) -> None:
    (one,) = leave(shop, "one")
    number = intend(shop, "run")
    hold(shop.ledger, number, {one: "one"}, joining=one)
    assert parked_runs.enter(shop.ledger, number, P.RELEASED, why="landed")
    assert parked_runs.job_of(shop.ledger, run_id="run", asset="one") == one
    assert parked_runs.job_of(shop.ledger, run_id="run", asset="two") is None
    assert parked_runs.job_of(shop.ledger, run_id="another", asset="one") is None
    jobs.close(shop.ledger, one, JobState.COMPLETED, why="a test")
    assert parked_runs.job_of(shop.ledger, run_id="run", asset="one") is None


@pytest.mark.parametrize("state", [P.ENDED, P.STOPPING])
def test_a_run_that_is_over_or_being_stopped_has_no_job_to_collect(shop: Shop, state: ParkedState) -> None:
    (job,) = leave(shop, "one")
    number = park(shop, "run", job, "one")
    parked_runs.enter(shop.ledger, number, state, why="a test")
    assert parked_runs.job_of(shop.ledger, run_id="run", asset="one") is None
    assert parked_runs.members(shop.ledger, "origin") == {}


def test_what_is_not_over_is_listed_oldest_first_with_its_open_jobs(shop: Shop) -> None:
    found = leave(shop, "intended", "waiting", "released", "stopping", "stopped", "ended")
    by_asset = {asset: job for job, asset in found.items()}
    numbers = {
        asset: park(shop, asset, job, asset, origin=f"origin of {asset}")
        for asset, job in by_asset.items()
        if asset != "intended"
    }
    numbers["intended"] = intend(shop, "intended", location="elsewhere")
    ways = {"released": [P.RELEASED], "stopping": [P.STOPPING], "stopped": [P.STOPPING, P.STOPPED], "ended": [P.ENDED]}
    for asset, way in ways.items():
        for state in way:
            assert parked_runs.enter(shop.ledger, numbers[asset], state, why="a test")
    jobs.close(shop.ledger, by_asset["released"], JobState.COMPLETED, why="a test")

    listed = {each.run_id: dict(each.jobs) for each in parked_runs.open_ones(shop.ledger)}
    assert listed == {
        "waiting": {by_asset["waiting"]: "waiting"},
        "released": {},
        "stopping": {by_asset["stopping"]: "stopping"},
        "intended": {},
    }
    assert list(listed) == ["waiting", "released", "stopping", "intended"]
    assert [each.run_id for each in parked_runs.open_ones(shop.ledger, location="elsewhere")] == ["intended"]


def test_the_run_of_a_job_is_told_even_when_it_is_over(shop: Shop) -> None:
    one, two = leave(shop, "one", "two")
    number = park(shop, "run", one, "one")
    parked_runs.enter(shop.ledger, number, P.ENDED, why="a test")
    found = parked_runs.of_job(shop.ledger, one)
    assert found is not None
    assert (found.run_id, found.state, dict(found.jobs)) == ("run", P.ENDED, {one: "one"})
    assert parked_runs.of_job(shop.ledger, two) is None
    assert parked_runs.of_job(shop.ledger, 99) is None


def test_runs_of_this_ledger_are_told_from_others(shop: Shop) -> None:
    (job,) = leave(shop, "one")
    number = park(shop, "run", job, "one")
    parked_runs.enter(shop.ledger, number, P.ENDED, why="a test")
    others = [f"other {index}" for index in range(1000)]
    assert parked_runs.known(shop.ledger, [*others, "run"]) == {"run": P.ENDED}
    assert parked_runs.known(shop.ledger, []) == {}


def test_a_state_is_entered_once_and_only_from_where_it_may_be(shop: Shop) -> None:
    (job,) = leave(shop, "one")
    number = intend(shop, "run")
    assert not parked_runs.enter(shop.ledger, number, P.RELEASED, why="too early")
    hold(shop.ledger, number, {job: "one"}, joining=job)
    assert parked_runs.enter(shop.ledger, number, P.RELEASED, why="landed")
    assert not parked_runs.enter(shop.ledger, number, P.RELEASED, why="again")
    with pytest.raises(LedgerUnreadable, match="cannot become 'waiting'"):
        hold(shop.ledger, number, {job: "one"}, joining=job)

    event = tables.event
    with shop.ledger.database.read() as connection:
        query = sa.select(event.c.state, event.c.why).where(event.c.subject == "parked_run").order_by(event.c.id)
        told = [tuple(row) for row in connection.execute(query)]
    assert told == [
        ("intended", "for run origin"),
        ("waiting", f"holds the place of jobs {job}"),
        ("released", "landed"),
    ]


def test_what_is_noted_of_runs_can_be_taken_back(shop: Shop) -> None:
    numbers = [intend(shop, f"run {index}", origin=f"origin {index}") for index in range(3)]
    at = shop.ledger.clock.now() + timedelta(hours=1)
    parked_runs.note(shop.ledger, numbers[:2], release_at=at, progress="5%", origin_ended=True)
    parked_runs.note(shop.ledger, numbers[:1], release_at=None)
    found = [(each.release_at, each.progress, each.origin_ended) for each in parked_runs.open_ones(shop.ledger)]
    assert found == [(None, "5%", True), (at, "5%", True), (None, None, False)]
