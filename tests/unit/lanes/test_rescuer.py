"""What the ledger says of open work, how fast a model can be called, and whose turn it is."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from offpeak.clock import to_micros
from offpeak.errors import OutcomeUnknown
from offpeak.lanes.landing import ASSUMED_PER_MINUTE
from offpeak.lanes.rescue import RescueTerms
from offpeak.lanes.rescuer import outlook, rate_of
from offpeak.ledger import chunking, limits_seen, reconciling, rescuing, submissions, tables
from offpeak.ledger.claims import Claimant
from offpeak.ledger.deadline import OnDeadline
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import ChunkState
from offpeak.providers.base import Provider
from offpeak.providers.realtime import Measure

from ...conftest import LocalProvider, Place, QuickClock, Shop, tickets

H, MIN = timedelta(hours=1), timedelta(minutes=1)
TERMS = RescueTerms()


@pytest.fixture
def kiosk(any_place: Place, open_account: Callable[..., Provider], local_provider: LocalProvider) -> Iterator[Shop]:
    """Ten requests a batch, none of which ends. The ledger goes by the shop's clock."""
    local_provider.fault("never_end", times=None)
    clock = QuickClock()
    with Ledger.open(any_place.url, spool_dir=any_place.spool, clock=clock) as ledger:
        yield Shop(ledger, open_account(max_requests=10), clock=clock)


@pytest.fixture
def other_process() -> Iterator[str]:
    """A living process other than this one, as a claim names it."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    import psutil

    this = Claimant.this_process()
    yield str(Claimant(this.host, process.pid, round(psutil.Process(process.pid).create_time())))
    process.kill()
    process.wait()


def rate(shop: Shop) -> Any:
    return rate_of(shop.ledger, realm=shop.provider.realm, model="gpt-5-mini")


def allow(shop: Shop, requests: int, tokens: int | None = None) -> None:
    limits = {Measure.REQUESTS: float(requests)} | ({} if tokens is None else {Measure.TOKENS: float(tokens)})
    limits_seen.remember(shop.ledger, realm=shop.provider.realm, model="gpt-5-mini", limits=limits)


def test_all_open_jobs_with_a_rescue_have_one_last_safe_moment(kiosk: Shop) -> None:
    allow(kiosk, 10)  # ten requests take a minute, and one in ten goes round again
    kiosk.leave(tickets(10), deadline=12 * H)
    alone = outlook(kiosk.ledger, TERMS, now=kiosk.clock.now()).moment
    kiosk.leave(tickets(20, start=10), asset="others", deadline=12 * H)
    together = outlook(kiosk.ledger, TERMS, now=kiosk.clock.now()).moment
    assert alone is not None
    assert together is not None
    assert 1.9 * MIN < alone - together < 2.5 * MIN


def test_a_job_without_a_rescue_and_one_of_another_model_have_no_part_in_it(kiosk: Shop) -> None:
    kiosk.leave(tickets(10), deadline=12 * H, on_deadline=OnDeadline.SERVE_LAST_GOOD)
    assert outlook(kiosk.ledger, TERMS, now=kiosk.clock.now() + 20 * H).moment is None
    assert not outlook(kiosk.ledger, TERMS, now=kiosk.clock.now() + 20 * H).give_up
    kiosk.leave(tickets(10, start=10), asset="others", deadline=12 * H)
    (job,) = {each.chunk_id for each in rescuing.open_work(kiosk.ledger)}
    assert outlook(kiosk.ledger, TERMS, now=kiosk.clock.now() + 12 * H).give_up == {job}


def test_a_job_that_nobody_carries_on_has_no_part_in_it(kiosk: Shop) -> None:
    job_id = kiosk.leave(tickets(10), deadline=12 * H)
    with kiosk.ledger.database.write() as connection:
        connection.execute(tables.job.update().where(tables.job.c.id == job_id).values(owner="elsewhere#1@1"))
    assert len(rescuing.open_work(kiosk.ledger)) == 1  # a process of another host is believed for a while
    assert isinstance(kiosk.clock, QuickClock)
    kiosk.clock.jump(12 * H)
    assert rescuing.open_work(kiosk.ledger) == []


def test_a_batch_that_was_seen_to_end_is_not_given_up(kiosk: Shop) -> None:
    kiosk.leave(tickets(10), deadline=12 * H)
    with kiosk.ledger.database.write() as connection:
        connection.execute(tables.submission.update().values(seen_state="finalizing"))
    assert not outlook(kiosk.ledger, TERMS, now=kiosk.clock.now() + 12 * H).give_up


def test_the_rate_is_what_was_allowed_last_or_less_where_calls_were_slower(kiosk: Shop) -> None:
    assert (rate(kiosk).requests, rate(kiosk).tokens) == (ASSUMED_PER_MINUTE, None)
    allow(kiosk, 600, 90_000)
    assert (rate(kiosk).requests, rate(kiosk).tokens) == (600, 90_000)
    called(kiosk, requests=300, minutes=2)
    assert rate(kiosk).requests == 150
    called(kiosk, requests=5_000, minutes=1)
    assert rate(kiosk).requests == 600  # never more than was allowed
    called(kiosk, requests=rescuing.FEWEST_CALLS - 1, minutes=60)
    assert rate(kiosk).requests == 600  # so few say nothing


def called(shop: Shop, *, requests: int, minutes: int) -> None:
    """A chunk that was called so fast."""
    now, each = to_micros(shop.clock.now()), shop.ledger.next_submission()
    with shop.ledger.database.write() as connection:
        values = {"state": "applied", "realm": shop.provider.realm, "kind": "chat", "model": "gpt-5-mini", "attempt": 1}
        values |= {"requests": requests, "stamp": each, "spool_bytes": 1, "sha256": "", "created_at": now}
        (chunk,) = connection.execute(
            tables.chunk.insert().values(values | {"lane": Lane.BACKGROUND.value})
        ).inserted_primary_key or (0,)
        ended = now + minutes * 60_000_000
        connection.execute(
            tables.submission.insert().values(
                id=each, chunk_id=chunk, state="applied", owner="", intended_at=now, submitted_at=now, ended_at=ended
            )
        )


def test_what_is_due_sooner_is_called_first_by_whoever_calls_it(kiosk: Shop, other_process: str) -> None:
    sooner = kiosk.begin(tickets(5), deadline=12 * H)
    later = kiosk.begin(tickets(5, start=5), asset="others", deadline=13 * H)
    (first,), (second,) = (submissions.of_job(kiosk.ledger, job) for job in (sooner, later))
    for each in (first, second):
        assert rescuing.give_up(kiosk.ledger, each, why="a test")
    (first,), (second,) = (submissions.of_job(kiosk.ledger, job) for job in (sooner, later))
    assert rescuing.turn(kiosk.ledger, second)
    call(kiosk, first, owner=other_process)
    assert not rescuing.turn(kiosk.ledger, second)
    call(kiosk, first, owner="elsewhere#1@1", minutes_ago=20)  # whoever had it is gone
    assert rescuing.turn(kiosk.ledger, second)
    call(kiosk, second, owner=other_process)
    assert rescuing.turn(kiosk.ledger, first)


def call(shop: Shop, chunk: submissions.Submission, *, owner: str, minutes_ago: int = 0) -> None:
    """Have a chunk be called by somebody."""
    at = to_micros(shop.clock.now() - minutes_ago * MIN)
    with shop.ledger.database.write() as connection:
        connection.execute(tables.chunk.update().where(tables.chunk.c.id == chunk.chunk_id).values(state="open"))
        connection.execute(sa.delete(tables.submission).where(tables.submission.c.id == chunk.stamp))
        connection.execute(
            tables.submission.insert().values(
                id=chunk.stamp, chunk_id=chunk.chunk_id, state="calling", owner=owner, intended_at=at
            )
        )


def test_what_is_given_up_before_it_was_sent_goes_to_the_background_lane_once(kiosk: Shop) -> None:
    (chunk,) = submissions.of_job(kiosk.ledger, kiosk.begin(tickets(5), deadline=12 * H))
    assert rescuing.give_up(kiosk.ledger, chunk, why="a test")
    assert not rescuing.give_up(kiosk.ledger, chunk, why="a test")
    (again,) = submissions.of_chunks(kiosk.ledger, [chunk.chunk_id])
    assert (again.lane, again.rescued) == (Lane.BACKGROUND, True)


def test_what_is_given_up_and_turns_out_never_to_have_been_sent_goes_to_the_background_lane(
    kiosk: Shop, local_provider: LocalProvider
) -> None:
    (chunk,) = submissions.of_job(kiosk.ledger, kiosk.begin(tickets(5), deadline=12 * H))
    local_provider.fault("create_reset")
    with pytest.raises(OutcomeUnknown):
        submissions.submit(kiosk.ledger, kiosk.provider, chunk)
    (unknown,) = submissions.of_chunks(kiosk.ledger, [chunk.chunk_id])
    assert rescuing.give_up(kiosk.ledger, unknown, why="a test")
    assert reconciling.reconcile(kiosk.ledger, kiosk.provider, unknown, list_lag=timedelta(0))
    (again,) = submissions.of_chunks(kiosk.ledger, [chunk.chunk_id])
    assert (again.chunk_state, again.lane, again.rescued) == (ChunkState.QUEUED, Lane.BACKGROUND, True)
    assert local_provider.batches() == []


@pytest.mark.parametrize(
    "message",
    [
        "Enqueued token limit reached.",  # the whole is sent again
        "Enqueued token limit reached for gpt-5-mini in organization o. Limit: 400 enqueued tokens.",  # in parts
    ],
)
def test_what_fails_as_a_batch_after_it_was_given_up_is_called(
    kiosk: Shop, local_provider: LocalProvider, message: str
) -> None:
    local_provider.call("DELETE", "/local/faults")
    local_provider.fault("fail_validation", code="token_limit_exceeded", message=message)
    job_id = kiosk.begin(tickets(10), deadline=12 * H)
    (queued,) = submissions.of_job(kiosk.ledger, job_id)
    submissions.submit(kiosk.ledger, kiosk.provider, queued)
    (sent,) = submissions.of_job(kiosk.ledger, job_id)
    assert rescuing.give_up(kiosk.ledger, sent, why="a test")
    assert kiosk.collect(job_id).rows == 10
    assert len(local_provider.batches()) == 1
    assert {each.lane for each in submissions.of_job(kiosk.ledger, job_id)} == {Lane.BACKGROUND}


def test_many_requests_are_several_batches_of_different_sizes(
    any_ledger: Any, open_account: Callable[..., Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunking, "UNDIVIDED", 300)
    shop = Shop(any_ledger, open_account())
    small, large = shop.begin(tickets(300), asset="small"), shop.begin(tickets(3_000, start=300), asset="large")
    (whole,) = submissions.of_job(shop.ledger, small)
    sizes = [each.requests for each in submissions.of_job(shop.ledger, large)]
    assert whole.requests == 300
    assert sum(sizes) == 3_000
    assert max(sizes) <= 3_000 / 4
    assert len(set(sizes)) == len(sizes)
