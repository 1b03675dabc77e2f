"""What the launch report shows on its first screen and below, in Markdown and as an HTML file that stands alone."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from offpeak import BatchApi, SourceTables, launch_coverage, launch_report
from offpeak.errors import ConfigurationError
from offpeak.ledger.ledger import Ledger
from offpeak.reports.launches.report import LaunchReport
from offpeak.reports.pictures import MISSING

from ...conftest import HeldClock, Shop, tickets
from .test_operations import NotInstalled
from .test_spend_report import Page

HOUR = timedelta(hours=1)
STARTS = datetime(2027, 3, 9, 8, tzinfo=UTC)
ENDS = STARTS + 12 * HOUR
NOW = STARTS - 96 * HOUR

# 600 requests a minute at the peak, 300 on average over 720 minutes: 216,000
LAUNCH = """\
launches:
  - name: spring_release
    starts: 2027-03-09 09:00
    ends: 2027-03-09 21:00
    zone: Europe/Berlin
    peak_at: 2027-03-09 11:30
    peak_users: 900
    session: {minutes: 12, requests: 8, input_tokens: 9600, output_tokens: 2400}
    precomputed_share: 0.7
    models: {openai/a: 0.8, openai/b: 0.2}
"""
SUMMER = LAUNCH.split("\n", 1)[1].replace("spring_release", "summer_sale").replace("2027-03-09", "2027-06-09")
WINTER = LAUNCH.split("\n", 1)[1].replace("spring_release", "winter_sale").replace("2027-03-09", "2027-03-02")
NOBODY = "Nobody has said yet what `openai/a` and `openai/b` allow in a minute: write it into `price_sheet.toml`"

# $0.0018 a request of a, $0.0084 of b: by their shares $0.00312
PRICES = """\
[[price]]
model = "openai/a"
source = "a test"
since = 2026-01-01
batch = {input = 0.5, output = 1}
realtime = {input = 1, output = 2}

[[price]]
model = "openai/b"
source = "a test"
since = 2026-01-01
batch = {input = 2, output = 6}
realtime = {input = 4, output = 12}
"""
LIMITS = """
[[terms]]
model = "openai/a"
source = "a test"
requests_per_minute = 500
tokens_per_minute = 500_000

[[terms]]
model = "openai/b"
source = "a test"
requests_per_minute = 50
tokens_per_minute = 50_000
"""
TRAFFIC = "asset,key,requests\nlabels,T0000,300\nlabels,T0001,240\nlabels,T0002,60\nothers,x,250\nshort,T0003,150\n"


@dataclass
class Plans:
    """A folder with a list of launches, prices and past traffic, and a ledger."""

    folder: Path
    ledger: Ledger
    written: dict[str, str] = field(default_factory=dict)

    def write(self, *, launches: str = LAUNCH, prices: str = PRICES + LIMITS, traffic: str | None = TRAFFIC) -> None:
        (self.folder / "launches.yaml").write_text(launches)
        (self.folder / "prices.toml").write_text(prices)
        table = self.folder / "launch_traffic.csv"
        table.unlink(missing_ok=True)
        if traffic is not None:
            table.write_text(traffic)

    @property
    def api(self) -> BatchApi:
        return BatchApi(
            openai_api_key="key-of-a-test",
            openai_base_url="http://127.0.0.1:9",
            price_sheet=str(self.folder / "prices.toml"),
            launches=str(self.folder / "launches.yaml"),
        )

    @property
    def tables(self) -> SourceTables:
        return SourceTables(url=f"folder:{self.folder}")

    def report(self, now: datetime = NOW) -> LaunchReport:
        return launch_report(self.ledger, self.api, self.tables, now=now)


@pytest.fixture
def plans(ledger: Ledger, tmp_path: Path) -> Plans:
    """Nothing is pre-computed."""
    made = Plans(tmp_path / "plans", ledger)
    made.folder.mkdir()
    made.write()
    return made


@pytest.fixture
def prepared(plans: Plans, shop: Shop) -> Iterator[Plans]:
    """Of 1,000 requests 600 ask for rows that are fresh through the window, and 150 for one that is not."""
    shop.buy(partitions={"spring_release": tickets(3)}, as_of=NOW - HOUR, valid_for=240 * HOUR)
    shop.buy(partitions={"spring_release": tickets(1, start=3)}, asset="short", as_of=NOW - HOUR, valid_for=24 * HOUR)
    return Plans(plans.folder, shop.ledger)


def text(report: LaunchReport) -> str:
    return " ".join(Page(report.html).text)


def test_the_first_screen_says_limit_headroom_day_hit_rate_and_cost_in_this_order(prepared: Plans) -> None:
    report = prepared.report()
    title, _, head, _, figures, beside, *_ = report.summary.splitlines()
    assert title == "**spring_release, 9 March 2027, in 4 d**"
    assert head == "|  | Binding limit | Headroom | Raise by | Hit rate | Cost of misses |"
    # 180 of 600 requests a minute are not pre-computed; b answers 36 of them, of 1,500 tokens each, and 20% stay free.
    # 40% of 216,000 requests miss, at $0.00312
    assert figures == "|  | **50,000 tokens/min** | **-35%** | **23 Feb 2027** | **60%** | **$269.57** |"
    assert beside == (
        "|  | of openai/b: the price sheet says so "
        "| 54,000 needed of 40,000 usable, if 70% is pre-computed, -80% with what is there now, -350% with nothing "
        "| 10 d ago; openai/b to 68,000 tokens/min "
        "| 70% planned; 60% at the peak, 25% missing, 15% stale before it ends "
        "| 86,400 requests of the window, at half of the peak on average, $539.14 at most; full coverage would save "
        "$269.56 |"
    )
    next_ = "**What next?** Raise `openai/b` from 50,000 to 68,000 tokens a minute"
    assert next_ in report.summary
    assert report.summary.index("Cost of misses") < report.summary.index(next_) < report.summary.index("](data:image")
    page = text(report)
    told = ["Launch report: spring_release", "Binding limit", "50,000 tokens/min", "Headroom", "-35%", "Raise by",
            "23 Feb 2027", "Hit rate", "60%", "Cost of misses", "$269.57", "What next?", "What is allowed"]  # fmt: skip
    places = [page.index(each) for each in told]
    assert places == sorted(places)


def test_its_figures_are_numbers(prepared: Plans) -> None:
    assert prepared.report().figures == pytest.approx(
        {
            "headroom/spring_release": -0.35,
            "hit_rate/spring_release": 0.6,
            "hit_rate_at_peak/spring_release": 0.6,
            "missing/spring_release": 0.25,
            "soon_stale/spring_release": 0.15,
            "misses_usd/spring_release": 269.568,
            "full_coverage_saves_usd/spring_release": 269.56488,  # two rows at half of $0.00312
        }
    )


def test_below_it_names_the_rows_that_lack_and_what_has_landed(prepared: Plans) -> None:
    (whole,) = prepared.report().launches.values()
    assert "| `labels` | 60% | 100% | 0% | 0% | 3 of 3 |" in whole
    assert "| `all assets` | 100% | 60% | 15% | 25% | 3 of 5 |" in whole
    assert "| `others: x` | 25% | no answer |" in whole
    assert "| `short: T0003` | 15% | 2027-03-06 08:00 |" in whole
    assert "| `openai/a` | requests | 500 | 400 | 144 | 64% | -20% | – |" in whole
    assert re.search(r"\| `short` \| 1 \| 0 \| [-0-9: ]+ \| 2027-03-05 08:00 \| 2027-03-06 08:00 \|", whole)
    assert "What else the launch holds up is not known here" in whole


def test_the_file_stands_alone(prepared: Plans, tmp_path: Path) -> None:
    report = prepared.report()
    page = Page(report.html)
    assert page.fetched == []
    assert page.images == 1
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert not re.search(r"url\(|@import", report.html)
    assert report.path.name == "launches-2027-03-05.html"
    assert report.write(tmp_path).read_text() == report.html


def test_the_soonest_launch_comes_first_and_one_that_is_just_over_last(prepared: Plans) -> None:
    prepared.write(launches=LAUNCH + SUMMER + WINTER)
    report = prepared.report()
    assert list(report.launches) == ["spring_release", "summer_sale", "winter_sale"]
    assert report.summary.startswith("**spring_release, 9 March 2027, in 4 d**")
    assert "It has been over since 2027-03-02 21:00 Europe/Berlin." in report.launches["winter_sale"]
    assert report.figures["hit_rate/summer_sale"] == 0
    page = text(report)
    assert (
        page.index("spring_release, 9 March") < page.index("summer_sale, 9 June") < page.index("winter_sale, 2 March")
    )
    later = prepared.report(NOW + timedelta(days=5))
    assert list(later.launches) == ["summer_sale", "spring_release"]  # the other has been over for more than a week


@pytest.mark.parametrize("launches", ["launches: []\n", WINTER])
def test_without_a_launch_it_says_so(plans: Plans, launches: str) -> None:
    plans.write(launches=launches if launches.startswith("launches") else f"launches:\n{launches}", traffic=None)
    report = plans.report(NOW + timedelta(days=30))
    assert report.summary.startswith("No launch is ahead")
    assert (report.launches, report.figures) == ({}, {})
    assert "No launch is ahead" in text(report)
    assert Page(report.html).images == 0


def test_with_nothing_pre_computed_every_request_is_a_miss(plans: Plans) -> None:
    report = plans.report()
    assert "| **0%** | **$673.92** |" in report.summary  # 216,000 requests at $0.00312
    assert "-350% with what is there now, -350% with nothing" in report.summary
    assert "Nothing has been pre-computed yet." in text(report)


def test_limits_that_nobody_knows_are_asked_for_and_the_rest_is_shown(prepared: Plans) -> None:
    prepared.write(prices=PRICES)
    report = prepared.report()
    assert "| **not known** | **not known** | **23 Feb 2027** | **60%** | **$269.57** |" in report.summary
    assert f"**What next?** {NOBODY}" in report.summary
    assert "headroom/spring_release" not in report.figures
    assert "No limit is known." in text(report)


def test_traffic_that_cannot_be_read_is_said_and_the_rest_is_shown(prepared: Plans) -> None:
    prepared.write(traffic=None)
    report = prepared.report()
    assert "| **-35%** | **23 Feb 2027** | **not known** | **not known** |" in report.summary
    assert "it needs the table launch_traffic beside the application's tables" in report.launches["spring_release"]
    assert report.figures == pytest.approx({"headroom/spring_release": -0.35})
    with pytest.raises(ConfigurationError, match="needs the table launch_traffic"):
        launch_coverage(prepared.ledger, prepared.api, prepared.tables, now=NOW)


def test_a_price_that_nobody_states_is_said_and_the_hit_rate_is_shown(prepared: Plans) -> None:
    prepared.write(launches=LAUNCH.replace("openai/b", "openai/never-heard-of"))
    report = prepared.report()
    assert "| **60%** | **not known** |" in report.summary
    assert "never-heard-of" in report.launches["spring_release"]


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (STARTS - timedelta(days=30), "Pre-computation begins on 2027-03-02 09:00 Europe/Berlin."),
        (NOW, "70% is to be answered beforehand, and 0% is: materialise the partition `spring_release` of `labels`"),
        (ENDS + HOUR, "It has been over since 2027-03-09 21:00 Europe/Berlin."),
    ],
)
def test_where_the_limits_are_enough_it_says_what_comes_next(plans: Plans, now: datetime, said: str) -> None:
    plans.write(prices=PRICES + LIMITS.replace("= 50_000", "= 68_000"))
    assert f"**What next?** {said}" in plans.report(now).summary or said in plans.report(now).summary


def test_rows_that_go_stale_too_soon_are_to_be_made_again(plans: Plans, shop: Shop) -> None:
    shop.buy(partitions={"spring_release": tickets(3)}, as_of=NOW - HOUR, valid_for=24 * HOUR)
    plans.write(prices=PRICES + LIMITS.replace("= 50_000", "= 68_000"))
    assert (
        "60% of what is asked for goes stale before the window ends: materialise the partition `spring_release` of "
        "`labels` again"
    ) in Plans(plans.folder, shop.ledger).report().summary


def test_without_matplotlib_the_picture_is_words_that_say_so(prepared: Plans, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.startswith(("matplotlib", "offpeak.reports.launches.timeline"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "offpeak.reports.plots", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NotInstalled("matplotlib"), *sys.meta_path])
    assert MISSING in prepared.report().summary


def test_it_goes_by_the_ledgers_clock(plans: Plans, tmp_path: Path) -> None:
    with Ledger.open(
        f"sqlite:///{tmp_path / 'ledger.db'}", spool_dir=tmp_path / "spool", clock=HeldClock(NOW + HOUR)
    ) as held:
        report = launch_report(held, plans.api, plans.tables)
        assert "in 3 d 23 h" in report.summary
        assert launch_coverage(held, plans.api, plans.tables).figures["hit_rate/spring_release"] == 0


def test_the_coverage_has_a_line_for_each_launch_that_is_not_over(prepared: Plans) -> None:
    prepared.write(launches=LAUNCH + SUMMER + WINTER)
    found = launch_coverage(prepared.ledger, prepared.api, prepared.tables, now=NOW)
    assert found.summary.splitlines()[2:] == [
        "| `spring_release` | 60% | 25% | 15% | $269.57 | $269.56 |",
        "| `summer_sale` | 0% | 100% | 0% | $673.92 | $673.91 |",
    ]
    assert list(found.launches) == ["spring_release", "summer_sale"]
    assert found.launches["spring_release"].startswith(
        "60% of what visitors ask for, weighed by past traffic, is answered by a pre-computed row that is fresh until "
        "the window ends on 2027-03-09 21:00 Europe/Berlin; 70% is planned. At the peak it is 60%."
    )
