"""Schedules: whether a job's runs start at the same minute of the hour, the day or the week, on the clock of a zone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import pairwise
from statistics import median_low

from offpeak.audit.usage.activity import Run

FEWEST = 3
"""Runs: two at the same time may be chance."""

WITHIN = 6
"""Minutes. The starts of a schedule lie this close together: what starts runs may be late by a queue or a container."""

MOST_CALLS = 0.75
"""Of the calls, those in runs that start at the scheduled times: others are retries, and runs started by hand."""

REGULAR = 0.6
"""Of the days that a schedule names, those on which it has to have run."""

PUNCTUAL = 0.5
"""Of the starts in the commonest minute, those that an earlier one needs to be the one that the schedule says: what is
late is later by a queue, what is early is chance."""

MOST_TIMES = 4
"""Times of a day. With more of them, the runs of people would fit by chance."""

A_DAY = 3
"""Runs on the days it runs, from which on a schedule may be hourly; fewer are times of the day."""

_HOUR, _DAY = 60.0, 24 * 60.0
_WEEKDAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a job runs."""

    cadence: str
    runs: int
    """That start at its times."""
    of: int
    """Runs altogether."""
    days: int
    """On which those were."""


@dataclass(frozen=True, slots=True)
class _Start:
    """The start of a run."""

    utc: datetime
    local: datetime
    """On the zone's clock."""
    calls: int

    @property
    def minute(self) -> float:
        """Of the day."""
        return self.local.hour * _HOUR + self.local.minute + self.local.second / 60


@dataclass(frozen=True, slots=True)
class _Time:
    """A time of the day at which runs start."""

    minute: int
    starts: list[_Start]
    dates: set[date]
    days: str
    """On which days, in words."""

    @property
    def text(self) -> str:
        return f"{self.minute // 60:02}:{self.minute % 60:02}"


def schedule(runs: Sequence[Run], zone: tzinfo) -> Schedule | None:
    """When a job's runs start; None where they start at no regular time."""
    if len(runs) < FEWEST:
        return None
    starts = [_start(run, zone) for run in runs]
    return _hourly(starts) or _daily(starts, zone)


def _start(run: Run, zone: tzinfo) -> _Start:
    utc = datetime.fromtimestamp(run.start / 1_000, UTC)
    return _Start(utc, utc.astimezone(zone), run.calls)


def _hourly(starts: list[_Start]) -> Schedule | None:
    found, minute = _together(starts, _HOUR)
    days = len({each.local.date() for each in found})
    if not _are_most(found, starts) or len(found) < max(FEWEST, A_DAY * days):
        return None
    gaps = [round((after.utc - before.utc) / timedelta(hours=1)) for before, after in pairwise(found)]
    every = median_low(gaps)
    if every < 1 or gaps.count(every) < REGULAR * len(gaps):
        return None
    often = "hourly" if every == 1 else f"every {every} hours"
    return Schedule(cadence=f"{often} at :{minute:02}", runs=len(found), of=len(starts), days=days)


def _daily(starts: list[_Start], zone: tzinfo) -> Schedule | None:
    left, times = starts, list[_Time]()
    while len(left) >= FEWEST and len(times) < MOST_TIMES:
        found, minute = _together(left, _DAY)
        dates = {_date(each, minute) for each in found}
        taken = {each.utc for each in found}
        left = [each for each in left if each.utc not in taken]
        times.append(_Time(minute, found, dates, _days(dates)))
    times = _without_chance(_joined(times))
    kept = [each for time in times for each in time.starts]
    if not times or not _are_most(kept, starts):
        return None
    days = len(set().union(*(time.dates for time in times)))
    return Schedule(cadence=_words(times, zone), runs=len(kept), of=len(starts), days=days)


def _together(starts: list[_Start], period: float) -> tuple[list[_Start], int]:
    """The starts, in order, that lie within the fullest few minutes of an hour or a day, and the minute that most of
    them start in."""
    placed = sorted((start.minute % period, number) for number, start in enumerate(starts))
    around = placed + [(minute + period, number) for minute, number in placed]
    best, begin = (0, 0), 0
    for end in range(len(around)):
        while around[end][0] - around[begin][0] >= WITHIN or end - begin >= len(placed):
            begin += 1
        if end - begin > best[1] - best[0]:
            best = (begin, end)
    numbers = sorted(number for _, number in around[best[0] : best[1] + 1])
    found = [starts[number] for number in numbers]
    return found, _minute([each.minute % period for each in found], around[best[0]][0] % period, period)


def _minute(starts: list[float], earliest: float, period: float) -> int:
    """The minute that the schedule says: the first that enough runs start in, because none starts before its time."""
    around = Counter(int((start - earliest + 1e-6) % period + earliest) for start in starts)
    enough = PUNCTUAL * max(around.values())
    return int(min(minute for minute, times in around.items() if times >= enough) % period)


def _date(start: _Start, minute: int) -> date:
    """The day whose time it is: a run at 00:01 of a schedule at 23:59 belongs to the day before."""
    shift = (start.minute - minute + _DAY / 2) % _DAY - _DAY / 2
    return (start.local.replace(tzinfo=None) - timedelta(minutes=shift)).date()


def _are_most(found: list[_Start], starts: list[_Start]) -> bool:
    calls = sum(each.calls for each in found)
    return len(found) >= FEWEST and calls >= MOST_CALLS * sum(each.calls for each in starts)


def _joined(times: list[_Time]) -> list[_Time]:
    """Two times an hour apart, one until a day and the other from then on, are one: a clock was changed in between."""
    for one in times:
        for other in times:
            apart = abs(other.minute - one.minute)
            if one is not other and abs(apart - _HOUR) <= WITHIN / 2 and max(one.dates) < min(other.dates):
                days = _days(one.dates | other.dates)
                changed = (
                    f"{days} (an hour {'later' if other.minute > one.minute else 'earlier'} from {min(other.dates)})"
                )
                joined = _Time(one.minute, one.starts + other.starts, one.dates | other.dates, days and changed)
                return [joined, *(each for each in times if each is not one and each is not other)]
    return times


def _without_chance(times: list[_Time]) -> list[_Time]:
    """Times on regular days, in the order of the day."""
    return sorted((time for time in times if time.days), key=lambda time: time.minute)


def _days(dates: set[date]) -> str:
    """Regular days in words; nothing where they are none."""
    if len(dates) < FEWEST:
        return ""
    first, weekdays = min(dates), {day.weekday() for day in dates}
    span = [first + timedelta(days=number) for number in range((max(dates) - first).days + 1)]
    if len({day.day for day in dates}) == 1:
        return f"monthly on day {first.day}"
    if len(weekdays) <= 2 and len(span) > 14 and _covers(dates, span, weekdays):
        return " and ".join(_WEEKDAYS[day] for day in sorted(weekdays))
    working = set(range(5))
    if weekdays <= working and {day.weekday() for day in span} - working and _covers(dates, span, working):
        return "weekdays"
    if _covers(dates, span, set(range(7))):
        return "daily"
    gaps = [(after - before).days for before, after in pairwise(sorted(dates))]
    every = median_low(gaps)
    return f"every {every} days" if gaps.count(every) >= REGULAR * len(gaps) and len(gaps) > FEWEST else ""


def _covers(dates: set[date], span: list[date], weekdays: set[int]) -> bool:
    return len(dates) >= REGULAR * sum(day.weekday() in weekdays for day in span)


def _words(times: list[_Time], zone: tzinfo) -> str:
    """Times and days in words, such as "weekdays at 09:00 and 17:00 UTC"."""
    by_days: dict[str, list[str]] = {}
    for time in times:
        by_days.setdefault(time.days, []).append(time.text)
    return " and ".join(_at(days, times, zone) for days, times in by_days.items())


def _at(days: str, times: list[str], zone: tzinfo) -> str:
    when, bracket, rest = days.partition(" (")
    listed = ", ".join(times[:-1]) + (" and " if len(times) > 1 else "") + times[-1]
    return f"{when} at {listed} {zone}{bracket}{rest}"
