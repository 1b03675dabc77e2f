"""What the spend report shows, in Markdown and as an HTML file that stands alone."""

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from offpeak import spend_report
from offpeak.errors import ConfigurationError
from offpeak.ledger.ledger import Ledger

from ...conftest import HeldClock, Place
from .books import DAY, Books
from .test_operations import NotInstalled

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)


@pytest.fixture
def books(place: Place) -> Iterator[Books]:
    """A ledger whose clock stands at a Monday morning."""
    with Ledger.open(place.url, spool_dir=place.spool, clock=HeldClock(NOW)) as opened:
        yield Books(opened)


@pytest.fixture
def month(books: Books) -> Books:
    """Four weeks of an asset that is read, and of one that is not."""
    for days in range(28):
        books.buy(NOW - days * DAY, 2, answers=10, unusable=0.125, cache_saved=0.25)
        books.buy(NOW - days * DAY, 1, asset="digests", model="anthropic/claude-haiku-5-5")
    books.read(NOW)
    return books


class Page(HTMLParser):
    """What is on a page, and what it would fetch from elsewhere."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.fetched: list[str] = []
        self.images = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "action", "data", "poster", "srcset"} and value is not None:
                if value.startswith("data:image/png;base64,"):
                    self.images += 1
                else:
                    self.fetched.append(value)

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append(data.strip())


def test_the_first_screen_says_in_this_order_what_was_spent_saved_and_wasted_and_what_next(month: Books) -> None:
    report = spend_report(month.ledger)
    head, _, figures, beside, *_ = report.summary.splitlines()
    assert head == "|  | Spent this week | Saved | Wasted | This month so far |"
    # 7 days of 2.125 + 1; wasted: 7 of 0.125, and 7 of digests; 23 days of the month, and 7 are left
    assert figures == "|  | **$21.88** | **$21.88** | **$7.88** | **$71.88** |"
    assert beside == (
        "|  | for 77 answers, $21.88 the week before | 50% of the realtime price, and $1.75 by caching, $21.88 the "
        "week before | 36% of what was spent, $7.88 the week before | $93.75 by its end, if it goes on like this |"
    )
    # 21 of the 28 days, which are all there are, are a week old
    next_ = "**What next?** `digests`, about $22.50 a month. Nobody has read the results since they were bought"
    assert next_ in report.summary
    assert report.summary.index("Spent") < report.summary.index(next_) < report.summary.index("](data:image/png")
    page = " ".join(Page(report.html).text)
    order = [
        "Spent this week",
        "$21.88",
        "Saved",
        "Wasted",
        "$7.88",
        "This month so far",
        "$93.75",
        "What next?",
        "Forecast",
    ]
    places = [page.index(each) for each in order]
    assert places == sorted(places)


def test_its_figures_are_numbers(month: Books) -> None:
    assert spend_report(month.ledger).figures == {
        "spent_usd": 21.875,
        "spent_week_before_usd": 21.875,
        "saved_usd": 21.875,
        "cache_saved_usd": 1.75,
        "wasted_usd": 7.875,
        "month_so_far_usd": 71.875,
        "forecast_usd": 93.75,
    }


def test_each_part_has_its_table(month: Books) -> None:
    report = spend_report(month.ledger)
    assert "| `labels` | $14.88 | $14.88 | 68% | 70 |" in report.spent
    assert "| `batch` | $21.88 | $21.88 | 100% | 77 |" in report.spent
    assert "| `anthropic/claude-haiku-5-5` | $7.00 | $7.00 | 32% | 7 |" in report.spent
    assert "| `all assets` | $43.75 | $21.88 | $21.88 | 50% | $1.75 |" in report.saved
    assert "| results that nobody read | $7.00 | $7.00 |" in report.wasted
    assert "| `digests` | $7.00 |" in report.wasted
    assert "who selects from a SQL view or reads another store is not seen" in report.wasted
    assert report.forecast == (
        "$71.88 so far this month. $93.75 by its end: each day that is left at the mean of the same weekday over the "
        "last 27 whole days."
    )
    assert report.misfits.splitlines()[2].startswith("| `digests` | $22.50 | Nobody has read")


def test_the_file_stands_alone(month: Books) -> None:
    report = spend_report(month.ledger)
    page = Page(report.html)
    assert page.fetched == []
    assert page.images == 3
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert not re.search(r"url\(|@import", report.html)
    assert report.html.startswith("<!DOCTYPE html>")
    assert '<meta name="viewport" content="width=device-width' in report.html
    assert len(report.html) < 250_000


def test_names_are_escaped(books: Books) -> None:
    for days in range(28):
        books.buy(NOW - days * DAY, 1, asset="<script>alert(1)</script>|`x`", model='openai/<img src="x">')
    report = spend_report(books.ledger)
    page = Page(report.html)
    assert "script" not in page.tags
    assert page.fetched == []
    assert "&lt;script&gt;" in report.html
    assert "| `<script>alert(1)</script>\\|'x'` | $7.00 |" in report.spent


def test_a_ledger_without_purchases_says_so(books: Books) -> None:
    report = spend_report(books.ledger)
    assert "**What next?** Nothing has been bought yet." in report.summary
    assert report.figures["spent_usd"] == 0
    assert "forecast_usd" not in report.figures
    assert "base64" not in report.html
    assert "Nothing was bought from 25 October on." in report.html


def test_one_purchase_of_today_is_a_report(books: Books) -> None:
    books.buy(NOW, 0.004)
    report = spend_report(books.ledger)
    assert "**$0.004000** | **$0.004000** | **$0.00** | **$0.004000** |" in report.summary
    assert "for 1 answer, $0.00 the week before" in report.summary
    assert "**What next?** Nothing stands out." in report.summary
    assert report.misfits == "Nothing stands out."
    assert report.forecast == "$0.004000 so far this month. There is no forecast before a whole day has passed."


def test_of_many_assets_the_dearest_are_named(books: Books) -> None:
    for number in range(23):
        books.buy(NOW, number + 1, asset=f"asset_{number:02}")
    table = spend_report(books.ledger).spent.split("\n\n")[0].splitlines()
    assert table[2].startswith("| `asset_22` | $23.00 |")
    assert table[-2].startswith("| `asset_03` | $4.00 |")
    assert table[-1] == "| `3 more` |  |  |  |  |"


def test_what_is_called_is_measured_against_the_price_sheet(books: Books) -> None:
    books.buy(NOW, 4, lane="background", asset="follow_ups")
    books.buy(NOW, 4, lane="background", model="nobody/knows-it", asset="others")
    assert [line.split(" | ")[:2] for line in spend_report(books.ledger).misfits.splitlines()[2:]] == [
        ["| `follow_ups`", "$8.57"]  # half of it would have been saved; 30 of the week's 7 days
    ]


def test_it_is_written_to_a_file_of_its_day(month: Books, tmp_path: Path) -> None:
    report = spend_report(month.ledger)
    path = report.write()
    assert path == tmp_path / "reports" / "spend-2026-11-23.html"
    assert path.read_text() == report.html
    assert report.write(tmp_path / "elsewhere" / "deep") == tmp_path / "elsewhere" / "deep" / path.name
    assert report.write() == path
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_folder_that_cannot_be_written_is_named(month: Books, tmp_path: Path) -> None:
    (tmp_path / "a_file").write_text("")
    with pytest.raises(ConfigurationError, match=r"cannot be written to .*a_file/spend-2026-11-23\.html"):
        spend_report(month.ledger).write(tmp_path / "a_file")


def test_without_the_extra_the_pictures_are_words(month: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]
    for name in (*loaded, "offpeak.reports.plots", "offpeak.reports.spend_plots"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in ("plots", "spend_plots"):
        monkeypatch.delattr(f"offpeak.reports.{name}", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NotInstalled("matplotlib"), *sys.meta_path])
    report = spend_report(month.ledger)
    assert "The picture needs matplotlib, which is not installed: `pip install 'offpeak[reports]'`." in report.summary
    assert "<code>pip install &#39;offpeak[reports]&#39;</code>" in report.html
    assert Page(report.html).images == 0
