"""What became of each deadline by which an asset had to be fresh: written once, and never taken back."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from offpeak.clock import from_micros, to_micros
from offpeak.ledger import tables
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import SlaState, transition


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaRow:
    """One occurrence, as it stands."""

    asset: str
    due_at: datetime
    state: SlaState
    entered_at: datetime


def enter(ledger: Ledger, asset: str, due_at: datetime, state: SlaState, *, why: str) -> bool:
    """Write down that an occurrence is in `state` now, as an event too; False when it was already, or is over."""
    table, now = tables.sla, ledger.clock.now()
    this = sa.and_(table.c.asset == asset, table.c.due_at == to_micros(due_at))
    with ledger.database.read() as connection:
        found = connection.execute(sa.select(table.c.state).where(this)).scalar()
    if state is SlaState.DUE or found in {state.value, SlaState.MET.value, SlaState.MISSED.value}:
        return False
    columns = ["asset", "due_at", "state", "entered_at"]
    row = (asset, to_micros(due_at), SlaState.DUE.value, to_micros(now))
    with ledger.database.write() as connection:
        ledger.database.bulk_insert(connection, table, columns, [row], ignore_existing=True)
        return transition(
            connection,
            connection.execute(sa.select(table.c.id).where(this)).scalar_one(),
            state,
            at=now,
            who=str(ledger.claimant),
            why=why,
            entered_at=to_micros(now),
        )


def listed(ledger: Ledger, *, asset: str | None = None, limit: int = 50) -> list[SlaRow]:
    """The newest occurrences, the newest first."""
    table = tables.sla
    query = sa.select(table).order_by(table.c.due_at.desc(), table.c.asset).limit(limit)
    if asset is not None:
        query = query.where(table.c.asset == asset)
    with ledger.database.read() as connection:
        return [
            SlaRow(
                asset=row.asset,
                due_at=from_micros(row.due_at),
                state=SlaState(row.state),
                entered_at=from_micros(row.entered_at),
            )
            for row in connection.execute(query)
        ]
