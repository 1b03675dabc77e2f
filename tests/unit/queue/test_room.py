"""No more is enqueued than there is room for: whoever asks, however many, and however long the account is full."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from multiprocessing import get_context

import pytest
import sqlalchemy as sa

from offpeak.ledger import queueing, submissions, tables
from offpeak.ledger.failing import named_limit
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.splitting import cut
from offpeak.ledger.states import ChunkState
from offpeak.queue import gate
from offpeak.queue.policy import QueuePolicy

from ...conftest import HeldClock, LocalProvider, Place, QuickClock, Shop, tickets, until
from .conftest import Account, count, states

MINI = "gpt-5-mini"


def enqueued(local_provider: LocalProvider) -> int:
    return sum(batch["outcome"] is None for batch in local_provider.batches())


# Claims


def claim_all(place: Place, base_url: str, numbers: list[int]) -> None:
    """Try to send every one of these jobs, once."""
    with place.open() as ledger:
        provider = LocalProvider(base_url).open("openai")
        shop = Shop(ledger, provider)
        for number in numbers:
            (chunk,) = submissions.of_job(ledger, number)
            gate.submit(ledger, shop.provider, chunk, now=datetime.now(UTC))
        provider.close()


def test_two_processes_never_send_more_together_than_there_is_room_for(
    any_place: Place, any_shop: Shop, account: Account, local_provider: LocalProvider
) -> None:
    any_shop.limit(open_batches=3)
    account.hold()
    jobs = [any_shop.begin(tickets(1, start=number), asset=f"asset_{number}") for number in range(10)]
    spawn = get_context("spawn")
    processes = [spawn.Process(target=claim_all, args=(any_place, local_provider.url, jobs)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert enqueued(local_provider) == 3
    assert states(any_shop.ledger) == ["open"] * 3 + ["queued"] * 7


def test_a_claim_stays_cheap_where_a_thousand_jobs_wait(full_shop: Shop) -> None:
    ledger = full_shop.ledger
    first = full_shop.begin(tickets(1))
    _multiply(ledger, first, 1_000)
    (chunk,) = submissions.of_job(ledger, first)
    took = []
    for _ in range(5):
        began = time.perf_counter()
        assert gate.submit(ledger, full_shop.provider, chunk, now=full_shop.clock.now()) is not None
        took.append(time.perf_counter() - began)
    assert min(took) < 0.25, f"{min(took) * 1000:.0f} ms"
    began = time.perf_counter()
    assert len(gate.waits(ledger, now=full_shop.clock.now())) == 1_000
    assert time.perf_counter() - began < 1.0


def _multiply(ledger: Ledger, job_id: int, to: int) -> None:
    """Make the ledger hold `to` jobs like this one, each with a queued chunk of its own."""
    with ledger.database.write() as connection:
        job = connection.execute(sa.select(tables.job).where(tables.job.c.id == job_id)).one()._mapping
        link = sa.select(tables.job_chunk.c.chunk_id).where(tables.job_chunk.c.job_id == job_id)
        chunk = connection.execute(sa.select(tables.chunk).where(tables.chunk.c.id.in_(link))).one()._mapping
        for number in range(1, to):
            another = {**job, "id": job["id"] + number, "asset": f"asset_{number}"}
            connection.execute(tables.job.insert().values(another))
            connection.execute(
                tables.chunk.insert().values({**chunk, "id": chunk["id"] + number, "stamp": 10_000 + number})
            )
            connection.execute(tables.job_chunk.insert().values(job_id=another["id"], chunk_id=chunk["id"] + number))


def test_creates_are_spread_over_the_hours(roomy: Shop, local_provider: LocalProvider) -> None:
    roomy.limit(creates_per_hour=2)
    began = roomy.clock.now()
    jobs = [roomy.begin(tickets(1, start=number), asset=f"asset_{number}") for number in range(5)]
    for number, job_id in enumerate(jobs):
        roomy.collect(job_id, asset=f"asset_{number}")
    assert roomy.clock.now() - began >= timedelta(hours=2)
    with roomy.ledger.database.read() as connection:
        sent = connection.execute(sa.select(tables.submission.c.create_at).order_by(tables.submission.c.id)).scalars()
        moments = list(sent)
    hour = timedelta(hours=1) / timedelta(microseconds=1)
    assert all(later - earlier >= hour for earlier, later in zip(moments, moments[2:], strict=False))
    assert local_provider.tally("openai")["batches_created"] == 5


def test_a_stream_of_important_jobs_does_not_starve_an_unimportant_one(roomy: Shop, account: Account) -> None:
    """Two important jobs come for each one that goes, and each takes an hour."""
    clock = HeldClock(datetime.now(UTC))
    roomy.ledger.clock = roomy.clock = clock  # type: ignore[assignment]
    roomy.limit(open_batches=1)
    low = roomy.begin(tickets(1), asset="low")
    waiting, number = {low: "low"}, 0
    for hour in range(14):
        for _ in range(2):
            number += 1
            asset = f"high_{number}"
            waiting[roomy.begin(tickets(1, start=number), asset=asset, queue=QueuePolicy(priority=5))] = asset
        clock.sleep(timedelta(hours=1))
        for job_id, asset in list(waiting.items()):
            roomy.work(job_id, asset=asset).hand_over(patience=timedelta(0))
        (sent,) = [
            job_id for job_id in waiting if submissions.of_job(roomy.ledger, job_id)[0].chunk_state.value == "open"
        ]
        account.let_go()
        roomy.collect(sent, asset=waiting.pop(sent))
        if sent == low:
            assert hour >= 5, "importance counted for nothing"
            return
    pytest.fail("the unimportant job was never sent")


def test_what_nobody_carries_on_keeps_no_place(full_shop: Shop, account: Account) -> None:
    left = full_shop.begin(tickets(1), asset="left", queue=QueuePolicy(priority=9))
    with full_shop.ledger.database.write() as connection:
        connection.execute(tables.job.update().where(tables.job.c.id == left).values(owner=None))
    job_id = full_shop.begin(tickets(1, start=5))
    account.let_go()
    full_shop.collect(1, asset="occupant")
    assert full_shop.collect(job_id).rows == 1


def test_a_batch_that_nobody_looks_at_takes_room_for_a_day_at_most(full_shop: Shop) -> None:
    job_id = full_shop.begin(tickets(1))
    (chunk,) = submissions.of_job(full_shop.ledger, job_id)
    now = full_shop.clock.now()
    assert chunk.chunk_id in gate.waits(full_shop.ledger, now=now + timedelta(hours=23))
    assert gate.waits(full_shop.ledger, now=now + timedelta(hours=25)) == {}


# A full account


def test_a_limit_that_the_provider_names_is_kept_and_what_can_never_fit_is_split(
    any_shop: Shop, local_provider: LocalProvider, account: Account
) -> None:
    any_shop.ledger.clock = any_shop.clock
    local_provider.settings(openai_enqueued_tokens=150)
    receipt = any_shop.buy(tickets(20))

    assert (receipt.rows, receipt.failed, receipt.dropped) == (20, 0, 0)
    account.bought_once(20)
    assert count(any_shop.ledger, ChunkState.SPLIT) >= 1
    assert queueing.most_tokens(any_shop.ledger, any_shop.provider.realm, MINI) == 150
    refused = [batch for batch in local_provider.batches() if batch["outcome"] == "failed"]
    assert len(refused) <= 6, "what is known not to fit was sent"


def test_no_chunk_is_written_that_is_larger_than_the_limit(roomy: Shop, local_provider: LocalProvider) -> None:
    roomy.limit(enqueued_tokens=500)
    roomy.buy(tickets(10))
    assert count(roomy.ledger, ChunkState.SPLIT) == 0
    with roomy.ledger.database.read() as connection:
        sizes = connection.execute(sa.select(tables.chunk.c.spool_bytes)).scalars().all()
    assert len(sizes) > 1
    assert all(queueing.tokens_of(size) <= 500 for size in sizes)


def test_a_named_limit_holds_for_a_day_and_a_smaller_configured_one_comes_first(roomy: Shop) -> None:
    clock = HeldClock(datetime(2026, 5, 1, tzinfo=UTC))
    roomy.ledger.clock = clock
    realm = roomy.provider.realm

    def most() -> int | None:
        return queueing.most_tokens(roomy.ledger, realm, MINI)

    queueing.note_full(roomy.ledger, realm, MINI, sent_at=clock.now(), limit=900)
    assert most() == 900
    roomy.limit(enqueued_tokens=2_000)
    assert most() == 900
    clock.sleep(timedelta(hours=25))
    assert most() == 2_000
    roomy.limit(enqueued_tokens=100)
    assert most() == 100
    roomy.limit()
    assert most() is None


def test_a_storm_loses_nothing_however_long_it_is_and_is_met_with_longer_and_longer_pauses(
    roomy: Shop, local_provider: LocalProvider, account: Account
) -> None:
    local_provider.fault("fail_validation", code="token_limit_exceeded", times=20)
    jobs = {
        roomy.begin(tickets(2, start=10 * number), asset=f"asset_{number}"): f"asset_{number}" for number in range(3)
    }
    began = roomy.clock.now()
    for job_id, asset in jobs.items():
        receipt = roomy.collect(job_id, asset=asset)
        assert (receipt.rows, receipt.failed, receipt.dropped) == (2, 0, 0)
    account.bought_once(6)
    assert local_provider.fired()["fail_validation"] == 20
    with roomy.ledger.database.read() as connection:
        query = sa.select(tables.submission.c.create_at).order_by(tables.submission.c.create_at)
        moments = connection.execute(query).scalars().all()
    pauses = [(later - earlier) / 60_000_000 for earlier, later in pairwise(moments[:20])]
    assert pauses[0] >= 2
    assert all(29 <= pause <= 40 for pause in pauses[8:18]), pauses
    assert roomy.clock.now() - began > timedelta(hours=6)


def test_an_account_that_was_full_is_tried_with_one_batch_and_the_others_follow_when_that_was_taken(
    roomy: Shop, local_provider: LocalProvider, account: Account
) -> None:
    local_provider.fault("fail_validation", code="token_limit_exceeded", times=1)
    works = [
        roomy.work(roomy.begin(tickets(1, start=number), asset=f"asset_{number}"), asset=f"asset_{number}")
        for number in range(3)
    ]

    def hand_over(*, after: timedelta) -> int:
        """The batches that were ever created, once every job has tried."""
        roomy.clock.sleep(after)
        for work in works:
            assert not work.hand_over(patience=timedelta(0))
        return len(local_provider.batches())

    works[0].hand_over(patience=timedelta(0))
    until(lambda: local_provider.batches()[0]["outcome"], what="the failure")
    account.hold()
    assert hand_over(after=timedelta(0)) == 1
    assert hand_over(after=timedelta(minutes=2)) == 2
    assert hand_over(after=timedelta(minutes=1)) == 2
    assert hand_over(after=timedelta(minutes=15)) == 4


def test_batches_that_were_on_their_way_when_the_account_was_full_count_once(roomy: Shop) -> None:
    clock = HeldClock(datetime(2026, 5, 1, tzinfo=UTC))
    roomy.ledger.clock = clock
    sent = clock.now()
    clock.sleep(timedelta(minutes=1))
    for _ in range(10):
        queueing.note_full(roomy.ledger, roomy.provider.realm, MINI, sent_at=sent, limit=None)
    with roomy.ledger.database.read() as connection:
        row = connection.execute(sa.select(tables.queue)).one()
    assert (row.full_times, row.full_until - row.full_at) == (1, 120_000_000)


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        (
            "Enqueued token limit reached for gpt-5-mini in organization org-x. Limit: 2,000,000 enqueued tokens. "
            "Please try again once some in_progress batches have been completed.",
            2_000_000,
        ),
        ("Limit: 90000 enqueued tokens", 90_000),
        ("Enqueued token limit reached.", None),
        ("Limit: 0 enqueued tokens", None),
    ],
)
def test_the_limit_is_read_from_the_providers_words(message: str, limit: int | None) -> None:
    assert named_limit(message) == limit


@pytest.mark.parametrize(
    ("most", "first", "parts"),
    [
        (100, None, [range(4)]),
        (50, None, [range(2), range(2, 4)]),
        (50, 20, [range(1), range(1, 3), range(3, 4)]),
        (5, None, [range(1), range(1, 2), range(2, 3), range(3, 4)]),
    ],
)
def test_a_file_is_cut_between_lines_and_a_line_that_is_too_large_stands_alone(
    most: int, first: int | None, parts: list[range]
) -> None:
    assert cut([0, 20, 40, 60], 80, most_bytes=most, first_bytes=first) == parts


# An outage


@contextmanager
def outage(local_provider: LocalProvider) -> Iterator[None]:
    for fault in ("create_500", "call_500", "realtime_500"):
        local_provider.fault(fault, status=503, times=None)
    try:
        yield
    finally:
        local_provider.call("DELETE", "/local/faults")


@pytest.mark.parametrize("any_place", ["postgres"], indirect=True)  # it takes long, and its SQL is seen elsewhere
def test_an_outage_of_hours_drops_nothing_and_what_waited_goes_in_order_afterwards(
    full_shop: Shop, account: Account, local_provider: LocalProvider
) -> None:
    ledger = full_shop.ledger
    clock = HeldClock(datetime.now(UTC))
    ledger.clock = full_shop.clock = clock  # type: ignore[assignment]
    drop = QueuePolicy(on_full="drop", priority=0)
    jobs = {
        full_shop.begin(tickets(2, start=10 * number), asset=f"asset_{number}", queue=replace(drop, priority=number)): (
            f"asset_{number}"
        )
        for number in range(3)
    }
    with outage(local_provider):
        for _ in range(6):
            for job_id, asset in jobs.items():
                assert not full_shop.work(job_id, asset=asset, queue=drop).hand_over(patience=timedelta(0))
            clock.sleep(timedelta(hours=1))
        assert count(ledger, ChunkState.DROPPED) == 0
    account.let_go()
    full_shop.collect(1, asset="occupant")

    full_shop.ledger.clock = full_shop.clock = QuickClock()
    order = []
    while jobs:
        for job_id, asset in list(jobs.items()):
            work = full_shop.work(job_id, asset=asset)
            work.hand_over(patience=timedelta(0))
            if submissions.of_job(ledger, job_id)[0].chunk_state is not ChunkState.QUEUED:
                order.append(asset)
                assert full_shop.collect(job_id, asset=asset).rows == 2
                del jobs[job_id]
    assert order == ["asset_2", "asset_1", "asset_0"]
    account.bought_once(7)
