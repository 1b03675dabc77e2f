"""What becomes of a job whose batches may not make its deadline; judged by the provider's tally."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from offpeak.assets.order import Receipt
from offpeak.assets.rescued import AtDeadline
from offpeak.assets.work import Work
from offpeak.clock import EPOCH
from offpeak.errors import JobFailed
from offpeak.lanes.rescue import TERMS, RescueTerms
from offpeak.ledger import billing, jobs, late, queueing, submissions, tables
from offpeak.ledger.deadline import OnDeadline, OnUnresolved
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import ChunkState, JobState, SubmissionState
from offpeak.money.bill import Bill, By
from offpeak.providers.base import Provider

from ...conftest import LocalProvider, Place, QuickClock, Shop, Through, tickets, until
from ...promises.plain_bill import added_up

H, MIN = timedelta(hours=1), timedelta(minutes=1)
LAST_MOMENT = 12 * H - 40.2 * MIN
"""After the beginning of a job that is due in 12 h, by so much that nothing is given up yet, and a moment later it is:
before the deadline there have to be the margin, the time for cancelling and some seconds of calls."""


@pytest.fixture
def kiosk(any_place: Place, open_account: Callable[..., Provider]) -> Iterator[Shop]:
    """Buys at OpenAI's side, five requests a batch. The ledger goes by the shop's clock."""
    clock = QuickClock()
    with Ledger.open(any_place.url, spool_dir=any_place.spool, clock=clock) as ledger:
        yield Shop(ledger, open_account(max_requests=5), clock=clock)


def hang(shop: Shop, local_provider: LocalProvider, count: int = 15, *, nth: int = 2, **fault: Any) -> int:
    """A job whose batches have landed but for one that never ends, shortly before its last safe moment."""
    local_provider.fault("never_end", match={"nth_create": nth}, **fault)
    job_id: int = shop.leave(tickets(count), deadline=12 * H)
    ended(local_provider, count // 5 - 1)
    return job_id


def ended(local_provider: LocalProvider, count: int) -> None:
    """Wait until so many batches have ended at the provider."""
    until(lambda: sum(each["ended_at"] is not None for each in local_provider.batches()) == count, what="their end")


def billed(shop: Shop, *by: By) -> Bill:
    return Bill.of(billing.lines(shop.ledger, since=EPOCH, until=shop.clock.now() + H), by)


def no_cancel(_: Provider, batch_id: str) -> None:
    pytest.fail(f"{batch_id} was cancelled")


def jump(shop: Shop, duration: timedelta) -> None:
    assert isinstance(shop.clock, QuickClock)
    shop.clock.jump(duration)


def collect(shop: Shop, job_id: int, **at_deadline: Any) -> Receipt:
    work: Work = shop.work(job_id, asset=shop.asset, at_deadline=AtDeadline(**at_deadline))
    work.carry_out()
    return work.close()


def lanes(shop: Shop, job_id: int) -> list[tuple[str, str, bool]]:
    """Lane, state, and whether it was rescued or is a rescue, of each chunk of the job."""
    return [
        (each.lane.value, each.chunk_state.value, each.rescue_at is not None or each.rescues is not None)
        for each in submissions.of_job(shop.ledger, job_id)
    ]


def test_what_a_batch_leaves_that_does_not_end_is_bought_at_realtime_price_and_nothing_twice(
    kiosk: Shop, local_provider: LocalProvider
) -> None:
    job_id = hang(kiosk, local_provider)
    jump(kiosk, LAST_MOMENT)
    receipt = collect(kiosk, job_id)
    assert (receipt.rows, receipt.rescued, receipt.failed, receipt.late) == (15, 5, 0, 0)
    assert receipt.landed_at < kiosk.clock.now() + MIN
    assert jobs.listed(kiosk.ledger, ids=[job_id])[0].deadline_at > receipt.landed_at
    assert local_provider.answered(at_least=2) == []
    assert len(local_provider.answered()) == 15
    assert receipt.cost < receipt.realtime_cost
    assert sorted(lanes(kiosk, job_id)) == [
        ("background", "applied", True),
        ("batch", "applied", False),
        ("batch", "applied", False),
        ("batch", "applied", True),
    ]


def test_rows_say_whether_they_were_rescued(kiosk: Shop, local_provider: LocalProvider) -> None:
    job_id = hang(kiosk, local_provider)
    jump(kiosk, LAST_MOMENT)
    collect(kiosk, job_id)
    frame = kiosk.frame()
    assert frame["rescued"].sum() == 5
    assert set(frame.loc[frame["rescued"], "cost_usd"]) != set(frame.loc[~frame["rescued"], "cost_usd"])


def test_a_later_job_counts_what_it_rescued_itself(kiosk: Shop, local_provider: LocalProvider) -> None:
    job_id = hang(kiosk, local_provider)
    jump(kiosk, LAST_MOMENT)
    assert collect(kiosk, job_id).rescued == 5
    assert kiosk.buy(tickets(15)).rescued == 0
    local_provider.fault("never_end")
    again = kiosk.leave(tickets(16), deadline=12 * H)
    jump(kiosk, LAST_MOMENT)
    assert collect(kiosk, again).rescued == 1
    assert kiosk.frame()["rescued"].sum() == 6


def test_before_the_last_safe_moment_nothing_is_cancelled(kiosk: Shop, local_provider: LocalProvider) -> None:
    job_id = hang(kiosk, local_provider)
    jump(kiosk, LAST_MOMENT - 12 * MIN)
    assert not kiosk.work(job_id, asset=kiosk.asset).hand_over(patience=timedelta(0))
    assert ("batch", "open", False) in lanes(kiosk, job_id)


def test_what_a_cancelled_batch_had_finished_is_kept(kiosk: Shop, local_provider: LocalProvider) -> None:
    job_id = hang(kiosk, local_provider, share=0.6)
    jump(kiosk, LAST_MOMENT)
    receipt = collect(kiosk, job_id)
    assert (receipt.rows, receipt.rescued) == (15, 2)
    assert local_provider.answered(at_least=2) == []


def test_a_batch_that_has_ended_is_not_cancelled_however_late_it_is_looked_at(
    kiosk: Shop, local_provider: LocalProvider
) -> None:
    job_id = kiosk.leave(tickets(15))
    ended(local_provider, 3)
    kiosk.provider = Through(kiosk.provider, cancel=no_cancel)
    jump(kiosk, LAST_MOMENT + 10 * MIN)
    receipt = collect(kiosk, job_id)
    assert (receipt.rows, receipt.rescued, receipt.cost * 2) == (15, 0, receipt.realtime_cost)


def test_a_batch_that_completes_while_it_is_being_cancelled_is_kept_whole(
    kiosk: Shop, local_provider: LocalProvider
) -> None:
    job_id = hang(kiosk, local_provider)

    def cancel(inner: Provider, batch_id: str) -> None:
        local_provider.heal(batch_id)
        until(lambda: (inner.retrieve(batch_id) or pytest.fail("gone")).state.terminal, what="its end")
        inner.cancel(batch_id)

    kiosk.provider = Through(kiosk.provider, cancel=cancel)
    jump(kiosk, LAST_MOMENT)
    receipt = collect(kiosk, job_id)
    assert (receipt.rows, receipt.rescued, receipt.cost * 2) == (15, 0, receipt.realtime_cost)
    assert local_provider.answered(at_least=2) == []


def test_what_was_never_sent_is_called_instead(kiosk: Shop, local_provider: LocalProvider) -> None:
    queueing.declare(kiosk.ledger, kiosk.provider.realm, "gpt-5-mini", queueing.Limits(open_batches=1))
    local_provider.fault("never_end")
    job_id = kiosk.leave(tickets(10), deadline=12 * H)
    assert [each[:2] for each in lanes(kiosk, job_id)] == [("batch", "open"), ("batch", "queued")]
    jump(kiosk, LAST_MOMENT)
    receipt = collect(kiosk, job_id)
    assert (receipt.rows, receipt.rescued) == (10, 10)
    assert local_provider.answered(at_least=2) == []


def test_what_fails_in_a_rescue_goes_round_again_in_the_background(kiosk: Shop, local_provider: LocalProvider) -> None:
    job_id = hang(kiosk, local_provider, 10)
    local_provider.fault("realtime_500", times=9)
    jump(kiosk, LAST_MOMENT)
    receipt = collect(kiosk, job_id)
    assert (receipt.rows, receipt.rescued, receipt.failed) == (10, 5, 0)
    assert {lane for lane, _, part in lanes(kiosk, job_id) if part} == {"batch", "background"}
    assert local_provider.answered(at_least=2) == []


def test_what_failed_in_time_goes_round_in_the_background_when_there_is_no_time_for_a_batch(
    kiosk: Shop, local_provider: LocalProvider
) -> None:
    local_provider.fault("error_lines", share=0.4)
    job_id = kiosk.leave(tickets(5), deadline=12 * H)
    ended(local_provider, 1)
    jump(kiosk, 6 * H)
    receipt = collect(kiosk, job_id)
    assert (receipt.rows, receipt.rescued) == (5, 2)


def test_two_jobs_that_wait_for_one_batch_are_both_served_by_one_rescue(
    kiosk: Shop, local_provider: LocalProvider
) -> None:
    local_provider.fault("never_end")
    first = kiosk.leave(tickets(5), deadline=20 * H)
    second = kiosk.leave(tickets(5), asset="others", deadline=12 * H)
    jump(kiosk, LAST_MOMENT)
    work = kiosk.work(second, asset="others", at_deadline=AtDeadline())
    work.carry_out()
    assert (work.close().rescued, collect(kiosk, first).rescued) == (5, 5)
    assert len(local_provider.answered()) == 5
    assert local_provider.answered(at_least=2) == []


SOON = RescueTerms(cancel_bound=MIN)
"""For a test that waits until nobody believes any more that a batch will end."""


def unresolved(shop: Shop, local_provider: LocalProvider, *, share: float = 0.0) -> int:
    """A job, one of whose batches has answered a share, and takes much longer to be cancelled than anybody waits."""
    local_provider.fault("never_end", match={"nth_create": 2}, share=share)
    job_id: int = shop.leave(tickets(10), deadline=12 * H)
    ended(local_provider, 1)
    until(lambda: len(local_provider.answered()) == 5 + 5 * share, what="its answers")
    (stuck,) = [each["id"] for each in local_provider.batches() if each["ended_at"] is None]
    local_provider.fault("latency", batch=stuck, seconds=600.0)  # a tenth of it to cancel
    jump(shop, LAST_MOMENT + TERMS.cancel_bound - SOON.cancel_bound)
    return job_id


def test_money_comes_before_the_deadline_where_nobody_knows_what_a_batch_bought(
    kiosk: Shop, local_provider: LocalProvider
) -> None:
    job_id = unresolved(kiosk, local_provider)
    work = kiosk.work(job_id, asset=kiosk.asset, at_deadline=AtDeadline(terms=SOON))
    assert not work.hand_over(patience=5 * MIN)
    assert lanes(kiosk, job_id)[1] == ("batch", "open", True)
    assert len(local_provider.answered()) == 5


def test_an_asset_may_pay_twice_instead_within_its_budget_and_on_record(
    kiosk: Shop, local_provider: LocalProvider
) -> None:
    job_id = unresolved(kiosk, local_provider)
    receipt = collect(kiosk, job_id, on_unresolved=OnUnresolved.PAY_TWICE, pay_twice=Decimal(1), terms=SOON)
    assert (receipt.rows, receipt.rescued) == (10, 5)
    assert receipt.landed_at < jobs.listed(kiosk.ledger, ids=[job_id])[0].deadline_at
    chunk, event = tables.chunk, tables.event
    with kiosk.ledger.database.read() as connection:
        (cost,) = connection.execute(sa.select(chunk.c.twice_pico).where(chunk.c.twice_at.is_not(None))).scalars()
        said = connection.execute(sa.select(event.c.why).where(event.c.why.like("%may be paid twice%"))).scalars().all()
    assert cost > 0
    assert said
    total = billed(kiosk).total
    assert (total.possibly_paid_twice_pico, total.paid_twice_pico) == (cost, 0)
    (given_up,) = late.of_asset(kiosk.ledger, kiosk.asset, realm=kiosk.provider.realm)
    assert given_up.state is SubmissionState.LATE


@pytest.mark.parametrize("budget", [Decimal(0), Decimal("0.00000001")])
def test_beyond_its_budget_nothing_is_paid_twice(kiosk: Shop, local_provider: LocalProvider, budget: Decimal) -> None:
    job_id = unresolved(kiosk, local_provider)
    settings = AtDeadline(on_unresolved=OnUnresolved.PAY_TWICE, pay_twice=budget, terms=SOON)
    assert not kiosk.work(job_id, asset=kiosk.asset, at_deadline=settings).hand_over(patience=5 * MIN)
    assert len(local_provider.answered()) == 5


def test_what_the_late_batch_bought_after_all_is_on_the_bill_as_paid_twice(
    kiosk: Shop, local_provider: LocalProvider
) -> None:
    job_id = unresolved(kiosk, local_provider, share=0.6)
    collect(kiosk, job_id, on_unresolved=OnUnresolved.PAY_TWICE, pay_twice=Decimal(1), terms=SOON)
    (stuck,) = [each["id"] for each in local_provider.batches() if each["ended_at"] is None]
    local_provider.fault("latency", batch=stuck, seconds=0.0)
    until(lambda: (kiosk.provider.retrieve(stuck) or pytest.fail("gone")).state.terminal, what="its end")
    kiosk.buy(tickets(1, start=50))
    assert late.of_asset(kiosk.ledger, kiosk.asset, realm=kiosk.provider.realm) == []
    total, purchases = billed(kiosk).total, local_provider.purchases()
    assert total.paid_twice_pico > 0
    assert total.possibly_paid_twice_pico == 0  # it is known now
    assert total.cost == added_up(purchases, lambda _: "")[""]
    tiers = {key[0]: each.cost for key, each in billed(kiosk, "tier").groups.items() if each.cost}
    assert tiers == added_up(purchases, lambda each: each["lane"])


def test_at_the_deadline_an_asset_may_be_served_with_what_has_landed(
    kiosk: Shop, local_provider: LocalProvider
) -> None:
    kiosk.buy(tickets(10))
    local_provider.fault("never_end")
    changed = {key: f"{text} Again." if key < "T0005" else text for key, text in tickets(10).items()}
    job_id = kiosk.leave(changed, deadline=12 * H, on_deadline=OnDeadline.SERVE_LAST_GOOD, approved=True)
    jump(kiosk, 12 * H)
    receipt = collect(kiosk, job_id)
    assert (receipt.rows, receipt.late, receipt.failed, receipt.rescued) == (10, 5, 0, 0)
    row = jobs.listed(kiosk.ledger, ids=[job_id])[0]
    assert row.state is JobState.COMPLETED_WITH_PARTIAL_FAILURES
    assert len(kiosk.frame()) == 10


def test_at_the_deadline_an_asset_may_fail(kiosk: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("never_end")
    job_id = kiosk.leave(tickets(5), deadline=12 * H, on_deadline=OnDeadline.FAIL)
    jump(kiosk, 12 * H)
    with pytest.raises(JobFailed, match='5 requests were still on their way at the deadline, and on_deadline="fail"'):
        collect(kiosk, job_id)
    assert jobs.listed(kiosk.ledger, ids=[job_id])[0].state is JobState.EXPIRED
    assert [each[:2] for each in lanes(kiosk, job_id)] == [("batch", "open")]


@pytest.mark.parametrize("still_wanted", [True, False])
def test_what_a_job_left_at_its_deadline_is_collected_by_the_next_one(
    kiosk: Shop, local_provider: LocalProvider, *, still_wanted: bool
) -> None:
    local_provider.fault("never_end")
    job_id = kiosk.leave(tickets(5), deadline=12 * H, on_deadline=OnDeadline.FAIL)
    jump(kiosk, 12 * H)
    with pytest.raises(JobFailed):
        collect(kiosk, job_id)
    (batch,) = (each["id"] for each in local_provider.batches())
    local_provider.heal(batch)
    kiosk.buy(tickets(5, start=0 if still_wanted else 5), approved=True)
    (chunk,) = submissions.of_job(kiosk.ledger, job_id)
    assert chunk.chunk_state is ChunkState.APPLIED
    assert local_provider.answered(at_least=2) == []
    assert len(local_provider.answered()) == (5 if still_wanted else 10)


def test_with_nothing_to_serve_a_deadline_fails_the_job(kiosk: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("never_end")
    job_id = kiosk.leave(tickets(5), deadline=12 * H, on_deadline=OnDeadline.SERVE_LAST_GOOD)
    jump(kiosk, 12 * H)
    with pytest.raises(JobFailed, match="none of 5 rows has an answer, and all of them are still on their way"):
        collect(kiosk, job_id)


def test_a_forced_background_lane_is_bought_as_ever(kiosk: Shop, local_provider: LocalProvider) -> None:
    receipt = kiosk.buy(tickets(5), forced=None, deadline=H)
    assert (receipt.lane, receipt.rescued) == (Lane.BACKGROUND, 0)
    assert len(local_provider.answered()) == 5
