"""When Offpeak looks at the provider's list: at ticks of the sensor, at the intervals that it keeps in production.

One pass shows all batches of the account, and is due as soon as one of them wants it. A batch that is being cancelled
counts as a new one without history, so that its end is seen soon.
"""

import math
from collections.abc import Iterable
from datetime import timedelta

from offpeak.lanes.polling import FIRST_LOOK, next_look

from .night import Job

TICK = 30.0
"""Seconds between two ticks of the sensor for batches."""


def tick_at(moment: float) -> float:
    """The first tick that is not before it."""
    return math.ceil(moment / TICK) * TICK if moment < math.inf else moment


class Looks:
    def __init__(self) -> None:
        self._last: float | None = None

    def looked(self, now: float) -> None:
        self._last = now

    def due(self, now: float, jobs: Iterable[Job], cancelled: Iterable[float]) -> bool:
        return self.wait(now, jobs, cancelled) <= 0

    def wait(self, now: float, jobs: Iterable[Job], cancelled: Iterable[float]) -> float:
        """How long it is not due for, seen from now: later it may turn out to be a little longer.

        `jobs` have batches out, and `cancelled` is when those were that are being cancelled.
        """
        if self._last is None:
            return 0.0
        due, shrinking = math.inf, False
        for job in jobs:
            elapsed = now - job.submitted
            due = min(due, next_look(timedelta(seconds=elapsed), job.past).total_seconds())
            shrinking = shrinking or (bool(job.past) and elapsed < job.past[0].total_seconds() * FIRST_LOOK)
        for at in cancelled:
            due = min(due, next_look(timedelta(seconds=now - at), ()).total_seconds())
        left = due - (now - self._last)
        # before the first look is due, the interval gets shorter as fast as time passes
        return left / 2 if shrinking and left > TICK else left
