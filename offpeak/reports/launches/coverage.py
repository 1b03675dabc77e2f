"""Which share of each launch's traffic pre-computed rows answer, for the asset that shows it in Dagster's UI."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from offpeak.launches.coverage import Coverage
from offpeak.launches.launch import Launch
from offpeak.launches.traffic import pages_of_traffic
from offpeak.ledger.ledger import Ledger
from offpeak.money.misses import Misses, misses
from offpeak.money.rates import ModelRates, dollars, pico_text
from offpeak.reports.launches.coverage_words import (
    assets_table,
    hit_rate_words,
    misses_words,
    missing_table,
    percent,
    soon_stale_table,
)
from offpeak.reports.tables import Table
from offpeak.results.covered import coverages

if TYPE_CHECKING:
    from offpeak.assets.resources import BatchApi
    from offpeak.sources.tables import SourceTables


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchCoverage:
    """What to show. Texts are Markdown."""

    figures: Mapping[str, float]
    """Of each launch: `hit_rate/NAME`, `hit_rate_at_peak/NAME`, `missing/NAME` and `soon_stale/NAME`, shares of the
    traffic; `misses_usd/NAME` and `full_coverage_saves_usd/NAME`, dollars."""
    summary: str
    """A line for each launch."""
    launches: Mapping[str, str]
    """All of each launch, by its name; the soonest first."""


def launch_coverage(
    ledger: Ledger, api: "BatchApi", tables: "SourceTables", *, now: datetime | None = None
) -> LaunchCoverage:
    """Hold what is in the ledger, by its clock or `now`, against the past traffic, for each launch that is not over.

    The traffic is the table `launch_traffic` of `tables`, with the columns asset, key and requests. Raises
    ConfigurationError where it cannot be read, or nobody states the price of a model.
    """
    at = ledger.clock.now() if now is None else now
    found = read_coverages(ledger, api.planned_launches().ahead(at), tables, now=at)
    costs = {each.launch.name: misses(each, rates_of(each.launch, api, at=at)) for each in found}
    return LaunchCoverage(
        figures={
            f"{name}/{each.launch.name}": figure
            for each in found
            for name, figure in coverage_figures(each, costs[each.launch.name]).items()
        },
        summary=_summary(found, costs),
        launches={each.launch.name: _markdown(each, costs[each.launch.name]) for each in found},
    )


def read_coverages(
    ledger: Ledger, launches: Sequence[Launch], tables: "SourceTables", *, now: datetime
) -> Sequence[Coverage]:
    """The coverage of each; without a launch the traffic is not read. Raises ConfigurationError where it cannot be."""
    if not launches:
        return []
    return coverages(ledger.database, launches, pages_of_traffic(tables.source().open), now=now)


def rates_of(launch: Launch, api: "BatchApi", *, at: datetime) -> Mapping[str, ModelRates]:
    """What the launch's models cost. Raises ConfigurationError where nobody states it."""
    return {model: api.rates(model, at) for model in launch.models}


def coverage_figures(found: Coverage, cost: Misses) -> Mapping[str, float]:
    """Of one launch."""
    return {
        "hit_rate": found.hit_rate,
        "hit_rate_at_peak": found.hit_rate_at_peak,
        "missing": found.missing_share,
        "soon_stale": found.soon_stale_share,
        "misses_usd": float(dollars(cost.cost_pico)),
        "full_coverage_saves_usd": float(dollars(cost.saving_pico)),
    }


def _summary(found: Sequence[Coverage], costs: Mapping[str, Misses]) -> str:
    if not found:
        return "No launch is ahead."
    rows = [
        (
            each.launch.name,
            *map(percent, (each.hit_rate, each.missing_share, each.soon_stale_share)),
            pico_text(costs[each.launch.name].cost_pico),
            pico_text(costs[each.launch.name].saving_pico),
        )
        for each in found
    ]
    head = ("launch", "hit rate", "missing", "soon stale", "cost of misses", "full coverage saves")
    return Table(head=head, rows=rows).markdown


def _markdown(found: Coverage, cost: Misses) -> str:
    tables = (assets_table(found), missing_table(found), soon_stale_table(found))
    texts = (hit_rate_words(found), misses_words(cost), *(each.markdown for each in tables if each is not None))
    return "\n\n".join(texts)
