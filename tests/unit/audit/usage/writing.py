"""Logs as tests write them, and calls put together to what a job's minutes come to."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean as mean
from typing import Any
from zoneinfo import ZoneInfo

from offpeak.audit.usage.activity import Activity, activity
from offpeak.audit.usage.tally import MINUTE, Durations, Minute

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
A_MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)

Call = tuple[datetime, timedelta | None]
"""When it began, and how long it took."""


def at(day: int, hour: int = 0, minute: int = 0, second: float = 0, *, zone: str = "UTC") -> datetime:
    """A moment of October 2026, which begins on a Thursday; later days run on into November."""
    begin = datetime(2026, 10, 1, hour, minute, tzinfo=ZoneInfo(zone))
    return (begin + (day - 1) * DAY).astimezone(UTC) + second * SECOND


def lines(path: Path, records: Iterable[dict[str, Any]]) -> Path:
    """A file of JSON lines."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def in_a_row(begin: datetime, calls: int, took: timedelta, pause: timedelta = timedelta(0)) -> Iterator[Call]:
    """Calls that each wait for the one before."""
    for number in range(calls):
        yield begin + number * (took + pause), took


def active(calls: Iterable[Call], zone: str = "UTC") -> Activity:
    """What these calls come to."""
    by_minute: dict[int, list[tuple[int, int]]] = {}
    known = []
    for start, took in sorted(calls, key=lambda call: call[0]):
        millis, length = round(start.timestamp() * 1_000), 0
        if took is not None:
            length = round(took / SECOND * 1_000)
            known.append(length)
        by_minute.setdefault(millis // MINUTE, []).append((millis, length))
    minutes = [
        Minute(
            calls=len(each),
            first=each[0][0],
            last=each[-1][0],
            ended=max(start + length for start, length in each),
            busy=sum(length for _, length in each),
        )
        for each in by_minute.values()
    ]
    durations = Durations(mean(known), mean(length**2 for length in known)) if known else None
    return activity(minutes, durations=durations, zone=ZoneInfo(zone))
