"""Which AI work runs in the wrong lane, for whoever decides what is moved next."""

from pathlib import Path

import dagster as dg

import offpeak

SAMPLE = Path(__file__).resolve().parents[1] / "sample_data"

WORKLOADS = SAMPLE / "workloads.yaml"
"""A line for each job, as the people say who run it."""

CALLS = [SAMPLE / "llm_calls.jsonl.gz"]
"""A log of calls: a gateway's spend log, or an export of what watches your models."""

CODE = [SAMPLE / "app"]
"""Folders of Python. They are read, and never run."""


@dg.asset(
    group_name="operations",
    owners=["team:data-platform"],
    tags={"domain": "operations"},
    kinds={"markdown"},
)
def workload_audit() -> dg.MaterializeResult[None]:
    """Which AI work runs in the wrong lane, what moving it would save, and the design for the dearest.

    It reads files and buys nothing. The same is written as an HTML file, which can be sent to somebody.
    """
    report = offpeak.workload_audit(workloads=WORKLOADS, usage=CALLS, code=CODE, zone="Europe/Berlin")
    texts = {
        "summary": report.summary,
        "design": report.design,
        "closely": report.closely,
        "what_stays": report.fits,
    }
    markdown = {name: dg.MetadataValue.md(text) for name, text in texts.items()}
    file = dg.MetadataValue.path(report.write())
    return dg.MaterializeResult(metadata={"summary": markdown["summary"], "file": file, **report.figures, **markdown})
