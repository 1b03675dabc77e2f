"""A picture of what hangs on each guess. Imports matplotlib, through `plots`; without that it cannot be imported."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from offpeak.launches.sensitivity import Sensitivity
from offpeak.reports.plots import LINES, VERMILLION, WIDTH, tint

HEIGHT = 3.6
"""Inches."""

LOWEST = -2.0
"""Of the axis: what needs three times the usable and more is not told apart."""

WIDEST = 3.2
"""Points of the first line; later ones are thinner, so that of two that run together both are seen."""

CURVES = [style for style in LINES if style[0] != VERMILLION]
"""What is too much has that colour."""

_PERCENT = FuncFormatter(lambda value, _: f"{value:.0%}")
_SIGNED = FuncFormatter(lambda value, _: f"{value:+.0%}" if value else "as guessed")


def sensitivity_figure(found: Sequence[Sensitivity], *, title: str, spare: float) -> Figure:
    """A line for each guess: how much of the usable part of the tightest limit is left where the guess is off.

    Below nought it does not fit; from the dotted line down the whole limit is not enough, `spare` included.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots()
    heights = [headroom for each in found for _, headroom in each.curve]
    bottom = max(LOWEST, min(-0.1, *heights) * 1.05)
    axes.axhspan(bottom, 0, color=tint(VERMILLION, 0.88), linewidth=0, label="does not fit")
    axes.axhline(0, color=VERMILLION, linewidth=1.2)
    if spare and (whole := 1 - 1 / (1 - spare)) > bottom:
        axes.axhline(whole, color=VERMILLION, linewidth=1.0, linestyle=":", label="the whole limit")
    for number, each in enumerate(found):
        colour, dashes = CURVES[number % len(CURVES)]
        offs, headrooms = zip(*each.curve, strict=True)
        axes.plot(
            offs, headrooms, color=colour, linestyle=dashes, linewidth=WIDEST - 0.4 * number, label=each.guess.value
        )
    axes.axvline(0, color="#000000", linewidth=0.8)
    axes.set_xlim(
        min(off for each in found for off, _ in each.curve), max(off for each in found for off, _ in each.curve)
    )
    axes.set_ylim(bottom, 1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2.5, 5]))
    axes.xaxis.set_major_formatter(_SIGNED)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5]))
    axes.yaxis.set_major_formatter(_PERCENT)
    axes.set_xlabel("how far the guess is off", fontsize=9)
    axes.set_ylabel("headroom", fontsize=9)
    axes.grid(color="#E5E5E5")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    figure.legend(loc="outside lower left", ncols=4, frameon=False, fontsize=9)
    return figure
