"""The pictures of spending: who is in them, in which order, and small files."""

from datetime import date, timedelta
from decimal import Decimal

from matplotlib.colors import to_hex

from offpeak.reports.plots import GREY, png
from offpeak.reports.spend_plots import COLOURS, OTHERS, days_figure

DAYS = [date(2026, 10, 25) + number * timedelta(days=1) for number in range(30)]


def drawn(series: dict[str, list[float]]) -> tuple[list[tuple[str, str]], list[float]]:
    """The legend with its colours, and the heights of the last day's bars from below."""
    amounts = {name: [Decimal(str(each)) for each in values] for name, values in series.items()}
    figure = days_figure(DAYS, amounts, title="Spent each day", week=7)
    assert len(png(figure)) < 60_000
    (legend,) = figure.legends
    colours = [to_hex(patch.get_facecolor()).upper() for patch in legend.get_patches()]
    heights = [list(bars)[-1].get_height() for bars in figure.axes[0].containers]
    return list(zip([text.get_text() for text in legend.get_texts()], colours, strict=True)), heights


def test_the_dearest_is_at_the_bottom_and_each_says_what_it_cost() -> None:
    legend, heights = drawn({"labels": [1.0] * 30, "digests": [0.0] * 29 + [40.0], "free": [0.0] * 30})
    assert legend[:-1] == [("digests $40.00", COLOURS[0]), ("labels $30.00", COLOURS[1])]
    assert heights == [40, 1]


def test_what_is_beyond_six_is_one_and_grey() -> None:
    legend, heights = drawn({f"asset_{number}": [float(number)] * 30 for number in range(1, 10)})
    assert [text.split(" $")[0] for text, _ in legend[:-1]] == [*(f"asset_{each}" for each in range(9, 3, -1)), OTHERS]
    assert legend[6] == ("all others $180.00", GREY)
    assert heights == [9, 8, 7, 6, 5, 4, 6]


def test_thousandths_of_a_cent_are_drawn() -> None:
    _, heights = drawn({"labels": [0.00001] * 30})
    assert heights == [0.00001]
