"""How open jobs are getting on, how long closed ones took, and how much was on its way when.

Reads only, and only the ledger: what the providers' lists last showed stands there. Queue depth is derived from when
batches were submitted and when they ended; no samples are kept.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import accumulate
from math import ceil
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Row

from offpeak.clock import from_micros, in_words, to_micros
from offpeak.ledger import parked_runs, sightings, tables
from offpeak.ledger.claims import Claimant
from offpeak.ledger.database import slices
from offpeak.ledger.jobs import JobRow, attendance, listed
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.parked_runs import ParkedRun
from offpeak.ledger.sightings import OVERDUE, OpenChunk
from offpeak.ledger.states import OPEN_JOBS, ChunkState, JobState, ParkedState, SubmissionState
from offpeak.providers.base import BatchState

SLOW_TAIL = 0.9
"""A batch runs long when this share of its asset's past ones had ended by then."""

SHORTEST_LONG = timedelta(minutes=1)
"""Below this no batch runs long: it may have ended since anybody looked."""

SHORTEST_STUCK = timedelta(hours=1)
"""Without progress for less than this no batch is stuck, however fast the past ones were."""

STUCK_WITHOUT_HISTORY = timedelta(hours=6)
"""Without progress for longer than this a batch of an asset that never had one may be stuck."""


class Condition(StrEnum):
    """How an open job is getting on."""

    HELD = "held"
    """The surge guard stopped it; nothing was submitted."""
    QUEUED = "queued"
    """Nothing of it is at a provider."""
    RUNNING = "running"
    RUNNING_LONG = "running_long"
    """Longer than the slow tail of its asset's past batches, and still within its deadline."""
    LATE = "late"
    """Past its deadline."""
    STUCK = "stuck"
    """No progress for longer than any past batch took, and the account's queue has grown since."""
    LANDED = "landed"
    """Everything it waits for has ended at the provider, and is not collected yet."""
    STOPPING = "stopping"
    """Somebody terminated it, and its batches are being cancelled."""
    UNATTENDED = "unattended"
    """Nobody will collect it: its process is gone, and no parked run holds its place."""


WRONG = frozenset({Condition.HELD, Condition.LATE, Condition.STUCK, Condition.UNATTENDED})
"""Conditions that somebody should look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """An open job, and how it is getting on. Counts of requests include those that go round again."""

    job: JobRow
    condition: Condition
    why: str
    """One sentence without a full stop; empty where there is nothing to say."""
    requests: int
    """Of all its batches, those included that it shares with other jobs. None of batches that were refused."""
    finished: int
    """Answered or failed, by the provider's count; all of a batch that has ended."""
    batches: int
    landed: int
    """Batches that have ended at the provider and are not collected yet."""
    applied: int
    """Batches that are collected."""
    submitted_at: datetime | None
    """When its first batch was submitted; its own creation where another job had submitted it before."""
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


def judge(
    *,
    now: datetime,
    state: JobState,
    reason: str | None,
    deadline_at: datetime,
    parked: ParkedState | None,
    release_at: datetime | None,
    attended: bool,
    elsewhere: str | None,
    landed: bool,
    out_since: datetime | None,
    progress_at: datetime | None,
    past: Sequence[timedelta],
    grown: int,
) -> tuple[Condition, str]:
    """How an open job is getting on, and one sentence on why; empty where nothing needs to be said.

    `reason` is the surge guard's. `attended`: a living process or a parked run carries it on; `elsewhere` is the host
    of its process where that cannot be asked. `landed`: nothing it waits for is still to come. `out_since` is the
    submission of its oldest batch that has not ended, `progress_at` the last change that was seen of any of its
    batches. `past` is how long the asset's past batches took; `grown` by how many requests the account's queue is
    longer than at `progress_at`.
    """
    if state is JobState.HELD:
        return Condition.HELD, reason or "the surge guard stopped it"
    if parked is ParkedState.STOPPING:
        return Condition.STOPPING, "its run was terminated, and its batches are being cancelled"
    if not attended:
        return Condition.UNATTENDED, _unattended(elsewhere, landed=landed, out=out_since is not None)
    overrun = now - deadline_at
    late = f"{in_words(overrun)} past its deadline"
    if landed:
        free = "its run is free to collect it" if parked is ParkedState.RELEASED else "its run is not released yet"
        why = free if parked is not None else "its process collects it"
        return Condition.LANDED, f"{why}; {late}" if overrun > timedelta(0) else why
    if out_since is None or progress_at is None:
        why = "its plan is being written" if state is JobState.PLANNING else "nothing of it is at the provider"
        if release_at is not None:
            why += f", which did not take it; it is tried again at {release_at:%Y-%m-%d %H:%M:%S} UTC"
        return (Condition.LATE, f"{late}, and {why}") if overrun > timedelta(0) else (Condition.QUEUED, why)
    quiet = now - progress_at
    if grown > 0 and quiet > (max(max(past), SHORTEST_STUCK) if past else STUCK_WITHOUT_HISTORY):
        known = f" (none of {len(past)} past batches took longer than {in_words(max(past))})" if past else ""
        why = f"no progress for {in_words(quiet)}{known}, and the queue has grown by {grown:,} requests since"
        return Condition.STUCK, f"{why}; {late}" if overrun > timedelta(0) else why
    if overrun > timedelta(0):
        return Condition.LATE, late
    out = now - out_since
    tail = slow_tail(past)
    if tail is not None and out > max(tail, SHORTEST_LONG):
        within = sum(each <= tail for each in past)
        why = f"out for {in_words(out)}, and {within} of {len(past)} past batches took at most {in_words(tail)}"
        return Condition.RUNNING_LONG, f"{why}; {in_words(-overrun)} left until its deadline"
    return Condition.RUNNING, ""


def _unattended(elsewhere: str | None, *, landed: bool, out: bool) -> str:
    if elsewhere is None:
        who = "its process is gone"
    else:
        who = f"its process on {elsewhere}, which cannot be asked from here, has not been heard of lately"
    remedy = "materialise the asset again to collect" if landed or out else "materialise the asset again to go on"
    return f"{who} and no parked run holds its place: {remedy}"


def slow_tail(past: Sequence[timedelta]) -> timedelta | None:
    """What all but the slowest tenth of past batches took at most; None without any."""
    return sorted(past)[ceil(len(past) * SLOW_TAIL) - 1] if past else None


def middle(past: Sequence[timedelta]) -> timedelta | None:
    """What past batches usually took; None without any."""
    return sorted(past)[len(past) // 2] if past else None


def watched(ledger: Ledger, *, now: datetime, asset: str | None = None) -> list[Watched]:
    """Every open job, held ones included, newest first. The number of queries grows with assets, not with jobs."""
    rows = listed(ledger, asset=asset, open_only=True, limit=_ALL)
    ids = [row.id for row in rows]
    chunks = sightings.of_jobs(ledger, ids)
    past = sightings.past_durations(ledger, sorted({row.asset for row in rows}))
    parked = {job_id: run for run in parked_runs.open_ones(ledger) for job_id in run.jobs}
    times = {each.job_id: each for each in timings(ledger, ids=ids)}
    attended, hosts = _attendance(ledger, asset, now)
    quiet_since = {row.id: moment for row in rows if (moment := _progress_at(chunks[row.id])) is not None}
    queue = _Queue.read(ledger, since=min(quiet_since.values(), default=now), until=now)
    found = []
    for row in rows:
        mine, run = chunks[row.id], parked.get(row.id)
        out = [chunk for chunk in mine if _out(chunk)]
        progress_at = quiet_since.get(row.id)
        grown = 0
        if out and progress_at is not None:
            grown = queue.depth(out[0].realm, now) - queue.depth(out[0].realm, progress_at)
        landed = row.state is not JobState.PLANNING and all(chunk.landed for chunk in mine)
        condition, why = judge(
            now=now,
            state=row.state,
            reason=row.reason,
            deadline_at=row.deadline_at,
            parked=None if run is None else run.state,
            release_at=None if run is None else run.release_at,
            # a job that is not open any more since it was listed is nothing to worry about
            attended=attended.get(row.id, True),
            elsewhere=hosts.get(row.id),
            landed=landed,
            out_since=min((chunk.submitted_at for chunk in out if chunk.submitted_at is not None), default=None),
            progress_at=progress_at,
            past=past[row.asset],
            grown=grown,
        )
        timing = times[row.id]
        until = timing.ended_at if landed and timing.ended_at is not None else now
        counted = [chunk for chunk in mine if chunk.chunk_state is not ChunkState.REFUSED]
        found.append(
            Watched(
                job=row,
                condition=condition,
                why=why,
                requests=sum(chunk.requests for chunk in counted),
                finished=sum(chunk.requests if chunk.landed else chunk.finished for chunk in counted),
                batches=len(mine),
                landed=sum(chunk.landed and not chunk.settled for chunk in mine),
                applied=sum(chunk.chunk_state is ChunkState.APPLIED for chunk in mine),
                submitted_at=timing.submitted_at,
                elapsed=_between(timing.submitted_at, until),
                typical=middle(past[row.asset]),
                deadline_at=row.deadline_at,
                parked=run,
            )
        )
    return found


_ALL = 2**31 - 1


def _out(chunk: OpenChunk) -> bool:
    """Whether it is at the provider and has not ended."""
    return chunk.at_provider and not chunk.landed


def _progress_at(chunks: Sequence[OpenChunk]) -> datetime | None:
    """The last change seen of these batches; None when none of them is out."""
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
