"""A token bucket: what it holds is used up by calls, and refilled at an even pace up to what it can hold."""

from dataclasses import dataclass

NO_WAIT_SECONDS = 1e-6
"""A shorter wait is none: Unix times are floats, which tell no less than a quarter of that apart."""


@dataclass(slots=True)
class Bucket:
    """Times are Unix seconds. What is taken need not be there: then it owes, and waits are the longer."""

    per_second: float
    capacity: float
    level: float
    at: float
    """When the level was that."""

    @classmethod
    def full(cls, *, per_second: float, seconds: float, now: float) -> "Bucket":
        """A full one, which holds so many seconds' worth."""
        return cls(per_second, per_second * seconds, per_second * seconds, now)

    def refill(self, now: float) -> None:
        """Bring the level up to date. A clock that was set back brings nothing and takes nothing."""
        self.level = min(self.capacity, self.level + max(0.0, now - self.at) * self.per_second)
        self.at = now

    def wait_for(self, amount: float) -> float:
        """Seconds until so much is there; until it is full for what is more than it can hold."""
        seconds = (min(amount, self.capacity) - self.level) / self.per_second
        return seconds if seconds > NO_WAIT_SECONDS else 0.0

    def take(self, amount: float) -> None:
        self.level -= amount

    @property
    def remaining(self) -> int:
        """How much is there, in whole units."""
        return max(0, int(self.level + NO_WAIT_SECONDS * self.per_second))
