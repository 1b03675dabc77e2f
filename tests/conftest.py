"""What tests share: the local provider as a process, ledgers on SQLite and Postgres, and a shop that buys from them.

Nothing here patches the product or an SDK. A Postgres that cannot start skips its tests at home, with the reason, and
fails them where CI is set.
"""

import gc
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import psycopg
import pytest
from dagster._core.storage.defs_state import base as defs_state
from pydantic import BaseModel

from offpeak.assets.order import Order, PartitionPlan, Receipt
from offpeak.assets.purchase import begin, purchase, quote
from offpeak.assets.work import Work
from offpeak.clock import SystemClock
from offpeak.lanes.rule import Forced
from offpeak.ledger import queueing
from offpeak.ledger.database import Database
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.migrations import migrate
from offpeak.money import PriceSheet
from offpeak.providers import open_provider
from offpeak.providers.base import Provider
from offpeak.requests import Chat, Request
from offpeak.results.store import ResultStore
from scripts.embedded_postgres import EmbeddedPostgres, PostgresFailed

from .receivers import Mailbox, Webhook, mail_server, webhook_server

LOG = logging.getLogger("offpeak.tests")
ROOT = Path(__file__).parents[1]
MODELS = {"openai": "openai/gpt-5-mini", "anthropic": "anthropic/claude-haiku-5-5"}
EMBEDDING_MODEL = "openai/text-embedding-3-small"
MEMORY = Path("/dev/shm")
ROOM = 2 * 2**30
"""Bytes that have to be free in memory for what tests keep there, three servers or so."""
LATENCY = 0.1
"""Seconds that a batch takes at the local provider, unless a test says otherwise."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell starts what it runs in the background with Ctrl-C ignored, and what tests start would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for garbage only among what tests make.

    Of the million objects that are there once all tests are collected, none becomes garbage; going through them again
    and again took a quarter of the CPU of collecting, and goes on in every test that makes many.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


class Label(BaseModel):
    category: Literal["billing", "bug", "other"]
    urgent: bool


@dataclass
class LocalProvider:
    """The offline provider, and its control over HTTP."""

    url: str

    def call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", data=data, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def tally(self, provider: str) -> dict[str, Any]:
        """What was bought, by the provider's own count."""
        found: dict[str, Any] = self.call("GET", "/local/tally")[provider]
        return found

    def answered(self, *, at_least: int = 1) -> list[dict[str, Any]]:
        """Every distinct request body that was answered at least so often."""
        found: list[dict[str, Any]] = self.call("GET", f"/local/tally/requests?at_least={at_least}")["requests"]
        return found

    def purchases(self) -> list[dict[str, Any]]:
        """Each answer that was billed, in order."""
        found: list[dict[str, Any]] = []
        while True:
            after = found[-1]["id"] if found else 0
            page = self.call("GET", f"/local/tally/purchases?after={after}")
            found += page["purchases"]
            if not page["has_more"]:
                return found

    def batches(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", "/local/batches")["batches"]
        return found

    def fired(self) -> dict[str, int]:
        """How often each fault struck."""
        found: dict[str, int] = self.call("GET", "/local/faults")["fired"]
        return found

    def settings(self, **changes: object) -> None:
        self.call("POST", "/local/settings", changes)

    def fault(self, fault: str, *, batch: str | None = None, **rule: object) -> None:
        """Put a fault in force, for the next request that it fits or for one open batch."""
        path = "/local/faults" if batch is None else f"/local/batches/{batch}/faults"
        self.call("POST", path, {"fault": fault, **rule})

    def heal(self, batch: str) -> None:
        """Take every fault from an open batch, so that it ends."""
        self.call("DELETE", f"/local/batches/{batch}/faults")

    def reset(self) -> None:
        self.call("POST", "/local/reset")
        self.call("DELETE", "/local/settings")
        self.settings(latency_seconds=LATENCY, results_order="shuffled")

    def open(self, name: str, **more: Any) -> Provider:
        """An account at this server."""
        base_url = self.url + ("/v1" if name == "openai" else "")
        return open_provider(name, api_key="key-of-a-test", base_url=base_url, **more)


def until(condition: Callable[[], Any], *, seconds: float = 20, what: str = "it") -> Any:
    """What `condition` returns once that is truthy. Fails after a deadline, which is far beyond what it takes."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.01)
    pytest.fail(f"{what} did not happen within {seconds} s")


@contextmanager
def serving(folder: Path) -> Iterator[LocalProvider]:
    """A local provider of its own that answers cheaply, until the block ends; `folder` is for what it says."""
    config = folder / "config.json"
    config.write_text(json.dumps({"settings": {"answers": "cheap", "latency_seconds": LATENCY}}))
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "local_provider", "--port", "0", "--config", str(config)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("listening on "):
            pytest.fail(f"the local provider did not start: {(folder / 'errors').read_text()}")
        yield LocalProvider(line.removeprefix("listening on ").strip())
    finally:
        stop(process)


@pytest.fixture(autouse=True)
def no_instance_of_a_test_before() -> None:
    """Forget Dagster's current store of definitions' state where its instance is gone.

    Loading an asset's value makes an `InputContext`, and Dagster makes an instance current for that, until the context
    is collected as garbage. When that is late, what was current as it was made is put back, whatever became of it, and
    no definitions load any more in this process.
    """
    storage = defs_state._current_storage.get()
    if storage is not None and (storage._instance_weakref is None or storage._instance_weakref() is None):
        defs_state._current_storage.set(None)


@pytest.fixture(scope="session")
def local_provider_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalProvider]:
    """One local provider for the session; tests take `local_provider`, which is reset."""
    with serving(tmp_path_factory.mktemp("local-provider-server")) as server:
        yield server


def stop(process: "subprocess.Popen[str]") -> None:
    """End a process that a test started."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


@pytest.fixture
def local_provider(local_provider_server: LocalProvider) -> LocalProvider:
    """The local provider, with nothing bought and no fault in force."""
    local_provider_server.reset()
    return local_provider_server


@dataclass(frozen=True)
class Place:
    """Where a ledger is, for this process and others."""

    url: str
    spool: Path
    tables: Path | None = None
    """What a ledger on SQLite begins as, where there is none yet."""

    def open(self) -> Ledger:
        if self.tables is not None:
            lay_tables(Path(self.url.removeprefix("sqlite:///")), self.tables)
        return Ledger.open(self.url, spool_dir=self.spool)


def lay_tables(file: Path, tables: Path) -> None:
    """Put a ledger's empty tables there, unless there is a file already."""
    if not file.exists():
        shutil.copyfile(tables, file)


def migrated(url: str) -> None:
    """Make the tables of a ledger, and no ledger: whoever opens it first gives it its identity, and its home."""
    database = Database(url)
    migrate(database)
    database.checkpoint()
    database.close()


@pytest.fixture(scope="session")
def sqlite_tables(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """The empty tables of a ledger on SQLite: migrating costs a tenth of a second of CPU, and a copy of them nothing.

    A module that tests how a ledger comes about overrides this one and the next with None.
    """
    file = tmp_path_factory.mktemp("tables") / "ledger.db"
    migrated(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def postgres_tables(postgres: str) -> Iterator[str | None]:
    """The same on Postgres, as the name of a database to make others from."""
    with new_database(postgres) as url:
        migrated(url)
        yield url.rpartition("/")[2]


@pytest.fixture
def place(tmp_path: Path, sqlite_tables: Path | None) -> Place:
    """A new ledger's address, on SQLite."""
    return Place(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path / "spool", sqlite_tables)


@pytest.fixture
def ledger(place: Place) -> Iterator[Ledger]:
    """A new ledger, on SQLite."""
    with place.open() as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgres"])
def any_place(request: pytest.FixtureRequest) -> Place:
    """A new ledger's address, on each database in turn."""
    name = "place" if request.param == "sqlite" else "postgres_place"
    found: Place = request.getfixturevalue(name)
    return found


@pytest.fixture
def any_ledger(any_place: Place) -> Iterator[Ledger]:
    """A new ledger, on each database in turn."""
    with any_place.open() as opened:
        yield opened


@contextmanager
def new_database(postgres: str, *, like: str | None = None) -> Iterator[str]:
    """The address of a database on this server, as empty as a new one or as the database `like`, until the block ends.

    It is dropped then: hundreds of them would be 300 files each.
    """
    name = f"of_a_test_{time.monotonic_ns()}"
    given = f" TEMPLATE {like} STRATEGY FILE_COPY" if like else ""
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}{given}")
    yield f"{postgres.replace('postgresql:', 'postgresql+psycopg:')}/{name}"
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_place(postgres: str, postgres_tables: str | None, tmp_path: Path) -> Iterator[Place]:
    """A new ledger's address, in a database of its own on Postgres."""
    with new_database(postgres, like=postgres_tables) as url:
        yield Place(url, tmp_path / "spool")


@contextmanager
def postgres_or_skip(server: EmbeddedPostgres) -> Iterator[None]:
    """A server that is up meanwhile. One that cannot start skips the test, with the reason, or fails it in CI."""
    try:
        try:
            server.start()
        except (OSError, KeyError, PostgresFailed) as error:
            reason = f"Postgres cannot start here: {error}"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        yield
    finally:
        server.stop()


def fleeting_postgres(folder: Path) -> EmbeddedPostgres:
    """A server for tests: small, and quick because a power loss may cost its data."""
    small = ("shared_buffers=16MB", "max_wal_size=256MB")
    return EmbeddedPostgres(folder, free_port(), durable=False, settings=small)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Postgres server that lives as long as the session, without a database name."""
    with in_memory(tmp_path_factory.mktemp("postgres")) as folder:
        server = fleeting_postgres(folder)
        with postgres_or_skip(server):
            yield server.url
        shutil.rmtree(server.folder, ignore_errors=True)


@contextmanager
def in_memory(otherwise: Path) -> Iterator[Path]:
    """A folder that costs no disk; `otherwise` where there is none with room for it.

    Making a database is making 300 files: 0.15 s on a disk, and 0.04 s in memory.
    """
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ROOM:
        yield otherwise
        return
    with tempfile.TemporaryDirectory(prefix="offpeak_tests_", dir=MEMORY, ignore_cleanup_errors=True) as name:
        yield Path(name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """Somebody who is told over HTTP."""
    with webhook_server() as received:
        yield received


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """Somebody who is told by mail."""
    with mail_server(free_port()) as received:
        yield received


class HeldClock:
    """A clock that stands at one moment."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        return self._at

    def sleep(self, duration: timedelta) -> None:
        self._at += duration


class QuickClock(SystemClock):
    """The machine's clock for somebody who looks again at once: what is slept away is over after a moment."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self._ahead

    def jump(self, duration: timedelta) -> None:
        """Have so much time pass at once."""
        self._ahead += duration

    def sleep(self, duration: timedelta) -> None:
        moment = min(duration, timedelta(seconds=0.02))
        time.sleep(moment.total_seconds())
        self._ahead += duration - moment


Rows = Mapping[str, str] | Iterable[Request]


@dataclass
class Shop:
    """Buys from one provider into one ledger, as an asset's run does.

    `rows` are requests, or texts by key. More arguments are those of an Order.
    """

    ledger: Ledger
    provider: Provider
    asset: str = "labels"
    system: str = "Label the ticket."
    output: type[BaseModel] | None = Label
    model: str = ""
    clock: SystemClock = field(default_factory=QuickClock)
    list_lag: timedelta = timedelta(seconds=1)

    def __post_init__(self) -> None:
        self.model = self.model or MODELS[self.provider.name]
        self._rates = PriceSheet.load().rates(self.model, at=datetime.now(UTC))

    def order(self, rows: Rows | None = None, **more: Any) -> Order:
        as_of = more.pop("as_of", None) or datetime.now(UTC)
        partitions: Mapping[str, Rows] = more.pop("partitions", None) or {"": rows if rows is not None else {}}
        system = more.pop("system", self.system)
        plans = [
            PartitionPlan(partition_key=key, as_of=as_of, requests=requests(part, system))
            for key, part in partitions.items()
        ]
        values: dict[str, Any] = {
            "asset": self.asset,
            "model": self.model,
            "output": self.output,
            "code_version": None,
            "valid_for": timedelta(hours=37),
            "deadline": timedelta(hours=12),
            "forced": Forced(lane=Lane.BATCH, by="the shop"),
            "run_id": "run",
        }
        return Order(**values | more, partitions=iter(plans))

    def buy(self, rows: Rows | None = None, **more: Any) -> Receipt:
        return purchase(
            self.order(rows, **more),
            ledger=self.ledger,
            provider=self.provider,
            rates=self._rates,
            clock=self.clock,
            log=LOG,
            list_lag=self.list_lag,
        )

    def begin(self, rows: Rows | None = None, **more: Any) -> int:
        """Plan, and send nothing; the job's number."""
        return begin(self.order(rows, **more), **self._place())

    def leave(self, rows: Rows | None = None, *, asset: str | None = None, **more: Any) -> int:
        """Plan and submit, and leave the batches at the provider, as a run does that is parked; the job's number."""
        asset = asset or self.asset
        job_id = self.begin(rows, asset=asset, **more)
        assert not self.work(job_id, asset=asset).hand_over()
        return job_id

    def collect(self, job_id: int, *, asset: str | None = None) -> Receipt:
        """Wait for a job's batches and close it, as a released run does."""
        work = self.work(job_id, asset=asset or self.asset)
        work.carry_out()
        return work.close()

    def work(self, job_id: int, *, asset: str, **more: Any) -> Work:
        about = {"asset": asset, "model": self.model, "output": self.output, "list_lag": self.list_lag}
        return Work(job_id, **about | self._place() | more)

    def limit(self, model: str | None = None, **limits: int) -> None:
        """Configure what may be enqueued for the shop's model, or another one."""
        name = (model or self.model).partition("/")[2]
        queueing.declare(self.ledger, self.provider.realm, name, queueing.Limits(**limits))

    def _place(self) -> dict[str, Any]:
        return {
            "ledger": self.ledger,
            "provider": self.provider,
            "rates": self._rates,
            "clock": self.clock,
            "log": LOG,
        }

    def quote(self, rows: Rows | None = None, **more: Any) -> Any:
        return quote(
            self.order(rows, **more), ledger=self.ledger, provider=self.provider, rates=self._rates, clock=self.clock
        )

    def frame(self, asset: str | None = None) -> Any:
        return ResultStore(self.ledger).frame(asset or self.asset, partitions=None, output=self.output)

    def summary(self) -> Any:
        return ResultStore(self.ledger).summary(self.asset, None)


def requests(rows: Rows, system: str) -> list[Request]:
    """Texts by key as Chat requests; requests as they are."""
    if isinstance(rows, Mapping):
        return [Chat(key=key, system=system, prompt=text) for key, text in rows.items()]
    return list(rows)


def tickets(count: int, *, start: int = 0) -> dict[str, str]:
    """Texts by key, all different."""
    return {f"T{number:04d}": f"My invoice number {number} is wrong." for number in range(start, start + count)}


@pytest.fixture(params=["openai", "anthropic"])
def provider_name(request: pytest.FixtureRequest) -> str:
    """Each provider's name in turn."""
    return str(request.param)


@pytest.fixture
def open_account(local_provider: LocalProvider) -> Iterator[Callable[..., Provider]]:
    """Opens accounts at the local provider, and closes them after the test."""
    opened: list[Provider] = []

    def account(name: str = "openai", **more: Any) -> Provider:
        opened.append(local_provider.open(name, **more))
        return opened[-1]

    yield account
    for provider in opened:
        provider.close()


@pytest.fixture
def shop(ledger: Ledger, open_account: Callable[..., Provider]) -> Shop:
    """Buys at OpenAI's side of the local provider into a SQLite ledger."""
    return Shop(ledger, open_account())


@pytest.fixture
def any_shop(any_ledger: Ledger, open_account: Callable[..., Provider]) -> Shop:
    """Buys at OpenAI's side of the local provider, into each database in turn."""
    return Shop(any_ledger, open_account())


class Through:
    """A provider of which a test replaces some methods; all else is the real one's.

    A replacement gets the provider behind it as its first argument.
    """

    def __init__(self, inner: Provider, **replaced: Callable[..., Any]) -> None:
        self.inner = inner
        for name, method in replaced.items():
            setattr(self, name, partial(method, inner))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)
