"""Pictures of what was spent day by day. Imports matplotlib, through `plots`; without that it cannot be imported."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from offpeak.money.rates import dollars_text
from offpeak.reports.plots import GREY, LINES, SKY, TINTS, WIDTH, short, tint

SHOWN = 6
"""Series of a picture at most; the others are one more."""

OTHERS = "all others"

BAR = 0.8
"""Of a day's width."""

THIS_WEEK = tint(SKY, TINTS[-1])

COLOURS = [colour for colour, _ in LINES if colour != GREY]


def days_figure(
    days: Sequence[date], series: Mapping[str, Sequence[Decimal]], *, title: str, week: int, height: float = 3.3
) -> Figure:
    """Dollars of each day, a colour for each series, the dearest at the bottom. The last `week` days are marked; the
    last of them is not over. `height` in inches.
    """
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    places = range(len(days))
    axes.axvspan(len(days) - week - 0.5, len(days) - 0.5, color=THIS_WEEK, linewidth=0)
    bottom = [0.0] * len(days)
    handles = []
    for number, (name, amounts) in enumerate(_fewer(series).items()):
        colour = GREY if name == OTHERS else COLOURS[number % len(COLOURS)]
        heights = [float(each) for each in amounts]
        axes.bar(places, heights, BAR, bottom=bottom, color=colour, edgecolor="white", linewidth=0.6)
        bottom = [below + each for below, each in zip(bottom, heights, strict=True)]
        handles.append(Patch(color=colour, label=f"{short(name)} {dollars_text(sum(amounts, Decimal()))}"))
    handles.append(Patch(color=THIS_WEEK, label="this week; today so far"))
    shown = [place for place in places if (len(days) - 1 - place) % week == 0]
    axes.set_xticks(shown, [f"{days[place]:%a %d %b}" for place in shown])
    axes.set_xlim(-0.5, len(days) - 0.5)
    axes.set_ylim(0, 1.08 * max(*bottom, 1e-12))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"${value:,.6g}"))
    axes.set_ylabel("dollars a day")
    axes.grid(axis="y", color="#E5E5E5")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    figure.legend(handles=handles, loc="outside lower left", ncols=3, frameon=False, fontsize=9)
    return figure


def _fewer(series: Mapping[str, Sequence[Decimal]]) -> dict[str, Sequence[Decimal]]:
    """The dearest first, and what is beyond `SHOWN` together; without those that cost nothing."""
    dearest = sorted(
        ((name, amounts) for name, amounts in series.items() if any(amounts)), key=lambda each: -sum(each[1])
    )
    rest = [amounts for _, amounts in dearest[SHOWN:]]
    together = {OTHERS: [sum(each, Decimal()) for each in zip(*rest, strict=True)]} if rest else {}
    return {**dict(dearest[:SHOWN]), **together}
