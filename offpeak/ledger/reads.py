"""When a consumer last read the rows of each target: by that the spend report knows what nobody reads.

Best effort. To read never fails, and never waits for long, because this could not be written down: the reader's role
may only SELECT, the server may be a standby, or somebody else may be writing.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.clock import from_micros, to_micros
from offpeak.ledger import tables
from offpeak.ledger.database import Database
from offpeak.ledger.ledger import Ledger

_LOG = logging.getLogger(__name__)

EVERY = timedelta(hours=1)
"""A target's mark is written again at the soonest after this."""

PATIENCE = timedelta(milliseconds=100)
"""How long a SQLite file that somebody is writing to is waited for."""


def mark_read(database: Database, asset: str, partitions: Sequence[str] | None, *, at: datetime) -> None:
    """Write down that the rows of these partitions are read at `at`; None means all that ever landed.

    On Postgres a row that somebody holds is passed over: another read will find it free.
    """
    table = tables.target
    chosen = [
        table.c.asset == asset,
        table.c.job_id.is_not(None),
        sa.or_(table.c.read_at.is_(None), table.c.read_at < to_micros(at - EVERY)),
    ]
    if partitions is not None:
        chosen.append(table.c.partition_key.in_(partitions))
    due = sa.select(table.c.id).where(*chosen)
    try:
        with database.read() as connection:
            if connection.execute(due.limit(1)).first() is None or not _may_write(database, connection):
                return
        with database.write(patience=PATIENCE) as connection:
            free = due.with_for_update(skip_locked=True)
            connection.execute(table.update().where(table.c.id.in_(free)).values(read_at=to_micros(at)))
    except Exception as error:  # noqa: BLE001 - of whatever kind: to read must not fail because of it
        _LOG.debug("That %s was read could not be written down: %s", asset, error)


def _may_write(database: Database, connection: Connection) -> bool:
    """Whether a server lets this role write the mark: asked, so that its log has no error for every read."""
    if database.sqlite:
        return True
    allowed = sa.text(
        "SELECT has_column_privilege('target', 'read_at', 'UPDATE') AND NOT pg_is_in_recovery() "
        "AND current_setting('transaction_read_only') = 'off'"
    )
    return bool(connection.execute(allowed).scalar_one())


def last_read(ledger: Ledger) -> dict[tuple[str, str], datetime]:
    """When each asset and partition was last read, of those that ever were."""
    table = tables.target
    query = sa.select(table.c.asset, table.c.partition_key, table.c.read_at).where(table.c.read_at.is_not(None))
    with ledger.database.read() as connection:
        return {(asset, key): from_micros(at) for asset, key, at in connection.execute(query).tuples()}
