"""A process that plans over its budget dies: nothing of it is bought, and what it had written is taken back."""

from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from offpeak.faultpoints import FaultPoint
from offpeak.ledger import jobs, spending, tables
from offpeak.ledger.conditions import Condition
from offpeak.ledger.watching import watched

from ..conftest import LocalProvider, Place, tickets
from .conftest import DIED, Forge

ROWS = tickets(7)
TINY: dict[str, Any] = {"job": "0.000001"}


@pytest.mark.parametrize("point", [FaultPoint.JOB_BEGUN, FaultPoint.SPOOL_PUBLISHED, FaultPoint.CHUNK_QUEUED])
def test_killed_before_it_is_held_it_leaves_nothing_that_anybody_submits(
    forge: Forge, any_place: Place, local_provider: LocalProvider, point: FaultPoint
) -> None:
    dying = forge.start(any_place, local_provider, "openai", rows=ROWS, budget=TINY, die_at=point.value)
    assert dying.wait() == DIED, f"no process came by {point}"

    said = forge.start(any_place, local_provider, "openai", rows=ROWS, budget=TINY).said()
    assert said["error"] == "BudgetExceeded"
    assert local_provider.batches() == []
    with any_place.open() as ledger:
        with ledger.database.read() as connection:
            chunks = set(connection.execute(sa.select(tables.chunk.c.state)).scalars())
            states = list(connection.execute(sa.select(tables.job.c.state).order_by(tables.job.c.id)).scalars())
        assert chunks == {"taken_back"}
        assert states == ["abandoned", "held"]
        (found,) = watched(ledger, now=datetime.now(UTC))
        assert found.condition is Condition.HELD
        jobs.approve(ledger, found.job.id, who="a test")
    receipt = forge.start(any_place, local_provider, "openai", rows=ROWS, budget=TINY).receipt()
    assert (receipt["rows"], receipt["bought"]) == (7, 7)
    assert [each["answered"] for each in local_provider.answered()] == [1] * 7


def test_killed_with_its_place_taken_it_counts_for_nobody_and_the_next_run_buys(
    forge: Forge, any_place: Place, local_provider: LocalProvider
) -> None:
    bound = {"day": "0.01"}
    place_taken = FaultPoint.PLACE_TAKEN.value
    dying = forge.start(any_place, local_provider, "openai", rows=ROWS, budget=bound, die_at=place_taken)
    assert dying.wait() == DIED
    with any_place.open() as ledger:
        assert spending.spent(ledger, "labels") == spending.Spent()
    receipt = forge.start(any_place, local_provider, "openai", rows=ROWS, budget=bound).receipt()
    assert (receipt["rows"], receipt["bought"]) == (7, 7)
    assert [each["answered"] for each in local_provider.answered()] == [1] * 7
