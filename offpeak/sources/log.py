"""What says which rows of a table have changed: a log beside the table, written by triggers in the same transaction.

It holds one entry per key that ever changed, so it grows no further than the table did. A position in it is what one
consistent reading of the database saw. It begins with the epoch: whatever could have let a change go by unlogged (a
TRUNCATE, a trigger that was off meanwhile, a table made anew or rewritten) makes a new epoch, and a position of another
one is of no use. Then every row is read, which is never wrong.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import sqlalchemy as sa

from offpeak.errors import ConfigurationError

WATCHED, CHANGES = "offpeak_watched", "offpeak_changes"
"""The two tables, beside those that they watch."""

CHANNEL = "offpeak_changes"
"""Where Postgres notifies of a change; the payload is the table's name, without its schema."""

_SEPARATOR = "@"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far the log of one table is, in one snapshot of the database."""

    key_column: str
    epoch: str
    at: str
    """The place within the epoch, in the database's own terms."""
    installed_at: str
    """UTC, ISO 8601."""
    broken: str | None = None
    """Why the log may lack changes, so that every row has to be read; None where it does not."""

    @property
    def position(self) -> str | None:
        """Where a later reading goes on; None where it cannot."""
        return None if self.broken else f"{self.epoch}{_SEPARATOR}{self.at}"

    def place_of(self, position: str | None) -> str | None:
        """The place that a position names in this epoch; None for a position that is of no use."""
        epoch, _, at = (position or "").rpartition(_SEPARATOR)
        return at if at and epoch == self.epoch and not self.broken else None


class ChangeLog(ABC):
    """The log of one table, on one connection. It only looks; what changes the database it gives as SQL."""

    def __init__(self, connection: sa.Connection, table: str) -> None:
        self.connection, self.table = connection, table

    @staticmethod
    @abstractmethod
    def snapshot(engine: sa.Engine, table: str | None) -> AbstractContextManager[sa.Connection]:
        """A connection on which all that is read belongs together, `table` included where it is named."""

    @staticmethod
    @abstractmethod
    def writing(engine: sa.Engine) -> AbstractContextManager[sa.Connection]:
        """A transaction that installs or removes, whole or not at all."""

    @abstractmethod
    def refusal(self) -> str | None:
        """Why this table cannot be watched, as the end of a sentence; None where it can."""

    @abstractmethod
    def installation(self, *, notify: bool) -> list[str]:
        """The statements that begin a log of the table, in a new epoch. Only for a table without `refusal`."""

    def grants(self, readers: Sequence[str]) -> list[str]:
        """The statements that let roles read the log."""
        if readers:
            raise ConfigurationError(f"{self.table}: this database knows no roles, so there is nothing to grant")
        return []

    @abstractmethod
    def removal(self) -> list[str]:
        """The statements that end it, and with the last one all that was installed."""

    @abstractmethod
    def standing(self) -> Standing | None:
        """How far it is; None for a table that is not watched. Of constant cost."""

    @abstractmethod
    def entries(self, standing: Standing, position: str | None) -> sa.Subquery | None:
        """The column `key` of what changed after `position`, found by an index; None where that cannot be said."""

    @abstractmethod
    def same_key(self, column: sa.Column[object], key: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
        """Whether an entry is of the row, in such words that the primary key's index finds it."""

    @property
    @abstractmethod
    def recorded(self) -> bool:
        """Whether the log names the table, which may be gone."""

    @property
    @abstractmethod
    def notifies(self) -> bool:
        """Whether the installed triggers notify listeners."""


def quoted(name: str) -> str:
    """A name as it stands in SQL. SQLAlchemy's own way would double a percent sign for some drivers."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Text as it stands in SQL, where no parameter can be given."""
    return "'" + text.replace("'", "''") + "'"
