"""A database that goes away in the middle of a purchase: what waits goes on, what was bought is not bought again."""

import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from offpeak.errors import JobFailed, LedgerUnavailable, LedgerUnreadable, OutcomeUnknown
from offpeak.ledger import tables
from offpeak.ledger.ledger import Ledger
from offpeak.providers.base import BatchView, Provider
from scripts.embedded_postgres import EmbeddedPostgres

from ...conftest import (
    LocalProvider,
    Place,
    QuickClock,
    Shop,
    Through,
    fleeting_postgres,
    postgres_or_skip,
    requests,
    tickets,
)

ROWS = tickets(5)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server that the tests of this file take down."""
    made = fleeting_postgres(tmp_path_factory.mktemp("away"))
    with postgres_or_skip(made):
        yield made


@pytest.fixture
def server(running: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    yield running
    if not running.alive:
        running.start()


@pytest.fixture
def own_ledger(server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Ledger]:
    name = f"away_{abs(hash(tmp_path))}"
    server.provide(name)
    with Place(f"{server.url.replace('postgresql:', 'postgresql+psycopg:')}/{name}", tmp_path / "spool").open() as made:
        yield made


class Weather(QuickClock):
    """A clock by whose naps the server goes down and comes back; a nap may be longer than it takes."""

    def __init__(
        self,
        server: EmbeddedPostgres,
        *,
        down: int | None,
        up: int | None,
        nap: timedelta | None = None,
        then: Callable[[], None] | None = None,
    ):
        super().__init__()
        self._server, self._down, self._up, self._nap, self._then = server, down, up, nap, then
        self.naps = 0

    def sleep(self, duration: timedelta) -> None:
        super().sleep(duration)
        self.naps += 1
        self._ahead += self._nap or timedelta(0)
        if self.naps == self._down:
            self._server.stop(signal.SIGQUIT)
        if self.naps == self._up:
            self._server.start()
            if self._then is not None:
                self._then()


def why_created(ledger: Ledger) -> list[str]:
    event = tables.event
    query = sa.select(event.c.why).where(event.c.subject == "submission", event.c.state == "created")
    with ledger.database.read() as connection:
        return list(connection.execute(query).scalars())


def sold(local_provider: LocalProvider, name: str) -> tuple[int, int]:
    """Batches and answers, by the provider's tally."""
    assert local_provider.answered(at_least=2) == []
    tally = local_provider.tally(name)
    return tally["batches_created"], tally["answers_delivered"]


def test_a_run_that_waits_outlives_a_restart_of_its_database(
    server: EmbeddedPostgres,
    own_ledger: Ledger,
    open_account: Callable[..., Provider],
    local_provider: LocalProvider,
    provider_name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    local_provider.fault("never_end")
    weather = Weather(server, down=2, up=6, then=lambda: local_provider.heal(local_provider.batches()[0]["id"]))
    receipt = Shop(own_ledger, open_account(provider_name), clock=weather).buy(ROWS)

    assert (receipt.rows, receipt.bought, receipt.failed) == (5, 5, 0)
    assert weather.naps >= 6
    assert sold(local_provider, provider_name) == (1, 5)
    assert "is away" in caplog.text
    assert "its ledger could not be used for" in caplog.text


def test_the_id_of_a_batch_is_kept_until_the_database_can_take_it(
    server: EmbeddedPostgres,
    own_ledger: Ledger,
    open_account: Callable[..., Provider],
    local_provider: LocalProvider,
    provider_name: str,
) -> None:
    def create(inner: Provider, *arguments: Any, **more: Any) -> BatchView:
        batch = inner.create(*arguments, **more)
        server.stop(signal.SIGQUIT)
        return batch

    account: Any = Through(open_account(provider_name), create=create)
    # Every nap is longer than a batch may be missing from the list: without its id this one would count as absent.
    weather = Weather(server, down=None, up=2, nap=timedelta(minutes=2))
    receipt = Shop(own_ledger, account, clock=weather).buy(ROWS)

    assert receipt.rows == 5
    assert sold(local_provider, provider_name) == (1, 5)
    assert why_created(own_ledger) == [f"batch {receipt.batch_ids[0]}"]


def test_a_run_that_knows_neither_whether_it_bought_nor_can_say_so_ends(
    server: EmbeddedPostgres,
    own_ledger: Ledger,
    open_account: Callable[..., Provider],
    local_provider: LocalProvider,
    provider_name: str,
) -> None:
    def create(inner: Provider, *arguments: Any, **more: Any) -> BatchView:
        inner.create(*arguments, **more)
        server.stop(signal.SIGQUIT)
        raise OutcomeUnknown("The reply was lost.")

    account = open_account(provider_name)
    lost: Any = Through(account, create=create)
    with pytest.raises(JobFailed, match=r"The reply was lost\. That could not be written down either: .* is away"):
        Shop(own_ledger, lost).buy(ROWS)

    server.start()
    assert Shop(own_ledger, account).buy(ROWS).rows == 5
    assert sold(local_provider, provider_name) == (1, 5)


def test_a_database_that_stays_away_fails_the_run_and_loses_nothing(
    server: EmbeddedPostgres, own_ledger: Ledger, open_account: Callable[..., Provider], local_provider: LocalProvider
) -> None:
    local_provider.settings(latency_seconds=1.0)
    weather = Weather(server, down=1, up=None, nap=timedelta(minutes=25))
    with pytest.raises(LedgerUnavailable, match="is away"):
        Shop(own_ledger, open_account(), clock=weather).buy(ROWS)
    assert weather.naps == 1 + 3

    server.start()
    receipt = Shop(own_ledger, open_account()).buy(ROWS)
    assert (receipt.rows, receipt.bought) == (5, 0)
    assert sold(local_provider, "openai") == (1, 5)


def test_a_plan_that_loses_its_database_sends_nothing_and_can_be_made_again(
    server: EmbeddedPostgres, own_ledger: Ledger, open_account: Callable[..., Provider], local_provider: LocalProvider
) -> None:
    shop = Shop(own_ledger, open_account())

    def rows() -> Iterator[Any]:
        yield from requests(ROWS, shop.system)
        server.stop(signal.SIGQUIT)

    with pytest.raises(LedgerUnavailable, match=r"is away .* materialise again"):
        shop.buy(rows())
    assert sold(local_provider, "openai") == (0, 0)

    server.start()
    assert shop.buy(ROWS).rows == 5
    assert sold(local_provider, "openai") == (1, 5)


def test_a_database_that_is_away_at_the_start_is_no_empty_ledger(
    server: EmbeddedPostgres, own_ledger: Ledger, tmp_path: Path
) -> None:
    server.stop()
    url = own_ledger.database.url.render_as_string(hide_password=False)
    with pytest.raises(LedgerUnreadable, match="cannot be reached or read") as caught:
        Ledger.open(url, spool_dir=tmp_path / "spool")
    assert str(own_ledger.database.url.password) not in str(caught.value)


def test_a_run_that_is_to_be_parked_outlives_a_restart_while_it_submits(
    server: EmbeddedPostgres, own_ledger: Ledger, open_account: Callable[..., Provider], local_provider: LocalProvider
) -> None:
    def upload(inner: Provider, *arguments: Any, **more: Any) -> str | None:
        del account.upload  # the next one is the provider's own
        server.stop(signal.SIGQUIT)
        return inner.upload(*arguments, **more)

    local_provider.settings(latency_seconds=3600)
    account: Any = Through(open_account(), upload=upload)
    shop = Shop(own_ledger, account, clock=Weather(server, down=None, up=2))
    job_id = shop.begin(ROWS)
    assert not shop.work(job_id, asset="labels").hand_over()
    assert len(local_provider.batches()) == 1
