"""One night, drawn from its seed before anything is decided: the jobs, when each batch would end, what goes wrong.

Times are seconds from the night's beginning.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from offpeak.lanes.rescue import TERMS, reserve
from offpeak.ledger.sightings import REMEMBERED
from offpeak.providers.base import BATCH_WINDOW

from .fixture import HOUR, MINUTE, Fixture, Scenario

WINDOW = BATCH_WINDOW.total_seconds()


@dataclass(frozen=True, slots=True)
class Outage:
    """The provider does nothing from `start` until `end`."""

    start: float
    end: float

    def covers(self, at: float) -> bool:
        return self.start <= at < self.end

    def delayed(self, start: float, takes: float) -> float:
        """When something ends that begins at `start` and takes so long, if it rests meanwhile."""
        begins = self.end if self.covers(start) else start
        ends = begins + takes
        return ends + self.end - self.start if begins < self.start < ends else ends


NEVER = Outage(math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Throttle:
    """From `start` on the realtime endpoints take `capacity` of their limit."""

    start: float = math.inf
    capacity: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    number: int
    submitted: float
    due: float
    past: Sequence[timedelta]
    """How long the asset's last batches took, as the ledger would tell."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    number: int
    job: Job
    requests: int
    ends: float
    """By itself, with every answer; never later than the provider's window, where it expires instead."""
    never: bool
    """It ends without an answer."""
    cancel_takes: float


@dataclass(frozen=True, slots=True)
class Night:
    name: str
    jobs: Sequence[Job]
    batches: Sequence[Batch]
    slow: float
    outage: Outage
    throttle: Throttle
    failed_share: float

    @property
    def over(self) -> float:
        """The last deadline."""
        return max(job.due for job in self.jobs)


def draw(fixture: Fixture, scenario: Scenario, seed: int, number: int) -> Night:
    """The night of that number. The scenarios' nights differ in nothing but how far the batches' times spread."""
    dice = random.Random(f"{seed}/{number}")
    slow = _slow(fixture, dice)
    longest = fixture.spread_minutes * MINUTE + max(fixture.deadlines_hours) * HOUR
    outage, throttle = _outage(fixture, dice, longest), _throttle(fixture, dice, longest)
    failed_share = dice.uniform(*fixture.failed_share)
    jobs = [_job(fixture, scenario, dice, each, outage) for each in range(fixture.jobs)]
    batches = [
        _batch(fixture, scenario, dice, job.number * fixture.chunks + each, job, slow=slow, outage=outage)
        for job in jobs
        for each in range(fixture.chunks)
    ]
    return Night(f"{seed}/{number}", jobs, batches, slow, outage, throttle, failed_share)


def _slow(fixture: Fixture, dice: random.Random) -> float:
    low, high = fixture.slow_nights.factor
    factor = math.exp(dice.uniform(math.log(low), math.log(high)))
    return factor if dice.random() < fixture.slow_nights.share else 1.0


def _outage(fixture: Fixture, dice: random.Random, longest: float) -> Outage:
    start, length = dice.uniform(0, longest), dice.uniform(*fixture.outages.minutes) * MINUTE
    return Outage(start, start + length) if dice.random() < fixture.outages.share else NEVER


def _throttle(fixture: Fixture, dice: random.Random, longest: float) -> Throttle:
    start, capacity = dice.uniform(0, longest), dice.uniform(*fixture.throttles.capacity)
    return Throttle(start, capacity) if dice.random() < fixture.throttles.share else Throttle()


def _job(fixture: Fixture, scenario: Scenario, dice: random.Random, number: int, outage: Outage) -> Job:
    begins = dice.uniform(0, fixture.spread_minutes * MINUTE)
    deadline = fixture.deadlines_hours[number % len(fixture.deadlines_hours)] * HOUR
    past = _past(fixture, scenario, dice, deadline)
    return Job(number, outage.delayed(begins, 0), begins + deadline, past)


def _past(fixture: Fixture, scenario: Scenario, dice: random.Random, deadline: float) -> list[timedelta]:
    """Sorted. The ledger knows how long a batch took only where it completed; what was given up before did not."""
    longest = deadline - reserve(timedelta(0), TERMS).total_seconds() if fixture.rescued_before else WINDOW
    found: list[timedelta] = []
    slow = 1.0
    for each in range(100 * REMEMBERED):
        if each % fixture.chunks == 0:
            slow = _slow(fixture, dice)
        took = _takes(fixture, scenario, dice) * slow
        if took < longest:
            found.append(timedelta(seconds=took))
        if len(found) == REMEMBERED:
            break
    return sorted(found)


def _takes(fixture: Fixture, scenario: Scenario, dice: random.Random) -> float:
    return fixture.median_hours * HOUR * math.exp(scenario.sigma * dice.gauss(0, 1))


def _batch(
    fixture: Fixture, scenario: Scenario, dice: random.Random, number: int, job: Job, *, slow: float, outage: Outage
) -> Batch:
    never = dice.random() < fixture.never_share
    ends = outage.delayed(job.submitted, _takes(fixture, scenario, dice) * slow)
    expires = job.submitted + WINDOW
    return Batch(
        number,
        job,
        fixture.requests_per_chunk,
        ends=expires if never else min(ends, expires),
        never=never or ends >= expires,
        cancel_takes=dice.uniform(*fixture.cancel_minutes) * MINUTE,
    )
