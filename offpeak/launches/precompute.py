"""What is pre-computed for launches: a partition for each, bought in the quiet days before it.

A launch is due from `quiet_days` before it starts until it starts. Its rows have to be there and fresh from the same
moment on, until it ends; before that and after it nobody waits for them.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import dagster as dg

from offpeak.clock import SystemClock, moment
from offpeak.errors import DefinitionError
from offpeak.launches.launch import Launch
from offpeak.launches.listed import NAME, Launches


class LaunchPartitions(dg.StaticPartitionsDefinition):
    """A partition for each launch, with its name, in the order in which they start. No launch is no partition."""

    def __init__(self, launches: Launches) -> None:
        super().__init__([each.name for each in launches.launches])
        self.launches = launches.launches
        """As they were when definitions were loaded: a launch that is added later counts once they are loaded again."""


def launch_partitions(launches: Launches) -> LaunchPartitions:
    """What an asset takes as `partitions_def=` that is pre-computed for launches. There may be none, or only past ones.

    The check `fresh` of such an asset looks at the launches that need their rows now, and at no others.
    """
    return LaunchPartitions(launches)


def due_at(launches: Iterable[Launch], at: datetime) -> Sequence[Launch]:
    """Those that are pre-computed at a moment: it lies in their quiet days."""
    return [each for each in launches if quiet_from(each) <= at < each.starts]


def needed_at(launches: Iterable[Launch], at: datetime) -> Sequence[Launch]:
    """Those whose rows have to be there and fresh at a moment: it lies in their quiet days, or in their window."""
    return [each for each in launches if quiet_from(each) <= at < each.ends]


def quiet_from(launch: Launch) -> datetime:
    """When its quiet days begin."""
    return launch.starts - launch.quiet


def launches_due(
    context: dg.ScheduleEvaluationContext, asset: dg.AssetsDefinition, launches: Launches
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """In a schedule's function: a run for the partition of each launch that is in its quiet days at this tick.

    `asset` is one of those that are pre-computed, `launches` the list as it is now. Where there is none to request, the
    reason is given. A launch that has started by now is left out, however late a tick is made up for: nothing can be
    pre-computed for it any more. Raises DefinitionError for an asset that is not partitioned by launches.
    """
    known = partitions_of(asset).get_partition_keys()
    at = context.scheduled_execution_time.astimezone(UTC)
    due = [each for each in due_at(launches.launches, at) if each.starts > SystemClock().now()]
    requested = [each for each in due if each.name in known]
    for each in requested:
        yield dg.RunRequest(run_key=f"{each.name} at {at.isoformat()}", partition_key=each.name)
    new = [each.name for each in due if each.name not in known]
    if new:
        context.log.warning(f"{_unknown(new)} Nothing was requested for it.")
    if not requested:
        yield dg.SkipReason(_unknown(new) if new else why_none(launches.launches, at))


def partitions_of(asset: dg.AssetsDefinition) -> LaunchPartitions:
    """Of an asset that is pre-computed. Raises DefinitionError for one that is not partitioned by launches."""
    if not isinstance(asset.partitions_def, LaunchPartitions):
        raise DefinitionError(
            f"{asset.key.to_user_string()} is not partitioned by launches, so nothing of it is pre-computed for one. "
            "Give it partitions_def=offpeak.launch_partitions(...)."
        )
    return asset.partitions_def


def why_none(launches: Iterable[Launch], at: datetime) -> str:
    """That no launch is in its quiet days at a moment, and when those of the next one begin."""
    coming = min((each for each in launches if quiet_from(each) > at), key=quiet_from, default=None)
    if coming is None:
        return "No launch is in its quiet days, and none is planned after that."
    return f"No launch is in its quiet days. Those of {coming.name} begin at {moment(quiet_from(coming))}."


def _unknown(names: Sequence[str]) -> str:
    return (
        f"{NAME} names {' and '.join(names)}, which was not there when the definitions were loaded. Load them again: "
        "then it has its partition."
    )
