"""A program whose children carry out runs that are parked, and die where they are told to.

A job (see forking.py) is a run of the definitions below, which the test has created, or some steps of it; without a run
it is a tick of their sensor:

    {"home", "url", "spool", "provider_url", "run_id", "out", "steps", "die_at", "meet"}

`die_at` is one of POINTS, or a point of the product's own (`offpeak.faultpoints`), and for the how many-th time it is
reached; the process sends SIGKILL to itself there. `meet`
is a number: with so many others, it goes on from "queued" at the same moment. Nothing is patched: the interpreter tells
which function was entered or left.
"""

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import dagster as dg
from dagster._core.execution.api import create_execution_plan, execute_plan

from offpeak import BatchApi, OffpeakResults
from offpeak.faultpoints import FaultPoint, on_reach
from offpeak.ledger.ledger import Ledger

from ..dagster.code_location import CodeLocation, job_of
from ..dagster.parked_assets import labels, view
from .forking import serve

POINTS = {
    "planned": ("return", "begin_submitting"),
    "submitted": ("return", "Work.hand_over"),
    "written down": ("return", "intend"),
    "created": ("call", "QueuedRunCoordinator.submit_run"),
    "queued": ("return", "QueuedRunCoordinator.submit_run"),
    "held": ("return", "hold"),
    "deleted": ("return", "DagsterInstance.delete_run"),
    "parked": ("return", "park"),
    # of a tick
    "released": ("return", "release"),
    "cancelled": ("return", "QueuedRunCoordinator.cancel_run"),
    "stopping": ("return", "_Tick._stop"),
    "stopping unparked": ("return", "stop_unparked"),
}
"""The function that is entered or left then. One is deleted where two parents park."""
ROWS = 2


def location_at(
    *, url: str, spool: Path, provider_url: str, instance: dg.DagsterInstance, ledger: Ledger
) -> CodeLocation:
    """Two batch assets and an asset that reads both."""
    api = BatchApi(
        openai_api_key="local",
        openai_base_url=f"{provider_url}/v1",
        anthropic_api_key="local",
        anthropic_base_url=provider_url,
    )
    definitions = dg.Definitions(
        assets=[
            labels("left", rows=ROWS),
            labels("right", rows=ROWS, provider="anthropic"),
            view("joined", "left", "right"),
        ],
        resources={"batch_api": api, "offpeak_results": OffpeakResults(database_url=url, spool_dir=str(spool))},
        executor=dg.in_process_executor,
    )
    return CodeLocation(definitions, instance, ledger)


class Watch:
    """Follows which of the functions of POINTS are entered and left."""

    def __init__(self, out: Path, die_at: tuple[str, int] | None, meet: int) -> None:
        self._out, self._meet = out, meet
        self._point, self._times = die_at or ("", 0)
        self._deadly = POINTS.get(self._point)
        self._names = {name for _, name in POINTS.values()}

    def __call__(self, frame: FrameType, event: str, argument: object) -> "Watch | None":
        if frame.f_code.co_qualname not in self._names:
            return None
        frame.f_trace_lines = False
        found = (event, frame.f_code.co_qualname)
        if found == self._deadly:
            self._count_down()
        if self._meet and found == POINTS["queued"]:
            self._out.with_suffix(".met").touch()
            deadline = time.monotonic() + 30
            while len(list(self._out.parent.glob("*.met"))) < self._meet and time.monotonic() < deadline:
                time.sleep(0.01)
            self._meet = 0
        return self

    def reached(self, point: FaultPoint) -> None:
        """The product came by one of its own points."""
        if point == self._point:
            self._count_down()

    def _count_down(self) -> None:
        self._times -= 1
        if self._times == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def carry_out(job: dict[str, Any]) -> dict[str, Any]:
    """What became of the run, or of the steps."""
    die_at = tuple(job["die_at"]) if job.get("die_at") else None
    url, spool = job["url"], Path(job["spool"])
    with dg.DagsterInstance.from_config(job["home"]) as instance, Ledger.open(url, spool_dir=spool) as ledger:
        here = location_at(url=url, spool=spool, provider_url=job["provider_url"], instance=instance, ledger=ledger)
        run = instance.get_run_by_id(job.get("run_id", ""))
        watch = Watch(Path(job["out"]), die_at, job.get("meet", 0))
        on_reach(watch.reached)
        sys.settrace(watch)
        try:
            if run is None:
                said = here.tick().skip_message
            elif job.get("steps"):
                said = step(here, run, job["steps"])
            else:
                said = here.start(run)
        finally:
            sys.settrace(None)
        return {"said": said}


def step(here: CodeLocation, run: dg.DagsterRun, steps: list[str]) -> None:
    """Some steps of a run, as an executor with a process for each has them carried out."""
    job = job_of(here.repository, run.job_name).get_subset(asset_selection=run.asset_selection)
    plan = create_execution_plan(job, run_config=run.run_config, step_keys_to_execute=steps)
    execute_plan(plan, job, here.instance, run, run_config=run.run_config)


if __name__ == "__main__":
    serve(carry_out)
