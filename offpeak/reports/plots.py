"""Pictures of how purchases are getting on. Imports matplotlib; without that it cannot be imported.

Figures are drawn without pyplot, which would keep them for as long as the process lives. Colours are those of Okabe
and Ito, which people who do not see all colours tell apart; what matters most is also hatched or written out. Times are
UTC.
"""

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise, zip_longest

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

from offpeak.clock import in_words
from offpeak.ledger.states import OPEN_JOBS, JobState
from offpeak.ledger.watching import QueueDepth, Timing
from offpeak.reports.ages import AgeHistory, AssetAges

ORANGE, BLUE, GREEN, VERMILLION, PURPLE, SKY, GREY = (
    "#E69F00",
    "#0072B2",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#999999",
)
LINES = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (VERMILLION, ":"), (PURPLE, "-"), (SKY, "--"), (GREY, "-."))
"""Colour and dashes of one provider account after the other."""

WIDTH = 9.0
ROW = 0.27
"""Inches; with `DPI`, a picture is 900 pixels wide, and a row of bars 27 high."""

DPI = 100
GREYS, TINTS = (0.0, 0.3, 0.5, 0.65, 0.8, 0.9, 1.0), (0.0, 0.25, 0.5, 0.75, 0.88)
"""How much white is in the shades of a picture's palette: of black, and of each colour."""

LONGEST_NAME = 38
"""Characters of a label beside a bar."""

BAR = 0.72
"""Of a row's height."""

SO_FAR, EXPIRED = "//", "\\\\"
"""Hatches of what is not over, and of what is older than promised."""


def png(figure: Figure) -> bytes:
    """The figure as a small PNG."""
    drawn, reduced = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    with Image.open(drawn) as image:
        shades = image.convert("RGB").quantize(palette=_palette(), dither=Image.Dither.NONE)
        shades.save(reduced, format="png", optimize=True)
    return reduced.getvalue()


def _palette() -> Image.Image:
    """A fixed one: a third of the bytes, and no colour that stands for something is merged with another."""
    black = [("#000000", white) for white in GREYS]
    shades = [*black, *((colour, white) for colour, _ in LINES for white in TINTS)]
    parts = [part for colour, white in shades for part in _shade(colour, white)]
    image = Image.new("P", (1, 1))
    image.putpalette(parts)
    return image


def _shade(colour: str, white: float) -> tuple[int, int, int]:
    red, green, blue = (round(255 * (part * (1 - white) + white)) for part in to_rgb(colour))
    return red, green, blue


def timings_figure(timings: Sequence[Timing], *, now: datetime) -> Figure:
    """Of each job, newest on top: how long it waited, was at the provider, and took until it was collected."""
    figure, axes = _rows(len(timings))
    parts = [_parts(each, now) for each in timings]
    totals = [sum((length for length, _, _ in each), timedelta(0)) for each in parts]
    size, unit = _unit(max(totals))
    for row, segments in enumerate(parts):
        begin = 0.0
        for length, colour, over in segments:
            width = length / size
            hatch = "" if over else SO_FAR
            axes.barh(row, width, left=begin, color=colour, height=BAR, hatch=hatch, edgecolor="white", linewidth=0)
            begin += width
    _label(
        axes,
        [f"{short(each.asset)}, job {each.job_id}, {each.created_at.astimezone(UTC):%d %b %H:%M}" for each in timings],
        [f"{_words(total)}{_ending(each)}" for total, each in zip(totals, timings, strict=True)],
    )
    axes.set_ylabel("begun (UTC)")
    axes.set_xlabel(f"time since the job began ({unit})")
    axes.set_xlim(left=0)
    handles = [
        Patch(color=ORANGE, label="waiting to be submitted"),
        Patch(color=BLUE, label="at the provider"),
        Patch(color=GREEN, label="until it was collected"),
        Patch(facecolor=GREY, edgecolor="white", hatch=SO_FAR, label="so far"),
    ]
    count = f"{len(timings)} jobs" if len(timings) > 1 else "job"
    _finish(figure, axes, f"How long the last {count} took", handles)
    return figure


def _parts(timing: Timing, now: datetime) -> list[tuple[timedelta, str, bool]]:
    """Lengths with their colours, and whether each is over."""
    is_open = timing.state in OPEN_JOBS
    end = timing.closed_at or now
    moments = [timing.created_at, timing.submitted_at, timing.ended_at]
    reached = [moment for moment in moments if moment is not None]
    steps = list(pairwise([*reached, max(end, reached[-1])]))
    return [
        (max(after - before, timedelta(0)), colour, not is_open or number < len(steps))
        for number, ((before, after), colour) in enumerate(zip(steps, (ORANGE, BLUE, GREEN), strict=False), start=1)
    ]


def _words(duration: timedelta) -> str:
    return in_words(duration) if duration >= timedelta(seconds=1) else "under 1 s"


def _ending(timing: Timing) -> str:
    match timing.state:
        case JobState.COMPLETED:
            return ""
        case JobState.COMPLETED_WITH_PARTIAL_FAILURES:
            return ", partly failed"
        case state if state in OPEN_JOBS:
            return ", open"
        case state:
            return f", {state.value.replace('_', ' ')}"


def queue_figure(depth: QueueDepth) -> Figure:
    """Requests on their way over time, a line for each provider account."""
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    at = [date2num(moment) for moment in depth.at]
    for number, (realm, requests) in enumerate(depth.requests.items()):
        colour, dashes = LINES[number % len(LINES)]
        kept = _corners(requests)
        moments, values = [at[each] for each in kept], [requests[each] for each in kept]
        axes.step(moments, values, where="post", color=colour, linestyle=dashes, linewidth=1.8, label=realm)
        if len(depth.requests) == 1:
            axes.fill_between(moments, values, step="post", color=colour, alpha=0.12, linewidth=0)
    _mark_times(axes, most=9)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlim(at[0], at[-1])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"time (UTC), until {depth.at[-1].astimezone(UTC):%d %b %Y %H:%M}")
    axes.set_ylabel("requests on their way")
    axes.grid(color="#E5E5E5")
    handles, _ = axes.get_legend_handles_labels()
    _finish(figure, axes, "Queue depth of each provider account", handles)
    return figure


def _mark_times(axes: Axes, *, most: int) -> None:
    """At most so many moments on the horizontal axis."""
    locator = AutoDateLocator(tz=UTC, maxticks=most)
    axes.xaxis.set_major_locator(locator)
    formats = ["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S"]
    nights = ["%Y", "%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"]
    axes.xaxis.set_major_formatter(
        ConciseDateFormatter(locator, tz=UTC, formats=formats, zero_formats=nights, show_offset=False)
    )


def _corners(values: Sequence[int]) -> list[int]:
    """The positions that a line of steps needs: the first, the last, and where it changes."""
    last = len(values) - 1
    return [each for each in range(len(values)) if each in {0, last} or values[each] != values[each - 1]]


def ages_figure(assets: Sequence[AssetAges], *, now: datetime) -> Figure:
    """Of each partition with an answer: which part of the age that its contract promises it has reached."""
    rows = [(age, now - age.as_of) for asset in assets for age in asset.newest if age.as_of is not None]
    figure, axes = _rows(len(rows))
    shares = [age.share(now) for age, _ in rows]
    end = min(max(1.25, 1.05 * max(shares)), LONGEST_SHARE)
    for row, share in enumerate(shares):
        colour, hatch = (VERMILLION, EXPIRED) if share > 1 else (BLUE, "")
        axes.barh(row, min(share, end), color=colour, height=BAR, hatch=hatch, edgecolor="white", linewidth=0)
    promised = axes.axvline(1, color="black", linewidth=1.4, linestyle="--", label="promised")
    _label(
        axes,
        [short(age.name) for age, _ in rows],
        [f"{_words(reached)} of {in_words(age.valid_for)}" for age, reached in rows],
    )
    axes.set_xlim(0, end)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.set_xlabel("age of the oldest row (% of what the contract promises)")
    handles = [
        Patch(color=BLUE, label="within its contract"),
        Patch(facecolor=VERMILLION, edgecolor="white", hatch=EXPIRED, label="older than promised"),
        promised,
    ]
    _finish(figure, axes, f"Age of results on {now.astimezone(UTC):%d %b %Y %H:%M} UTC", handles)
    return figure


def past_ages_figure(histories: Sequence[AgeHistory], *, since: datetime, now: datetime) -> Figure:
    """The age of each asset's oldest row over time, a panel each: it grows, and drops whenever something lands."""
    columns = min(len(histories), 2)
    rows = -(-len(histories) // columns)
    figure = Figure(figsize=(WIDTH, 1.3 + PANEL * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for number, panel in enumerate(panels.flat):
        if number < len(histories):
            _draw_history(panel, histories[number], HUES[number % len(HUES)], since=since, now=now)
        else:
            panel.set_visible(False)
    for number in range(len(histories) - columns, len(histories)):
        lowest = panels[number // columns, number % columns]
        lowest.tick_params(labelbottom=True)
        lowest.set_xlabel("time (UTC)", fontsize=9)
    title = f"Age of results over time, until {now.astimezone(UTC):%d %b %Y %H:%M} UTC"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    handles = [
        Line2D([], [], color="black", linewidth=1.6, label="age of the oldest row"),
        Line2D([], [], color="black", linewidth=1.2, linestyle="--", label="promised"),
        Patch(facecolor=tint(VERMILLION), edgecolor="white", hatch=EXPIRED, label="older than promised"),
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=3, frameon=False, fontsize=9)
    return figure


PANEL = 1.75
"""Inches of one panel's height."""

HUES = (BLUE, ORANGE, GREEN, PURPLE, SKY, GREY)
"""Of the panels' lines; what is older than promised has a colour of its own."""


def _draw_history(axes: Axes, history: AgeHistory, colour: str, *, since: datetime, now: datetime) -> None:
    saw = _sawtooth(history, since=since, now=now)
    size, unit = _unit(max(history.valid_for, *(age for _, age in saw)))
    moments, heights = [date2num(at) for at, _ in saw], [age / size for _, age in saw]
    promised = history.valid_for / size
    over = [height > promised for height in heights]
    axes.plot(moments, heights, color=colour, linewidth=1.6)
    axes.axhline(promised, color=colour, linewidth=1.2, linestyle="--")
    if any(over):
        axes.fill_between(
            moments,
            heights,
            promised,
            where=over,
            interpolate=True,
            facecolor=tint(VERMILLION),
            edgecolor="white",
            hatch=EXPIRED,
            linewidth=0,
        )
    _mark_times(axes, most=6)
    axes.set_xlim(date2num(since), date2num(max(now, since + timedelta(seconds=1))))
    axes.set_ylim(0, 1.12 * max(promised, *heights))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
    axes.set_ylabel(unit, fontsize=9)
    axes.tick_params(labelsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E5E5E5")
    axes.set_axisbelow(True)
    axes.set_title(short(history.asset), loc="left", fontsize=9.5)
    axes.set_title(f"{_words(history.age(now))} of {in_words(history.valid_for)}", loc="right", fontsize=8.5)


def _sawtooth(history: AgeHistory, *, since: datetime, now: datetime) -> list[tuple[datetime, timedelta]]:
    """Moments and ages: before and after each landing, and at both ends."""
    found: list[tuple[datetime, timedelta]] = []
    for landing, after in zip_longest(history.landings, history.landings[1:]):
        moments = max(landing.at, since), now if after is None else after.at
        found += [(at, max(at - landing.as_of, timedelta(0))) for at in moments]
    return found


def tint(colour: str, white: float = TINTS[2]) -> tuple[float, float, float]:
    """The colour with so much white in it (one of `TINTS`, as the palette has no other)."""
    red, green, blue = _shade(colour, white)
    return red / 255, green / 255, blue / 255


LONGEST_SHARE = 3.0
"""Of the axis; what is older still says so in words."""


def _rows(count: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, 1.35 + ROW * max(count, 2)), layout="constrained")
    axes = figure.subplots()
    axes.set_ylim(max(count, 2) - 0.4, -0.6)
    axes.grid(axis="x", color="#E5E5E5")
    return figure, axes


def _label(axes: Axes, names: Sequence[str], texts: Sequence[str]) -> None:
    """Names of the rows on their left, and on their right what each bar says, in words."""
    axes.set_yticks(range(len(names)), names)
    beside = axes.secondary_yaxis("right")
    beside.set_yticks(range(len(texts)), texts)
    beside.tick_params(length=0, labelsize=8.5)
    beside.spines["right"].set_visible(False)


def _finish(figure: Figure, axes: Axes, title: str, handles: Sequence[Artist]) -> None:
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    figure.legend(handles=handles, loc="outside lower left", ncols=4, frameon=False, fontsize=9)


def _unit(longest: timedelta) -> tuple[timedelta, str]:
    for size, unit in (
        (timedelta(days=1), "days"),
        (timedelta(hours=1), "hours"),
        (timedelta(minutes=1), "minutes"),
    ):
        if longest >= 3 * size:
            return size, unit
    return timedelta(seconds=1), "seconds"


def short(name: str) -> str:
    """With its middle left out where it is too long: its end, such as a partition, tells most."""
    if len(name) <= LONGEST_NAME:
        return name
    half = (LONGEST_NAME - 1) // 2
    return f"{name[:half]}…{name[-half:]}"
