"""How open jobs are getting on, how long closed ones took, and how much was on its way when.

Reads only, and only the ledger: what the providers' lists last showed stands there. Queue depth is derived from when
batches were submitted and when they ended; no samples are kept.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Row

from offpeak.clock import from_micros, to_micros
from offpeak.ledger import parked_runs, sightings, tables
from offpeak.ledger.claims import Claimant
from offpeak.ledger.conditions import Condition, SampleWait, Standing, judge, middle
from offpeak.ledger.database import slices
from offpeak.ledger.jobs import JobRow, attendance, listed
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.parked_runs import ParkedRun
from offpeak.ledger.sightings import OVERDUE, OpenChunk
from offpeak.ledger.states import OPEN_JOBS, UNDECIDED, ChunkState, JobState, SampleState, SubmissionState
from offpeak.providers.base import BatchState


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """An open job, and how it is getting on. Counts of requests include those that go round again."""

    job: JobRow
    condition: Condition
    why: str
    """One sentence without a full stop; empty where there is nothing to say."""
    requests: int
    """Of all its batches and calls, shared ones included; none of what was refused or dropped."""
    finished: int
    """Answered or failed, by the provider's count; all of a batch that has ended."""
    batches: int
    """Those that are, or will be; requests that are called one by one are in none."""
    landed: int
    """Batches that have ended at the provider and are not collected yet."""
    applied: int
    """Batches that are collected."""
    submitted_at: datetime | None
    """When its first batch was submitted, or its first call; its own creation where another job was earlier."""
    elapsed: timedelta | None
    """Since `submitted_at`; once it has landed, until its last batch ended."""
    typical: timedelta | None
    """The middle of how long the asset's past batches took; None before there is any."""
    deadline_at: datetime
    parked: ParkedRun | None
    """The run that holds its place while no process waits, with its state and progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a job went from one hand to the next."""

    job_id: int
    asset: str
    state: JobState
    created_at: datetime
    submitted_at: datetime | None
    """When its first batch was submitted, never before its creation; None for a job that had nothing to buy."""
    ended_at: datetime | None
    """When its last batch ended at the provider; None while one has not, or none was submitted."""
    closed_at: datetime | None
    """When it was collected, or ended otherwise."""

    @property
    def to_submit(self) -> timedelta | None:
        """Planning, and waiting to be submitted."""
        return _between(self.created_at, self.submitted_at)

    @property
    def at_provider(self) -> timedelta | None:
        """From the first submission to the end of the last batch."""
        return _between(self.submitted_at, self.ended_at)

    @property
    def to_collect(self) -> timedelta | None:
        """From the end at the provider until it was collected."""
        return _between(self.ended_at, self.closed_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """Requests of batches that had been submitted and had not ended."""

    at: Sequence[datetime]
    requests: Mapping[str, Sequence[int]]
    """By realm; as many figures as there are moments."""


def watched(
    ledger: Ledger, *, now: datetime, asset: str | None = None, no_room: Mapping[int, str] | None = None
) -> list[Watched]:
    """Every open job, held ones included, newest first. The number of queries grows with assets, not with jobs.

    `no_room` says of chunks why there is no room for them at their provider.
    """
    rows = listed(ledger, asset=asset, open_only=True, limit=_ALL)
    ids = [row.id for row in rows]
    parked = {job_id: run for run in parked_runs.open_ones(ledger) for job_id in run.jobs}
    together = {other for number in ids if number in parked for other in parked[number].jobs}
    chunks = sightings.of_jobs(ledger, sorted(together.union(ids)))
    past = sightings.past_durations(ledger, sorted({row.asset for row in rows}))
    times = {each.job_id: each for each in timings(ledger, ids=ids)}
    attended, hosts = _attendance(ledger, asset, now)
    progress = {number: _progress_at(chunks[number]) for number in ids}
    queue = _Queue.read(ledger, since=min(filter(None, progress.values()), default=now), until=now)
    found = []
    for row in rows:
        mine, run, timing, progress_at = chunks[row.id], parked.get(row.id), times[row.id], progress[row.id]
        landed = row.state is not JobState.PLANNING and _landed(mine)
        calling = any(chunk.calling for chunk in mine) and not any(chunk.at_provider and _out(chunk) for chunk in mine)
        batches = [chunk for chunk in mine if chunk.lane is Lane.BATCH]
        standing = Standing(
            state=row.state,
            reason=row.reason,
            deadline_at=row.deadline_at,
            # one that has ended since the jobs were listed is nothing to worry about
            attended=attended.get(row.id, True),
            host=hosts.get(row.id),
            parked=None if run is None else run.state,
            release_at=None if run is None else run.release_at,
            others=[] if run is None else [other for other in run.jobs if not _landed(chunks[other])],
            landed=landed,
            landed_at=timing.ended_at,
            out_since=min((chunk.submitted_at for chunk in mine if _out(chunk) and chunk.submitted_at), default=None),
            progress_at=progress_at,
            past=[] if calling else past[row.asset],
            sample=_sample_wait(mine),
            calling=calling,
            no_room=next((no_room[each.chunk_id] for each in mine if each.chunk_id in no_room), None)
            if no_room
            else None,
            grown=0 if progress_at is None or calling else queue.growth(mine[0].realm, progress_at, now),
        )
        condition, why = judge(standing, now=now)
        counted = [chunk for chunk in mine if chunk.chunk_state not in _NOTHING_CAME]
        found.append(
            Watched(
                job=row,
                condition=condition,
                why=why,
                requests=sum(chunk.requests for chunk in counted),
                finished=sum(chunk.requests if chunk.landed else chunk.finished for chunk in counted),
                batches=len(batches),
                landed=sum(chunk.landed and not chunk.settled for chunk in batches),
                applied=sum(chunk.chunk_state is ChunkState.APPLIED for chunk in batches),
                submitted_at=timing.submitted_at,
                elapsed=_between(timing.submitted_at, timing.ended_at if landed and timing.ended_at else now),
                typical=middle(past[row.asset]) if batches else None,
                deadline_at=row.deadline_at,
                parked=run,
            )
        )
    return found


_ALL = 2**31 - 1

_NOTHING_CAME = (ChunkState.REFUSED, ChunkState.DROPPED)


def _landed(chunks: Sequence[OpenChunk]) -> bool:
    return all(chunk.landed for chunk in chunks)


def _sample_wait(chunks: Sequence[OpenChunk]) -> SampleWait | None:
    """What a person has to decide before the job goes on: once it is shown, or when nothing else is on its way."""
    held = [chunk for chunk in chunks if chunk.held and chunk.sample_state in UNDECIDED]
    shown = [chunk for chunk in held if chunk.sample_of_own and chunk.sample_state is SampleState.WAITING]
    if not shown and (not held or any(not (chunk.landed or chunk.held) for chunk in chunks) or held[0].sample_of_own):
        return None
    first = (shown or held)[0]
    return SampleWait(
        job_id=first.held_by or 0,
        own=first.sample_of_own,
        since=first.sample_since or first.created_at,
        held=sum(chunk.requests for chunk in held if chunk.held_by == first.held_by),
    )


def _out(chunk: OpenChunk) -> bool:
    """Whether it is at the provider and has not ended, or is being called."""
    return chunk.calling or (chunk.at_provider and not chunk.landed)


def _progress_at(chunks: Sequence[OpenChunk]) -> datetime | None:
    """The last change seen of these chunks; None when none of them is out."""
    if not any(_out(chunk) for chunk in chunks):
        return None
    moments = [moment for chunk in chunks for moment in (chunk.submitted_at, chunk.progress_at) if moment is not None]
    return max(moments, default=None)


def _attendance(ledger: Ledger, asset: str | None, now: datetime) -> tuple[dict[int, bool], dict[int, str]]:
    """Whether somebody carries each open job on; and the hosts of those processes that are not on this one."""
    job = tables.job
    which = sa.true() if asset is None else job.c.asset == asset
    query = sa.select(job.c.id, job.c.owner).where(which, job.c.state.in_([state.value for state in OPEN_JOBS]))
    with ledger.database.read() as connection:
        attended = attendance(connection, which, now=now)
        owners = {row.id: Claimant.parse(row.owner or "") for row in connection.execute(query)}
    here = ledger.claimant.host
    return attended, {number: each.host for number, each in owners.items() if each is not None and each.host != here}


def timings(ledger: Ledger, *, since: datetime | None = None, ids: Sequence[int] | None = None) -> list[Timing]:
    """How long jobs spent where, newest first: those closed at or after `since`, and those with these `ids`."""
    job, link, chunk, submission = tables.job, tables.job_chunk, tables.chunk, tables.submission
    sent = submission.c.submitted_at
    query = (
        sa.select(
            job.c.id,
            job.c.asset,
            job.c.state,
            job.c.created_at,
            job.c.closed_at,
            sa.func.min(sent).label("submitted_at"),
            sa.func.max(_ENDED).label("ended_at"),
            sa.func.count(sent).label("sent"),
            sa.func.count(sa.case((sent.is_not(None), _ENDED))).label("ended"),
        )
        .select_from(job)
        .outerjoin(link, link.c.job_id == job.c.id)
        .outerjoin(chunk, chunk.c.id == link.c.chunk_id)
        .outerjoin(submission, submission.c.id == chunk.c.stamp)
        .group_by(job.c.id)
    )
    conditions: list[sa.ColumnElement[bool]] = []
    if since is not None:
        conditions.append(job.c.closed_at >= to_micros(since))
    if ids is not None:
        conditions += [job.c.id.in_(part) for part in slices(ids, 500)]
    rows: dict[int, Row[Any]] = {}
    with ledger.database.read() as connection:
        for condition in conditions:
            rows |= {row.id: row for row in connection.execute(query.where(condition))}
    return [_timing(rows[number]) for number in sorted(rows, reverse=True)]


_ENDED = sa.func.coalesce(
    tables.submission.c.ended_at,
    sa.case(
        (
            tables.submission.c.seen_state.in_([state.value for state in BatchState if state.terminal]),
            tables.submission.c.progress_at,
        )
    ),
)
"""When a batch ended: by its own word, or until it is collected when the provider's list first showed it ended."""


def _timing(row: Row[Any]) -> Timing:
    submitted = None if row.submitted_at is None else from_micros(max(row.submitted_at, row.created_at))
    ended = None if row.ended_at is None or row.ended < row.sent else from_micros(max(row.ended_at, row.created_at))
    return Timing(
        job_id=row.id,
        asset=row.asset,
        state=JobState(row.state),
        created_at=from_micros(row.created_at),
        submitted_at=submitted,
        ended_at=ended,
        closed_at=None if row.closed_at is None else from_micros(row.closed_at),
    )


def _between(begin: datetime | None, end: datetime | None) -> timedelta | None:
    """Never negative: a provider's clock may be behind ours."""
    return None if begin is None or end is None else max(end - begin, timedelta(0))


def queue_depth(ledger: Ledger, *, since: datetime, until: datetime, steps: int) -> QueueDepth:
    """Requests on their way at `steps` moments from `since` to `until`, both included; realms without any left out.

    A batch that is never seen to end counts until nobody waits for it any longer (`sightings.OVERDUE`).
    """
    at = [since + (until - since) * step / max(steps - 1, 1) for step in range(steps)]
    queue = _Queue.read(ledger, since=since, until=until)
    return QueueDepth(
        at=at, requests={realm: [queue.depth(realm, moment) for moment in at] for realm in sorted(queue.realms)}
    )


class _Queue:
    """Requests on their way within a time, by realm."""

    def __init__(self, begins: Mapping[str, "_Steps"], ends: Mapping[str, "_Steps"]) -> None:
        self._begins, self._ends = begins, ends
        self.realms = frozenset(begins)

    @classmethod
    def read(cls, ledger: Ledger, *, since: datetime, until: datetime) -> "_Queue":
        submission, chunk = tables.submission, tables.chunk
        states = (SubmissionState.CREATED, SubmissionState.LANDED, SubmissionState.APPLIED)
        query = (
            sa.select(chunk.c.realm, chunk.c.requests, submission.c.submitted_at, _ENDED.label("ended_at"))
            .join(chunk, chunk.c.id == submission.c.chunk_id)
            .where(
                submission.c.batch_id.is_not(None),  # what is called one by one waits in no queue of the account
                # one that was refused after its creation was not run
                submission.c.state.in_([state.value for state in states]),
                submission.c.submitted_at <= to_micros(until),
                submission.c.submitted_at > to_micros(since - OVERDUE),
                sa.or_(_ENDED.is_(None), to_micros(since) < _ENDED),
            )
        )
        begins: dict[str, list[tuple[int, int]]] = {}
        ends: dict[str, list[tuple[int, int]]] = {}
        with ledger.database.read() as connection:
            for realm, requests, submitted, ended in ledger.database.tuples(connection, query):
                given_up = submitted + OVERDUE // timedelta(microseconds=1)
                begins.setdefault(realm, []).append((submitted, requests))
                ends.setdefault(realm, []).append((min(ended or given_up, given_up), requests))
        return cls(
            {realm: _Steps(each) for realm, each in begins.items()},
            {realm: _Steps(each) for realm, each in ends.items()},
        )

    def growth(self, realm: str, since: datetime, until: datetime) -> int:
        return self.depth(realm, until) - self.depth(realm, since)

    def depth(self, realm: str, at: datetime) -> int:
        if realm not in self.realms:
            return 0
        moment = to_micros(at)
        return self._begins[realm].until(moment) - self._ends[realm].until(moment)


class _Steps:
    """A sum that grows at known moments (microseconds)."""

    def __init__(self, steps: Sequence[tuple[int, int]]) -> None:
        ordered = sorted(steps)
        self._moments = [moment for moment, _ in ordered]
        self._sums = list(accumulate((amount for _, amount in ordered), initial=0))

    def until(self, moment: int) -> int:
        return self._sums[bisect_right(self._moments, moment)]
