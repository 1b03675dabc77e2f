"""The migrations make exactly the tables that the code uses, and keep what stands in those of earlier versions.

On both databases.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import HeadMaintainer, MigrationContext

from offpeak.errors import LedgerUnreadable
from offpeak.ledger import migrations, parked_runs, tables
from offpeak.ledger.database import Database
from offpeak.ledger.home import home_of
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.migrations import VERSION_TABLE
from offpeak.providers.base import Provider

from ...conftest import LocalProvider, Place, Shop, tickets


@pytest.fixture
def sqlite_tables() -> None:
    """No copy of what was migrated before: each ledger here is migrated by the program that opens it."""


@pytest.fixture
def postgres_tables() -> None:
    """The same on Postgres."""


def test_the_migrated_schema_is_the_one_in_the_code(any_ledger: Ledger) -> None:
    with any_ledger.database.read() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True},
        )
        assert compare_metadata(context, tables.metadata) == []


def test_a_schema_that_differs_is_noticed(ledger: Ledger) -> None:
    with ledger.database.write() as connection:
        connection.exec_driver_sql("DROP INDEX request_fingerprint")
    with ledger.database.read() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert [change[0] for change in compare_metadata(context, tables.metadata)] == ["add_index"]


def test_a_ledger_keeps_its_identity_when_opened_again(any_place: Place) -> None:
    with any_place.open() as first:
        identity = first.identity
    with any_place.open() as again:
        assert again.identity == identity
        assert len(identity) == 8


def test_a_ledger_of_a_newer_program_is_refused_and_left_alone(any_place: Place) -> None:
    with any_place.open() as ledger, ledger.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")

    with pytest.raises(LedgerUnreadable, match="a newer Offpeak wrote it"):
        any_place.open()


def test_a_file_that_is_no_database_is_refused_and_left_alone(place: Place) -> None:
    path = place.spool.with_name("ledger.db")
    path.write_bytes(b"these are notes, not a database. " * 100)

    with pytest.raises(LedgerUnreadable):
        place.open()
    assert path.read_bytes().startswith(b"these are notes")


def test_a_ledger_that_does_not_say_which_it_is_is_refused(any_place: Place) -> None:
    with any_place.open() as ledger, ledger.database.write() as connection:
        connection.execute(tables.identity.update().values(ledger="short"))

    with pytest.raises(LedgerUnreadable, match="does not say which ledger it is"):
        any_place.open()


def test_two_openings_of_a_new_ledger_agree_on_its_identity(any_place: Place) -> None:
    with any_place.open() as one, any_place.open() as other:
        assert one.identity == other.identity
        with one.database.read() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(tables.identity)).scalar_one() == 1


BOUGHT, HALF_DEAD = tickets(8), tickets(6, start=100)
SUBMITTED, QUEUED = tickets(5, start=200), tickets(3, start=300)
EVERYTHING = {**BOUGHT, **HALF_DEAD, **SUBMITTED, **QUEUED}
ASSETS = {"bought": BOUGHT, "half_dead": HALF_DEAD, "submitted": SUBMITTED, "queued": QUEUED}

Rows = dict[str, list[dict[str, Any]]]


@dataclass
class Past:
    """A ledger of an earlier schema, and what stands in it."""

    place: Place
    rows: Rows
    submitted: int
    """A job whose batch is at the provider."""
    queued: int
    """A job that nothing was sent of."""


def rows_of(database: Database, columns: Mapping[str, Sequence[str]]) -> Rows:
    """These columns of these tables, in one order whichever database it is."""
    found: Rows = {}
    with database.read() as connection:
        for name, chosen in columns.items():
            query = sa.select(*(tables.metadata.tables[name].c[column] for column in chosen))
            rows = [dict(row) for row in connection.execute(query).mappings()]
            found[name] = sorted(rows, key=repr)
    return found


def columns_of(database: Database) -> dict[str, list[str]]:
    """The ledger's tables and their columns, as the database has them."""
    inspector = sa.inspect(database.engine)
    names = [name for name in inspector.get_table_names() if name in tables.metadata.tables]
    return {name: [column["name"] for column in inspector.get_columns(name)] for name in names}


NUMBERED = """
SELECT table_name, column_name, pg_get_serial_sequence(table_name, column_name) FROM information_schema.columns
WHERE table_schema = 'public' AND starts_with(column_default, 'nextval')
"""


def write_rows(database: Database, rows: Rows) -> None:
    """Write rows with the numbers they have; the numbers that Postgres deals out itself go on after them."""
    with database.write() as connection:
        for name, values in rows.items():
            if values:
                connection.execute(tables.metadata.tables[name].insert(), values)
        if not database.sqlite:
            for name, column, sequence in connection.exec_driver_sql(NUMBERED).all():
                if numbers := [row[column] for row in rows[name]]:
                    connection.execute(sa.select(sa.func.setval(sequence, max(numbers))))


def fill(shop: Shop, local_provider: LocalProvider) -> tuple[int, int]:
    """Bought rows, dead letters, a job at the provider whose run is parked, and one that is queued."""
    shop.buy(BOUGHT, asset="bought")
    local_provider.fault("error_lines", share=0.5, code="invalid_request", times=None)
    assert shop.buy(HALF_DEAD, asset="half_dead").failed == 3
    local_provider.call("DELETE", "/local/faults")
    submitted = shop.leave(SUBMITTED, asset="submitted")
    number = parked_runs.intend(shop.ledger, run_id="parked", origin_run_id="origin", location="here")
    held = {submitted: "submitted"}
    parked_runs.hold(shop.ledger, number, origin_run_id="origin", jobs=held, joining=submitted, progress="0%")
    return submitted, shop.begin(QUEUED, asset="queued")


@pytest.fixture(params=["0001", "0002", "0003"])
def past(
    request: pytest.FixtureRequest, any_place: Place, tmp_path: Path, account: Provider, local_provider: LocalProvider
) -> Past:
    """A ledger of each earlier schema, filled.

    Today's code fills a ledger of today, whose rows are copied as far as the earlier schema has columns for them: they
    are what that version would have written there.
    """
    today = Place(f"sqlite:///{tmp_path / 'today.db'}", any_place.spool)
    with today.open() as ledger:
        submitted, queued = fill(Shop(ledger, account), local_provider)
        database = Database(any_place.url)
        config = migrations._config()
        with database.write() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, request.param)
        rows = rows_of(ledger.database, columns_of(database))
    for row in rows["identity"]:
        if "home" in row:
            row["home"] = home_of(database)  # this ledger was never anywhere else
    write_rows(database, rows)
    assert columns_of(database) != {name: list(table.columns.keys()) for name, table in tables.metadata.tables.items()}
    database.close()
    return Past(any_place, rows, submitted, queued)


@pytest.fixture
def account(open_account: Callable[..., Provider]) -> Provider:
    return open_account()


def test_a_ledger_of_an_earlier_schema_keeps_every_row(past: Past) -> None:
    assert all(past.rows[name] for name in ("job", "chunk", "submission", "request", "answer", "failure", "wanted"))
    assert len(past.rows["dead_letter"]) == 3
    with past.place.open() as ledger:
        assert columns_of(ledger.database).keys() == tables.metadata.tables.keys()
        now = rows_of(ledger.database, {name: list(rows[0]) for name, rows in past.rows.items() if rows})
        assert now == {name: rows for name, rows in past.rows.items() if rows}


def test_what_an_earlier_version_had_under_way_goes_on_and_is_bought_once(
    past: Past, account: Provider, local_provider: LocalProvider
) -> None:
    with past.place.open() as ledger:
        shop = Shop(ledger, account)
        assert shop.collect(past.submitted, asset="submitted").rows == len(SUBMITTED)
        assert shop.collect(past.queued, asset="queued").rows == len(QUEUED)
        for asset, rows in ASSETS.items():
            receipt = shop.buy(rows, asset=asset)
            assert receipt.bought == 0
            assert set(shop.frame(asset)["key"]) | set(HALF_DEAD) >= set(rows)
        assert len(shop.frame("half_dead")) == 3
        more = shop.buy(tickets(2, start=900), asset="bought")
        assert (more.bought, more.rows) == (2, 2)
    assert local_provider.answered(at_least=2) == []
    assert local_provider.tally("openai")["answers_delivered"] == len(EVERYTHING) - 3 + 2
    assert len(local_provider.batches()) == 5


def test_a_parked_run_of_an_earlier_version_still_holds_its_place(past: Past) -> None:
    with past.place.open() as ledger:
        held = {each.run_id: dict(each.jobs) for each in parked_runs.open_ones(ledger)}
    assert held == ({"parked": {past.submitted: "submitted"}} if "parked_run" in past.rows else {})


def test_a_migration_that_fails_half_way_leaves_the_ledger_as_it_was(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError("the machine went away")

    monkeypatch.setattr(HeadMaintainer, "update_to_step", fail)
    with pytest.raises(OSError, match="went away"):
        past.place.open()
    monkeypatch.undo()
    database = Database(past.place.url)
    assert rows_of(database, {name: list(rows[0]) for name, rows in past.rows.items() if rows}) == {
        name: rows for name, rows in past.rows.items() if rows
    }
    database.close()
    past.place.open().close()
