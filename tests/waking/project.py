"""What the waking deployment runs: a table, a batch asset below it, and a view of that."""

import os
from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import pandas as pd

from offpeak import (
    BatchApi,
    ChangedRows,
    Chat,
    FreshnessContract,
    OffpeakResults,
    SourceTables,
    Waiting,
    Workload,
    batch_asset,
    lifecycle_sensor,
    tolerates,
    when_data_changes,
    with_offpeak,
)


@dg.multi_observable_source_asset(specs=[dg.AssetSpec("tickets").with_io_manager_key("source_tables")])
def tickets() -> None: ...


@batch_asset(
    model="openai/gpt-5-mini",
    workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
    lane="batch",
    contract=FreshnessContract(valid_for=timedelta(hours=37)),
    automation_condition=when_data_changes(),
)
def labels(tickets: ChangedRows) -> Iterator[Chat]:
    """An answer to every ticket."""
    for ticket in tickets:
        yield Chat(key=str(ticket.id), system="Say what the ticket is about.", prompt=ticket.body)


@dg.asset(ins={"labels": tolerates(timedelta(hours=38))}, automation_condition=when_data_changes(), code_version="1")
def counts(labels: pd.DataFrame) -> dg.MaterializeResult[None]:
    """How many there are."""
    return dg.MaterializeResult(metadata={"labels": len(labels)})


url = os.environ["OFFPEAK_LOCAL_URL"]
defs = with_offpeak(
    dg.Definitions(
        assets=[tickets, labels, counts],
        sensors=[
            lifecycle_sensor(minimum_interval_seconds=5),
            dg.AutomationConditionSensorDefinition(
                "data_changes",
                target=dg.AssetSelection.all(),
                default_status=dg.DefaultSensorStatus.RUNNING,
                minimum_interval_seconds=3,
            ),
        ],
        resources={
            "batch_api": BatchApi(openai_api_key="local", openai_base_url=f"{url}/v1"),
            "offpeak_results": OffpeakResults(),
            "source_tables": SourceTables(),
        },
        executor=dg.in_process_executor,
    )
)
