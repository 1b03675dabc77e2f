"""How many dollars an asset may cost, and what is done with a plan that would cost more.

A plan is measured by its estimate, before anything is bought. A bill may come out higher than its estimate; the next
plan then has the less.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Literal

from offpeak.errors import DefinitionError
from offpeak.ledger.spending import Spent
from offpeak.money.rates import dollars


class OnOver(StrEnum):
    """What becomes of a plan that would cost more than is left."""

    ASK = "ask"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Dollars that a batch asset may cost. Give it as `budget=`. Amounts are Decimal, whole numbers or decimal text.

    `job` is for what one materialization buys, `day` for all of the asset's within a UTC day. A plan whose estimate is
    more than is left is held until somebody approves it (`over="ask"`), or fails its run (`over="refuse"`); nothing is
    submitted. `pay_twice` is what may knowingly be paid a second time within a UTC day, where an asset says that its
    deadline is worth more than that.
    """

    job: Decimal | int | str | None = None
    day: Decimal | int | str | None = None
    pay_twice: Decimal | int | str | None = None
    over: Literal["ask", "refuse"] = "ask"


AMOUNTS = ("job", "day", "pay_twice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """One budget that a plan is measured by, as it stands without the plan. Dollars."""

    name: str
    """Such as "a job of labels", or "all assets on this UTC day"."""
    amount: Decimal
    spent: Decimal
    """Billed today, and open jobs by their estimates; nothing for the budget of a job."""

    @property
    def left(self) -> Decimal:
        return max(self.amount - self.spent, Decimal(0))


def declared_budget(asset: str, given: object) -> Budget | None:
    """`budget=` with its amounts as Decimal. Raises DefinitionError, naming the asset and the field."""
    if given is None:
        return None
    if not isinstance(given, Budget):
        raise DefinitionError(
            f'{asset}: budget={given!r} is not a Budget. Say how many dollars of what: budget=Budget(job="2.50"), or '
            'Budget(day="20", over="refuse").'
        )
    if given.over not in set(OnOver):
        raise DefinitionError(
            f'{asset}: budget: over={given.over!r} is not one of "ask" (hold the job until somebody approves it) or '
            '"refuse" (fail the run).'
        )
    if all(getattr(given, name) is None for name in AMOUNTS):
        raise DefinitionError(
            f"{asset}: budget: it names no amount, so it bounds nothing. Give job=, day= or pay_twice= in dollars, or "
            "leave budget= out."
        )
    job, day, pay_twice = (_declared(asset, name, getattr(given, name)) for name in AMOUNTS)
    return replace(given, job=job, day=day, pay_twice=pay_twice)


def _declared(asset: str, name: str, given: object) -> Decimal | None:
    if given is None:
        return None
    if isinstance(given, float):
        raise DefinitionError(
            f"{asset}: budget: {name}={given!r} is a float, which holds most amounts only nearly. Write it as decimal "
            f'text: {name}="{given}".'
        )
    amount = dollar_amount(given)
    if amount is None:
        raise DefinitionError(
            f"{asset}: budget: {name}={given!r} is no amount of dollars above nought. Give a Decimal, a whole number "
            f'or decimal text: {name}="2.50". Leave it out to set no bound.'
        )
    return amount


def dollar_amount(given: object) -> Decimal | None:
    """An amount above nought: a Decimal, a whole number or decimal text; None for anything else."""
    if isinstance(given, bool) or not isinstance(given, Decimal | int | str):
        return None
    try:
        amount = Decimal(given)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount > 0 else None


def allowances(asset: str, budget: Budget | None, per_day: Decimal | None, spent: Spent) -> list[Allowance]:
    """The budgets that a plan of the asset is measured by. `budget` has been through `declared_budget`."""
    found = []
    if budget is not None and budget.job is not None:
        found.append(Allowance(name=f"a job of {asset}", amount=Decimal(budget.job), spent=Decimal(0)))
    if budget is not None and budget.day is not None:
        used = dollars(spent.asset_pico)
        found.append(Allowance(name=f"{asset} on this UTC day", amount=Decimal(budget.day), spent=used))
    if per_day is not None:
        used = dollars(spent.total_pico)
        found.append(Allowance(name="all assets on this UTC day", amount=per_day, spent=used))
    return found


def too_small(found: Sequence[Allowance], cost: Decimal) -> list[Allowance]:
    """Those that a plan of this cost, in dollars, would go beyond."""
    return [each for each in found if cost > each.amount - each.spent]
