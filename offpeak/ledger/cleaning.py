"""What a provider keeps of a batch that is through: deleted once its lines are stored, unless it is to be kept.

Deleting comes after the apply has committed, and is written down after it was done: dying in between is made good by
`sweep`, since deleting again does no harm. `sweep` also deletes uploads of this ledger that nothing will use: a crash
between an upload and its record leaves them, named after their submission.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from offpeak.clock import to_micros
from offpeak.errors import OffpeakError
from offpeak.faultpoints import FaultPoint, reach
from offpeak.ledger import custom_ids, tables
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import SubmissionState
from offpeak.ledger.submissions import Submission
from offpeak.providers.base import BatchView, Provider

KEPT_BY_PROVIDERS = timedelta(days=31)
"""After this nothing is left to delete: OpenAI keeps files for 30 days at most unless told otherwise (our uploads 14),
Anthropic results for 29."""

_PAGE = 500
_THROUGH = (SubmissionState.APPLIED.value, SubmissionState.REFUSED.value)
"""What came to nothing is not through: its batch may still turn up."""


@dataclass(slots=True)
class Cleaned:
    """What a sweep did."""

    batches: int = 0
    """Submissions whose files at the provider are gone."""
    uploads: int = 0
    """Uploads that nothing would have used."""
    failed: int = 0
    """Submissions whose files could not be deleted now."""


def after_apply(
    ledger: Ledger, provider: Provider, chunk: Submission, batch: BatchView | None, *, log: logging.Logger
) -> None:
    """Delete the provider's files of a chunk whose lines are stored. What cannot be deleted now, a sweep does later."""
    if provider.keeps_files or batch is None:
        return
    try:
        delete(ledger, provider, chunk.stamp, batch, file_id=chunk.file_id)
    except OffpeakError as error:
        log.warning(f"The files of batch {batch.id} stay at the provider until the next housekeeping: {error}")


def delete(
    ledger: Ledger, provider: Provider, submission_id: int, batch: BatchView | None, *, file_id: str | None
) -> None:
    """Delete what the provider keeps of one submission, and write down that it is gone.

    Raises ProviderUnavailable or ConfigurationError, with nothing written down, where that cannot be done now.
    """
    ledger.require_home()
    if batch is not None:
        provider.delete_batch(batch)
    if file_id is not None and (batch is None or batch.input_file_id != file_id):
        provider.delete_file(file_id)
    reach(FaultPoint.CLEANED)
    table = tables.submission
    with ledger.database.write() as connection:
        connection.execute(
            table.update()
            .where(table.c.id == submission_id, table.c.state.in_(_THROUGH))
            .values(cleaned_at=to_micros(ledger.clock.now()))
        )


def sweep(ledger: Ledger, provider: Provider, *, log: logging.Logger) -> Cleaned:
    """Delete at one account what its settled submissions left there. Batches that are to be kept are left alone."""
    ledger.require_home()
    cleaned = Cleaned()
    for row in _uncleaned(ledger, provider):
        try:
            batch = provider.retrieve(row.batch_id) if row.batch_id else None
            delete(ledger, provider, row.id, batch, file_id=row.file_id)
            cleaned.batches += 1
        except OffpeakError as error:
            log.warning(f"The files of submission {row.id} stay at the provider for now: {error}")
            cleaned.failed += 1
    for file_id, submission_id in _uploads(ledger, provider):
        if _useless(ledger, submission_id, keeps_files=provider.keeps_files):
            provider.delete_file(file_id)
            cleaned.uploads += 1
    return cleaned


def realms(ledger: Ledger) -> list[str]:
    """Accounts that may still keep something of this ledger's."""
    chunk, submission = tables.chunk, tables.submission
    query = (
        sa.select(chunk.c.realm)
        .distinct()
        .join(submission, submission.c.chunk_id == chunk.c.id)
        .where(submission.c.intended_at >= to_micros(ledger.clock.now() - KEPT_BY_PROVIDERS))
        .order_by(chunk.c.realm)
    )
    with ledger.database.read() as connection:
        return list(connection.execute(query).scalars())


def _uncleaned(ledger: Ledger, provider: Provider) -> Iterator[sa.Row[tuple[int, str | None, str | None]]]:
    """Submissions at this account that are through, with something left to delete there."""
    if provider.keeps_files:
        return
    submission, chunk, after = tables.submission, tables.chunk, 0
    since = to_micros(ledger.clock.now() - KEPT_BY_PROVIDERS)
    query = (
        sa.select(submission.c.id, submission.c.batch_id, submission.c.file_id)
        .join(chunk, chunk.c.id == submission.c.chunk_id)
        .where(
            chunk.c.realm == provider.realm,
            submission.c.state.in_(_THROUGH),
            submission.c.cleaned_at.is_(None),
            submission.c.intended_at >= since,
            sa.or_(submission.c.batch_id.is_not(None), submission.c.file_id.is_not(None)),
        )
        .order_by(submission.c.id)
        .limit(_PAGE)
    )
    while True:
        with ledger.database.read() as connection:
            rows = connection.execute(query.where(submission.c.id > after)).all()
        yield from rows
        if len(rows) < _PAGE:
            return
        after = rows[-1].id


def _uploads(ledger: Ledger, provider: Provider) -> Iterator[tuple[str, int]]:
    """This ledger's uploads that are still at the account: file id, and the submission that it was for."""
    prefix = f"offpeak-{ledger.identity}-"
    for file_id, name in list(provider.files(prefix=prefix)):
        try:
            yield file_id, custom_ids.submission_id(name.removeprefix(prefix).removesuffix(".jsonl"))
        except ValueError:  # somebody else's name
            continue


def _useless(ledger: Ledger, submission_id: int, *, keeps_files: bool) -> bool:
    """Whether an upload for this submission may go. What the ledger does not know stays."""
    state = sa.select(tables.submission.c.state).where(tables.submission.c.id == submission_id)
    with ledger.database.read() as connection:
        found = connection.execute(state).scalar()
    return found == SubmissionState.ABSENT.value or (found in _THROUGH and not keeps_files)
