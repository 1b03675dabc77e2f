"""What the ledger costs: 50,000 chat requests bought through Offpeak, beside a plain script that keeps no ledger.

    python tests/bench/bench_requests.py [--requests 50000] [--rounds 5] [--json]

Both sides ask the same questions of the same local provider (in its cheap mode, a process of its own), validate every
answer with the same pydantic model, and are measured as CPU seconds and peak memory of one fresh process each, imports
excluded, in turn. The plain script writes Parquet; Offpeak's rows are in its store, ready to be read.
"""

import argparse
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "Label the support ticket: its category (billing, bug, how-to or other) and its urgency (low, normal or high)."
MODEL = "gpt-5-mini"


def plain(url: str, requests: int, folder: Path) -> None:
    """The script that most teams write first."""
    import openai
    import pandas as pd
    import pyarrow  # noqa: F401 - what to_parquet would import
    import pydantic

    class TicketLabel(pydantic.BaseModel):
        category: Literal["billing", "bug", "how-to", "other"]
        urgency: Literal["low", "normal", "high"]

    tickets = source(requests)
    client = openai.OpenAI(api_key="bench", base_url=f"{url}/v1")
    schema = TicketLabel.model_json_schema() | {"additionalProperties": False}

    def run() -> None:
        path = folder / "requests.jsonl"
        with path.open("w") as file:
            for ticket in tickets.itertuples():
                body = {
                    "model": MODEL,
                    "input": [
                        {"role": "system", "content": SYSTEM},
                        {"role": "user", "content": ticket.body},
                    ],
                    "text": {"format": {"type": "json_schema", "name": "label", "strict": True, "schema": schema}},
                }
                line = {"custom_id": ticket.ticket_id, "method": "POST", "url": "/v1/responses", "body": body}
                file.write(json.dumps(line) + "\n")
        with path.open("rb") as file:
            uploaded = client.files.create(file=file, purpose="batch")
        batch = client.batches.create(input_file_id=uploaded.id, endpoint="/v1/responses", completion_window="24h")
        while batch.status not in {"completed", "failed", "expired", "cancelled"}:
            time.sleep(0.5)
            batch = client.batches.retrieve(batch.id)
        rows = []
        for text in client.files.content(batch.output_file_id or "").iter_lines():
            result = json.loads(text)
            body = result["response"]["body"]
            answer = next(
                part["text"] for item in body["output"] if item["type"] == "message" for part in item["content"]
            )
            label = TicketLabel.model_validate_json(answer)
            usage = body["usage"]
            rows.append(
                {
                    "key": result["custom_id"],
                    "category": label.category,
                    "urgency": label.urgency,
                    "model": body["model"],
                    "input_tokens": usage["input_tokens"],
                    "output_tokens": usage["output_tokens"],
                }
            )
        frame = pd.DataFrame(rows)
        frame.to_parquet(folder / "labels.parquet")
        if len(frame) != requests:
            raise SystemExit(f"the plain script got {len(frame)} of {requests} rows")

    measure(run)


def offpeak(url: str, requests: int, folder: Path) -> None:
    """The same purchase through the ledger."""
    from pydantic import BaseModel

    from offpeak.assets.order import UNPARTITIONED, Order, PartitionPlan
    from offpeak.assets.purchase import purchase
    from offpeak.clock import SystemClock
    from offpeak.ledger.ledger import Ledger
    from offpeak.money import PriceSheet
    from offpeak.providers import open_provider
    from offpeak.requests import Chat

    class TicketLabel(BaseModel):
        category: Literal["billing", "bug", "how-to", "other"]
        urgency: Literal["low", "normal", "high"]

    tickets = source(requests)
    clock = SystemClock()
    rates = PriceSheet.load().rates(f"openai/{MODEL}", at=clock.now())  # reads the price data, as an import does
    provider = open_provider("openai", api_key="bench", base_url=f"{url}/v1")  # imports the SDK

    def run() -> None:
        chats = (Chat(key=row.ticket_id, system=SYSTEM, prompt=row.body) for row in tickets.itertuples())
        order = Order(
            asset="ticket_labels",
            model=f"openai/{MODEL}",
            output=TicketLabel,
            code_version=None,
            valid_for=timedelta(hours=37),
            deadline=timedelta(hours=24),
            partitions=[PartitionPlan(partition_key=UNPARTITIONED, as_of=clock.now(), requests=chats)],
            run_id="bench",
        )
        with Ledger.open(f"sqlite:///{folder}/offpeak.db") as ledger:
            receipt = purchase(
                order, ledger=ledger, provider=provider, rates=rates, clock=clock, log=logging.getLogger("bench")
            )
        if receipt.rows != requests or receipt.bought != requests:
            raise SystemExit(f"Offpeak got {receipt.rows} of {requests} rows")

    measure(run)


def source(requests: int) -> Any:
    """Tickets of about 300 characters."""
    import pandas as pd

    filler = "The export of our monthly report stops half way, and the page says that the file is being prepared. " * 3
    numbers = range(requests)
    return pd.DataFrame(
        {
            "ticket_id": [f"T-{n:06d}" for n in numbers],
            "body": [f"Ticket {n} of {n % 97} today. {filler}" for n in numbers],
        }
    )


def measure(run: Callable[[], None]) -> None:
    """Print CPU seconds and the peak of memory above what was resident before, in MB."""
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    began, cpu = time.perf_counter(), time.process_time()
    run()
    print(
        json.dumps(
            {
                "cpu": time.process_time() - cpu,
                "wall": time.perf_counter() - began,
                "megabytes": (_status("VmHWM") - before) / 1024,
            }
        )
    )


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


SIDES = {"plain": plain, "offpeak": offpeak}


def child(side: str, url: str, requests: int) -> dict[str, float]:
    """One measured run in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            __file__,
            "--side",
            side,
            "--url",
            url,
            "--folder",
            folder,
            "--requests",
            str(requests),
        ]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        SIDES[given.side](given.url, given.requests, given.folder)
        return
    command = [sys.executable, "-m", "local_provider", "--port", "0", "--latency", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as provider:
        try:
            url = (provider.stdout.readline() if provider.stdout else "").split()[-1]
            settings = urllib.request.Request(
                f"{url}/local/settings",
                data=json.dumps({"answers": "cheap", "latency_seconds": 0}).encode(),
                headers={"content-type": "application/json"},
                method="POST",
            )
            urllib.request.urlopen(settings).read()
            runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
            for number in range(given.rounds):
                for side in SIDES:
                    found = child(side, url, given.requests)
                    runs[side].append(found)
                    if not given.json:
                        print(f"{number + 1}/{given.rounds} {_line(side, found)}")
        finally:
            provider.terminate()
    report(runs, given.requests, as_json=given.json)


def report(runs: dict[str, list[dict[str, float]]], requests: int, *, as_json: bool) -> None:
    medians = {
        side: {name: statistics.median(run[name] for run in found) for name in found[0]} for side, found in runs.items()
    }
    ratio = statistics.median(
        ours["cpu"] / theirs["cpu"] for ours, theirs in zip(runs["offpeak"], runs["plain"], strict=True)
    )
    if as_json:
        print(json.dumps({"requests": requests, "medians": medians, "cpu_ratio": ratio}))
        return
    print(f"\n{requests:,} requests, median of {len(runs['plain'])}, imports excluded")
    for side, found in medians.items():
        print(f"  {_line(side, found)}")
    print(f"  CPU, offpeak / plain: {ratio:.2f}")


def _line(side: str, found: dict[str, float]) -> str:
    return (
        f"{side:8} {found['cpu']:6.2f} CPU s   {found['wall']:6.1f} s   peak {found['megabytes']:6.1f} MB above imports"
    )


if __name__ == "__main__":
    main()
