"""Creates whose outcome nobody knows, and what a person can decide about them.

Offpeak goes on looking by itself and never guesses. Whoever knows better, from the provider's console or bill, says
which batch it became, or that it became none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from offpeak.errors import NotFound, PlanError
from offpeak.faultpoints import FaultPoint, reach
from offpeak.ledger import reconciling, submissions, tables
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import SubmissionState
from offpeak.ledger.submissions import CLOCK_SKEW, Submission
from offpeak.providers.base import BatchView, Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A paid call whose answer never arrived."""

    submission: Submission
    realm: str
    model: str
    """Without the provider's name."""
    jobs: Sequence[int]
    assets: Sequence[str]
    unknown_for: timedelta
    """Since the paid call was about to be sent."""
    attended: bool
    """A living process is sending it, or waits for its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A batch of the account that may be the one."""

    batch_id: str
    state: str
    created_at: datetime
    requests: int
    proven: bool
    """Its metadata, its input file or its results say so. Otherwise nothing speaks against it but its outcome."""


def unknown(ledger: Ledger, submission_id: int | None = None) -> list[Unknown]:
    """Creates whose outcome is unknown, the oldest first.

    With `submission_id` that one: raises NotFound where there is none, PlanError where nothing about it is unknown.
    """
    conditions = [tables.submission.c.state == SubmissionState.CREATING.value]
    if submission_id is not None:
        conditions = [tables.submission.c.id == submission_id]
    found = submissions.selected(ledger, *conditions)
    if submission_id is not None and not found:
        raise NotFound(
            f"There is no submission {submission_id}. Nothing was changed. `offpeak jobs resolve` lists those whose "
            "outcome is unknown."
        )
    if submission_id is not None and found[0].state is not SubmissionState.CREATING:
        raise PlanError(f"Submission {submission_id} is {found[0].state}: its outcome is known. Nothing was changed.")
    return [_described(ledger, each) for each in found]


def _described(ledger: Ledger, each: Submission) -> Unknown:
    link, job, chunk = tables.job_chunk, tables.job, tables.chunk
    query = sa.select(job.c.id, job.c.asset).join(link, link.c.job_id == job.c.id).order_by(job.c.id)
    with ledger.database.read() as connection:
        rows = connection.execute(query.where(link.c.chunk_id == each.chunk_id)).all()
        realm, model = connection.execute(
            sa.select(chunk.c.realm, chunk.c.model).where(chunk.c.id == each.chunk_id)
        ).one()
    now = ledger.clock.now()
    return Unknown(
        submission=each,
        realm=realm,
        model=model,
        jobs=[row.id for row in rows],
        assets=sorted({row.asset for row in rows}),
        unknown_for=now - (each.create_at or now),
        attended=each.held_by_another(ledger),
    )


def candidates(ledger: Ledger, provider: Provider, each: Unknown) -> list[Candidate]:
    """Batches in the provider's list that are not another submission's, and that nothing rules out."""
    _refuse_other_account(provider, each)
    since = (each.submission.create_at or ledger.clock.now()) - CLOCK_SKEW
    known = reconciling.known_batches(ledger)
    found = []
    for batch in provider.batches(since=since):
        if batch.id not in known:
            owned = reconciling.ownership(ledger, provider, each.submission, batch)
            if owned is not False:
                found.append(_candidate(batch, proven=owned is True))
    return found


def _candidate(batch: BatchView, *, proven: bool) -> Candidate:
    return Candidate(
        batch_id=batch.id, state=batch.state.value, created_at=batch.created_at, requests=batch.total, proven=proven
    )


def adopt(ledger: Ledger, provider: Provider, each: Unknown, batch_id: str, *, who: str) -> None:
    """This batch is what the create became.

    Raises NotFound where the provider shows none of that id, PlanError for a batch that is another's.
    """
    _refuse_attended(each)
    _refuse_other_account(provider, each)
    if batch_id in reconciling.known_batches(ledger):
        raise PlanError(f"Batch {batch_id} is another submission's already. Nothing was changed.")
    batch = provider.retrieve(batch_id)
    if batch is None:
        raise NotFound(f"{each.realm} shows no batch {batch_id}. Nothing was changed. Look the id up at the provider.")
    if reconciling.ownership(ledger, provider, each.submission, batch) is False:
        raise PlanError(
            f"Batch {batch_id} is not what submission {each.submission.stamp} became: its metadata, input file, size "
            "or results say so. Nothing was changed."
        )
    submissions.created(ledger, each.submission, batch, why=f"{who} says it is batch {batch_id}")


def declare_absent(ledger: Ledger, provider: Provider, each: Unknown, *, who: str) -> None:
    """The create became nothing: its requests are queued again. Raises PlanError where the list shows otherwise."""
    _refuse_attended(each)
    proven = [found for found in candidates(ledger, provider, each) if found.proven]
    if proven:
        raise PlanError(
            f"Submission {each.submission.stamp} became batch {proven[0].batch_id}: the provider's list shows it. "
            "Nothing was changed. Materialise the asset again, which adopts it."
        )
    submissions.forget_file(provider, each.submission.file_id)
    reach(FaultPoint.FENCED)
    submissions.requeue(ledger, each.submission, why=f"{who} says it became nothing")


def _refuse_attended(each: Unknown) -> None:
    if each.attended:
        raise PlanError(
            f"Submission {each.submission.stamp} is being sent by a living process ({each.submission.owner}). Nothing "
            "was changed. Wait for it, or end that process first."
        )


def _refuse_other_account(provider: Provider, each: Unknown) -> None:
    if provider.realm != each.realm:
        raise PlanError(
            f"Submission {each.submission.stamp} was sent to {each.realm}, and this project's account is at "
            f"{provider.realm}. Nothing was changed. Set the provider's base URL and key as they were then."
        )
