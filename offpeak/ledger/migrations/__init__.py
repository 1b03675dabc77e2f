"""Alembic migrations of the ledger, in a version table of their own: Dagster's may live in the same database."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy.exc import DatabaseError

from offpeak.errors import LedgerUnavailable, LedgerUnreadable
from offpeak.ledger.database import Database

VERSION_TABLE = "offpeak_version"
_LOCK = 0x0FF9EA4  # any number: whoever migrates holds it


def migrate(database: Database) -> None:
    """Bring the schema to this program's version. Raises LedgerUnreadable for one that is newer, or torn."""
    current = _version(database)
    if current == _head():
        return
    config = _config()
    with database.write(durable=True) as connection:
        if not database.sqlite:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise LedgerUnreadable(
                f"The ledger at {database.url.render_as_string(hide_password=True)} has schema version {current!r}, "
                "unknown to this program: a newer Offpeak wrote it. Nothing was changed. Install that version or a "
                "later one."
            ) from error


def require_current(database: Database) -> None:
    """Raise LedgerUnreadable unless the schema is this program's; changes nothing, unlike `migrate`."""
    address = database.url.render_as_string(hide_password=True)
    current = _version(database)
    head = _head()
    if current == head:
        return
    if current is None:
        raise LedgerUnreadable(
            f"There is no ledger at {address}. Nothing was read. Materialise a batch asset there first, or name "
            "another database."
        )
    raise LedgerUnreadable(
        f"The ledger at {address} has schema version {current!r}, and this program reads {head!r}. Nothing was read. "
        "Use the version of Offpeak that writes it; a ledger that is older is brought up by the next materialization."
    )


@cache
def _head() -> str | None:
    """The version of this program's schema. Alembic reads every migration for it, and a process opens many ledgers."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


def _version(database: Database) -> str | None:
    try:
        with database.read() as connection:
            return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    except (DatabaseError, LedgerUnavailable) as error:  # a server that is away; a file that is torn or no database
        cause = error.__cause__ if isinstance(error, LedgerUnavailable) else error
        raise LedgerUnreadable(
            f"The ledger at {database.url.render_as_string(hide_password=True)} cannot be reached or read: "
            f"{getattr(cause, 'orig', cause)}. Nothing was read or sent. See that the address is "
            "right and the database well; do not begin a new one in its place, which would buy everything again."
        ) from None
