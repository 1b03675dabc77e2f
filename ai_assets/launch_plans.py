"""Whether the launches of `launches.yaml` can come, for whoever plans them."""

from collections.abc import Iterator, Mapping

import dagster as dg

import offpeak
from offpeak import BatchApi, OffpeakResults, SourceTables
from resources.batch_api import batch_api as this_deployment

LISTED = this_deployment().planned_launches().launches
"""Each has a check of its own. One that is added to the list has it once the definitions are loaded again."""


@dg.asset(
    check_specs=[
        dg.AssetCheckSpec(
            f"fits_{launch.name}",
            asset="launch_capacity",
            description=f"The peak of {launch.name} is within the limits.",
        )
        for launch in LISTED
    ],
    group_name="launch",
    owners=["team:data-platform"],
    tags={"domain": "operations"},
    kinds={"matplotlib"},
)
def launch_capacity(
    offpeak_results: dg.ResourceParam[OffpeakResults], batch_api: BatchApi
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """What each launch's peak needs of the models, and what the providers allow: what to raise, and by when.

    It reads the ledger and the price sheet, and buys nothing. A check warns while a limit is too low, and fails from
    three days before it has to be asked for.
    """
    report = offpeak.launch_capacity(offpeak_results.ledger, batch_api)
    yield dg.MaterializeResult(metadata={**as_markdown(report.summary, report.launches), **report.figures})
    yield from (report.check(launch.name) for launch in LISTED)


@dg.asset(
    deps=["launch_traffic"],
    code_version="1",
    group_name="launch",
    owners=["team:data-platform"],
    tags={"domain": "operations"},
    kinds={"markdown"},
)
def launch_coverage(
    offpeak_results: dg.ResourceParam[OffpeakResults],
    batch_api: BatchApi,
    source_tables: dg.ResourceParam[SourceTables],
) -> dg.MaterializeResult[None]:
    """Which share of each launch's traffic a fresh pre-computed row answers, which rows lack, and what that costs.

    It reads the ledger, the price sheet and the past traffic, and buys nothing.
    """
    report = offpeak.launch_coverage(offpeak_results.ledger, batch_api, source_tables)
    return dg.MaterializeResult(metadata={**as_markdown(report.summary, report.launches), **report.figures})


@dg.asset(
    deps=["launch_traffic"],
    code_version="1",
    group_name="launch",
    owners=["team:data-platform"],
    tags={"domain": "operations"},
    kinds={"matplotlib"},
)
def launch_report(
    context: dg.AssetExecutionContext,
    offpeak_results: dg.ResourceParam[OffpeakResults],
    batch_api: BatchApi,
    source_tables: dg.ResourceParam[SourceTables],
) -> dg.MaterializeResult[None]:
    """What each launch needs, has and still lacks: limits, pre-computed rows, what misses cost, and what to do next.

    It buys nothing. The same is written as an HTML file, which can be sent to somebody.
    """
    report = offpeak.launch_report(offpeak_results.ledger, batch_api, source_tables, context=context)
    file = {"file": dg.MetadataValue.path(report.write())}
    return dg.MaterializeResult(metadata={**file, **report.figures, **as_markdown(report.summary, report.launches)})


def as_markdown(summary: str, launches: Mapping[str, str]) -> dict[str, dg.MarkdownMetadataValue]:
    """What Dagster's UI shows as text: of all launches together, and of each."""
    texts = {"summary": summary} | {f"launch/{name}": text for name, text in launches.items()}
    return {name: dg.MetadataValue.md(text) for name, text in texts.items()}
