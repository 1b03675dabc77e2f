"""Many schedules, over several processes that each have a local provider of their own."""

import gc
import json
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from offpeak.clock import SystemClock
from offpeak.ledger.database import Database
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.migrations import migrate
from offpeak.ledger.policy import FailurePolicy
from offpeak.providers import open_provider

from ..promises.forking import warm_up
from .actors import MODELS, Actor
from .judge import judge
from .schedule import Schedule
from .stage import RATES, Control, Outcome, Stage, Violation

ROOT = Path(__file__).parents[2]
MEMORY = Path("/dev/shm")
"""Where a commit costs no disk."""
STAMPED = "template.db"


@dataclass
class Report:
    """What many schedules came to."""

    schedules: int = 0
    steps: int = 0
    processes: int = 0
    stopped: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    fired: Counter[str] = field(default_factory=Counter)
    variants: Counter[str] = field(default_factory=Counter)
    trouble: dict[int, list[str]] = field(default_factory=dict)
    """By seed."""

    def add(self, outcome: Outcome) -> None:
        self.schedules += 1
        self.steps += outcome.steps
        self.processes += outcome.processes
        self.stopped += outcome.stopped
        for name in ("killed", "reached", "errors", "fired", "variants"):
            getattr(self, name).update(getattr(outcome, name))
        if outcome.trouble:
            self.trouble[outcome.seed] = outcome.trouble


def run(seeds: Sequence[int], *, processes: int = 1, verbose: bool = False) -> Iterator[Outcome]:
    """Carry out the schedules of these seeds, in any order."""
    logger = logging.getLogger("offpeak")
    logger.addHandler(logging.StreamHandler() if verbose else logging.NullHandler())
    logger.propagate = False
    warm_up()
    gc.freeze()
    signal.signal(signal.SIGTERM, _leave)
    context = multiprocessing.get_context("fork")
    pipes: list[Connection] = []
    workers = []
    for number in range(processes):
        mine, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_run_some, args=(list(seeds[number::processes]), theirs, verbose))
        worker.start()
        theirs.close()
        pipes.append(mine)
        workers.append(worker)
    try:
        while pipes:
            for pipe in wait(pipes):
                assert isinstance(pipe, Connection)
                try:
                    yield pipe.recv()
                except EOFError:
                    pipes.remove(pipe)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _run_some(seeds: list[int], results: Connection, verbose: bool) -> None:
    signal.signal(signal.SIGTERM, _leave)
    with tempfile.TemporaryDirectory(prefix="simulation_", dir=MEMORY if MEMORY.is_dir() else None) as name:
        folder = Path(name)
        template = folder / STAMPED
        database = Database(f"sqlite:///{template}")
        migrate(database)
        database.close()
        with _local_provider(folder) as control:
            _compile_statements(folder / "warm", control)
            for seed in seeds:
                place = folder / str(seed)
                place.mkdir()
                results.send(one(seed, place, template, control, verbose=verbose))
                shutil.rmtree(place)


def _compile_statements(folder: Path, control: Control) -> None:
    """Buy once at each provider in this process: what SQLAlchemy compiles for it, every process forked later has.

    It is a third of the CPU of a short process. Nothing else is left behind: each schedule resets the provider.
    """
    folder.mkdir()
    control.call("POST", "/local/reset")
    control.call("POST", "/local/settings", {"latency_seconds": 0.0})
    for name, model in MODELS.items():
        base_url = control.url + ("/v1" if name == "openai" else "")
        provider = open_provider(name, api_key="key-of-a-test", base_url=base_url)
        with Ledger.open(f"sqlite:///{folder / name}.db", spool_dir=folder / name) as ledger:
            Actor(
                ledger=ledger,
                provider=provider,
                rates=RATES[model],
                clock=SystemClock(),
                structured=True,
                policies={"warm": FailurePolicy()},
                pause=lambda _: None,
                tell=lambda _: None,
                wait=dict,
            ).in_place("warm", "warm", {"key": "a prompt"})
        provider.close()
    shutil.rmtree(folder)


def _leave(*_: object) -> None:
    sys.exit(1)  # and end what was started, and delete what was written


def one(seed: int, place: Path, template: Path, control: Control, *, verbose: bool) -> Outcome:
    """One schedule and its judgement."""
    stage = Stage(Schedule.of(seed), place, template, control, verbose=verbose)
    try:
        stage.play()
        end = 10 * 365 * 24 * 3600.0
        wanted = {asset: stage.schedule.rows_of(asset, end) for asset in stage.schedule.assets}
        bought = control.call("GET", "/local/tally/requests")["requests"]
        batches = control.call("GET", "/local/batches")["batches"]
        stage.outcome.trouble += judge(
            stage.url,
            bought=bought,
            batches=batches,
            wanted=wanted,
            plain=not stage.schedule.structured,
            late=stage.schedule.late,
        )
    except Violation as violation:
        stage.outcome.trouble.append(str(violation))
    except Exception:  # noqa: BLE001 - a schedule that cannot be carried out is trouble, and the others go on
        stage.outcome.trouble.append(traceback.format_exc())
    return stage.outcome


@contextmanager
def _local_provider(folder: Path) -> Iterator[Control]:
    config = folder / "config.json"
    config.write_text(json.dumps({"settings": {"answers": "cheap"}}))
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "local_provider",
            "--port",
            "0",
            "--config",
            str(config),
            "--data",
            str(folder / "data"),
        ],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("OFFPEAK_")},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield Control(process.stdout.readline().split()[-1])
        finally:
            process.terminate()
