"""When rows were last read: written down at most hourly, and never in the way of whoever reads."""

import sqlite3
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import psycopg
import pytest
import sqlalchemy as sa

import offpeak
from offpeak.clock import from_micros
from offpeak.errors import LedgerUnreadable, StaleInput
from offpeak.ledger import tables
from offpeak.ledger.database import BUSY, Database
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.reads import mark_read

from ...conftest import Place, Shop, tickets

DAY = timedelta(days=1)


def marks(ledger: Ledger) -> dict[str, datetime | None]:
    """When each partition was last read."""
    query = sa.select(tables.target.c.partition_key, tables.target.c.read_at)
    with ledger.database.read() as connection:
        return {key: None if at is None else from_micros(at) for key, at in connection.execute(query).tuples()}


def test_a_program_that_reads_is_written_down(any_shop: Shop, any_place: Place) -> None:
    any_shop.buy(partitions={"a": tickets(1), "b": tickets(1, start=1)})
    assert marks(any_shop.ledger) == {"a": None, "b": None}
    before = any_shop.ledger.clock.now()
    offpeak.read("labels", max_staleness=DAY, partitions="a", database_url=any_place.url)
    found = marks(any_shop.ledger)
    assert found["a"] is not None
    assert before <= found["a"] <= any_shop.ledger.clock.now()
    assert found["b"] is None
    offpeak.read("labels", max_staleness=DAY, database_url=any_place.url)
    assert marks(any_shop.ledger)["b"] is not None


def test_who_is_refused_has_read_nothing(shop: Shop, place: Place) -> None:
    shop.buy(tickets(1), as_of=shop.ledger.clock.now() - 2 * DAY)
    with pytest.raises(StaleInput):
        offpeak.read("labels", max_staleness=DAY, database_url=place.url)
    assert marks(shop.ledger) == {"": None}


def test_a_mark_is_an_hour_old_before_it_is_written_again(any_shop: Shop) -> None:
    any_shop.buy(tickets(1))
    database, first = any_shop.ledger.database, any_shop.ledger.clock.now()
    for minutes, written in ((0, 0), (59, 0), (60, 0), (61, 61), (90, 61), (180, 180)):
        mark_read(database, "labels", None, at=first + timedelta(minutes=minutes))
        assert marks(any_shop.ledger) == {"": first + timedelta(minutes=written)}


def test_within_the_hour_nothing_is_written_at_all(shop: Shop) -> None:
    shop.buy(tickets(1))
    begun: list[str] = []

    @sa.event.listens_for(shop.ledger.database.engine, "before_cursor_execute")
    def note(connection: object, cursor: object, statement: str, *more: object) -> None:
        begun.append(statement)

    for _ in range(2):
        mark_read(shop.ledger.database, "labels", None, at=shop.ledger.clock.now())
    assert [each.split()[0] for each in begun if "IMMEDIATE" in each or each.startswith("UPDATE")] == [
        "BEGIN",
        "UPDATE",
    ]


def test_what_never_landed_has_no_mark(shop: Shop) -> None:
    shop.leave(tickets(1))
    with shop.ledger.database.write() as connection:
        connection.execute(tables.target.update().values(job_id=None))
    mark_read(shop.ledger.database, "labels", None, at=shop.ledger.clock.now())
    assert marks(shop.ledger) == {"": None}


def test_a_file_that_somebody_else_is_writing_to_is_read_without_waiting(shop: Shop, place: Place) -> None:
    shop.buy(tickets(1))
    other = sqlite3.connect(place.url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    assert len(offpeak.read("labels", max_staleness=DAY, database_url=place.url)) == 1
    assert time.monotonic() - began < BUSY.total_seconds() / 3
    other.execute("ROLLBACK")
    other.close()
    assert marks(shop.ledger) == {"": None}


def test_a_connection_waits_as_long_as_ever_afterwards(shop: Shop) -> None:
    shop.buy(tickets(1))
    mark_read(shop.ledger.database, "labels", None, at=shop.ledger.clock.now())
    with shop.ledger.database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == BUSY // timedelta(milliseconds=1)


def test_a_copied_ledger_is_read_and_not_written(shop: Shop) -> None:
    shop.buy(tickets(1))
    shop.ledger.database.refused = LedgerUnreadable("a copy")
    mark_read(shop.ledger.database, "labels", None, at=shop.ledger.clock.now())
    assert marks(shop.ledger) == {"": None}


@pytest.fixture
def postgres_shop(postgres_place: Place, shop: Shop) -> Iterator[Shop]:
    """A shop whose ledger is on Postgres, with one row bought."""
    with postgres_place.open() as ledger:
        found = Shop(ledger, shop.provider)
        found.buy(tickets(1))
        yield found


def test_a_role_that_may_only_select_reads_and_the_server_logs_no_error(
    postgres_shop: Shop, postgres_place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    plain = postgres_place.url.replace("postgresql+psycopg:", "postgresql:")
    role = f"reader_{time.monotonic_ns()}"
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'of-a-test'")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    url = str(
        sa.make_url(postgres_place.url).set(username=role, password="of-a-test").render_as_string(hide_password=False)
    )
    with caplog.at_level("DEBUG", logger="offpeak"):
        assert len(offpeak.read("labels", max_staleness=DAY, database_url=url)) == 1
    assert "could not be written down" not in caplog.text
    assert marks(postgres_shop.ledger) == {"": None}
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"GRANT UPDATE (read_at) ON target TO {role}")
    assert len(offpeak.read("labels", max_staleness=DAY, database_url=url)) == 1
    assert marks(postgres_shop.ledger)[""] is not None


def test_a_row_that_somebody_holds_is_passed_over(postgres_shop: Shop, postgres_place: Place) -> None:
    plain = postgres_place.url.replace("postgresql+psycopg:", "postgresql:")
    with psycopg.connect(plain) as holder:
        holder.execute("UPDATE target SET code_version = 'planning'")
        mark_read(Database(postgres_place.url), "labels", None, at=postgres_shop.ledger.clock.now())
        holder.rollback()
    assert marks(postgres_shop.ledger) == {"": None}
