"""The ledger: what was asked, bought, answered and is wanted. One database and one folder of spool files.

Opening one creates or migrates it. A ledger is never assumed empty because it could not be read.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.clock import Clock, SystemClock, to_micros
from offpeak.errors import ConfigurationError, LedgerUnreadable
from offpeak.ledger import tables
from offpeak.ledger.claims import Claimant
from offpeak.ledger.custom_ids import ALPHABET
from offpeak.ledger.database import Database, parse_address
from offpeak.ledger.home import settle_home
from offpeak.ledger.migrations import migrate, require_current
from offpeak.providers.base import BatchView


class Ledger:
    """An open ledger. Thread-safe; close it, or use it as a context manager."""

    def __init__(self, database: Database, spool: Path, clock: Clock, identity: str) -> None:
        self.database = database
        self.spool = spool
        self.clock = clock
        self.identity = identity
        """8 letters that stand in every custom_id."""
        self.claimant = Claimant.this_process()
        self.spooled: dict[str, str] = {}
        """Spool files that this process wrote and made durable, with their digests: it need not read them back."""
        self.unrecorded: dict[int, BatchView] = {}
        """Batches that this process created, by submission, whose ids the database has not taken yet."""

    @classmethod
    def open(cls, url: str, *, spool_dir: Path | None = None, clock: Clock | None = None) -> Self:
        """Open, create or migrate the ledger at a SQLAlchemy address.

        Spool files stand beside a SQLite file in `spool/`, unless `spool_dir` is given; with Postgres it must be given,
        and must be a folder that every process working on this ledger can read.
        Raises ConfigurationError for an unusable address or folder, LedgerUnreadable for a ledger that is foreign,
        torn, or newer than this program.
        """
        clock = clock or SystemClock()
        database = Database(url)
        if spool_dir is None:
            if not database.sqlite or database.url.database is None:
                raise ConfigurationError(
                    "A ledger on Postgres needs spool_dir=: a folder for the bytes that get uploaded."
                )
            spool_dir = Path(database.url.database).absolute().parent / "spool"
        try:
            spool_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"The spool folder {spool_dir} cannot be made: {error.strerror}.") from error
        if not os.access(spool_dir, os.W_OK):
            raise ConfigurationError(
                f"The spool folder {spool_dir} cannot be written. Nothing was opened. Make it writable, "
                "or name another."
            )
        migrate(database)
        identity = _identity(database, clock)
        settle_home(database, identity)
        return cls(database, spool_dir, clock, identity)

    def require_home(self) -> None:
        """Raise LedgerUnreadable when this is a copy of a ledger that nobody has adopted.

        Nothing is written to such a one; what reaches a provider without writing first asks here.
        """
        self.database.require_writable()

    def next_requests(self, connection: Connection, count: int) -> int:
        """Reserve `count` consecutive request ids; returns the first."""
        return self._reserve(connection, tables.identity.c.next_request, count)

    def next_submission(self) -> int:
        """Reserve a submission id. One that is never used leaves a gap, nothing else."""
        with self.database.write() as connection:
            return self._reserve(connection, tables.identity.c.next_submission, 1)

    def _reserve(self, connection: Connection, counter: sa.Column[int], count: int) -> int:
        after = connection.execute(
            tables.identity.update().values({counter.name: counter + count}).returning(counter)
        ).scalar_one()
        return after - count

    def close(self) -> None:
        self.database.checkpoint()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def existing(url: str) -> Iterator[Database]:
    """The database of a ledger that is there already, to be read: nothing is created or migrated.

    Raises LedgerUnreadable where there is none or one of another version, ConfigurationError for an unusable address.
    """
    address = parse_address(url)
    if address.get_backend_name() == "sqlite" and not Path(address.database or "").is_file():
        raise LedgerUnreadable(
            f"There is no ledger at {address}. Nothing was read. Materialise a batch asset there first, or name "
            "another database."
        )
    database = Database(url)
    try:
        require_current(database)
        yield database
    finally:
        database.close()


def _identity(database: Database, clock: Clock) -> str:
    with database.read() as connection:
        found = connection.execute(sa.select(tables.identity.c.ledger)).scalars().all()
    if not found:
        fresh = "".join(chr(secrets.choice(ALPHABET)) for _ in range(8))
        with database.write(durable=True) as connection:
            columns = ["id", "ledger", "created_at", "next_request", "next_submission"]
            row = (1, fresh, to_micros(clock.now()), 1, 1)
            database.bulk_insert(connection, tables.identity, columns, [row], ignore_existing=True)
        with database.read() as connection:
            found = connection.execute(sa.select(tables.identity.c.ledger)).scalars().all()
    if len(found) != 1 or len(found[0]) != 8:
        raise LedgerUnreadable(
            f"The ledger at {database.url.render_as_string(hide_password=True)} does not say which ledger it is. "
            "Nothing was sent. Restore it from a backup; do not delete it, or paid batches are orphaned."
        )
    return str(found[0])
