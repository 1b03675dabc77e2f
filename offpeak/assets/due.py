"""Which partitions of an asset have to be fresh now, and which of them should have landed and have not.

Of partitions by time it is the newest that is due: earlier ones are history, however old or newly backfilled. Of
launches it is those that need their rows now. Of any others, it is all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import dagster as dg

from offpeak.freshness.cadence import Cron, last_tick
from offpeak.launches.precompute import LaunchPartitions, needed_at, why_none

PLANNED = 50
"""Times at most that are looked back at for the newest that has landed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Partitions that have to be fresh. `late` ones should have landed."""

    partitions: Sequence[str]
    late: Sequence[str] = field(default_factory=list)
    newer: Sequence[Sequence[str]] = field(default_factory=list)
    """Of partitions by time: those planned after what is due, the newest first. They may be on their way; the first
    that have landed count in place of all else."""
    nobody_waits: str = ""
    """Why no partition has to be fresh now, where that is so whatever has landed."""


def due(
    partitions_def: dg.PartitionsDefinition | None,
    *,
    known: Sequence[str],
    crons: Sequence[Cron],
    lag: timedelta,
    now: datetime,
    instance: dg.DagsterInstance,
) -> Due:
    """What has to be fresh at `now`. `known` are the partitions that were ever planned, `crons` when the asset runs,
    and `lag` how long after a tick its rows have landed at the latest.
    """
    if partitions_def is None:
        return Due(partitions=[""])
    with dg.partition_loading_context(effective_dt=now, dynamic_partitions_store=instance):
        if isinstance(partitions_def, dg.TimeWindowPartitionsDefinition):
            return _newest(partitions_def, known, crons, lag, now)
        if isinstance(partitions_def, dg.MultiPartitionsDefinition):
            return _of_newest_time(partitions_def, known)
        if isinstance(partitions_def, LaunchPartitions):
            return _of_launches(partitions_def, known, now)
        there = set(partitions_def.get_partition_keys())
        return Due(partitions=[each for each in known if each in there])


def _newest(
    windows: dg.TimeWindowPartitionsDefinition,
    known: Sequence[str],
    crons: Sequence[Cron],
    lag: timedelta,
    now: datetime,
) -> Due:
    landed = sorted((each for each in known if windows.has_partition_key(each)), key=lambda each: _begin(windows, each))
    begun = last_tick(crons, until=now - lag)
    expected = _asked_at(windows, begun) if begun is not None else None
    if expected is None:
        landed = landed[-PLANNED:]
        return Due(partitions=landed[:1], newer=[[each] for each in reversed(landed[1:])])
    newer = [each for each in landed if _begin(windows, each) > _begin(windows, expected)]
    older = landed[: len(landed) - len(newer)]
    late = [] if older[-1:] == [expected] else [expected]
    return Due(partitions=older[-1:], late=late, newer=[[each] for each in reversed(newer[-PLANNED:])])


def _asked_at(windows: dg.TimeWindowPartitionsDefinition, tick: datetime) -> str | None:
    """The partition that a schedule asks for when it ticks: the newest that there is by then."""
    with dg.partition_loading_context(effective_dt=tick):
        return windows.get_last_partition_key()


def _begin(windows: dg.TimeWindowPartitionsDefinition, key: str) -> datetime:
    return windows.start_time_for_partition_key(key)


def _of_launches(definition: LaunchPartitions, known: Sequence[str], now: datetime) -> Due:
    """Those that were planned of the launches that are in their quiet days or open."""
    needed = [each.name for each in needed_at(definition.launches, now)]
    return Due(
        partitions=[each for each in needed if each in known],
        nobody_waits="" if needed else why_none(definition.launches, now),
    )


def _of_newest_time(definition: dg.MultiPartitionsDefinition, known: Sequence[str]) -> Due:
    """The partitions of the newest time; all of them without a dimension of time."""
    time = next(
        (
            each
            for each in definition.partitions_defs
            if isinstance(each.partitions_def, dg.TimeWindowPartitionsDefinition)
        ),
        None,
    )
    there = [each for each in known if definition.has_partition_key(each)]
    if time is None or not there:
        return Due(partitions=there)
    windows = time.partitions_def
    assert isinstance(windows, dg.TimeWindowPartitionsDefinition)  # noqa: S101 - chosen so above
    by_time: dict[str, list[str]] = {}
    for each in there:
        by_time.setdefault(definition.get_partition_key_from_str(each).keys_by_dimension[time.name], []).append(each)
    *newer, oldest = sorted(by_time, key=lambda each: _begin(windows, each), reverse=True)[:PLANNED]
    return Due(partitions=by_time[oldest], newer=[by_time[each] for each in newer])
