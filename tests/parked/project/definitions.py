"""A project with an asset for everything that can happen to a parked run; each buys of a model of its own.

So a fault at the provider, or its tally, can be about one asset.
"""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import pandas as pd
from pydantic import BaseModel

from ai_assets import embeddings, sources
from ai_assets.classification import support_dashboard, ticket_labels
from offpeak import (
    BatchApi,
    BatchAsset,
    Chat,
    FreshnessContract,
    OffpeakResults,
    PlanContext,
    Waiting,
    Workload,
    batch_asset,
    lifecycle_sensor,
    tolerates,
    with_offpeak,
)
from resources.batch_api import batch_api
from resources.sources import SourceTables

MONTHS = dg.StaticPartitionsDefinition([f"m{month:02}" for month in range(1, 13)])
WORKLOAD = Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12))
CONTRACT = FreshnessContract(valid_for=timedelta(hours=37))
TOLERATED = timedelta(hours=38)
KEPT = BatchApi(**{**batch_api().model_dump(exclude_none=True), "keep_provider_files": True})
"""The project's accounts, but batches that are through stay, so that they can be looked at."""
ROWS = 8


class Label(BaseModel):
    category: Literal["billing", "bug", "other"]
    urgent: bool


class Tables(dg.ConfigurableIOManager):
    """A frame as CSV, one file for each partition; the column `partition` says which row belongs where."""

    folder: str

    def handle_output(self, context: dg.OutputContext, obj: pd.DataFrame) -> None:
        for partition, rows in obj.groupby("partition"):
            path = self._path(context.asset_key, str(partition))
            path.parent.mkdir(parents=True, exist_ok=True)
            rows.to_csv(path, index=False)

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        parts = [self._path(context.asset_key, partition) for partition in context.asset_partition_keys]
        return pd.concat([pd.read_csv(part) for part in parts])

    def _path(self, asset: dg.AssetKey, partition: str) -> Path:
        return Path(self.folder, *asset.path, f"{partition}.csv")


def labels(name: str, model: str, *, about: str | None = None, **arguments: Any) -> BatchAsset:
    """A batch asset of a few rows, by default of texts that no other asset asks about."""

    @batch_asset(name=name, model=model, output=Label, workload=WORKLOAD, lane="batch", contract=CONTRACT, **arguments)
    def asked(context: PlanContext) -> Iterator[Chat]:
        """Some labels."""
        for number in range(ROWS):
            text = f"Invoice {number} of {context.partition_key or 'this year'} is wrong, says {about or name}."
            yield Chat(key=f"T{number}", system="Label the ticket.", prompt=text)

    return asked


def view(name: str, *parents: str, **arguments: Any) -> dg.AssetsDefinition:
    """An ordinary asset that reads batch assets."""

    @dg.asset(name=name, ins={parent: tolerates(TOLERATED) for parent in parents}, **arguments)
    def seen(**frames: pd.DataFrame) -> dg.MaterializeResult[Any]:
        return dg.MaterializeResult(metadata={parent: len(frame) for parent, frame in frames.items()})

    return seen


IN_ONE_RUN: dict[str, Any] = {"partitions_def": MONTHS, "backfill_policy": dg.BackfillPolicy.single_run()}


@dg.asset(io_manager_key="tables", **IN_ONE_RUN)
def monthly_tickets(context: dg.AssetExecutionContext) -> pd.DataFrame:
    rows = [
        {"partition": month, "ticket_id": f"{month}-{number}", "body": f"Export {number} of {month} is empty."}
        for month in context.partition_keys
        for number in range(3)
    ]
    return pd.DataFrame(rows)


@batch_asset(
    model="openai/gpt-5-mini", output=Label, workload=WORKLOAD, lane="batch", contract=CONTRACT, partitions_def=MONTHS
)
def monthly_labels(monthly_tickets: pd.DataFrame) -> Iterator[Chat]:
    """Labels of a month's tickets."""
    ticket: Any
    for ticket in monthly_tickets.itertuples():
        yield Chat(key=ticket.ticket_id, system="Label the ticket.", prompt=ticket.body)


@dg.asset(ins={"monthly_labels": tolerates(TOLERATED)}, deps=["monthly_report"])
def year_report(monthly_labels: pd.DataFrame) -> dg.MaterializeResult[Any]:
    months = monthly_labels["partition_key"].nunique()
    return dg.MaterializeResult(metadata={"rows": len(monthly_labels), "months": months})


left_labels = labels("left_labels", "openai/gpt-5-nano")
right_labels = labels("right_labels", "anthropic/claude-haiku-4-5")


@dg.asset_check(asset=left_labels)
def every_row_is_there(left_labels: pd.DataFrame) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=len(left_labels) == ROWS)


@batch_asset(model="openai/gpt-4o", workload=WORKLOAD, lane="batch", contract=CONTRACT)
def summaries() -> Iterator[Chat]:
    """A few texts in a sentence each."""
    for number in range(ROWS):
        yield Chat(key=f"S{number}", system="Sum it up.", prompt=f"Chapter {number} tells of a long journey.")


@batch_asset(
    model="anthropic/claude-sonnet-4-5",
    output=Label,
    workload=WORKLOAD,
    lane="batch",
    contract=CONTRACT,
    ins={"summaries": tolerates(TOLERATED)},
)
def summary_labels(summaries: pd.DataFrame) -> Iterator[Chat]:
    """A label for each summary."""
    summary: Any
    for summary in summaries.itertuples():
        yield Chat(key=summary.key, system="Label the summary.", prompt=summary.text)


@batch_asset(
    model="openai/gpt-5.1",
    output=Label,
    workload=WORKLOAD,
    lane="batch",
    contract=CONTRACT,
    check_specs=[dg.AssetCheckSpec("something_was_asked", asset="checked_labels")],
)
def checked_labels() -> Iterator[Chat | dg.AssetCheckResult]:
    """Labels with a check that the plan evaluates."""
    for number in range(ROWS):
        yield Chat(key=f"C{number}", system="Label the ticket.", prompt=f"Seat {number} was taken.")
    yield dg.AssetCheckResult(check_name="something_was_asked", passed=True, metadata={"rows": ROWS})


defs = with_offpeak(
    dg.Definitions(
        assets=[
            *dg.load_assets_from_modules([embeddings, sources]),
            ticket_labels,
            support_dashboard,
            monthly_tickets,
            monthly_labels,
            view("monthly_report", "monthly_labels", **IN_ONE_RUN),
            year_report,
            left_labels,
            right_labels,
            view("joined_view", "left_labels", "right_labels"),
            summaries,
            summary_labels,
            checked_labels,
            labels("clicked_labels", "openai/gpt-4.1-nano"),
            view("clicked_view", "clicked_labels"),
            labels("stopped_labels", "openai/gpt-4.1-mini"),
            view("stopped_view", "stopped_labels"),
            labels("cancelled_labels", "openai/gpt-4.1", partitions_def=MONTHS),
            labels("refused_labels", "openai/gpt-4o-mini"),
            labels("expired_labels", "anthropic/claude-opus-4-5"),
            labels("sliced_labels", "openai/gpt-5.2"),
            labels("shared_labels", "openai/o4-mini", about="both"),
            labels("sharing_labels", "openai/o4-mini", about="both"),
            labels("shell_labels", "openai/gpt-5.4-mini"),
        ],
        asset_checks=[every_row_is_there],
        sensors=[lifecycle_sensor(minimum_interval_seconds=3)],
        resources={
            "batch_api": KEPT,
            "offpeak_results": OffpeakResults(spool_dir=os.environ["PARKED_SPOOL"]),
            "source_tables": SourceTables(),
            "tables": Tables(folder=os.environ["PARKED_TABLES"]),
        },
        executor=dg.in_process_executor,
    )
)
