"""What `make bench-parked` materialises: small batch assets with a partition for every job, and an asset that is empty.

The file `interval` beside this one holds the seconds between two ticks of the lifecycle sensor.
"""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import BaseModel

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
    with_offpeak,
)
from resources.batch_api import batch_api

PARTITIONS = dg.StaticPartitionsDefinition([f"p{number:04}" for number in range(1_000)])
ROWS = 20


class Label(BaseModel):
    category: Literal["billing", "bug", "other"]
    urgent: bool


def labels(name: str, model: str) -> BatchAsset:
    @batch_asset(
        name=name,
        model=model,
        output=Label,
        workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
        lane="batch",
        contract=FreshnessContract(valid_for=timedelta(hours=37)),
        partitions_def=PARTITIONS,
    )
    def asked(context: PlanContext) -> Iterator[Chat]:
        """Labels of a few tickets."""
        for number in range(ROWS):
            text = f"Invoice {number} of {context.partition_key} is wrong, says {name}."
            yield Chat(key=f"{context.partition_key}-{number}", system="Label the ticket.", prompt=text)

    return asked


@dg.asset
def nothing() -> None:
    """An empty run's only step."""


defs = with_offpeak(
    dg.Definitions(
        assets=[
            labels("openai_labels", "openai/gpt-5-mini"),
            labels("anthropic_labels", "anthropic/claude-haiku-4-5"),
            nothing,
        ],
        sensors=[lifecycle_sensor(minimum_interval_seconds=int(Path(__file__).with_name("interval").read_text()))],
        resources={
            # batches that are through stay, so that it can be asked when they ended
            "batch_api": BatchApi(**{**batch_api().model_dump(exclude_none=True), "keep_provider_files": True}),
            "offpeak_results": OffpeakResults(spool_dir=os.environ["PARKED_SPOOL"]),
        },
        executor=dg.in_process_executor,
    )
)
