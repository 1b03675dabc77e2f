"""A batch that failed as a whole, before any of it was run: nothing was bought, and its requests are still wanted.

The account was full: the chunk waits until there is room, in parts where it can never fit as a whole. Some lines were
wrong: they are dead letters, and the others go round again. Anything else would happen again: the chunk is refused.
"""

import re

from offpeak.clock import to_micros
from offpeak.errors import SubmissionRejected
from offpeak.faultpoints import FaultPoint, reach
from offpeak.ledger import queueing, splitting, submissions, tables
from offpeak.ledger.collecting import FAILURE_COLUMNS, members, unbilled
from offpeak.ledger.database import slices
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import NOT_RUN, TOKEN_LIMIT, WRONG_REQUEST
from offpeak.ledger.states import ChunkState, SubmissionState, must, transition
from offpeak.ledger.submissions import Submission
from offpeak.providers.base import BatchError, BatchView, Provider


def settle(ledger: Ledger, provider: Provider, chunk: Submission, batch: BatchView) -> str:
    """Write down what a FAILED batch means for its chunk; returns that in words.

    Raises SubmissionRejected when sending it again would fail again; the chunk is then REFUSED.
    """
    said = f"batch {batch.id} failed its validation and was not run: {batch.error}"
    wrong = {error.line - 1: error for error in batch.errors if error.line and error.line <= chunk.requests}
    full = next((error for error in batch.errors if error.code == TOKEN_LIMIT), None)
    if full is not None:
        return _wait_for_room(ledger, provider, chunk, full, said)
    if wrong:
        _tell_apart(ledger, chunk, wrong, why=said)
        return (
            f"{said}. {len(wrong):,} lines are wrong and not sent again; the other {chunk.requests - len(wrong):,} are"
        )
    submissions.refuse(ledger, chunk, said)
    raise SubmissionRejected(f"{said}. Nothing of it was bought.")


def _wait_for_room(ledger: Ledger, provider: Provider, chunk: Submission, full: BatchError, said: str) -> str:
    """The account was full: the chunk waits for room, however long that takes; what can never fit is split first."""
    limit = named_limit(full.message or "")
    known = queueing.note_full(ledger, chunk.realm, chunk.model, sent_at=chunk.create_at, limit=limit)
    most = known.enqueued_tokens
    tokens = queueing.tokens_of(chunk.spool_bytes)
    if most is not None and chunk.requests > 1:
        if tokens <= most and tokens > most // 2 and queueing.alone(ledger, chunk):
            most //= 2  # by the provider's own count it holds more tokens than by ours
        if tokens > most:
            parts = splitting.cut(
                splitting.offsets_of(ledger, chunk),
                chunk.spool_bytes,
                most_bytes=most * queueing.BYTES_PER_TOKEN,
            )
            splitting.split(ledger, provider, chunk, parts, why=said, ended=SubmissionState.REFUSED)
            return f"{said}. It is sent again in {len(parts):,} parts, as there is room for them"
    submissions.requeue(ledger, chunk, why=said, ended=SubmissionState.REFUSED)
    return f"{said}. It is sent again when there is room for it"


_NAMED_LIMIT = re.compile(r"limit:\s*([\d,]+)\s*enqueued tokens", re.IGNORECASE)


def named_limit(message: str) -> int | None:
    """The limit that OpenAI names when an account is full, in tokens: "Limit: 2,000,000 enqueued tokens."."""
    found = _NAMED_LIMIT.search(message)
    digits = "" if found is None else found[1].replace(",", "")
    return int(digits) if digits and int(digits) > 0 else None


def _tell_apart(ledger: Ledger, chunk: Submission, wrong: dict[int, BatchError], *, why: str) -> None:
    """A failure for every request of the chunk: the wrong ones' own, and for the rest that they were not run."""
    now, who, database = ledger.clock.now(), str(ledger.claimant), ledger.database
    at = to_micros(now)
    ids, _ = members(ledger, chunk)
    for ordinals in slices(range(len(ids))):
        rows = []
        for ordinal in ordinals:
            error = wrong.get(ordinal)
            reason, message = (NOT_RUN, "others made its batch fail") if error is None else _of(error)
            rows.append(unbilled(ids[ordinal], chunk.stamp, reason, message, at))
        with database.write() as connection:
            database.bulk_insert(connection, tables.failure, FAILURE_COLUMNS, rows, ignore_existing=True)
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
