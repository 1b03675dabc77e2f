"""What a plan over changed rows costs: the same table planned whole, and after 0.1% of its rows have changed.

    python -m tests.bench.bench_changed_rows [--rows 200000] [--json]

The table is a SQLite file of short tickets that is watched; the ledger is SQLite too, and every row has been bought
from the local provider before. Both plans are what `offpeak plan` makes: they read, fingerprint and look up, and write
nothing. The tick is what the sensor `offpeak_sources` asks of the table. Figures are CPU and wall seconds of this
process.
"""

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa

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
    with_offpeak,
)
from offpeak.assets.orders import prepared_order
from offpeak.assets.purchase import quote
from offpeak.clock import SystemClock
from offpeak.sources.watching import watch
from tests.conftest import LocalProvider

ROOT = Path(__file__).resolve().parents[2]
SHARE = 0.001
TICKS = 20


@batch_asset(
    model="openai/gpt-5-mini",
    workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
    lane="batch",
    contract=FreshnessContract(valid_for=timedelta(hours=37)),
)
def labels(tickets: ChangedRows) -> Iterator[Chat]:
    """One answer a ticket."""
    for ticket in tickets:
        yield Chat(key=str(ticket.id), system="Say what the ticket is about.", prompt=ticket.body)


def definitions(url: str, folder: Path) -> dg.Definitions:
    """The asset on its table."""
    table = dg.AssetSpec("tickets").with_io_manager_key("source_tables")
    return with_offpeak(
        dg.Definitions(
            assets=[table, labels],
            resources={
                "batch_api": BatchApi(openai_api_key="bench", openai_base_url=f"{url}/v1"),
                "offpeak_results": OffpeakResults(database_url=f"sqlite:///{folder}/offpeak.db"),
                "source_tables": SourceTables(url=f"sqlite:///{folder}/source.db"),
            },
        )
    )


def fill(engine: sa.Engine, rows: int) -> None:
    """Make the table."""
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE tickets (id INTEGER PRIMARY KEY, body TEXT)")
        connection.exec_driver_sql(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "INSERT INTO tickets SELECT i, 'Ticket ' || i || ' is about an invoice that came twice.' FROM n",
            (rows,),
        )
        watch(connection, "tickets")


def measured(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What the work gives, and its CPU and wall seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


def run(url: str, folder: Path, rows: int) -> dict[str, Any]:
    """Buy all, change some, and plan both ways."""
    engine = sa.create_engine(f"sqlite:///{folder}/source.db", poolclass=sa.pool.NullPool)
    fill(engine, rows)
    defs, clock, key = definitions(url, folder), SystemClock(), dg.AssetKey("labels")
    with ExitStack() as stack:
        instance = stack.enter_context(dg.DagsterInstance.ephemeral())
        job = defs.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=instance, asset_selection=[key]).success
        step = round(1 / SHARE)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE tickets SET body = body || ' Again.' WHERE id % {step} = 0")

        def plan(*, whole: bool) -> Any:
            with prepared_order(defs, key, instance=instance, clock=clock) as prepared:
                order = prepared.order
                if whole and order.over_all_rows is not None:
                    order = replace(order, partitions=order.over_all_rows())
                return quote(
                    order, ledger=prepared.ledger, provider=prepared.provider, rates=prepared.rates, clock=clock
                )

        changed, changed_cost = measured(lambda: plan(whole=False))
        whole, whole_cost = measured(lambda: plan(whole=True))
        tables = SourceTables(url=f"sqlite:///{folder}/source.db")
        version = tables.data_version(dg.AssetKey("tickets"))
        _, ticks = measured(lambda: [tables.data_version(dg.AssetKey("tickets"), since=version) for _ in range(TICKS)])
    assert (whole.rows, changed.rows) == (rows, rows // step)
    assert whole.new == changed.new == changed.rows
    return {
        "rows": rows,
        "changed": {"rows_read": changed.rows, **changed_cost},
        "whole": {"rows_read": whole.rows, **whole_cost},
        "share_of_cpu": changed_cost["cpu_s"] / whole_cost["cpu_s"],
        "tick_ms": 1000 * ticks["wall_s"] / TICKS,
    }


def main() -> None:
    """Start a provider, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        provider = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "local_provider", "--port", "0", "--latency", "0"],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(provider.terminate)
        url = (provider.stdout.readline() if provider.stdout else "").rpartition(" ")[2].strip()
        LocalProvider(url).settings(answers="cheap", latency_seconds=0)
        found = run(url, Path(folder), arguments.rows)
    if arguments.json:
        print(json.dumps(found))
        return
    for name in ("whole", "changed"):
        side = found[name]
        print(f"{name:8} {side['rows_read']:>9,} rows read  {side['cpu_s']:6.2f} s CPU  {side['wall_s']:6.2f} s")
    print(f"changed / whole: {found['share_of_cpu']:.3f} of the CPU; a tick: {found['tick_ms']:.1f} ms")


if __name__ == "__main__":
    main()
