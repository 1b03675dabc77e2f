"""How often something runs: the longest time between two ticks of its schedules, clock changes included.

Ticks are those that Dagster itself would make of a cron expression, so a night that is an hour longer counts as one.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

_FORMAT = "%Y-%m-%dT%H:%M%z"
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_YEAR = timedelta(days=400)
"""Longer than any year, so that both clock changes and the longest month are within."""

_LEAP_YEARS = 9 * _YEAR
"""Longer than from one 29 February to the one after next: the answer is the same on whatever day it is asked."""

_MANY = 80
"""Ticks a week from which on only the days from now on and around the clock changes are looked at, where one day or
week is like the other."""

_SOON = timedelta(hours=6)


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
        since = after
        for reach in (_SOON, _WEEK, _YEAR, 4 * _YEAR):
            found = [each for each in self.ticks(since, after + reach) if each > after]
            if found:
                return found[0]
            since = after + reach
        return None

    def last_tick(self, until: datetime) -> datetime | None:
        """The last tick at or before `until`; None where there was none within four years."""
        before = until + timedelta(microseconds=1)
        for reach in (_SOON, _WEEK, _YEAR, 4 * _YEAR):
            found = self.ticks(until - reach, before)
            if found:
                return found[-1]
            before = until - reach
        return None

    @property
    def period(self) -> timedelta | None:
        """After what time it ticks alike again, clock changes apart; None where it names days of a month or months."""
        fields = self.cron_schedule.split()
        if len(fields) != 5 or fields[2:4] != ["*", "*"]:
            return None
        return _DAY if fields[4] == "*" else _WEEK


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


def last_tick(crons: Iterable[Cron], *, until: datetime) -> datetime | None:
    """The last tick of any of `crons` at or before `until`."""
    return max((tick for each in crons if (tick := each.last_tick(until)) is not None), default=None)


def times_since(
    producers: Iterable[Cron], readers: Iterable[Cron], *, lag: timedelta, now: datetime
) -> Sequence[timedelta]:
    """How long each tick of `readers` comes after the newest tick of `producers` that is at least `lag` older, sorted.

    In other words: how long ago the run began whose rows have landed for certain when the reader runs. Empty where one
    of them has no ticks in the year from `now` on.
    """
    made, read = tuple(sorted(set(producers), key=str)), tuple(sorted(set(readers), key=str))
    return _times_since(made, read, lag, _day(now)) if made and read else ()


def longest_until(starts: Iterable[Cron], ends: Iterable[Cron], *, now: datetime) -> timedelta | None:
    """The longest time from a tick of `starts` to the next tick of any of `ends`; None where one of them has none."""
    found = [until - since for since, (until,) in following(starts, ends, now=now)]
    return max(found, default=None)


def following(
    starts: Iterable[Cron], *ends: Iterable[Cron], now: datetime
) -> Sequence[tuple[datetime, Sequence[datetime]]]:
    """Each tick of `starts` in the year from `now` on, with the first tick after it of each of `ends`.

    Of what runs often, the ticks of the weeks that differ. Empty where nothing in one of them ticks.
    """
    begun = tuple(sorted(set(starts), key=str))
    ended = tuple(tuple(sorted(set(each), key=str)) for each in ends)
    return _following(begun, ended, _day(now)) if begun and all(ended) else ()


@lru_cache(maxsize=256)
def _following(
    starts: Sequence[Cron], ends: Sequence[Sequence[Cron]], now: datetime
) -> Sequence[tuple[datetime, Sequence[datetime]]]:
    gaps = [_longest_gap(each, now) for each in ends]
    known = [each.duration for each in gaps if each is not None]
    if len(known) < len(ends):
        return ()
    found: list[tuple[datetime, Sequence[datetime]]] = []
    for since, until in _stretches((*starts, *(cron for each in ends for cron in each)), now):
        later = [_union(each, since, until + gap + _DAY) for each, gap in zip(ends, known, strict=True)]
        for tick in _union(starts, since, until):
            positions = [bisect_right(each, tick) for each in later]
            if all(position < len(each) for position, each in zip(positions, later, strict=True)):
                found.append((tick, tuple(each[at] for at, each in zip(positions, later, strict=True))))
    return tuple(found)


@lru_cache(maxsize=256)
def _longest_gap(crons: Sequence[Cron], now: datetime) -> Gap | None:
    worst: Gap | None = None
    for since, until in _stretches(crons, now):
        for earlier, later in pairwise(_union(crons, since, until)):
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
    for since, until in _moments(producers, readers, lag, now):
        made = _union(producers, since - gap.duration - lag - _DAY, until)
        position = 0
        for tick in _union(readers, since, until):
            while position + 1 < len(made) and made[position + 1] + lag <= tick:
                position += 1
            if made and made[position] + lag <= tick:
                found.append(tick - made[position])
    return tuple(sorted(found))


def _moments(
    producers: Sequence[Cron], readers: Sequence[Cron], lag: timedelta, now: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """The times in which to look at what readers read."""
    crons = (*producers, *readers)
    if not _often(crons, now) or all(each.period for each in crons):
        yield from _stretches(crons, now)
    elif _often(readers, now) and (pause := _longest_gap(readers, now)) is not None:
        # the oldest is read just before newer rows have landed, and the typical on any day
        for number in range(0, _YEAR.days, 3):
            yield now + number * _DAY, now + number * _DAY + pause.duration
        for tick in _union(producers, now, now + _YEAR):
            yield tick + lag - pause.duration, tick + lag + _SECOND
    else:
        for tick in _union(readers, now, now + 4 * _YEAR):
            yield tick, tick + _SECOND


@lru_cache(maxsize=64)
def _union(crons: Sequence[Cron], since: datetime, until: datetime) -> Sequence[datetime]:
    return sorted({tick for each in crons for tick in each.ticks(since, until)})


def _day(moment: datetime) -> datetime:
    """Its day's beginning in UTC: what is computed once a day can be kept."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _stretches(crons: Sequence[Cron], now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The times to look at: the year from `now` on, or of what runs often the weeks that differ."""
    if not (often := _often(crons, now)):
        seldom = any(not each.ticks(now, now + _WEEK) for each in crons)
        yield now, now + (_LEAP_YEARS if seldom else _YEAR)
        return
    # whatever ticks beside it only makes gaps shorter
    period = min(each.period or _WEEK for each in often)
    yield now, now + 2 * period + _DAY
    for change in sorted({moment for each in crons for moment in _clock_changes(each.timezone, now)}):
        yield change - period - _DAY, change + period + _DAY


def _often(crons: Sequence[Cron], now: datetime) -> list[Cron]:
    return [each for each in crons if each.period is not None and len(each.ticks(now, now + _WEEK)) > _MANY]


def _clock_changes(timezone: str, now: datetime) -> Iterator[datetime]:
    """The days of the year from `now` on before which the clock is changed."""
    zone = ZoneInfo(timezone)
    days = [now + timedelta(days=number) for number in range(_YEAR.days)]
    for earlier, later in pairwise(days):
        if earlier.astimezone(zone).utcoffset() != later.astimezone(zone).utcoffset():
            yield later


def _ticks(cron_schedule: str, timezone: str, since: datetime, until: datetime) -> Iterator[datetime]:
    import dagster as dg  # takes seconds, and whoever buys without Dagster never asks for ticks

    # a partitions definition is the public form of Dagster's own reading of cron expressions
    windows = dg.TimeWindowPartitionsDefinition(
        start=since, cron_schedule=cron_schedule, timezone=timezone, fmt=_FORMAT, end_offset=2
    )
    with dg.partition_loading_context(effective_dt=until):
        for key in windows.get_partition_keys():
            tick = datetime.fromisoformat(key).astimezone(UTC)
            if since <= tick < until:
                yield tick
