"""How purchases are getting on, for whoever looks after them."""

from collections.abc import Iterator

import dagster as dg

from offpeak import OffpeakResults, operations_report


@dg.asset(
    check_specs=[dg.AssetCheckSpec("nothing_stuck", asset="batch_operations", description="No job needs somebody.")],
    group_name="operations",
    owners=["team:data-platform"],
    tags={"domain": "operations"},
    kinds={"matplotlib"},
)
def batch_operations(
    offpeak_results: dg.ResourceParam[OffpeakResults],
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Which batches are on their way and which need somebody, how long past ones took, and how old their results are.

    It reads the ledger and buys nothing. The check fails while a job is stuck, late, unattended, or landed and left.
    """
    report = operations_report(offpeak_results.ledger)
    texts = {
        "jobs": report.jobs,
        "timings": report.timings,
        "queue_depth": report.queue_depth,
        "age_of_results": report.age_of_results,
        "age_over_time": report.age_over_time,
    }
    markdown = {name: dg.MetadataValue.md(text) for name, text in texts.items()}
    ages = {f"age_hours/{asset}": hours for asset, hours in report.age_hours.items()}
    yield dg.MaterializeResult(metadata={**report.counts, **ages, **markdown})
    yield dg.AssetCheckResult(
        check_name="nothing_stuck",
        passed=not report.problems,
        severity=dg.AssetCheckSeverity.WARN,
        description=" ".join(report.problems[:5]) or "Nothing is stuck, late, unattended, or landed and left.",
        metadata={"jobs": len(report.problems)},
    )
