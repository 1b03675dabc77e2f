"""The points between two durable steps, at which a process may die and nothing may be lost or bought twice.

Each is named where it is reached: after one thing was made durable (a file, a commit, a call to a provider) and before
the next. In production nobody listens, and reaching one costs a comparison. Tests install a listener that kills the
process there.
"""

from collections.abc import Callable
from enum import StrEnum


class FaultPoint(StrEnum):
    """What has just become durable."""

    JOB_BEGUN = "job_begun"
    """The job is written down; nothing is planned."""
    SPOOL_PUBLISHED = "spool_published"
    """A chunk's file stands under its name; the ledger does not know it."""
    CHUNK_QUEUED = "chunk_queued"
    """A chunk and its requests are committed; no row wants them."""
    PLACE_TAKEN = "place_taken"
    """What the plan is estimated at counts as spent today; no row wants it, and it may not be submitted yet."""
    TARGETS_TAKEN = "targets_taken"
    """The job's plan is the newest of its targets; no row is written."""
    ROWS_WANTED = "rows_wanted"
    """The wanted rows are written; the job may not be submitted yet."""
    JOB_QUEUED = "job_queued"
    """The plan is valid; nothing is sent."""

    CLAIMED = "claimed"
    """A submission holds the chunk; nothing is sent."""
    UPLOADED = "uploaded"
    """The provider has the file; the ledger does not know its id."""
    CREATE_INTENDED = "create_intended"
    """The paid call is about to be sent."""
    CREATED = "created"
    """The provider has the batch; the ledger does not know its id."""
    CREATE_RECORDED = "create_recorded"
    """The batch's id is committed."""

    FENCED = "fenced"
    """The file of a create that came to nothing is deleted; the submission is still open."""
    RESTAMPED = "restamped"
    """A new spool file stands beside the old one; the ledger knows the old one."""
    REQUEUED = "requeued"
    """The chunk is queued again; the old spool file is still there."""
    REFUSED = "refused"
    """The provider's refusal is committed; its file is still there."""

    PARTS_SPOOLED = "parts_spooled"
    """The files of a chunk's parts stand under their names; the ledger knows the whole."""
    CHUNK_SPLIT = "chunk_split"
    """The parts are queued; the file of the whole is still there."""
    CHUNK_DROPPED = "chunk_dropped"
    """Its requests were let go, on record; what stands in for them is not queued."""
    STAND_INS_QUEUED = "stand_ins_queued"
    """What stands in for requests that were let go is queued; nothing of it is sent."""
    STAND_INS_SERVED = "stand_ins_served"
    """Rows serve the answers that stand in for theirs; their job is still open."""

    DOWNLOADED = "downloaded"
    """The lines are on this disk, under a temporary name."""
    RESULTS_PUBLISHED = "results_published"
    """The lines stand under their name; the ledger does not know."""
    LANDED = "landed"
    """The ledger knows that the lines are on this disk."""
    ROWS_STORED = "rows_stored"
    """Some of the lines are in the ledger."""
    LINES_STORED = "lines_stored"
    """All of the lines are in the ledger; the chunk is still open."""
    APPLIED = "applied"
    """The chunk is closed; the provider's files are still there."""
    CLEANED = "cleaned"
    """The provider's files are deleted; the ledger does not know."""

    CALLS_INTENDED = "calls_intended"
    """Calls to realtime endpoints are written down; none of them is sent."""
    CALL_ANSWERED = "call_answered"
    """A call was answered, and billed; the ledger does not know."""
    CALLS_RECORDED = "calls_recorded"
    """Answers to calls are in the ledger; their chunk is still open."""

    SAMPLE_SHOWN = "sample_shown"
    """A sample's rows and figures are shown; the ledger does not know."""
    SAMPLE_JUDGED = "sample_judged"
    """The ledger knows what came of a sample, and whether the rest of the plan is released; none of it is sent."""

    BURIED = "buried"
    """Dead letters are written; the next round is not."""
    CANCEL_SENT = "cancel_sent"
    """The provider was asked to cancel; the ledger does not know."""
    CANCEL_RECORDED = "cancel_recorded"
    """The ledger knows that the provider was asked to cancel."""
    GIVEN_UP = "given_up"
    """It is written down that what a batch leaves is bought at realtime price; the batch is not cancelled yet."""
    REST_QUEUED = "rest_queued"
    """What a cancelled batch left is queued in the background lane; none of it is called."""
    TWICE_INTENDED = "twice_intended"
    """It is written down that a chunk may be paid twice; nothing of it is queued again yet."""
    LATE_RECORDED = "late_recorded"
    """A batch that turned up late is written down; it is not cancelled yet."""
    JOB_CLOSED = "job_closed"
    """The job has ended; the orchestrator has not been told."""


Listener = Callable[[FaultPoint], None]

_listener: Listener | None = None


def on_reach(listener: Listener | None) -> None:
    """Have every point that this process reaches told to `listener`; None: to nobody."""
    global _listener
    _listener = listener


def reach(point: FaultPoint) -> None:
    """This process is at `point`."""
    if _listener is not None:
        _listener(point)
