"""How often something runs: the longest time between two ticks of its schedules, clock changes included.

Ticks are those that Dagster itself would make of a cron expression, so a night that is an hour longer counts as one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import dagster as dg

_FORMAT = "%Y-%m-%dT%H:%M%z"
_WEEK = timedelta(days=7)
_YEAR = timedelta(days=400)
"""Longer than any year, so that both clock changes and the longest month are within."""

_MANY = 80
"""Ticks a week from which on only the weeks around now and around the clock changes are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """When something runs by the clock. `name` is whose schedule it is, for people."""

    cron_schedule: str
    timezone: str
    name: str

    def __str__(self) -> str:
        return f"{self.name}, {self.cron_schedule!r} in {self.timezone}"

    def ticks(self, since: datetime, until: datetime) -> list[datetime]:
        """The ticks in [since, until), in UTC and in order."""
        return list(_ticks(self.cron_schedule, self.timezone, since.astimezone(UTC), until.astimezone(UTC)))

    def next_tick(self, after: datetime) -> datetime | None:
        """The first tick later than `after`; None for an expression that never comes true again within four years."""
        reach = _WEEK
        while reach <= 4 * _YEAR:
            found = [each for each in self.ticks(after, after + reach) if each > after]
            if found:
                return found[0]
            reach *= 6
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The longest time between two runs, and the run that it begins with."""

    duration: timedelta
    begins: datetime


def longest_gap(crons: Iterable[Cron], *, now: datetime) -> Gap | None:
    """The longest time between two ticks of any of `crons` in the year from `now` on; None without two ticks."""
    chosen = tuple(sorted(set(crons), key=str))
    return _longest_gap(chosen, _day(now)) if chosen else None


def shortest_gap(crons: Iterable[Cron], *, now: datetime) -> timedelta | None:
    """The shortest time between two ticks of any of `crons` in the year from `now` on; None without two ticks."""
    chosen, day = tuple(sorted(set(crons), key=str)), _day(now)
    gaps = [
        later - earlier
        for since, until in _stretches(chosen, day)
        for earlier, later in pairwise(sorted({tick for each in chosen for tick in each.ticks(since, until)}))
    ]
    return min(gaps, default=None)


def next_tick(crons: Iterable[Cron], *, after: datetime) -> datetime | None:
    """The first tick of any of `crons` later than `after`."""
    return min((tick for each in crons if (tick := each.next_tick(after)) is not None), default=None)


def times_since(
    producers: Iterable[Cron], readers: Iterable[Cron], *, lag: timedelta, now: datetime
) -> Sequence[timedelta]:
    """How long each tick of `readers` comes after the newest tick of `producers` that is at least `lag` older, sorted.

    In other words: how long ago the run began whose rows have landed for certain when the reader runs. Empty where one
    of them has no ticks in the year from `now` on.
    """
    made, read = tuple(sorted(set(producers), key=str)), tuple(sorted(set(readers), key=str))
    return _times_since(made, read, lag, _day(now)) if made and read else ()


@lru_cache(maxsize=256)
def _longest_gap(crons: Sequence[Cron], now: datetime) -> Gap | None:
    worst: Gap | None = None
    for since, until in _stretches(crons, now):
        ticks = sorted({tick for each in crons for tick in each.ticks(since, until)})
        for earlier, later in pairwise(ticks):
            if worst is None or later - earlier > worst.duration:
                worst = Gap(duration=later - earlier, begins=earlier)
    return worst


@lru_cache(maxsize=256)
def _times_since(
    producers: Sequence[Cron], readers: Sequence[Cron], lag: timedelta, now: datetime
) -> Sequence[timedelta]:
    gap = _longest_gap(producers, now)
    if gap is None:
        return ()
    found: list[timedelta] = []
    for since, until in _stretches((*producers, *readers), now):
        made = sorted({tick for each in producers for tick in each.ticks(since - gap.duration - lag - _WEEK, until)})
        position = 0
        for tick in sorted({tick for each in readers for tick in each.ticks(since, until)}):
            while position + 1 < len(made) and made[position + 1] + lag <= tick:
                position += 1
            if made and made[position] + lag <= tick:
                found.append(tick - made[position])
    return tuple(sorted(found))


def _day(moment: datetime) -> datetime:
    """Its day's beginning in UTC: what is computed once a day can be kept."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _stretches(crons: Sequence[Cron], now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The times to look at: the year from `now` on, or of what runs often the weeks that differ."""
    often = max(len(each.ticks(now, now + _WEEK)) for each in crons) > _MANY
    seldom = any(len(each.ticks(now, now + _WEEK)) < 1 for each in crons)
    if not often or seldom:
        yield now, now + (4 * _YEAR if seldom else _YEAR)
        return
    yield now, now + 4 * _WEEK
    for change in sorted({moment for each in crons for moment in _clock_changes(each.timezone, now)}):
        yield change - _WEEK, change + _WEEK


def _clock_changes(timezone: str, now: datetime) -> Iterator[datetime]:
    """The days of the year from `now` on before which the clock is changed."""
    zone = ZoneInfo(timezone)
    days = [now + timedelta(days=number) for number in range(_YEAR.days)]
    for earlier, later in pairwise(days):
        if earlier.astimezone(zone).utcoffset() != later.astimezone(zone).utcoffset():
            yield later


def _ticks(cron_schedule: str, timezone: str, since: datetime, until: datetime) -> Iterator[datetime]:
    # a partitions definition is the public form of Dagster's own reading of cron expressions
    windows = dg.TimeWindowPartitionsDefinition(
        start=since, cron_schedule=cron_schedule, timezone=timezone, fmt=_FORMAT, end_offset=2
    )
    with dg.partition_loading_context(effective_dt=until):
        for key in windows.get_partition_keys():
            tick = datetime.strptime(key, _FORMAT).astimezone(UTC)
            if since <= tick < until:
                yield tick
