"""Submitting one chunk: intent is written before each step that matters, and its outcome after.

    queued chunk -> INTENDED (claimed, durable) -> upload -> file id -> CREATING (durable) -> the paid call
                 -> CREATED with the batch id (durable)

Whatever is found in INTENDED was never bought. Whatever is found in CREATING may have been: `reconciling` asks the
provider before anything is sent again.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from offpeak.clock import from_micros, to_micros
from offpeak.errors import (
    ConfigurationError,
    CouldNotRead,
    JobFailed,
    LedgerUnavailable,
    OffpeakError,
    OutcomeUnknown,
    ProviderUnavailable,
    SubmissionRejected,
)
from offpeak.faultpoints import FaultPoint, reach
from offpeak.ledger import custom_ids, spool, tables
from offpeak.ledger.claims import Claimant
from offpeak.ledger.database import slices
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.room import require_room
from offpeak.ledger.states import ChunkState, SubmissionState, must, record, transition
from offpeak.providers.base import BatchView, Kind, Provider

LEDGER_KEY = "offpeak_ledger"
SUBMISSION_KEY = "offpeak_submission"
"""Names of the batch metadata (where a provider keeps any) that say whose a batch is."""

CLOCK_SKEW = timedelta(minutes=5)
"""By how much the provider's clock may differ from ours when its list is searched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A chunk together with the submission that holds it, if one does."""

    chunk_id: int
    chunk_state: ChunkState
    kind: Kind
    attempt: int
    requests: int
    first_request: int | None
    spool: str
    sha256: str
    stamp: int
    id: int | None
    state: SubmissionState | None
    owner: str | None
    intended_at: datetime | None
    create_at: datetime | None
    file_id: str | None
    batch_id: str | None
    results: str | None
    outcome: str | None
    cancel_at: datetime | None
    """When the provider was asked to cancel it."""
    unknown_at: datetime | None = None
    """Since when the outcome of its create is unknown; None where nobody has found it so."""
    ready_at: datetime | None = None
    """Not sent before; None: at once."""
    drawn_for: int | None = None
    """The sample whose requests it carries."""
    held_by: int | None = None
    """The sample that has to be released before it is sent."""
    lane: Lane = Lane.BATCH
    """How it is to be bought; what has become of it says its state."""
    due_at: datetime | None = None
    """The tightest deadline of the jobs that wait for it."""
    realm: str = ""
    model: str = ""
    """Without its provider."""
    spool_bytes: int = 0
    created_at: datetime | None = None
    degraded_from: str | None = None
    """The model that was asked for, where a full queue chose this one."""
    give_up_at: datetime | None = None
    """Until when it waits for room; None: as long as it takes, or not found to have to."""
    rescue_at: datetime | None = None
    """When it was decided that what its batch leaves is bought at realtime price; None: it was not."""
    rescues: int | None = None
    """The chunk whose rest it buys so."""

    @property
    def rescued(self) -> bool:
        """Its requests are bought at realtime price because of a deadline."""
        return self.lane is Lane.BACKGROUND and (self.rescue_at is not None or self.rescues is not None)

    @property
    def to_be_called(self) -> bool:
        """A submission holds it that calls its requests one by one, or was about to."""
        if self.state is SubmissionState.INTENDED:
            return self.lane is Lane.BACKGROUND
        return self.state is SubmissionState.CALLING

    @property
    def token(self) -> str:
        return custom_ids.submission_token(self.stamp)

    def held_by_another(self, ledger: Ledger) -> bool:
        """Whether a living process other than this one holds the claim."""
        if self.owner is None or self.owner == str(ledger.claimant) or self.intended_at is None:
            return False
        owner = Claimant.parse(self.owner)
        return owner is not None and owner.alive(claimed_at=self.intended_at, now=ledger.clock.now())


def of_job(ledger: Ledger, job_id: int) -> list[Submission]:
    """Every chunk the job waits for, with its live or last submission."""
    chunk, submission, job_chunk = tables.chunk, tables.submission, tables.job_chunk
    query = (
        _columns(submission.c.id.label("submission_id"))
        .select_from(job_chunk)
        .join(chunk, chunk.c.id == job_chunk.c.chunk_id)
        .outerjoin(submission, submission.c.id == chunk.c.stamp)
        # the parts of what was split have taken its place
        .where(job_chunk.c.job_id == job_id, chunk.c.state != ChunkState.SPLIT.value)
        .order_by(chunk.c.id)
    )
    with ledger.database.read() as connection:
        return [_read(row) for row in connection.execute(query)]


def of_chunks(ledger: Ledger, chunk_ids: Collection[int]) -> list[Submission]:
    """These chunks, with their live or last submission."""
    chunk, submission = tables.chunk, tables.submission
    query = (
        _columns(submission.c.id.label("submission_id"))
        .select_from(chunk)
        .outerjoin(submission, submission.c.id == chunk.c.stamp)
        .order_by(chunk.c.id)
    )
    with ledger.database.read() as connection:
        return [
            _read(row)
            for part in slices(sorted(chunk_ids), 500)
            for row in connection.execute(query.where(chunk.c.id.in_(part)))
        ]


def selected(ledger: Ledger, *conditions: sa.ColumnElement[bool]) -> list[Submission]:
    """Submissions, former ones too, that meet conditions on their own columns and their chunk's."""
    chunk, submission = tables.chunk, tables.submission
    query = (
        _columns(submission.c.id.label("submission_id"))
        .select_from(submission)
        .join(chunk, chunk.c.id == submission.c.chunk_id)
        .where(*conditions)
        .order_by(submission.c.id)
    )
    with ledger.database.read() as connection:
        return [replace(_read(row), stamp=row.submission_id) for row in connection.execute(query)]


def _columns(number: sa.Label[int]) -> sa.Select[Any]:
    submission = tables.submission
    return sa.select(tables.chunk, number, *(submission.c[name].label(f"s_{name}") for name in _FIELDS))


_FIELDS = (
    "state",
    "owner",
    "intended_at",
    "create_at",
    "file_id",
    "batch_id",
    "results",
    "outcome",
    "cancel_at",
    "unknown_at",
)


def _read(row: Row[Any]) -> Submission:
    def moment(micros: int | None) -> datetime | None:
        return None if micros is None else from_micros(micros)

    return Submission(
        chunk_id=row.id,
        chunk_state=ChunkState(row.state),
        kind=Kind(row.kind),
        attempt=row.attempt,
        requests=row.requests,
        first_request=row.first_request,
        spool=row.spool or "",
        sha256=row.sha256,
        stamp=row.stamp,
        id=row.submission_id,
        state=None if row.s_state is None else SubmissionState(row.s_state),
        owner=row.s_owner,
        intended_at=moment(row.s_intended_at),
        create_at=moment(row.s_create_at),
        file_id=row.s_file_id,
        batch_id=row.s_batch_id,
        results=row.s_results,
        outcome=row.s_outcome,
        cancel_at=moment(row.s_cancel_at),
        unknown_at=moment(row.s_unknown_at),
        ready_at=moment(row.ready_at),
        drawn_for=row.drawn_for,
        held_by=row.held_by,
        realm=row.realm,
        model=row.model,
        lane=Lane(row.lane),
        due_at=moment(row.due_at),
        spool_bytes=row.spool_bytes,
        created_at=from_micros(row.created_at),
        degraded_from=row.degraded_from,
        give_up_at=moment(row.give_up_at),
        rescue_at=moment(row.rescue_at),
        rescues=row.rescues,
    )


def refusal(ledger: Ledger, job_id: int) -> str | None:
    """Why the provider would not take a chunk of the job; None when it took them all."""
    chunk, submission, job_chunk = tables.chunk, tables.submission, tables.job_chunk
    query = (
        sa.select(submission.c.error)
        .join(chunk, chunk.c.stamp == submission.c.id)
        .join(job_chunk, job_chunk.c.chunk_id == chunk.c.id)
        .where(job_chunk.c.job_id == job_id, chunk.c.state == ChunkState.REFUSED.value)
        .order_by(chunk.c.id.desc())
        .limit(1)
    )
    with ledger.database.read() as connection:
        return connection.execute(query).scalar()


Admit = Callable[[Connection], bool]
"""Whether a chunk may be claimed now, decided within the transaction that claims it."""


def submit(ledger: Ledger, provider: Provider, chunk: Submission, *, admit: Admit | None = None) -> None:
    """Claim a queued chunk and send it. Returns without effect when somebody else claimed it first, or by `admit`.

    Raises SubmissionRejected or CouldNotRead (the chunk is then REFUSED), ProviderUnavailable or ConfigurationError (it
    is queued again), OutcomeUnknown (it stays CREATING), or LedgerUnavailable, both for `reconciling.reconcile`.
    """
    require_room(ledger)
    if not claim(ledger, chunk, admit):
        return
    path = ledger.spool / chunk.spool
    file_id = None
    try:
        if ledger.spooled.get(chunk.spool) != chunk.sha256:
            spool.check(path, sha256=chunk.sha256)
        file_id = provider.upload(path, name=file_name(ledger, chunk))
        reach(FaultPoint.UPLOADED)
        _enter(ledger, chunk, SubmissionState.CREATING, file_id=file_id, create_at=to_micros(ledger.clock.now()))
        reach(FaultPoint.CREATE_INTENDED)
        metadata = {LEDGER_KEY: ledger.identity, SUBMISSION_KEY: chunk.token}
        batch = provider.create(path, kind=chunk.kind, file_id=file_id, metadata=metadata)
    except (SubmissionRejected, CouldNotRead) as error:
        refuse(ledger, chunk, str(error))
        forget_file(provider, file_id)
        raise
    except (ProviderUnavailable, ConfigurationError) as error:
        requeue(ledger, chunk, why=str(error))
        forget_file(provider, file_id)
        raise
    except OutcomeUnknown as unknown:
        try:
            claim_again(ledger, chunk, str(ledger.claimant))
        except LedgerUnavailable as away:
            # Only the claim's date says how long the outcome has been unknown: whoever takes it over dates it anew.
            raise JobFailed(
                f"{unknown} That could not be written down either: {away} This run ends here, so that another one "
                "finds out what became of the batch: materialise again."
            ) from away
        raise
    reach(FaultPoint.CREATED)
    ledger.unrecorded[chunk.stamp] = batch
    created(ledger, chunk, batch)


def file_name(ledger: Ledger, chunk: Submission) -> str:
    """The name under which a chunk's file is uploaded: by it the file is found where its id was not written down."""
    return f"offpeak-{ledger.identity}-{chunk.token}.jsonl"


def claim(ledger: Ledger, chunk: Submission, admit: Admit | None = None) -> bool:
    """Make this process the one that sends a queued chunk; False where another was first, or it may not be sent."""
    now, who, table = ledger.clock.now(), str(ledger.claimant), tables.chunk
    with ledger.database.write(durable=True) as connection:
        # it may have been sent, and queued again under another submission, since it was looked up
        queued = sa.select(table.c.stamp, table.c.held_by).where(table.c.id == chunk.chunk_id).with_for_update()
        if connection.execute(queued).one_or_none() != (chunk.stamp, None):
            return False
        if admit is not None and not admit(connection):
            return False
        if not transition(
            connection, chunk.chunk_id, ChunkState.OPEN, at=now, who=who, why=f"submission {chunk.stamp}"
        ):
            return False
        connection.execute(
            tables.submission.insert().values(
                id=chunk.stamp,
                chunk_id=chunk.chunk_id,
                state=SubmissionState.INTENDED.value,
                owner=who,
                intended_at=to_micros(now),
            )
        )
        record(
            connection,
            tables.submission,
            chunk.stamp,
            SubmissionState.INTENDED,
            at=now,
            who=who,
            why=f"chunk {chunk.chunk_id}",
            detail={"chunk": chunk.chunk_id},
        )
    reach(FaultPoint.CLAIMED)
    return True


def _enter(ledger: Ledger, chunk: Submission, to: SubmissionState, *, why: str | None = None, **values: Any) -> None:
    with ledger.database.write(durable=True) as connection:
        must(connection, chunk.stamp, to, at=ledger.clock.now(), who=str(ledger.claimant), why=why, **values)


def created(ledger: Ledger, chunk: Submission, batch: BatchView, *, why: str | None = None) -> None:
    """The provider's batch id is known: write it down, on disk before anything else happens."""
    now = to_micros(ledger.clock.now())
    _enter(ledger, chunk, SubmissionState.CREATED, why=why or f"batch {batch.id}", batch_id=batch.id, submitted_at=now)
    ledger.unrecorded.pop(chunk.stamp, None)
    reach(FaultPoint.CREATE_RECORDED)


def asked_to_cancel(ledger: Ledger, chunk: Submission) -> None:
    """The provider was asked to cancel the chunk's batch; asking twice does no harm."""
    reach(FaultPoint.CANCEL_SENT)
    with ledger.database.write() as connection:
        connection.execute(
            tables.submission.update()
            .where(tables.submission.c.id == chunk.stamp)
            .values(cancel_at=to_micros(ledger.clock.now()))
        )
    reach(FaultPoint.CANCEL_RECORDED)


def refuse(ledger: Ledger, chunk: Submission, error: str) -> bool:
    """The provider would not take the chunk; nothing was bought. False where another process settled it before."""
    now, who = ledger.clock.now(), str(ledger.claimant)
    with ledger.database.write(durable=True) as connection:
        mine = transition(connection, chunk.stamp, SubmissionState.REFUSED, at=now, who=who, why=error, error=error)
        if mine:
            must(connection, chunk.chunk_id, ChunkState.REFUSED, at=now, who=who, why=error)
    reach(FaultPoint.REFUSED)
    return mine


def requeue(
    ledger: Ledger,
    chunk: Submission,
    *,
    why: str,
    ended: SubmissionState = SubmissionState.ABSENT,
    ready_at: datetime | None = None,
    lane: Lane | None = None,
) -> bool:
    """Nothing of the chunk was bought: queue it under a new submission, whose token its custom_ids then carry.

    `ended` is what becomes of the submission that came to nothing. Nothing is sent again before `ready_at`. `lane` is
    another one for it; without, what was given up for a deadline goes to the background lane. False, and nothing is
    done, where another process has settled that submission in the meantime. Raises CouldNotRead when the spool file is
    lost or torn; the chunk is then REFUSED, and its requests are new again.
    """
    old = ledger.spool / chunk.spool
    try:
        spool.check(old, sha256=chunk.sha256)
    except CouldNotRead as error:
        if refuse(ledger, chunk, str(error)):
            raise
        return False
    stamp = ledger.next_submission()
    token = custom_ids.submission_token(stamp)
    with ledger.database.read() as connection:
        offsets = connection.execute(
            sa.select(tables.chunk_offsets.c.offsets).where(tables.chunk_offsets.c.chunk_id == chunk.chunk_id)
        ).scalar_one()
    fresh = spool.restamp(
        old,
        old.with_name(f"{ledger.identity}-{token}.spool"),
        spool.read_offsets(offsets),
        ledger=ledger.identity,
        old=chunk.token,
        new=token,
    )
    reach(FaultPoint.RESTAMPED)
    now, who = ledger.clock.now(), str(ledger.claimant)
    with ledger.database.write(durable=True) as connection:
        mine = transition(connection, chunk.stamp, ended, at=now, who=who, why=why, error=why)
        if mine:
            must(
                connection,
                chunk.chunk_id,
                ChunkState.QUEUED,
                at=now,
                who=who,
                why=why,
                stamp=stamp,
                spool=fresh.name,
                sha256=fresh.sha256,
                ready_at=None if ready_at is None else to_micros(ready_at),
                lane=_lane_after(lane),
            )
    reach(FaultPoint.REQUEUED)
    (old if mine else ledger.spool / fresh.name).unlink(missing_ok=True)
    return mine


def _lane_after(lane: Lane | None) -> str | sa.Case[Any]:
    """The lane of a chunk that is queued again: a batch of one that was given up would come too late."""
    table = tables.chunk
    if lane is not None:
        return lane.value
    return sa.case((table.c.rescue_at.is_not(None), Lane.BACKGROUND.value), else_=table.c.lane)


def claim_again(ledger: Ledger, chunk: Submission, owner: str | None) -> datetime | None:
    """Date the claim that `owner` holds from now, for this process; None when it is not that owner's any more."""
    table, now = tables.submission, ledger.clock.now()
    with ledger.database.write(durable=True) as connection:
        changed = connection.execute(
            table.update()
            .where(table.c.id == chunk.stamp, table.c.owner == owner)
            .values(
                owner=str(ledger.claimant),
                intended_at=to_micros(now),
                unknown_at=sa.func.coalesce(table.c.unknown_at, to_micros(now)),
            )
        )
    return now if changed.rowcount == 1 else None


def forget_file(provider: Provider, file_id: str | None) -> None:
    """Best effort: an uploaded file that nothing will use costs nothing and expires by itself."""
    if file_id is None:
        return
    try:
        provider.delete_file(file_id)
    except OffpeakError:
        return
