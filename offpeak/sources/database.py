"""Tables of a database, read through SQLAlchemy with SELECT alone; only `watch` and `unwatch` write.

The password is never shown: not in an error, and not in an address that this module prints. A row stream keeps its
SELECT open to the end; a SQLite file that is not in WAL mode makes its writers wait for that long.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from offpeak.errors import ConfigurationError, CouldNotRead
from offpeak.sources.log import CHANGES, WATCHED, ChangeLog, Standing
from offpeak.sources.watching import LOGS, Knowledge, execute, installation, removal

BLOCK = 2_000
"""Rows fetched at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What is known of a reading before its first row."""

    columns: Sequence[str]
    position: str | None
    """Where the next reading goes on; None where this table does not log its changes."""
    complete: bool
    """Whether it gives every row there is."""


_KEY = "offpeak_key"
"""The column of a query that is the row's key as text."""

_OWN_ROWS = "offpeak_own_rows"
"""What a reflected table is marked with that keeps its rows itself: no view, and no table of another server."""

Change = tuple[str, tuple[Any, ...] | None]
"""A row's key, and the row or None where it is gone."""


class SourceDatabase:
    """One database address; `hint` says what to do when it is wrong."""

    def __init__(self, url: str, *, hint: str) -> None:
        self._hint = hint
        try:
            self._url = sa.make_url(url)
            self._engine = sa.create_engine(self._url, poolclass=NullPool, connect_args=_patience(self._url))
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
            # The address may hold a password, and so may the text and the cause of what SQLAlchemy raised.
            raise ConfigurationError(
                f"The address of the source tables is not one that SQLAlchemy can open ({type(error).__name__}); it "
                "looks like sqlite:///app.db, postgresql+psycopg://user:password@host/name or folder:PATH, and its "
                f"driver must be installed; {hint}"
            ) from None

    def __str__(self) -> str:
        return self._url.set(query={}).render_as_string(hide_password=True)

    @property
    def url(self) -> sa.URL:
        """The address, password included."""
        return self._url

    def open(self, table: str) -> tuple[Sequence[str], Iterator[tuple[Any, ...]]]:
        """The column names, and the rows as a stream."""
        reflected = self._reflect(table)
        return reflected.columns.keys(), self._stream(table, sa.select(reflected))

    def state(self, table: str) -> tuple[Any, ...]:
        """What changes when the table does."""
        reflected = self._reflect(table)
        if "updated_at" in reflected.columns:
            newest = sa.func.max(reflected.columns["updated_at"])
            return next(self._stream(table, sa.select(sa.func.count(), newest).select_from(reflected)))
        rows = self._stream(table, sa.select(reflected))
        # Summed, because without an ORDER BY a database may answer in any order.
        return (sum(int.from_bytes(sha256(repr(row).encode()).digest()[:8]) for row in rows),)

    def changes(self, table: str, since: str | None) -> tuple[Head, Iterator[Change]]:
        """The rows that changed after the position `since`, as a stream; every row where that cannot be said.

        All of it, the position to go on from included, is of one snapshot. It is open until the stream has ended or is
        thrown away.
        """
        stream = self._changes(self._reflect(table), since)
        return next(stream), stream

    def version(self, table: str, since: str | None) -> str:
        """What changes when the table does, at a cost that does not grow with it; `since` again if it did not.

        Raises ConfigurationError for a table that neither logs its changes nor has an index on `updated_at`.
        """
        self._look_for_file(table)
        with self._reading(table):
            if (logged := self._logged_version(table, since)) is not None:
                return logged
        reflected = self._reflect(table)
        if (newest := _newest(reflected)) is not None:
            with self._reading(table), self._engine.connect() as connection:
                return sha256(repr(tuple(connection.execute(newest).one())).encode()).hexdigest()[:16]
        problem = self._knowledge(reflected).problem
        raise ConfigurationError(
            f"{table} in {self} cannot say cheaply whether it has changed: "
            f"{f'its log cannot be used ({problem})' if problem else 'it is not watched'}, and no index of it begins "
            f"with updated_at. Run `offpeak sources watch {table}`, which sees deletions too, or make such an index "
            "and set updated_at with every change"
        )

    def notifies(self, table: str) -> bool:
        """Whether Postgres notifies listeners of every change of the table."""
        self._look_for_file(table)
        kind = LOGS.get(self._engine.dialect.name)
        if kind is None:
            return False
        with self._reading(table), kind.snapshot(self._engine, None) as connection:
            log = kind(connection, table)
            standing = log.standing()
            return standing is not None and standing.broken is None and log.notifies

    def knowledge(self, tables: Sequence[str] = ()) -> list[Knowledge]:
        """How the changes of each table are known; without names, of every table there is."""
        reflected = [self._reflect(each) for each in tables or self._tables()]
        return [self._knowledge(each) for each in reflected]

    def watching_statements(self, table: str, *, notify: bool = True, readers: Sequence[str] = ()) -> list[str]:
        """What `watch` would execute; nothing is. Raises ConfigurationError for a table that cannot be watched."""
        self._look_for_file(table)
        with self._reading(table), self._engine.connect() as connection:
            return installation(connection, table, notify=notify, readers=readers)

    def unwatching_statements(self, table: str) -> list[str]:
        """What `unwatch` would execute; nothing is. Raises ConfigurationError for a table that is not watched."""
        self._look_for_file(table)
        with self._reading(table), self._engine.connect() as connection:
            return removal(connection, table)

    def watch(self, table: str, *, notify: bool = True, readers: Sequence[str] = ()) -> bool:
        """Begin the log of a table's changes, whole or not at all; whether there was anything to do.

        `notify`: have Postgres tell listeners of each transaction. `readers`: roles that may read the log. Raises
        ConfigurationError for a table that cannot be watched, and where the database refuses.
        """
        self._look_for_file(table)
        with self._installing(table), self._log_class(table).writing(self._engine) as connection:
            statements = installation(connection, table, notify=notify, readers=readers)
            execute(connection, statements)
        return bool(statements)

    def unwatch(self, table: str) -> None:
        """End the log of a table's changes. Raises ConfigurationError for one that is not watched, and as `watch`."""
        self._look_for_file(table)
        with self._installing(table), self._log_class(table).writing(self._engine) as connection:
            execute(connection, removal(connection, table))

    def _changes(self, table: sa.Table, since: str | None) -> Iterator[Any]:
        """The head, then the changes."""
        kind = LOGS.get(self._engine.dialect.name) if table.info[_OWN_ROWS] else None
        with self._reading(table.name), self._snapshot(kind, table.name) as connection:
            log = kind(connection, table.name) if kind else None
            standing = log.standing() if log else None
            entries = log.entries(standing, since) if log and standing else None
            yield Head(
                columns=table.columns.keys(),
                position=standing.position if standing else None,
                complete=entries is None,
            )
            key = _key(table)
            if log is None or entries is None:
                query = sa.select(sa.cast(key, sa.Text).label(_KEY), *table.columns)
            else:
                found = entries.outerjoin(table, log.same_key(key, entries.c.key))
                query = sa.select(entries.c.key.label(_KEY), *table.columns).select_from(found)
            place = table.columns.keys().index(key.name) + 1
            for block in connection.execute(query.execution_options(yield_per=BLOCK)).partitions():
                for row in block:
                    if row[0] is None:
                        raise CouldNotRead(
                            f"{table.name} in {self} has a row whose {key.name} is NULL, so that nothing names it. "
                            "Nothing was planned; give it a value, or annotate the parameter as Iterator"
                        )
                    yield row[0], None if row[place] is None else tuple(row[1:])

    def _logged_version(self, table: str, since: str | None) -> str | None:
        kind = LOGS.get(self._engine.dialect.name)
        if kind is None:
            return None
        with kind.snapshot(self._engine, None) as connection:
            log = kind(connection, table)
            standing = log.standing()
            if standing is None or standing.position is None:
                return None
            entries = log.entries(standing, since)
            if entries is None:
                return standing.position
            changed = connection.scalar(sa.select(sa.exists(sa.select(entries.c.key))))
            return standing.position if changed or since is None else since

    def _knowledge(self, table: sa.Table) -> Knowledge:
        standing: Standing | None = None
        with self._reading(table.name), self._engine.connect() as connection:
            kind = LOGS.get(self._engine.dialect.name)
            standing = kind(connection, table.name).standing() if kind else None
        how = "reading" if _newest(table) is None else "updated_at"
        if standing is None:
            return Knowledge(table=table.name, how=how)
        return Knowledge(
            table=table.name,
            how=how if standing.broken else "log",
            key_column=standing.key_column,
            installed_at=standing.installed_at,
            problem=standing.broken,
        )

    @contextmanager
    def _snapshot(self, kind: type[ChangeLog] | None, table: str) -> Iterator[sa.Connection]:
        with kind.snapshot(self._engine, table) if kind else self._engine.connect() as connection:
            yield connection

    def _log_class(self, table: str) -> type[ChangeLog]:
        name = self._engine.dialect.name
        if name not in LOGS:
            raise ConfigurationError(
                f"{table} cannot be watched: only {' and '.join(LOGS)} can log changes, not {name}"
            )
        return LOGS[name]

    def _look_for_file(self, table: str) -> None:
        # SQLite would create an absent file, and the table would then seem to be missing from it.
        file = self._url.database if self._url.get_backend_name() == "sqlite" else None
        if file and not file.startswith(("file:", ":")) and not Path(file).exists():
            raise ConfigurationError(f"{table} cannot be read from {self}: there is no such file; {self._hint}")

    def _tables(self) -> list[str]:
        with self._reading("The database"), self._engine.connect() as connection:
            return sorted({*sa.inspect(connection).get_table_names()} - {WATCHED, CHANGES})

    def _reflect(self, table: str) -> sa.Table:
        self._look_for_file(table)
        with self._reading(table), self._engine.connect() as connection:
            inspector = sa.inspect(connection)
            tables = inspector.get_table_names()
            present = sorted({*tables, *inspector.get_view_names()})
            if table not in present:
                raise ConfigurationError(
                    f"{table} cannot be read from {self}: there is no table of that name, only "
                    f"{', '.join(present) or 'none at all'}; name the asset as its table is named, or {self._hint}"
                )
            reflected = sa.Table(table, sa.MetaData(), autoload_with=connection)
            foreign: list[str] = getattr(inspector, "get_foreign_table_names", list)()
            reflected.info[_OWN_ROWS] = table in tables and table not in foreign
            return reflected

    def _stream(self, table: str, query: sa.Select[Any]) -> Iterator[tuple[Any, ...]]:
        with self._reading(table), self._engine.connect() as connection:
            for block in connection.execution_options(yield_per=BLOCK).execute(query).partitions():
                yield from map(tuple, block)

    @contextmanager
    def _reading(self, table: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise CouldNotRead(
                f"{table} cannot be read from {self}: {self._cause(error)}. Nothing was planned; see that the database "
                f"is reachable and readable, or {self._hint}"
            ) from None

    @contextmanager
    def _installing(self, table: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            orig = getattr(error, "orig", None)
            state = getattr(orig, "sqlstate", None) or getattr(orig, "pgcode", None)  # psycopg's word, and psycopg2's
            raise ConfigurationError(
                f"The log of changes of {table} in {self} cannot be installed or removed: {self._cause(error)}. All is "
                f"as it was. {_REMEDIES.get(str(state), 'See that the database is reachable and can be written to')}"
            ) from None

    def _cause(self, error: SQLAlchemyError) -> str:
        cause = str(getattr(error, "orig", None) or error).strip()
        return cause.replace(str(self._url.password), "***") if self._url.password else cause


def _patience(url: sa.URL) -> dict[str, str]:
    """A server that does not answer is given up after ten seconds, unless the address says otherwise."""
    libpq = url.drivername in {"postgresql", "postgresql+psycopg", "postgresql+psycopg2"}
    return {"connect_timeout": "10"} if libpq and "connect_timeout" not in url.query else {}


_REMEDIES = {
    "42501": "Run it with --url as the table's owner, who may also create tables in its schema; or give what --sql "
    "prints to whoever may",
    "55P03": "A transaction has had the table open for longer than this waits: try again when it has ended",
}


def _key(table: sa.Table) -> sa.Column[Any]:
    """The primary key; where that is not one column, the first column, as in a folder."""
    keys = list(table.primary_key.columns)
    return keys[0] if len(keys) == 1 else next(iter(table.columns))


def _newest(table: sa.Table) -> sa.Select[Any] | None:
    """The highest `updated_at` and key, through indexes; None where no index begins with `updated_at`."""
    wanted = table.columns.get("updated_at")
    if wanted is None or not any(_leads(index, wanted) for index in table.indexes):
        return None
    keys = list(table.primary_key.columns)
    return sa.select(*(_highest(column) for column in [wanted, *(keys if len(keys) == 1 else [])]))


def _leads(index: sa.Index, column: sa.Column[Any]) -> bool:
    """Whether an index finds the highest value of a column: it holds every row, in order, by this column first."""
    partial = any(index.dialect_options[each].get("where") is not None for each in ("postgresql", "sqlite"))
    ordered = index.dialect_options["postgresql"].get("using") in (False, None, "", "btree")
    return not partial and ordered and next(iter(index.expressions), None) is column


def _highest(column: sa.Column[Any]) -> sa.ScalarSelect[Any]:
    # Not max(), which uuid lacks.
    return sa.select(column).where(column.is_not(None)).order_by(column.desc()).limit(1).scalar_subquery()
