"""Time, passed in rather than looked up, so that a test can hold it; and durations in words.

Inside Offpeak time is timezone-aware UTC; the ledger stores whole microseconds since the epoch.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """What tells the time and lets it pass."""

    def now(self) -> datetime:
        """The current moment, timezone-aware, in UTC."""
        ...

    def sleep(self, duration: timedelta) -> None:
        """Return after `duration` has passed."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, duration: timedelta) -> None:
        time.sleep(max(0.0, duration.total_seconds()))


def to_micros(moment: datetime) -> int:
    """Whole microseconds since the epoch. Raises ValueError for a naive datetime."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone; Offpeak only handles timezone-aware datetimes")
    return (moment - EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The moment `micros` microseconds after the epoch, in UTC."""
    return EPOCH + timedelta(microseconds=micros)


def utc_day(at: datetime) -> datetime:
    """When the UTC day of a moment began."""
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def moment(at: datetime) -> str:
    """A moment for people, to the minute."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def exactly(duration: timedelta) -> str:
    """A duration for arithmetic, to the second: "36 h 30 min"."""
    seconds = int(abs(duration.total_seconds()))
    parts = []
    for name, size in (("h", 3_600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}")
    return ("-" if duration < timedelta(0) else "") + (" ".join(parts) or "0 s")


def in_words(duration: timedelta) -> str:
    """A duration for people: its two largest units, such as "1 d 13 h"."""
    seconds = int(abs(duration.total_seconds()))
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    parts = []
    for name, size in units:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}")
    return ("-" if duration < timedelta(0) else "") + (" ".join(parts[:2]) or "0 s")
