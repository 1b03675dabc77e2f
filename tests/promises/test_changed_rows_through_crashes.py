"""A plan over changed rows may die anywhere: no change is lost by it, and none is bought twice."""

import os
import signal
from collections.abc import Callable

import pytest

from offpeak import faultpoints
from offpeak.faultpoints import FaultPoint
from offpeak.providers.base import Provider

from ..conftest import LocalProvider, Place, Shop
from ..unit.ledger.test_changed_rows import Reader, Table

PLANNING = [
    FaultPoint.JOB_BEGUN,
    FaultPoint.SPOOL_PUBLISHED,
    FaultPoint.CHUNK_QUEUED,
    FaultPoint.TARGETS_TAKEN,
    FaultPoint.ROWS_WANTED,
    FaultPoint.JOB_QUEUED,
    FaultPoint.CREATED,
    FaultPoint.APPLIED,
]


@pytest.mark.parametrize("point", PLANNING)
def test_a_change_is_planned_once_wherever_the_plan_before_died(
    any_place: Place, open_account: Callable[..., Provider], local_provider: LocalProvider, point: FaultPoint
) -> None:
    table = Table()
    table.set(**{f"T{number:02}": f"My invoice number {number} is wrong." for number in range(20)})
    ledger = any_place.open()
    Reader(Shop(ledger, open_account()), table).buy()
    ledger.close()
    table.set(T03="The app crashes.", T99="How do I export?")
    table.drop("T07")

    assert killed_at(point, lambda: Reader(Shop(any_place.open(), local_provider.open("openai")), table).buy())

    ledger = any_place.open()
    reader = Reader(Shop(ledger, open_account()), table)
    receipt = reader.buy()
    assert receipt.rows == 20
    assert sorted(reader.shop.frame()["key"]) == sorted(table.rows)
    assert local_provider.tally("openai")["answers_delivered"] == 22
    assert local_provider.answered(at_least=2) == []
    assert reader.buy().bought == 0
    assert table.read == [], "the next plan stands on the one that came through"
    ledger.close()


def killed_at(point: FaultPoint, work: Callable[[], object]) -> bool:
    """Do it in a process that dies at `point`; whether it did."""

    def die(reached: FaultPoint) -> None:
        if reached is point:
            os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if not pid:
        try:
            faultpoints.on_reach(die)
            work()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
