"""What does not fit how it is bought, by asset, dearest first: each with what to do about it.

Dollars are those of a month: what it came to in the last four weeks, or since the first purchase where that was later,
times 30 over the days of that. What comes to less than a hundredth of all spending is no misfit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from offpeak.reports.spending import HABIT, WEEK, Habit, Spending

MONTH = 30
"""Days."""

MOST = 5
"""Misfits that are named."""

UNUSABLE = 0.10
"""The share of an asset's cost that may bring nothing usable."""

SMALL = 0.01
"""Of all spending: what comes to less is passed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """One thing to mend."""

    asset: str
    why: str
    """What is wrong and what to do. Commands and code stand between backticks."""
    month_pico: int
    """About what it comes to in a month, in pico-dollars."""


def misfits(spending: Spending) -> Sequence[Misfit]:
    """The dearest, at most `MOST`."""
    spent = sum(each.total.cost_pico for each in spending.habits.values())
    found = [
        Misfit(asset=asset, why=why, month_pico=pico * MONTH // spending.habit_days)
        for asset, habit in spending.habits.items()
        for pico, why in _of(habit)
        if pico > 0 and pico >= SMALL * spent
    ]
    return sorted(found, key=lambda each: (-each.month_pico, each.asset, each.why))[:MOST]


def _of(habit: Habit) -> Iterator[tuple[int, str]]:
    total = habit.total
    partitions = len(habit.unread_partitions)
    of_them = f" of {partitions:,} partitions" if partitions > 1 else ""
    yield (
        habit.unread_pico,
        f"Nobody has read the results{of_them} since they were bought, {WEEK} to {HABIT + WEEK} days ago. Stop its "
        "schedule, unless they are read with SQL or from another store.",
    )
    if total.unusable_pico > UNUSABLE * total.cost_pico:
        yield (
            total.unusable_pico,
            f"{total.unusable_pico / total.cost_pico:.0%} of its cost brought nothing usable. "
            "See `offpeak dead-letters list`, then mend the prompt or the schema.",
        )
    yield (
        habit.late_pico,
        "Bought in the background, dearer than in a batch. Where nobody waits for it, loosen its `deadline`.",
    )
    yield (
        habit.rescued_pico,
        "Rescued at realtime price, because its batches came too late. Loosen its `deadline`, or begin earlier.",
    )
    yield (
        -total.cache_saved_pico,
        "Writing to prompt caches cost more than reading from them saved. Cache only what many requests begin with.",
    )
    yield (
        total.possibly_paid_twice_pico,
        "May have been paid twice: calls and batches of which no answer came. Compare the provider's invoice; "
        '`on_unresolved="wait"` buys no batch again before its outcome is known.',
    )
