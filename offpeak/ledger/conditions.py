"""How an open job is getting on: a decision of plain values and the time.

Three things are told apart that look alike from outside: a batch that takes long but is within its deadline, one that
is stuck while the account's queue grows behind it, and one that has ended and is not collected. Requests that are
called one by one are running; how long batches took says nothing of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil

from offpeak.clock import in_words
from offpeak.ledger.states import JobState, ParkedState

SLOW_TAIL = 0.9
"""A batch runs long when this share of its asset's past ones had ended by then."""

SHORTEST_LONG = timedelta(minutes=1)
"""Below this no batch runs long: it may have ended since anybody looked."""

SHORTEST_STUCK = timedelta(hours=1)
"""Without progress for less than this no batch is stuck, however fast the past ones were."""

STUCK_WITHOUT_HISTORY = timedelta(hours=6)
"""Without progress for longer than this a batch may be stuck although no past one tells how long is long."""

COLLECTED_WITHIN = timedelta(minutes=10)
"""After this a landed job is not merely about to be collected: whatever collects it may not run."""


class Condition(StrEnum):
    """How an open job is getting on."""

    HELD = "held"
    """The surge guard stopped it, or a budget; nothing was submitted."""
    QUEUED = "queued"
    """Nothing of it is at a provider, and none of it is being called."""
    RUNNING = "running"
    """At the provider, or being called."""
    RUNNING_LONG = "running_long"
    """Longer than the slow tail of its asset's past batches, or without progress; and still within its deadline."""
    LATE = "late"
    """Past its deadline."""
    STUCK = "stuck"
    """No progress for longer than any past batch took, and the account's queue has grown since."""
    LANDED = "landed"
    """Everything it waits for has ended at the provider, and is not collected yet."""
    STOPPING = "stopping"
    """Somebody terminated it, and its batches are being cancelled."""
    AWAITING_APPROVAL = "awaiting_approval"
    """A sample of it was bought and shown, and somebody has to say whether the rest is."""
    UNATTENDED = "unattended"
    """Nobody will collect it: its process is gone, and no parked run holds its place."""


WRONG = frozenset({Condition.HELD, Condition.LATE, Condition.STUCK, Condition.UNATTENDED, Condition.AWAITING_APPROVAL})
"""Conditions that somebody should look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of an open job."""

    state: JobState
    reason: str | None
    """Why it is held."""
    deadline_at: datetime
    attended: bool
    """A living process or a parked run carries it on."""
    host: str | None
    """Of its process, where that is another one, which cannot be asked."""
    parked: ParkedState | None
    """The state of the run that holds its place."""
    release_at: datetime | None
    """When that run tries again to submit what could not be submitted."""
    others: Sequence[int]
    """Jobs that the same parked run collects and that have not landed."""
    landed: bool
    """Nothing that it waits for is still to come."""
    landed_at: datetime | None
    """When its last batch ended; None where it had none."""
    out_since: datetime | None
    """The submission of its oldest batch that has not ended, or its first call; None when nothing of it is out."""
    progress_at: datetime | None
    """The last change that was seen of any of its batches, or of its calls."""
    past: Sequence[timedelta]
    """How long its asset's past batches took, in any order; none where no batch of it is out."""
    grown: int
    """Requests by which the account's queue is longer than at `progress_at`."""
    sample: "SampleWait | None" = None
    """What it waits for that only a person can give."""
    calling: bool = False
    """Only calls of it are out, and no batch."""
    no_room: str | None = None
    """Why something of it is not sent for lack of room at the provider, without a full stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleWait:
    """A sample that holds requests of a job until somebody decides."""

    job_id: int
    """The job that it is of."""
    own: bool
    """It is of the same asset; else that asset asks the same requests."""
    since: datetime
    held: int
    """Requests of the job."""


def judge(standing: Standing, *, now: datetime) -> tuple[Condition, str]:
    """How the job is getting on, and a sentence (without its full stop) on why; empty where there is nothing to say."""
    if standing.state is JobState.HELD:
        return Condition.HELD, standing.reason or "nobody wrote down why"
    if standing.parked is ParkedState.STOPPING:
        return Condition.STOPPING, ""
    if standing.sample is not None:
        return Condition.AWAITING_APPROVAL, _sample(standing.sample, standing.deadline_at, now)
    if not standing.attended:
        return Condition.UNATTENDED, _unattended(standing)
    overrun = now - standing.deadline_at
    condition, why = _under_way(standing, now)
    if overrun <= timedelta(0):
        return condition, why
    late = f"{in_words(overrun)} past its deadline"
    if condition in {Condition.LANDED, Condition.STUCK}:
        return condition, f"{why}; {late}" if why else late
    if condition is Condition.QUEUED:
        return Condition.LATE, f"{late}, and nothing of it is at the provider" + (f": {why}" if why else "")
    return Condition.LATE, late


def _sample(wait: SampleWait, deadline_at: datetime, now: datetime) -> str:
    of = "its sample" if wait.own else f"the sample of job {wait.job_id}, which asks the same"
    why = f"{wait.held:,} requests wait for approval of {of} since {wait.since:%Y-%m-%d %H:%M:%S} UTC"
    late = now - deadline_at
    return f"{why}; {in_words(late)} past its deadline" if late > timedelta(0) else why


def _under_way(standing: Standing, now: datetime) -> tuple[Condition, str]:
    """What holds of a job that somebody carries on, whatever its deadline."""
    if standing.landed:
        return Condition.LANDED, _landed(standing, now)
    again = "" if standing.release_at is None else f"it is tried again at {standing.release_at:%Y-%m-%d %H:%M:%S} UTC"
    if standing.out_since is None or standing.progress_at is None:
        return Condition.QUEUED, standing.no_room or (f"it could not be submitted; {again}" if again else "")
    past, quiet, out = standing.past, now - standing.progress_at, now - standing.out_since
    left = in_words(standing.deadline_at - now)
    if quiet > (max(max(past), SHORTEST_STUCK) if past else STUCK_WITHOUT_HISTORY):
        known = f"no progress for {in_words(quiet)}" + (f" ({_took(past, max(past))})" if past else "")
        if standing.grown > 0:
            more = "1 request" if standing.grown == 1 else f"{standing.grown:,} requests"
            return Condition.STUCK, f"{known}, and the account's queue has grown by {more} since"
        return Condition.RUNNING_LONG, f"{known}; its deadline is in {left}"
    tail = slow_tail(past)
    if tail is not None and out > max(tail, SHORTEST_LONG):
        return Condition.RUNNING_LONG, f"out for {in_words(out)} ({_took(past, tail)}); its deadline is in {left}"
    if standing.no_room is not None:
        return Condition.RUNNING, f"a part of it {standing.no_room}"
    undone = "not all of it could be called" if standing.calling else "a part of it could not be submitted"
    return Condition.RUNNING, f"{undone}; {again}" if again else ""


def _took(past: Sequence[timedelta], most: timedelta) -> str:
    """Such as "9 of 10 past batches took 2 h at most"."""
    within = sum(each <= most for each in past)
    if len(past) == 1:
        return f"the one past batch took {in_words(most)}"
    count = f"all {within}" if within == len(past) else f"{within} of {len(past)}"
    return f"{count} past batches took {in_words(most)} at most"


def _landed(standing: Standing, now: datetime) -> str:
    if standing.others:
        jobs = f"job {standing.others[0]}" if len(standing.others) == 1 else f"{len(standing.others)} other jobs"
        return f"its run also waits for {jobs}"
    if standing.parked is None or standing.landed_at is None or now - standing.landed_at <= COLLECTED_WITHIN:
        return ""
    ended = f"ended {in_words(now - standing.landed_at)} ago"
    if standing.parked is ParkedState.RELEASED:
        return f"{ended}, and its run has not collected it; look at that run in Dagster"
    return f"{ended}, and its run is not released; see that Dagster's daemon and the sensor for batches are running"


def _unattended(standing: Standing) -> str:
    if standing.host is None:
        who = "its process is gone"
    else:
        who = f"its process was on {standing.host}, which cannot be asked from here,"
    batches = standing.out_since is not None and not standing.calling
    remedy = "to collect" if standing.landed or batches else "to go on"
    return f"{who} and no parked run holds its place; materialise the asset again {remedy}"


def slow_tail(past: Sequence[timedelta]) -> timedelta | None:
    """What all but the slowest tenth of past batches took at most; None without any."""
    return sorted(past)[ceil(len(past) * SLOW_TAIL) - 1] if past else None


def middle(past: Sequence[timedelta]) -> timedelta | None:
    """What past batches usually took; None without any."""
    return sorted(past)[len(past) // 2] if past else None
