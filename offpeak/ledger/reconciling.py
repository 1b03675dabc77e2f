"""A create whose answer never arrived: whether there is a batch is asked of the provider before anything is sent again.

A claim of a process that died is taken over; one of a living process is left.
"""

import itertools
import os
from datetime import datetime, timedelta

import sqlalchemy as sa

from offpeak.errors import DownloadIncomplete
from offpeak.faultpoints import FaultPoint, reach
from offpeak.ledger import tables
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.submissions import (
    CLOCK_SKEW,
    LEDGER_KEY,
    SUBMISSION_KEY,
    Submission,
    claim_again,
    created,
    file_name,
    forget_file,
    requeue,
)
from offpeak.providers.base import BatchView, Provider

LIST_LAG = timedelta(seconds=90)
"""How long a batch may be missing from the provider's list; then it counts as absent.

Counted from when the outcome became unknown, not from when the create began: a large one takes minutes to send, and may
have reached the provider a moment ago.
"""

PROOFS = 2
"""How often the results of a batch are read before it is another ledger's: a download may be torn, or bring foreign
lines along."""

PROOF_LINES = 1_000
"""Of each such reading, at most: all lines of a batch are of one submission, but for the foreign ones."""


def reconcile(ledger: Ledger, provider: Provider, chunk: Submission, *, list_lag: timedelta = LIST_LAG) -> bool:
    """Find out what became of a create whose answer never arrived. True once it is settled.

    A batch that is ours is adopted. None, once the list has had `list_lag` to show it: the uploaded file is deleted, as
    a fence, and the chunk queued again. Until then nothing is sent.
    """
    if (batch := ledger.unrecorded.get(chunk.stamp)) is not None:
        created(ledger, chunk, batch)
        return True
    ledger.require_home()
    unknown_at = _take_over(ledger, chunk)
    if unknown_at is None:
        return False
    if chunk.create_at is None:
        for file_id, _ in provider.files(prefix=file_name(ledger, chunk)):
            forget_file(provider, file_id)
        reach(FaultPoint.FENCED)
        requeue(ledger, chunk, why="its process died before the paid call")
        return True
    unknown_for = ledger.clock.now() - max(unknown_at, chunk.create_at)
    undecided = False
    known = known_batches(ledger)
    for batch in provider.batches(since=chunk.create_at - CLOCK_SKEW):
        if batch.id in known:
            continue
        match ownership(ledger, provider, chunk, batch):
            case True:
                created(ledger, chunk, batch, why=f"found batch {batch.id} in the provider's list")
                return True
            case None:
                undecided = True
    if undecided or unknown_for < list_lag:
        return False
    forget_file(provider, chunk.file_id)
    reach(FaultPoint.FENCED)
    requeue(ledger, chunk, why="the provider's list does not show it")
    return True


def ownership(ledger: Ledger, provider: Provider, chunk: Submission, batch: BatchView) -> bool | None:
    """Whether `batch` carries `chunk`: by metadata or file, else by its results' custom_ids. None: not known yet."""
    if batch.metadata.get(LEDGER_KEY) or batch.metadata.get(SUBMISSION_KEY):
        found = (batch.metadata.get(LEDGER_KEY), batch.metadata.get(SUBMISSION_KEY))
        return found == (ledger.identity, chunk.token)
    if batch.input_file_id or chunk.file_id:
        return bool(chunk.file_id) and batch.input_file_id == chunk.file_id
    if batch.total not in {0, chunk.requests}:
        return False
    if not batch.state.terminal:
        return None
    path = ledger.spool / f"{ledger.identity}-{chunk.token}.{os.getpid()}.proof"  # others may look at it now, too
    prefix, lines = ledger.identity + chunk.token, True
    try:
        for _ in range(PROOFS):
            try:
                provider.download(batch, path)
                first = itertools.islice(provider.results(path, kind=chunk.kind), PROOF_LINES)
                ours = [line.custom_id.startswith(prefix) for line in first]
            except DownloadIncomplete:
                ours = []
            if any(ours):
                return True
            lines &= bool(ours)
    finally:
        path.unlink(missing_ok=True)
    return False if lines else None


def known_batches(ledger: Ledger) -> set[str]:
    query = sa.select(tables.submission.c.batch_id).where(tables.submission.c.batch_id.is_not(None))
    with ledger.database.read() as connection:
        return set(connection.execute(query).scalars())


def _take_over(ledger: Ledger, chunk: Submission) -> datetime | None:
    """Make this process the holder of a claim whose process died; None if another was faster.

    Returns since when the outcome is unknown, which is when the first process found it so: one that looks for it after
    that sends nothing, however many of them take over from one another.
    """
    if chunk.owner == str(ledger.claimant):
        return chunk.unknown_at or chunk.intended_at
    found = claim_again(ledger, chunk, chunk.owner)
    return None if found is None else chunk.unknown_at or found
