"""Batches that turn up after they were given up: the provider's list lagged for longer than anybody waits.

Their chunk has been queued again by then, so they buy the same twice as long as they run. Such a batch is written down,
cancelled, and what it had finished is kept: an answer that comes first is served, one that comes second is on the bill
as paid twice.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from offpeak.clock import to_micros
from offpeak.faultpoints import FaultPoint, reach
from offpeak.ledger import collecting, reconciling, submissions, tables
from offpeak.ledger.collecting import Price, Validate
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.sightings import OVERDUE
from offpeak.ledger.states import SubmissionState, transition
from offpeak.ledger.submissions import CLOCK_SKEW, Submission
from offpeak.providers.base import BatchView, Provider


def given_up(ledger: Ledger, *, realm: str) -> list[Submission]:
    """Submissions whose paid call may have been sent, and whose batch was not found: it may still turn up."""
    since = to_micros(ledger.clock.now() - OVERDUE)
    table = tables.submission
    return submissions.selected(
        ledger,
        tables.chunk.c.realm == realm,
        table.c.state == SubmissionState.ABSENT.value,
        table.c.create_at > since,
    )


def search_from(missing: Iterable[Submission]) -> datetime | None:
    """From when on the provider's list has to be read to show their batches; None without any."""
    return min((each.create_at - CLOCK_SKEW for each in missing if each.create_at is not None), default=None)


def notice(ledger: Ledger, provider: Provider, batches: Iterable[BatchView], missing: list[Submission]) -> list[str]:
    """Write down which of `batches` are those of `missing` submissions; returns their ids.

    A batch of a provider without metadata is known by its results alone, so not before it has ended.
    """
    if not missing:
        return []
    known = reconciling.known_batches(ledger)
    found = []
    for batch in batches:
        if batch.id in known:
            continue
        owner = next((each for each in missing if reconciling.ownership(ledger, provider, each, batch)), None)
        if owner is not None and _record(ledger, owner, batch):
            found.append(batch.id)
    return found


def _record(ledger: Ledger, owner: Submission, batch: BatchView) -> bool:
    now = ledger.clock.now()
    with ledger.database.write(durable=True) as connection:
        mine = transition(
            connection,
            owner.stamp,
            SubmissionState.LATE,
            at=now,
            who=str(ledger.claimant),
            why=f"batch {batch.id} turned up after it was given up",
            batch_id=batch.id,
            submitted_at=to_micros(batch.created_at),
        )
    reach(FaultPoint.LATE_RECORDED)
    return mine


def settle(
    ledger: Ledger, provider: Provider, late: Submission, *, validate: Validate | None, price: Price
) -> collecting.Applied | None:
    """Cancel a late batch, and once it has ended keep what it finished; None as long as it has not."""
    batch = provider.retrieve(late.batch_id) if late.batch_id else None
    if batch is None:
        return None
    if not batch.state.terminal:
        if late.cancel_at is None:
            provider.cancel(batch.id)
            submissions.asked_to_cancel(ledger, late)
        return None
    name = f"{ledger.identity}-{late.token}.results"
    collecting.fetch(ledger, provider, batch, name)
    with ledger.database.write(durable=True) as connection:
        ended = to_micros(batch.ended_at or ledger.clock.now())
        table = tables.submission
        connection.execute(
            table.update()
            .where(table.c.id == late.stamp)
            .values(ended_at=ended, outcome=batch.state.value, results=name)
        )
    return collecting.apply_late(
        ledger, provider, replace(late, results=name, outcome=batch.state.value), validate=validate, price=price
    )


def of_asset(ledger: Ledger, asset: str, *, realm: str) -> list[Submission]:
    """Late batches that are not settled, and carry requests of the asset's."""
    job, link = tables.job, tables.job_chunk
    mine = sa.select(link.c.chunk_id).join(job, job.c.id == link.c.job_id).where(job.c.asset == asset)
    return submissions.selected(
        ledger,
        tables.chunk.c.realm == realm,
        tables.submission.c.state == SubmissionState.LATE.value,
        tables.chunk.c.id.in_(mine),
    )
