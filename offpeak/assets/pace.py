"""How fast a long step goes and how long it will take: said in the log now and then, never for one that is short."""

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

from offpeak.clock import Clock, in_words

T = TypeVar("T")

FIRST = timedelta(seconds=30)
"""A step that takes less says nothing."""

SHARE = 5
"""After that it is said again whenever a fifth more time has passed: often at first, a dozen times in an hour."""

STEP = 1_000
"""Items between two looks at the clock."""

Told = Callable[[int], None]
"""Hears how many items there were so far."""


class Pace:
    """Says now and then through `say` how far a step is."""

    def __init__(self, say: Callable[[str], None], what: str, *, unit: str, clock: Clock) -> None:
        self._say, self._what, self._unit, self._clock = say, what, unit, clock
        self._began = clock.now()
        self._next = self._began + FIRST

    def at(self, done: int, *, of: int | None = None) -> None:
        """So many are done by now, of so many; None where nobody knows of how many, and only the rate is said."""
        now = self._clock.now()
        if now < self._next:
            return
        elapsed = now - self._began
        self._next = now + max(elapsed / SHARE, FIRST)
        self._say(f"{self._what}: {self._words(done, of, elapsed)}")

    def _words(self, done: int, of: int | None, elapsed: timedelta) -> str:
        rate = done / elapsed.total_seconds()
        speed = f"{rate:,.0f} a second" if rate >= 1 else f"{rate * 3600:,.0f} an hour"
        if not of or not rate or done >= of:
            return f"{done:,} {self._unit} in {in_words(elapsed)}, {speed}"
        left = timedelta(seconds=(of - done) / rate)
        return (
            f"{done:,} of {of:,} {self._unit} in {in_words(elapsed)}, {speed}; about {in_words(left)} left at this pace"
        )


def counted(items: Iterable[T], told: Told, *, so_far: int = 0) -> Iterator[T]:
    """The items as they are; `told` hears now and then how many there were, `so_far` included."""
    for number, item in enumerate(items, so_far + 1):
        if not number % STEP:
            told(number)
        yield item
