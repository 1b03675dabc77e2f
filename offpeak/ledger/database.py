"""One way to talk to SQLite and Postgres: short transactions, and bulk writes that cost what the driver costs.

SQLite: WAL, BEGIN IMMEDIATE for every writing transaction (a reader that turns writer could otherwise fail at once),
`synchronous=FULL` where a transaction writes down a paid call. Postgres: COPY into the table, or into a temporary one
where rows may already exist.

A server that goes away, a disk that is full and a file that stays locked are told apart from errors of the program:
they raise LedgerUnavailable, and the same step can be taken again later.
"""

import os
import sqlite3
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from offpeak.errors import ConfigurationError, LedgerUnavailable

ROWS_PER_STATEMENT = 100
"""Rows that one INSERT carries on SQLite: a third less CPU than a statement a row, within its limit of parameters."""

ROWS_PER_TRANSACTION = 5_000
"""Rows written in one transaction at most: other writers then wait about 0.1 s (p99) on SQLite."""

BUSY = timedelta(seconds=30)
"""How long a SQLite file that another process has locked is waited for."""

NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "glusterfs", "ceph"}
)


class Database:
    """An engine with the transactions Offpeak uses. Thread-safe; open one per process."""

    def __init__(self, url: str) -> None:
        self.url = parsed = parse_address(url)
        self.sqlite = parsed.get_backend_name() == "sqlite"
        if self.sqlite:
            self._check_file()
        self.engine = self._connect()
        self.engine.update_execution_options(compiled_cache=_compiled_for(parsed.drivername, parsed.host, parsed.port))
        self.refused: Exception | None = None
        """Why this database may be read and not written; None: it may be written."""

    def _check_file(self) -> None:
        if not self.url.database or self.url.database == ":memory:":
            raise ConfigurationError(
                "The ledger cannot live in memory: it must outlast this process. Give sqlite:/// a file."
            )
        folder = Path(self.url.database).absolute().parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"The ledger's folder {folder} cannot be made: {error.strerror}.") from error
        for path in (folder, Path(self.url.database).absolute()):
            if path.exists() and not os.access(path, os.W_OK):
                raise ConfigurationError(
                    f"The ledger cannot live at {self.url.database}: {path} cannot be written. Nothing was opened. "
                    "Make it writable, or name another place with OFFPEAK_DATABASE_URL."
                )
        if (kind := filesystem_of(folder)) in NETWORK_FILESYSTEMS:
            raise ConfigurationError(
                f"The ledger's folder {folder} is on a network filesystem ({kind}), where SQLite's locks do not hold "
                "and a request could be bought twice. Put it on a local disk, or use Postgres."
            )

    def _connect(self) -> Engine:
        if not self.sqlite:
            return sa.create_engine(self.url, pool_pre_ping=True)
        engine = sa.create_engine(self.url, connect_args={"timeout": BUSY.total_seconds(), "isolation_level": None})

        @sa.event.listens_for(engine, "connect")
        def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
            cursor = connection.cursor()
            for attempt in Retrying(
                retry=retry_if_exception(_is_locked),
                stop=stop_after_delay(BUSY),
                wait=wait_random(max=0.05),
                reraise=True,
            ):
                with attempt:  # of a new file: SQLite does not wait here while another process makes its tables
                    cursor.execute("PRAGMA journal_mode=WAL")
            for pragma in (
                f"busy_timeout={BUSY // timedelta(milliseconds=1)}",
                "foreign_keys=ON",
                "synchronous=NORMAL",
                "wal_autocheckpoint=4000",  # pages: a chunk's index pages are then folded back once, not many times
                "cache_size=-16384",  # KiB: enough for the index pages that one sorted chunk touches
                "temp_store=FILE",
            ):
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

        @sa.event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            # autocommit reads begin no transaction; every transaction that is begun is one that writes
            mode = connection.get_execution_options().get("offpeak_begin", "IMMEDIATE")
            connection.exec_driver_sql(f"BEGIN {mode}")

        return engine

    @contextmanager
    def write(self, *, durable: bool = False, patience: timedelta = BUSY) -> Iterator[Connection]:
        """A writing transaction. `durable`: on disk, power loss included, before this returns.

        A SQLite file that is locked is waited for as long as `patience`. Raises LedgerUnavailable: the transaction is
        there whole or not at all, and only the ledger can tell which.
        """
        with self.guarded(), self.engine.connect() as connection:
            self.require_writable()
            with self._patient(connection, patience):
                if self.sqlite:
                    _pragma(connection, "synchronous=FULL" if durable else "synchronous=NORMAL")
                with connection.begin():
                    yield connection

    @contextmanager
    def _patient(self, connection: Connection, patience: timedelta) -> Iterator[None]:
        """Meanwhile a locked SQLite file is waited for this long: the connection is another's afterwards."""
        if not self.sqlite or patience == BUSY:
            yield
            return
        _pragma(connection, f"busy_timeout={patience // timedelta(milliseconds=1)}")
        try:
            yield
        finally:
            _pragma(connection, f"busy_timeout={BUSY // timedelta(milliseconds=1)}")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view. Never hold it across a network call or a yielded row. Raises LedgerUnavailable."""
        with self.guarded(), self.engine.connect() as connection:
            connection = connection.execution_options(offpeak_begin="DEFERRED")
            with connection.begin():
                yield connection

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Around the use of a connection: what befell the database itself is raised as LedgerUnavailable."""
        drivers = self.engine.dialect.loaded_dbapi.Error
        try:
            yield
        except (sa.exc.DBAPIError, drivers) as error:
            cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
            trouble = _sqlite_trouble(cause) if self.sqlite else _postgres_trouble(cause)
            if trouble is None:
                raise
            address = self.url.render_as_string(hide_password=True)
            raise LedgerUnavailable(
                f"The ledger at {address} {trouble} ({_one_line(cause)}). What was being written is there "
                "whole or not at all, and nothing is sent meanwhile. A run that waits for its batch goes on once it is "
                "mended; otherwise mend it and materialise again."
            ) from error

    @staticmethod
    def tuples(connection: Connection, query: sa.Select[Any]) -> list[tuple[Any, ...]]:
        """The rows of a query as the driver gives them: plain tuples, for many rows of plain values."""
        cursor = connection.execute(query).cursor
        return list(cursor.fetchall()) if cursor is not None else []

    def bulk_insert(
        self,
        connection: Connection,
        table: sa.Table,
        columns: Sequence[str],
        rows: Sequence[tuple[Any, ...]],
        *,
        ignore_existing: bool = False,
    ) -> int:
        """Insert `rows` at the driver's own speed; returns how many were new.

        With `ignore_existing`, a row whose primary key or unique value exists already is passed over.
        """
        if not rows:
            return 0
        names = ", ".join(columns)
        if self.sqlite:
            verb = "INSERT OR IGNORE" if ignore_existing else "INSERT"
            insert = f"{verb} INTO {table.name} ({names}) VALUES "
            marks = f"({', '.join('?' * len(columns))})"
            whole = len(rows) - len(rows) % ROWS_PER_STATEMENT
            together = [
                tuple(chain.from_iterable(rows[start : start + ROWS_PER_STATEMENT]))
                for start in range(0, whole, ROWS_PER_STATEMENT)
            ]
            cursor = connection.connection.cursor()
            inserted = 0
            if together:
                cursor.executemany(insert + ", ".join([marks] * ROWS_PER_STATEMENT), together)
                inserted += cursor.rowcount
            if whole < len(rows):
                cursor.executemany(insert + marks, rows[whole:])
                inserted += cursor.rowcount
            return int(inserted)
        return self._copy(connection, table, columns, rows, ignore_existing=ignore_existing)

    def _copy(
        self,
        connection: Connection,
        table: sa.Table,
        columns: Sequence[str],
        rows: Sequence[tuple[Any, ...]],
        *,
        ignore_existing: bool,
    ) -> int:
        names = ", ".join(columns)
        target = table.name
        cursor = connection.connection.cursor()
        if ignore_existing:
            target = f"copying_{table.name}"
            # not LIKE: that would copy NOT NULL, and columns that are not given here get their values below
            cursor.execute(
                f"CREATE TEMP TABLE IF NOT EXISTS {target} ON COMMIT DELETE ROWS "  # noqa: S608
                f"AS SELECT * FROM {table.name} WITH NO DATA"
            )
            cursor.execute(f"TRUNCATE {target}")
        types = [_postgres_type(table.columns[name]) for name in columns]
        with cursor.copy(f"COPY {target} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)
        if not ignore_existing:
            return len(rows)
        cursor.execute(
            f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {target} ON CONFLICT DO NOTHING"  # noqa: S608
        )
        return int(cursor.rowcount)

    def require_writable(self) -> None:
        """Raise what `refused` says, if it says anything. Every writing transaction asks this first."""
        if self.refused is not None:
            raise self.refused

    def rewrite(self) -> bool:
        """Write SQLite's file anew, of live rows alone, and empty its log: no deleted byte is left in either.

        `secure_delete` alone would not do: it blanks what is deleted from then on, not what splitting pages had left
        behind (measured: 49 of 429 deleted keys among 3,000 stayed readable). Other writers wait meanwhile. False where
        the file stayed locked, or somebody reads the log.
        """
        if not self.sqlite:
            return True
        try:
            with self.guarded(), self.engine.connect() as connection:
                cursor = connection.connection.cursor()
                cursor.execute("VACUUM")
                busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                cursor.close()
        except LedgerUnavailable:
            return False
        return not busy

    def checkpoint(self) -> None:
        """Fold SQLite's write-ahead log back into the database, as far as readers and the disk allow."""
        if self.sqlite:
            with suppress(LedgerUnavailable), self.guarded(), self.engine.connect() as connection:
                _pragma(connection, "wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        self.engine.dispose()


class _Compiled(MutableMapping[Any, Any]):
    """Compiled statements of every engine on one server.

    SQLAlchemy keeps them for each engine, by its dialect first, which each engine has an object of. A process that
    opens the ledger again, as each tick of a sensor does, would compile everything again: 0.2 s of CPU a purchase.
    """

    def __init__(self) -> None:
        self._found: sa.util.LRUCache[Any, Any] = sa.util.LRUCache(500)  # as many as an engine keeps

    def __getitem__(self, key: tuple[Any, ...]) -> Any:
        return self._found[key[1:]]

    def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:
        self._found[key[1:]] = compiled

    def __delitem__(self, key: tuple[Any, ...]) -> None:
        del self._found[key[1:]]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


@cache
def _compiled_for(drivername: str, host: str | None, port: int | None) -> _Compiled:  # noqa: ARG001 - they are the key
    return _Compiled()


def parse_address(url: str) -> sa.URL:
    """The address of a ledger. Raises ConfigurationError for one that no ledger can live at."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise ConfigurationError(
            "The ledger's address is not a database URL. Nothing was opened. "
            "Set OFFPEAK_DATABASE_URL to sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME."
        ) from error
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise ConfigurationError(
            f"The ledger cannot live in {parsed.get_backend_name()!r}. Nothing was opened. "
            "Use sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME."
        )
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def slices(rows: Sequence[Any], size: int = ROWS_PER_TRANSACTION) -> Iterator[Sequence[Any]]:
    """`rows` in pieces that one transaction may write."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def filesystem_of(path: Path) -> str | None:
    """The type of the filesystem that holds `path`, such as "ext4"; None where the system does not tell."""
    import psutil

    best, kind = "", None
    for partition in psutil.disk_partitions(all=True):
        mount = partition.mountpoint
        if len(mount) > len(best) and (mount == "/" or f"{path}/".startswith(f"{mount.rstrip('/')}/")):
            best, kind = mount, partition.fstype
    return kind


def _is_locked(error: BaseException) -> bool:
    """Whether another process has the SQLite file for the moment."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _sqlite_trouble(error: BaseException | None) -> str | None:
    """What ails a SQLite file; None where the statement itself was wrong."""
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return "cannot be written: its disk is full, or failing"
        case sqlite3.SQLITE_READONLY:
            return "cannot be written: it is read-only"
        case sqlite3.SQLITE_BUSY:
            return "stayed locked by another process"
    return None


def _postgres_trouble(error: BaseException | None) -> str | None:
    """What ails a Postgres server or the way to it; None where the statement itself was wrong."""
    state = getattr(error, "sqlstate", None)
    match state[:2] if state is not None else type(error).__name__:
        case "53":
            return "cannot be used: its server has run out of disk, memory or connections"
        case "08" | "57" | "58" | "OperationalError" | "InterfaceError":
            return "is away"
    return None


def _one_line(error: BaseException | None) -> str:
    return " ".join(str(error).split())


def _pragma(connection: Connection, text: str) -> None:
    cursor = connection.connection.cursor()
    cursor.execute(f"PRAGMA {text}")
    cursor.close()


def _postgres_type(column: sa.Column[Any]) -> str:
    match column.type:
        case sa.BigInteger():
            return "int8"
        case sa.Integer():
            return "int4"
        case sa.LargeBinary():
            return "bytea"
        case _:
            return "text"
