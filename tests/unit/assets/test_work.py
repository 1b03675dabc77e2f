"""A job is handed over to the provider without waiting for it, or wound down without losing what was paid for."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from offpeak.assets.work import LONGEST_PAUSE, PATIENCE, Work
from offpeak.clock import SystemClock
from offpeak.errors import JobFailed, ProviderUnavailable, SubmissionRejected
from offpeak.ledger import history, jobs, parked_runs, sightings, tables
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import JobState, ParkedState
from offpeak.providers.base import Provider

from ...conftest import LocalProvider, Shop, Through, tickets, until

NO_TIME = timedelta(0)
LONG = timedelta(seconds=20)


@dataclass
class Watched(SystemClock):
    """The machine's clock, set forward or not; what should sleep only notes it."""

    ahead: timedelta = NO_TIME
    slept: list[timedelta] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def sleep(self, duration: timedelta) -> None:
        self.slept.append(duration)
        super().sleep(min(duration, timedelta(milliseconds=20)))


@pytest.fixture
def clock() -> Watched:
    return Watched()


@pytest.fixture
def shop(ledger: Ledger, open_account: Callable[..., Provider], clock: Watched) -> Shop:
    """Buys at OpenAI, whose batches tell whose they are."""
    return Shop(ledger, open_account(), clock=clock, list_lag=timedelta(seconds=0.3))


@pytest.fixture
def each_shop(ledger: Ledger, open_account: Callable[..., Provider], clock: Watched, provider_name: str) -> Shop:
    """Buys at each provider in turn."""
    return Shop(ledger, open_account(provider_name), clock=clock)


def work(shop: Shop, rows: Any, **more: Any) -> Work:
    """A planned job of which nothing was sent, due so late that no deadline plays a part."""
    job_id = shop.begin(rows, **{"deadline": 2 * sightings.OVERDUE, **more})
    return shop.work(job_id, asset=more.get("asset", shop.asset))


def stay_out(local_provider: LocalProvider, *, share: float = 0) -> None:
    """Let batches answer this share of their requests, and then go on without end."""
    local_provider.fault("never_end", share=share, times=None)


def end_all(local_provider: LocalProvider) -> None:
    local_provider.call("DELETE", "/local/faults")
    for batch in local_provider.batches():
        if batch["outcome"] is None:
            local_provider.heal(batch["id"])
    until(lambda: all(batch["outcome"] for batch in local_provider.batches()), what="the end of the batches")


def outcomes(local_provider: LocalProvider) -> list[str | None]:
    """How the batches ended, oldest first."""
    return [batch["outcome"] for batch in reversed(local_provider.batches())]


def state(shop: Shop, job_id: int) -> str:
    (row,) = jobs.listed(shop.ledger, ids=[job_id])
    return row.state.value


def bought_once(local_provider: LocalProvider, count: int) -> None:
    assert [row["answered"] for row in local_provider.answered()] == [1] * count


# Handing over


def test_a_job_that_is_at_the_provider_is_handed_over_at_once(
    each_shop: Shop, clock: Watched, local_provider: LocalProvider
) -> None:
    stay_out(local_provider)
    job = work(each_shop, tickets(3))
    assert not job.hand_over()
    assert clock.slept == []
    assert job.again_at() is None
    assert state(each_shop, job.job_id) == "in_progress"
    assert len(local_provider.batches()) == 1


def test_a_job_with_nothing_to_wait_for_is_through_at_once(shop: Shop, clock: Watched) -> None:
    shop.buy(tickets(3))
    clock.slept.clear()
    job = work(shop, tickets(3))
    assert job.hand_over()
    assert clock.slept == []
    receipt = job.close()
    assert (receipt.rows, receipt.bought, receipt.reused) == (3, 0, 3)
    assert state(shop, job.job_id) == "completed"


def test_what_has_landed_is_collected_when_the_job_is_handed_over_again(
    shop: Shop, local_provider: LocalProvider
) -> None:
    job = work(shop, tickets(3))
    assert not job.hand_over()
    end_all(local_provider)
    again = shop.work(job.job_id, asset=shop.asset)
    assert again.hand_over()
    assert again.close().rows == 3
    bought_once(local_provider, 3)


def test_a_provider_that_takes_nothing_for_a_while_is_tried_within_patience(
    shop: Shop, clock: Watched, local_provider: LocalProvider
) -> None:
    stay_out(local_provider)
    local_provider.fault("create_429", retry_after=3, times=2)
    job = work(shop, tickets(3))
    assert not job.hand_over()
    assert job.again_at() is None
    assert clock.slept == [timedelta(seconds=3)] * 2
    assert len(local_provider.batches()) == 1


def test_a_provider_that_takes_nothing_is_tried_again_later(
    shop: Shop, clock: Watched, local_provider: LocalProvider
) -> None:
    local_provider.fault("create_429", retry_after=1, times=None)
    job = work(shop, tickets(3))
    assert not job.hand_over(patience=NO_TIME)
    for age, pause in (
        (NO_TIME, PATIENCE),
        (timedelta(minutes=20), timedelta(minutes=10)),
        (timedelta(hours=5), LONGEST_PAUSE),
    ):
        clock.ahead = age
        again_at = job.again_at()
        assert again_at is not None
        assert again_at - clock.now() == pytest.approx(pause, abs=timedelta(seconds=5))

    local_provider.call("DELETE", "/local/faults")
    assert not job.hand_over()
    assert job.again_at() is None
    assert job.job_id == shop.begin(tickets(3)) - 1
    assert len(local_provider.batches()) == 1


def test_a_provider_that_asks_for_hours_is_not_waited_for_and_not_asked_before(
    shop: Shop, clock: Watched, local_provider: LocalProvider
) -> None:
    local_provider.fault("create_429", retry_after=7200, times=None)
    job = work(shop, tickets(3))
    assert not job.hand_over()
    assert clock.slept == []
    again_at = job.again_at()
    assert again_at is not None
    assert again_at - clock.now() == pytest.approx(timedelta(hours=2), abs=timedelta(seconds=5))


@pytest.mark.parametrize("fault", ["ghost_reset", "create_reset"])
def test_a_create_whose_reply_is_lost_is_settled_before_the_job_is_handed_over(
    shop: Shop, local_provider: LocalProvider, fault: str
) -> None:
    stay_out(local_provider)
    local_provider.fault(fault)
    job = work(shop, tickets(3))
    assert not job.hand_over()
    assert job.again_at() is None
    assert local_provider.fired()[fault] == 1
    assert len(local_provider.batches()) == 1


def test_where_only_its_results_tell_whose_a_batch_is_it_is_looked_at_again_until_it_has_ended(
    ledger: Ledger, open_account: Callable[..., Provider], clock: Watched, local_provider: LocalProvider
) -> None:
    shop = Shop(ledger, open_account("anthropic"), clock=clock)  # its batches carry nothing of ours before they end
    stay_out(local_provider)
    local_provider.fault("ghost_reset")
    job = work(shop, tickets(3))
    assert not job.hand_over(patience=NO_TIME)
    assert not job.hand_over(patience=NO_TIME)
    assert job.again_at() is not None
    assert not job.wind_down(patience=NO_TIME)
    assert len(local_provider.batches()) == 1
    end_all(local_provider)
    assert not job.hand_over()
    assert job.again_at() is None
    assert job.hand_over()
    assert job.close().rows == 3
    bought_once(local_provider, 3)


def test_a_batch_that_the_provider_refuses_fails_the_job_at_once(shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("fail_validation", code="model_mismatch", message="no such model")
    job = work(shop, tickets(3))
    assert not job.hand_over()
    until(lambda: all(outcomes(local_provider)), what="the end of the batch")
    assert job.hand_over()
    with pytest.raises(SubmissionRejected, match=r"batch \S+ failed its validation and was not run: .*no such model"):
        job.close()
    assert state(shop, job.job_id) == "failed"
    assert local_provider.answered() == []


def test_a_batch_that_does_not_end_is_given_up_with_what_to_do(
    shop: Shop, clock: Watched, local_provider: LocalProvider
) -> None:
    stay_out(local_provider)
    job = work(shop, tickets(3))
    assert not job.hand_over()
    clock.ahead = sightings.OVERDUE - timedelta(minutes=1)
    assert not job.hand_over()
    clock.ahead = sightings.OVERDUE + timedelta(minutes=1)
    with pytest.raises(
        JobFailed, match=r"has not ended 48 h after it was submitted\. What was paid for is kept"
    ) as told:
        job.hand_over()
    assert "materialise labels again: it collects what there is and buys the rest" in str(told.value)
    assert state(shop, job.job_id) == "expired"

    clock.ahead = NO_TIME
    end_all(local_provider)
    assert shop.buy(tickets(3)).rows == 3
    bought_once(local_provider, 3)


def test_a_batch_that_ended_late_is_collected_and_not_given_up(
    shop: Shop, clock: Watched, local_provider: LocalProvider
) -> None:
    job = work(shop, tickets(3))
    assert not job.hand_over()
    end_all(local_provider)
    clock.ahead = sightings.OVERDUE + timedelta(hours=1)
    assert job.hand_over()
    assert job.close().rows == 3


# Winding down


def close_stopped(shop: Shop, job: Work) -> None:
    """As the stopping run does."""
    jobs.close(shop.ledger, job.job_id, JobState.CANCELLED, why="a test")


def test_what_was_not_sent_is_taken_back_and_older_rows_are_served_on(
    shop: Shop, local_provider: LocalProvider
) -> None:
    shop.buy(tickets(3))
    files = set(shop.ledger.spool.iterdir())
    local_provider.fault("create_429", retry_after=1, times=None)
    changed = {key: f"{text} Still." for key, text in tickets(3).items()}
    job = work(shop, changed, approved=True)
    assert not job.hand_over(patience=NO_TIME)
    tried = work(shop, tickets(2, start=7), asset="others")
    assert job.wind_down(patience=NO_TIME)
    assert tried.wind_down(patience=NO_TIME)
    close_stopped(shop, job)
    close_stopped(shop, tried)
    assert len(local_provider.batches()) == 1
    assert set(shop.frame()["key"]) == set(tickets(3))
    left = set(shop.ledger.spool.iterdir()) - files
    assert len(left) <= 1  # what was offered once waits for whoever wants it; what never was is gone

    local_provider.call("DELETE", "/local/faults")
    assert set(shop.frame()["key"]) == set(tickets(3))
    assert shop.buy(changed, approved=True).rows == 3
    assert shop.buy(tickets(2, start=7), asset="others").rows == 2
    bought_once(local_provider, 8)


@pytest.mark.parametrize("fault", ["ghost_reset", "create_reset"])
def test_a_create_whose_reply_is_lost_is_settled_before_it_is_cancelled(
    shop: Shop, local_provider: LocalProvider, fault: str
) -> None:
    stay_out(local_provider)
    local_provider.fault(fault)
    job = work(shop, tickets(3))
    assert not job.hand_over(patience=NO_TIME)
    assert job.wind_down(patience=LONG)
    assert outcomes(local_provider) == (["cancelled"] if fault == "ghost_reset" else [])
    close_stopped(shop, job)

    local_provider.call("DELETE", "/local/faults")
    assert shop.buy(tickets(3)).rows == 3
    bought_once(local_provider, 3)


def test_what_was_cancelled_counts_as_no_attempt(each_shop: Shop, local_provider: LocalProvider) -> None:
    stay_out(local_provider, share=0.34)
    for _ in range(4):
        job = work(each_shop, tickets(3))
        assert not job.hand_over()
        assert job.wind_down(patience=LONG)
        close_stopped(each_shop, job)
    local_provider.call("DELETE", "/local/faults")
    receipt = each_shop.buy(tickets(3))
    assert (receipt.rows, receipt.failed) == (3, 0)
    bought_once(local_provider, 3)


def test_a_batch_that_is_slow_to_cancel_is_asked_once_and_collected_later(
    each_shop: Shop, local_provider: LocalProvider
) -> None:
    asked: list[str] = []

    def cancel(inner: Provider, batch_id: str) -> None:
        asked.append(batch_id)
        inner.cancel(batch_id)

    each_shop.provider = Through(each_shop.provider, cancel=cancel)  # type: ignore[assignment]
    local_provider.fault("latency", seconds=6_000)  # then cancelling takes ten minutes
    job = work(each_shop, tickets(3))
    assert not job.hand_over()
    assert not job.wind_down(patience=NO_TIME)
    assert not job.wind_down(patience=NO_TIME)
    assert len(asked) == 1
    end_all(local_provider)
    assert job.wind_down(patience=NO_TIME)


def test_a_provider_that_cannot_be_reached_is_asked_to_cancel_again(shop: Shop, local_provider: LocalProvider) -> None:
    away = [True]

    def cancel(inner: Provider, batch_id: str) -> None:
        if away:
            away.pop()
            raise ProviderUnavailable("it is away")
        inner.cancel(batch_id)

    shop.provider = Through(shop.provider, cancel=cancel)  # type: ignore[assignment]
    stay_out(local_provider)
    job = work(shop, tickets(3))
    assert not job.hand_over()
    assert not job.wind_down(patience=NO_TIME)
    assert outcomes(local_provider) == [None]
    assert job.wind_down(patience=LONG)
    assert outcomes(local_provider) == ["cancelled"]


# Together with others


def park(shop: Shop, job_id: int, asset: str) -> int:
    """A parked run for a job, as the orchestrator's side writes it down; its number."""
    number = parked_runs.intend(shop.ledger, run_id=f"held {job_id}", origin_run_id=f"origin {job_id}", location="here")
    held = parked_runs.hold(
        shop.ledger, number, origin_run_id=f"origin {job_id}", jobs={job_id: asset}, joining=job_id, progress="0%"
    )
    assert held == []
    return number


def orphan(shop: Shop, job_id: int) -> None:
    """Let the process that owns a job be one that is gone."""
    gone = str(shop.ledger.claimant).replace(f"#{os.getpid()}@", "#999999999@")
    with shop.ledger.database.write() as connection:
        connection.execute(tables.job.update().where(tables.job.c.id == job_id).values(owner=gone))


@pytest.fixture
def together(any_ledger: Ledger, open_account: Callable[..., Provider], local_provider: LocalProvider) -> Shop:
    """Buys into each database in turn, batches that do not end."""
    stay_out(local_provider)
    return Shop(any_ledger, open_account(), list_lag=timedelta(seconds=0.3))


W, R, S, E = ParkedState.WAITING, ParkedState.RELEASED, ParkedState.STOPPING, ParkedState.ENDED


@pytest.mark.parametrize(("parked", "cancelled"), [(W, False), (R, False), (S, True), (E, True), (None, True)])
def test_a_batch_goes_on_for_another_job_as_long_as_somebody_carries_that_one_on(
    together: Shop, local_provider: LocalProvider, parked: ParkedState | None, cancelled: bool
) -> None:
    job = together.work(together.leave(tickets(3)), asset="labels")
    other = together.leave(tickets(3), asset="others")
    orphan(together, other)
    if parked is not None:
        number = park(together, other, "others")
        if parked is not W:
            parked_runs.enter(together.ledger, number, parked, why="a test")
    assert job.wind_down(patience=LONG)
    assert outcomes(local_provider) == (["cancelled"] if cancelled else [None])


def test_a_batch_goes_on_for_a_job_whose_process_lives(together: Shop, local_provider: LocalProvider) -> None:
    job = together.work(together.leave(tickets(3)), asset="labels")
    other = together.leave(tickets(3), asset="others")
    assert job.wind_down(patience=NO_TIME)
    close_stopped(together, job)
    end_all(local_provider)
    together.collect(other, asset="others")
    bills = [history.of_job(together.ledger, each).bill.cost_pico for each in (job.job_id, other)]
    assert bills[0] == 0
    assert bills[1] > 0


@pytest.mark.parametrize(("parked", "superseded"), [(W, False), (R, False), (S, False), (E, True), (None, True)])
def test_a_job_is_superseded_only_when_nobody_carries_it_on(
    together: Shop, local_provider: LocalProvider, parked: ParkedState | None, superseded: bool
) -> None:
    older = together.leave(tickets(3))
    orphan(together, older)
    if parked is not None:
        number = park(together, older, "labels")
        if parked is not W:
            parked_runs.enter(together.ledger, number, parked, why="a test")
    newer = together.leave(tickets(3))
    end_all(local_provider)
    together.collect(newer)
    assert state(together, newer) == "completed"
    assert state(together, older) == ("superseded" if superseded else "in_progress")


def test_a_job_that_covers_less_supersedes_none(together: Shop, local_provider: LocalProvider) -> None:
    older = together.leave(partitions={"a": tickets(1), "b": tickets(1, start=1)})
    orphan(together, older)
    newer = together.leave(partitions={"a": tickets(1)})
    end_all(local_provider)
    together.collect(newer)
    assert state(together, older) == "in_progress"
