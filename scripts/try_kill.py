"""Kill a run with signal 9 while its batch is at the local provider, run again, and ask the provider what it sold.

Edits one ticket of the sample data, so that there is something to buy.
"""

import http.client
import json
import os
import subprocess
import sys
import time
from typing import Any
from urllib.parse import urlsplit

PROVIDER = os.environ.get("OFFPEAK_LOCAL_URL", "http://127.0.0.1:8099")
LAUNCH = ["dg", "launch", "--assets", "ticket_labels"]
PATIENCE_S = 120.0


def ask(method: str, path: str, body: "dict[str, Any] | None" = None) -> Any:
    address = urlsplit(PROVIDER)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    try:
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def batches() -> set[str]:
    return {batch["id"] for batch in ask("GET", "/local/batches")["batches"]}


def created() -> int:
    """How many batches were ever made there; one that was collected is deleted and not listed any more."""
    return sum(int(tally["batches_created"]) for tally in ask("GET", "/local/tally").values())


def main() -> int:
    try:
        before, made_before = batches(), created()
    except OSError:
        print(f"Nothing answers at {PROVIDER}: start `make run` in another terminal first.", file=sys.stderr)
        return 1
    if not os.environ.get("DAGSTER_HOME"):
        print("DAGSTER_HOME is not set: first `. .offpeak/env`.", file=sys.stderr)
        return 1
    text = f"Since this morning ({time.ctime()}) every export ends with error 500."
    subprocess.run([sys.executable, "-m", "resources.sample_data", "edit", "ticket", "T-0002", text], check=True)
    ask("POST", "/local/faults", {"fault": "never_end"})
    try:
        run = subprocess.Popen(LAUNCH, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + PATIENCE_S
        while batches() == before and run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        run.kill()
        run.wait()
    finally:
        ask("DELETE", "/local/faults")
        new = batches() - before
        for batch in new:
            ask("DELETE", f"/local/batches/{batch}/faults")
    if not new:
        print("The run ended before it had submitted a batch; see `offpeak jobs`.", file=sys.stderr)
        return 1
    print(f"Killed with signal 9 while {', '.join(new)} was at the provider. Running again ...", flush=True)
    again = subprocess.run(LAUNCH, check=False, capture_output=True, text=True)
    if again.returncode != 0:
        print(again.stdout + again.stderr, file=sys.stderr)
        return 1
    twice = ask("GET", "/local/tally/requests?at_least=2")["requests"]
    made = created() - made_before
    print(f"Batches made: {made}. Requests that the provider has ever answered twice: {len(twice)}.")
    return 1 if twice or made != 1 else 0


if __name__ == "__main__":
    sys.exit(main())
