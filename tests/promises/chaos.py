"""A storm: Postgres goes down every few seconds and workers are killed at random, while requests go through.

Workers are the production code in processes of their own (see buyer.py). One that dies, or ends with an error because
its database was away where that cannot be waited out, is started again, as somebody materialises again. What is done to
them follows from a seed; when it strikes is up to the machine.
"""

import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice

import psutil

from offpeak.results.store import ResultStore
from scripts.embedded_postgres import EmbeddedPostgres

from ..conftest import LocalProvider, Place, tickets
from .conftest import Forge, Forked

PROVIDERS = ("openai", "anthropic")
ASSETS = 4
"""Of each provider. The first is bought by two workers at once."""
LATENCY_S = 2.0
PACE_S = 0.2
"""How long a waiting worker sleeps between two looks, at most."""
LANDS_WITHIN_S = 120.0
"""After the storm."""
BATCHES = 5
"""That a purchase is sent in."""
EXPECTED = {"LedgerUnavailable", "LedgerUnreadable", "PlanError", "JobFailed"}
"""What a worker may end with: its database was away, or another plan of its asset was; each message says so."""


@dataclass
class Worker:
    """One asset that has to land, and the process that works on it at the moment."""

    asset: str
    provider: str
    rows: dict[str, str]
    rounds: int
    """The asset grows to its rows in so many purchases, one after the other."""
    landed: int = 0
    process: Forked | None = None

    @property
    def done(self) -> bool:
        return self.landed == self.rounds

    def wanted(self) -> dict[str, str]:
        """The rows of the purchase that is due."""
        return dict(islice(self.rows.items(), len(self.rows) * (self.landed + 1) // self.rounds))

    def zombie(self) -> bool:
        """Whether its process ended in a way that leaves no report."""
        assert self.process is not None
        return psutil.Process(self.process.pid).status() == psutil.STATUS_ZOMBIE and not self.process.out.exists()


@dataclass
class Storm:
    """What was done, and what came of it."""

    seed: int
    restarts: int = 0
    kills: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    """Errors that workers ended with, by name."""
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: Postgres down {self.restarts} times, {self.kills} workers killed, "
            f"errors {dict(self.errors)}, {self.seconds:.0f} s"
        )


def workers(requests: int, *, rounds: int) -> list[Worker]:
    """Workers that want `requests` different requests in all."""
    each = requests // (len(PROVIDERS) * ASSETS)
    found = []
    for provider in PROVIDERS:
        for number in range(ASSETS):
            rows = {key: f"{provider} {number}: {text}" for key, text in tickets(each).items()}
            found += [Worker(f"{provider}_{number}", provider, rows, rounds) for _ in range(2 if number == 0 else 1)]
    return found


def rage(
    crew: list[Worker],
    forge: Forge,
    place: Place,
    local_provider: LocalProvider,
    server: EmbeddedPostgres,
    *,
    restart_every_s: tuple[float, float],
    kill_every_s: tuple[float, float],
    calm_after_s: float,
    lost_replies: int,
) -> Storm:
    """Until every worker's asset has landed; after a while they are left in peace. CHAOS_SEED repeats a storm.

    Of each provider's creates, `lost_replies` are accepted and never answered, after a second for the storm to strike.
    """
    storm = Storm(int(os.environ.get("CHAOS_SEED") or random.randrange(1 << 32)))
    print(f"seed {storm.seed}")
    chance = random.Random(storm.seed)
    local_provider.settings(latency_seconds=LATENCY_S)
    for provider in PROVIDERS:
        local_provider.fault("ghost_hang", match={"provider": provider}, times=lost_replies, seconds=1.0)
    began = time.monotonic()
    next_restart, next_kill = began + chance.uniform(*restart_every_s), began + chance.uniform(*kill_every_s)
    try:
        while not all(worker.done for worker in crew):
            now = time.monotonic()
            assert now - began < calm_after_s + LANDS_WITHIN_S, f"not everything has landed: {storm}"
            for worker in crew:
                _keep_going(worker, storm, forge, place, local_provider)
            stormy = now - began < calm_after_s
            if stormy and now >= next_kill:
                _kill_one([worker for worker in crew if worker.process is not None], storm, chance)
                next_kill = now + chance.uniform(*kill_every_s)
            if stormy and now >= next_restart:
                server.stop(signal.SIGQUIT)
                server.start()
                storm.restarts += 1
                next_restart = time.monotonic() + chance.uniform(*restart_every_s)
            time.sleep(0.02)
    finally:
        for worker in crew:
            if worker.process is not None:
                worker.process.kill()
                worker.process.wait()
        storm.seconds = time.monotonic() - began
        print(storm)
    return storm


def _keep_going(worker: Worker, storm: Storm, forge: Forge, place: Place, local_provider: LocalProvider) -> None:
    if worker.process is not None and worker.process.out.exists():
        said, worker.process = worker.process.said(), None
        if "error" in said:
            storm.errors[said["error"]] += 1
            assert said["error"] in EXPECTED, (said, storm)
        else:
            worker.landed += 1
    elif worker.process is not None and worker.zombie():
        worker.process.wait()
        worker.process = None
    if worker.process is None and not worker.done:
        limits = {"max_requests": -(-len(worker.rows) // worker.rounds // BATCHES)}
        worker.process = forge.start(
            place, local_provider, worker.provider, rows=worker.wanted(), asset=worker.asset, limits=limits, pace=PACE_S
        )


def _kill_one(alive: list[Worker], storm: Storm, chance: random.Random) -> None:
    if not alive:
        return
    worker = chance.choice(alive)
    assert worker.process is not None
    if not worker.process.out.exists():
        worker.process.kill()
        worker.process.wait()
        worker.process = None
        storm.kills += 1


def judge(crew: list[Worker], place: Place, local_provider: LocalProvider, storm: Storm) -> None:
    """By the provider's own account nothing was bought twice, and every key of every asset has its row."""
    wanted = {worker.asset: worker for worker in crew}
    for provider in PROVIDERS:
        requests = sum(len(worker.rows) for worker in wanted.values() if worker.provider == provider)
        assert local_provider.tally(provider)["answers_delivered"] == requests, storm
    assert local_provider.answered(at_least=2) == [], storm
    from .buyer import Verdict

    with place.open() as ledger:
        for asset, worker in wanted.items():
            frame = ResultStore(ledger).frame(asset, partitions=None, output=Verdict)
            assert sorted(frame["key"]) == sorted(worker.rows), f"{asset}: {storm}"
