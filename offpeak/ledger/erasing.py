"""Erasing a key: its row, what was asked for it and what came back, wherever Offpeak can reach them.

The row goes at once. Of its requests (the one it wants, and the one whose answer it served before) those that no other
row refers to are written down as erasures, and each is finished when nothing of it is on its way any more:

    request files   its line is overwritten, so that the lines around it stay where the ledger says
    result files    its lines are left out
    the provider    the files of every batch that carried it, or the batch itself, are deleted
    the ledger      answer, unusable answers, messages and dead letter; its fingerprint becomes a random one

Tokens and cost stay, since a bill that was paid does not change. Each step can be repeated; an erasure is done when all
of them are, on SQLite after the database was rewritten: deleted bytes would stay in its pages.
"""

import logging
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from offpeak.clock import from_micros, to_micros
from offpeak.errors import NotFound, OffpeakError, PlanError
from offpeak.ledger import cleaning, custom_ids, degrading, pruning, spool, tables
from offpeak.ledger.claims import Claimant
from offpeak.ledger.database import ROWS_PER_TRANSACTION, slices
from offpeak.ledger.explaining import refuse_unknown_asset
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.sightings import OVERDUE
from offpeak.ledger.states import LIVE_CHUNKS, OPEN_JOBS, JobState, SubmissionState
from offpeak.ledger.submissions import Submission
from offpeak.providers.base import BatchView, Provider

_IDS_PER_STATEMENT = 500
_LIVE = [state.value for state in LIVE_CHUNKS]
_GONE = "(erased)"


class Deed(StrEnum):
    """The state of the event of an erased request."""

    ERASED = "erased"


@dataclass(slots=True, kw_only=True)
class Erased:
    """What was asked to be erased."""

    rows: int = 0
    requests: Sequence[int] = ()
    """Ids of those that nothing else refers to."""
    shared: int = 0
    """Requests that other rows ask too: they keep them."""
    elsewhere: Sequence[str] = ()
    """Other assets that hold a row of this key."""


@dataclass(slots=True, kw_only=True)
class Finished:
    """How far erasures have got, in requests."""

    done: int = 0
    on_their_way: int = 0
    """Queued, or at a provider: finished once their batch was collected."""
    waiting: dict[str, int] = field(default_factory=dict)
    """Requests whose files could not be deleted at a provider now, by its realm."""
    not_rewritten: bool = False
    """SQLite's file could not be rewritten now: somebody else is at work in it."""


def erase(ledger: Ledger, asset: str, key: str, *, partition_key: str | None = None, who: str) -> Erased:
    """Take a row out of the ledger, in one partition or all, and write down what else has to go; then `finish`.

    Raises NotFound for a row that no plan holds, PlanError while a plan is being made, which could want it again.
    """
    table, target = tables.wanted, tables.target
    mine = sa.select(target.c.id).where(target.c.asset == asset)
    if partition_key is not None:
        mine = mine.where(target.c.partition_key == partition_key)
    rows_of_key = sa.and_(table.c.key == key, table.c.target_id.in_(mine))
    with ledger.database.write(durable=True) as connection:
        refuse_unknown_asset(connection, asset)
        _refuse_while_planning(ledger, connection)
        rows = connection.execute(sa.select(table.c.request_id, table.c.previous_id).where(rows_of_key)).all()
        if not rows:
            place = "" if partition_key is None else f" in partition {partition_key!r}"
            raise NotFound(
                f"No plan of {asset} holds a row {key!r}{place}. Nothing was erased. What an earlier plan held and "
                "nothing refers to any more goes with `offpeak erase --unwanted`."
            )
        connection.execute(table.delete().where(rows_of_key))
        asked = sorted({each for row in rows for each in row if each is not None})
        alone = set(asked) - _wanted(connection, asked)
        asked = sorted({*asked, *degrading.stand_ins_of(connection, sorted(alone))})  # they hold the same texts
        shared = _wanted(connection, asked)
        own = [each for each in asked if each not in shared]
        _write_down(ledger, connection, asked, who=who)  # the others too: until its own bytes are gone, all is not done
        _tell(ledger, connection, own, who=who, why=f"a row of {asset} was erased")
        _strike_out(connection, key)
        elsewhere = connection.execute(
            sa.select(target.c.asset)
            .distinct()
            .join(table, table.c.target_id == target.c.id)
            .where(table.c.key == key)
            .order_by(target.c.asset)
        ).scalars()
        return Erased(rows=len(rows), requests=own, shared=len(shared), elsewhere=list(elsewhere))


def erase_unwanted(ledger: Ledger, *, who: str) -> int:
    """Write down every request that no row wants or serves any more; returns how many. Then `finish`.

    They are what changed and removed rows asked before. Raises PlanError while a plan is being made.
    """
    request, wanted = tables.request, tables.wanted
    query = (
        sa.select(request.c.id)
        .join(tables.chunk, tables.chunk.c.id == request.c.chunk_id)
        .where(
            tables.chunk.c.state.not_in(_LIVE),
            request.c.id.not_in(sa.select(wanted.c.request_id)),
            request.c.id.not_in(sa.select(wanted.c.previous_id).where(wanted.c.previous_id.is_not(None))),
            ~sa.exists().where(tables.erasure.c.request_id == request.c.id),
            # what stands in for a request of an open job is served when that job is through
            ~sa.exists().where(
                tables.chunk.c.degraded_from.is_not(None),
                tables.job_chunk.c.chunk_id == tables.chunk.c.id,
                tables.job_chunk.c.job_id == tables.job.c.id,
                tables.job.c.state.in_([state.value for state in OPEN_JOBS]),
            ),
        )
        .order_by(request.c.id)
        .limit(ROWS_PER_TRANSACTION)
    )
    count = 0
    while True:
        with ledger.database.write(durable=True) as connection:
            _refuse_while_planning(ledger, connection)
            ids = connection.execute(query).scalars().all()
            _write_down(ledger, connection, ids, who=who)
            _tell(ledger, connection, ids, who=who, why="no row refers to it")
        if not ids:
            return count
        count += len(ids)


def _refuse_while_planning(ledger: Ledger, connection: Connection) -> None:
    job, now = tables.job, ledger.clock.now()
    query = sa.select(job.c.id, job.c.asset, job.c.owner, job.c.created_at)
    for row in connection.execute(query.where(job.c.state == JobState.PLANNING.value)):
        owner = Claimant.parse(row.owner or "")
        if owner is not None and owner.alive(claimed_at=from_micros(row.created_at), now=now):
            raise PlanError(
                f"Job {row.id} of {row.asset} is being planned, and its plan may want what is to be erased. Nothing "
                "was erased. Try again once it is through."
            )


def _wanted(connection: Connection, ids: Iterable[int]) -> set[int]:
    """Those of `ids` that some row wants, or serves the answer of."""
    wanted, found = tables.wanted, set()
    for part in slices(sorted(ids), _IDS_PER_STATEMENT):
        for column in (wanted.c.request_id, wanted.c.previous_id):
            found |= set(connection.execute(sa.select(column).distinct().where(column.in_(part))).scalars())
    return found


def _write_down(ledger: Ledger, connection: Connection, ids: Sequence[int], *, who: str) -> None:
    erasure, at = tables.erasure, to_micros(ledger.clock.now())
    for part in slices(ids, _IDS_PER_STATEMENT):
        connection.execute(erasure.delete().where(erasure.c.request_id.in_(part)))
    rows = [(request_id, at, who) for request_id in ids]
    ledger.database.bulk_insert(connection, erasure, ["request_id", "at", "who"], rows)


def _tell(ledger: Ledger, connection: Connection, ids: Sequence[int], *, who: str, why: str) -> None:
    at, columns = to_micros(ledger.clock.now()), ["at", "subject", "subject_id", "state", "who", "why"]
    events = [(at, tables.request.name, request_id, Deed.ERASED.value, who, why) for request_id in ids]
    ledger.database.bulk_insert(connection, tables.event, columns, events)


def _strike_out(connection: Connection, key: str) -> None:
    """Take the key out of reasons that quote it: what a plan was held or refused for names a row for an example."""
    quoted = repr(key)
    job, event = tables.job, tables.event
    for table, column in ((job, job.c.reason), (event, event.c.why)):
        connection.execute(
            table.update()
            .where(column.contains(quoted, autoescape=True))
            .values({column.name: sa.func.replace(column, quoted, _GONE)})
        )


def realms(ledger: Ledger) -> list[str]:
    """Accounts where files of erased requests may still be."""
    erasure, chunk, submission = tables.erasure, tables.chunk, tables.submission
    found: set[str] = set()
    with ledger.database.read() as connection:
        ids = connection.execute(sa.select(erasure.c.request_id).where(erasure.c.done_at.is_(None))).scalars().all()
        for part in slices(ids, _IDS_PER_STATEMENT):
            query = (
                sa.select(chunk.c.realm)
                .distinct()
                .join(submission, submission.c.chunk_id == chunk.c.id)
                .where(
                    chunk.c.id.in_([row.id for row in _carrying(connection, part)]),
                    chunk.c.state.not_in(_LIVE),
                    submission.c.cleaned_at.is_(None),
                    sa.or_(submission.c.batch_id.is_not(None), submission.c.file_id.is_not(None)),
                )
            )
            found |= set(connection.execute(query).scalars())
    return sorted(found)


def finish(ledger: Ledger, providers: Sequence[Provider]) -> Finished:
    """Go as far as possible with every erasure that is not done. Call it again whenever something may have changed.

    Files at an account that is not among `providers` stay, and so does the erasure. SQLite's file is rewritten in the
    end, while other writers wait.
    """
    ledger.require_home()
    finished = Finished()
    done: list[int] = []
    found = False
    for ids in _pending_pages(ledger):
        found = True
        done += _finish_page(ledger, ids, {provider.realm: provider for provider in providers}, finished)
    if ledger.database.sqlite and found:  # also for a row that is gone while its request is on its way
        finished.not_rewritten = not ledger.database.rewrite()
        if finished.not_rewritten:
            return finished
    _mark_done(ledger, done)
    finished.done = len(done)
    return finished


def after_apply(
    ledger: Ledger, provider: Provider, chunk: Submission, batch: BatchView | None, *, log: logging.Logger
) -> None:
    """A chunk's lines are stored: delete the provider's files of it, and erase what was waiting for that.

    On SQLite the last step of an erasure is left to the housekeeping run, so that nobody who collects waits for it.
    """
    cleaning.after_apply(ledger, provider, chunk, batch, log=log)
    request = tables.request
    in_chunk = sa.select(request.c.id).where(request.c.chunk_id == chunk.chunk_id)
    for ids in _pending_pages(ledger, tables.erasure.c.request_id.in_(in_chunk)):
        done = _finish_page(ledger, ids, {provider.realm: provider}, Finished())
        if not ledger.database.sqlite:
            _mark_done(ledger, done)


def _pending_pages(ledger: Ledger, *conditions: sa.ColumnElement[bool]) -> Iterator[Sequence[int]]:
    erasure, after = tables.erasure, 0
    undone = sa.select(erasure.c.request_id).where(erasure.c.done_at.is_(None), *conditions)
    query = undone.order_by(erasure.c.request_id)
    while True:
        with ledger.database.read() as connection:
            page = query.where(erasure.c.request_id > after).limit(ROWS_PER_TRANSACTION)
            ids = connection.execute(page).scalars().all()
        if not ids:
            return
        after = ids[-1]
        yield ids


def _finish_page(ledger: Ledger, ids: Sequence[int], providers: dict[str, Provider], finished: Finished) -> list[int]:
    """Take every step that can be taken for these requests; returns those of which nothing is left."""
    with ledger.database.read() as connection:
        wanted = _wanted(connection, ids)  # while it was on its way another row came to ask the same
        letters = _letters(connection, [each for each in ids if each not in wanted])
        chunks = _carrying(connection, list(letters))
    now = ledger.clock.now()
    live: set[int] = set()
    stuck: dict[int, str] = {}
    for chunk, members in _members(ledger, chunks, list(letters)):
        submissions = _submissions(ledger, chunk.id)
        if chunk.state in _LIVE or any(_may_bring(row, now) for row in submissions):
            live |= set(members)
            continue
        _blank_spool(ledger, chunk, list(members.values()))
        _strip_results(ledger, submissions, [letters[each] for each in members])
        if not _clear_provider(ledger, submissions, providers.get(chunk.realm)):
            stuck |= dict.fromkeys(members, chunk.realm)
    settled = [each for each in letters if each not in live]
    _scrub(ledger, settled)
    finished.on_their_way += len(live)
    for request_id, realm in stuck.items():
        if request_id not in live:
            finished.waiting[realm] = finished.waiting.get(realm, 0) + 1
    return [each for each in ids if each not in live and each not in stuck]


def _letters(connection: Connection, ids: Sequence[int]) -> dict[int, str]:
    """The fingerprint of each of these requests as it stands in custom_ids; of those that are there still."""
    request = tables.request
    return {
        row.id: custom_ids.base32(bytes(row.fingerprint))
        for part in slices(ids, _IDS_PER_STATEMENT)
        for row in connection.execute(sa.select(request.c.id, request.c.fingerprint).where(request.c.id.in_(part)))
    }


def _carrying(connection: Connection, ids: Sequence[int]) -> Sequence[Row[Any]]:
    """Every chunk that carried any of these requests."""
    chunk, member, request = tables.chunk, tables.chunk_member, tables.request
    found: dict[int, Row[Any]] = {}
    for part in slices(sorted(ids), _IDS_PER_STATEMENT):
        within = sa.exists().where(
            request.c.id.in_(part),
            request.c.id >= chunk.c.first_request,
            request.c.id < chunk.c.first_request + chunk.c.requests,
        )
        of_members = sa.select(member.c.chunk_id).where(member.c.request_id.in_(part))
        for row in connection.execute(sa.select(chunk).where(sa.or_(within, chunk.c.id.in_(of_members)))):
            found[row.id] = row
    return list(found.values())


def _members(
    ledger: Ledger, chunks: Sequence[Row[Any]], ids: Sequence[int]
) -> Iterator[tuple[Row[Any], dict[int, int]]]:
    """Each chunk with those of `ids` that it carries, and their places in it."""
    member = tables.chunk_member
    for chunk in chunks:
        if chunk.first_request is not None:
            end = chunk.first_request + chunk.requests
            yield chunk, {each: each - chunk.first_request for each in ids if chunk.first_request <= each < end}
            continue
        with ledger.database.read() as connection:
            yield (
                chunk,
                {
                    row.request_id: row.ordinal
                    for part in slices(ids, _IDS_PER_STATEMENT)
                    for row in connection.execute(
                        sa.select(member.c.request_id, member.c.ordinal).where(
                            member.c.chunk_id == chunk.id, member.c.request_id.in_(part)
                        )
                    )
                },
            )


def _submissions(ledger: Ledger, chunk_id: int) -> Sequence[Row[Any]]:
    table = tables.submission
    with ledger.database.read() as connection:
        return connection.execute(sa.select(table).where(table.c.chunk_id == chunk_id).order_by(table.c.id)).all()


def _may_bring(submission: Row[Any], now: datetime) -> bool:
    """Whether a batch of a settled chunk may still bring lines: one that turned up late, or may yet turn up."""
    if submission.state == SubmissionState.ABSENT.value and submission.create_at is not None:
        return now - from_micros(submission.create_at) < OVERDUE
    return bool(submission.state == SubmissionState.LATE.value)


def _blank_spool(ledger: Ledger, chunk: Row[Any], ordinals: Sequence[int]) -> None:
    """Overwrite lines of a request file, in a copy that takes its place once the ledger knows its digest."""
    table = tables.chunk_offsets
    with ledger.database.read() as connection:
        stored = connection.execute(sa.select(table.c.offsets).where(table.c.chunk_id == chunk.id)).scalar()
    if chunk.spool is None or stored is None or not (ledger.spool / chunk.spool).exists():
        return
    old = ledger.spool / chunk.spool
    token = custom_ids.submission_token(chunk.stamp)
    new = ledger.spool / f"{ledger.identity}-{token}-{secrets.token_hex(4)}.spool"
    try:
        fresh = spool.blanked(old, new, spool.read_offsets(stored), ordinals)
    except ValueError:  # torn, so that nobody could send it, and nobody knows where the lines are
        pruning.forget(ledger, [chunk.id])
        return
    if fresh is None:  # blank already
        return
    with ledger.database.write(durable=True) as connection:
        connection.execute(
            tables.chunk.update().where(tables.chunk.c.id == chunk.id).values(spool=fresh.name, sha256=fresh.sha256)
        )
    old.unlink(missing_ok=True)


def _strip_results(ledger: Ledger, submissions: Sequence[Row[Any]], letters: Sequence[str]) -> None:
    """Leave lines out of the result files of these submissions."""
    needles = [each.encode() for each in letters]
    for row in submissions:
        if row.results is not None and (ledger.spool / row.results).exists():
            spool.stripped(ledger.spool / row.results, needles)


def _clear_provider(ledger: Ledger, submissions: Sequence[Row[Any]], provider: Provider | None) -> bool:
    """Delete what the provider keeps of these submissions; False where some of it is left for now."""
    oldest = to_micros(ledger.clock.now() - cleaning.KEPT_BY_PROVIDERS)
    for row in submissions:
        if row.cleaned_at is not None or row.intended_at < oldest or not (row.batch_id or row.file_id):
            continue
        if provider is None:
            return False
        try:
            batch = provider.retrieve(row.batch_id) if row.batch_id else None
            cleaning.delete(ledger, provider, row.id, batch, file_id=row.file_id)
        except OffpeakError:
            return False
    return True


def _scrub(ledger: Ledger, ids: Sequence[int]) -> None:
    """Take what was asked and answered out of the ledger. Tokens, cost and the reasons of failures stay."""
    answer, failure, request = tables.answer, tables.failure, tables.request
    for part in slices(ids, _IDS_PER_STATEMENT):
        with ledger.database.write(durable=True) as connection:
            connection.execute(answer.update().where(answer.c.request_id.in_(part)).values(output=None, vector=None))
            connection.execute(failure.update().where(failure.c.request_id.in_(part)).values(message=None, raw=None))
            for table in (tables.dead_letter, tables.requeued):
                connection.execute(table.delete().where(table.c.request_id.in_(part)))
            for request_id in part:  # no plan computes a random fingerprint, so that nothing ever finds the row again
                connection.execute(
                    request.update().where(request.c.id == request_id).values(fingerprint=secrets.token_bytes(20))
                )


def _mark_done(ledger: Ledger, ids: Sequence[int]) -> None:
    erasure, now = tables.erasure, to_micros(ledger.clock.now())
    for part in slices(ids, _IDS_PER_STATEMENT):
        with ledger.database.write() as connection:
            connection.execute(erasure.update().where(erasure.c.request_id.in_(part)).values(done_at=now))
