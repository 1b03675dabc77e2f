"""The outbox: a notice is written once, delivered by one process at a time, and tried again within bounds."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from offpeak.ledger import notices, tables
from offpeak.ledger.claims import Claimant
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.notices import MOST_ATTEMPTS, Claimed, Notice
from offpeak.ledger.notify import NoticeKind
from offpeak.ledger.states import NoticeState

from ...conftest import HeldClock, Place

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
FAILED = Notice(
    name="failed/labels/1",
    kind=NoticeKind.FAILED,
    asset="labels",
    title="labels has not landed",
    body="Job 1 of labels ended.",
    destinations=("ops", "support"),
)


@pytest.fixture
def clock(any_ledger: Ledger) -> HeldClock:
    held = HeldClock(NOW)
    any_ledger.clock = held
    return held


def claim(ledger: Ledger, *assets: str, most: int = 20) -> list[Claimed]:
    return notices.claim(ledger, assets=assets or ("labels",), most=most)


def set_row(ledger: Ledger, **values: object) -> None:
    with ledger.database.write() as connection:
        connection.execute(tables.notice.update().values(**values))


def events(ledger: Ledger) -> list[tuple[str, str | None]]:
    event = tables.event
    query = sa.select(event.c.state, event.c.why).where(event.c.subject == "notice").order_by(event.c.id)
    with ledger.database.read() as connection:
        return [(row.state, row.why) for row in connection.execute(query)]


def test_two_of_one_name_are_told_once(any_ledger: Ledger, clock: HeldClock) -> None:
    other = replace(FAILED, name="failed/labels/2")
    assert notices.raise_new(any_ledger, [FAILED]) == [FAILED]
    assert notices.raise_new(any_ledger, [replace(FAILED, body="again"), other, other]) == [other]
    assert notices.raise_new(any_ledger, []) == []
    assert [(each.notice.name, each.notice.body) for each in claim(any_ledger)] == [
        (FAILED.name, FAILED.body),
        (other.name, other.body),
    ]


def test_a_transaction_that_fails_leaves_no_notice(any_ledger: Ledger, clock: HeldClock) -> None:
    def fail() -> None:
        with any_ledger.database.write() as connection:
            assert notices.raise_notice(connection, any_ledger, FAILED)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert notices.listed(any_ledger) == []
    assert events(any_ledger) == []


def test_what_is_claimed_is_nobody_elses_until_it_is_settled(any_ledger: Ledger, clock: HeldClock) -> None:
    notices.raise_new(any_ledger, [FAILED])
    (mine,) = claim(any_ledger)
    assert mine.notice == FAILED
    assert claim(any_ledger) == []
    assert notices.settle(any_ledger, mine, {}) is NoticeState.DELIVERED
    clock.sleep(timedelta(days=1))
    assert claim(any_ledger) == []
    assert events(any_ledger) == [("pending", "labels has not landed"), ("delivered", None)]


def test_only_notices_of_the_assets_that_are_asked_for_are_claimed_the_oldest_first(
    any_ledger: Ledger, clock: HeldClock
) -> None:
    several = [replace(FAILED, name=str(number), asset=f"a{number % 2}") for number in range(6)]
    notices.raise_new(any_ledger, several)
    assert [each.notice.name for each in claim(any_ledger, "a1", most=2)] == ["1", "3"]
    assert [each.notice.name for each in claim(any_ledger, "a0", "a1")] == ["0", "2", "4", "5"]


def test_a_retry_goes_to_those_alone_who_have_not_got_it(any_ledger: Ledger, clock: HeldClock) -> None:
    notices.raise_new(any_ledger, [FAILED])
    (first,) = claim(any_ledger)
    assert notices.settle(any_ledger, first, {"support": "the service answered 500"}) is NoticeState.PENDING
    (row,) = notices.listed(any_ledger)
    assert (row.state, row.attempts, row.error) == (NoticeState.PENDING, 1, "support: the service answered 500")
    assert claim(any_ledger) == []
    clock.sleep(timedelta(minutes=1))
    (second,) = claim(any_ledger)
    assert (second.notice.destinations, second.attempt) == (("support",), 2)
    assert notices.settle(any_ledger, second, {}) is NoticeState.DELIVERED
    assert notices.listed(any_ledger)[0].error is None


def test_attempts_are_spaced_and_end(any_ledger: Ledger, clock: HeldClock) -> None:
    notices.raise_new(any_ledger, [FAILED])
    waited = []
    for attempt in range(1, MOST_ATTEMPTS + 1):
        (mine,) = claim(any_ledger)
        state = notices.settle(any_ledger, mine, {"ops": "closed", "support": "closed"})
        assert state is (NoticeState.PENDING if attempt < MOST_ATTEMPTS else NoticeState.GIVEN_UP)
        waited.append((notices.listed(any_ledger)[0].next_at - clock.now()) // timedelta(minutes=1))
        clock.sleep(timedelta(minutes=waited[-1]))
    assert waited[:-1] == [1, 2, 4, 8, 16, 30, 30, 30, 30]
    clock.sleep(timedelta(days=30))
    assert claim(any_ledger) == []
    assert events(any_ledger)[-1] == ("given_up", "ops: closed; support: closed, after 10 attempts")


def test_what_a_dead_process_of_this_machine_claimed_is_taken_over_at_once(
    any_ledger: Ledger, clock: HeldClock
) -> None:
    notices.raise_new(any_ledger, [FAILED])
    (lost,) = claim(any_ledger)
    set_row(any_ledger, owner=str(replace(Claimant.this_process(), started=1)))
    (mine,) = claim(any_ledger)
    assert mine.attempt == 2
    assert notices.settle(any_ledger, lost, {}) is None, "it was somebody else's by then"
    assert notices.settle(any_ledger, mine, {}) is NoticeState.DELIVERED


def test_what_another_machine_claimed_is_taken_over_when_the_claim_has_run_out(
    any_ledger: Ledger, clock: HeldClock
) -> None:
    notices.raise_new(any_ledger, [FAILED])
    claim(any_ledger)
    set_row(any_ledger, owner="elsewhere#1@2")
    assert claim(any_ledger) == []
    clock.sleep(notices.CLAIM)
    assert len(claim(any_ledger)) == 1


def test_a_notice_at_which_each_process_dies_is_given_up(any_ledger: Ledger, clock: HeldClock) -> None:
    notices.raise_new(any_ledger, [FAILED])
    for _ in range(MOST_ATTEMPTS):
        assert len(claim(any_ledger)) == 1
        clock.sleep(notices.CLAIM)
    assert claim(any_ledger) == []
    (row,) = notices.listed(any_ledger)
    assert row.state is NoticeState.GIVEN_UP
    assert events(any_ledger)[-1] == ("given_up", "whoever delivered it died over it, 10 times")


@pytest.mark.parametrize("torn", [{"destinations": '["ops"'}, {"destinations": "7"}, {"kind": "of_the_future"}])
def test_a_row_that_cannot_be_read_is_given_up_and_holds_up_no_other(
    any_ledger: Ledger, clock: HeldClock, torn: dict[str, str]
) -> None:
    notices.raise_new(any_ledger, [FAILED])
    set_row(any_ledger, **torn)
    other = replace(FAILED, name="other")
    notices.raise_new(any_ledger, [other])
    assert [each.notice for each in claim(any_ledger)] == [other]
    (_, row) = notices.listed(any_ledger)
    assert (row.state, row.error) == (NoticeState.GIVEN_UP, "its row cannot be read")


def test_two_processes_that_read_the_same_notice_do_not_both_claim_it(any_place: Place) -> None:
    with any_place.open() as one, any_place.open() as other:
        notices.raise_new(one, [FAILED])
        read = [notices._due(ledger, ["labels"], 20)[0] for ledger in (one, other)]
        assert [notices._take(ledger, row) for ledger, row in zip((one, other), read, strict=True)] == [True, False]
