"""Old files go when nothing can need them, and what is counted stays; what a crash left goes, and nothing of others."""

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from offpeak.clock import SystemClock
from offpeak.errors import CouldNotRead
from offpeak.ledger import history, jobs, pruning, retrying, tables
from offpeak.ledger.dead_letters import Chosen, discard
from offpeak.ledger.explaining import explain
from offpeak.ledger.ledger import Ledger

from ...conftest import LocalProvider, Shop, tickets

MONTH = timedelta(days=30)


class Later(SystemClock):
    """A clock that is ahead."""

    def __init__(self, by: timedelta) -> None:
        self.by = by

    def now(self) -> datetime:
        return super().now() + self.by


def in_a_month(shop: Shop) -> pruning.Pruned:
    """Prune what has been through for two weeks, a month from now."""
    now, shop.ledger.clock = shop.ledger.clock, Later(MONTH)
    try:
        return pruning.prune(shop.ledger, keep=MONTH / 2)
    finally:
        shop.ledger.clock = now


def names(ledger: Ledger) -> set[str]:
    return {path.name for path in ledger.spool.iterdir()}


def test_files_of_batches_that_are_through_go_and_the_rest_stays(any_shop: Shop) -> None:
    receipt = any_shop.buy(tickets(3))
    before = jobs.bill(any_shop.ledger, receipt.job_id)
    assert len(names(any_shop.ledger)) == 2
    assert in_a_month(any_shop).files == 2
    assert names(any_shop.ledger) == set()

    assert jobs.bill(any_shop.ledger, receipt.job_id) == before
    assert len(any_shop.frame()) == 3
    assert any_shop.buy(tickets(4)).bought == 1
    told = history.of_job(any_shop.ledger, receipt.job_id)
    assert [(chunk.spool, chunk.requests) for chunk in told.chunks] == [(None, 3)]
    assert told.events
    explained = explain(any_shop.ledger, "labels", "T0000")
    assert explained.body is None
    assert "pruned" in str(explained.body_missing)
    assert explained.answer is not None
    assert in_a_month(any_shop).files == 2
    assert in_a_month(any_shop).files == 0


def test_young_files_stay(any_shop: Shop) -> None:
    any_shop.buy(tickets(3))
    assert pruning.prune(any_shop.ledger, keep=MONTH).files == 0
    assert len(names(any_shop.ledger)) == 2


def test_files_that_may_be_sent_round_again_stay(any_shop: Shop, local_provider: LocalProvider) -> None:
    """One batch has landed with failures while another of the same job is on its way."""
    any_shop.provider.limits = any_shop.provider.limits.__class__(
        max_requests=2, max_bytes=10**6, max_request_bytes=10**6
    )
    local_provider.fault("error_lines", share=1.0, code="server_error")
    local_provider.settings(latency_seconds=0.1)
    job = any_shop.begin(tickets(4))
    work = any_shop.work(job, asset="labels")
    first, second = local_first_and_second(any_shop, work, job)
    assert (first, second) == ("applied", "queued")
    assert in_a_month(any_shop).files == 0
    assert any_shop.collect(job).rows == 4
    assert in_a_month(any_shop).files > 0


def local_first_and_second(shop: Shop, work: object, job: int) -> tuple[str, str]:
    from offpeak.ledger import submissions

    from ...conftest import until

    chunk = submissions.of_job(shop.ledger, job)[0]
    submissions.submit(shop.ledger, shop.provider, chunk)

    def applied() -> bool:
        return bool(work._advance(submissions.of_job(shop.ledger, job)[0]))  # type: ignore[attr-defined]

    until(applied)
    first, second = submissions.of_job(shop.ledger, job)
    return first.chunk_state.value, second.chunk_state.value


def test_what_was_pruned_cannot_go_round_again_and_says_so(any_shop: Shop) -> None:
    any_shop.buy(tickets(1))
    in_a_month(any_shop)
    with pytest.raises(CouldNotRead, match="was pruned"):
        retrying.bodies(any_shop.ledger, any_shop.provider, 1, [1])


def test_unusable_answers_go_but_not_those_of_dead_letters(any_shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("unusable_lines", share=0.5, how="invalid")
    assert any_shop.buy(tickets(4)).failed == 0
    local_provider.fault("unusable_lines", share=1.0, how="invalid", times=None)
    any_shop.buy(tickets(4) | {"dead": "hopeless"})
    assert len(raw(any_shop)) == 2 + 3

    assert in_a_month(any_shop).answers == 2
    assert len(raw(any_shop)) == 3
    discard(any_shop.ledger, Chosen(asset="labels", keys=["dead"]), who="a test")
    assert in_a_month(any_shop).answers == 0


def raw(shop: Shop) -> list[str]:
    table = tables.failure
    with shop.ledger.database.read() as connection:
        return list(connection.execute(sa.select(table.c.raw).where(table.c.raw.is_not(None))).scalars())


@pytest.fixture
def leave(any_shop: Shop) -> Callable[[str, timedelta], Path]:
    """Leaves a file of this age in the spool folder."""

    def left(name: str, age: timedelta) -> Path:
        path = any_shop.ledger.spool / name
        path.write_bytes(b"left")
        moment = (any_shop.clock.now() - age).timestamp()
        os.utime(path, (moment, moment))
        return path

    return left


def test_what_a_crash_left_in_the_folder_goes_and_nothing_else(
    any_shop: Shop, leave: Callable[[str, timedelta], Path]
) -> None:
    any_shop.buy(tickets(2))
    own, old = any_shop.ledger.identity, timedelta(days=2)
    for path in any_shop.ledger.spool.iterdir():
        os.utime(path, (1, 1))
    known = names(any_shop.ledger)
    leftovers = [leave(f"{own}-zzzzzzz{each}", old) for each in ("b.spool", "c.spool.writing", "d.results.77.writing")]
    young = leave(f"{own}-zzzzzzze.spool", timedelta(hours=1))
    foreign = leave("zzzzzzzz-aaaaaaab.spool", old)

    assert pruning.sweep_folder(any_shop.ledger).files == 3
    assert not any(path.exists() for path in leftovers)
    assert names(any_shop.ledger) == known | {young.name, foreign.name}
    assert any_shop.buy(tickets(2)).bought == 0


def test_dying_while_pruning_leaves_files_that_the_sweep_finds(any_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    any_shop.buy(tickets(2))

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pruning, "_delete", die)
        with pytest.raises(KeyboardInterrupt):
            in_a_month(any_shop)
    assert len(names(any_shop.ledger)) == 2
    for path in any_shop.ledger.spool.iterdir():
        os.utime(path, (1, 1))
    assert pruning.sweep_folder(any_shop.ledger).files == 2
