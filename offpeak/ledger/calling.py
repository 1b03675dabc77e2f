"""A chunk of the background lane in the ledger: its requests are called one by one, and each call leaves two traces.

    queued chunk -> INTENDED (claimed) -> CALLING -> APPLIED, once every request has an outcome
    a call       -> written down, durable -> sent -> its answer or failure stored

A call that was written down and has no outcome when its process is gone may have been answered and billed. It counts as
a failure of its own kind, POSSIBLY_PAID, and goes round again: no more are lost so than were in flight.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.clock import to_micros
from offpeak.errors import LedgerUnavailable
from offpeak.faultpoints import FaultPoint, reach
from offpeak.ledger import spool, tables
from offpeak.ledger.collecting import FAILURE_COLUMNS, Applied, Store, forget_answered_letters, members, unbilled
from offpeak.ledger.database import slices
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import POSSIBLY_PAID
from offpeak.ledger.room import require_room
from offpeak.ledger.states import ChunkState, SubmissionState, must, transition
from offpeak.ledger.submissions import Submission, claim, claim_again
from offpeak.providers.base import Outcome, Spooling


class ClaimLost(LedgerUnavailable):
    """Another process has taken this one for dead, and calls what is left of the chunk."""


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A request that has no outcome yet."""

    request_id: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Pending:
    """What is left to call of a chunk."""

    done: int
    """Requests that have an outcome."""
    requests: Iterator[PendingCall]
    """The others, in the plan's order, read as they are asked for."""


def begin(ledger: Ledger, chunk: Submission, *, prices: str | None = None) -> bool:
    """Make this process the one that calls a chunk; False where a living one does, or has done.

    `prices` is what is going to be charged, for the record; None where nothing is going to be called. What was in
    flight, of a dead process or of a run of this one that was interrupted, is written down as lost.
    """
    ledger.require_home()
    require_room(ledger)
    if chunk.chunk_state is ChunkState.QUEUED:
        if not claim(ledger, chunk):
            return False
    elif chunk.owner != str(ledger.claimant) and claim_again(ledger, chunk, chunk.owner) is None:
        return False
    now = ledger.clock.now()
    with ledger.database.write(durable=True) as connection:
        lost = _write_lost(ledger, connection, chunk)
        state = sa.select(tables.submission.c.state).where(tables.submission.c.id == chunk.stamp)
        if connection.execute(state).scalar_one() != SubmissionState.CALLING.value:
            must(
                connection,
                chunk.stamp,
                SubmissionState.CALLING,
                at=now,
                who=str(ledger.claimant),
                why=f"{chunk.requests:,} requests, one by one",
                create_at=to_micros(now),
                submitted_at=to_micros(now),
                prices=prices,
            )
        elif lost:
            forget_answered_letters(connection)
    return True


def _write_lost(ledger: Ledger, connection: Connection, chunk: Submission) -> int:
    """Write down as POSSIBLY_PAID the calls that have no outcome; returns how many."""
    call, now = tables.call, to_micros(ledger.clock.now())
    lost = connection.execute(
        sa.select(call.c.request_id).where(call.c.submission_id == chunk.stamp, ~_has_outcome(call.c, chunk.stamp))
    ).scalars()
    message = "whoever waited for the answer is gone"
    rows = [unbilled(request_id, chunk.stamp, POSSIBLY_PAID, message, now) for request_id in lost]
    ledger.database.bulk_insert(connection, tables.failure, FAILURE_COLUMNS, rows, ignore_existing=True)
    return len(rows)


def _has_outcome(columns: "sa.ColumnCollection[str, sa.Column[int]]", submission_id: int) -> sa.ColumnElement[bool]:
    """Whether a request has an answer, of whichever attempt, or has failed in this one."""
    answer, failure = tables.answer, tables.failure
    request_id = columns.request_id
    return sa.or_(
        sa.exists().where(answer.c.request_id == request_id),
        sa.exists().where(failure.c.request_id == request_id, failure.c.submission_id == submission_id),
    )


def pending(ledger: Ledger, chunk: Submission, spooling: Spooling) -> Pending:
    """What has no outcome yet. Raises CouldNotRead where the spool file is lost or torn; nothing has changed then."""
    path = ledger.spool / chunk.spool
    if ledger.spooled.get(chunk.spool) != chunk.sha256:
        spool.check(path, sha256=chunk.sha256)
    ids, _ = members(ledger, chunk)
    done = _done(ledger, chunk)
    with ledger.database.read() as connection:
        offsets = connection.execute(
            sa.select(tables.chunk_offsets.c.offsets).where(tables.chunk_offsets.c.chunk_id == chunk.chunk_id)
        ).scalar_one()
    ordinals = [ordinal for ordinal, request_id in enumerate(ids) if request_id not in done]
    lines = spool.lines(path, spool.read_offsets(offsets), ordinals, spooling)
    return Pending(
        done=len(ids) - len(ordinals),
        requests=(
            PendingCall(ids[ordinal], spool.body_of(line)) for ordinal, line in zip(ordinals, lines, strict=True)
        ),
    )


def _done(ledger: Ledger, chunk: Submission) -> set[int]:
    """Requests of the chunk that have an outcome."""
    request, member = tables.request, tables.chunk_member
    answer, failure = tables.answer, tables.failure
    mine = (
        sa.select(member.c.request_id).where(member.c.chunk_id == chunk.chunk_id)
        if chunk.first_request is None
        else sa.select(request.c.id).where(
            request.c.id >= chunk.first_request, request.c.id < chunk.first_request + chunk.requests
        )
    )
    answered = sa.select(answer.c.request_id).where(answer.c.request_id.in_(mine))
    failed = sa.select(failure.c.request_id).where(failure.c.submission_id == chunk.stamp)
    with ledger.database.read() as connection:
        return {*connection.execute(answered).scalars(), *connection.execute(failed).scalars()}


def record(
    ledger: Ledger, chunk: Submission, store: Store, *, sending: Collection[int], unsent: Collection[int], done: int
) -> None:
    """In one transaction: what has come of calls, which requests are about to be called, which were not after all.

    `done` is how many requests of the chunk have an outcome then. Raises ClaimLost where another process took over:
    what has come is stored all the same, and nothing may be sent.
    """
    call, submission, now = tables.call, tables.submission, to_micros(ledger.clock.now())
    came = not store.empty
    with ledger.database.write(durable=bool(sending)) as connection:
        mine = connection.execute(
            submission.update()
            .where(
                submission.c.id == chunk.stamp,
                submission.c.owner == str(ledger.claimant),
                submission.c.state == SubmissionState.CALLING.value,
            )
            .values(intended_at=now, finished=done, progress_at=now)
        )
        store.write(connection)
        sending = sending if mine.rowcount == 1 else ()
        for part in slices(list(unsent), 500):
            connection.execute(call.delete().where(call.c.submission_id == chunk.stamp, call.c.request_id.in_(part)))
        rows = [(chunk.stamp, request_id, now) for request_id in sending]
        ledger.database.bulk_insert(
            connection, call, ["submission_id", "request_id", "sent_at"], rows, ignore_existing=True
        )
    store.clear()
    if mine.rowcount != 1:
        raise ClaimLost(
            f"Another process has taken over what is left of chunk {chunk.chunk_id}: this one did not answer for a "
            "quarter of an hour, or its claim was taken away by hand. It sends nothing more."
        )
    if sending:
        reach(FaultPoint.CALLS_INTENDED)
    if came:
        reach(FaultPoint.CALLS_RECORDED)


def close(ledger: Ledger, chunk: Submission) -> Applied:
    """Every request of the chunk has an outcome: end it, and say how many there are of each."""
    now, who = ledger.clock.now(), str(ledger.claimant)
    with ledger.database.write() as connection:
        answered, failed = (
            int(connection.execute(sa.select(sa.func.count()).where(table.c.submission_id == chunk.stamp)).scalar_one())
            for table in (tables.answer, tables.failure)
        )
        connection.execute(tables.call.delete().where(tables.call.c.submission_id == chunk.stamp))
        why = f"answered {answered:,}, failed {failed:,}"
        # False where it was closed before
        if transition(
            connection, chunk.stamp, SubmissionState.APPLIED, at=now, who=who, why=why, ended_at=to_micros(now)
        ):
            must(connection, chunk.chunk_id, ChunkState.APPLIED, at=now, who=who, why=why)
        forget_answered_letters(connection)
    reach(FaultPoint.APPLIED)
    return Applied(answered=answered, failed=failed)


def stop(ledger: Ledger, chunk: Submission, *, why: str) -> Applied | None:
    """Call no more of an open chunk, as `give_up` does; what was in flight is given up as lost.

    None while a living process is at it.
    """
    if chunk.held_by_another(ledger) or not begin(ledger, chunk):
        return None
    return give_up(ledger, chunk, why=why)


def give_up(ledger: Ledger, chunk: Submission, *, why: str) -> Applied:
    """Call no more of a chunk that this process calls: what has no outcome is given up as cancelled."""
    ids, _ = members(ledger, chunk)
    done = _done(ledger, chunk)
    left = [request_id for request_id in ids if request_id not in done]
    now = to_micros(ledger.clock.now())
    for part in slices(left):
        rows = [unbilled(each, chunk.stamp, Outcome.CANCELLED.value, why, now) for each in part]
        with ledger.database.write() as connection:
            ledger.database.bulk_insert(connection, tables.failure, FAILURE_COLUMNS, rows, ignore_existing=True)
    return close(ledger, chunk)
