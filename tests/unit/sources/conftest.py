"""Applications' databases, and a reader that keeps up with a table of theirs by its changes alone."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from offpeak import SourceTables
from offpeak.sources.database import SourceDatabase

from ...conftest import new_database

TABLE = "tickets"


@dataclass
class Application:
    """A program that owns a database with the table `tickets`, watched unless a test says otherwise."""

    url: str

    def __post_init__(self) -> None:
        self.engine = sa.create_engine(self.url, poolclass=NullPool)
        self.tables = SourceTables(url=self.url)

    @property
    def source(self) -> SourceDatabase:
        found = self.tables.source()
        assert isinstance(found, SourceDatabase)
        return found

    def run(self, *statements: str) -> None:
        """One transaction."""
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement, execution_options={"no_parameters": True})

    def rows(self, table: str = TABLE) -> dict[str, Any]:
        with self.engine.connect() as connection:
            return {str(row[0]): tuple(row) for row in connection.exec_driver_sql(f'SELECT * FROM "{table}"')}

    def version(self, *, since: str | None = None, table: str = TABLE) -> str:
        return self.tables.data_version(dg.AssetKey(["app", table]), since=since)

    def reader(self, table: str = TABLE) -> "Reader":
        return Reader(self, table)


@dataclass
class Reader:
    """What a plan does: it reads what changed since it last did, and keeps what it was told."""

    application: Application
    table: str = TABLE
    position: str | None = None
    mirror: dict[str, Any] = field(default_factory=dict)
    complete: bool = False

    def read(self) -> dict[str, Any]:
        """What it was given, by key; None for a row that is gone. A key comes once."""
        changed = self.application.tables.changed(self.table, since=self.position)
        self.position, self.complete = changed.position, changed.complete
        given: dict[str, Any] = {}
        for key, row in changed._changes:
            assert key not in given
            given[key] = None if row is None else tuple(row)
        if changed.complete:
            self.mirror = {}
        self.mirror = {key: row for key, row in (self.mirror | given).items() if row is not None}
        return given


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """A database of its own on Postgres."""
    with new_database(postgres) as url:
        yield url


@pytest.fixture
def sqlite_app(tmp_path: Path) -> Iterator[Application]:
    yield from _with_tickets(f"sqlite:///{tmp_path / 'app.db'}")


@pytest.fixture
def postgres_app(postgres_url: str) -> Iterator[Application]:
    yield from _with_tickets(postgres_url)


def _with_tickets(url: str) -> Iterator[Application]:
    application = Application(url)
    application.run(
        "CREATE TABLE tickets (id INTEGER PRIMARY KEY, body TEXT)",
        "INSERT INTO tickets VALUES (1, 'one'), (2, 'two'), (3, 'three')",
    )
    application.source.watch(TABLE)
    yield application
    application.engine.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def application(request: pytest.FixtureRequest) -> Application:
    """An application on each database in turn."""
    found: Application = request.getfixturevalue(f"{request.param}_app")
    return found
