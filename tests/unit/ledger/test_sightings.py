"""What the provider's list shows is written down where it changed, and tells when a batch has ended."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from offpeak.clock import to_micros
from offpeak.ledger import sightings, tables
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.sightings import OVERDUE, OpenChunk
from offpeak.ledger.states import ChunkState, SubmissionState
from offpeak.ledger.submissions import CLOCK_SKEW
from offpeak.providers.base import BatchState, BatchView, Provider

from ...conftest import LocalProvider, Shop, tickets, until
from .test_submitting import HeldClock

H = timedelta(hours=1)


@pytest.fixture
def clock(any_ledger: Ledger) -> HeldClock:
    """The ledger's, held."""
    any_ledger.clock = held = HeldClock()
    return held


@pytest.fixture
def shop(any_ledger: Ledger, clock: HeldClock, open_account: Callable[..., Provider]) -> Shop:
    """Buys into each database in turn, by a clock that the test holds."""
    return Shop(any_ledger, open_account())


def stay_out(local_provider: LocalProvider, *, share: float = 0.0) -> None:
    """The next batch answers a share of its requests and does not end."""
    local_provider.fault("never_end", share=share)


def chunks_of(shop: Shop, job_id: int) -> list[OpenChunk]:
    return sightings.of_jobs(shop.ledger, [job_id])[job_id]


def listed(shop: Shop, *chunks: OpenChunk) -> dict[str, BatchView]:
    since = sightings.since(chunks)
    assert since is not None
    return {batch.id: batch for batch in shop.provider.batches(since=since)}


def look(shop: Shop, job_id: int) -> int:
    """One pass over the list; how many batches changed."""
    chunks = chunks_of(shop, job_id)
    return sightings.see(shop.ledger, chunks, listed(shop, *chunks))


def only(shop: Shop, job_id: int) -> OpenChunk:
    (found,) = chunks_of(shop, job_id)
    return found


def settled_at(shop: Shop, job_id: int, finished: int) -> OpenChunk:
    """The job's one chunk, once the list shows so many requests finished."""

    def seen() -> bool:
        look(shop, job_id)
        return only(shop, job_id).finished == finished

    until(seen, what=f"the end of {finished} requests")
    return only(shop, job_id)


def ended(shop: Shop, local_provider: LocalProvider, job_id: int) -> OpenChunk:
    """The job's one chunk, once the list shows its batch ended."""
    local_provider.heal(str(only(shop, job_id).batch_id))

    def seen() -> bool:
        look(shop, job_id)
        return only(shop, job_id).landed

    until(seen, what="the batch's end")
    return only(shop, job_id)


def test_a_chunk_is_told_with_what_is_known_of_its_batch(shop: Shop, local_provider: LocalProvider) -> None:
    stay_out(local_provider)
    chunk = only(shop, shop.leave(tickets(4)))
    (batch,) = local_provider.batches()
    assert (chunk.requests, chunk.chunk_state, chunk.state) == (4, ChunkState.OPEN, SubmissionState.CREATED)
    assert (chunk.batch_id, chunk.realm) == (batch["id"], shop.provider.realm)
    assert (chunk.seen_state, chunk.finished, chunk.progress_at, chunk.cancel_at) == (None, 0, None, None)
    assert (chunk.at_provider, chunk.landed, chunk.settled) == (True, False, False)
    assert chunk.submitted_at == chunk.create_at == shop.ledger.clock.now()


def test_progress_is_dated_when_it_is_seen_and_not_again(
    shop: Shop, local_provider: LocalProvider, clock: HeldClock
) -> None:
    stay_out(local_provider, share=0.5)
    job = shop.leave(tickets(4))
    clock.forward(minutes=10)
    seen = settled_at(shop, job, 2)
    assert seen.seen_state is BatchState.IN_PROGRESS
    assert seen.progress_at == clock.now()

    clock.forward(minutes=10)
    assert look(shop, job) == 0
    assert only(shop, job).progress_at == clock.now() - timedelta(minutes=10)


def test_a_batch_that_has_ended_has_landed_before_anybody_collects_it(
    shop: Shop, local_provider: LocalProvider
) -> None:
    stay_out(local_provider)
    job = shop.leave(tickets(4))
    settled_at(shop, job, 0)
    assert not only(shop, job).landed

    seen = ended(shop, local_provider, job)
    assert (seen.state, seen.seen_state, seen.finished) == (SubmissionState.CREATED, BatchState.COMPLETED, 4)
    assert (seen.at_provider, seen.landed, seen.settled) == (True, True, False)


def test_a_batch_that_was_collected_is_settled_and_not_looked_at_any_more(
    shop: Shop, local_provider: LocalProvider
) -> None:
    receipt = shop.buy(tickets(4))
    chunk = only(shop, receipt.job_id)
    assert (chunk.settled, chunk.landed, chunk.finished) == (True, True, 4)
    assert look(shop, receipt.job_id) == 0
    assert only(shop, receipt.job_id) == chunk


def test_a_list_that_does_not_show_a_batch_changes_nothing(shop: Shop, local_provider: LocalProvider) -> None:
    stay_out(local_provider)
    job = shop.leave(tickets(2))
    settled_at(shop, job, 0)
    before = only(shop, job)
    assert sightings.see(shop.ledger, [before], {}) == 0
    assert only(shop, job) == before


def test_a_chunk_that_is_not_at_the_provider_is_not_landed(shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("create_429", retry_after=1, times=None)
    job = shop.begin(tickets(2))
    chunk = only(shop, job)
    assert (chunk.chunk_state, chunk.state, chunk.batch_id) == (ChunkState.QUEUED, None, None)
    assert (chunk.at_provider, chunk.landed, chunk.finished) == (False, False, 0)
    assert sightings.since([chunk]) is None


def test_a_count_beyond_the_batch_is_no_progress(shop: Shop, local_provider: LocalProvider, clock: HeldClock) -> None:
    stay_out(local_provider)
    job = shop.leave(tickets(2))
    chunk = only(shop, job)
    (batch,) = listed(shop, chunk).values()
    lie = {batch.id: replace(batch, finished=batch.total + 7)}
    assert sightings.see(shop.ledger, [chunk], lie) == 1
    assert only(shop, job).finished == 2
    clock.forward(minutes=10)
    assert sightings.see(shop.ledger, [only(shop, job)], lie) == 0


def test_a_batch_counts_as_overdue_two_windows_after_its_submission(
    shop: Shop, local_provider: LocalProvider, clock: HeldClock
) -> None:
    stay_out(local_provider)
    job = shop.leave(tickets(2))
    submitted = clock.now()
    assert not only(shop, job).overdue(submitted + OVERDUE)
    assert only(shop, job).overdue(submitted + OVERDUE + timedelta(seconds=1))
    assert not ended(shop, local_provider, job).overdue(submitted + 2 * OVERDUE)


def test_a_chunk_that_two_jobs_wait_for_is_told_for_both(shop: Shop, local_provider: LocalProvider) -> None:
    stay_out(local_provider)
    one = shop.leave(tickets(2), asset="one")
    two = shop.leave(tickets(2), asset="two")
    found = sightings.of_jobs(shop.ledger, [one, two, 99])
    assert [chunk.chunk_id for chunk in found[one]] == [chunk.chunk_id for chunk in found[two]]
    assert [chunk.job_id for chunk in (*found[one], *found[two])] == [one, two]
    assert found[99] == []


def test_the_list_is_read_from_before_the_oldest_batch(
    shop: Shop, local_provider: LocalProvider, clock: HeldClock
) -> None:
    stay_out(local_provider)
    stay_out(local_provider)
    first = clock.now()
    one = shop.leave(tickets(2), asset="one")
    clock.forward(minutes=30)
    two = shop.leave(tickets(2, start=2), asset="two")
    chunks = [*chunks_of(shop, two), *chunks_of(shop, one)]
    assert sightings.since(chunks) == first - CLOCK_SKEW
    assert sightings.since([]) is None


def set_durations(shop: Shop, *hours: float) -> None:
    """Make the batches so far have taken so long, oldest first."""
    table = tables.submission
    with shop.ledger.database.write() as connection:
        rows = connection.execute(sa.select(table.c.id, table.c.submitted_at).order_by(table.c.id)).all()
        for row, took in zip(rows, hours, strict=True):
            micros = to_micros(shop.ledger.clock.now() + took * H) - to_micros(shop.ledger.clock.now())
            connection.execute(table.update().where(table.c.id == row.id).values(ended_at=row.submitted_at + micros))


def test_the_last_batches_of_an_asset_tell_how_long_the_next_takes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for start in range(3):
        shop.buy(tickets(1, start=start))
    shop.buy(tickets(1, start=3), asset="other")
    set_durations(shop, 1, 2, 3, 40)

    found = sightings.past_durations(shop.ledger, ["labels", "other", "unknown"])
    assert found == {"labels": [3 * H, 2 * H, 1 * H], "other": [40 * H], "unknown": []}
    monkeypatch.setattr(sightings, "REMEMBERED", 2)
    assert sightings.past_durations(shop.ledger, ["labels"]) == {"labels": [3 * H, 2 * H]}


def test_batches_that_did_not_complete_and_clocks_that_differ_do_not_count(
    shop: Shop, local_provider: LocalProvider
) -> None:
    local_provider.fault("expire", share=0.5)
    shop.buy(tickets(2))
    set_durations(shop, 24, -1)
    assert sightings.past_durations(shop.ledger, ["labels"]) == {"labels": [timedelta(0)]}
