"""Which share of a launch's traffic pre-computed rows answer, and what the rest costs; figures are reckoned by hand."""

import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from offpeak.errors import ConfigurationError
from offpeak.launches.coverage import Counting, Coverage, Standing, standing_of
from offpeak.launches.profile import expected_requests, level
from offpeak.launches.traffic import Asked, Row, pages_of_traffic
from offpeak.ledger.ledger import Ledger
from offpeak.money.misses import misses
from offpeak.money.rates import ModelRates, Tariff, dollars, token_rates
from offpeak.results.covered import coverages
from offpeak.results.effective import effective_until, prepared
from offpeak.results.row import served_row

from ...conftest import Shop, tickets
from .sample import STARTS, launch

HOUR = timedelta(hours=1)
ENDS = STARTS + 12 * HOUR
NOW = STARTS - 24 * HOUR

LAUNCH = launch(peak_at=STARTS + 3 * HOUR, peak_users=90, models={"openai/a": 0.75, "openai/b": 0.25})


def rates(model: str, *, input: str, output: str) -> ModelRates:  # noqa: A002 - as the price sheet has it
    realtime = Tariff(base=token_rates(input=Decimal(input), output=Decimal(output)))
    batch = Tariff(base=token_rates(input=Decimal(input) / 2, output=Decimal(output) / 2))
    return ModelRates(model_ref=model, batch=batch, realtime=realtime)


RATES = {
    "openai/a": rates("openai/a", input="1", output="2"),
    "openai/b": rates("openai/b", input="4", output="12"),
}


def covered(rows: dict[str, tuple[float, datetime | None]], *, listed: int = 20) -> Coverage:
    """By key the requests, and until when it is effective."""
    count = Counting(LAUNCH, now=NOW, listed=listed)
    count.add((Asked(Row("starters", key), requests), until) for key, (requests, until) in rows.items())
    return count.coverage()


def table(*rows: tuple[Any, ...], columns: Sequence[str] = ("asset", "key", "requests")) -> Any:
    return lambda _: (columns, iter(rows))


def test_a_row_counts_where_it_is_fresh_until_the_window_ends():
    tick = timedelta(microseconds=1)
    assert standing_of(ENDS, LAUNCH, now=NOW) is Standing.FRESH
    assert standing_of(ENDS - tick, LAUNCH, now=NOW) is Standing.SOON_STALE
    assert standing_of(NOW + tick, LAUNCH, now=NOW) is Standing.SOON_STALE
    assert standing_of(NOW, LAUNCH, now=NOW) is Standing.STALE
    assert standing_of(None, LAUNCH, now=NOW) is Standing.MISSING


def test_the_hit_rate_is_weighted_by_how_often_a_row_was_asked_for():
    found = covered(
        {
            "fresh": (60, ENDS),
            "until after the peak": (20, LAUNCH.peak_at + HOUR),
            "until before the peak": (10, LAUNCH.peak_at - HOUR),
            "stale": (6, NOW - HOUR),
            "missing": (4, None),
        }
    )
    assert found.hit_rate == 0.6
    assert found.hit_rate_at_peak == 0.8
    assert found.soon_stale_share == 0.3
    assert found.missing_share == 0.1
    assert [(each.row.key, each.standing) for each in found.missing] == [
        ("stale", Standing.STALE),
        ("missing", Standing.MISSING),
    ]
    assert [each.row.key for each in found.soon_stale] == ["until after the peak", "until before the peak"]


def test_the_heaviest_rows_are_listed_first_and_no_more_than_a_bounded_number():
    found = covered({f"K{n}": (float(n % 7 + 1), None) for n in range(70)}, listed=12)
    assert [each.row.key for each in found.missing[:3]] == ["K6", "K13", "K20"]
    assert [each.requests for each in found.missing] == [7] * 10 + [6] * 2
    assert found.total.uncovered_rows == 70


def test_the_traffic_runs_up_to_the_peak_and_down_again_and_is_half_of_it_on_average():
    assert [level(LAUNCH, STARTS + hours * HOUR) for hours in (-1, 0, 1.5, 3, 7.5, 12, 13)] == [0, 0, 0.5, 1, 0.5, 0, 0]
    assert level(replace(LAUNCH, peak_at=STARTS), STARTS) == level(replace(LAUNCH, peak_at=ENDS), ENDS) == 1
    # 90 users, each with 8 requests in 12 minutes: 60 a minute at the peak, 30 on average, for 720 minutes
    assert expected_requests(LAUNCH) == 21_600


def test_misses_cost_the_realtime_price_of_the_whole_window_and_full_coverage_saves_it_but_for_the_batch_price():
    found = misses(covered({"fresh": (75, ENDS), "missing": (20, None), "stale": (5, NOW)}), RATES)
    assert found.requests == 5_400
    # 1,200 tokens in and 300 out: $0.0018 of a, $0.0084 of b; by their shares $0.00345 a request
    assert dollars(found.cost_pico) == Decimal("18.63")
    assert dollars(found.most_pico) == Decimal("37.26")
    assert dollars(found.buying_pico) == Decimal("0.00345")  # two rows at half of the price
    assert dollars(found.saving_pico) == Decimal("18.62655")


def test_nothing_is_missed_where_everything_is_covered():
    found = misses(covered({"fresh": (75, ENDS)}), RATES)
    assert (found.requests, found.cost_pico, found.buying_pico, found.saving_pico) == (0, 0, 0, 0)


def test_rows_that_are_named_twice_are_added_up_wherever_they_stand():
    opened = table(("b", "1", 2), ("a", "1", 1), *(("a", f"{n}", 1) for n in range(100, 104)), ("b", "1", "3"))
    found = [each for page in pages_of_traffic(opened, page=2) for each in page]
    assert found == [(("a", key), 1) for key in ("1", "100", "101", "102", "103")] + [(("b", "1"), 5)]


@pytest.mark.parametrize(
    ("opened", "said"),
    [
        (table(), "no row was ever asked for"),
        (table(("a", "1", 0)), "no row was ever asked for"),
        (table(("a", "1", "many")), "could not convert string to float"),
        (table(("a", "1", -1)), "not from 0 up"),
        (table(("a", "1"), columns=("asset", "key")), "It has no requests, only asset, key"),
    ],
)
def test_traffic_that_cannot_be_used_says_why_and_what_is_needed(opened: Any, said: str):
    with pytest.raises(ConfigurationError, match=f"needs the table launch_traffic.*{said}"):
        list(pages_of_traffic(opened))


def test_memory_does_not_grow_with_the_traffic():
    def rows(count: int) -> Iterator[tuple[Any, ...]]:
        return (("starters", f"a key of some length, number {n}", 1) for n in range(count))

    def peak(count: int) -> int:
        tracemalloc.start()
        counting = Counting(LAUNCH, now=NOW)
        for page in pages_of_traffic(lambda _: (("asset", "key", "requests"), rows(count))):
            counting.add((each, None) for each in page)
        assert counting.coverage().total.uncovered_rows == count
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(60_000) < 1.3 * peak(20_000)


@pytest.fixture
def stocked(any_shop: Shop) -> Ledger:
    """Rows T0000 to T0002 that are fresh until the window ends, and one more of another partition."""
    partitions = {"spring_release": tickets(3), "autumn_release": tickets(1, start=9)}
    any_shop.buy(partitions=partitions, as_of=NOW, valid_for=ENDS - NOW)
    return any_shop.ledger


def test_many_rows_are_as_effective_as_each_is_when_it_is_served(stocked: Ledger):
    keys = ["T0001", "T0002", "T0009", "nobody has it"]
    found = effective_until(stocked.database, "labels", "spring_release", keys)
    assert found == {"T0001": ENDS, "T0002": ENDS}
    for key in keys:
        served = served_row(stocked.database, "labels", "spring_release", key, at=NOW)
        assert found.get(key) == (None if served is None else served.effective_until)


def test_a_row_whose_text_changed_is_as_old_as_the_answer_that_it_serves(any_shop: Shop):
    rows = tickets(2)
    any_shop.buy(partitions={"spring_release": rows}, as_of=NOW, valid_for=10 * HOUR)
    changed = {"spring_release": {**rows, "T0001": "Something else is wrong."}}
    any_shop.leave(partitions=changed, approved=True, as_of=NOW + 5 * HOUR, valid_for=10 * HOUR)
    found = effective_until(any_shop.ledger.database, "labels", "spring_release", list(rows))
    assert found == {"T0000": NOW + 15 * HOUR, "T0001": NOW + 10 * HOUR}


def test_only_the_partition_of_the_launchs_name_counts(stocked: Ledger):
    pages = [[Asked(Row("labels", "T0001"), 3), Asked(Row("labels", "T0009"), 1)], [Asked(Row("others", "T0001"), 1)]]
    spring, autumn = coverages(stocked.database, [LAUNCH, replace(LAUNCH, name="autumn_release")], pages, now=NOW)
    assert (spring.hit_rate, autumn.hit_rate) == (0.6, 0.2)
    assert [each.row for each in spring.missing] == [Row("labels", "T0009"), Row("others", "T0001")]
    assert {name: sums.asked for name, sums in spring.assets.items()} == {"labels": 4, "others": 1}


def test_what_was_prepared_says_when_it_landed_and_until_when_it_is_effective(any_shop: Shop):
    any_shop.buy(partitions={"spring_release": tickets(3)}, as_of=NOW, valid_for=10 * HOUR)
    (found,) = prepared(any_shop.ledger.database, "spring_release")
    assert (found.asset, found.rows, found.missing) == ("labels", 3, 0)
    assert (found.as_of, found.effective_until) == (NOW, NOW + 10 * HOUR)
    assert found.landed_at is not None
    assert prepared(any_shop.ledger.database, "summer_release") == []
