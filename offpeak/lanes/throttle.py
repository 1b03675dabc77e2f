"""How fast calls may follow one another: within what the account may use in a minute, as the provider's headers say.

Calls are spread evenly instead of being sent in bursts, because a provider may hold a limit by the second (both guides
to rate limits say so). Where the provider refuses all the same, somebody else uses the account too, or it counts
otherwise than we do: everything waits for as long as it asked to, and goes on a little slower. Decides only; nothing
here waits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from offpeak.providers.realtime import Measure

SHARE = 0.97
"""The part of each limit that is used: the rest is for clocks that differ, and for what nobody can foresee."""

BURST = timedelta(seconds=1)
"""What was not used is made up for within so much, and is lost after that."""

PROBES = 5
"""Calls in flight until the first answer has said what the limits are; then, where it does not say, the beginning of a
number that grows with every answer."""

SLOWER = 0.85
FASTER = 0.1
"""What a refusal leaves of the speed, and what a minute without one gives back of the limit."""

SLOWEST = 0.05

SHORTEST_PAUSE = timedelta(seconds=1)
"""After a refusal that does not say how long to wait."""


GIVE_UP_AFTER = 10
"""Calls that fail one after another, without an answer in between: the provider is taken to be away. From then on one
call at a time finds out whether it is back."""


@dataclass(slots=True)
class _Bucket:
    """Fills evenly; what is spent beyond its content has to come in before anything else is spent."""

    per_minute: float
    level: float
    at: datetime

    def fill(self, now: datetime, share: float) -> None:
        per_second = self.per_minute * share / 60
        most = max(1.0, per_second * BURST.total_seconds())
        self.level = min(most, self.level + per_second * max((now - self.at).total_seconds(), 0.0))
        self.at = max(now, self.at)

    def wait(self, amount: float, share: float) -> timedelta:
        """How long until `amount` may be spent; more than there ever is at once may be spent when it is full."""
        per_second = self.per_minute * share / 60
        needed = min(amount, max(1.0, per_second * BURST.total_seconds())) - self.level
        return timedelta(seconds=needed / per_second) if needed > 0 else timedelta(0)


class Throttle:
    """Says when the next call may be sent. `limits` are those of an earlier run; each reply's replace them."""

    def __init__(self, *, most_in_flight: int, limits: Mapping[Measure, float] | None = None) -> None:
        self.limits: dict[Measure, float] = dict(limits or {})
        """What the account may use in a minute, as last seen."""
        self.told = False
        """Whether a reply has said so, or only somebody beforehand."""
        self.refusals = 0
        self._most = most_in_flight
        self._window: float = most_in_flight if self.limits else min(PROBES, most_in_flight)
        self._share = SHARE
        self._blocked_until: datetime | None = None
        self._buckets: dict[Measure, _Bucket] = {}
        self._failures = 0
        self._filled_at: datetime | None = None

    @property
    def window(self) -> int:
        """How many calls may be in flight at once."""
        return 1 if self._failures >= GIVE_UP_AFTER else int(self._window)

    def wait(self, cost: Mapping[Measure, int], *, now: datetime) -> timedelta:
        """How long until a call that will use `cost` may be sent; nothing: it may be sent now."""
        if self._blocked_until is not None and now < self._blocked_until:
            return self._blocked_until - now
        self._fill(now)
        waits = [bucket.wait(cost.get(measure, 0), self._share) for measure, bucket in self._buckets.items()]
        return max(waits, default=timedelta(0))

    def sent(self, cost: Mapping[Measure, int], *, now: datetime) -> None:
        """A call is being sent that will use `cost`."""
        self._fill(now)
        for measure, bucket in self._buckets.items():
            bucket.level -= cost.get(measure, 0)

    def answered(
        self, limits: Mapping[Measure, float], *, foreseen: Mapping[Measure, int], used: Mapping[Measure, int]
    ) -> None:
        """A call was answered that used `used` instead of what was foreseen."""
        self._failures = 0
        if limits:
            self.limits |= limits
            self.told = True
            self._window = self._most
        else:
            self._window = min(self._window + 1, self._most)
        for measure, bucket in self._buckets.items():
            bucket.level += foreseen.get(measure, 0) - used.get(measure, foreseen.get(measure, 0))

    def refused(self, retry_after: timedelta | None, *, now: datetime) -> None:
        """The provider would not take a call. Several that were on their way at once are one reason to slow down."""
        self.refusals += 1
        if self._blocked_until is None or now >= self._blocked_until:
            self._share = max(SLOWEST, self._share * SLOWER)
            if not self.limits:
                self._window = max(1.0, self._window / 2)
        until = now + (retry_after or SHORTEST_PAUSE)
        self._blocked_until = max(until, self._blocked_until or until)

    def failed(self) -> bool:
        """A call was not answered, and no limit was the reason; whether the provider is taken to be away now."""
        self._failures += 1
        return self._failures >= GIVE_UP_AFTER

    def _fill(self, now: datetime) -> None:
        if self._filled_at is not None and now > self._filled_at:
            self._share = min(SHARE, self._share + FASTER * ((now - self._filled_at) / timedelta(minutes=1)))
        self._filled_at = now if self._filled_at is None else max(now, self._filled_at)
        for measure, per_minute in self.limits.items():
            bucket = self._buckets.get(measure)
            if bucket is None:
                self._buckets[measure] = _Bucket(per_minute, 0.0, now)
            else:
                bucket.fill(now, self._share)
                bucket.per_minute = per_minute
