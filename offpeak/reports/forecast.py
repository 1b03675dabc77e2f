"""What a month will have cost, from what its days cost so far and what days cost before.

Of each day that is left, the mean of the same weekday over the last four weeks; where the history is shorter than two
weeks, the mean of all its days. A day without purchases counts as nought. Of today, the part of its mean that is not
spent yet.
"""

from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

LONGEST = 28
"""Days of history that are looked at."""

BY_WEEKDAY_FROM = 14
"""Days of history from which weekdays are told apart."""

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A month of UTC days. Money in whole pico-dollars (1e-12 $)."""

    so_far_pico: int
    expected_pico: int | None
    """Of the whole month; None before a whole day has passed."""
    days: int
    """Whole days that it is made from, all before today."""
    by_weekday: bool


def forecast(by_day: Mapping[date, int], *, today: date, began: date | None) -> Forecast:
    """The month of `today`. `by_day` has what each day cost; `began` is the day of the first purchase ever."""
    end = today.replace(day=monthrange(today.year, today.month)[1])
    so_far = sum(by_day.get(each, 0) for each in _days(today.replace(day=1), today))
    history = [] if began is None else _days(max(began, today - LONGEST * _DAY), today - _DAY)
    by_weekday = len(history) >= BY_WEEKDAY_FROM
    if not history:
        return Forecast(so_far_pico=so_far, expected_pico=None, days=0, by_weekday=False)

    def mean(day: date) -> int:
        like = [each for each in history if not by_weekday or each.weekday() == day.weekday()]
        return sum(by_day.get(each, 0) for each in like) // len(like)

    rest = max(mean(today) - by_day.get(today, 0), 0) + sum(mean(each) for each in _days(today + _DAY, end))
    return Forecast(so_far_pico=so_far, expected_pico=so_far + rest, days=len(history), by_weekday=by_weekday)


def _days(first: date, last: date) -> list[date]:
    return [first + number * _DAY for number in range((last - first).days + 1)]
