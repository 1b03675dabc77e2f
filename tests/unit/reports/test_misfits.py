"""What is to be mended first: which things are misfits, in which order, and how many dollars a month they are."""

from datetime import UTC, datetime
from typing import Any

import pytest

from offpeak.money.bill import Total
from offpeak.reports.misfits import misfits
from offpeak.reports.spending import Habit, Spending, Week

from .books import DAY, pico

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)


def a_month_of(days: int = 100, **habits: Habit) -> Spending:
    """Spending that began so many days ago."""
    today = NOW.date()
    week = Week(first=today - 6 * DAY)
    return Spending(now=NOW, began=today - (days - 1) * DAY, this=week, before=week, habits=dict(habits))


def habit(cost: float = 100, *, unread: float = 0, late: float = 0, rescued: float = 0, **total: float) -> Habit:
    sums: dict[str, Any] = {f"{name}_pico": pico(amount) for name, amount in total.items()}
    return Habit(
        total=Total(cost_pico=pico(cost), **sums),
        unread_pico=pico(unread),
        late_pico=pico(late),
        rescued_pico=pico(rescued),
    )


def test_the_dearest_comes_first_and_five_are_named() -> None:
    found = misfits(
        a_month_of(
            a=habit(unread=14, late=28),
            b=habit(rescued=7, cache_saved=-56),
            c=habit(unusable=42, possibly_paid_twice=20),
            d=habit(unread=21),
        )
    )
    assert [(each.asset, each.month_pico) for each in found] == [
        ("b", pico(60)),
        ("c", pico(45)),
        ("a", pico(30)),
        ("d", pico(22.5)),
        ("c", 20 * 30 * 10**12 // 28),
    ]


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (habit(unread=20), "Nobody has read the results since they were bought, 7 to 35 days ago. Stop its schedule"),
        (habit(unusable=20), "20% of its cost brought nothing usable. See `offpeak dead-letters list`, then mend"),
        (habit(late=20), "dearer than in a batch. Where nobody waits for it, loosen its `deadline`."),
        (habit(rescued=20), "because its batches came too late. Loosen its `deadline`, or begin earlier."),
        (habit(cache_saved=-20), "Writing to prompt caches cost more than reading from them saved."),
        (habit(possibly_paid_twice=20), "May have been paid twice"),
    ],
)
def test_each_says_what_to_do(one: Habit, says: str) -> None:
    (found,) = misfits(a_month_of(labels=one))
    assert says in found.why


def test_of_partitions_it_says_how_many_nobody_has_read() -> None:
    one = habit(unread=20)
    one.unread_partitions |= {"mon", "tue"}
    assert misfits(a_month_of(labels=one))[0].why.startswith("Nobody has read the results of 2 partitions since")


def test_a_tenth_may_be_unusable_and_what_is_under_a_hundredth_of_all_is_passed_over() -> None:
    assert misfits(a_month_of(labels=habit(unusable=10))) == []
    assert misfits(a_month_of(labels=habit(unusable=10.01))) != []
    assert misfits(a_month_of(labels=habit(10, late=1), digests=habit(91))) == []
    assert misfits(a_month_of(labels=habit(10, late=1), digests=habit(90))) != []
    assert misfits(a_month_of(labels=habit(0))) == []
    assert misfits(a_month_of(labels=habit(cache_saved=20))) == []


@pytest.mark.parametrize(("days", "month"), [(100, 30), (28, 30), (14, 60), (7, 120), (1, 120)])
def test_a_month_is_reckoned_from_the_days_since_the_first_purchase_but_a_week_at_least(days: int, month: int) -> None:
    (found,) = misfits(a_month_of(days, labels=habit(late=28)))
    assert found.month_pico == pico(month)
