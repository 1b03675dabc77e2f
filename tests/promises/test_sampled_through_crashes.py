"""A process that samples dies: nothing is bought twice, nothing that is held is bought, and nothing waits for ever."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from logging import getLogger
from typing import Any

import pytest
import sqlalchemy as sa

from offpeak.assets.work import Work
from offpeak.clock import SystemClock
from offpeak.faultpoints import FaultPoint
from offpeak.ledger import jobs, samples, tables
from offpeak.ledger.states import JobState, SampleState, SubmissionState

from ..conftest import LocalProvider, Place, tickets
from .buyer import MODELS, RATES, Verdict
from .conftest import DIED, Forge

ROWS = tickets(7)
SAMPLE: dict[str, Any] = {"rows": 3}


@pytest.fixture(autouse=True)
def answered_at_once(local_provider: LocalProvider) -> Iterator[None]:
    yield
    answer_all(local_provider)


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
        FaultPoint.CLAIMED,
        FaultPoint.CALLS_RECORDED,
        FaultPoint.APPLIED,
        FaultPoint.SAMPLE_SHOWN,
        FaultPoint.SAMPLE_JUDGED,
    ],
)
def test_wherever_it_dies_the_next_run_buys_the_sample_once_and_nothing_of_the_rest(
    forge: Forge, any_place: Place, local_provider: LocalProvider, point: FaultPoint
) -> None:
    if point is FaultPoint.CALLS_RECORDED:
        answer_one(local_provider)
    die(forge, any_place, local_provider, point)
    answer_all(local_provider)
    buy_sample_and_rest(forge, any_place, local_provider)
    assert [each["answered"] for each in local_provider.answered()] == [1] * 7


@pytest.mark.parametrize("point", [FaultPoint.CALLS_INTENDED, FaultPoint.CALL_ANSWERED])
def test_at_most_the_calls_in_flight_are_made_again_and_they_are_counted(
    forge: Forge, any_place: Place, local_provider: LocalProvider, point: FaultPoint
) -> None:
    die(forge, any_place, local_provider, point)
    lost = len(local_provider.answered())
    assert lost <= 3
    buy_sample_and_rest(forge, any_place, local_provider)
    with any_place.open() as ledger:
        assert [jobs.possibly_paid_twice(ledger, number) for number in (1, 2, 3)] == [3, 3, 0]
    assert sorted(each["answered"] for each in local_provider.answered()) == [1] * (7 - lost) + [2] * lost


def answer_one(local_provider: LocalProvider) -> None:
    """Of the sample's three calls two are asked to come later, before the third is answered."""
    local_provider.fault("realtime_429", retry_after=60, times=2)
    local_provider.settings(realtime_latency_seconds=0.3)


def answer_all(local_provider: LocalProvider) -> None:
    local_provider.call("DELETE", "/local/faults")
    local_provider.settings(realtime_latency_seconds=0.0)


def buy_sample_and_rest(forge: Forge, place: Place, local_provider: LocalProvider) -> None:
    """Runs go on: one until the sample waits for somebody, who approves of it, and one to the end."""
    said = forge.start(place, local_provider, "openai", rows=ROWS, sample=SAMPLE).said()
    assert "SampleHeld" in str(said["error"])
    assert len(local_provider.answered()) == 3
    with place.open() as ledger:
        found = [each for number in (1, 2) if (each := samples.get(ledger, number)) is not None]
        assert [(each.state, each.requests, each.failed) for each in found] == [(SampleState.WAITING, 3, 0)]
        samples.approve(ledger, found[0].id, who="me")
    receipt = forge.start(place, local_provider, "openai", rows=ROWS, sample=SAMPLE).receipt()
    assert (receipt["rows"], receipt["failed"]) == (7, 0)
    assert [batch["requests"] for batch in local_provider.batches()] == [4]


# Killed, and stopped then


def stopped(place: Place, local_provider: LocalProvider) -> dict[str, int]:
    """Wind down job 1, as the stopping run does; what came of the sample's requests, by reason, "answered" for one."""
    with place.open() as ledger, closing(local_provider.open("openai")) as provider:
        work = Work(
            1, asset="labels", model=MODELS["openai"], output=Verdict, ledger=ledger, provider=provider,
            rates=RATES[MODELS["openai"]], clock=SystemClock(), log=getLogger("stop"),
        )  # fmt: skip
        assert work.wind_down(patience=timedelta(seconds=10))
        jobs.close(ledger, 1, JobState.CANCELLED, why="stopped")
        with ledger.database.read() as connection:
            answers = connection.execute(sa.select(sa.func.count()).select_from(tables.answer)).scalar_one()
            failed = connection.execute(sa.select(tables.failure.c.reason)).scalars().all()
            assert connection.execute(sa.select(tables.call)).all() == []
            states = connection.execute(sa.select(tables.submission.c.state)).scalars().all()
            assert set(states) == {SubmissionState.APPLIED.value}
    return {"answered": answers, **Counter(failed)}


def test_one_that_is_stopped_keeps_what_was_answered_and_calls_nothing_more(
    forge: Forge, any_place: Place, local_provider: LocalProvider
) -> None:
    answer_one(local_provider)
    die(forge, any_place, local_provider, FaultPoint.CALLS_RECORDED)
    answer_all(local_provider)
    calls = local_provider.tally("openai")["realtime_calls"]
    assert stopped(any_place, local_provider) == {"answered": 1, "cancelled": 2}
    assert local_provider.tally("openai")["realtime_calls"] == calls
    assert len(local_provider.answered()) == 1
    receipt = forge.start(any_place, local_provider, "openai", rows=ROWS).receipt()
    assert (receipt["rows"], receipt["failed"], receipt["reused"]) == (7, 0, 1)
    assert [each["answered"] for each in local_provider.answered()] == [1] * 7


def test_calls_that_were_in_flight_when_it_died_are_counted_when_it_is_stopped(
    forge: Forge, any_place: Place, local_provider: LocalProvider
) -> None:
    die(forge, any_place, local_provider, FaultPoint.CALL_ANSWERED)
    lost = len(local_provider.answered())
    calls = local_provider.tally("openai")["realtime_calls"]
    assert stopped(any_place, local_provider) == {"answered": 0, "possibly_paid_twice": 3}
    assert local_provider.tally("openai")["realtime_calls"] == calls
    receipt = forge.start(any_place, local_provider, "openai", rows=ROWS).receipt()
    assert (receipt["rows"], receipt["failed"]) == (7, 0)
    assert len(local_provider.answered(at_least=2)) == lost <= 3


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
