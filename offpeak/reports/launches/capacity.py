"""Whether each launch fits into what its providers allow: for the asset that shows it in the UI, and for its checks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from offpeak.assets.launch_limits import limits_of
from offpeak.launches.capacity import Capacity, capacity
from offpeak.ledger.ledger import Ledger
from offpeak.reports.launches.capacity_words import GONE, judgement, section, summary, without

if TYPE_CHECKING:
    import dagster as dg

    from offpeak.assets.resources import BatchApi

CHECK = "fits_{launch}"
"""The name of a launch's check."""

DIGITS = 4
"""After the point, of a headroom that Dagster plots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchCapacity:
    """What to show. Texts are Markdown, with a picture as a PNG within, or words where matplotlib is missing."""

    capacities: Mapping[str, Capacity]
    """By the name of a launch: all of the list, those that are over included."""
    summary: str
    """A line for each launch that is ahead: what to do for it."""
    launches: Mapping[str, str]
    """By the name of a launch that is ahead: its limits, what pre-computation changes, and what hangs on each guess."""
    figures: Mapping[str, float]
    """`headroom/NAME` of each launch that is ahead: what is left of the usable part of its tightest limit, as a share
    of it; below nought where it is not enough. `headroom_without/NAME`: the same without pre-computation."""

    def check(self, launch: str) -> "dg.AssetCheckResult":
        """Whether a launch fits, as the check `fits_NAME`.

        It warns at first. It is an error from three days before the limit has to be asked for, and in the quiet days.
        A launch that is over, or in the list no more, passes.
        """
        import dagster as dg

        found = self.capacities.get(launch)
        urgent = found is not None and found.urgent
        return dg.AssetCheckResult(
            check_name=CHECK.format(launch=launch),
            passed=found is None or found.over or found.fits,
            severity=dg.AssetCheckSeverity.ERROR if urgent else dg.AssetCheckSeverity.WARN,
            description=GONE if found is None else judgement(found),
            metadata={} if found is None else _metadata(found),
        )


def launch_capacity(ledger: Ledger, api: "BatchApi") -> LaunchCapacity:
    """Hold the launches of `api` against the limits of its accounts: both as they are now, by the ledger's clock.

    A limit is what the provider said in the headers of an answer, as the ledger remembers it; until it has, what a
    `[[terms]]` entry of the price sheet says. Raises ConfigurationError where the list or the sheet cannot be read.
    """
    now = ledger.clock.now()
    launches = api.planned_launches()
    limits = limits_of({model for each in launches.launches for model in each.models}, api=api, ledger=ledger)
    found = {each.name: capacity(each, limits, now=now) for each in launches.launches}
    ahead = [each for each in found.values() if not each.over]
    return LaunchCapacity(
        capacities=found,
        summary=summary(ahead),
        launches={each.launch.name: section(each, limits) for each in ahead},
        figures={
            f"{name}/{each.launch.name}": round(limit.headroom, DIGITS)
            for each in ahead
            for name, of in (("headroom", each), ("headroom_without", without(each, limits)))
            if (limit := of.binding) is not None
        },
    )


def _metadata(found: Capacity) -> Mapping[str, str | int | float]:
    """What a program needs that asks for higher limits."""
    raise_to = {f"raise_to/{each.model}/{each.measure}": each.raise_to for each in found.to_raise}
    binding = found.binding
    tightest: dict[str, str | float] = {}
    if binding is not None:
        tightest = {"headroom": round(binding.headroom, DIGITS), "binding": f"{binding.model} {binding.measure}"}
    return {
        "raise_by": found.raise_by.isoformat(),
        **tightest,
        **{name: limit for name, limit in raise_to.items() if limit is not None},
        **({"unknown": ", ".join(found.unknown)} if found.unknown else {}),
    }
