"""How much of a provider's limits the background lane uses: requests a minute done, over requests a minute allowed.

    python -m tests.bench.bench_background [--requests 5000] [--per-minute 6000] [--json]

A local provider of this run's own answers cheaply after 0.3 s, and holds its limit by the second, as strictly as any
provider may. Each case is a purchase into a SQLite ledger of its own, with every call written down and every
answer committed. The ratio is what counts; refusals are calls that the provider would not take.

    requests   OpenAI, where requests a minute are what is short
    tokens     OpenAI, where tokens a minute are
    anthropic  Anthropic, where requests a minute are, with limits on tokens beside them
"""

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from offpeak.clock import SystemClock
from offpeak.lanes.rule import Forced
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from tests.conftest import LocalProvider, Shop, serving, tickets

PROMPT_TOKENS = 73
"""What the local provider lets one of these requests count for: its prompt, and 15 where no maximum is named."""


def cases(per_minute: int) -> dict[str, tuple[str, Mapping[str, int]]]:
    """By name: the provider, and its limits."""
    return {
        "requests": ("openai", {"openai_requests_per_minute": per_minute}),
        "tokens": (
            "openai",
            {"openai_tokens_per_minute": per_minute * PROMPT_TOKENS, "openai_requests_per_minute": 10 * per_minute},
        ),
        "anthropic": (
            "anthropic",
            {
                "anthropic_requests_per_minute": per_minute,
                "anthropic_input_tokens_per_minute": per_minute * 200,
                "anthropic_output_tokens_per_minute": per_minute * 200,
            },
        ),
    }


def bench(
    server: LocalProvider, provider: str, limits: Mapping[str, int], *, requests: int, per_minute: int
) -> dict[str, Any]:
    """One purchase, and what it made of the limits."""
    server.reset()
    server.settings(rate_limit_burst_seconds=1, realtime_latency_seconds=0.3, **limits)
    with (
        tempfile.TemporaryDirectory() as folder,
        Ledger.open(f"sqlite:///{folder}/ledger.db") as ledger,
    ):
        account = server.open(provider)
        shop = Shop(ledger, account, clock=SystemClock())
        job_id = shop.begin(tickets(requests), forced=Forced(lane=Lane.BACKGROUND, by="the benchmark"))
        began, cpu = time.monotonic(), time.process_time()
        receipt = shop.collect(job_id)
        wall, cpu = time.monotonic() - began, time.process_time() - cpu
        account.close()
    tally = server.tally(provider)
    assert receipt.rows == requests == tally["realtime_answers"]
    return {
        "requests": requests,
        "wall_seconds": round(wall, 1),
        "of_the_allowed_rate": round(requests / wall * 60 / per_minute, 3),
        "refused_share": round(tally["realtime_refused"] / tally["realtime_calls"], 4),
        "most_in_flight": tally["realtime_most_in_flight"],
        "cpu_ms_a_request": round(1_000 * cpu / requests, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=5_000)
    parser.add_argument("--per-minute", type=int, default=6_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    found = {}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        for name, (provider, limits) in cases(given.per_minute).items():
            found[name] = bench(server, provider, limits, requests=given.requests, per_minute=given.per_minute)
            if not given.json:
                print(f"{name:>10}  " + "  ".join(f"{what} {figure:,}" for what, figure in found[name].items()))
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
