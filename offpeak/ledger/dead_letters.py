"""Requests that are not tried again: counted, listed, sent round again, or let go.

A dead letter belongs to a request, and several rows may want one, of several assets: what is done about it is done for
all of them. Only what some row wants now is listed; what nobody asks any more needs nobody.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.clock import from_micros, to_micros
from offpeak.errors import NotFound
from offpeak.ledger import tables
from offpeak.ledger.database import ROWS_PER_TRANSACTION, slices
from offpeak.ledger.explaining import refuse_unknown_asset
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import NO_ATTEMPT, Fate

Act = Callable[[Connection, Sequence[int]], None]
"""What is done to the dead letters of these requests."""

_IDS_PER_STATEMENT = 500

NOT_BY_A_PERSON = (Fate.DEAD, Fate.DROPPED)
"""What is taken where no key is named: a person's own decision is only undone by name."""


class Deed(StrEnum):
    """What somebody did about a dead letter: the state of its event."""

    REQUEUED = "requeued"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Dead letters of one asset with the same reason and fate."""

    asset: str
    reason: str
    fate: Fate
    requests: int
    rows: int
    """Rows that want them: more where several ask the same."""
    cost_pico: int
    """What their unusable answers cost, in pico-dollars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadRow:
    """A row whose request is not tried again."""

    asset: str
    partition_key: str
    key: str
    request_id: int
    reason: str
    message: str | None
    fate: Fate
    at: datetime
    attempts: int
    """Those that the provider made."""
    cost_pico: int
    """What they cost, in pico-dollars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which dead letters are meant: an asset's with these keys, or with this reason, or all.

    Without `partition_key` in every partition. What a person let go is only taken by its key.
    """

    asset: str
    keys: Sequence[str] = ()
    partition_key: str | None = None
    reason: str | None = None

    @property
    def fates(self) -> Sequence[Fate]:
        return tuple(Fate) if self.keys else NOT_BY_A_PERSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """Another asset that wants some of the same requests."""

    asset: str
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What was done about dead letters."""

    requests: int
    shared_with: Sequence[Sharing]
    """Other assets for which it was done too."""


def counts(ledger: Ledger, *, asset: str | None = None) -> list[Count]:
    """How many dead letters there are and what they cost, by asset, reason and fate, the most frequent first.

    Raises NotFound for an asset that was never planned.
    """
    dead, failure = tables.dead_letter, tables.failure
    rows = sa.func.count().label("rows")
    each = (
        sa.select(tables.target.c.asset, dead.c.request_id, dead.c.reason, dead.c.fate, rows)
        .select_from(_wanted())
        .where(*_of_asset(asset))
        .group_by(tables.target.c.asset, dead.c.request_id, dead.c.reason, dead.c.fate)
        .subquery()
    )
    cost = (
        sa.select(failure.c.request_id, sa.func.sum(failure.c.cost_pico).label("cost"))
        .where(failure.c.request_id.in_(sa.select(dead.c.request_id)))
        .group_by(failure.c.request_id)
        .subquery()
    )
    requests = sa.func.count()
    query = (
        sa.select(
            each.c.asset,
            each.c.reason,
            each.c.fate,
            requests,
            sa.func.sum(each.c.rows),
            sa.func.coalesce(sa.func.sum(cost.c.cost), 0),
        )
        .select_from(each.outerjoin(cost, cost.c.request_id == each.c.request_id))
        .group_by(each.c.asset, each.c.reason, each.c.fate)
        .order_by(each.c.asset, requests.desc(), each.c.reason, each.c.fate)
    )
    with ledger.database.read() as connection:
        if asset is not None:
            refuse_unknown_asset(connection, asset)
        return [
            Count(asset=name, reason=reason, fate=Fate(fate), requests=number, rows=int(wanting), cost_pico=int(spent))
            for name, reason, fate, number, wanting, spent in connection.execute(query)
        ]


def billed(ledger: Ledger, *, since: datetime, until: datetime) -> int:
    """What attempts that were bought from `since` up to before `until` cost for requests that are not tried again, in
    pico-dollars: of whatever fate, and wanted still or not.
    """
    failure, letter, submission = tables.failure, tables.dead_letter, tables.submission
    at = sa.func.coalesce(submission.c.create_at, submission.c.intended_at)
    query = (
        sa.select(sa.func.coalesce(sa.func.sum(failure.c.cost_pico), 0))
        .join(letter, letter.c.request_id == failure.c.request_id)
        .join(submission, submission.c.id == failure.c.submission_id)
        .where(at >= to_micros(since), at < to_micros(until))
    )
    with ledger.database.read() as connection:
        return int(connection.execute(query).scalar_one())


def listed(
    ledger: Ledger,
    *,
    asset: str | None = None,
    reason: str | None = None,
    fate: Fate = Fate.DEAD,
    limit: int = 50,
    skip: int = 0,
) -> list[DeadRow]:
    """Rows whose request is not tried again, by asset, partition and key: `limit` of them, after the first `skip`."""
    dead, target, wanted = tables.dead_letter, tables.target, tables.wanted
    query = (
        sa.select(target.c.asset, target.c.partition_key, wanted.c.key, dead)
        .select_from(_wanted())
        .where(*_of_asset(asset), dead.c.fate == fate.value, *(() if reason is None else (dead.c.reason == reason,)))
        .order_by(target.c.asset, target.c.partition_key, wanted.c.key)
        .limit(limit)
        .offset(skip)
    )
    with ledger.database.read() as connection:
        rows = connection.execute(query).all()
        tried = _tried(connection, {row.request_id for row in rows})
    return [
        DeadRow(
            asset=row.asset,
            partition_key=row.partition_key,
            key=row.key,
            request_id=row.request_id,
            reason=row.reason,
            message=row.message,
            fate=Fate(row.fate),
            at=from_micros(row.at),
            attempts=tried.get(row.request_id, (0, 0))[0],
            cost_pico=tried.get(row.request_id, (0, 0))[1],
        )
        for row in rows
    ]


def requeue(ledger: Ledger, chosen: Chosen, *, who: str) -> Settled:
    """Let the next plan that wants them buy them again, with all attempts; nothing is sent.

    Raises NotFound, and changes nothing, where the asset or one of the keys is not among the dead letters.
    """
    dead, failure, requeued = tables.dead_letter, tables.failure, tables.requeued
    newest = sa.select(sa.func.max(failure.c.submission_id)).where(failure.c.request_id == dead.c.request_id)

    def again(connection: Connection, ids: Sequence[int]) -> None:
        counted_up_to = sa.select(dead.c.request_id, sa.func.coalesce(newest.scalar_subquery(), 0))
        connection.execute(requeued.delete().where(requeued.c.request_id.in_(ids)))
        connection.execute(
            requeued.insert().from_select(
                ["request_id", "submission_id"], counted_up_to.where(dead.c.request_id.in_(ids))
            )
        )
        connection.execute(dead.delete().where(dead.c.request_id.in_(ids)))

    return _settle(ledger, chosen, again, Deed.REQUEUED, who=who, why=f"requeued for {chosen.asset}")


def discard(ledger: Ledger, chosen: Chosen, *, who: str, why: str | None = None) -> Settled:
    """Let them go: nobody waits for an answer any more, and they are not bought again.

    Raises NotFound, and changes nothing, where the asset or one of the keys is not among the dead letters.
    """
    dead = tables.dead_letter

    def let_go(connection: Connection, ids: Sequence[int]) -> None:
        connection.execute(dead.update().where(dead.c.request_id.in_(ids)).values(fate=Fate.DISCARDED.value))

    reason = why or f"discarded for {chosen.asset}"
    return _settle(ledger, chosen, let_go, Deed.DISCARDED, who=who, why=reason)


def _settle(ledger: Ledger, chosen: Chosen, act: Act, deed: Deed, *, who: str, why: str) -> Settled:
    """Do `act` to each chosen dead letter, with an event, a short transaction at a time."""
    _refuse_unknown(ledger, chosen)
    shared = _shared(ledger, chosen)
    settled, at = 0, to_micros(ledger.clock.now())
    for page in _pages(ledger, chosen):
        with ledger.database.write() as connection:
            for part in slices(page, _IDS_PER_STATEMENT):
                ids = _still(connection, part, chosen.fates)  # somebody else may have been at them
                act(connection, ids)
                events = [(at, tables.request.name, request_id, deed.value, who, why) for request_id in ids]
                columns = ["at", "subject", "subject_id", "state", "who", "why"]
                ledger.database.bulk_insert(connection, tables.event, columns, events)
                settled += len(ids)
    return Settled(requests=settled, shared_with=shared)


def _pages(ledger: Ledger, chosen: Chosen) -> Iterator[Sequence[int]]:
    """Ids of the chosen dead letters, in order; no transaction stays open between two pages."""
    dead, after = tables.dead_letter, 0
    while True:
        query = _ids(chosen).where(dead.c.request_id > after).order_by(dead.c.request_id).limit(ROWS_PER_TRANSACTION)
        with ledger.database.read() as connection:
            ids = connection.execute(query).scalars().all()
        if not ids:
            return
        after = ids[-1]
        yield ids


def _ids(chosen: Chosen) -> sa.Select[tuple[int]]:
    dead, target, wanted = tables.dead_letter, tables.target, tables.wanted
    rows = (
        sa.select(wanted.c.request_id)
        .join(target, target.c.id == wanted.c.target_id)
        .where(target.c.asset == chosen.asset)
    )
    if chosen.partition_key is not None:
        rows = rows.where(target.c.partition_key == chosen.partition_key)
    if chosen.keys:
        rows = rows.where(wanted.c.key.in_(chosen.keys))
    query = sa.select(dead.c.request_id).where(
        dead.c.request_id.in_(rows), dead.c.fate.in_([fate.value for fate in chosen.fates])
    )
    return query if chosen.reason is None else query.where(dead.c.reason == chosen.reason)


def _still(connection: Connection, ids: Sequence[int], fates: Sequence[Fate]) -> Sequence[int]:
    """Those of `ids` that are dead letters with one of these fates, until this transaction ends."""
    dead = tables.dead_letter
    query = sa.select(dead.c.request_id).where(
        dead.c.request_id.in_(ids), dead.c.fate.in_([fate.value for fate in fates])
    )
    return connection.execute(query.with_for_update()).scalars().all()


def _shared(ledger: Ledger, chosen: Chosen) -> list[Sharing]:
    wanted, target = tables.wanted, tables.target
    requests = sa.func.count(wanted.c.request_id.distinct())
    query = (
        sa.select(target.c.asset, requests)
        .select_from(wanted)
        .join(target, target.c.id == wanted.c.target_id)
        .where(target.c.asset != chosen.asset, wanted.c.request_id.in_(_ids(chosen)))
        .group_by(target.c.asset)
        .order_by(target.c.asset)
    )
    with ledger.database.read() as connection:
        return [Sharing(asset=asset, requests=number) for asset, number in connection.execute(query)]


def _refuse_unknown(ledger: Ledger, chosen: Chosen) -> None:
    with ledger.database.read() as connection:
        refuse_unknown_asset(connection, chosen.asset)
    if not chosen.keys:
        return
    dead, target, wanted = tables.dead_letter, tables.target, tables.wanted
    query = (
        sa.select(wanted.c.key)
        .select_from(_wanted())
        .where(target.c.asset == chosen.asset, wanted.c.key.in_(chosen.keys))
    )
    if chosen.partition_key is not None:
        query = query.where(target.c.partition_key == chosen.partition_key)
    if chosen.reason is not None:
        query = query.where(dead.c.reason == chosen.reason)
    with ledger.database.read() as connection:
        found = set(connection.execute(query).scalars())
    missing = [key for key in chosen.keys if key not in found]
    if missing:
        names = ", ".join(map(repr, missing[:5])) + (", ..." if len(missing) > 5 else "")
        place = "" if chosen.partition_key is None else f" in partition {chosen.partition_key!r}"
        raise NotFound(
            f"No such dead letter of {chosen.asset}{place}: {names}. Nothing was changed. "
            f"`offpeak dead-letters list {chosen.asset}` lists them."
        )


def _wanted() -> sa.Join:
    """Every row that wants a dead letter."""
    dead, target, wanted = tables.dead_letter, tables.target, tables.wanted
    return wanted.join(target, target.c.id == wanted.c.target_id).join(dead, dead.c.request_id == wanted.c.request_id)


def _of_asset(asset: str | None) -> Sequence[sa.ColumnElement[bool]]:
    return () if asset is None else (tables.target.c.asset == asset,)


def _tried(connection: Connection, request_ids: set[int]) -> dict[int, tuple[int, int]]:
    """Attempts of each request, and their cost in pico-dollars."""
    failure = tables.failure
    attempts = sa.func.count().filter(failure.c.reason.not_in(NO_ATTEMPT))
    query = sa.select(failure.c.request_id, attempts, sa.func.sum(failure.c.cost_pico)).group_by(failure.c.request_id)
    return {
        request_id: (number, int(cost))
        for part in slices(sorted(request_ids), _IDS_PER_STATEMENT)
        for request_id, number, cost in connection.execute(query.where(failure.c.request_id.in_(part)))
    }
