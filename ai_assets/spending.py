"""What the purchases cost and saved, for whoever pays for them."""

import dagster as dg

import offpeak
from offpeak import OffpeakResults


@dg.asset(
    group_name="operations",
    owners=["team:data-platform"],
    tags={"domain": "operations"},
    kinds={"matplotlib"},
)
def spend_report(
    context: dg.AssetExecutionContext, offpeak_results: dg.ResourceParam[OffpeakResults]
) -> dg.MaterializeResult[None]:
    """What was spent, saved and wasted this week, what the month will have cost, and what to do next.

    It reads the ledger and buys nothing. The same is written as an HTML file, which can be sent to somebody.
    """
    report = offpeak.spend_report(offpeak_results.ledger, context=context)
    texts = {
        "summary": report.summary,
        "spent": report.spent,
        "saved": report.saved,
        "wasted": report.wasted,
        "forecast": report.forecast,
        "misfits": report.misfits,
    }
    markdown = {name: dg.MetadataValue.md(text) for name, text in texts.items()}
    file = dg.MetadataValue.path(report.write())
    return dg.MaterializeResult(metadata={"summary": markdown["summary"], "file": file, **report.figures, **markdown})
