"""A process that samples dies: nothing is bought twice, nothing that is held is bought, and nothing waits for ever."""

from typing import Any

import pytest

from offpeak.faultpoints import FaultPoint
from offpeak.ledger import samples
from offpeak.ledger.states import SampleState

from ..conftest import LocalProvider, Place, tickets
from .conftest import DIED, Forge

ROWS = tickets(7)
SAMPLE: dict[str, Any] = {"rows": 3}


def die(forge: Forge, place: Place, local_provider: LocalProvider, point: FaultPoint) -> None:
    dying = forge.start(place, local_provider, "openai", rows=ROWS, die_at=point.value, sample=SAMPLE)
    assert dying.wait() == DIED, f"no process came by {point}"


@pytest.mark.parametrize(
    "point",
    [
        FaultPoint.CHUNK_QUEUED,
        FaultPoint.TARGETS_TAKEN,
        FaultPoint.ROWS_WANTED,
        FaultPoint.JOB_QUEUED,
        FaultPoint.CREATED,
        FaultPoint.LINES_STORED,
        FaultPoint.APPLIED,
        FaultPoint.SAMPLE_SHOWN,
        FaultPoint.SAMPLE_JUDGED,
    ],
)
def test_wherever_it_dies_the_next_run_buys_the_sample_once_and_nothing_of_the_rest(
    forge: Forge, any_place: Place, local_provider: LocalProvider, point: FaultPoint
) -> None:
    die(forge, any_place, local_provider, point)
    said = forge.start(any_place, local_provider, "openai", rows=ROWS, sample=SAMPLE).said()
    assert "SampleHeld" in str(said["error"])
    assert [each["answered"] for each in local_provider.answered()] == [1] * 3
    with any_place.open() as ledger:
        found = [each for number in (1, 2) if (each := samples.get(ledger, number)) is not None]
        assert [each.state for each in found] == [SampleState.WAITING]
        samples.approve(ledger, found[0].id, who="me")
    receipt = forge.start(any_place, local_provider, "openai", rows=ROWS, sample=SAMPLE).receipt()
    assert (receipt["rows"], receipt["failed"]) == (7, 0)
    assert [each["answered"] for each in local_provider.answered()] == [1] * 7


@pytest.mark.parametrize("point", [FaultPoint.TARGETS_TAKEN, FaultPoint.ROWS_WANTED])
def test_what_a_plan_held_that_died_is_free_for_another_asset(
    forge: Forge, any_place: Place, local_provider: LocalProvider, point: FaultPoint
) -> None:
    die(forge, any_place, local_provider, point)
    receipt = forge.start(any_place, local_provider, "openai", rows=ROWS, asset="others").receipt()
    assert (receipt["rows"], receipt["failed"]) == (7, 0)
    assert [each["answered"] for each in local_provider.answered()] == [1] * 7


def test_a_process_that_dies_after_the_release_has_released_it(
    forge: Forge, any_place: Place, local_provider: LocalProvider
) -> None:
    accepting = SAMPLE | {"max_failures": 0.5}
    died = forge.start(any_place, local_provider, "openai", rows=ROWS, die_at="sample_judged", sample=accepting)
    assert died.wait() == DIED
    assert len(local_provider.answered()) == 3
    receipt = forge.start(any_place, local_provider, "openai", rows=ROWS, sample=SAMPLE).receipt()
    assert (receipt["rows"], len(local_provider.answered())) == (7, 7)
