"""Begins and ends the log of a table's changes, and says how the changes of a table can be known."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from offpeak.errors import ConfigurationError
from offpeak.sources.log import ChangeLog
from offpeak.sources.postgres_log import PostgresLog
from offpeak.sources.sqlite_log import SqliteLog

LOGS: dict[str, type[ChangeLog]] = {"postgresql": PostgresLog, "sqlite": SqliteLog}
"""The databases that can log changes, by SQLAlchemy's name for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """How the changes of one table are known."""

    table: str
    how: str
    """`log`, `updated_at` or `reading`, the last of which reads every row."""
    key_column: str | None = None
    installed_at: str | None = None
    """UTC, ISO 8601; of the log."""
    problem: str | None = None
    """Why the log cannot be used; meanwhile every row is read."""


def log_of(connection: sa.Connection, table: str) -> ChangeLog:
    """The log of a table, installed or not. Raises ConfigurationError where the database cannot have one."""
    name = connection.dialect.name
    if name not in LOGS:
        raise ConfigurationError(
            f"{table} cannot be watched: only {' and '.join(LOGS)} can log changes, and this database is {name}"
        )
    return LOGS[name](connection, table)


def installation(
    connection: sa.Connection, table: str, *, notify: bool = True, readers: Sequence[str] = ()
) -> list[str]:
    """The statements that begin the log of a table; none where it runs as asked for, so that its positions stay good.

    Raises ConfigurationError for a table that cannot be watched.
    """
    log = log_of(connection, table)
    if refusal := log.refusal():
        raise ConfigurationError(f"{table} cannot be watched: {refusal}. Nothing was installed")
    standing = log.standing()
    wanted = notify and isinstance(log, PostgresLog)
    if standing is not None and standing.broken is None and log.notifies == wanted:
        return log.grants(readers)
    return [*log.installation(notify=notify), *log.grants(readers)]


def removal(connection: sa.Connection, table: str) -> list[str]:
    """The statements that end the log of a table. Raises ConfigurationError for one that is not watched."""
    log = log_of(connection, table)
    if not log.recorded:
        raise ConfigurationError(f"{table} is not watched, so there is nothing to remove")
    return log.removal()


def execute(connection: sa.Connection, statements: Sequence[str]) -> None:
    """Run statements as they stand."""
    for statement in statements:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def watch(connection: sa.Connection, table: str) -> None:
    """Begin the log of a table within the connection's transaction, unless it runs already.

    Raises ConfigurationError for a table that cannot be watched.
    """
    execute(connection, installation(connection, table))
