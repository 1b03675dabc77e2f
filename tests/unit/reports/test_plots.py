"""What the pictures say: lengths in the right unit, what is over and what is not, axes with units, small files."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from PIL import Image

from offpeak.ledger.states import JobState
from offpeak.ledger.watching import QueueDepth, Timing
from offpeak.reports.ages import Age, AgeHistory, AssetAges, Landing
from offpeak.reports.plots import (
    BLUE,
    EXPIRED,
    GREEN,
    LINES,
    ORANGE,
    SO_FAR,
    VERMILLION,
    ages_figure,
    past_ages_figure,
    png,
    queue_figure,
    timings_figure,
)

NOW = datetime(2026, 11, 20, 14, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)
LARGEST = 60_000
"""Bytes of a picture: it goes into Dagster's event log."""


def timing(number: int = 1, *, state: JobState = JobState.COMPLETED, **moments: datetime | None) -> Timing:
    """A job that took 10 hours: 1 waiting, 8 at the provider, 1 until it was collected."""
    begun = NOW - 11 * HOUR
    usual = {"submitted_at": begun + HOUR, "ended_at": begun + 9 * HOUR, "closed_at": begun + 10 * HOUR}
    return Timing(job_id=number, asset="ticket_labels", state=state, created_at=begun, **usual | moments)  # type: ignore[arg-type]


def open_job(**moments: datetime | None) -> Timing:
    nothing: dict[str, datetime | None] = {"submitted_at": None, "ended_at": None, "closed_at": None}
    return timing(state=JobState.IN_PROGRESS, **nothing | moments)


def asset(name: str, hours: Mapping[str, float | None]) -> AssetAges:
    """An asset whose contract promises 10 hours, with the ages of its partitions."""
    newest = [
        Age(
            asset=name,
            partition_key=key,
            as_of=None if reached is None else NOW - reached * HOUR,
            valid_for=10 * HOUR,
        )
        for key, reached in hours.items()
    ]
    return AssetAges(asset=name, partitions=len(newest), expired=0, newest=newest)


def main(figure: Figure) -> Axes:
    return figure.axes[0]


def bars(figure: Figure) -> list[tuple[float, str, str]]:
    """Width, colour and hatch of each bar, in the order they were drawn."""
    patches: list[Any] = list(main(figure).patches)
    return [
        (round(each.get_width(), 3), to_hex(each.get_facecolor()).upper(), each.get_hatch() or "") for each in patches
    ]


def beside(figure: Figure) -> list[str]:
    """What is written on the right of the bars."""
    figure.draw_without_rendering()
    (side,) = (each for each in main(figure).child_axes)
    return [label.get_text() for label in side.get_yticklabels()]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for each in figure.legends for text in each.get_texts()]


def test_a_job_that_is_through_has_a_bar_for_each_part_of_its_time() -> None:
    figure = timings_figure([timing()], now=NOW)
    assert bars(figure) == [(1, ORANGE, ""), (8, BLUE, ""), (1, GREEN, "")]
    assert beside(figure) == ["10 h"]
    assert main(figure).get_xlabel() == "time since the job began (hours)"
    assert legend(figure) == ["waiting to be submitted", "at the provider", "until it was collected", "so far"]


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (open_job(), [(11, ORANGE, SO_FAR)]),
        (open_job(submitted_at=NOW - 10 * HOUR), [(1, ORANGE, ""), (10, BLUE, SO_FAR)]),
        (
            open_job(submitted_at=NOW - 10 * HOUR, ended_at=NOW - 4 * HOUR),
            [(1, ORANGE, ""), (6, BLUE, ""), (4, GREEN, SO_FAR)],
        ),
    ],
    ids=["waiting", "at the provider", "landed"],
)
def test_what_is_not_over_is_hatched_and_reaches_until_now(job: Timing, expected: list[tuple[float, str, str]]) -> None:
    figure = timings_figure([job], now=NOW)
    assert bars(figure) == expected
    assert beside(figure) == ["11 h, open"]


def test_a_job_that_ended_without_its_batch_ending_has_no_time_of_collecting() -> None:
    figure = timings_figure([timing(state=JobState.CANCELLED, ended_at=None)], now=NOW)
    assert bars(figure) == [(1, ORANGE, ""), (9, BLUE, "")]
    assert beside(figure) == ["10 h, cancelled"]


def test_rows_are_named_and_dated_in_utc_with_the_newest_on_top() -> None:
    figure = timings_figure([timing(2), timing(1)], now=NOW)
    assert [each.get_text() for each in main(figure).get_yticklabels()] == [
        "ticket_labels, job 2, 20 Nov 03:03",
        "ticket_labels, job 1, 20 Nov 03:03",
    ]
    assert main(figure).yaxis_inverted()
    assert main(figure).get_ylabel() == "begun (UTC)"


@pytest.mark.parametrize(("seconds", "unit"), [(2, "seconds"), (600, "minutes"), (36_000, "hours"), (900_000, "days")])
def test_the_unit_of_time_fits_the_longest_job(seconds: int, unit: str) -> None:
    begun = NOW - timedelta(seconds=seconds)
    moments: dict[str, Any] = {"created_at": begun, "submitted_at": begun, "ended_at": NOW, "closed_at": NOW}
    job = Timing(job_id=1, asset="a", state=JobState.COMPLETED, **moments)
    assert main(timings_figure([job], now=NOW)).get_xlabel() == f"time since the job began ({unit})"


def test_each_account_has_a_line_of_its_own_colour_and_dashes() -> None:
    at = [NOW - HOUR + timedelta(minutes=minute) for minute in range(61)]
    steps = [0] * 10 + [500] * 20 + [0] * 31
    figure = queue_figure(QueueDepth(at=at, requests={"openai:api": steps, "anthropic:api": steps[::-1]}))
    axes = main(figure)
    assert [(line.get_color(), line.get_linestyle()) for line in axes.lines] == list(LINES[:2])
    assert legend(figure) == ["openai:api", "anthropic:api"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("requests on their way", "time (UTC), until 20 Nov 2026 14:03")
    assert [int(value) for value in axes.lines[0].get_ydata()] == [0, 500, 0, 0]  # type: ignore[union-attr]


def test_an_age_is_drawn_as_a_share_of_what_is_promised_and_told_in_words() -> None:
    figure = ages_figure([asset("labels", {"": 5}), asset("digests", {"a": 12, "b": None, "c": 0})], now=NOW)
    assert bars(figure) == [(0.5, BLUE, ""), (1.2, VERMILLION, EXPIRED), (0, BLUE, "")]
    assert beside(figure) == ["5 h of 10 h", "12 h of 10 h", "under 1 s of 10 h"]
    assert [each.get_text() for each in main(figure).get_yticklabels()] == ["labels", "digests, a", "digests, c"]
    assert main(figure).get_xlabel() == "age of the oldest row (% of what the contract promises)"
    assert legend(figure) == ["within its contract", "older than promised", "promised"]


def test_what_is_far_too_old_does_not_make_the_others_too_short_to_see() -> None:
    figure = ages_figure([asset("labels", {"": 5}), asset("summaries", {"": 20})], now=NOW)
    assert [width for width, _, _ in bars(figure)] == [0.5, 2]
    figure = ages_figure([asset("labels", {"": 5}), asset("forgotten", {"": 10_000})], now=NOW)
    assert [width for width, _, _ in bars(figure)] == [0.5, 3]
    assert beside(figure)[1] == "416 d 16 h of 10 h"


def history(name: str, *hours: float, as_of: float = 6, valid_for: float = 37) -> AgeHistory:
    """Landings so many hours ago, each of them with rows of a certain age (hours)."""
    landings = [Landing(at=NOW - each * HOUR, as_of=NOW - (each + as_of) * HOUR) for each in hours]
    return AgeHistory(asset=name, valid_for=valid_for * HOUR, landings=landings)


def line(axes: Axes) -> list[tuple[float, float]]:
    """The points of a panel's saw: hours ago, and height."""
    xs, ys = axes.lines[0].get_data()
    return [
        (round((date2num(NOW) - float(x)) * 24, 3), round(float(y), 3))  # type: ignore[arg-type]
        for x, y in zip(xs, ys, strict=True)
    ]


def test_an_age_grows_with_time_and_drops_when_something_lands() -> None:
    figure = past_ages_figure([history("labels", 30, 10)], since=NOW - 20 * HOUR, now=NOW)
    axes = main(figure)
    assert line(axes) == [(20, 16), (10, 26), (10, 6), (0, 16)]
    age, promised = axes.lines
    assert (promised.get_color(), promised.get_linestyle()) == (age.get_color(), "--")
    assert list(promised.get_ydata()) == [37, 37]  # type: ignore[arg-type]
    assert axes.get_ylabel() == "hours"
    assert (axes.get_title(loc="left"), axes.get_title(loc="right")) == ("labels", "16 h of 1 d 13 h")
    assert not axes.collections
    assert legend(figure) == ["age of the oldest row", "promised", "older than promised"]


def test_what_is_older_than_promised_is_hatched_in_a_colour_of_its_own() -> None:
    axes = main(past_ages_figure([history("labels", 300, valid_for=96)], since=NOW - 336 * HOUR, now=NOW))
    (over,) = axes.collections
    assert over.get_hatch() == EXPIRED
    assert axes.get_ylabel() == "days"
    assert line(axes) == [(300, 0.25), (0, 12.75)]


def test_each_asset_has_a_panel_over_the_same_time() -> None:
    histories = [history(f"asset_{number}", 30, 10 + number) for number in range(5)]
    figure = past_ages_figure(histories, since=NOW - 20 * HOUR, now=NOW)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == [each.asset for each in histories]
    assert len({axes.get_xlim() for axes in panels}) == 1
    assert [axes.get_xlabel() for axes in panels] == ["", "", "", "time (UTC)", "time (UTC)"]


@pytest.mark.parametrize("rows", [1, 40])
def test_pictures_are_small_whatever_they_show(rows: int) -> None:
    name = "an_asset_with_a_name/that_is_longer_than_anybody_should_give_one"
    partitions = {f"2026-11-{number:02}": 3.3 * number for number in range(rows)}
    depth = QueueDepth(
        at=[NOW - timedelta(seconds=10) * number for number in range(17_281)][::-1],
        requests={f"provider:{number}": [(i * 7919 // 50) % 997 for i in range(17_281)] for number in range(rows // 9)},
    )
    figures = [
        timings_figure([timing(number) for number in range(rows)], now=NOW),
        ages_figure([asset(name, partitions)], now=NOW),
        *([queue_figure(depth)] if depth.requests else []),
        past_ages_figure([history(name, *range(336))] * min(rows, 8), since=NOW - 336 * HOUR, now=NOW),
        past_ages_figure([history(name, 0, as_of=0)], since=NOW, now=NOW),
    ]
    for figure in figures:
        data = png(figure)
        assert len(data) < LARGEST
        assert Image.open(BytesIO(data)).size[0] == 900


def test_no_colour_that_stands_for_something_changes_in_the_file() -> None:
    image = Image.open(BytesIO(png(timings_figure([timing()], now=NOW)))).convert("RGB")
    colours = {colour for _, colour in image.getcolors(maxcolors=256) or []}
    assert {tuple(bytes.fromhex(each[1:])) for each in (ORANGE, BLUE, GREEN)} <= colours
