"""The check `on_time` of every asset with a `freshness_sla` that lies downstream of a batch asset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from offpeak.assets.outlook import Outlook
from offpeak.clock import SystemClock
from offpeak.freshness.chain import Chain
from offpeak.freshness.sla import Occurrence, Sla, judge_past, judge_upcoming
from offpeak.ledger.states import SlaState
from offpeak.results.io_manager import RESULTS_KEY, OffpeakResults

ON_TIME_CHECK = "on_time"


@dataclass(slots=True)
class Watch:
    """The ages of the loaded definitions, for what looks after them later. The definitions hold what looks, so the
    chain is known only once they are made."""

    chain: Chain | None = None

    def loaded(self) -> Chain:
        assert self.chain is not None  # noqa: S101 - with_offpeak fills it before it returns
        return self.chain


def on_time_check(watch: Watch, spec: dg.AssetSpec) -> dg.AssetChecksDefinition:
    """The check of one asset, as a run tells it: how its next deadline is getting on."""
    key = spec.key

    @dg.asset_check(
        asset=key,
        name=ON_TIME_CHECK,
        required_resource_keys={RESULTS_KEY},
        description="Made in time for its freshness_sla: warns while the next deadline is endangered, fails when it "
        "was missed.",
    )
    def on_time(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        results: OffpeakResults = getattr(context.resources, RESULTS_KEY)
        chain, now = watch.loaded(), SystemClock().now()
        sla = chain.nodes[key.to_user_string()].sla
        assert sla is not None  # noqa: S101 - with_offpeak makes this check for assets that have one
        outlook = Outlook.read(chain, results.ledger, now=now)
        found = upcoming(sla, outlook, instance=context.instance, partitions_def=spec.partitions_def)
        if found is None:
            return dg.AssetCheckResult(check_name=ON_TIME_CHECK, passed=True, description="No deadline is coming.")
        return dg.AssetCheckResult(
            check_name=ON_TIME_CHECK,
            passed=passed(found),
            severity=severity(found),
            description=found.why,
            metadata=figures(found),
        )

    return on_time


def past(
    sla: Sla, due_at: datetime, *, instance: dg.DagsterInstance, partitions_def: dg.PartitionsDefinition | None
) -> Occurrence:
    """What became of a deadline that is over."""
    return judge_past(sla, due_at, made_at(sla, due_at, instance=instance, partitions_def=partitions_def))


def upcoming(
    sla: Sla, outlook: Outlook, *, instance: dg.DagsterInstance, partitions_def: dg.PartitionsDefinition | None
) -> Occurrence | None:
    """How the next deadline is getting on; None where none is coming."""
    due_at = sla.upcoming(outlook.now)
    if due_at is None:
        return None
    made = made_at(sla, due_at, instance=instance, partitions_def=partitions_def)
    return judge_upcoming(sla, due_at, made, outlook.left(sla, due_at), now=outlook.now)


def passed(found: Occurrence) -> bool:
    return found.state in {SlaState.DUE, SlaState.MET}


def severity(found: Occurrence) -> dg.AssetCheckSeverity:
    """A deadline that can still be met warns."""
    return dg.AssetCheckSeverity.WARN if found.state is SlaState.ENDANGERED else dg.AssetCheckSeverity.ERROR


def figures(found: Occurrence) -> Mapping[str, Any]:
    """The check's metadata."""
    return {"due_at": dg.MetadataValue.timestamp(found.due_at), "state": found.state.value}


def made_at(
    sla: Sla, due_at: datetime, *, instance: dg.DagsterInstance, partitions_def: dg.PartitionsDefinition | None
) -> Sequence[datetime]:
    """When the asset was made for that deadline: the last time in its window, else the first time after it. Its newest
    partition counts, where it is partitioned by time.
    """
    wanted: list[str] | None = None
    if isinstance(partitions_def, dg.TimeWindowPartitionsDefinition):
        with dg.partition_loading_context(effective_dt=due_at):
            window = partitions_def.get_last_partition_window()
        if window is None:
            return []
        wanted = [partitions_def.get_partition_key_for_timestamp(window.start.timestamp())]

    def first(after: datetime, before: datetime | None = None, *, ascending: bool) -> list[datetime]:
        chosen = dg.AssetRecordsFilter(
            asset_key=dg.AssetKey.from_user_string(sla.asset),
            asset_partitions=wanted,
            after_timestamp=after.timestamp(),
            before_timestamp=None if before is None else before.timestamp(),
        )
        records = instance.fetch_materializations(chosen, limit=1, ascending=ascending).records
        return [datetime.fromtimestamp(record.timestamp, UTC) for record in records]

    bit = timedelta(microseconds=1)
    in_time = first(due_at - sla.window - bit, due_at + bit, ascending=False)
    return in_time or first(due_at, ascending=True)
