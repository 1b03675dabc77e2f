"""Whether a launch fits into what its providers allow, and what has to be raised by when where it does not.

Everything follows from the launch, the limits and the moment; nothing is read here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, log10

from offpeak.launches.demand import Demand, demand
from offpeak.launches.launch import Launch
from offpeak.launches.limits import MEASURES, Limit, Limits
from offpeak.providers.realtime import Measure

SOON = timedelta(days=3)
"""So long before a higher limit has to be asked for, it is urgent."""

_ROUNDING = 1e-9
"""Of floating-point figures: what is so little over a limit is not over it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """One limit of one model, and how much of it the peak needs."""

    model: str
    measure: Measure
    limit: Limit
    needed: float
    """A minute, at the peak."""
    spare: float
    """The share of the limit that is to be left free."""

    @property
    def usable(self) -> float:
        """What may be used of the limit, a minute."""
        return self.limit.per_minute * (1 - self.spare)

    @property
    def headroom(self) -> float:
        """What is left of the usable, as a share of it: 1 where nothing is needed, below 0 where it is not enough."""
        return 1 - self.needed / self.usable

    @property
    def fits(self) -> bool:
        """Whether the usable is enough."""
        return self.needed <= self.usable * (1 + _ROUNDING)

    @property
    def enough(self) -> int:
        """The smallest limit that is easily said, of which the usable part is enough: two digits and noughts."""
        return rounded_up(self.needed / (1 - self.spare))

    @property
    def raise_to(self) -> int | None:
        """The limit that has to be asked for; None where this one is enough."""
        return None if self.fits else self.enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a launch needs and is allowed."""

    launch: Launch
    now: datetime
    precomputed: float
    """The share of requests that a pre-computed result answers."""
    demand: Mapping[str, Demand]
    """By "provider/model"."""
    reached: tuple[Reached, ...]
    """Every limit that is known, the one with the least headroom first."""
    unknown: tuple[str, ...]
    """Models that are needed, and of whose limits nothing is known."""
    unlimited: tuple[tuple[str, Measure], ...]
    """Limits that nobody states of a model of which another one is known: they are taken for none."""

    @property
    def binding(self) -> Reached | None:
        """The limit with the least headroom; None where none is known."""
        return self.reached[0] if self.reached else None

    @property
    def fits(self) -> bool:
        """Whether every limit is enough, and something is known of every model."""
        return not self.unknown and all(each.fits for each in self.reached)

    @property
    def to_raise(self) -> tuple[Reached, ...]:
        """The limits that are not enough, the worst first."""
        return tuple(each for each in self.reached if not each.fits)

    @property
    def raise_by(self) -> datetime:
        """When a higher limit has to be asked for at the latest."""
        return self.launch.starts - self.launch.raise_time

    @property
    def over(self) -> bool:
        """Whether the launch is: then nothing needs raising any more."""
        return self.now >= self.launch.ends

    @property
    def urgent(self) -> bool:
        """Whether the day by which to ask is over or near, or pre-computation has begun."""
        return self.now >= min(self.raise_by - SOON, self.launch.starts - self.launch.quiet)


def capacity(
    launch: Launch, limits: Mapping[str, Limits], *, now: datetime, precomputed: float | None = None
) -> Capacity:
    """Hold a launch against limits by "provider/model".

    `precomputed` is by default the share that the launch expects; 0 tells what it is without pre-computation.
    """
    share = launch.precomputed_share if precomputed is None else precomputed
    needed = demand(launch, precomputed=share)
    reached = [
        Reached(model=model, measure=measure, limit=limit, needed=_of(needed[model], measure), spare=launch.spare)
        for model in launch.models
        for measure in MEASURES
        if (limit := limits.get(model, {}).get(measure)) is not None
    ]
    stated = {(each.model, each.measure) for each in reached}
    known = {model for model, _ in stated}
    return Capacity(
        launch=launch,
        now=now,
        precomputed=share,
        demand=needed,
        reached=tuple(sorted(reached, key=lambda each: each.headroom)),
        unknown=tuple(model for model, each in needed.items() if each.requests_per_minute > 0 and model not in known),
        unlimited=tuple(
            (model, measure)
            for model in launch.models
            for measure in MEASURES
            if model in known and (model, measure) not in stated
        ),
    )


def rounded_up(figure: float) -> int:
    """The next number with two digits and noughts after them; the next whole one below a hundred."""
    if figure <= 0:
        return 0
    step = int(10 ** max(0, int(log10(figure)) - 1))
    return ceil(figure / step * (1 - _ROUNDING)) * step


def _of(demand: Demand, measure: Measure) -> float:
    return demand.requests_per_minute if measure is Measure.REQUESTS else demand.tokens_per_minute
