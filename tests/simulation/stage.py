"""One schedule, carried out: real processes on one ledger, of which exactly one runs at any time.

A process is forked from this one. It stops at every fault point of the product, before every call to the provider, and
where it sleeps; the stage then says which of them goes on, or kills one with SIGKILL. Time passes only when all sleep.
So a seed gives the same interleaving again, and a killed process has really died: none of its cleaning up ran.
"""

import heapq
import json
import os
import random
import select
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from offpeak import faultpoints
from offpeak.errors import OffpeakError
from offpeak.faultpoints import FaultPoint
from offpeak.ledger.ledger import Ledger
from offpeak.money import PriceSheet
from offpeak.providers import open_provider

from .actors import MODELS, Actor
from .held_time import BEGIN, HeldClock, SharedTime
from .schedule import Schedule, Style

STUCK_S = 90.0
"""Machine seconds within which a process that was told to go on has to stop somewhere: SQLite's own patience is 30."""
MOST_STEPS = 20_000
"""Of a schedule; one that takes more goes round in circles."""
NEXT_ROUND = 60.0
"""Simulated seconds between two rounds of stopping."""

RATES = {model: PriceSheet.load().rates(model, at=datetime.fromtimestamp(BEGIN, UTC)) for model in MODELS.values()}


class Violation(AssertionError):
    """Something that must never happen did."""


class Control:
    """The local provider's control, over one connection that is made anew where the server closed it while idle."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = HTTPConnection(urlsplit(url).netloc, timeout=120)

    def call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body)
        try:
            response = self._ask(method, path, data)
        except ConnectionError:  # it was closed before it brought this request there
            response = self._ask(method, path, data)
        said = response.read()
        if response.status != 200:
            raise Violation(f"the local provider refused {method} {path}: {said.decode()}")
        return json.loads(said)

    def _ask(self, method: str, path: str, data: str | None) -> HTTPResponse:
        try:
            self._connection.request(method, path, data, {"Content-Type": "application/json"})
            return self._connection.getresponse()
        except BaseException:
            self._connection.close()
            raise


@dataclass
class Process:
    """A forked process, as the stage sees it."""

    pid: int
    name: str
    run_id: str
    mortal: bool
    hears: int
    says: int
    buffer: bytes = b""
    ready: bool = True
    """It may go on."""
    wakes: int | None = None
    """When it wants to go on, in microseconds."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """What it is told when it goes on."""

    @property
    def idle(self) -> bool:
        """It waits for being told something."""
        return not self.ready and self.wakes is None


@dataclass
class Outcome:
    """What came of a schedule."""

    seed: int
    steps: int = 0
    processes: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    """By the point at which they died."""
    reached: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    """With which runs ended, by kind."""
    fired: Counter[str] = field(default_factory=Counter)
    variants: Counter[str] = field(default_factory=Counter)
    stopped: int = 0
    trouble: list[str] = field(default_factory=list)
    """What must never happen, and did."""


class Stage:
    """Carries out one schedule in `folder`, at the local provider behind `control`."""

    def __init__(self, schedule: Schedule, folder: Path, template: Path, control: Control, *, verbose: bool) -> None:
        self.schedule, self.outcome = schedule, Outcome(schedule.seed)
        self.url, self.spool = f"sqlite:///{folder / 'ledger.db'}", folder / "spool"
        shutil.copy(template, folder / "ledger.db")
        self._control, self._verbose = control, verbose
        self._draw = random.Random(f"stage {schedule.seed}")
        self._time = SharedTime()
        self._running: list[Process] = []
        self._queue: list[tuple[int, int, Any]] = []
        self._numbers = 0
        self._held: dict[str, str] = {}
        self._ended: dict[str, str] = {}
        self._calm = False
        self._stopping = 0
        self._unseen = False

    # --- the whole of it

    def play(self) -> Outcome:
        try:
            self._open_provider()
            self._disturb()
            self._calm_down()
            self._finish()
            counts = self._control.call("GET", "/local/faults")
            self.outcome.fired.update(counts["fired"])
            self.outcome.variants.update(counts["variants"])
        finally:
            for process in list(self._running):
                self._kill(process)
        return self.outcome

    def _open_provider(self) -> None:
        schedule = self.schedule
        self._control.call("POST", "/local/reset")
        self._control.call(
            "POST", "/local/settings",
            {"latency_seconds": schedule.latency, "answers": "cheap", "results_order": "shuffled"},
        )  # fmt: skip
        self._tell_time()
        self._say(f"{schedule}")

    def _disturb(self) -> None:
        """Everything that the schedule has, until its faults end."""
        schedule = self.schedule
        for at, rule in schedule.rules:
            self._at(at, partial(self._control.call, "POST", "/local/faults", rule))
        for number, run in enumerate(schedule.runs):
            run_id = f"run-{number}"
            method = "in_place" if run.style is Style.IN_PLACE else "parked"
            self._at(run.at, partial(self._launch, method, run_id, run.asset))
            if run.terminated_after is not None:
                self._at(run.at + run.terminated_after, partial(self._terminate, run_id))
        for at in schedule.housekeeping:
            self._at(at, partial(self._fork, "housekeeping", "house", lambda actor: actor.keep_house(schedule.kept)))
        for at, asset in schedule.requeuing:
            self._at(at, partial(self._requeue, asset))
        tick = schedule.tick
        while tick < schedule.heals:
            self._at(tick, self._tick)
            tick += schedule.tick * (1 if tick < schedule.heals / 4 or schedule.heals < 24 * 3600 else 20)
        self._go_on(until=schedule.heals)

    def _calm_down(self) -> None:
        """From now on nothing goes wrong, and what was under way comes to its end."""
        self._calm = True
        self._say("--- calm")
        self._control.call("DELETE", "/local/faults")
        for batch in self._open_batches():
            self._control.call("DELETE", f"/local/batches/{batch['id']}/faults")
        for _ in range(60):
            self._tick()
            self._go_on(until=self._seconds() + max(self.schedule.latency, 600.0))
            if not (self._runs() or self._held or self._stopping):
                for sensor in list(self._running):
                    self._kill(sensor)
                return
        self.outcome.trouble.append(
            f"after the faults ended, these went on and on: {[each.name for each in self._runs()]}, held "
            f"{self._held}, being stopped {self._stopping}"
        )

    def _finish(self) -> None:
        """Materialise every asset once more, alone."""
        rows = {asset: self.schedule.rows_of(asset, self._seconds()) for asset in self.schedule.assets}
        self._fork("the last run", "last", lambda actor: actor.finish(rows))
        self._go_on(until=self._seconds() + 100 * 3600, idle=True)
        how = self._ended.get("last", "goes on and on")
        if how != "ended":
            self.outcome.trouble.append(f"the last run did not end well: {how}")

    # --- time and turns

    def _seconds(self) -> float:
        return self._time.micros / 1e6 - BEGIN

    def _at(self, seconds: float, action: Any) -> None:
        self._numbers += 1
        heapq.heappush(self._queue, (int((BEGIN + seconds) * 1e6), self._numbers, action))

    def _go_on(self, *, until: float, idle: bool = False) -> None:
        """Until nothing is to happen before `until` (seconds from the beginning); `idle`: or until nothing runs."""
        end = int((BEGIN + until) * 1e6)
        while True:
            self.outcome.steps += 1
            if self.outcome.steps > MOST_STEPS:
                raise Violation(f"more than {MOST_STEPS} steps: {[each.name for each in self._running]}")
            ready = [each for each in self._running if each.ready]
            if ready:
                self._step(self._draw.choice(ready))
                continue
            moments = [each.wakes for each in self._running if each.wakes is not None]
            moments += [self._queue[0][0]] if self._queue else []
            if not moments or min(moments) > end:
                if not idle or self._runs():
                    self._pass(max(end, self._time.micros))
                return
            self._pass(max(min(moments), self._time.micros))
            while self._queue and self._queue[0][0] <= self._time.micros:
                heapq.heappop(self._queue)[2]()
            for each in self._running:
                if each.wakes is not None and each.wakes <= self._time.micros:
                    each.wakes, each.ready = None, True

    def _pass(self, micros: int) -> None:
        self._time.micros = micros
        self._tell_time()

    def _tell_time(self) -> None:
        self._control.call("POST", "/local/clock", {"now": self._time.micros / 1e6 + self.schedule.skew})

    def _step(self, process: Process) -> None:
        """Let one process go on to where it stops next."""
        self._time.micros += self._draw.randint(100, 20_000)  # nothing takes no time at all
        os.write(process.hears, json.dumps(process.told).encode() + b"\n")
        process.told = {}
        while True:
            said = self._hear(process)
            if said is None:
                self._reap(process, "died")
                return
            if "sleep" in said:
                usual = max(self.schedule.latency, self.schedule.heals / 50)
                late = self._draw.choice([0.02, 0.1, 0.2, 0.4]) * usual  # a busy machine
                process.wakes = self._time.micros + int((max(said["sleep"], 0.01) + late) * 1e6)
                process.ready = False
                return
            if "wait" in said:
                process.ready = False
                return
            if "at" in said:
                self.outcome.reached[said["at"]] += 1
                self._say(f"{process.name} at {said['at']}")
                if process.mortal and not self._calm and self._fate():
                    self.outcome.killed[said["at"]] += 1
                    self._say(f"KILLED {process.name} at {said['at']}")
                    self._kill(process)
                return
            if "done" in said:
                self._reap(process, said["done"])
                return
            self._told(said)

    def _fate(self) -> bool:
        return self.outcome.killed.total() < self.schedule.kills and self._draw.random() < self.schedule.kill

    def _told(self, said: Mapping[str, Any]) -> None:
        self._say(f"told {said}")
        if "held" in said:
            self._held[said["held"]] = said["asset"]
        elif "release" in said:
            asset = self._held.pop(said["release"], None)
            if asset is not None:
                self._launch("released", said["release"], asset)
        elif "deleted" in said:
            self._held.pop(said["deleted"], None)
        elif "failed" in said:
            self.outcome.errors[said["failed"]] += 1
        elif "stopping" in said:
            self._stopping, self._unseen = said["stopping"], False
        elif "stopped" in said:
            self.outcome.stopped += 1
            left = [
                batch["id"] for batch in self._open_batches()
                if (batch["first_custom_id"] or "").startswith(tuple(said["prefixes"]) or ("?",))
            ]  # fmt: skip
            if left:
                self.outcome.trouble.append(f"job {said['stopped']} was stopped, and {left} are still open")
        elif "crash" in said:
            self.outcome.trouble.append(said["crash"])

    # --- what happens

    def _launch(self, method: str, run_id: str, asset: str) -> None:
        rows = self.schedule.rows_of(asset, self._seconds())
        self._fork(f"{method} {run_id}", run_id, lambda actor: getattr(actor, method)(run_id, asset, rows))

    def _terminate(self, run_id: str) -> None:
        """Somebody terminates a run, or the one that holds its place by now."""
        self._say(f"TERMINATED {run_id}")
        for process in self._running:
            if process.run_id.rstrip("+") == run_id:
                self._kill(process, how="terminated")
                return
        for held in [each for each in self._held if each.rstrip("+") == run_id]:
            del self._held[held]
            self._ended[held], self._unseen = "terminated", True

    def _tick(self) -> None:
        """The sensor looks; where nothing waits and nothing was terminated, there is nothing to see."""
        if not (self._held or self._stopping or self._unseen):
            return
        if not any(each.run_id == "sensor" for each in self._running):
            self._fork("sensor", "sensor", lambda actor: actor.sensor())
        (sensor,) = (each for each in self._running if each.run_id == "sensor")
        if sensor.idle:
            sensor.told, sensor.ready = {"ended": self._ended, "held": list(self._held)}, True
        self._at(self._seconds() + 1.0, self._stop)

    def _requeue(self, asset: str) -> None:
        self._fork(f"requeuing of {asset}", "person", lambda actor: actor.requeue(asset))

    def _stop(self) -> None:
        if self._stopping and not any(each.run_id == "stopper" for each in self._running):
            self._fork("stopper", "stopper", lambda actor: actor.stop())
            self._at(self._seconds() + NEXT_ROUND, self._stop)

    def _runs(self) -> list[Process]:
        """The processes that end by themselves."""
        return [each for each in self._running if each.run_id != "sensor"]

    def _open_batches(self) -> list[dict[str, Any]]:
        found = self._control.call("GET", "/local/batches")["batches"]
        return [batch for batch in found if batch["outcome"] is None]

    # --- processes

    def _fork(self, name: str, run_id: str, play: Any) -> None:
        hears, tells = os.pipe()
        listens, says = os.pipe()
        mortal = run_id != "stopper" or self._draw.random() < 0.5
        pid = os.fork()
        if pid == 0:
            os.close(tells)
            os.close(listens)
            status = 1
            try:
                self._be(play, hears, says)
                status = 0
            finally:
                os._exit(status)
        os.close(hears)
        os.close(says)
        self.outcome.processes += 1
        self._running.append(Process(pid, name, run_id, mortal, tells, listens))
        self._say(f"started {name}")

    def _be(self, play: Any, hears: int, says: int) -> None:
        """The forked process's life."""

        def tell(said: dict[str, Any]) -> None:
            os.write(says, json.dumps(said).encode() + b"\n")

        def hear() -> dict[str, Any]:
            heard = b""
            while not heard.endswith(b"\n"):
                if not (more := os.read(hears, 65_536)):
                    os._exit(1)  # the stage is gone
                heard += more
            found: dict[str, Any] = json.loads(heard)
            return found

        def stop(said: dict[str, Any]) -> dict[str, Any]:
            tell(said)
            return hear()

        def pause(where: str) -> None:
            stop({"at": where})

        def reached(point: FaultPoint) -> None:
            pause(point.value)

        def rest(duration: timedelta) -> None:
            stop({"sleep": duration.total_seconds()})

        def wait() -> dict[str, Any]:
            return stop({"wait": True})

        hear()
        schedule, clock = self.schedule, HeldClock(self._time, rest)
        base_url = self._control.url + ("/v1" if schedule.provider == "openai" else "")
        provider = open_provider(
            schedule.provider, api_key="key-of-a-test", base_url=base_url, max_requests=schedule.chunk, read_retries=0,
            timeout=timedelta(seconds=1 if schedule.slow_network else 60),
        )  # fmt: skip
        _pausing(provider, pause)
        faultpoints.on_reach(reached)
        try:
            with Ledger.open(self.url, spool_dir=self.spool, clock=clock) as ledger:
                rates = RATES[MODELS[schedule.provider]]
                play(Actor(ledger, provider, rates, clock, schedule.structured, schedule.policies, pause, tell, wait))
            tell({"done": "ended"})
        except OffpeakError as error:
            if self._verbose:
                traceback.print_exc()
            tell({"done": type(error).__name__})
        except Exception:  # noqa: BLE001 - the stage tells it as trouble
            tell({"crash": traceback.format_exc()})
            tell({"done": "crashed"})

    def _hear(self, process: Process) -> dict[str, Any] | None:
        """The next thing it says; None when it died without a word."""
        while b"\n" not in process.buffer:
            if not select.select([process.says], [], [], STUCK_S)[0]:
                raise Violation(f"{process.name} does nothing for {STUCK_S:.0f} s: two processes wait for each other")
            more = os.read(process.says, 65_536)
            if not more:
                return None
            process.buffer += more
        line, _, process.buffer = process.buffer.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def _kill(self, process: Process, how: str = "killed") -> None:
        os.kill(process.pid, signal.SIGKILL)
        self._reap(process, how)

    def _reap(self, process: Process, how: str) -> None:
        os.waitpid(process.pid, 0)
        os.close(process.hears)
        os.close(process.says)
        self._running.remove(process)
        self._ended[process.run_id] = how
        self._unseen |= how == "terminated" or process.run_id in {"sensor", "stopper"} or process.run_id.endswith("+")
        self._say(f"{process.name}: {how}")
        if how not in {"ended", "killed", "terminated"}:
            self.outcome.errors[how] += 1

    def _say(self, said: str) -> None:
        if self._verbose:
            print(f"{timedelta(seconds=round(self._seconds()))} {said}", file=sys.stderr, flush=True)


def _pausing(provider: Any, pause: Any) -> None:
    """Have a provider's user stop before each of its calls."""
    for name in ("upload", "create", "retrieve", "cancel", "download", "delete_file"):
        method = getattr(provider, name)

        def stopping(*args: Any, _name: str = name, _method: Any = method, **kwargs: Any) -> Any:
            pause(f"before {_name}")
            return _method(*args, **kwargs)

        setattr(provider, name, stopping)
