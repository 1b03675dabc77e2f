"""The spend report in words, tables and pictures, before it is Markdown or HTML. Code stands between backticks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from offpeak.clock import moment
from offpeak.money.bill import Total
from offpeak.money.rates import dollars, pico_text
from offpeak.reports.forecast import Forecast
from offpeak.reports.headlines import Headline
from offpeak.reports.misfits import Misfit
from offpeak.reports.pictures import Picture, picture
from offpeak.reports.spending import SIDES, WEEK, Side, Spending, Week
from offpeak.reports.tables import Table, code

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURED = 30
"""Days of a picture."""

NAMED = 20
"""Rows of a table at most, the dearest first."""

HEIGHTS: Mapping[Side, float] = {"asset": 3.3, "lane": 2.4, "model": 2.4}
"""Inches of each picture."""

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What to show, in the order in which it is shown."""

    title: str
    period: str
    headlines: Sequence[Headline]
    advice: str
    """What to do next."""
    pictures: Mapping[Side, Picture]
    spent: Mapping[Side, Table]
    saved: Table
    wasted: Table
    not_read: str
    """What "nobody read" means."""
    unread: Table | None
    forecast: str
    misfits: Table | None


def told(found: Spending, expected: Forecast, mend: Sequence[Misfit]) -> Told:
    """What the figures say."""
    this, before = found.this, found.before
    return Told(
        title=f"Spend report, {_day(found.today)} {found.today.year}",
        period=(
            f"The week is {_span(this)}: {WEEK} UTC days, today up to {moment(found.now)}. "
            f"The week before is {_span(before)}."
        ),
        headlines=_headlines(this, before, expected),
        advice=_advice(found, mend),
        pictures={side: _days_picture(found, side) for side in SIDES},
        spent={side: _spent(this, before, side) for side in SIDES},
        saved=_saved(this),
        wasted=_wasted(this, before),
        not_read=(
            f"Read by nobody: what was bought from {_span(before)}, of an asset or partition that was not read since. "
            "Readers are consumers in Dagster and `offpeak.read`; who selects from a SQL view or reads another store "
            "is not seen."
        ),
        unread=_unread(this),
        forecast=_forecast(expected),
        misfits=_misfits(mend),
    )


def _headlines(this: Week, before: Week, expected: Forecast) -> Sequence[Headline]:
    def was(pico: int) -> str:
        return f"{pico_text(pico)} the week before"

    month = "no forecast before a whole day has passed"
    if expected.expected_pico is not None:
        month = f"{pico_text(expected.expected_pico)} by its end, if it goes on like this"
    percent = f"{this.saved_pico / this.total.realtime_pico:.0%} of the realtime price" if this.saved_pico > 0 else ""
    cached = this.total.cache_saved_pico
    caching = ""
    if cached:
        caching = f"and {pico_text(cached)} by caching" if cached > 0 else f"caching cost {pico_text(-cached)}"
    share = f"{this.wasted_pico / this.total.cost_pico:.0%} of what was spent" if this.total.cost_pico else ""
    answers = f"for {this.total.answers:,} answers" if this.total.answers != 1 else "for 1 answer"
    return (
        Headline(
            name="Spent this week",
            figure=pico_text(this.total.cost_pico),
            beside=[answers, was(before.total.cost_pico)],
        ),
        Headline(
            name="Saved",
            figure=pico_text(this.saved_pico),
            beside=[percent, caching, was(before.saved_pico)],
        ),
        Headline(name="Wasted", figure=pico_text(this.wasted_pico), beside=[share, was(before.wasted_pico)]),
        Headline(name="This month so far", figure=pico_text(expected.so_far_pico), beside=[month]),
    )


def _advice(found: Spending, mend: Sequence[Misfit]) -> str:
    if found.began is None:
        return "Nothing has been bought yet."
    if not mend:
        return "Nothing stands out."
    return f"{code(mend[0].asset)}, about {pico_text(mend[0].month_pico)} a month. {mend[0].why}"


def _days_picture(found: Spending, side: Side) -> Picture:
    first = found.today - (PICTURED - 1) * _DAY
    days = [first + number * _DAY for number in range(PICTURED)]
    amounts = {name: [dollars(by_day.get(day, 0)) for day in days] for name, by_day in found.days[side].items()}
    if not any(map(any, amounts.values())):
        return Picture(words=f"Nothing was bought from {_day(first)} on.", address=None)

    def draw() -> "Figure":
        from offpeak.reports.spend_plots import days_figure

        return days_figure(days, amounts, title=f"Spent each day, by {side}", week=WEEK, height=HEIGHTS[side])

    return picture(draw, f"Bars: dollars spent each day over the last {PICTURED} days, by {side}")


def _spent(this: Week, before: Week, side: Side) -> Table:
    now, then = this.by[side], before.by[side]
    names = _dearest({name: now.get(name, Total()).cost_pico for name in {**now, **then}})
    rows = [
        (
            name,
            pico_text(now.get(name, Total()).cost_pico),
            pico_text(then.get(name, Total()).cost_pico),
            _percent(now.get(name, Total()).cost_pico, this.total.cost_pico),
            f"{now.get(name, Total()).answers:,}",
        )
        for name in names
    ]
    return Table(head=(side, "spent", "week before", "share", "answers"), rows=_shortened(rows, len(now | then)))


def _saved(this: Week) -> Table:
    sums = this.by["asset"]
    names = _dearest({name: total.realtime_pico - total.cost_pico for name, total in sums.items()})
    rows = [_saved_row(name, sums[name]) for name in names]
    head = ("asset", "at realtime price", "paid", "saved", "share", "by caching")
    return Table(head=head, rows=[*_shortened(rows, len(sums)), _saved_row("all assets", this.total)])


def _saved_row(name: str, total: Total) -> Sequence[str]:
    saved = total.realtime_pico - total.cost_pico
    figures = (total.realtime_pico, total.cost_pico, saved)
    return (name, *map(pico_text, figures), _percent(saved, total.realtime_pico), pico_text(total.cache_saved_pico))


def _wasted(this: Week, before: Week) -> Table:
    rows = [
        ("attempts that brought nothing usable", this.total.unusable_pico, before.total.unusable_pico),
        ("– of these, for requests that were given up (dead letters)", this.given_up_pico, before.given_up_pico),
        ("– of these, answers that were paid a second time", this.total.paid_twice_pico, before.total.paid_twice_pico),
        ("results that nobody read", this.unread_pico, before.unread_pico),
        ("wasted together", this.wasted_pico, before.wasted_pico),
        (
            "not in the bill, by estimate: may have been paid twice",
            this.total.possibly_paid_twice_pico,
            before.total.possibly_paid_twice_pico,
        ),
    ]  # fmt: skip
    return Table(
        head=("what", "this week", "week before"),
        rows=[(what, pico_text(now), pico_text(then)) for what, now, then in rows],
        names=False,
    )


def _unread(this: Week) -> Table | None:
    if not this.unread:
        return None
    rows = [(name, pico_text(this.unread[name])) for name in _dearest(this.unread)]
    return Table(head=("nobody read", "bought for"), rows=_shortened(rows, len(this.unread)))


def _forecast(expected: Forecast) -> str:
    so_far = f"{pico_text(expected.so_far_pico)} so far this month."
    if expected.expected_pico is None:
        return f"{so_far} There is no forecast before a whole day has passed."
    days = f"{expected.days} whole day{'' if expected.days == 1 else 's'}"
    how = (
        f"each day that is left at the mean of the same weekday over the last {days}"
        if expected.by_weekday
        else f"each day that is left at the mean of the last {days}, which are too few to tell weekdays apart"
    )
    return f"{so_far} {pico_text(expected.expected_pico)} by its end: {how}."


def _misfits(mend: Sequence[Misfit]) -> Table | None:
    if not mend:
        return None
    rows = [(each.asset, pico_text(each.month_pico), each.why) for each in mend]
    return Table(head=("asset", "a month, about", "what to do"), rows=rows, words_last=True)


def _dearest(amounts: Mapping[str, int]) -> Sequence[str]:
    return sorted(amounts, key=lambda name: (-amounts[name], name))[:NAMED]


def _shortened(rows: Sequence[Sequence[str]], of: int) -> Sequence[Sequence[str]]:
    if of <= NAMED:
        return rows
    return [*rows, (f"{of - NAMED:,} more", *([""] * (len(rows[0]) - 1)))]


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "–"


def _day(day: date) -> str:
    return f"{day.day} {day:%B}"


def _span(week: Week) -> str:
    return f"{_day(week.first)} to {_day(week.last)}"
