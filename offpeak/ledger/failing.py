"""A batch that failed as a whole, before any of it was run: nothing was bought, and its requests are still wanted.

The account was full: the chunk waits, and is sent again. Some lines were wrong: they are dead letters, and the others
go round again. Anything else would happen again: the chunk is refused.
"""

import sqlalchemy as sa

from offpeak.clock import to_micros
from offpeak.errors import SubmissionRejected
from offpeak.faultpoints import FaultPoint, reach
from offpeak.ledger import submissions, tables
from offpeak.ledger.collecting import members
from offpeak.ledger.database import slices
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import MOST_ROUNDS, NOT_RUN, TOKEN_LIMIT, WRONG_REQUEST, pause_before
from offpeak.ledger.states import ChunkState, SubmissionState, must, transition
from offpeak.ledger.submissions import Submission
from offpeak.providers.base import BatchError, BatchView

_FAILURE_COLUMNS = (
    "request_id", "submission_id", "reason", "message", "at", "input_tokens", "output_tokens", "cost_pico",
    "realtime_pico",
)  # fmt: skip


def settle(ledger: Ledger, chunk: Submission, batch: BatchView) -> str:
    """Write down what a FAILED batch means for its chunk; returns that in words.

    Raises SubmissionRejected when sending it again would fail again; the chunk is then REFUSED.
    """
    said = f"batch {batch.id} failed its validation and was not run: {batch.error}"
    wrong = {error.line - 1: error for error in batch.errors if error.line and error.line <= chunk.requests}
    full = any(error.code == TOKEN_LIMIT for error in batch.errors)
    tries = _tries(ledger, chunk)
    if full and tries < MOST_ROUNDS:
        pause = pause_before(tries + 1, TOKEN_LIMIT)
        ready_at = ledger.clock.now() + pause
        submissions.requeue(ledger, chunk, why=said, ended=SubmissionState.REFUSED, ready_at=ready_at)
        return f"{said}. It is sent again in {pause.total_seconds() / 60:.0f} min"
    if wrong and not full:
        _tell_apart(ledger, chunk, wrong, why=said)
        return (
            f"{said}. {len(wrong):,} lines are wrong and not sent again; the other {chunk.requests - len(wrong):,} are"
        )
    submissions.refuse(ledger, chunk, said)
    raise SubmissionRejected(f"{said}. Nothing of it was bought.")


def _tries(ledger: Ledger, chunk: Submission) -> int:
    """How often the chunk was claimed to be sent."""
    table = tables.submission
    query = sa.select(sa.func.count()).where(table.c.chunk_id == chunk.chunk_id)
    with ledger.database.read() as connection:
        return int(connection.execute(query).scalar_one())


def _tell_apart(ledger: Ledger, chunk: Submission, wrong: dict[int, BatchError], *, why: str) -> None:
    """A failure for every request of the chunk: the wrong ones' own, and for the rest that they were not run."""
    now, who, database = ledger.clock.now(), str(ledger.claimant), ledger.database
    at, nothing = to_micros(now), (0, 0, 0, 0)
    ids, _ = members(ledger, chunk)
    for ordinals in slices(range(len(ids))):
        rows = []
        for ordinal in ordinals:
            error = wrong.get(ordinal)
            reason, message = (NOT_RUN, "others made its batch fail") if error is None else _of(error)
            rows.append((ids[ordinal], chunk.stamp, reason, message, at, *nothing))
        with database.write() as connection:
            database.bulk_insert(connection, tables.failure, _FAILURE_COLUMNS, rows, ignore_existing=True)
        reach(FaultPoint.ROWS_STORED)
    with database.write(durable=True) as connection:
        # False where another process met the same failure in the same moment: the rows are the same
        if transition(connection, chunk.stamp, SubmissionState.REFUSED, at=now, who=who, why=why, error=why):
            must(connection, chunk.chunk_id, ChunkState.APPLIED, at=now, who=who, why=why)
    reach(FaultPoint.APPLIED)


def _of(error: BatchError) -> tuple[str, str]:
    """Reason and message of a line that is wrong: the same bytes would be wrong again, whatever the code is called."""
    code = error.code or ""
    return (code if code in WRONG_REQUEST else "invalid_request"), str(error)
