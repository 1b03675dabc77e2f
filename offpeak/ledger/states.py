"""The states of jobs, chunks, submissions, parked runs, deadlines, samples and notices, and the ways between them.

Each transition is one UPDATE that names the states it may come from, and writes its event in the same transaction. When
nothing matched, somebody else was there first: `transition` says so by returning False, and `must` by raising.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.clock import to_micros
from offpeak.errors import LedgerUnreadable
from offpeak.ledger import tables


class JobState(StrEnum):
    """One materialization, from its plan to its end."""

    PLANNING = "planning"
    HELD = "held"
    """The surge guard stopped it, or a budget."""
    APPROVED = "approved"
    """A held job that somebody approved; the next plan like it goes through."""
    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    COMPLETED_WITH_PARTIAL_FAILURES = "completed_with_partial_failures"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    """A later job of the same asset took over what it waited for."""
    ABANDONED = "abandoned"
    """Its plan was not finished; nothing of it was submitted."""


class ChunkState(StrEnum):
    """Requests that are uploaded together."""

    QUEUED = "queued"
    """Spooled; no submission holds it."""
    OPEN = "open"
    """A submission holds it."""
    APPLIED = "applied"
    """Every line of its batch is accounted for."""
    REFUSED = "refused"
    """The provider would not take it; nothing was bought."""
    TAKEN_BACK = "taken_back"
    """Its plan was not meant, or not finished: its requests are gone, and it was never sent."""
    LEFT = "left"
    """Another ledger's, of which this one is a copy: neither sent nor collected here, and its requests are new."""
    SPLIT = "split"
    """Too large for the account's queue: its requests are in smaller chunks."""
    DROPPED = "dropped"
    """The queue was full, and its asset had chosen to do without: it was never sent, each of its drops is on record."""


class SubmissionState(StrEnum):
    """One attempt to have a chunk answered."""

    INTENDED = "intended"
    """Written down; nothing was sent that costs money."""
    CREATING = "creating"
    """The paid call is about to be sent, or was: its outcome is unknown until the next state."""
    CREATED = "created"
    """The provider's batch id is known."""
    LANDED = "landed"
    """The batch has ended and its lines are on this disk."""
    CALLING = "calling"
    """In the background lane: its requests are sent one by one, each written down before, and stored as answered."""
    APPLIED = "applied"
    LEFT = "left"
    """Another ledger's, of which this one is a copy."""
    ABSENT = "absent"
    """The provider never got it; the chunk was queued again under a new submission."""
    REFUSED = "refused"
    LATE = "late"
    """Given up as absent, or for a deadline, and there after all: it is cancelled, and what it finished is kept."""


class ParkedState(StrEnum):
    """A run of the orchestrator that is queued and held, so that no process waits."""

    INTENDED = "intended"
    """Written down; the orchestrator may not have it yet."""
    WAITING = "waiting"
    """Held until everything it collects has landed."""
    RELEASED = "released"
    """Free to start, or started."""
    REPLACED = "replaced"
    """Another parked run of the same original run holds its place too."""
    STOPPING = "stopping"
    """Somebody terminated it: batches that nobody else waits for are being cancelled."""
    STOPPED = "stopped"
    ENDED = "ended"
    """Its run is over, however it ended."""


class SlaState(StrEnum):
    """What becomes of one occurrence of a deadline by which an asset has to be fresh."""

    DUE = "due"
    ENDANGERED = "endangered"
    """What is left to do usually takes longer than what is left of the time."""
    MET = "met"
    MISSED = "missed"


class SampleState(StrEnum):
    """Rows of a plan that are bought before the rest of it, which is held meanwhile."""

    BUYING = "buying"
    """Queued or on its way; nobody has judged it."""
    WAITING = "waiting"
    """Shown; a person decides about the rest."""
    RELEASED = "released"
    """The rest may be sent."""
    REJECTED = "rejected"
    """A person does not want the rest."""
    WITHDRAWN = "withdrawn"
    """Its job was stopped, or a later plan asks something else, before anybody decided."""


class NoticeState(StrEnum):
    """What somebody is to be told."""

    PENDING = "pending"
    """To be delivered, for the first time or again."""
    DELIVERED = "delivered"
    """Every destination has it."""
    GIVEN_UP = "given_up"
    """It was tried as often as anything is, and some destination has not got it."""


OPEN_JOBS = frozenset({JobState.PLANNING, JobState.QUEUED, JobState.IN_PROGRESS})
LIVE_SUBMISSIONS = frozenset(
    {
        SubmissionState.INTENDED,
        SubmissionState.CREATING,
        SubmissionState.CREATED,
        SubmissionState.LANDED,
        SubmissionState.CALLING,
    }
)
LIVE_CHUNKS = frozenset({ChunkState.QUEUED, ChunkState.OPEN})
"""Their requests are on their way; a request in any other chunk is answered, dead, or free to be queued again."""

UNDECIDED = frozenset({SampleState.BUYING, SampleState.WAITING})
"""The rest of the plan is held as long as its sample is in one of these."""

PARKED = frozenset({ParkedState.INTENDED, ParkedState.WAITING, ParkedState.RELEASED})
"""A job that such a run will collect needs no living process."""

_J, _C, _S, _P, _D, _W = JobState, ChunkState, SubmissionState, ParkedState, SlaState, SampleState
_N = NoticeState

TRANSITIONS: Mapping[type[StrEnum], Mapping[StrEnum, frozenset[StrEnum]]] = {
    JobState: {
        _J.HELD: frozenset({_J.PLANNING}),
        _J.APPROVED: frozenset({_J.HELD}),
        _J.ABANDONED: frozenset({_J.PLANNING, _J.APPROVED, _J.HELD}),
        _J.QUEUED: frozenset({_J.PLANNING}),
        _J.IN_PROGRESS: frozenset({_J.QUEUED}),
        _J.COMPLETED: frozenset({_J.QUEUED, _J.IN_PROGRESS}),
        _J.COMPLETED_WITH_PARTIAL_FAILURES: frozenset({_J.QUEUED, _J.IN_PROGRESS}),
        _J.FAILED: frozenset({_J.QUEUED, _J.IN_PROGRESS}),
        _J.EXPIRED: frozenset({_J.QUEUED, _J.IN_PROGRESS}),
        _J.CANCELLED: frozenset({_J.PLANNING, _J.HELD, _J.QUEUED, _J.IN_PROGRESS}),
        _J.SUPERSEDED: frozenset({_J.QUEUED, _J.IN_PROGRESS}),
    },
    ChunkState: {
        _C.OPEN: frozenset({_C.QUEUED}),
        _C.QUEUED: frozenset({_C.OPEN}),
        _C.APPLIED: frozenset({_C.OPEN}),
        _C.REFUSED: frozenset({_C.OPEN}),
        _C.TAKEN_BACK: frozenset({_C.QUEUED}),
        _C.LEFT: frozenset({_C.QUEUED, _C.OPEN}),
        _C.SPLIT: frozenset({_C.QUEUED, _C.OPEN}),
        _C.DROPPED: frozenset({_C.QUEUED}),
    },
    SubmissionState: {
        _S.CREATING: frozenset({_S.INTENDED}),
        _S.CREATED: frozenset({_S.CREATING}),
        _S.LANDED: frozenset({_S.CREATED}),
        _S.CALLING: frozenset({_S.INTENDED}),
        _S.LEFT: frozenset({_S.INTENDED, _S.CREATING, _S.CREATED, _S.LANDED, _S.CALLING, _S.LATE}),
        _S.APPLIED: frozenset({_S.LANDED, _S.CALLING, _S.LATE}),
        _S.LATE: frozenset({_S.ABSENT, _S.CREATED}),
        _S.ABSENT: frozenset({_S.INTENDED, _S.CREATING}),
        _S.REFUSED: frozenset({_S.INTENDED, _S.CREATING, _S.CREATED}),
    },
    ParkedState: {
        _P.WAITING: frozenset({_P.INTENDED}),
        _P.RELEASED: frozenset({_P.WAITING}),
        _P.REPLACED: frozenset({_P.INTENDED, _P.WAITING}),
        _P.STOPPING: frozenset({_P.INTENDED, _P.WAITING, _P.RELEASED}),
        _P.STOPPED: frozenset({_P.STOPPING}),
        _P.ENDED: frozenset({_P.INTENDED, _P.WAITING, _P.RELEASED}),
    },
    SlaState: {
        _D.ENDANGERED: frozenset({_D.DUE}),
        _D.MET: frozenset({_D.DUE, _D.ENDANGERED}),
        _D.MISSED: frozenset({_D.DUE, _D.ENDANGERED}),
    },
    SampleState: {
        _W.WAITING: frozenset({_W.BUYING}),
        _W.RELEASED: frozenset({_W.BUYING, _W.WAITING}),
        _W.REJECTED: frozenset({_W.WAITING}),
        _W.WITHDRAWN: frozenset({_W.BUYING, _W.WAITING}),
    },
    NoticeState: {
        _N.DELIVERED: frozenset({_N.PENDING}),
        _N.GIVEN_UP: frozenset({_N.PENDING}),
    },
}
"""For each state that can be entered, the states it may be entered from. By kind, since equal words are equal keys."""

_TABLES: Mapping[type[StrEnum], sa.Table] = {
    JobState: tables.job,
    ChunkState: tables.chunk,
    SubmissionState: tables.submission,
    ParkedState: tables.parked_run,
    SlaState: tables.sla,
    SampleState: tables.sample,
    NoticeState: tables.notice,
}


def record(
    connection: Connection,
    subject: sa.Table,
    subject_id: int,
    state: StrEnum,
    *,
    at: datetime,
    who: str,
    why: str | None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Append an event: what a new row begins with, or what changed.

    `detail` is what cannot be told from the state and has to outlive the row: counts, links to other rows.
    """
    connection.execute(
        tables.event.insert().values(
            at=to_micros(at),
            subject=subject.name,
            subject_id=subject_id,
            state=state.value,
            who=who,
            why=why,
            detail=None if detail is None else orjson.dumps(detail).decode(),
        )
    )


def transition(
    connection: Connection,
    subject_id: int,
    to: StrEnum,
    *,
    at: datetime,
    who: str,
    why: str | None = None,
    detail: Mapping[str, Any] | None = None,
    **values: Any,
) -> bool:
    """Enter `to` from a state that may lead there, and record it; False when the row is in no such state."""
    table = _TABLES[type(to)]
    changed = connection.execute(
        table.update()
        .where(table.c.id == subject_id, table.c.state.in_([state.value for state in TRANSITIONS[type(to)][to]]))
        .values(state=to.value, **values)
    )
    if changed.rowcount != 1:
        return False
    record(connection, table, subject_id, to, at=at, who=who, why=why, detail=detail)
    return True


def must(
    connection: Connection,
    subject_id: int,
    to: StrEnum,
    *,
    at: datetime,
    who: str,
    why: str | None = None,
    detail: Mapping[str, Any] | None = None,
    **values: Any,
) -> None:
    """`transition` where only this process can be at work. Raises LedgerUnreadable when the row is elsewhere."""
    if not transition(connection, subject_id, to, at=at, who=who, why=why, detail=detail, **values):
        table = _TABLES[type(to)]
        found = connection.execute(sa.select(table.c.state).where(table.c.id == subject_id)).scalar()
        raise LedgerUnreadable(
            f"{table.name} {subject_id} is {found!r} and cannot become {to.value!r}: another process worked on it, or "
            "the ledger was edited by hand. Nothing was sent. Materialise the asset again to go on from what the "
            "ledger holds."
        )
