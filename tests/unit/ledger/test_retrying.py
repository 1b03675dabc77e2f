"""What failed goes round again, alone and within bounds; what keeps failing is a dead letter with its reason."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from offpeak.assets.purchase import purchase
from offpeak.assets.work import Progress
from offpeak.errors import JobFailed
from offpeak.ledger import custom_ids, tables
from offpeak.ledger.policy import SURFACE
from offpeak.providers.base import Provider

from ...conftest import LOG, LocalProvider, Shop, tickets
from .test_collecting import Line, changing, failures, with_output


@pytest.fixture
def any_account(open_account: Callable[..., Provider], any_ledger: Any, provider_name: str) -> Shop:
    """Buys at each provider, into each database."""
    return Shop(any_ledger, open_account(provider_name))


class Stopped(BaseException):
    """Ends a purchase as a kill would: nothing of the product catches it."""


def dead_letters(shop: Shop) -> list[tuple[str, str]]:
    with shop.ledger.database.read() as connection:
        rows = connection.execute(sa.select(tables.dead_letter)).all()
    return [(row.reason, row.message or "") for row in rows]


def job_state(shop: Shop) -> str:
    with shop.ledger.database.read() as connection:
        return str(connection.execute(sa.select(tables.job.c.state).order_by(tables.job.c.id.desc())).scalar())


def test_the_finished_part_of_an_expired_batch_is_kept_and_only_the_rest_is_bought(
    any_account: Shop, local_provider: LocalProvider
) -> None:
    local_provider.fault("expire", share=0.5)
    receipt = any_account.buy(tickets(10))

    assert local_provider.fired() == {"expire": 1}
    assert (receipt.rows, receipt.failed) == (10, 0)
    tally = local_provider.tally(any_account.provider.name)
    assert (tally["batches_created"], tally["answers_delivered"]) == (2, 10)
    assert local_provider.answered(at_least=2) == []
    assert len(failures(any_account)) == 5
    assert job_state(any_account) == "completed"


def test_a_batch_that_expired_whole_is_bought_in_another_round(
    any_account: Shop, local_provider: LocalProvider
) -> None:
    local_provider.fault("expire", share=0.0)
    receipt = any_account.buy(tickets(4))

    assert receipt.rows == 4
    assert local_provider.tally(any_account.provider.name)["answers_delivered"] == 4


def test_error_lines_go_round_again_and_cost_nothing(any_account: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("error_lines", share=0.3, code="server_error")
    receipt = any_account.buy(tickets(10))

    assert (receipt.rows, receipt.failed) == (10, 0)
    assert len(failures(any_account)) == 3
    with any_account.ledger.database.read() as connection:
        assert connection.execute(sa.select(sa.func.sum(tables.failure.c.cost_pico))).scalar_one() == 0
    assert local_provider.tally(any_account.provider.name)["answers_delivered"] == 10


def test_a_second_round_says_so_in_its_custom_ids(any_shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("error_lines", share=0.5)
    any_shop.buy(tickets(4))

    attempts = {}
    for batch in local_provider.batches():
        parsed = custom_ids.parse(batch["first_custom_id"])
        assert parsed is not None
        attempts[parsed.attempt] = batch["requests"]
    assert attempts == {1: 4, 2: 2}


def test_what_keeps_failing_is_a_dead_letter_and_the_others_land(any_shop: Shop, local_provider: LocalProvider) -> None:
    def spoil(lines: list[Line]) -> list[Line]:
        return [with_output(line, "no JSON") if doomed(line) else line for line in lines]

    doomed_prints: set[str] = set()

    def doomed(line: Line) -> bool:
        print_ = line["custom_id"][custom_ids.FINGERPRINT]
        if not doomed_prints:
            doomed_prints.add(print_)
        return print_ in doomed_prints

    changing(any_shop, spoil)
    receipt = any_shop.buy(tickets(4))

    assert (receipt.rows, receipt.failed, receipt.partitions[0].missing) == (3, 1, 1)
    assert job_state(any_shop) == "completed_with_partial_failures"
    ((reason, message),) = dead_letters(any_shop)
    assert reason == "invalid_output"
    assert "Invalid JSON" in message
    assert len(failures(any_shop)) == SURFACE.attempts
    assert local_provider.tally("openai")["batches_created"] == SURFACE.attempts

    again = any_shop.buy(tickets(4))
    assert (again.bought, again.reused, again.failed) == (0, 3, 1), "a dead letter is not bought again by itself"


def test_an_invalid_request_is_not_tried_again(any_account: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("error_lines", share=0.5, code="invalid_request")
    receipt = any_account.buy(tickets(4))

    assert (receipt.rows, receipt.failed) == (2, 2)
    assert local_provider.tally(any_account.provider.name)["batches_created"] == 1
    assert len(dead_letters(any_account)) == 2


def test_a_job_none_of_whose_rows_got_an_answer_fails_with_the_reasons(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    local_provider.fault("error_lines", share=1.0, code="server_error", times=None)
    with pytest.raises(JobFailed) as failed:
        any_shop.buy(tickets(3))

    assert str(failed.value).startswith("labels: none of 3 rows got a usable answer: ")
    assert "(3; " in str(failed.value)
    assert job_state(any_shop) == "failed"
    assert local_provider.tally("openai")["batches_created"] == SURFACE.attempts


def test_a_dead_row_serves_the_answer_it_had(any_shop: Shop, local_provider: LocalProvider) -> None:
    any_shop.buy(tickets(10))
    before = any_shop.frame().set_index("key")
    local_provider.fault("error_lines", share=1.0, code="invalid_request", times=None)
    receipt = any_shop.buy(tickets(10) | {"T0003": "The app crashes."})

    assert (receipt.rows, receipt.failed, receipt.partitions[0].missing) == (10, 1, 0)
    assert job_state(any_shop) == "completed_with_partial_failures"
    after = any_shop.frame().set_index("key")
    assert after.loc["T0003", "as_of"] == before.loc["T0003", "as_of"]
    assert after.loc["T0004", "as_of"] > before.loc["T0004", "as_of"]


def test_rounds_after_a_crash_count_the_rounds_before_it(any_shop: Shop, local_provider: LocalProvider) -> None:
    """A plan begins its chunks at attempt 1; what a killed job tried before still counts."""
    local_provider.fault("error_lines", share=1.0, code="server_error", times=None)

    for _ in range(2):
        _apply_and_stop(any_shop)
    with pytest.raises(JobFailed):
        any_shop.buy(tickets(3))

    assert local_provider.tally("openai")["batches_created"] == SURFACE.attempts


def _apply_and_stop(shop: Shop) -> None:
    """A purchase that ends, as if killed, once its first round is applied and before the second is queued."""

    def report(progress: Progress) -> None:
        if progress.applied == progress.batches:
            raise Stopped

    with pytest.raises(Stopped):
        purchase(
            shop.order(tickets(3)),
            ledger=shop.ledger,
            provider=shop.provider,
            rates=shop._rates,
            clock=shop.clock,
            log=LOG,
            progress=report,
        )
