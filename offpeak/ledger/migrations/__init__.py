"""Alembic migrations of the ledger, in a version table of their own: Dagster's may live in the same database."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError

from offpeak.errors import LedgerUnreadable
from offpeak.ledger.database import Database

VERSION_TABLE = "offpeak_version"
_LOCK = 0x0FF9EA4  # any number: whoever migrates holds it


def migrate(database: Database) -> None:
    """Bring the schema to this program's version. Raises LedgerUnreadable for one from a newer program."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    script = ScriptDirectory.from_config(config)
    with database.read() as connection:
        current = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    if current == script.get_current_head():
        return
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
