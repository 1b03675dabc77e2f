"""The policies that are compared. Each is given a night and says what became of it."""

import math
from collections.abc import Callable, Mapping

from .fixture import Fixture, Scenario
from .lane import RealtimeLane
from .night import Batch, Night
from .provider import Provider
from .rescuing import Outcome, Rescuing, by_job

Policy = Callable[[Night, Fixture, Scenario], Outcome]


def always_batch(night: Night, fixture: Fixture, scenario: Scenario) -> Outcome:
    """Waits, however long it takes; what expires is never bought."""
    return _split(night, fixture, scenario, lambda _: True)


def always_realtime(night: Night, fixture: Fixture, scenario: Scenario) -> Outcome:
    return _split(night, fixture, scenario, lambda _: False)


def all_knowing(night: Night, fixture: Fixture, scenario: Scenario) -> Outcome:
    """Knows when each batch will end: buys at realtime at once what would be late, and needs no cancel."""

    def in_time(batch: Batch) -> bool:
        return not batch.never and batch.ends + fixture.run_seconds <= batch.job.due

    return _split(night, fixture, scenario, in_time)


def offpeak(night: Night, fixture: Fixture, scenario: Scenario) -> Outcome:
    return Rescuing(night, fixture, scenario).run()


def rescue_per_job(night: Night, fixture: Fixture, scenario: Scenario) -> Outcome:
    """As Offpeak, except that a job reckons with its own work alone: what sharing a limit without knowing it costs."""
    return Rescuing(night, fixture, scenario, by_job).run()


POLICIES: Mapping[str, Policy] = {
    "always batch": always_batch,
    "always realtime": always_realtime,
    "all-knowing": all_knowing,
    "rescue per job": rescue_per_job,
    "Offpeak": offpeak,
}


def _split(night: Night, fixture: Fixture, scenario: Scenario, on_batch: Callable[[Batch], bool]) -> Outcome:
    """Decided once, when the night begins: by batch, or at once at realtime price."""
    outcome, lane = Outcome(Provider(night, fixture, scenario)), RealtimeLane(night, fixture)
    for batch in night.batches:
        if not on_batch(batch):
            lane.add(batch, 0, ready=batch.job.submitted)
        elif outcome.provider.collect(batch) == batch.requests:
            outcome.landed[batch.number] = batch.ends + fixture.run_seconds
    for work, at in lane.advance(math.inf):
        answered = at + fixture.answer_seconds
        outcome.provider.call(work.batch, work.first, answered)
        outcome.landed[work.batch.number] = answered + fixture.run_seconds
    return outcome
