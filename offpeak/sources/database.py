"""Tables of a database, read through SQLAlchemy with SELECT alone.

The password is never shown: not in an error, and not in an address that this module prints. A row stream keeps its
SELECT open to the end; a SQLite file that is not in WAL mode makes its writers wait for that long.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from offpeak.errors import ConfigurationError, CouldNotRead

BLOCK = 2_000
"""Rows fetched at a time."""


class SourceDatabase:
    """One database address; `hint` says what to do when it is wrong."""

    def __init__(self, url: str, *, hint: str) -> None:
        self._hint = hint
        try:
            self._url = sa.make_url(url)
            self._engine = sa.create_engine(self._url, poolclass=NullPool)
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

    def _reflect(self, table: str) -> sa.Table:
        # SQLite would create an absent file, and the table would then seem to be missing from it.
        file = self._url.database if self._url.get_backend_name() == "sqlite" else None
        if file and not file.startswith(("file:", ":")) and not Path(file).exists():
            raise ConfigurationError(f"{table} cannot be read from {self}: there is no such file; {self._hint}")
        with self._reading(table), self._engine.connect() as connection:
            inspector = sa.inspect(connection)
            present = sorted({*inspector.get_table_names(), *inspector.get_view_names()})
            if table not in present:
                raise ConfigurationError(
                    f"{table} cannot be read from {self}: there is no table of that name, only "
                    f"{', '.join(present) or 'none at all'}; name the asset as its table is named, or {self._hint}"
                )
            return sa.Table(table, sa.MetaData(), autoload_with=connection)

    def _stream(self, table: str, query: sa.Select[Any]) -> Iterator[tuple[Any, ...]]:
        with self._reading(table), self._engine.connect() as connection:
            for block in connection.execution_options(yield_per=BLOCK).execute(query).partitions():
                yield from map(tuple, block)

    @contextmanager
    def _reading(self, table: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or error)
            if self._url.password:
                cause = cause.replace(str(self._url.password), "***")
            raise CouldNotRead(
                f"{table} cannot be read from {self}: {cause.strip()}. Nothing was planned; see that the database is "
                f"reachable and readable, or {self._hint}"
            ) from None
