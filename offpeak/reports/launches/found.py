"""All that is known of a launch at a moment: what it needs and is allowed, what is prepared, and what it holds up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from offpeak.assets.held_up import HeldUp, held_up
from offpeak.assets.launch_limits import limits_of
from offpeak.errors import ConfigurationError
from offpeak.freshness.chain import Chain
from offpeak.launches.capacity import Capacity, capacity
from offpeak.launches.coverage import Coverage
from offpeak.launches.launch import Launch
from offpeak.launches.limits import Limits
from offpeak.ledger.ledger import Ledger
from offpeak.money.misses import Misses, misses
from offpeak.reports.launches.coverage import rates_of, read_coverages
from offpeak.results.effective import Prepared, prepared

if TYPE_CHECKING:
    from offpeak.assets.resources import BatchApi
    from offpeak.sources.tables import SourceTables

AFTERWARDS = timedelta(days=7)
"""So long a launch that is over is still shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Of one launch."""

    launch: Launch
    now: datetime
    planned: Capacity
    """With the share of pre-computed answers that is planned."""
    without: Capacity
    """With nothing pre-computed."""
    standing: Capacity | None
    """With what is fresh at the peak, as it stands in the ledger; None where the coverage is not known."""
    coverage: Coverage | None
    misses: Misses | None
    trouble: str | None
    """Why the coverage or its cost is not known."""
    prepared: Sequence[Prepared]
    held_up: Sequence[HeldUp] | None
    """What the launch delays; None where the graph is not known."""

    @property
    def over(self) -> bool:
        return self.now >= self.launch.ends


def find(
    ledger: Ledger, api: "BatchApi", tables: "SourceTables", *, chain: Chain | None, now: datetime
) -> Sequence[Found]:
    """The launches that are not over, soonest first, and then those that have been for less than a week.

    What cannot be known of the traffic is said with the launch: the rest of it is worth reading all the same.
    """
    launches = api.planned_launches().launches
    ahead = [each for each in launches if each.ends > now]
    past = [each for each in reversed(launches) if now - AFTERWARDS < each.ends <= now]
    shown = [*ahead, *past]
    trouble, covered = None, dict[str, Coverage]()
    try:
        covered = {each.launch.name: each for each in read_coverages(ledger, shown, tables, now=now)}
    except ConfigurationError as error:
        trouble = str(error)
    limits = limits_of({model for each in shown for model in each.models}, api=api, ledger=ledger)
    return [_of(each, ledger, api, limits, covered.get(each.name), trouble, chain, now=now) for each in shown]


def _of(
    launch: Launch,
    ledger: Ledger,
    api: "BatchApi",
    limits: Mapping[str, Limits],
    coverage: Coverage | None,
    trouble: str | None,
    chain: Chain | None,
    *,
    now: datetime,
) -> Found:
    cost = None
    if coverage is not None:
        try:
            cost = misses(coverage, rates_of(launch, api, at=now))
        except ConfigurationError as error:
            trouble = str(error)

    def with_share(share: float) -> Capacity:
        return capacity(launch, limits, now=now, precomputed=share)

    return Found(
        launch=launch,
        now=now,
        planned=with_share(launch.precomputed_share),
        without=with_share(0),
        standing=None if coverage is None else with_share(coverage.hit_rate_at_peak),
        coverage=coverage,
        misses=cost,
        trouble=trouble,
        prepared=prepared(ledger.database, launch.name),
        held_up=None if chain is None else held_up(chain, launch),
    )
