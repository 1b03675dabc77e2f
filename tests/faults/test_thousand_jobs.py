"""A thousand jobs wait for room for twenty batches: each is bought once, and there are never more than twenty."""

import time
from collections.abc import Callable
from datetime import timedelta

import sqlalchemy as sa

from offpeak.ledger import tables
from offpeak.ledger.ledger import Ledger
from offpeak.providers.base import Provider
from offpeak.queue import gate
from offpeak.queue.policy import QueuePolicy

from ..conftest import LocalProvider, Shop, tickets

JOBS = 1_000
ROOM = 20
NO_TIME = timedelta(0)


def test_a_thousand_jobs_drain_within_their_limit_and_by_importance(
    ledger: Ledger, open_account: Callable[..., Provider], local_provider: LocalProvider
) -> None:
    shop = Shop(ledger, open_account())
    shop.limit(open_batches=ROOM)
    waiting = {
        shop.begin(
            tickets(1, start=number), asset=f"asset_{number:04d}", queue=QueuePolicy(priority=number % 3)
        ): f"asset_{number:04d}"
        for number in range(JOBS)
    }
    assert len(gate.waits(ledger, now=shop.clock.now())) == JOBS - ROOM

    most, slowest = 0, 0.0
    while waiting:
        full = _jobs_of(ledger, gate.waits(ledger, now=shop.clock.now()))
        for job_id in [each for each in waiting if each not in full]:
            work = shop.work(job_id, asset=waiting[job_id])
            began = time.perf_counter()
            through = work.hand_over(patience=NO_TIME)
            slowest = max(slowest, time.perf_counter() - began)
            if through:
                assert work.close().rows == 1
                del waiting[job_id]
        most = max(most, sum(batch["outcome"] is None for batch in local_provider.batches()))
    assert most <= ROOM
    assert slowest < 5, "one claim among a thousand jobs took seconds"
    assert [row["answered"] for row in local_provider.answered()] == [1] * JOBS
    assert local_provider.tally("openai")["batches_created"] == JOBS
    with ledger.database.read() as connection:
        chunk, submission = tables.chunk, tables.submission
        sent = connection.execute(
            sa.select(chunk.c.priority)
            .join(submission, submission.c.chunk_id == chunk.c.id)
            .order_by(submission.c.intended_at)
        ).scalars()
        first = list(sent)[: JOBS // 4]
    assert first.count(2) == len(first), "something less important was sent first"


def _jobs_of(ledger: Ledger, chunks: dict[int, str]) -> set[int]:
    """The jobs that wait for these chunks."""
    link = tables.job_chunk
    with ledger.database.read() as connection:
        rows = connection.execute(sa.select(link.c.job_id, link.c.chunk_id)).all()
    return {row.job_id for row in rows if row.chunk_id in chunks}
