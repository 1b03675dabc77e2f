"""The lines of a bill added up, exactly, by whatever they are to be told apart by."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, get_args

from offpeak.ledger.billing import COUNTS, MONEY, Line
from offpeak.money.rates import dollars

By = Literal["asset", "partition", "job", "lane", "tier", "model", "attempt", "day", "month"]
"""What lines can be told apart by. The lane of what was bought because of a deadline is "rescue"."""

NAMES: tuple[By, ...] = get_args(By)


@dataclass(slots=True, kw_only=True)
class Total:
    """Sums over lines, in whole pico-dollars (1e-12 $). The parts of the cost overlap: a retry may be unusable, too."""

    answers: int = 0
    failed: int = 0
    """Attempts that brought no usable answer."""
    unusable: int = 0
    """Of these, how many were billed."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cost_pico: int = 0
    realtime_pico: int = 0
    cache_saved_pico: int = 0
    unusable_pico: int = 0
    retries_pico: int = 0
    """The part of the cost of second and later attempts."""
    rescues_pico: int = 0
    """The part that was bought at realtime price because of a deadline."""
    paid_twice_pico: int = 0
    possibly_paid_twice_pico: int = 0
    """Not part of the cost."""
    shared_pico: int = 0
    """The part that is a share of what others bought."""

    def add(self, line: Line) -> None:
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(line, name))
        if line.attempt > 1:
            self.retries_pico += line.cost_pico
        if line.rescue:
            self.rescues_pico += line.cost_pico
        if line.share:
            self.shared_pico += line.cost_pico

    @property
    def cost(self) -> Decimal:
        """Dollars."""
        return dollars(self.cost_pico)

    @property
    def realtime(self) -> Decimal:
        """What the same attempts would have cost at realtime endpoints, in dollars."""
        return dollars(self.realtime_pico)

    @property
    def saved(self) -> Decimal:
        """Against realtime endpoints, in dollars."""
        return self.realtime - self.cost


_SUMMED = (*COUNTS, *MONEY)


@dataclass(slots=True)
class Bill:
    """What was bought in a time."""

    by: Sequence[By]
    groups: dict[tuple[Any, ...], Total] = field(default_factory=dict)
    """By the values of `by`, in order."""
    total: Total = field(default_factory=Total)

    @classmethod
    def of(cls, lines: Iterable[Line], by: Sequence[By] = ()) -> "Bill":
        """Add up a stream of lines. Memory grows with the groups alone."""
        bill = cls(by)
        for line in lines:
            bill.total.add(line)
            bill.groups.setdefault(tuple(value(line, name) for name in by), Total()).add(line)
        return bill


def value(line: Line, name: By) -> Any:
    """What a line is told apart by; an unknown partition is None."""
    match name:
        case "partition":
            return line.partition_key
        case "job":
            return line.job_id
        case "lane":
            return "rescue" if line.rescue else line.lane.value
        case "month":
            return f"{line.day:%Y-%m}"
        case _:
            return getattr(line, name)
