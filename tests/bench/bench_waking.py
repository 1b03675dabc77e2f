"""How long it takes from a row's commit to the run that takes it up: Postgres, the listener, Dagster's own daemon.

    python -m tests.bench.bench_waking [--changes 30] [--json]

Each change is committed once the one before has landed, after a pause that is drawn at random, so that it meets
Dagster's loops at any moment. The time ends with the run's creation in Dagster's storage.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.conftest import ROOT, LocalProvider
from tests.waking.deployment import waking

LONGEST_PAUSE_S = 10.0


def main() -> None:
    """Start everything, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    draw, took = random.Random(0), list[float]()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        Path(folder).chmod(0o755)
        provider = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "local_provider", "--port", "0", "--latency", "0.1"],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(provider.terminate)
        url = (provider.stdout.readline() if provider.stdout else "").split()[-1]
        deployment = stack.enter_context(waking(Path(folder), LocalProvider(url)))
        for number in range(arguments.changes):
            time.sleep(draw.uniform(0, LONGEST_PAUSE_S))
            known = len(deployment.runs())
            committed = deployment.commit(f"INSERT INTO tickets (body) VALUES ('The app crashed {number} times.')")
            took.append(deployment.woken_after(committed, known=known))
            deployment.settle()
            if not arguments.json:
                print(f"{number + 1:>3} of {arguments.changes}: {took[-1]:5.1f} s", flush=True)
        plans = deployment.plans() - 1
    cuts = statistics.quantiles(took, n=20, method="inclusive")
    found = {
        "changes": len(took),
        "median_s": statistics.median(took),
        "p95_s": cuts[-1],
        "longest_s": max(took),
        "plans": plans,
    }
    if arguments.json:
        print(json.dumps(found))
    else:
        print(
            f"median {found['median_s']:.1f} s, p95 {found['p95_s']:.1f} s, longest {found['longest_s']:.1f} s; plans: {plans}"
        )


if __name__ == "__main__":
    main()
