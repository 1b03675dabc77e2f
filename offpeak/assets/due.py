"""Which partitions of an asset have to be fresh now, and which of them should have landed and have not.

Of partitions by time it is the newest that is due: earlier ones are history, however old or newly backfilled. Of any
others, it is all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

from offpeak.freshness.cadence import Cron, next_tick

WINDOWS = 100
"""Windows at most that are looked back at for the newest one that is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Partitions that have to be fresh. `late` ones should have landed."""

    partitions: Sequence[str]
    late: Sequence[str] = ()


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
            return Due(partitions=_of_newest_time(partitions_def, known))
        there = set(partitions_def.get_partition_keys())
        return Due(partitions=[each for each in known if each in there])


def _newest(
    windows: dg.TimeWindowPartitionsDefinition,
    known: Sequence[str],
    crons: Sequence[Cron],
    lag: timedelta,
    now: datetime,
) -> Due:
    landed = sorted(
        (each for each in known if windows.has_partition_key(each)), key=windows.start_time_for_partition_key
    )
    expected = _last_due(windows, crons, lag, now)
    if expected is None:
        return Due(partitions=landed[-1:])
    if landed and windows.start_time_for_partition_key(landed[-1]) >= windows.start_time_for_partition_key(expected):
        return Due(partitions=landed[-1:])
    return Due(partitions=landed[-1:], late=[expected])


def _last_due(
    windows: dg.TimeWindowPartitionsDefinition, crons: Sequence[Cron], lag: timedelta, now: datetime
) -> str | None:
    """The newest partition whose first run after its end should have landed; None where nothing says when it runs."""
    if not crons:
        return None
    window = windows.get_last_partition_window()
    for _ in range(WINDOWS):
        if window is None:
            return None
        # a run at the very end of a window is one for it
        tick = next_tick(crons, after=window.end - timedelta(microseconds=1))
        if tick is not None and tick + lag <= now:
            return windows.get_partition_key_for_timestamp(window.start.timestamp())
        window = windows.get_prev_partition_window(window.start)
    return None


def _of_newest_time(definition: dg.MultiPartitionsDefinition, known: Sequence[str]) -> list[str]:
    """The partitions of the newest time that has landed; all of them without a dimension of time."""
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
        return there
    windows = time.partitions_def
    assert isinstance(windows, dg.TimeWindowPartitionsDefinition)  # noqa: S101 - chosen so above
    by_key = {each: definition.get_partition_key_from_str(each).keys_by_dimension[time.name] for each in there}
    newest = max(by_key.values(), key=windows.start_time_for_partition_key)
    return [each for each, key in by_key.items() if key == newest]
