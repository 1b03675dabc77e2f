"""What Dagster is told when rows have landed: the materialization's figures, times and data version.

Also the way of the frames to an IO manager of the user's own, where the asset has one.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pandas as pd

from offpeak.assets.canary import Verdict, summary
from offpeak.assets.declaration import ANSWERS_CHECK, Declaration
from offpeak.assets.fresh import fresh_result
from offpeak.assets.order import UNPARTITIONED, PartitionReceipt, Receipt
from offpeak.assets.preview import ROWS, preview
from offpeak.freshness.standing import Freshness
from offpeak.ledger.policy import INVALID_OUTPUT
from offpeak.money import dollars
from offpeak.results.store import ResultStore


def land(
    declaration: Declaration,
    context: dg.AssetExecutionContext,
    receipt: Receipt,
    store: ResultStore,
    checks: Sequence[dg.AssetCheckResult],
    freshness: Freshness,
) -> dg.MaterializeResult[Any]:
    """The materialization, and the frames for an IO manager of the user's own."""
    asset = context.asset_key.to_user_string()
    value: dict[str, Any] = {}
    shown = preview(_frame(declaration, asset, receipt.partitions[0], store, limit=ROWS), of=receipt.partitions[0].rows)
    if declaration.io_manager_key is not None:
        if len(receipt.partitions) == 1:
            value["value"] = _frame(declaration, asset, receipt.partitions[0], store)
        else:
            _hand_over(declaration, context, receipt, store)
    if len(receipt.partitions) == 1:
        metadata = figures(receipt) | _of_partition(receipt.partitions[0], landed_at=receipt.landed_at)
        metadata["preview"] = shown
    else:
        metadata = {"batch_ids": ", ".join(receipt.batch_ids), "partitions_of_job": len(receipt.partitions)}
        nothing = _nothing(figures(receipt))
        for number, each in enumerate(receipt.partitions):
            # a job's figures stand on its first partition, so that sums and plots over partitions stay true
            of_job = figures(receipt) if number == 0 else nothing
            own = of_job | _of_partition(each, landed_at=receipt.landed_at)
            if number == 0:
                own["preview"] = shown
            context.add_asset_metadata(own, partition_key=each.partition_key)
    return dg.MaterializeResult(
        metadata=metadata,
        data_version=dg.DataVersion(data_version(receipt.partitions)),
        check_results=[*worst(checks), usable_answers(receipt), fresh_result(freshness)],
        **value,
    )


def sample_observation(verdict: Verdict, asset: dg.AssetKey, *, partition: str | None) -> dg.AssetObservation:
    """What the UI shows among the asset's events."""
    failed = Counter(row.reason for row in verdict.rows)
    return dg.AssetObservation(
        asset,
        description=summary(verdict),
        partition=partition,
        metadata={
            "sample": dg.MetadataValue.md(verdict.table),
            "decision": verdict.why,
            "sampled": len(verdict.rows),
            "answered": len(verdict.rows) - verdict.failed,
            "failed": verdict.failed,
            "failed_schema": failed[INVALID_OUTPUT],
            "failed_share": verdict.share,
            "sample_cost_usd": float(dollars(verdict.cost_pico)),
            "possibly_paid_twice": verdict.possibly_paid_twice,
            "held": verdict.rest,
            "held_cost_usd": float(dollars(verdict.rest_pico)),
            "offpeak_job": verdict.sample.id,
        },
    )


def usable_answers(receipt: Receipt) -> dg.AssetCheckResult:
    """The check that every batch asset has: it warns while rows have no usable answer of their own."""
    wanted = sum(part.rows + part.missing for part in receipt.partitions)
    said = []
    if receipt.failed:
        said.append(
            f"{receipt.failed:,} of {wanted:,} rows have no usable answer of their own. `offpeak dead-letters list` "
            "tells which and why."
        )
    if receipt.late:
        said.append(f"{receipt.late:,} of {wanted:,} rows were still on their way at the deadline.")
    return dg.AssetCheckResult(
        check_name=ANSWERS_CHECK,
        passed=not said,
        severity=dg.AssetCheckSeverity.WARN,
        description=" ".join(said) or None,
        metadata={
            "failed": receipt.failed,
            "dropped": receipt.dropped,
            "late": receipt.late,
            "rows": wanted,
            "offpeak_job": receipt.job_id,
        },
    )


def figures(receipt: Receipt) -> dict[str, Any]:
    """What the job bought, as numbers that Dagster plots. Money is in dollars."""
    return {
        "rows": receipt.rows,
        "bought": receipt.bought,
        "joined": receipt.joined,
        "reused": receipt.reused,
        "failed": receipt.failed,
        "dropped": receipt.dropped,
        "degraded": receipt.degraded,
        "rescued": receipt.rescued,
        "late": receipt.late,
        "input_tokens": receipt.input_tokens,
        "output_tokens": receipt.output_tokens,
        "cached_tokens": receipt.cached_tokens,
        **_caching(receipt),
        "cost_usd": float(receipt.cost),
        "realtime_cost_usd": float(receipt.realtime_cost),
        "saved_usd": float(receipt.saved),
        **_estimate(receipt),
        "possibly_paid_twice": receipt.possibly_paid_twice,
        "lane": receipt.lane,
        "lane_reason": receipt.lane_reason,
        "batch_ids": ", ".join(receipt.batch_ids),
        "offpeak_job": receipt.job_id,
    }


def _caching(receipt: Receipt) -> dict[str, Any]:
    """What a cache was good for; nothing of what touched none."""
    share = receipt.cache_hit_share
    if share is None:
        return {}
    return {
        "cache_write_tokens": receipt.cache_write_tokens,
        "cache_hit_percent": round(100 * share, 2),
        "cache_saved_usd": float(receipt.cache_saved),
    }


def _estimate(receipt: Receipt) -> dict[str, Any]:
    """What it was estimated at, and how far that was from the bill; nothing of what had nothing to buy."""
    if receipt.estimated_cost is None or not receipt.bought:
        return {}
    error = receipt.estimate_error
    return {
        "estimated_cost_usd": float(receipt.estimated_cost),
        "estimated_from": receipt.estimated_from or "unknown",
        **({} if error is None else {"estimate_error_percent": round(100 * error, 2)}),
    }


def data_version(partitions: Sequence[PartitionReceipt]) -> str:
    """One partition's own version; for several, a digest of theirs.

    Dagster records a single data version for all partitions of an event batch, so a range that changed in one partition
    shows as changed in all of them; one that did not change at all shows as unchanged.
    """
    if len(partitions) == 1:
        return partitions[0].data_version
    pairs = sorted((each.partition_key, each.data_version) for each in partitions)
    return hashlib.blake2b(repr(pairs).encode(), digest_size=16).hexdigest()


def worst(checks: Sequence[dg.AssetCheckResult]) -> list[dg.AssetCheckResult]:
    """One result for each check: over several partitions, a failing one if there is any."""
    found: dict[str | None, dg.AssetCheckResult] = {}
    for check in checks:
        if check.check_name not in found or not check.passed:
            found[check.check_name] = check
    return list(found.values())


def _of_partition(receipt: PartitionReceipt, *, landed_at: datetime) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "rows": receipt.rows,
        "missing": receipt.missing,
        "removed": receipt.removed,
        "age_hours": round((landed_at - receipt.as_of) / timedelta(hours=1), 4),
        "as_of": dg.MetadataValue.timestamp(receipt.as_of),
        "effective_until": dg.MetadataValue.timestamp(receipt.effective_until),
    }
    if receipt.produced_at is not None:
        metadata["produced_at"] = dg.MetadataValue.timestamp(receipt.produced_at)
    return metadata


def _nothing(figures_of_job: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: type(value)(0) if isinstance(value, (int, float)) and name != "offpeak_job" else value
        for name, value in figures_of_job.items()
    }


def _frame(
    declaration: Declaration, asset: str, partition: PartitionReceipt, store: ResultStore, *, limit: int | None = None
) -> pd.DataFrame:
    partitions = None if partition.partition_key == UNPARTITIONED else [partition.partition_key]
    return store.frame(asset, partitions=partitions, output=declaration.output, limit=limit)


def _hand_over(
    declaration: Declaration, context: dg.AssetExecutionContext, receipt: Receipt, store: ResultStore
) -> None:
    """Give each partition's frame to the user's IO manager by itself.

    Many IO managers, file-based ones above all, take one partition at a time, and replacing a whole partition is what
    keeps rows of an earlier delivery from staying behind.
    """
    asset = context.asset_key.to_user_string()
    manager = getattr(context.resources, str(declaration.io_manager_key))
    for each in receipt.partitions:
        output = dg.build_output_context(
            name=context.assets_def.get_output_name_for_asset_key(context.asset_key),
            run_id=context.run.run_id,
            asset_key=context.asset_key,
            partition_key=each.partition_key,
            asset_partitions_def=context.assets_def.partitions_def,
            definition_metadata=dict(context.assets_def.specs_by_key[context.asset_key].metadata),
            op_def=context.op_def,
            resources=context.resources,  # without any, Dagster makes an instance of its own for them
            instance=context.instance,
        )
        events = manager.handle_output(output, _frame(declaration, asset, each, store))
        if isinstance(events, Iterator):  # an IO manager may be written as a generator
            deque(events, maxlen=0)
