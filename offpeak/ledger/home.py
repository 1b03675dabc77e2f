"""Which database a ledger lives in, so that a copy of it knows that it is one.

Two ledgers with one identity would collect, cancel and delete each other's batches. So a ledger writes down where it
lives: for SQLite the file's inode, which a moved folder keeps and a copied file has not; for Postgres the server's own
identifier and the database's, which a restored dump has not. What copies a whole disk or server (a volume snapshot, a
physical backup) copies that, too, and cannot be told from a restart.
"""

from pathlib import Path

import sqlalchemy as sa

from offpeak.errors import LedgerUnreadable
from offpeak.ledger import tables
from offpeak.ledger.database import Database


def home_of(database: Database) -> str:
    """The database that is open, in a form that another one has not."""
    if database.sqlite:
        return f"inode:{Path(database.url.database or '').stat().st_ino}"
    query = (
        "SELECT (SELECT system_identifier FROM pg_control_system()), "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with database.read() as connection:
        system, oid = connection.exec_driver_sql(query).one()
    return f"postgres:{system}:{oid}"


def settle_home(database: Database, identity: str) -> None:
    """Write down where the ledger lives, where that is not known yet; elsewhere, let it be read and not written."""
    here, table = home_of(database), tables.identity
    recorded = _recorded(database)
    if recorded is None:
        with database.write(durable=True) as connection:
            connection.execute(table.update().where(table.c.home.is_(None)).values(home=here))
        recorded = _recorded(database)
    if recorded != here:
        database.refused = LedgerUnreadable(
            f"The ledger at {database.url.render_as_string(hide_password=True)} does not live where ledger {identity} "
            "was made: it is a copy of it, was restored from a backup, or was moved to another disk or server. It can "
            "be read; nothing was sent, collected, cancelled or deleted. If the original is gone, `offpeak adopt "
            "--original-gone` goes on with its batches here; if the original lives on, `offpeak adopt "
            "--beside-original` makes this one a ledger of its own."
        )


def _recorded(database: Database) -> str | None:
    with database.read() as connection:
        home: str | None = connection.execute(sa.select(tables.identity.c.home)).scalar_one()
    return home
