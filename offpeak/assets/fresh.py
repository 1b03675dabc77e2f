"""The check `fresh`, which every batch asset has: whether its rows keep their promise, by their own age.

It is said when rows land, and again by the sensor `offpeak_freshness` when the passing of time has changed it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from offpeak.assets.declaration import Declaration
from offpeak.assets.due import Due, due
from offpeak.freshness.contract import COLLECTING
from offpeak.freshness.standing import SHOWN, Freshness, Part, Standing, judge, nothing_due
from offpeak.results.producer import next_run, rhythm_of
from offpeak.results.store import ResultStore

FRESH_CHECK = "fresh"


def fresh_check_spec(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """What the decorator declares."""
    return dg.AssetCheckSpec(
        FRESH_CHECK,
        asset=asset,
        description="Rows keep the contract by the age of what they were made from, whenever they landed: warns past "
        "warn_after, fails past effective_until, and where a partition is due and has not landed.",
    )


def expected_of(
    spec: dg.AssetSpec, declaration: Declaration, store: ResultStore, *, now: datetime, instance: dg.DagsterInstance
) -> Due:
    """The partitions of a batch asset that have to be fresh now."""
    rhythm = rhythm_of(spec.metadata)
    return due(
        spec.partitions_def,
        known=store.partitions(spec.key.to_user_string()),
        crons=rhythm.crons,
        lag=declaration.workload.longest(() if rhythm.follows else rhythm.crons, now=now) + COLLECTING,
        now=now,
        instance=instance,
    )


def freshness_of(
    spec: dg.AssetSpec, declaration: Declaration, store: ResultStore, *, now: datetime, expected: Due
) -> Freshness:
    """How a batch asset stands now. The rows of the partitions are counted that have to be fresh, and no others."""
    if expected.nobody_waits:
        return nothing_due(expected.nobody_waits)
    asset, after = spec.key.to_user_string(), next_run(spec.metadata, after=now)
    for newer in expected.newer:
        parts = _parts(store, asset, newer)
        if all(each.as_of is not None for each in parts):
            return judge(parts, declaration.contract, now=now, next_run=after)
    parts = _parts(store, asset, expected.partitions)
    if spec.partitions_def is not None and any(each.as_of is not None for each in parts):
        parts = [each for each in parts if each.as_of is not None]  # a new one is on its way for the first time
    return judge(parts, declaration.contract, now=now, due=expected.late, next_run=after)


def _parts(store: ResultStore, asset: str, partitions: Sequence[str]) -> list[Part]:
    return [
        Part(
            partition_key=each.partition_key,
            # a partition without rows is as old as the plan that found none; one whose rows are all on their way is not
            as_of=None if each.missing and not each.rows else each.as_of,
            effective_until=each.effective_until,
        )
        for each in store.summary(asset, partitions).partitions
    ]


def severity(found: Freshness) -> dg.AssetCheckSeverity:
    """Ageing warns; what is past its promise is an error."""
    return dg.AssetCheckSeverity.WARN if found.standing is Standing.AGEING else dg.AssetCheckSeverity.ERROR


def figures(found: Freshness) -> Mapping[str, Any]:
    """The check's metadata."""
    metadata: dict[str, Any] = {"standing": found.standing.value, "partitions": found.partitions}
    if found.as_of is not None and found.effective_until is not None:
        metadata["as_of"] = dg.MetadataValue.timestamp(found.as_of)
        metadata["effective_until"] = dg.MetadataValue.timestamp(found.effective_until)
    if found.partition_key:
        metadata["partition"] = found.partition_key
    if found.behind:
        more = f" and {len(found.behind) - SHOWN} more" if len(found.behind) > SHOWN else ""
        metadata["behind"] = ", ".join(each or "all rows" for each in found.behind[:SHOWN]) + more
    return metadata


def fresh_result(found: Freshness) -> dg.AssetCheckResult:
    """What a run tells of it."""
    return dg.AssetCheckResult(
        check_name=FRESH_CHECK,
        passed=found.standing is Standing.FRESH,
        severity=severity(found),
        description=found.description,
        metadata=figures(found),
    )
