"""Where a ledger may live, and how it is written."""

import os
import sqlite3
import threading
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from sqlalchemy.engine.interfaces import CacheStats

from offpeak.errors import ConfigurationError
from offpeak.ledger import tables
from offpeak.ledger.database import Database, filesystem_of
from offpeak.ledger.ledger import Ledger

from ...conftest import Place

Partition = namedtuple("Partition", "device mountpoint fstype opts")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_ledger_in_memory_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot live in memory"):
        Database(url)


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "duckdb:///x.db"])
def test_another_database_is_refused_by_its_name(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Database(url)
    assert url.split(":", 1)[0] in str(refused.value)
    assert "Use sqlite:///PATH" in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["", "ledger.db", "C:\\ledger.db"])
def test_what_is_no_database_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="not a database URL"):
        Database(url)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match="cannot be made"):
        Database(f"sqlite:///{tmp_path}/file/ledger.db")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere

    with pytest.raises(ConfigurationError, match="cannot be written"):
        Database(f"sqlite:///{tmp_path}/ledger.db")


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_filesystem_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    mounts = [Partition("/dev/a", "/", "ext4", ""), Partition("server:/x", str(tmp_path), kind, "")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounts)

    with pytest.raises(ConfigurationError, match="network filesystem"):
        Database(f"sqlite:///{tmp_path}/deeper/ledger.db")
    assert filesystem_of(tmp_path.parent) == "ext4"


def test_postgres_needs_a_folder_for_spool_files(postgres: str) -> None:
    with pytest.raises(ConfigurationError, match="spool_dir="):
        Ledger.open(f"{postgres}/postgres")


def test_a_new_file_that_another_process_is_making_is_waited_for(tmp_path: Path) -> None:
    """SQLite by itself gives up at once there, however long it is told to wait."""
    file = tmp_path / "ledger.db"
    database = Database(f"sqlite:///{file}")
    with closing(sqlite3.connect(file, isolation_level=None)) as other, ThreadPoolExecutor(1) as executor:
        other.execute("CREATE TABLE made (x)")
        other.execute("BEGIN IMMEDIATE")
        tried = threading.Event()
        sa.event.listen(database.engine, "do_connect", lambda *_: tried.set())
        reading = executor.submit(lambda: _tables(database))
        assert tried.wait(timeout=30)
        with pytest.raises(TimeoutError):
            reading.result(timeout=0.5)
        other.execute("COMMIT")
        assert reading.result(timeout=30) == ["made"]
    database.close()


def _tables(database: Database) -> list[str]:
    with database.read() as connection:
        return sa.inspect(connection).get_table_names()


def test_rows_that_exist_are_passed_over_and_counted(any_ledger: Ledger) -> None:
    database, table = any_ledger.database, tables.dead_letter
    columns = ["request_id", "reason", "message", "at"]
    with database.write() as connection:
        assert database.bulk_insert(connection, table, columns, [(1, "first", None, 1)]) == 1
    with database.write() as connection:
        rows = [(1, "second", None, 2), (2, "second", "Grüße\n\t\\", 2), (3, "second", "", 2)]
        assert database.bulk_insert(connection, table, columns, rows, ignore_existing=True) == 2
        assert database.bulk_insert(connection, table, columns, [], ignore_existing=True) == 0

    with database.read() as connection:
        found = connection.execute(sa.select(table).order_by(table.c.request_id)).all()
    assert [tuple(row) for row in found] == [
        (1, "first", None, 1, "dead"), (2, "second", "Grüße\n\t\\", 2, "dead"), (3, "second", "", 2, "dead"),
    ]  # fmt: skip


def test_bytes_and_large_numbers_survive_a_bulk_insert(any_ledger: Ledger) -> None:
    row = (1, bytes(range(256))[:20], 2**62)
    with any_ledger.database.write() as connection:
        any_ledger.database.bulk_insert(connection, tables.request, ["id", "fingerprint", "chunk_id"], [row])

    with any_ledger.database.read() as connection:
        (found,) = connection.execute(sa.select(tables.request)).all()
    assert (found.id, bytes(found.fingerprint), found.chunk_id) == row


def test_a_transaction_that_fails_leaves_nothing(any_ledger: Ledger) -> None:
    database = any_ledger.database

    def fail() -> None:
        with database.write() as connection:
            database.bulk_insert(connection, tables.chunk_member, ["chunk_id", "ordinal", "request_id"], [(1, 0, 1)])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    with database.read() as connection:
        assert connection.execute(sa.select(tables.chunk_member)).all() == []


def test_ids_are_reserved_once(any_ledger: Ledger) -> None:
    with any_ledger.database.write() as connection:
        first = any_ledger.next_requests(connection, 10)
        second = any_ledger.next_requests(connection, 1)

    assert second == first + 10
    assert any_ledger.next_submission() < any_ledger.next_submission()


def test_paid_calls_are_written_down_with_full_synchronisation(ledger: Ledger) -> None:
    def synchronous(*, durable: bool) -> int:
        with ledger.database.write(durable=durable) as connection:
            return int(connection.exec_driver_sql("PRAGMA synchronous").scalar_one())

    assert (synchronous(durable=True), synchronous(durable=False)) == (2, 1)


def test_what_one_opening_compiled_serves_the_next(any_place: Place) -> None:
    query = sa.select(tables.identity.c.ledger.label("compiled_once")).where(tables.identity.c.id == 1)
    hits = []
    for _ in range(2):
        with any_place.open() as ledger, ledger.database.read() as connection:
            found = connection.execute(query)
            hits.append(found.context.cache_hit)
            assert found.scalar_one() == ledger.identity
    assert hits == [CacheStats.CACHE_MISS, CacheStats.CACHE_HIT]
