"""Who may be sent is decided by what is enqueued, how important each is, and how long it has waited."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from offpeak.ledger.queueing import Limits, Queue, Waiting
from offpeak.queue.admission import Place, Shortage, in_words, order, places

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
H = timedelta(hours=1)


def chunk(chunk_id: int, tokens: int = 100, *, priority: int = 0, waited: timedelta = H * 0, due: int = 12) -> Waiting:
    return Waiting(chunk_id=chunk_id, tokens=tokens, priority=priority, since=NOW - waited, due_at=NOW + due * H)


def queue(*waiting: Waiting, tokens: int = 0, batches: int = 0, creates: int = 0, **limits: int) -> Queue:
    return Queue(
        realm="openai:api",
        model="m",
        limits=Limits(**limits),
        tokens=tokens,
        batches=batches,
        creates=creates,
        full_until=None,
        probing=False,
        waiting=waiting,
    )


def admitted(found: Queue) -> list[int]:
    return [chunk_id for chunk_id, place in places(found, NOW).items() if place.admitted]


def test_the_more_important_goes_first_then_the_sooner_due_then_the_older() -> None:
    waiting = [chunk(4), chunk(3, due=2), chunk(2, priority=1), chunk(1)]
    assert [each.chunk_id for each in order(waiting, NOW)] == [2, 3, 1, 4]


def test_an_hour_of_waiting_is_worth_a_step_of_priority() -> None:
    old = chunk(1, waited=5 * H)
    assert [each.chunk_id for each in order([chunk(2, priority=6), old], NOW)] == [2, 1]
    assert [each.chunk_id for each in order([chunk(2, priority=5), old], NOW)] == [1, 2]
    assert [each.chunk_id for each in order([chunk(2, priority=4), old], NOW)] == [1, 2]


def test_a_chunk_without_a_deadline_goes_after_those_that_have_one() -> None:
    assert [each.chunk_id for each in order([replace(chunk(1), due_at=None), chunk(2)], NOW)] == [2, 1]


@pytest.mark.parametrize(
    ("found", "sent"),
    [
        (queue(chunk(1), chunk(2), chunk(3)), [1, 2, 3]),
        (queue(chunk(1), chunk(2), chunk(3), enqueued_tokens=250), [1, 2]),
        (queue(chunk(1), chunk(2), tokens=100, enqueued_tokens=200), [1]),
        (queue(chunk(1), chunk(2), chunk(3), batches=1, open_batches=3), [1, 2]),
        (queue(chunk(1), chunk(2), chunk(3), creates=9, creates_per_hour=10), [1]),
        (queue(chunk(1), batches=3, open_batches=3), []),
    ],
)
def test_what_is_admitted_fits_all_together(found: Queue, sent: list[int]) -> None:
    assert admitted(found) == sent


def test_what_is_more_important_keeps_the_room_that_it_waits_for() -> None:
    large, small = chunk(1, 900, priority=1), chunk(2, 50)
    assert admitted(queue(large, small, tokens=500, enqueued_tokens=1_000)) == []
    assert admitted(queue(small, tokens=500, enqueued_tokens=1_000)) == [2]


def test_what_is_larger_than_the_limit_by_itself_goes_alone() -> None:
    assert admitted(queue(chunk(1, 500), chunk(2), enqueued_tokens=200)) == [1]
    assert admitted(queue(chunk(1, 500), tokens=1, enqueued_tokens=200)) == []


def test_room_for_a_part_is_the_first_ones_alone() -> None:
    found = places(queue(chunk(1, 300), chunk(2, 300), tokens=800, enqueued_tokens=1_000), NOW)
    assert (found[1].free_tokens, found[2].free_tokens) == (200, 0)


def test_nothing_is_sent_while_the_account_is_said_to_be_full_and_one_at_a_time_after_that() -> None:
    full = replace(queue(chunk(1), chunk(2)), probing=True)
    assert admitted(replace(full, full_until=NOW + H)) == []
    assert admitted(full) == [1]


@pytest.mark.parametrize(
    ("found", "place", "words"),
    [
        (
            queue(tokens=1_900_000, enqueued_tokens=2_000_000),
            Place(admitted=False, shortage=Shortage.TOKENS, ahead=3),
            "waits for room: 1,900,000 of 2,000,000 tokens are enqueued for openai/m, 3 are ahead",
        ),
        (
            queue(batches=50, open_batches=50),
            Place(admitted=False, shortage=Shortage.BATCHES, ahead=1),
            "waits for room: 50 of 50 batches are open for openai/m, 1 batch is ahead",
        ),
        (
            queue(creates=2_000, creates_per_hour=2_000),
            Place(admitted=False, shortage=Shortage.CREATES),
            "waits for room: 2,000 of 2,000 batches were created for openai/m this hour",
        ),
        (
            replace(queue(), full_until=NOW),
            Place(admitted=False, shortage=Shortage.ACCOUNT),
            "waits for room: the account is full for openai/m, by the provider's word; it is tried again at "
            "2026-05-01 12:00 UTC",
        ),
    ],
)
def test_why_it_waits_is_said_with_the_figures(found: Queue, place: Place, words: str) -> None:
    assert in_words(found, place) == words
