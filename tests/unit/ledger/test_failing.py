"""A batch that fails its validation costs nothing: what can be sent again is, and what cannot is told apart."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from offpeak.ledger import failing, submissions, tables
from offpeak.ledger.policy import NOT_RUN
from offpeak.ledger.states import ChunkState
from offpeak.providers.base import BatchView

from ...conftest import LocalProvider, Shop, tickets, until
from .test_policy import attempts, dead_letters


def test_a_full_account_is_waited_for_and_the_batch_sent_again(any_shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("fail_validation", code="token_limit_exceeded", times=2)
    receipt = any_shop.buy(tickets(3))

    assert (receipt.rows, receipt.failed, receipt.bought) == (3, 0, 3)
    assert attempts(any_shop.ledger) == {}
    assert len(local_provider.batches()) == 3
    assert local_provider.tally("openai")["answers_delivered"] == 3
    with any_shop.ledger.database.read() as connection:
        query = sa.select(tables.submission.c.intended_at).order_by(tables.submission.c.id)
        assert len(connection.execute(query).all()) == 3
        (until,) = connection.execute(sa.select(tables.queue.c.full_until)).scalars()
        (said,) = connection.execute(sa.select(tables.queue.c.full_at)).scalars()
    assert until - said >= timedelta(minutes=2) / timedelta(microseconds=1)


def test_wrong_lines_are_dead_letters_and_the_others_are_sent_again(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    local_provider.fault("fail_validation", code="invalid_json_line", message="no JSON", line=2)
    receipt = any_shop.buy(tickets(3))

    assert (receipt.rows, receipt.failed) == (2, 1)
    assert dead_letters(any_shop.ledger) == {"T0001": ("invalid_json_line", "dead")}
    assert local_provider.answered(at_least=2) == []
    assert local_provider.tally("openai")["answers_delivered"] == 2


def test_requests_beside_a_wrong_one_keep_their_attempts(shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("fail_validation", code="no_such_code", line=1, times=3)
    receipt = shop.buy(tickets(5))

    assert (receipt.rows, receipt.failed) == (2, 3)
    assert {reason for reason, _ in dead_letters(shop.ledger).values()} == {"invalid_request"}
    with shop.ledger.database.read() as connection:
        reasons = list(connection.execute(sa.select(tables.failure.c.reason)).scalars())
    assert reasons.count(NOT_RUN) == 4 + 3 + 2


@pytest.mark.parametrize(
    ("code", "after"), [("invalid_json_line", ChunkState.APPLIED), ("token_limit_exceeded", ChunkState.QUEUED)]
)
def test_two_processes_that_meet_the_same_failure_write_it_down_once(
    shop: Shop, local_provider: LocalProvider, code: str, after: ChunkState
) -> None:
    local_provider.fault("fail_validation", code=code, line=1)
    job_id = shop.leave(tickets(2))
    (chunk,) = submissions.of_job(shop.ledger, job_id)

    def failed() -> BatchView | None:
        batch = shop.provider.retrieve(chunk.batch_id or "")
        return batch if batch is not None and batch.state.terminal else None

    batch = until(failed, what="the failure")
    for _ in range(2):
        assert code in failing.settle(shop.ledger, shop.provider, chunk, batch)

    (found,) = submissions.of_job(shop.ledger, job_id)
    assert found.chunk_state is after
    assert attempts(shop.ledger) == ({} if after is ChunkState.QUEUED else {1: 1, 2: 1})
    assert len(list(shop.ledger.spool.iterdir())) == 1
