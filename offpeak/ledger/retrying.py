"""The failed slice goes round again: what a job still wants, and has neither answer nor dead letter, gets a new chunk.

Bodies come from the spool files that carried them. How often, after which pause, and what then is the asset's
`FailurePolicy`; what is not tried again is a dead letter, with its reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.clock import from_micros, to_micros
from offpeak.errors import CouldNotRead
from offpeak.faultpoints import FaultPoint, reach
from offpeak.ledger import spool, tables
from offpeak.ledger.chunking import ChunkWriter, wait_for
from offpeak.ledger.collecting import forget_answered_letters
from offpeak.ledger.database import slices
from offpeak.ledger.lane import Lane, Placement, placement
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import MISSING, MOST_ROUNDS, NO_ATTEMPT, NOTHING_SAID, FailurePolicy, pause_before
from offpeak.ledger.states import LIVE_CHUNKS, ChunkState, JobState
from offpeak.ledger.submissions import Submission
from offpeak.providers.base import Finish, Kind, Provider
from offpeak.providers.wire import widened


@dataclass(frozen=True, slots=True)
class _Unanswered:
    request_id: int
    fingerprint: bytes
    chunk_id: int
    attempts: int
    rounds: int
    reason: str
    message: str | None
    chunk_rescued: bool = False
    """The chunk that carried it was given up for a deadline, or was itself a rescue."""
    due_at: datetime | None = None
    """That chunk's."""

    def dead(self, policy: FailurePolicy) -> bool:
        """Whether it is not tried again."""
        return self.attempts >= policy.attempts or self.rounds >= MOST_ROUNDS or policy.hopeless(self.reason)


def retry(
    ledger: Ledger,
    provider: Provider,
    job_id: int,
    *,
    kind: Kind,
    model: str,
    policy: FailurePolicy,
    pressed: bool = False,
) -> int:
    """Queue another round for the job's unanswered requests; returns how many. 0: nothing is left to try.

    Where another job has queued some of them already, this one waits for that round instead of buying its own. What a
    chunk left that was given up for a deadline goes to the background lane, and all does where time is `pressed`.
    """
    of_job = sa.select(tables.job_target.c.target_id).where(tables.job_target.c.job_id == job_id)
    unanswered = _unanswered(ledger, of_job, job_id=job_id)
    if joined := _join(ledger, job_id):  # after the look at what is unanswered: what left that list meanwhile is here
        return joined
    _bury(ledger, [row for row in unanswered if row.dead(policy)], policy)
    reach(FaultPoint.BURIED)
    again = [row for row in unanswered if not row.dead(policy)]
    place = placement(ledger, job_id)
    to = partial(ChunkWriter, ledger, provider, model=model, job_id=job_id)
    _send_again(ledger, provider, again, kind=kind, to=to, place=place, pressed=pressed)
    return len(again)


def buy_rest(ledger: Ledger, provider: Provider, job_id: int, chunk: Submission, *, policy: FailurePolicy) -> int:
    """Queue in the background lane what a chunk left that was given up for a deadline; returns how many requests.

    Its batch is terminal and applied. What is not to be tried again is left for the end of the round.
    """
    of_job = sa.select(tables.job_target.c.target_id).where(tables.job_target.c.job_id == job_id)
    rest = [row for row in _unanswered(ledger, of_job, chunk_id=chunk.chunk_id) if not row.dead(policy)]
    if not rest:
        return 0
    to = partial(ChunkWriter, ledger, provider, model=chunk.model, job_id=job_id)
    queued = _send_again(ledger, provider, rest, kind=chunk.kind, to=to, place=placement(ledger, job_id), pressed=False)
    reach(FaultPoint.REST_QUEUED)
    with ledger.database.write() as connection:
        for other in _others(connection, job_id, chunk.chunk_id):
            wait_for(ledger, connection, other, queued)
    return len(rest)


def _others(connection: Connection, job_id: int, chunk_id: int) -> list[int]:
    """Other open jobs that waited for a chunk."""
    link, job = tables.job_chunk, tables.job
    query = (
        sa.select(job.c.id)
        .join(link, link.c.job_id == job.c.id)
        .where(
            link.c.chunk_id == chunk_id,
            job.c.id != job_id,
            job.c.state.in_([JobState.QUEUED.value, JobState.IN_PROGRESS.value]),
        )
    )
    return list(connection.execute(query).scalars())


def call_again(
    ledger: Ledger, provider: Provider, sample_id: int, *, job_id: int, kind: Kind, model: str, policy: FailurePolicy
) -> int:
    """Queue again what was drawn for a sample and got no answer that says anything of it; returns how many.

    It stays the sample's, which is looked at once these have an outcome too. `job_id` is the job that waits for them.
    """
    chunk = tables.chunk
    with ledger.database.read() as connection:
        drawn = set(connection.execute(sa.select(chunk.c.id).where(chunk.c.drawn_for == sample_id)).scalars())
    of_sample = sa.select(tables.job_target.c.target_id).where(tables.job_target.c.job_id == sample_id)
    again = [
        row
        for row in _unanswered(ledger, of_sample, failed_only=True)
        if row.chunk_id in drawn and row.reason in NOTHING_SAID and not row.dead(policy)
    ]
    place = replace(placement(ledger, sample_id), lane=Lane.BACKGROUND)
    to = partial(ChunkWriter, ledger, provider, model=model, job_id=job_id, drawn_for=sample_id)
    _send_again(ledger, provider, again, kind=kind, to=to, place=place, pressed=False)
    return len(again)


@dataclass(frozen=True, slots=True)
class _Round:
    """What one chunk of requests that go round again has in common."""

    attempt: int
    ready_at: datetime | None
    placement: Placement
    rescues: int | None


def _send_again(
    ledger: Ledger,
    provider: Provider,
    again: Sequence[_Unanswered],
    *,
    kind: Kind,
    to: Callable[..., ChunkWriter],
    place: Placement,
    pressed: bool,
) -> list[int]:
    """Queue these requests, a chunk for each number of attempts, each pause and each place; returns the chunks.

    `to` opens a writer.
    """
    queued: list[int] = []
    now = ledger.clock.now()
    alike: dict[_Round, list[_Unanswered]] = {}
    for row in again:
        # what counts as no attempt is spaced by how often it came all the same, but for the batch that was given up
        rounds = row.rounds - 1 if row.chunk_rescued else row.rounds
        pause = pause_before(max(row.attempts, rounds) + 1, row.reason)
        rescued = pressed or row.chunk_rescued
        own = replace(place, lane=Lane.BACKGROUND, due_at=_sooner(row.due_at, place.due_at)) if rescued else place
        round_ = _Round(row.attempts + 1, now + pause if pause else None, own, row.chunk_id if rescued else None)
        alike.setdefault(round_, []).append(row)
    for each, rows in alike.items():
        writer = to(attempt=each.attempt, ready_at=each.ready_at, placement=each.placement, rescues=each.rescues)
        try:
            _respool(ledger, provider, writer, kind, rows)
            writer.close()
        finally:
            writer.discard()
        queued += writer.chunks
    return queued


def _sooner(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((each for each in (one, other) if each is not None), default=None)


def bury_hopeless(ledger: Ledger, asset: str, policy: FailurePolicy) -> int:
    """Make dead letters of the asset's failed requests that are not to be tried again; returns how many.

    A process that died between collecting and its next round leaves them behind, and the next plan would begin anew.
    """
    if not _stranded(ledger):
        return 0
    of_asset = sa.select(tables.target.c.id).where(tables.target.c.asset == asset)
    dead = [row for row in _unanswered(ledger, of_asset, failed_only=True) if row.dead(policy)]
    _bury(ledger, dead, policy)
    return len(dead)


def _join(ledger: Ledger, job_id: int) -> int:
    """Wait for the chunks that carry again what this job wants; returns how many of its requests are in them."""
    request, wanted, chunk, job_chunk = tables.request, tables.wanted, tables.chunk, tables.job_chunk
    query = (
        sa.select(chunk.c.id, sa.func.count())
        .select_from(tables.job_target)
        .join(wanted, wanted.c.target_id == tables.job_target.c.target_id)
        .join(request, request.c.id == wanted.c.request_id)
        .join(chunk, chunk.c.id == request.c.chunk_id)
        .where(
            tables.job_target.c.job_id == job_id,
            chunk.c.state.in_([state.value for state in LIVE_CHUNKS]),
            ~sa.exists().where(job_chunk.c.job_id == job_id, job_chunk.c.chunk_id == chunk.c.id),
        )
        .group_by(chunk.c.id)
    )
    with ledger.database.write() as connection:
        found = connection.execute(query).all()
        wait_for(ledger, connection, job_id, [chunk_id for chunk_id, _ in found])
    return sum(requests for _, requests in found)


def _stranded(ledger: Ledger) -> bool:
    """Whether any request has failed and is neither answered, nor a dead letter, nor on its way: a cheap look."""
    failure, request, chunk = tables.failure, tables.request, tables.chunk
    query = (
        sa.select(failure.c.request_id)
        .join(request, request.c.id == failure.c.request_id)
        .join(chunk, chunk.c.id == request.c.chunk_id)
        .where(
            chunk.c.state == ChunkState.APPLIED.value,
            ~sa.exists().where(tables.answer.c.request_id == request.c.id),
            ~sa.exists().where(tables.dead_letter.c.request_id == request.c.id),
        )
        .limit(1)
    )
    with ledger.database.read() as connection:
        return connection.execute(query).first() is not None


def _unanswered(
    ledger: Ledger,
    targets: sa.Select[tuple[int]],
    *,
    failed_only: bool = False,
    job_id: int | None = None,
    chunk_id: int | None = None,
) -> list[_Unanswered]:
    """What these targets want, whose chunk is closed without an answer for it; `failed_only`: and that has failed.

    A chunk that another asset's sample held, and that was taken back with it, brings nothing to `job_id` either.
    `chunk_id` is the only one that is looked at.
    """
    request, wanted, chunk = tables.request, tables.wanted, tables.chunk
    failure, requeued = tables.failure, tables.requeued
    again = requeued.alias("again")
    mine = sa.select(tables.job_chunk.c.chunk_id).where(tables.job_chunk.c.job_id == job_id)
    taken_back = sa.and_(chunk.c.state == ChunkState.TAKEN_BACK.value, chunk.c.id.in_(mine))
    # without a dead letter any more: a plan came after the one that it was dropped for, and may not have read its row
    dropped = sa.and_(chunk.c.state == ChunkState.DROPPED.value, chunk.c.spool.is_not(None))
    latest = (
        sa.select(
            failure.c.request_id,
            sa.func.max(failure.c.submission_id).label("submission_id"),
            sa.func.count().filter(failure.c.reason.not_in(NO_ATTEMPT)).label("attempts"),
            sa.func.count().label("rounds"),
        )
        .select_from(failure)
        .outerjoin(requeued, requeued.c.request_id == failure.c.request_id)
        # what failed before somebody sent it round again counts no more, and its reason buries it no more
        .where(failure.c.submission_id > sa.func.coalesce(requeued.c.submission_id, 0))
        .group_by(failure.c.request_id)
        .subquery()
    )
    query = (
        sa.select(
            request.c.id, request.c.fingerprint, request.c.chunk_id,
            sa.case(
                (sa.or_(again.c.request_id.is_not(None), chunk.c.state.in_(_NEVER_SENT)), 0),
                else_=chunk.c.attempt,
            ).label("attempt"),
            failure.c.reason, failure.c.message, latest.c.attempts, latest.c.rounds, chunk.c.due_at,
            sa.or_(chunk.c.rescue_at.is_not(None), chunk.c.rescues.is_not(None)).label("rescued"),
        )
        .select_from(request)
        .join(chunk, chunk.c.id == request.c.chunk_id)
        .join(latest, latest.c.request_id == request.c.id, isouter=not failed_only)
        .outerjoin(again, again.c.request_id == request.c.id)
        .outerjoin(
            failure,
            sa.and_(failure.c.request_id == request.c.id, failure.c.submission_id == latest.c.submission_id),
        )
        .where(
            request.c.id.in_(sa.select(wanted.c.request_id).where(wanted.c.target_id.in_(targets))),
            sa.or_(chunk.c.state == ChunkState.APPLIED.value, taken_back, dropped),
            ~sa.exists().where(tables.answer.c.request_id == request.c.id),
            ~sa.exists().where(tables.dead_letter.c.request_id == request.c.id),
            *([] if chunk_id is None else [request.c.chunk_id == chunk_id]),
        )
        .order_by(request.c.id)
    )  # fmt: skip
    with ledger.database.read() as connection:
        return [
            _Unanswered(
                row.id,
                bytes(row.fingerprint),
                row.chunk_id,
                row.attempt if row.attempts is None else row.attempts,
                row.rounds or 0,
                row.reason or MISSING,
                row.message,
                bool(row.rescued),
                None if row.due_at is None else from_micros(row.due_at),
            )
            for row in connection.execute(query)
        ]


_NEVER_SENT = (ChunkState.TAKEN_BACK.value, ChunkState.DROPPED.value)


def _bury(ledger: Ledger, dead: Sequence[_Unanswered], policy: FailurePolicy) -> None:
    now = to_micros(ledger.clock.now())
    for part in slices(dead):
        with ledger.database.write() as connection:
            ledger.database.bulk_insert(
                connection,
                tables.dead_letter,
                ["request_id", "reason", "message", "at", "fate"],
                [(row.request_id, row.reason, row.message, now, policy.fate.value) for row in part],
                ignore_existing=True,
            )
            forget_answered_letters(connection)


def _respool(ledger: Ledger, provider: Provider, writer: ChunkWriter, kind: Kind, rows: Sequence[_Unanswered]) -> None:
    by_chunk: dict[int, list[_Unanswered]] = {}
    for row in rows:
        by_chunk.setdefault(row.chunk_id, []).append(row)
    for chunk_id, members in by_chunk.items():
        texts = bodies(ledger, provider, chunk_id, [row.request_id for row in members])
        writer.add(
            kind,
            [
                (row.fingerprint, widened(body) if row.reason == Finish.LENGTH.value else body, row.request_id)
                for row, body in zip(members, texts, strict=True)
            ],
        )


def bodies(ledger: Ledger, provider: Provider, chunk_id: int, request_ids: Sequence[int]) -> list[bytes]:
    """The encoded bodies of requests of one chunk, out of its spool file. Raises CouldNotRead when it is torn."""
    chunk, offsets = tables.chunk, tables.chunk_offsets
    with ledger.database.read() as connection:
        row = connection.execute(
            sa.select(chunk.c.spool, chunk.c.first_request, chunk.c.sha256, offsets.c.offsets)
            .join(offsets, offsets.c.chunk_id == chunk.c.id)
            .where(chunk.c.id == chunk_id)
        ).one_or_none()
        if row is None or row.spool is None:
            raise CouldNotRead(
                f"Chunk {chunk_id} cannot go round again: its request file was pruned. Nothing was sent. Materialise "
                "the asset again: its plan writes the requests anew."
            )
        if row.first_request is not None:
            ordinals = [request_id - row.first_request for request_id in request_ids]
        else:
            member = tables.chunk_member
            rows = connection.execute(
                sa.select(member.c.request_id, member.c.ordinal).where(member.c.chunk_id == chunk_id)
            )
            found: dict[int, int] = {row.request_id: row.ordinal for row in rows}
            ordinals = [found[request_id] for request_id in request_ids]
    path = ledger.spool / row.spool
    spool.check(path, sha256=row.sha256)
    lines = spool.lines(path, spool.read_offsets(row.offsets), ordinals, provider.spooling)
    return [spool.body_of(line) for line in lines]
