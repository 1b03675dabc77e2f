"""The outbox: what people are to be told stands in the ledger before it is sent, and is tried until it has arrived.

A notice is written in the transaction that makes it true, where there is one, so a crash loses none. Its name says what
makes two notices the same: a second one is not written. Whoever delivers it claims it first, by one UPDATE, and records
afterwards which destinations have it. Delivery is at least once: a process that dies between sending and recording
leaves a notice that somebody else sends again. A retry goes only to those destinations that have not got it yet.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from offpeak.clock import from_micros, to_micros
from offpeak.ledger import tables
from offpeak.ledger.claims import Claimant
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.notify import NoticeKind
from offpeak.ledger.states import NoticeState, record, transition

MOST_ATTEMPTS = 10

CLAIM = timedelta(minutes=2)
"""How long a claim holds: longer than any delivery takes. That of a process of this machine ends with the process."""

_FIRST_PAUSE = timedelta(minutes=1)
_LONGEST_PAUSE = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that somebody is to be told. `name` is what makes two notices the same one."""

    name: str
    kind: NoticeKind
    asset: str
    title: str
    body: str
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A notice that this process delivers. `destinations` are those that have not got it yet."""

    id: int
    notice: Notice
    attempt: int
    """From 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeRow:
    """A notice as it stands, for people."""

    name: str
    kind: str
    asset: str
    title: str
    state: NoticeState
    attempts: int
    created_at: datetime
    next_at: datetime
    error: str | None


def raise_notice(connection: Connection, ledger: Ledger, notice: Notice) -> bool:
    """Put a notice into the outbox, within the transaction of `connection`; False where it was told before."""
    table, now = tables.notice, ledger.clock.now()
    names = msgspec.json.encode(notice.destinations).decode()
    columns = ["name", "kind", "asset", "title", "body", "destinations", "state", "created_at", "attempts", "next_at"]
    row = (
        *(notice.name, notice.kind.value, notice.asset, notice.title, notice.body, names),
        *(NoticeState.PENDING.value, to_micros(now), 0, to_micros(now)),
    )
    if not ledger.database.bulk_insert(connection, table, columns, [row], ignore_existing=True):
        return False
    number = connection.execute(sa.select(table.c.id).where(table.c.name == notice.name)).scalar_one()
    record(connection, table, number, NoticeState.PENDING, at=now, who=str(ledger.claimant), why=notice.title)
    return True


def raise_new(ledger: Ledger, notices: Collection[Notice]) -> list[Notice]:
    """Put those into the outbox that were not told before, and return them. Without any, nothing is written."""
    table = tables.notice
    with ledger.database.read() as connection:
        query = sa.select(table.c.name).where(table.c.name.in_([each.name for each in notices]))
        known = set(connection.execute(query).scalars()) if notices else set()
    new = [each for each in notices if each.name not in known]
    if not new:
        return []
    with ledger.database.write() as connection:
        return [each for each in new if raise_notice(connection, ledger, each)]


def claim(ledger: Ledger, *, assets: Collection[str], most: int) -> list[Claimed]:
    """Up to `most` notices of these assets that are due, the oldest first; nobody else delivers them meanwhile.

    One whose row cannot be read is given up, and the others are claimed all the same.
    """
    claimed = []
    for row in _due(ledger, assets, most):
        notice = _readable(row)
        if notice is None:
            _give_up(ledger, row.id, why="its row cannot be read")
        elif _take(ledger, row):
            claimed.append(Claimed(id=row.id, notice=notice, attempt=row.attempts + 1))
    return claimed


def settle(ledger: Ledger, claimed: Claimed, failed: Mapping[str, str]) -> NoticeState | None:
    """Write down how an attempt ended. `failed` are the destinations that did not get it, with the reason.

    Returns the state; None where somebody else has claimed the notice since.
    """
    table, now, who = tables.notice, ledger.clock.now(), str(ledger.claimant)
    left = [name for name in claimed.notice.destinations if name in failed]
    error = "; ".join(f"{name}: {failed[name]}" for name in left) or None
    values: dict[str, Any] = {"destinations": msgspec.json.encode(left).decode(), "error": error, "owner": None}
    with ledger.database.write() as connection:
        mine = sa.and_(table.c.id == claimed.id, table.c.owner == who, table.c.attempts == claimed.attempt)
        if connection.execute(sa.select(table.c.id).where(mine)).first() is None:
            return None
        if not left:
            to, why = NoticeState.DELIVERED, None
        elif claimed.attempt >= MOST_ATTEMPTS:
            to, why = NoticeState.GIVEN_UP, f"{error}, after {claimed.attempt} attempts"
        else:
            values["next_at"] = to_micros(now + pause_after(claimed.attempt))
            connection.execute(table.update().where(mine).values(**values))
            return NoticeState.PENDING
        transition(connection, claimed.id, to, at=now, who=who, why=why, **values)
        return to


def pause_after(attempt: int) -> timedelta:
    """How long a notice is left alone after its attempt number `attempt` (from 1): 1, 2, 4 ... 30 minutes."""
    return min(_FIRST_PAUSE * (1 << (attempt - 1)), _LONGEST_PAUSE)


def listed(ledger: Ledger, *, asset: str | None = None, limit: int = 50) -> list[NoticeRow]:
    """Notices, the newest first."""
    table = tables.notice
    query = sa.select(table).order_by(table.c.id.desc()).limit(limit)
    if asset is not None:
        query = query.where(table.c.asset == asset)
    with ledger.database.read() as connection:
        return [
            NoticeRow(
                name=row.name,
                kind=row.kind,
                asset=row.asset,
                title=row.title,
                state=NoticeState(row.state),
                attempts=row.attempts,
                created_at=from_micros(row.created_at),
                next_at=from_micros(row.next_at),
                error=row.error,
            )
            for row in connection.execute(query)
        ]


def _due(ledger: Ledger, assets: Collection[str], most: int) -> list[Row[Any]]:
    """Notices to be delivered now: their time has come, or whoever claimed them on this machine has died."""
    table, now = tables.notice, ledger.clock.now()
    waiting = sa.and_(table.c.state == NoticeState.PENDING.value, table.c.asset.in_(assets))
    claimable = sa.or_(table.c.next_at <= to_micros(now), table.c.owner.is_not(None))
    with ledger.database.read() as connection:
        found = connection.execute(sa.select(table).where(waiting, claimable).order_by(table.c.id)).all()
    return [row for row in found if row.next_at <= to_micros(now) or not _held(row, now)][:most]


def _held(row: Row[Any], now: datetime) -> bool:
    owner = Claimant.parse(row.owner or "")
    return owner is not None and owner.alive(claimed_at=now, now=now)


def _take(ledger: Ledger, row: Row[Any]) -> bool:
    """Claim a notice as it was read; False where somebody else was first. The attempt counts from here, so that a
    notice at which its process dies each time is given up like any other.
    """
    table, now = tables.notice, ledger.clock.now()
    as_read = sa.and_(
        table.c.id == row.id,
        table.c.state == NoticeState.PENDING.value,
        table.c.attempts == row.attempts,
        table.c.next_at == row.next_at,
    )
    with ledger.database.write() as connection:
        if row.attempts >= MOST_ATTEMPTS:
            why = f"whoever delivered it died over it, {row.attempts} times"
            transition(connection, row.id, NoticeState.GIVEN_UP, at=now, who=str(ledger.claimant), why=why, owner=None)
            return False
        taken = connection.execute(
            table.update()
            .where(as_read)
            .values(owner=str(ledger.claimant), attempts=row.attempts + 1, next_at=to_micros(now + CLAIM))
        )
        return taken.rowcount == 1


def _readable(row: Row[Any]) -> Notice | None:
    try:
        return Notice(
            name=row.name,
            kind=NoticeKind(row.kind),
            asset=row.asset,
            title=row.title,
            body=row.body,
            destinations=msgspec.json.decode(row.destinations, type=tuple[str, ...]),
        )
    except (ValueError, TypeError, msgspec.MsgspecError):
        return None


def _give_up(ledger: Ledger, number: int, *, why: str) -> None:
    with ledger.database.write() as connection:
        who = str(ledger.claimant)
        transition(connection, number, NoticeState.GIVEN_UP, at=ledger.clock.now(), who=who, why=why, error=why)
