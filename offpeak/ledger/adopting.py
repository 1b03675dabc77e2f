"""What becomes of a ledger that does not live where it was made: it takes the original's place, or its own beside it.

In the original's place it keeps its identity, and goes on with every batch. Beside it, it gets a new one: what was on
its way when it was copied stays the original's, is neither collected nor cancelled here, and is new again.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.clock import to_micros
from offpeak.errors import PlanError
from offpeak.ledger import tables
from offpeak.ledger.custom_ids import ALPHABET
from offpeak.ledger.home import home_of
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import (
    LIVE_CHUNKS,
    OPEN_JOBS,
    PARKED,
    TRANSITIONS,
    UNDECIDED,
    ChunkState,
    JobState,
    ParkedState,
    SampleState,
    SubmissionState,
    must,
    record,
)


class Adoption(StrEnum):
    """How a ledger was adopted: the state of its event."""

    TAKEN_OVER = "taken_over"
    SET_APART = "set_apart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What an adoption did."""

    was: str
    """The ledger's identity before."""
    identity: str
    jobs: int = 0
    """Open jobs that were cancelled here."""
    chunks: int = 0
    """Chunks that were left to the original."""
    requests: int = 0
    """Requests in them."""


def take_over(ledger: Ledger, *, who: str) -> Adopted:
    """The original is gone: this ledger goes on with its batches. Raises PlanError for a ledger that is at home."""
    with _adopting(ledger, although_at_home=False) as connection:
        connection.execute(tables.identity.update().values(home=home_of(ledger.database)))
        _note(ledger, connection, Adoption.TAKEN_OVER, who=who, why="the original is gone")
    return Adopted(was=ledger.identity, identity=ledger.identity)


def set_apart(ledger: Ledger, *, who: str, although_at_home: bool = False) -> Adopted:
    """The original lives on: this ledger gets an identity of its own, and leaves to it what is on its way.

    Raises PlanError for a ledger that is at home, unless `although_at_home`: a copy of a whole disk or server is.
    """
    fresh = "".join(chr(secrets.choice(ALPHABET)) for _ in range(8))
    why = f"left to ledger {ledger.identity}, of which this one is a copy"
    with _adopting(ledger, although_at_home=although_at_home) as connection:
        chunks = _leave_chunks(ledger, connection, who=who, why=why)
        jobs = _cancel_jobs(ledger, connection, who=who, why=why)
        _withdraw_samples(ledger, connection, who=who, why=why)
        _end_parked_runs(ledger, connection, who=who, why=why)
        _forget_files(ledger, connection)
        connection.execute(tables.identity.update().values(ledger=fresh, home=home_of(ledger.database)))
        _note(ledger, connection, Adoption.SET_APART, who=who, why=f"a copy of ledger {ledger.identity}")
    was, ledger.identity = ledger.identity, fresh
    return Adopted(was=was, identity=fresh, jobs=jobs, chunks=len(chunks), requests=sum(chunks))


@contextmanager
def _adopting(ledger: Ledger, *, although_at_home: bool) -> Iterator[Connection]:
    """One transaction, in which all of it happens, or nothing."""
    database = ledger.database
    if database.refused is None and not although_at_home:
        raise PlanError(
            f"Ledger {ledger.identity} lives where it was made, so there is nothing to adopt. Nothing was changed. "
            "Where it is the copy of a whole disk or server all the same, say --beside-original --undetected."
        )
    refused, database.refused = database.refused, None
    try:
        with database.write(durable=True) as connection:
            yield connection
    except BaseException:
        database.refused = refused
        raise


def _note(ledger: Ledger, connection: Connection, state: Adoption, *, who: str, why: str) -> None:
    record(connection, tables.identity, 1, state, at=ledger.clock.now(), who=who, why=why)


def _leave_chunks(ledger: Ledger, connection: Connection, *, who: str, why: str) -> list[int]:
    """Leave what is queued or at a provider to the original; the number of requests in each chunk."""
    chunk, submission, now = tables.chunk, tables.submission, ledger.clock.now()
    live = [state.value for state in LIVE_CHUNKS]
    chunks = connection.execute(sa.select(chunk.c.id, chunk.c.requests).where(chunk.c.state.in_(live))).all()
    live = [state.value for state in TRANSITIONS[SubmissionState][SubmissionState.LEFT]]
    for (submission_id,) in connection.execute(sa.select(submission.c.id).where(submission.c.state.in_(live))).all():
        must(connection, submission_id, SubmissionState.LEFT, at=now, who=who, why=why)
    for row in chunks:
        must(connection, row.id, ChunkState.LEFT, at=now, who=who, why=why)
    return [row.requests for row in chunks]


def _cancel_jobs(ledger: Ledger, connection: Connection, *, who: str, why: str) -> int:
    job, now = tables.job, ledger.clock.now()
    open_ones = sa.select(job.c.id).where(job.c.state.in_([state.value for state in OPEN_JOBS]))
    ids = connection.execute(open_ones).scalars().all()
    for job_id in ids:
        must(connection, job_id, JobState.CANCELLED, at=now, who=who, why=why, closed_at=to_micros(now), reason=why)
    return len(ids)


def _withdraw_samples(ledger: Ledger, connection: Connection, *, who: str, why: str) -> None:
    """What they are samples of is the original's to buy."""
    sample, now = tables.sample, ledger.clock.now()
    undecided = sa.select(sample.c.id).where(sample.c.state.in_([state.value for state in UNDECIDED]))
    for sample_id in connection.execute(undecided).scalars().all():
        must(connection, sample_id, SampleState.WITHDRAWN, at=now, who=who, why=why, entered_at=to_micros(now))


def _end_parked_runs(ledger: Ledger, connection: Connection, *, who: str, why: str) -> None:
    """Their runs are the original's."""
    parked, now = tables.parked_run, ledger.clock.now()
    for states, to in ((PARKED, ParkedState.ENDED), ({ParkedState.STOPPING}, ParkedState.STOPPED)):
        query = sa.select(parked.c.id).where(parked.c.state.in_([state.value for state in states]))
        for parked_id in connection.execute(query).scalars().all():
            must(connection, parked_id, to, at=now, who=who, why=why)


def _forget_files(ledger: Ledger, connection: Connection) -> None:
    """Files on this disk and at the provider carry the original's name, and are the original's to delete."""
    submission, now = tables.submission, to_micros(ledger.clock.now())
    connection.execute(tables.chunk.update().values(spool=None))
    connection.execute(tables.chunk_offsets.delete())
    connection.execute(
        submission.update().values(results=None, cleaned_at=sa.func.coalesce(submission.c.cleaned_at, now))
    )
