"""A process dies over a job's end or over its notice: somebody is told all the same, of what is true."""

import logging
import os
import signal
from collections.abc import Callable
from datetime import timedelta

import pytest

from offpeak import Notifier, faultpoints
from offpeak.assets.notices import Teller
from offpeak.assets.notices_delivery import deliver
from offpeak.assets.work import Work
from offpeak.faultpoints import FaultPoint
from offpeak.ledger import notices
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.notify import NoticeKind, Notify, declared_routes
from offpeak.ledger.states import NoticeState
from offpeak.providers.base import Provider

from ..conftest import LOG, LocalProvider, Place, Shop, tickets
from ..receivers import Webhook

ROUTES = declared_routes("labels", Notify(to="ops", on=set(NoticeKind)))


def teller(webhook: Webhook) -> Teller:
    return Teller("labels", ROUTES, Notifier(destinations={"ops": webhook.url()}))


def land(shop: Shop, webhook: Webhook) -> None:
    """Buy, and close the job, as a run does before it tells anybody."""
    job_id = shop.begin(tickets(3))
    work = Work(
        job_id,
        asset="labels",
        model=shop.model,
        output=shop.output,
        list_lag=timedelta(seconds=1),
        on_close=teller(webhook).ended,
        **shop._place(),
    )
    work.carry_out()
    work.close()


def tell(ledger: Ledger, webhook: Webhook) -> int:
    return deliver(ledger, teller(webhook).notifier, logging.getLogger("told"), assets=["labels"])


def killed(work: Callable[[], object], *, at: FaultPoint | None = None) -> bool:
    """Do it in a process that kills itself at a point, or in what it does; whether it did."""
    pid = os.fork()
    if not pid:
        try:
            faultpoints.on_reach(lambda reached: die() if reached is at else None)
            work()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_run_that_dies_between_the_end_of_its_job_and_the_delivery_is_told_of(
    any_place: Place, local_provider: LocalProvider, webhook: Webhook
) -> None:
    any_place.open().close()
    assert killed(
        lambda: land(Shop(any_place.open(), local_provider.open("openai")), webhook), at=FaultPoint.JOB_CLOSED
    )
    assert webhook.received == []
    with any_place.open() as ledger:
        assert tell(ledger, webhook) == 1
        assert tell(ledger, webhook) == 0
    assert webhook.titles() == ["labels has landed"]


@pytest.mark.parametrize("point", [FaultPoint.JOB_QUEUED, FaultPoint.CREATED, FaultPoint.APPLIED])
def test_a_run_that_dies_before_its_job_ends_is_not_told_to_have_landed(
    place: Place, local_provider: LocalProvider, webhook: Webhook, point: FaultPoint
) -> None:
    place.open().close()
    assert killed(lambda: land(Shop(place.open(), local_provider.open("openai")), webhook), at=point)
    with place.open() as ledger:
        assert notices.listed(ledger) == []


def test_whoever_dies_between_sending_and_recording_is_taken_over_and_tells_it_at_most_once_more(
    any_place: Place, open_account: Callable[..., Provider], webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    with any_place.open() as ledger:
        land(Shop(ledger, open_account()), webhook)

    def send_and_die() -> None:
        monkeypatch.setattr(notices, "settle", lambda *_: die())
        tell(any_place.open(), webhook)

    assert killed(send_and_die)
    assert webhook.titles() == ["labels has landed"]
    with any_place.open() as ledger:
        assert tell(ledger, webhook) == 1, "the claim of a dead process holds nothing up"
        assert [(row.state, row.attempts) for row in notices.listed(ledger)] == [(NoticeState.DELIVERED, 2)]
    assert webhook.titles() == ["labels has landed"] * 2


def test_a_process_that_is_killed_while_a_service_hangs_leaves_its_notice_to_the_next(
    place: Place, open_account: Callable[..., Provider], webhook: Webhook
) -> None:
    with place.open() as ledger:
        land(Shop(ledger, open_account()), webhook)

    def hang_and_die() -> None:
        signal.signal(signal.SIGALRM, lambda *_: die())
        signal.setitimer(signal.ITIMER_REAL, 1)
        deliver(place.open(), Notifier(destinations={"ops": webhook.url("hangs")}), LOG, assets=["labels"])

    assert killed(hang_and_die)
    with place.open() as ledger:
        assert tell(ledger, webhook) == 1
    assert webhook.titles() == ["labels has landed"]
