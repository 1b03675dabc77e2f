"""A ledger knows where it lives: a copy can be read, and touches nothing at a provider until somebody adopted it."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from offpeak.errors import LedgerUnreadable, OutcomeUnknown, PlanError
from offpeak.ledger import adopting, jobs, reconciling, submissions, tables
from offpeak.ledger.custom_ids import parse
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import JobState
from offpeak.ledger.submissions import LEDGER_KEY
from offpeak.providers.base import Provider

from ...conftest import LocalProvider, Place, Shop, Through, tickets

Copy = Callable[[], Place]

only_openai = pytest.mark.parametrize("provider_name", ["openai"])
"""Where the provider makes no difference."""


@pytest.fixture
def copy(any_place: Place, tmp_path: Path) -> Copy:
    """Copies the ledger, database and folder, as somebody does who makes a second one of it."""

    def sqlite() -> Place:
        folder = tmp_path / "copy"
        folder.mkdir()
        for path in any_place.spool.parent.glob("ledger.db*"):
            shutil.copy2(path, folder)
        shutil.copytree(any_place.spool, folder / "spool")
        return Place(f"sqlite:///{folder / 'ledger.db'}", folder / "spool")

    def postgres() -> Place:
        address, _, name = any_place.url.replace("+psycopg", "").rpartition("/")
        with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE copy_of_{name} TEMPLATE {name}")
        shutil.copytree(any_place.spool, tmp_path / "copied-spool")
        return Place(f"{any_place.url.rpartition('/')[0]}/copy_of_{name}", tmp_path / "copied-spool")

    return sqlite if any_place.url.startswith("sqlite") else postgres


class Shops:
    """Shops on ledgers at one account."""

    def __init__(self, account: Callable[[], Provider]) -> None:
        self._account = account
        self._opened: list[Ledger] = []

    def __call__(self, place: Place) -> Shop:
        self._opened.append(place.open())
        return Shop(self._opened[-1], self._account())

    def close(self, shop: Shop) -> None:
        """Close a shop's ledger, so that its database can be copied or moved."""
        self._opened.remove(shop.ledger)
        shop.ledger.close()

    def close_all(self) -> None:
        for ledger in self._opened:
            ledger.close()


@pytest.fixture
def shop_at(open_account: Callable[..., Provider], provider_name: str) -> Iterator[Shops]:
    """Opens shops on ledgers at one account, and closes the ledgers after the test."""
    shops = Shops(lambda: open_account(provider_name))
    yield shops
    shops.close_all()


def whose(local_provider: LocalProvider) -> dict[str, str]:
    """By batch: the ledger whose custom_ids it carries."""
    found = {}
    for batch in local_provider.batches():
        parsed = parse(batch["first_custom_id"])
        assert parsed is not None
        found[batch["id"]] = parsed.ledger
    return found


def cancelled(shop: Shop) -> set[str]:
    """Batches that the account's list shows as being or having been cancelled."""
    since = shop.clock.now().replace(year=2020)
    return {batch.id for batch in shop.provider.batches(since=since) if "cancel" in batch.state.value}


@only_openai
def test_a_copy_can_be_read_and_nothing_else(
    any_place: Place, copy: Copy, shop_at: Shops, local_provider: LocalProvider
) -> None:
    first = shop_at(any_place)
    first.buy(tickets(3))
    local_provider.settings(latency_seconds=3600)
    job = first.leave(tickets(5))
    shop_at.close(first)

    clone = shop_at(copy())
    assert len(clone.frame()) == 3
    assert jobs.listed(clone.ledger)[0].id == job
    assert clone.quote(tickets(6)).new == 1
    before = local_provider.tally("openai")["batches_created"]
    (chunk,) = (each for each in submissions.of_job(clone.ledger, job) if each.state == "created")
    for act in (
        lambda: clone.begin(tickets(6)),
        lambda: clone.work(job, asset=clone.asset),
        lambda: submissions.submit(clone.ledger, clone.provider, chunk),
        lambda: reconciling.reconcile(clone.ledger, clone.provider, chunk),
        lambda: jobs.close(clone.ledger, job, JobState.CANCELLED, why="a test"),
    ):
        with pytest.raises(LedgerUnreadable, match=r"(?s)is a copy.*offpeak adopt"):
            act()
    assert local_provider.tally("openai")["batches_created"] == before
    assert cancelled(clone) == set()


@only_openai
def test_a_ledger_whose_folder_was_moved_is_at_home(tmp_path: Path, shop_at: Shops) -> None:
    (tmp_path / "here").mkdir()
    first = shop_at(Place(f"sqlite:///{tmp_path / 'here' / 'ledger.db'}", tmp_path / "here" / "spool"))
    first.buy(tickets(2))
    shop_at.close(first)
    (tmp_path / "here").rename(tmp_path / "there")
    moved = shop_at(Place(f"sqlite:///{tmp_path / 'there' / 'ledger.db'}", tmp_path / "there" / "spool"))
    assert moved.buy(tickets(3)).bought == 1


def test_on_postgres_it_takes_no_more_than_an_ordinary_user_may(postgres: str, tmp_path: Path) -> None:
    name = f"plain_{time.monotonic_ns()}"
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'plain'")
        connection.execute(f"CREATE DATABASE {name} OWNER {name}")
    server = sa.make_url(postgres).set(drivername="postgresql+psycopg", username=name, password="plain", database=name)
    with Ledger.open(server.render_as_string(hide_password=False), spool_dir=tmp_path / "spool") as ledger:
        ledger.require_home()


@only_openai
def test_a_ledger_from_before_there_were_homes_settles_where_it_is(any_place: Place, shop_at: Shops) -> None:
    with any_place.open() as ledger, ledger.database.write() as connection:
        connection.execute(tables.identity.update().values(home=None))
    assert shop_at(any_place).buy(tickets(1)).bought == 1
    with any_place.open() as ledger, ledger.database.read() as connection:
        assert connection.execute(sa.select(tables.identity.c.home)).scalar_one() is not None


def test_in_the_place_of_an_original_that_is_gone_it_goes_on_with_its_batches(
    any_place: Place, copy: Copy, shop_at: Shops, local_provider: LocalProvider, provider_name: str
) -> None:
    first = shop_at(any_place)
    local_provider.settings(latency_seconds=1)
    job = first.leave(tickets(3))
    shop_at.close(first)

    clone = shop_at(copy())
    adopted = adopting.take_over(clone.ledger, who="a test")
    assert (adopted.identity, adopted.was) == (first.ledger.identity, first.ledger.identity)
    assert clone.collect(job).rows == 3
    assert clone.buy(tickets(3)).bought == 0
    assert local_provider.tally(provider_name)["answers_delivered"] == 3


def test_beside_its_original_it_leaves_what_is_on_its_way_and_buys_for_itself(
    any_place: Place, copy: Copy, shop_at: Shops, local_provider: LocalProvider
) -> None:
    first = shop_at(any_place)
    first.buy(tickets(2))
    local_provider.settings(latency_seconds=2)
    job = first.leave(tickets(4))
    queued = first.begin(tickets(1, start=50), asset="others")
    shop_at.close(first)

    clone = shop_at(copy())
    adopted = adopting.set_apart(clone.ledger, who="a test")
    assert adopted.identity != adopted.was == first.ledger.identity
    assert (adopted.jobs, adopted.chunks, adopted.requests) == (2, 2, 3)
    states = {row.id: row.state for row in jobs.listed(clone.ledger)}
    assert (states[job], states[queued]) == (JobState.CANCELLED, JobState.CANCELLED)

    own = clone.buy(tickets(4))
    assert (own.bought, own.reused, own.rows) == (2, 2, 4)
    again = shop_at(any_place)
    assert again.collect(job).rows == 4
    assert again.collect(queued, asset="others").rows == 1
    assert cancelled(clone) == set()
    assert sorted(whose(local_provider).values()) == sorted([adopted.was] * 3 + [adopted.identity])


def test_two_ledgers_at_one_account_take_no_batch_of_the_other_for_an_unknown_one(
    any_place: Place, copy: Copy, shop_at: Shops, local_provider: LocalProvider, provider_name: str
) -> None:
    """Both create a batch of as many requests; the answer of the clone's create is lost, and its batch never was."""
    first = shop_at(any_place)
    first.buy(tickets(1, start=90))
    shop_at.close(first)
    clone = shop_at(copy())
    adopting.set_apart(clone.ledger, who="a test")
    first = shop_at(any_place)

    def lose(inner: Provider, *arguments: Any, **more: Any) -> Any:
        raise OutcomeUnknown("the answer was lost")

    real, clone.provider = clone.provider, Through(clone.provider, create=lose)  # type: ignore[assignment]
    job = clone.begin(tickets(3))
    work = clone.work(job, asset=clone.asset)
    assert not work._round()
    mine = first.leave(tickets(3))
    clone.provider = real
    assert clone.collect(job).rows == 3
    assert first.collect(mine).rows == 3

    own, others = clone.ledger.identity, first.ledger.identity
    assert sorted(whose(local_provider).values()) == sorted([others, others, own])
    with clone.ledger.database.read() as connection:
        taken = set(connection.execute(sa.select(tables.submission.c.batch_id)).scalars()) - {None}
    theirs = {batch for batch, ledger in whose(local_provider).items() if ledger == others}
    assert len(taken & theirs) == 1, "only the one that was there before the copy was made"
    if provider_name == "openai":
        since = clone.clock.now().replace(year=2020)
        marks = [batch.metadata[LEDGER_KEY] for batch in clone.provider.batches(since=since)]
        assert sorted(marks) == sorted([others, others, own])


def test_winding_down_cancels_no_batch_of_another_ledger(
    any_place: Place, copy: Copy, shop_at: Shops, local_provider: LocalProvider
) -> None:
    first = shop_at(any_place)
    local_provider.settings(latency_seconds=3600)
    first.leave(tickets(3))
    shop_at.close(first)
    clone = shop_at(copy())
    adopting.set_apart(clone.ledger, who="a test")
    job = clone.leave(tickets(3))
    clone.work(job, asset=clone.asset).wind_down(patience=first.list_lag * 0)

    mine = {batch for batch, ledger in whose(local_provider).items() if ledger == clone.ledger.identity}
    assert cancelled(clone) == mine
    assert len(whose(local_provider)) == 2


@only_openai
def test_a_ledger_that_is_at_home_is_not_adopted_by_mistake(any_place: Place, shop_at: Shops) -> None:
    shop = shop_at(any_place)
    for adopt in (adopting.take_over, adopting.set_apart):
        with pytest.raises(PlanError, match="lives where it was made"):
            adopt(shop.ledger, who="a test")
    was = shop.ledger.identity
    assert adopting.set_apart(shop.ledger, who="a test", although_at_home=True).identity != was


@only_openai
def test_what_was_adopted_stays_so(any_place: Place, copy: Copy, shop_at: Shops) -> None:
    first = shop_at(any_place)
    first.buy(tickets(2))
    shop_at.close(first)
    place = copy()
    clone = shop_at(place)
    adopting.set_apart(clone.ledger, who="a test")
    shop_at.close(clone)
    again = shop_at(place)
    assert again.ledger.identity == clone.ledger.identity
    assert again.buy(tickets(3)).bought == 1
    with again.ledger.database.read() as connection:
        query = sa.select(tables.event.c.state, tables.event.c.who).where(tables.event.c.subject == "identity")
        assert connection.execute(query).all() == [("set_apart", "a test")]
