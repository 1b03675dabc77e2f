"""What a program is that imports once and forks a process per job: real processes, begun and killed within seconds.

It reads one JSON object a line. A job, which names a file as "out", is carried out by a new process, and {"pid"} is
printed; {"wait": pid} waits for that process and prints {"code"}; {"here": job} carries one out in this process, which
leaves to all later ones what is made once in a process. A process that lives to the end writes what its work returned,
or the error that it raised, to `out`.
"""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from offpeak.clock import EPOCH
from offpeak.errors import OffpeakError
from offpeak.ledger.ledger import Ledger
from offpeak.providers import open_provider
from offpeak.providers.base import Kind

NOWHERE = "http://127.0.0.1:9"
"""Where nothing listens."""
LONGEST_S = 180
"""What takes longer is killed with SIGALRM, and outlives no test."""

Work = Callable[[dict[str, Any]], dict[str, Any]]


def serve(work: Work) -> None:
    """Fork a process for every job, until stdin ends."""
    warm_up()
    for line in sys.stdin:
        job = json.loads(line)
        if "wait" in job:
            _, status = os.waitpid(job["wait"], 0)
            print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)
        elif "here" in job:
            print(json.dumps(work(job["here"])), flush=True)
        elif pid := os.fork():
            print(json.dumps({"pid": pid}), flush=True)
        else:
            signal.alarm(LONGEST_S)
            carry_out(work, job)
            os._exit(0)


def carry_out(work: Work, job: dict[str, Any]) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):  # both are the parent's conversation
        os.dup2(nothing, standard)
    try:
        said = work(job)
    except Exception as error:  # noqa: BLE001 - whatever it is, the test judges it
        said = {"error": type(error).__name__, "message": str(error)}
    out = Path(job["out"])
    out.with_suffix(".part").write_text(json.dumps(said))
    out.with_suffix(".part").rename(out)


def warm_up() -> None:
    """Import what both SDKs and the ledger import at first use, by using them: a child then starts at once."""
    with tempfile.TemporaryDirectory() as folder, suppress(OffpeakError):
        Ledger.open(f"sqlite:///{folder}/ledger.db").close()
        spool = Path(folder) / "spool.jsonl"
        spool.write_text("{}\n")
        for name in ("openai", "anthropic"):
            provider = open_provider(name, api_key="key-of-a-test", base_url=NOWHERE, read_retries=0)
            for attempt in (
                lambda: provider.upload(spool, name="x"),  # noqa: B023 - called within the same turn
                lambda: provider.create(spool, kind=Kind.CHAT, file_id="x", metadata={}),  # noqa: B023
                lambda: provider.retrieve("x"),  # noqa: B023
                lambda: list(provider.batches(since=EPOCH)),  # noqa: B023
            ):
                with suppress(OffpeakError):
                    attempt()
            provider.close()
