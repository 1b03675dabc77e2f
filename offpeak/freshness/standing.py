"""Whether an asset's rows keep the promise now, partition by partition: what the check `fresh` says.

It goes by the rows' own age. Dagster's freshness policy goes by the last materialization event, which comes hours after
`as_of` and may be that of an old partition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from offpeak.clock import exactly, in_words, moment
from offpeak.freshness.contract import FreshnessContract

SHOWN = 5


class Standing(StrEnum):
    """From best to worst."""

    FRESH = "fresh"
    AGEING = "ageing"
    """Past the contract's `warn_after`."""
    STALE = "stale"
    """Past `effective_until`."""
    MISSING = "missing"
    """Due, and never landed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One partition as it stands; an unpartitioned asset is one with the key ""."""

    partition_key: str
    as_of: datetime | None
    """The oldest row's; None where no row has an answer."""
    effective_until: datetime

    def standing(self, contract: FreshnessContract, now: datetime) -> Standing:
        """How it stands at `now`. The last moment of a promise keeps it."""
        if self.as_of is None:
            return Standing.MISSING
        if now > self.effective_until:
            return Standing.STALE
        if contract.warn_after is not None and now - self.as_of > contract.warn_after:
            return Standing.AGEING
        return Standing.FRESH


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How an asset stands, by those of its partitions that have to be fresh."""

    standing: Standing
    description: str
    as_of: datetime | None
    effective_until: datetime | None
    """Of the partition that is nearest to the end of its promise."""
    partition_key: str
    partitions: int
    """Those that were looked at."""
    behind: Sequence[str]
    """Those that are stale or missing, in order."""

    def changes_at(self, contract: FreshnessContract) -> datetime | None:
        """When the passing of time alone makes it worse; None where it does not, or nothing has landed."""
        if self.standing is Standing.FRESH and contract.warn_after is not None and self.as_of is not None:
            return self.as_of + contract.warn_after
        return self.effective_until if self.standing in {Standing.FRESH, Standing.AGEING} else None


def judge(
    parts: Sequence[Part],
    contract: FreshnessContract,
    *,
    now: datetime,
    due: Sequence[str] = (),
    next_run: datetime | None = None,
) -> Freshness:
    """How an asset stands. `parts` are the partitions that have to be fresh, `due` those that should have landed and
    have not. `next_run` is when it runs next by its schedules, where it has any.
    """
    order = list(Standing)
    standings = {each.partition_key: each.standing(contract, now) for each in parts}
    absent = [*due, *(each.partition_key for each in parts if each.as_of is None)]
    behind = [*absent, *(key for key, each in standings.items() if each is Standing.STALE)]
    served = [each for each in parts if each.as_of is not None]
    oldest = min(served, key=lambda each: each.effective_until, default=None)
    worst = Standing.MISSING if absent or not parts else max(standings.values(), key=order.index)
    return Freshness(
        standing=worst,
        description=_in_words(worst, oldest, absent, behind, contract, now, next_run),
        as_of=oldest.as_of if oldest is not None else None,
        effective_until=oldest.effective_until if oldest is not None else None,
        partition_key=absent[0] if absent else oldest.partition_key if oldest is not None else "",
        partitions=len(parts) + len(due),
        behind=sorted(behind),
    )


def nothing_due(why: str) -> Freshness:
    """How an asset stands of which no row has to be fresh now."""
    return Freshness(
        standing=Standing.FRESH,
        description=why,
        as_of=None,
        effective_until=None,
        partition_key="",
        partitions=0,
        behind=[],
    )


def _in_words(
    standing: Standing,
    oldest: Part | None,
    absent: Sequence[str],
    behind: Sequence[str],
    contract: FreshnessContract,
    now: datetime,
    next_run: datetime | None,
) -> str:
    soon = f" Its next run is due {moment(next_run)}." if next_run is not None else ""
    named = ", ".join(each for each in absent[:SHOWN] if each)
    more = f" and {len(absent) - SHOWN} more" if len(absent) > SHOWN else ""
    if standing is Standing.MISSING:
        return (f"Partition {named}{more} is due and has not landed." if named else "It has never landed.") + soon
    assert oldest is not None and oldest.as_of is not None  # noqa: S101, PT018 - nothing is absent
    partition = f" of partition {oldest.partition_key}" if oldest.partition_key else ""
    age = (
        f"The oldest row{partition} is as of {moment(oldest.as_of)}, {in_words(now - oldest.as_of)} old; the contract "
        f"promises {exactly(contract.valid_for)}"
    )
    if standing is Standing.STALE:
        others = f" {len(behind)} partitions are stale." if len(behind) > 1 else ""
        return f"Stale since {moment(oldest.effective_until)}. {age}.{others}{soon}"
    if standing is Standing.AGEING and contract.warn_after is not None:
        past = f"Ageing: past warn_after={exactly(contract.warn_after)}"
        return f"{past}. {age}, until {moment(oldest.effective_until)}.{soon}"
    return f"Fresh until {moment(oldest.effective_until)}. {age}."
