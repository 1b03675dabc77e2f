"""The picture of a launch: it is drawn whatever the launch, and marks when which course is over the limit."""

from dataclasses import replace
from datetime import datetime, timedelta
from io import BytesIO

import pytest
from PIL import Image

from offpeak.launches.capacity import Reached
from offpeak.launches.limits import Limit, Source
from offpeak.launches.profile import over_from_to
from offpeak.providers.realtime import Measure
from offpeak.reports.launches.timeline import PLANNED, WITHOUT, Course, launch_figure
from offpeak.reports.plots import png
from offpeak.results.effective import Prepared

from ..launches.sample import STARTS, launch

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LAUNCH = replace(launch(), peak_at=STARTS + 3 * HOUR)
LIMIT = Reached(
    model="openai/a",
    measure=Measure.TOKENS,
    limit=Limit(per_minute=50_000, source=Source.PRICE_SHEET),
    needed=54_000,
    spare=0.2,
)
COURSES = [
    Course(name=name, peak=peak, colour=colour, dashes=dashes)
    for name, peak, (colour, dashes) in (("without", 200_000, WITHOUT), ("as planned", 40_000, PLANNED))
]


def landed(name: str, *, lasts: timedelta = 9 * DAY) -> Prepared:
    at = STARTS - 5 * DAY
    return Prepared(asset=name, landed_at=at, rows=3, missing=0, as_of=at, effective_until=at + lasts)


NOTHING = Prepared(asset="empty", landed_at=None, rows=0, missing=3, as_of=None, effective_until=None)


def test_a_course_is_over_the_limit_from_the_way_up_to_the_way_down() -> None:
    # a quarter of the peak is reached a quarter of three hours after the beginning, and of nine before the end
    assert over_from_to(LAUNCH, peak=200_000, limit=50_000) == (
        STARTS + timedelta(minutes=45),
        LAUNCH.ends - timedelta(minutes=135),
    )
    assert over_from_to(LAUNCH, peak=50_000, limit=50_000) is None


@pytest.mark.parametrize("now", [STARTS - 200 * DAY, STARTS - 15 * DAY, STARTS - HOUR, STARTS + HOUR, STARTS + 5 * DAY])
@pytest.mark.parametrize("limit", [LIMIT, None])
def test_it_is_drawn_whenever_one_looks_and_whatever_is_known(now: datetime, limit: Reached | None) -> None:
    figure = launch_figure(
        LAUNCH,
        now=now,
        raise_by=STARTS - 14 * DAY,
        prepared=[*(landed(f"asset {n}", lasts=n * 3 * DAY) for n in range(8)), NOTHING],
        limit=limit,
        courses=COURSES,
    )
    above, below = figure.axes
    assert "and 3 more" in above.get_yticklabels()[-1].get_text()
    named = [each.get_text() for each in below.get_legend().get_texts()]
    if limit is None:
        assert named == ["without", "as planned"]
    else:
        assert named[:2] == ["without\nover the limit 09:45 – 18:45", "as planned\nnever over the limit"]
    with Image.open(BytesIO(png(figure))) as image:
        assert image.size == (900, 490)


def test_a_launch_of_several_days_with_the_peak_at_its_end_is_drawn_with_dates() -> None:
    long = replace(LAUNCH, ends=STARTS + 5 * DAY, peak_at=STARTS + 5 * DAY)
    figure = launch_figure(long, now=STARTS, raise_by=STARTS - 14 * DAY, prepared=[], limit=LIMIT, courses=COURSES)
    assert "over the limit 10 Mar 15:00 – 14 Mar 09:00" in figure.axes[1].get_legend().get_texts()[0].get_text()
    assert png(figure)
