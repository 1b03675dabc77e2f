"""A process dies while a full queue splits, drops or degrades: nothing is lost, and nothing is bought twice."""

from collections.abc import Sequence
from typing import Any

import pytest

from offpeak.faultpoints import FaultPoint
from offpeak.ledger.ledger import Ledger
from offpeak.results.store import ResultStore

from ..conftest import LocalProvider, Place, tickets
from . import rederiving
from .buyer import Verdict
from .conftest import DIED, Forge

ROWS = tickets(7)
NO_ROOM = {"open_batches": 0}
DEGRADE = {"on_full": "degrade", "degrade_to": "openai/gpt-5-nano"}


def answers(local_provider: LocalProvider, model: str) -> list[int]:
    """How often each request of a model was answered."""
    return [each["answered"] for each in local_provider.answered() if each["model"] == model]


def models(ledger: Ledger) -> Sequence[str]:
    return list(ResultStore(ledger).frame("labels", partitions=None, output=Verdict)["model"])


@pytest.mark.parametrize("point", [FaultPoint.PARTS_SPOOLED, FaultPoint.CHUNK_SPLIT])
def test_a_chunk_that_is_being_split_is_bought_once_and_whole(
    forge: Forge, any_place: Place, local_provider: LocalProvider, point: FaultPoint
) -> None:
    narrow = {"enqueued_tokens": 400}
    dying = forge.start(any_place, local_provider, "openai", rows=ROWS, die_at=point.value, room_once_planned=narrow)
    assert dying.wait() == DIED, f"no process came by {point}"
    receipt = forge.start(any_place, local_provider, "openai", rows=ROWS).receipt()

    assert (receipt["rows"], receipt["failed"]) == (7, 0)
    assert answers(local_provider, "gpt-5-mini") == [1] * 7
    assert local_provider.tally("openai")["batches_created"] > 1
    with any_place.open() as ledger:
        rederiving.check(ledger)
        assert list(ledger.spool.glob("*.writing")) == []


@pytest.mark.parametrize("point", [FaultPoint.CHUNK_DROPPED, FaultPoint.STAND_INS_QUEUED, FaultPoint.STAND_INS_SERVED])
def test_a_job_that_is_being_degraded_buys_its_stand_ins_once_and_its_own_model_later(
    forge: Forge, any_place: Place, local_provider: LocalProvider, point: FaultPoint
) -> None:
    full: dict[str, Any] = {"rows": ROWS, "room": NO_ROOM, "queue": DEGRADE}
    dying = forge.start(any_place, local_provider, "openai", die_at=point.value, **full)
    assert dying.wait() == DIED, f"no process came by {point}"
    receipt = forge.start(any_place, local_provider, "openai", **full).receipt()

    assert (receipt["rows"], receipt["degraded"], receipt["failed"]) == (7, 7, 0)
    assert answers(local_provider, "gpt-5-nano") == [1] * 7
    assert answers(local_provider, "gpt-5-mini") == []
    with any_place.open() as ledger:
        assert set(models(ledger)) == {"local-gpt-5-nano"}
        rederiving.check(ledger)

    receipt = forge.start(any_place, local_provider, "openai", rows=ROWS, room={}, queue=DEGRADE).receipt()
    assert (receipt["rows"], receipt["degraded"]) == (7, 0)
    assert answers(local_provider, "gpt-5-mini") == [1] * 7
    with any_place.open() as ledger:
        assert set(models(ledger)) == {"local-gpt-5-mini"}
        rederiving.check(ledger)
