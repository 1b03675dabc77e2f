"""Simulated time, shared by every process of a schedule: it passes only where the stage lets it pass."""

import mmap
import struct
from collections.abc import Callable
from datetime import datetime, timedelta

from offpeak.clock import from_micros

BEGIN = 1_900_000_000
"""Unix seconds at which every schedule begins."""


class SharedTime:
    """Microseconds since the epoch in memory that forked processes share."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)
        self.micros = BEGIN * 1_000_000

    @property
    def micros(self) -> int:
        (value,) = struct.unpack_from("q", self._memory)
        return int(value)

    @micros.setter
    def micros(self, value: int) -> None:
        struct.pack_into("q", self._memory, 0, value)

    def now(self) -> datetime:
        return from_micros(self.micros)


class HeldClock:
    """A Clock of the product: `rest` is told how long its process sleeps, and returns when that has passed."""

    def __init__(self, time: SharedTime, rest: Callable[[timedelta], None]) -> None:
        self._time, self._rest = time, rest

    def now(self) -> datetime:
        return self._time.now()

    def sleep(self, duration: timedelta) -> None:
        self._rest(duration)
