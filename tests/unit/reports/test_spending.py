"""What was spent, saved and wasted, in dollars that are added up by hand."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest

from offpeak.ledger import billing
from offpeak.ledger.ledger import Ledger
from offpeak.reports.spending import Side, Spending, spending

from ...conftest import HeldClock, Place
from .books import DAY, Books, pico

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)


@pytest.fixture
def ledger(any_place: Place) -> Iterator[Ledger]:
    """A ledger whose clock stands at NOW."""
    with Ledger.open(any_place.url, spool_dir=any_place.spool, clock=HeldClock(NOW)) as opened:
        yield opened


@pytest.fixture
def books(ledger: Ledger) -> Books:
    return Books(ledger)


def found(books: Books, **more: Any) -> Spending:
    given: dict[str, Any] = {"read_otherwise": (), "batch_share": lambda model: Fraction(1, 2)}
    return spending(books.ledger, now=NOW, **given | more)


def test_a_week_is_today_and_the_six_days_before(books: Books) -> None:
    for cost, days in ((1, 0), (2, 6), (4, 7), (8, 13), (16, 14)):
        books.buy(NOW - days * DAY, cost)
    books.buy(datetime(2026, 11, 17, tzinfo=UTC), 32)  # the very first moment of the week
    books.buy(datetime(2026, 11, 16, 23, 59, 59, 999_999, tzinfo=UTC), 64)
    made = found(books)
    assert (made.this.first, made.this.last) == (date(2026, 11, 17), date(2026, 11, 23))
    assert made.this.total.cost_pico == pico(1 + 2 + 32)
    assert made.before.total.cost_pico == pico(4 + 8 + 64)
    assert made.began == date(2026, 11, 9)


def test_it_is_told_apart_by_asset_lane_and_model(books: Books) -> None:
    books.buy(NOW, 1, answers=3)
    books.buy(NOW, 2, asset="digests", model="anthropic/claude-haiku-5-5")
    books.buy(NOW, 4, asset="digests", lane="background")
    books.buy(NOW, 8, lane="background", rescue=True)
    week = found(books).this

    def by(side: Side) -> dict[str, int]:
        return {name: total.cost_pico for name, total in week.by[side].items()}

    assert by("asset") == {"labels": pico(9), "digests": pico(6)}
    assert by("lane") == {"batch": pico(3), "background": pico(4), "rescue": pico(8)}
    assert by("model") == {"openai/gpt-5-mini": pico(13), "anthropic/claude-haiku-5-5": pico(2)}
    assert week.by["asset"]["labels"].answers == 4


def test_saved_is_the_realtime_price_less_what_was_paid_and_caching_beside_it(books: Books) -> None:
    books.buy(NOW, 3, realtime=10, cache_saved=0.25)
    books.buy(NOW, 5, lane="background")
    week = found(books).this
    assert week.saved_pico == pico(7)
    assert week.total.cache_saved_pico == pico(0.25)


def test_wasted_is_what_brought_nothing_usable(books: Books) -> None:
    books.buy(NOW, 10, unusable=0.5, dead=0.25, paid_twice=0.125, maybe_twice=4)
    books.buy(NOW - 7 * DAY, 10, dead=2)
    books.read(NOW)
    made = found(books)
    assert made.this.total.cost_pico == pico(10.875)
    assert made.this.wasted_pico == made.this.total.unusable_pico == pico(0.875)
    assert made.this.given_up_pico == pico(0.25)
    assert made.this.total.paid_twice_pico == pico(0.125)
    assert made.this.total.possibly_paid_twice_pico == pico(4)
    assert (made.before.wasted_pico, made.before.given_up_pico) == (pico(2), pico(2))


def test_what_nobody_has_read_for_a_week_is_wasted_then(books: Books) -> None:
    for cost, days in ((1, 0), (2, 6), (4, 7), (8, 13), (16, 14), (32, 20), (64, 21)):
        books.buy(NOW - days * DAY, cost, unusable=0.5)
    made = found(books)
    assert made.this.unread == {"labels": pico(4 + 8)}  # what was unusable is counted already
    assert made.before.unread == {"labels": pico(16 + 32)}
    assert made.this.wasted_pico == pico(2 * 0.5 + 4 + 8)


@pytest.mark.parametrize(("read", "unread"), [(7, 0), (7.2, 0), (8, 3), (20, 3)])
def test_who_reads_on_the_day_or_later_has_read_it(books: Books, read: float, unread: float) -> None:
    books.buy(NOW - 7 * DAY, 3)
    books.read(NOW - read * DAY)
    assert found(books).this.unread_pico == pico(unread)


def test_each_partition_is_read_by_itself(books: Books) -> None:
    for number, partition in enumerate(("mon", "tue", "wed"), start=1):
        books.buy(NOW - 8 * DAY, number, partition=partition)
    books.read(NOW, partition="tue")
    made = found(books)
    assert made.this.unread == {"labels": pico(1 + 3)}
    assert made.habits["labels"].unread_partitions == {"mon", "wed"}


def test_what_is_read_where_nobody_sees_it_is_read(books: Books) -> None:
    books.buy(NOW - 8 * DAY, 3)
    assert found(books, read_otherwise={"labels"}).this.unread == {}


def test_a_habit_is_that_of_four_weeks_and_of_what_was_unread_that_of_the_four_up_to_a_week_ago(books: Books) -> None:
    for cost, days in ((1, 0), (2, 7), (4, 27), (8, 28), (16, 34), (32, 35)):
        books.buy(NOW - days * DAY, cost)
    habit = found(books).habits["labels"]
    assert habit.total.cost_pico == pico(1 + 2 + 4)
    assert habit.unread_pico == pico(2 + 4 + 8 + 16)


def test_what_is_called_costs_more_than_in_a_batch_by_the_price_sheets_share(books: Books) -> None:
    books.buy(NOW, 8, lane="background")
    books.buy(NOW, 4, lane="background", rescue=True)
    books.buy(NOW, 3, lane="background", realtime=4)  # flex processing
    books.buy(NOW, 100)
    habit = found(books, batch_share=lambda model: Fraction(1, 4)).habits["labels"]
    assert (habit.late_pico, habit.rescued_pico) == (pico(6 + 2), pico(3))
    assert found(books, batch_share=lambda model: None).habits["labels"].late_pico == 0


def test_a_month_that_began_before_the_four_weeks_is_whole(ledger: Ledger) -> None:
    end = datetime(2026, 10, 31, 12, 0, tzinfo=UTC)
    books = Books(ledger)
    books.buy(datetime(2026, 10, 1, tzinfo=UTC), 2)
    made = spending(ledger, now=end, read_otherwise=(), batch_share=lambda model: None)
    assert made.by_day == {date(2026, 10, 1): pico(2)}


def test_a_ledger_without_purchases_has_no_figures(books: Books) -> None:
    made = found(books)
    assert made.began is None
    assert made.this.wasted_pico == made.this.saved_pico == made.this.total.cost_pico == 0
    assert not made.habits


def test_lines_are_added_up_as_they_come(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is kept."""
    books.buy(NOW, 1)
    (line,) = billing.lines(books.ledger, since=NOW - timedelta(days=1), until=NOW + timedelta(days=1))
    alive = set()

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(line, name)

        def __init__(self) -> None:
            alive.add(id(self))

        def __del__(self) -> None:
            alive.discard(id(self))

    most = 0

    def many(*_: Any, **__: Any) -> Iterator[Any]:
        nonlocal most
        for _number in range(2_000):
            yield Watched()
            most = max(most, len(alive))

    monkeypatch.setattr(billing, "lines", many)
    assert found(books).this.total.cost_pico == 2_000 * pico(1)
    assert most <= 2
