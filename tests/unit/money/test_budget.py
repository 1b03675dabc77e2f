"""A budget is declared in exact dollars, and says what is left."""

from decimal import Decimal
from typing import Any

import pytest

from offpeak import Budget
from offpeak.errors import DefinitionError
from offpeak.ledger.spending import Spent
from offpeak.money.budget import allowances, declared_budget, dollar_amount, too_small

CENT = 10**10


@pytest.mark.parametrize("given", ["2.50", Decimal("2.5"), " 2.5 "])
def test_an_amount_is_taken_as_decimal_whatever_it_is_written_as(given: Any) -> None:
    budget = declared_budget("labels", Budget(job=given, day=20, pay_twice="1"))
    assert budget == Budget(job=Decimal("2.5"), day=Decimal(20), pay_twice=Decimal(1))


def test_nothing_declared_bounds_nothing() -> None:
    assert declared_budget("labels", None) is None


@pytest.mark.parametrize("name", ["job", "day", "pay_twice"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (0.1, 'is a float, which holds most amounts only nearly. Write it as decimal text: {}="0.1"'),
        (0, "is no amount of dollars above nought"),
        (-1, "is no amount of dollars above nought"),
        ("-0.5", "is no amount of dollars above nought"),
        ("NaN", "is no amount of dollars above nought"),
        (Decimal("NaN"), "is no amount of dollars above nought"),
        ("Infinity", "is no amount of dollars above nought"),
        ("five", "is no amount of dollars above nought"),
        ("", "is no amount of dollars above nought"),
        (True, "is no amount of dollars above nought"),
    ],
)
def test_what_is_no_amount_is_refused_with_asset_and_field(name: str, given: Any, said: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        declared_budget("labels", Budget(**{name: given}))
    assert str(refused.value).startswith(f"labels: budget: {name}={given!r} ")
    assert said.format(name) in str(refused.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (5, r"labels: budget=5 is not a Budget"),
        (Budget(), r"labels: budget: it names no amount"),
        (Budget(day=1, over="warn"), r"labels: budget: over='warn' is not one of \"ask\""),  # type: ignore[arg-type]
    ],
)
def test_what_bounds_nothing_or_says_nothing_known_is_refused(given: Any, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        declared_budget("labels", given)


def test_each_budget_is_measured_by_what_counts_for_it() -> None:
    spent = Spent(asset_pico=30 * CENT, total_pico=90 * CENT)
    found = allowances("labels", declared_budget("labels", Budget(job="0.50", day=1)), Decimal("1.20"), spent)
    assert {each.name: each.left for each in found} == {
        "a job of labels": Decimal("0.50"),
        "labels on this UTC day": Decimal("0.70"),
        "all assets on this UTC day": Decimal("0.30"),
    }
    assert [each.name for each in too_small(found, Decimal("0.30"))] == []
    assert [each.name for each in too_small(found, Decimal("0.31"))] == ["all assets on this UTC day"]
    assert len(too_small(found, Decimal("0.71"))) == 3


def test_more_spent_than_there_was_leaves_nothing_and_not_less() -> None:
    spent = Spent(asset_pico=300 * CENT, total_pico=300 * CENT)
    (found,) = allowances("labels", declared_budget("labels", Budget(day=1)), None, spent)
    assert found.left == 0
    assert too_small([found], Decimal("0.000001"))


def test_paying_twice_bounds_no_plan() -> None:
    assert allowances("labels", declared_budget("labels", Budget(pay_twice=1)), None, Spent()) == []


def test_text_of_the_resource_is_read_as_an_amount() -> None:
    assert dollar_amount("50") == 50
    assert dollar_amount("0") is None
