"""The check `fresh_to_the_end`: whether what is pre-computed for a launch lasts until the launch is over.

While a launch is open nothing is bought, so rows that get stale then stay stale. So every row that is wanted has to be
there, and be effective until the end, before it starts. The nights of the quiet days see to that: a run that finds a
row unchanged makes it younger, and buys it nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from offpeak.assets.declaration import Declaration, declaration_of
from offpeak.assets.resources import API_KEY, BatchApi
from offpeak.clock import SystemClock, exactly, moment
from offpeak.errors import DefinitionError
from offpeak.freshness.cadence import Cron
from offpeak.launches.launch import Launch
from offpeak.launches.precompute import needed_at, partitions_of, quiet_from, why_none
from offpeak.results.io_manager import RESULTS_KEY, OffpeakResults
from offpeak.results.lagging import lagging
from offpeak.results.producer import rhythm_of
from offpeak.results.store import FirstStale, PartitionSummary, ResultStore

CHECK = "fresh_to_the_end"

NAMED = 5
"""Rows that are named where they have no answer."""

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far the rows last that are pre-computed for one launch."""

    launch: Launch
    partition: PartitionSummary | None
    """None where it was never planned to its end."""
    first: FirstStale | None
    """The row that gets stale first; None without any row."""
    missing: Sequence[str] = ()
    """The first few rows without an answer, in words."""

    @property
    def passed(self) -> bool:
        """Every wanted row is there, and lasts until the launch is over."""
        return self.partition is not None and not self.partition.missing and not self.too_short

    @property
    def too_short(self) -> bool:
        """Some row gets stale before the launch is over."""
        return self.first is not None and self.first.at < self.launch.ends


def fresh_to_the_end(asset: dg.AssetsDefinition) -> dg.AssetChecksDefinition:
    """A check of a batch asset that is pre-computed for launches, for `asset_checks=` of the definitions.

    For each launch that is in its quiet days or open it looks at the partition of its name: every wanted row has to
    exist, with `effective_until` at or after the launch's end. A launch whose quiet days lie ahead is not looked at.
    What fails says what to do. It is a warning until the first run of the quiet days is due to have landed, and an
    error from then on; an error at once where nothing that is scheduled can mend it. Launches are read from the
    resource `batch_api` each time.

    Raises DefinitionError for an asset that is not a batch asset, or not partitioned by launches.
    """
    declaration = declaration_of(asset)
    if declaration is None:
        raise DefinitionError(
            f"fresh_to_the_end: {asset.key.to_user_string()} is no batch asset, so nothing says until when its rows "
            "are effective. Make the check of a @batch_asset."
        )
    partitions_of(asset)
    key, valid_for = asset.key, declaration.contract.valid_for

    @dg.asset_check(
        asset=key,
        name=CHECK,
        required_resource_keys={API_KEY, RESULTS_KEY},
        description="For each launch in its quiet days or open: every wanted row is there, and is effective until the "
        "launch is over.",
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        api: BatchApi = getattr(context.resources, API_KEY)
        results: OffpeakResults = getattr(context.resources, RESULTS_KEY)
        launches, now = api.planned_launches().launches, SystemClock().now()
        name, store = key.to_user_string(), results.store
        found = [_reach(store, name, each) for each in needed_at(launches, now)]
        crons = rhythm_of(asset.specs_by_key[key].metadata).crons
        runs = {each.launch.name: _runs(crons, each.launch, launches, declaration.provider) for each in found}
        failed = [each for each in found if not each.passed]
        waits = all(_may_wait(runs[each.launch.name], each.launch, declaration, now=now) for each in failed)
        said = [_in_words(each, name, valid_for=valid_for, runs=runs[each.launch.name], now=now) for each in found]
        return dg.AssetCheckResult(
            passed=not failed,
            severity=dg.AssetCheckSeverity.WARN if failed and waits else dg.AssetCheckSeverity.ERROR,
            description=" ".join(said) or why_none(launches, now),
            metadata=_figures(found),
        )

    return check


def _reach(store: ResultStore, asset: str, launch: Launch) -> Reach:
    (partition,) = store.summary(asset, [launch.name]).partitions or (None,)
    absent = partition is not None and partition.missing
    return Reach(
        launch=launch,
        partition=partition,
        first=store.first_stale(asset, launch.name),
        missing=lagging(store.database, asset, [launch.name], not_before=None, limit=NAMED).words if absent else (),
    )


def _runs(crons: Iterable[Cron], launch: Launch, launches: Iterable[Launch], provider: str) -> Sequence[datetime]:
    """When the asset runs by itself in the quiet days of a launch, in order. What falls into another launch is made up
    for when that is over."""
    others = [each for each in launches if provider in each.providers]

    def begun(tick: datetime) -> datetime:
        while held := [other.ends for other in others if other.holds(tick)]:
            tick = max(held)
        return tick

    ticks = {begun(tick) for cron in crons for tick in cron.ticks(quiet_from(launch), launch.starts)}
    return sorted(each for each in ticks if each < launch.starts)


def _may_wait(runs: Sequence[datetime], launch: Launch, declaration: Declaration, *, now: datetime) -> bool:
    """Whether it is no wonder that something lacks: the first run is not due to have landed, and the last one lasts."""
    if not runs or launch.holds(now) or _too_short(launch, runs, declaration.contract.valid_for):
        return False
    return now < min(declaration.workload.due_at(runs[0]), launch.starts)


def _in_words(reach: Reach, asset: str, *, valid_for: timedelta, runs: Sequence[datetime], now: datetime) -> str:
    """How it stands and, where it does not last, what to do."""
    launch, partition = reach.launch, reach.partition
    if partition is None:
        return f"{launch.name}: nothing of {asset} is pre-computed. {_renewed(launch, runs, now)}"
    if reach.passed:
        until = "" if reach.first is None else f", effective until {moment(reach.first.at)} or longer"
        return f"{launch.name}: {partition.rows:,} rows{until}; it ends at {moment(launch.ends)}."
    said = []
    if partition.missing:
        more = partition.missing - len(reach.missing)
        rows = "; ".join(reach.missing) + (f"; and {more:,} more" if more > 0 else "")
        said.append(f"{partition.missing:,} of {partition.rows + partition.missing:,} rows have no answer: {rows}.")
    if reach.first is not None and reach.too_short:
        said.append(
            f"Row {reach.first.key} is effective until {moment(reach.first.at)}, and the launch ends at "
            f"{moment(launch.ends)}."
        )
    return " ".join([f"{launch.name}:", *said, _renewed(launch, runs, now), _promised(launch, runs, valid_for)]).strip()


def _renewed(launch: Launch, runs: Sequence[datetime], now: datetime) -> str:
    """What makes the rows younger, and buys those that are not there."""
    by_hand = f"materialise the partition {launch.name}"
    if launch.holds(now):
        return f"It is open, so nothing is bought: {by_hand} with the run tag offpeak/during_launch: send."
    ahead = [each for each in runs if each > now]
    if not ahead:
        return f"No run is scheduled before it starts at {moment(launch.starts)}: {by_hand} before that."
    return f"The next run is due at {moment(ahead[0])}; to be sooner, {by_hand}."


def _promised(launch: Launch, runs: Sequence[datetime], valid_for: timedelta) -> str:
    """What is wrong with the contract, where not even the last run before the launch makes rows that last."""
    if not _too_short(launch, runs, valid_for):
        return ""
    hours = -(-(launch.ends - runs[-1]) // _HOUR)
    return (
        f"The contract is too short for this launch: what the last run before it, at {moment(runs[-1])}, looks at is "
        f"effective for {exactly(valid_for)}. Make it FreshnessContract(valid_for=timedelta(hours={hours})) or longer."
    )


def _too_short(launch: Launch, runs: Sequence[datetime], valid_for: timedelta) -> bool:
    """Whether not even the last run before the launch makes rows that last."""
    return bool(runs) and runs[-1] + valid_for < launch.ends


def _figures(found: Sequence[Reach]) -> dict[str, Any]:
    """The check's metadata, of all launches together."""
    parts = [each.partition for each in found if each.partition is not None]
    first = min((each.first for each in found if each.first is not None), key=lambda each: each.at, default=None)
    figures: dict[str, Any] = {
        "launches": ", ".join(each.launch.name for each in found),
        "rows": sum(each.rows for each in parts),
        "missing": sum(each.missing for each in parts),
    }
    if first is not None:
        figures |= {"first_to_get_stale": first.key, "gets_stale_at": dg.MetadataValue.timestamp(first.at)}
    return figures
