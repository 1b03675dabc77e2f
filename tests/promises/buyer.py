"""A program whose children buy, and die where they are told to.

A job (see forking.py) is a purchase, and what comes of it a receipt:

    {"url", "spool", "provider", "base_url", "rows", "out", "asset", "kill_at", "die_at", "limits", "hold", "list_lag",
     "pace", "stop", "sample", "lane", "queue", "room", "room_once_planned", "rescue", "budget"}

The product is not patched: the Provider passed to it is wrapped, as are the rows and the progress report, which all
belong to the caller. `kill_at` is one of KILLS, `die_at` a point of the product's own (`offpeak.faultpoints`); the
process sends SIGKILL to itself there. With `stop` what is bought is stopped again. `sample` are the arguments of one.
`queue` are those of a QueuePolicy, `room` those of the limits that are in force, from the beginning or `once_planned`.
`rescue` has the seconds until the deadline, for the margin and for cancelling, and what may be paid twice, in dollars.
`budget` are the arguments of one.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from logging import getLogger
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from offpeak.assets.order import Order, PartitionPlan
from offpeak.assets.purchase import begin, purchase
from offpeak.assets.rescued import AtDeadline
from offpeak.assets.work import Progress, Work
from offpeak.clock import SystemClock
from offpeak.faultpoints import FaultPoint, on_reach
from offpeak.lanes.rescue import TERMS, RescueTerms
from offpeak.lanes.rule import Forced
from offpeak.ledger import jobs, limits_seen, queueing
from offpeak.ledger.deadline import OnUnresolved
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.sampling import Sample
from offpeak.ledger.states import JobState
from offpeak.money import PriceSheet
from offpeak.money.budget import Budget, declared_budget
from offpeak.providers import open_provider
from offpeak.providers.base import BatchView, Encode, Kind, Provider, ResultLine
from offpeak.providers.realtime import Caller, Measure
from offpeak.queue.policy import DELAY, QueuePolicy
from offpeak.requests import Chat

from .forking import serve

KILLS = (
    "planning",
    "before upload",
    "after upload",
    "before create",
    "after create",
    "second create",
    "waiting",
    "downloading",
    "downloaded",
    "applying",
    "applied",
)
MODELS = {"openai": "openai/gpt-5-mini", "anthropic": "anthropic/claude-haiku-5-5"}
RATES = {model: PriceSheet.load().rates(model, at=datetime.now(UTC)) for model in MODELS.values()}


class Verdict(BaseModel):
    urgent: bool


class Impatient(SystemClock):
    def __init__(self, pace: float = 0.02) -> None:
        self._pace = pace

    def sleep(self, duration: timedelta) -> None:
        time.sleep(min(duration.total_seconds(), self._pace))


def doom(point: str | None, once_planned: Callable[[], None]) -> Callable[[FaultPoint], None]:
    """Dies at a point of the product's own."""

    def reached(here: FaultPoint) -> None:
        if here is FaultPoint.JOB_QUEUED:
            once_planned()
        if here == point:
            die()

    return reached


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Mortal(Provider):
    """A provider whose user dies at one point. `hold` is a file that has to appear before a create is sent."""

    def __init__(self, inner: Provider, kill_at: str | None, lines: int, hold: Path | None) -> None:
        self._inner, self._kill_at, self._hold = inner, kill_at, hold
        self._lines, self._written, self._creates = lines, 0, 0
        self.name, self.realm, self.limits, self.spooling = inner.name, inner.realm, inner.limits, inner.spooling
        self.caches_what_it_is_told = inner.caches_what_it_is_told

    def _reach(self, point: str) -> None:
        if self._kill_at == point:
            die()

    def endpoint(self, kind: Kind) -> str:
        return self._inner.endpoint(kind)

    def encoder(
        self, *, kind: Kind, model: str, output: type[BaseModel] | None, writes_charged: bool = False
    ) -> Encode:
        return self._inner.encoder(kind=kind, model=model, output=output, writes_charged=writes_charged)

    def line(self, *, kind: Kind, custom_id: str, body: bytes) -> bytes:
        self._written += 1
        if self._written == self._lines:
            self._reach("planning")
        return self._inner.line(kind=kind, custom_id=custom_id, body=body)

    def upload(self, spool: Path, *, name: str) -> str | None:
        self._reach("before upload")
        file_id = self._inner.upload(spool, name=name)
        self._reach("after upload")
        return file_id

    def create(self, spool: Path, *, kind: Kind, file_id: str | None, metadata: Mapping[str, str]) -> BatchView:
        self._creates += 1
        self._reach("before create")
        if self._creates == 2:
            self._reach("second create")
        if self._hold is not None:
            self._hold.with_suffix(".reached").touch()
            _wait_for(self._hold)
        batch = self._inner.create(spool, kind=kind, file_id=file_id, metadata=metadata)
        self._reach("after create")
        return batch

    def retrieve(self, batch_id: str) -> BatchView | None:
        self._reach("waiting")
        return self._inner.retrieve(batch_id)

    def batches(self, *, since: datetime) -> Iterator[BatchView]:
        return self._inner.batches(since=since)

    def cancel(self, batch_id: str) -> None:
        self._inner.cancel(batch_id)

    def download(self, batch: BatchView, to: Path) -> None:
        self._inner.download(batch, to)
        if self._kill_at == "downloading":
            os.truncate(to, to.stat().st_size // 2)
            die()

    def results(self, path: Path, *, kind: Kind) -> Iterator[ResultLine]:
        self._reach("downloaded")
        for number, line in enumerate(self._inner.results(path, kind=kind), 1):
            yield line
            if number == self._lines - 1:
                self._reach("applying")

    def delete_file(self, file_id: str) -> None:
        self._inner.delete_file(file_id)

    def delete_batch(self, batch: BatchView) -> None:
        self._inner.delete_batch(batch)

    def files(self, *, prefix: str) -> Iterator[tuple[str, str]]:
        return self._inner.files(prefix=prefix)

    def caller(self) -> Caller:
        return self._inner.caller()

    def close(self) -> None:
        self._inner.close()


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody made {path.name}")
        time.sleep(0.01)


def buy(job: dict[str, Any]) -> dict[str, Any]:
    """What became of one purchase."""
    rows: dict[str, str] = job["rows"]
    kill_at, out = job.get("kill_at"), Path(job["out"])
    hold = Path(job["hold"]) if job.get("hold") else None
    model = MODELS[job["provider"]]
    inner = open_provider(job["provider"], api_key="key-of-a-test", base_url=job["base_url"], **job.get("limits") or {})
    provider = Mortal(inner, kill_at, len(rows), hold)
    ticks = 0

    def report(progress: Progress) -> None:
        nonlocal ticks
        ticks += 1
        out.with_suffix(".ticks").write_text(str(ticks))
        if kill_at == "applied" and progress.applied == progress.batches:
            die()

    with Ledger.open(job["url"], spool_dir=Path(job["spool"])) as ledger:

        def limit(name: str) -> None:
            if name in job:
                queueing.declare(ledger, provider.realm, model.partition("/")[2], queueing.Limits(**job[name]))

        limit("room")
        on_reach(doom(job.get("die_at"), lambda: limit("room_once_planned")))
        rescue, terms = job.get("rescue"), TERMS
        if rescue:
            limits_seen.remember(
                ledger, realm=inner.realm, model=model.partition("/")[2], limits={Measure.REQUESTS: 6_000}
            )
            margin, bound = (timedelta(seconds=rescue[name]) for name in ("margin", "cancel_bound"))
            terms = RescueTerms(margin=margin, cancel_bound=bound)
        order = Order(
            asset=job.get("asset", "labels"),
            model=model,
            output=Verdict,
            code_version=None,
            valid_for=timedelta(hours=37),
            deadline=timedelta(seconds=rescue["deadline"]) if rescue else timedelta(hours=24),
            rescue=terms,
            partitions=iter(
                [
                    PartitionPlan(
                        partition_key="",
                        as_of=datetime.now(UTC),
                        requests=[Chat(key=key, prompt=text) for key, text in rows.items()],
                    )
                ]
            ),
            run_id=f"run-{os.getpid()}",
            sample=Sample(**job["sample"]) if job.get("sample") else None,
            forced=Forced(lane=Lane(job.get("lane", "batch")), by="the buyer"),
            queue=QueuePolicy(**job["queue"]) if job.get("queue") else DELAY,
            budget=declared_budget("labels", Budget(**job["budget"])) if job.get("budget") else None,
        )
        named = {
            "ledger": ledger,
            "provider": provider,
            "rates": RATES[model],
            "clock": Impatient(job.get("pace", 0.02)),
            "log": getLogger("buyer"),
        }
        lag = timedelta(seconds=job.get("list_lag", 1))
        if job.get("stop"):
            return stop(order, named, lag)
        twice = Decimal((rescue or {}).get("pay_twice", 0))
        at_deadline = AtDeadline(
            terms=terms, pay_twice=twice, on_unresolved=OnUnresolved.PAY_TWICE if twice else OnUnresolved.WAIT
        )
        receipt = purchase(order, **named, progress=report, list_lag=lag, at_deadline=at_deadline)
    return {
        "rows": receipt.rows,
        "bought": receipt.bought,
        "joined": receipt.joined,
        "reused": receipt.reused,
        "failed": receipt.failed,
        "degraded": receipt.degraded,
        "rescued": receipt.rescued,
        "cost": str(receipt.cost),
        "possibly_paid_twice": receipt.possibly_paid_twice,
        "batch_ids": list(receipt.batch_ids),
        "dagster": "dagster" in sys.modules,
    }


def stop(order: Order, named: dict[str, Any], list_lag: timedelta) -> dict[str, Any]:
    """Submit, and stop it again, as terminating a run does."""
    job_id = begin(order, **named)
    work = Work(job_id, asset=order.asset, model=order.model, output=Verdict, list_lag=list_lag, **named)
    work.hand_over(patience=timedelta(seconds=1))
    if not work.wind_down(patience=timedelta(seconds=30)):
        raise TimeoutError("what was cancelled does not end")
    jobs.close(named["ledger"], job_id, JobState.CANCELLED, why="stopped")
    return {}


if __name__ == "__main__":
    serve(buy)
