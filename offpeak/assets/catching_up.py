"""Which partitions a schedule has to make at a tick: the one that has just ended, and those that were missed before it.

After an absence Dagster's scheduler makes up the last tick alone, so what the ticks before it stood for is found out
here: from what was made, not from when somebody was there.
"""

from collections.abc import Sequence

import dagster as dg
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from offpeak.errors import DefinitionError

AT_MOST = 5
"""Partitions of one tick, the newest ones, so that a schedule that rested for a year does not buy a year."""


def partitions_due(
    context: dg.ScheduleEvaluationContext, asset: dg.AssetsDefinition, *, at_most: int = AT_MOST
) -> Sequence[str]:
    """The partitions of a time-partitioned asset that are due at this tick, oldest first.

    That is the newest one that has ended by then, and those before it, back to the last that was ever made; without
    any, the newest alone. One that a run is making at this moment is left out. Raises DefinitionError for an asset
    without time partitions.
    """
    definition = asset.partitions_def
    if not isinstance(definition, dg.TimeWindowPartitionsDefinition):
        raise DefinitionError(
            f"{asset.key.to_user_string()} has no time partitions, so none of them can be due. Nothing was requested. "
            "Schedule its job with dg.ScheduleDefinition."
        )
    keys = definition.get_partition_keys(current_time=context.scheduled_execution_time)[-at_most:]
    states = context.instance.get_status_by_partition(asset.key, keys, definition) or {}
    before = [
        number
        for number, key in enumerate(keys[:-1], 1)
        if states.get(key) in (AssetPartitionStatus.MATERIALIZED, AssetPartitionStatus.IN_PROGRESS)
    ]
    ever = context.instance.get_latest_materialization_event(asset.key) is not None
    first = before[-1] if before else 0 if ever else len(keys) - 1
    return [key for key in keys[max(first, 0) :] if states.get(key) is not AssetPartitionStatus.IN_PROGRESS]
