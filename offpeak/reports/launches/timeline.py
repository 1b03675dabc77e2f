"""A launch in a picture: what is ready from when until when, and where its traffic meets the limit.

Imports matplotlib, through `plots`; without that it cannot be imported. Times are those of the launch's zone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, DateFormatter, HourLocator, date2num
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from offpeak.clock import in_words
from offpeak.launches.capacity import Reached
from offpeak.launches.launch import Launch
from offpeak.launches.profile import level, over_from_to
from offpeak.reports.plots import BLUE, EXPIRED, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, WIDTH, short, tint
from offpeak.results.effective import Prepared

HEIGHT = 4.9
"""Inches of both panels together."""

ROWS = 6
"""Assets with a bar of their own at most."""

BAR = 0.62

WORDS = 0.25
"""Of the time line's width, which words about a moment need."""

STEPS = 240
"""Points of a curve over the window."""

MARGIN = 0.04
"""Of the time line's width, left and right of what is on it."""


Dashes = Literal["-", "--", "-.", ":"]

WITHOUT: tuple[str, Dashes] = (ORANGE, "-.")
PLANNED: tuple[str, Dashes] = (BLUE, "-")
STANDING: tuple[str, Dashes] = (GREEN, "--")
"""Colour and dashes of each course."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What is needed of the binding limit over the window."""

    name: str
    """Such as "without pre-computation"."""
    peak: float
    """A minute, at the peak."""
    colour: str
    dashes: Dashes


def launch_figure(
    launch: Launch,
    *,
    now: datetime,
    raise_by: datetime,
    prepared: Sequence[Prepared],
    limit: Reached | None,
    courses: Sequence[Course],
) -> Figure:
    """Two panels: days before the launch on top, and its window below. `limit` None is one that nobody knows."""
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    shown = list(prepared[:ROWS])
    above, below = figure.subplots(2, 1, height_ratios=(1.7 + 0.42 * max(1, len(shown)), 3.2))
    handles = _draw_days(above, launch, now=now, raise_by=raise_by, prepared=shown, more=len(prepared) - len(shown))
    _draw_window(below, launch, now=now, limit=limit, courses=courses)
    figure.legend(handles=handles, loc="outside lower left", ncols=4, frameon=False, fontsize=8.5)
    return figure


def _draw_days(
    axes: Axes, launch: Launch, *, now: datetime, raise_by: datetime, prepared: Sequence[Prepared], more: int
) -> list[Artist]:
    zone = ZoneInfo(launch.zone)
    quiet = launch.starts - launch.quiet
    first = min([raise_by, quiet, *(each.as_of for each in prepared if each.as_of is not None)])
    last = max([launch.ends, *(each.effective_until for each in prepared if each.effective_until is not None)])
    last = min(last, launch.ends + (launch.ends - first) / 3)  # what is fresh for months says so at the edge
    if first <= now:
        last = max(last, min(now, launch.ends + timedelta(days=7)))
    room = MARGIN * (last - first)
    left, right = first - 2 * room, last + 2 * room
    axes.set_xlim(date2num(left), date2num(right))
    begin, end = date2num(launch.starts), date2num(launch.ends)
    axes.axvspan(begin, end, facecolor=tint(GREY, 0.25), edgecolor="black", linewidth=0.8, alpha=0.75, zorder=3)
    axes.text(end, -1.3, f" window {_span(launch, zone)}", va="center", fontsize=8.5)
    axes.barh(0, _days(quiet, launch.starts), left=date2num(quiet), height=BAR, color=tint(SKY, 0.5), linewidth=0)
    names, beside = ["pre-computation"], ["computed – fresh until" if prepared else ""]
    for row, each in enumerate(prepared, start=1):
        names.append(short(each.asset))
        if each.as_of is None or each.effective_until is None:
            axes.text(date2num(quiet), row, " nothing has landed", va="center", fontsize=8.5)
            beside.append("")
            continue
        beside.append(f"{_moment(each.as_of, zone)} – {_moment(each.effective_until, zone)}")
        colour, hatch = (GREEN, "") if each.effective_until >= launch.ends else (VERMILLION, EXPIRED)
        axes.barh(
            row,
            _days(each.as_of, each.effective_until),
            left=date2num(each.as_of),
            height=BAR,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0,
        )
        axes.plot([date2num(each.as_of)], [row], marker="|", markersize=13, color="black", linestyle="none")
    if not prepared:
        names.append("pre-computed rows")
        beside.append("")
        axes.text(date2num(quiet), 1, " nothing has been pre-computed yet", va="center", fontsize=8.5)
    if more > 0:
        names[-1] += f", and {more} more"
    axes.set_yticks(range(len(names)), names)
    _write_beside(axes, beside)
    axes.set_ylim(len(names) - 0.5, -1.75)
    edges = Edges(left=left, right=right, window=launch.starts)
    _mark(axes, raise_by, "raise by", zone, colour=PURPLE, dashes="--", row=-1.3, edges=edges)
    _mark(axes, now, "now", zone, colour="black", dashes="-", row=-0.75, edges=edges)
    locator = AutoDateLocator(tz=zone, minticks=4, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(
        ConciseDateFormatter(
            locator,
            tz=zone,
            formats=["%Y", "%d %b", "%d %b", "%H:%M", "%H:%M", "%H:%M"],
            zero_formats=["%Y", "%d %b %Y", "%d %b", "%d %b", "%H:%M", "%H:%M"],
            show_offset=False,
        )
    )
    _plain(axes, f"When: the days up to {launch.name} (times in {launch.zone})")
    axes.grid(axis="x", color="#E5E5E5")
    return [
        Patch(color=tint(SKY, 0.5), label="quiet days: pre-computation"),
        Patch(color=GREEN, label="fresh until the window ends"),
        Patch(facecolor=VERMILLION, edgecolor="white", hatch=EXPIRED, label="stale before that"),
        Patch(facecolor=tint(GREY, 0.25), edgecolor="black", label="window: scheduled work waits"),
    ]


def _span(launch: Launch, zone: ZoneInfo) -> str:
    starts, ends = launch.starts.astimezone(zone), launch.ends.astimezone(zone)
    return f"{starts:%H:%M} – {ends:%H:%M}" if starts.date() == ends.date() else f"{starts:%d %b} – {ends:%d %b}"


def _moment(at: datetime, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%d %b %H:%M}"


def _write_beside(axes: Axes, texts: Sequence[str]) -> None:
    """On the right of each row: computed when, and fresh until when."""
    beside = axes.secondary_yaxis("right")
    beside.set_yticks(range(len(texts)), texts)
    beside.tick_params(length=0, labelsize=8)
    beside.spines["right"].set_visible(False)


def _days(begin: datetime, end: datetime) -> float:
    return (end - begin) / timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """Between which moments a time line runs, and when the window begins, which words are to keep clear of."""

    left: datetime
    right: datetime
    window: datetime

    def words_before(self, at: datetime) -> bool:
        """Whether words about a moment stand left of it."""
        room = WORDS * (self.right - self.left)
        return at > self.right - room or self.window - room < at < self.window


def _mark(
    axes: Axes, at: datetime, word: str, zone: ZoneInfo, *, colour: str, dashes: Dashes, row: float, edges: Edges
) -> None:
    """A line at a moment; outside of the axis, an arrow that says how far away it is."""
    place, side = at, "left"
    if at < edges.left:
        place, text = edges.left, f"← {word} {at.astimezone(zone):%d %b %Y}, {in_words(edges.left - at)} before"
    elif at > edges.right:
        place, side = edges.right, "right"
        text = f"{word} {at.astimezone(zone):%d %b %Y}, {in_words(at - edges.right)} after →"
    else:
        axes.axvline(date2num(at), color=colour, linewidth=1.5, linestyle=dashes)
        side = "right" if edges.words_before(at) else "left"
        text = f" {word} {_moment(at, zone)} "
    axes.text(date2num(place), row, text, ha=side, va="center", fontsize=8.5, color=colour)


def _draw_window(
    axes: Axes, launch: Launch, *, now: datetime, limit: Reached | None, courses: Sequence[Course]
) -> None:
    zone = ZoneInfo(launch.zone)
    step = (launch.ends - launch.starts) / STEPS
    at = [launch.starts + number * step for number in range(STEPS + 1)]
    moments, levels = [date2num(each) for each in at], [level(launch, each) for each in at]
    handles: list[Artist] = []
    for course in courses:
        needed = [course.peak * each for each in levels]
        axes.plot(moments, needed, color=course.colour, linestyle=course.dashes, linewidth=1.8)
        handles.append(
            Line2D(
                [],
                [],
                color=course.colour,
                linestyle=course.dashes,
                linewidth=1.8,
                label=f"{course.name}{_over(launch, course, limit, zone)}",
            )
        )
        if limit is not None and course.peak > limit.limit.per_minute:
            axes.fill_between(
                moments,
                needed,
                limit.limit.per_minute,
                where=[each > limit.limit.per_minute for each in needed],
                interpolate=True,
                facecolor=tint(VERMILLION),
                edgecolor="white",
                hatch=EXPIRED,
                linewidth=0,
            )
    highest = max((course.peak for course in courses), default=0.0)
    if limit is None:
        axes.text(0.01, 0.9, "Nobody has said yet what is allowed.", transform=axes.transAxes, fontsize=9)
    else:
        highest = max(highest, limit.limit.per_minute)
        for height, dashes in ((limit.limit.per_minute, "-"), (limit.usable, ":")):
            axes.axhline(height, color=VERMILLION, linewidth=1.5, linestyle=dashes)
        handles += [
            Line2D([], [], color=VERMILLION, linewidth=1.5, label=f"limit, {limit.limit.per_minute:,}"),
            Line2D([], [], color=VERMILLION, linewidth=1.5, linestyle=":", label=f"usable of it, {limit.usable:,.0f}"),
        ]
    if launch.holds(now):
        axes.axvline(date2num(now), color="black", linewidth=1.5)
    axes.axvline(date2num(launch.peak_at), color=GREY, linewidth=1)
    axes.text(
        date2num(launch.peak_at),
        1.13 * highest,
        f" peak {launch.peak_at.astimezone(zone):%H:%M}",
        va="top",
        fontsize=8.5,
    )
    axes.set_xlim(moments[0], moments[-1])
    axes.set_ylim(0, 1.16 * max(highest, 1e-9))
    hours = max(1, round((launch.ends - launch.starts) / timedelta(hours=12)))
    if launch.ends - launch.starts <= timedelta(days=2):
        axes.xaxis.set_major_locator(HourLocator(byhour=range(0, 24, hours), tz=zone))
        axes.xaxis.set_major_formatter(DateFormatter("%H:%M", tz=zone))
    else:
        locator = AutoDateLocator(tz=zone, maxticks=9)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=zone, show_offset=False))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    counted = "requests" if limit is None else f"{limit.measure.value}"
    axes.set_ylabel(f"{counted} a minute", fontsize=9)
    of = "all models together" if limit is None else limit.model
    _plain(axes, f"Whether it fits: {of} on {launch.starts.astimezone(zone):%d %b %Y}")
    axes.grid(axis="y", color="#E5E5E5")
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1, 1.08), frameon=False, fontsize=8, labelspacing=0.7
    )


def _over(launch: Launch, course: Course, limit: Reached | None, zone: ZoneInfo) -> str:
    """Below a course's name: from when to when it is over the limit."""
    if limit is None:
        return ""
    over = over_from_to(launch, peak=course.peak, limit=limit.limit.per_minute)
    if over is None:
        return "\nnever over the limit"
    short_window = launch.ends - launch.starts <= timedelta(days=1)
    begin, end = (f"{at.astimezone(zone):{'%H:%M' if short_window else '%d %b %H:%M'}}" for at in over)
    return f"\nover the limit {begin} – {end}"


def _plain(axes: Axes, title: str) -> None:
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
