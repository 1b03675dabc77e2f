"""What was spent, saved and wasted, week by week: the figures of the spend report.

One pass over the bill's lines; memory grows with assets, models and partitions, never with rows. A day is a UTC day,
and a week ends today, so that the day it ends on is not over yet.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from typing import Literal

import sqlalchemy as sa

from offpeak.clock import from_micros
from offpeak.ledger import billing, dead_letters, tables
from offpeak.ledger.billing import Line
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.reads import last_read
from offpeak.money.bill import Total, value

Side = Literal["asset", "lane", "model"]
SIDES: tuple[Side, ...] = ("asset", "lane", "model")
"""What spending is told apart by."""

WEEK = 7
"""Days. What was bought this long ago and has not been read since counts as read by nobody."""

HABIT = 28
"""Days over which it is looked at what an asset makes a habit of."""

_DAY = timedelta(days=1)


@dataclass(slots=True, kw_only=True)
class Week:
    """Seven UTC days."""

    first: date
    total: Total = field(default_factory=Total)
    by: Mapping[Side, dict[str, Total]] = field(default_factory=lambda: {side: {} for side in SIDES})
    given_up_pico: int = 0
    """The part of what brought nothing usable that was for requests which are not tried again."""
    unread: dict[str, int] = field(default_factory=dict)
    """By asset, what usable answers cost that were bought in the week before and that nobody has read since."""

    @property
    def last(self) -> date:
        return self.first + (WEEK - 1) * _DAY

    @property
    def saved_pico(self) -> int:
        """Against realtime endpoints."""
        return self.total.realtime_pico - self.total.cost_pico

    @property
    def unread_pico(self) -> int:
        return sum(self.unread.values())

    @property
    def wasted_pico(self) -> int:
        """What brought nothing usable, and what nobody has read."""
        return self.total.unusable_pico + self.unread_pico


@dataclass(slots=True, kw_only=True)
class Habit:
    """What one asset came to over `HABIT` days."""

    total: Total = field(default_factory=Total)
    unread_pico: int = 0
    """Of the same number of days up to a week ago."""
    unread_partitions: set[str] = field(default_factory=set)
    late_pico: int = 0
    """What was bought in the background costs more than it would have in a batch."""
    rescued_pico: int = 0
    """The same of what was bought at realtime price because of a deadline."""


@dataclass(slots=True, kw_only=True)
class Spending:
    """All that the report tells, in whole pico-dollars (1e-12 $)."""

    now: datetime
    began: date | None
    """The day of the first purchase ever."""
    this: Week
    before: Week
    by_day: dict[date, int] = field(default_factory=lambda: defaultdict(int))
    days: Mapping[Side, dict[str, dict[date, int]]] = field(
        default_factory=lambda: {side: defaultdict(lambda: defaultdict(int)) for side in SIDES}
    )
    habits: dict[str, Habit] = field(default_factory=lambda: defaultdict(Habit))

    @property
    def today(self) -> date:
        return self.now.astimezone(UTC).date()

    @property
    def habit_days(self) -> int:
        """The days behind `habits`: those since the first purchase, a week at least."""
        known = 0 if self.began is None else (self.today - self.began).days + 1
        return min(max(known, WEEK), HABIT)


BatchShare = Callable[[str], Fraction | None]
"""Which part of its realtime price a model costs on the batch tier; None where nobody says."""


def spending(ledger: Ledger, *, now: datetime, read_otherwise: Collection[str], batch_share: BatchShare) -> Spending:
    """Read the ledger. Results of the assets `read_otherwise` count as read."""
    today = now.astimezone(UTC).date()
    found = Spending(
        now=now,
        began=_began(ledger),
        this=Week(first=today - (WEEK - 1) * _DAY),
        before=Week(first=today - (2 * WEEK - 1) * _DAY),
    )
    first = min(today - (HABIT + WEEK - 1) * _DAY, today.replace(day=1))
    sums = _Sums(found, {} if not found.began else last_read(ledger), read_otherwise, batch_share)
    for line in billing.lines(ledger, since=_midnight(first), until=_midnight(today + _DAY)):
        sums.add(line)
    for week in (found.this, found.before):
        week.given_up_pico = dead_letters.billed(ledger, since=_midnight(week.first), until=_midnight(week.last + _DAY))
    return found


class _Sums:
    """Adds lines up, one after the other."""

    def __init__(
        self,
        found: Spending,
        read: Mapping[tuple[str, str], datetime],
        read_otherwise: Collection[str],
        batch_share: BatchShare,
    ) -> None:
        self._found, self._read, self._read_otherwise, self._batch_share = found, read, read_otherwise, batch_share

    def add(self, line: Line) -> None:
        found, age = self._found, (self._found.today - line.day).days
        found.by_day[line.day] += line.cost_pico
        for side in SIDES:
            found.days[side][value(line, side)][line.day] += line.cost_pico
        if (week := self._week(age)) is not None:
            week.total.add(line)
            for side in SIDES:
                week.by[side].setdefault(value(line, side), Total()).add(line)
        habit = found.habits[line.asset]
        if age < HABIT:
            habit.total.add(line)
            self._add_excess(habit, line)
        if WEEK <= age < HABIT + WEEK and line.partition_key is not None and self._is_unread(line):
            pico = line.cost_pico - line.unusable_pico
            habit.unread_pico += pico
            habit.unread_partitions.add(line.partition_key)
            if (week := self._week(age - WEEK)) is not None:
                week.unread[line.asset] = week.unread.get(line.asset, 0) + pico

    def _week(self, age: int) -> Week | None:
        return self._found.this if age < WEEK else self._found.before if age < 2 * WEEK else None

    def _is_unread(self, line: Line) -> bool:
        if line.partition_key is None or line.asset in self._read_otherwise or line.cost_pico <= line.unusable_pico:
            return False
        at = self._read.get((line.asset, line.partition_key))
        return at is None or at.date() < line.day

    def _add_excess(self, habit: Habit, line: Line) -> None:
        if line.tier == "batch" or (share := self._batch_share(line.model)) is None:
            return
        excess = max(line.cost_pico - int(line.realtime_pico * share), 0)
        if line.rescue:
            habit.rescued_pico += excess
        else:
            habit.late_pico += excess


def _began(ledger: Ledger) -> date | None:
    with ledger.database.read() as connection:
        at = connection.execute(sa.select(sa.func.min(tables.submission.c.intended_at))).scalar_one()
    return None if at is None else from_micros(at).date()


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
