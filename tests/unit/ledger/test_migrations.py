"""The migrations make exactly the tables that the code uses, on both databases."""

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from offpeak.errors import LedgerUnreadable
from offpeak.ledger import tables
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.migrations import VERSION_TABLE

from ...conftest import Place


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
