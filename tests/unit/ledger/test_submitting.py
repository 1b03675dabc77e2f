"""Intent is written before the paid call, its outcome after; what is unknown is asked for before anything is resent."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from offpeak.clock import SystemClock
from offpeak.errors import CouldNotRead, OutcomeUnknown, ProviderUnavailable, SubmissionRejected
from offpeak.ledger import reconciling, submissions, tables
from offpeak.ledger.claims import LEASE, Claimant
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.reconciling import LIST_LAG
from offpeak.ledger.states import ChunkState, SubmissionState
from offpeak.ledger.submissions import Submission
from offpeak.providers.base import BatchView, Provider

from ...conftest import LocalProvider, Place, Shop, Through, tickets, until
from .test_planning import chats, planned

S = SubmissionState


class HeldClock(SystemClock):
    """Tells the time that a test set it to."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def now(self) -> datetime:
        return self.time

    def forward(self, **duration: float) -> None:
        self.time += timedelta(**duration)


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
def shop(place: Place, clock: HeldClock, open_account: Callable[..., Provider]) -> Iterator[Shop]:
    """Buys into a ledger whose clock the test holds."""
    with Ledger.open(place.url, spool_dir=place.spool, clock=clock) as ledger:
        yield Shop(ledger, open_account())


def queued(shop: Shop, rows: int = 3) -> int:
    """A committed job with one queued chunk; the job's id."""
    plan = planned(shop, {"": chats(tickets(rows))})
    plan.commit(lane=Lane.BATCH, reason="a test")
    shop.ledger.spooled.clear()  # as in a process that did not write the files itself
    return plan.job_id


def only(shop: Shop, job_id: int) -> Submission:
    (found,) = submissions.of_job(shop.ledger, job_id)
    return found


def states(shop: Shop) -> list[str]:
    with shop.ledger.database.read() as connection:
        return list(connection.execute(sa.select(tables.submission.c.state).order_by(tables.submission.c.id)).scalars())


def lost(inner: Provider, *_: object, **__: object) -> BatchView:
    raise OutcomeUnknown("the connection was reset")


def sent_and_lost(inner: Provider, *given: Any, **named: Any) -> BatchView:
    inner.create(*given, **named)
    raise OutcomeUnknown("the connection was reset")


def hidden(inner: Provider, **_: object) -> Iterator[BatchView]:
    return iter(())


def submit_in_vain(shop: Shop, job_id: int, **replaced: Callable[..., Any]) -> None:
    with pytest.raises(OutcomeUnknown):
        submissions.submit(shop.ledger, Through(shop.provider, **replaced), only(shop, job_id))  # type: ignore[arg-type]


def test_the_intent_is_on_the_disk_before_the_upload_and_before_the_create(shop: Shop) -> None:
    job_id, seen = queued(shop), []

    def upload(inner: Provider, *given: Any, **named: Any) -> str | None:
        seen.append(states(shop))
        return inner.upload(*given, **named)

    def create(inner: Provider, *given: Any, **named: Any) -> BatchView:
        seen.append(states(shop))
        assert only(shop, job_id).file_id == named["file_id"]
        return inner.create(*given, **named)

    submissions.submit(shop.ledger, Through(shop.provider, upload=upload, create=create), only(shop, job_id))  # type: ignore[arg-type]

    assert [*seen, states(shop)] == [["intended"], ["creating"], ["created"]]


def test_a_chunk_is_claimed_once(shop: Shop, local_provider: LocalProvider) -> None:
    job_id = queued(shop)
    seen_by_two = only(shop, job_id)
    submissions.submit(shop.ledger, shop.provider, seen_by_two)
    submissions.submit(shop.ledger, shop.provider, seen_by_two)

    assert len(local_provider.batches()) == 1


def test_a_batch_in_the_providers_list_is_adopted(shop: Shop, local_provider: LocalProvider) -> None:
    job_id = queued(shop)
    submit_in_vain(shop, job_id, create=sent_and_lost)
    assert states(shop) == ["creating"]

    assert reconciling.reconcile(shop.ledger, shop.provider, only(shop, job_id))

    (batch,) = local_provider.batches()
    assert (only(shop, job_id).state, only(shop, job_id).batch_id) == (S.CREATED, batch["id"])


def test_nothing_is_sent_again_before_the_list_had_time_to_show_it(shop: Shop, clock: HeldClock) -> None:
    job_id = queued(shop)
    submit_in_vain(shop, job_id, create=lost)
    clock.forward(seconds=LIST_LAG.total_seconds() - 1)

    assert not reconciling.reconcile(shop.ledger, shop.provider, only(shop, job_id))
    assert states(shop) == ["creating"]

    clock.forward(seconds=2)
    assert reconciling.reconcile(shop.ledger, shop.provider, only(shop, job_id))
    assert states(shop) == ["absent"]
    assert only(shop, job_id).chunk_state is ChunkState.QUEUED


def test_the_time_that_a_create_took_is_not_time_to_show_it(shop: Shop, clock: HeldClock) -> None:
    job_id = queued(shop)

    def slow(inner: Provider, *given: Any, **named: Any) -> BatchView:
        clock.forward(minutes=10)  # a quarter of a gigabyte on a slow line, and then no answer
        return sent_and_lost(inner, *given, **named)

    submit_in_vain(shop, job_id, create=slow)
    listless = Through(shop.provider, batches=hidden)

    assert not reconciling.reconcile(shop.ledger, listless, only(shop, job_id))  # type: ignore[arg-type]
    assert reconciling.reconcile(shop.ledger, shop.provider, only(shop, job_id))
    assert only(shop, job_id).state is S.CREATED


def test_the_time_that_a_killed_create_took_is_not_time_to_show_it(shop: Shop, clock: HeldClock) -> None:
    job_id = queued(shop)
    submit_in_vain(shop, job_id, create=sent_and_lost)
    dies(shop, job_id)
    with shop.ledger.database.write() as connection:
        connection.execute(tables.submission.update().values(unknown_at=None))
    clock.forward(minutes=10)  # it was sending all the while, and was killed a moment ago
    listless = Through(shop.provider, batches=hidden)

    assert not reconciling.reconcile(shop.ledger, listless, only(shop, job_id))  # type: ignore[arg-type]
    assert reconciling.reconcile(shop.ledger, shop.provider, only(shop, job_id))
    assert only(shop, job_id).state is S.CREATED


def test_the_time_to_show_it_passes_while_one_process_after_the_other_looks(shop: Shop, clock: HeldClock) -> None:
    job_id = queued(shop)
    submit_in_vain(shop, job_id, create=lost)
    for _ in range(3):
        dies(shop, job_id)
        assert not reconciling.reconcile(shop.ledger, shop.provider, only(shop, job_id))
        clock.forward(seconds=LIST_LAG.total_seconds() / 3 + 1)

    dies(shop, job_id)
    assert reconciling.reconcile(shop.ledger, shop.provider, only(shop, job_id))
    assert only(shop, job_id).chunk_state is ChunkState.QUEUED


def dies(shop: Shop, job_id: int, *, host: str | None = None) -> None:
    """The chunk's claim is one of a process that is no more (or of another host)."""
    owner = f"{host or shop.ledger.claimant.host}#4194304@1"
    with shop.ledger.database.write() as connection:
        connection.execute(tables.submission.update().values(owner=owner))


def test_a_claim_of_a_dead_process_is_taken_over_and_one_of_a_living_is_not(shop: Shop) -> None:
    job_id = queued(shop)
    submit_in_vain(shop, job_id, create=lost)
    assert not only(shop, job_id).held_by_another(shop.ledger)

    with shop.ledger.database.write() as connection:
        parent = str(Claimant(shop.ledger.claimant.host, os.getppid(), _started(os.getppid())))
        connection.execute(tables.submission.update().values(owner=parent))
    assert only(shop, job_id).held_by_another(shop.ledger)

    dies(shop, job_id)
    assert not only(shop, job_id).held_by_another(shop.ledger)


def test_a_claim_of_another_host_holds_until_its_lease_has_run_out(shop: Shop, clock: HeldClock) -> None:
    job_id = queued(shop)
    submit_in_vain(shop, job_id, create=lost)
    dies(shop, job_id, host="elsewhere")

    clock.forward(seconds=LEASE.total_seconds() - 1)
    assert only(shop, job_id).held_by_another(shop.ledger)
    clock.forward(seconds=2)
    assert not only(shop, job_id).held_by_another(shop.ledger)


def test_two_who_find_a_dead_claim_do_not_both_take_it(shop: Shop) -> None:
    job_id = queued(shop)
    submit_in_vain(shop, job_id, create=lost)
    dies(shop, job_id)
    seen_by_two = only(shop, job_id)
    with shop.ledger.database.write() as connection:  # the other one was faster
        connection.execute(tables.submission.update().values(owner="elsewhere#1@1"))

    assert not reconciling.reconcile(shop.ledger, shop.provider, seen_by_two, list_lag=timedelta(0))
    assert states(shop) == ["creating"]


def _started(pid: int) -> int:
    import psutil

    return round(psutil.Process(pid).create_time())


def test_what_is_sent_again_carries_a_new_stamp_and_is_the_same_otherwise(shop: Shop, clock: HeldClock) -> None:
    job_id = queued(shop)
    before = only(shop, job_id)
    old = (shop.ledger.spool / before.spool).read_bytes()
    submit_in_vain(shop, job_id, create=lost)
    clock.forward(minutes=5)
    reconciling.reconcile(shop.ledger, shop.provider, only(shop, job_id))

    after = only(shop, job_id)
    assert after.token != before.token
    assert (shop.ledger.spool / after.spool).read_bytes() == old.replace(before.token.encode(), after.token.encode())
    assert not (shop.ledger.spool / before.spool).exists()


def test_the_file_of_a_create_that_came_to_nothing_is_deleted(shop: Shop, clock: HeldClock) -> None:
    job_id = queued(shop)
    submit_in_vain(shop, job_id, create=lost)
    assert len(list(shop.provider.files(prefix="offpeak-"))) == 1
    clock.forward(minutes=5)
    reconciling.reconcile(shop.ledger, shop.provider, only(shop, job_id))

    assert list(shop.provider.files(prefix="offpeak-")) == []


def test_another_ledgers_batches_are_never_adopted(
    shop: Shop, clock: HeldClock, tmp_path: Path, local_provider: LocalProvider, provider_name: str
) -> None:
    account = local_provider.open(provider_name)
    with Ledger.open(f"sqlite:///{tmp_path}/other/ledger.db") as other_ledger:
        Shop(other_ledger, account, asset="theirs").buy(tickets(3, start=50))
    shop = Shop(shop.ledger, account)
    clock.time = datetime.now(UTC)
    job_id = queued(shop)
    submit_in_vain(shop, job_id, create=lost)
    clock.forward(minutes=5)

    assert reconciling.reconcile(shop.ledger, account, only(shop, job_id))
    assert states(shop) == ["absent"]
    account.close()


@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "foreign_lines"},
        {"fault": "truncate", "share": 0.0, "at": "line_end", "framing": "close"},
        {"fault": "truncate", "share": 0.1, "at": "mid_line", "framing": "close"},
        {"fault": "truncate", "framing": "length"},
    ],
)
def test_a_torn_look_at_a_batchs_results_does_not_make_it_anothers(
    shop: Shop, clock: HeldClock, local_provider: LocalProvider, open_account: Callable[..., Provider], fault: Any
) -> None:
    shop = Shop(shop.ledger, open_account("anthropic"))  # whose batches only their results tell apart
    job_id = queued(shop)
    submit_in_vain(shop, job_id, create=sent_and_lost)
    until(lambda: local_provider.batches()[0]["outcome"], what="the batch's end")
    clock.forward(minutes=5)
    local_provider.fault(**fault)

    assert reconciling.reconcile(shop.ledger, shop.provider, only(shop, job_id))
    assert sum(local_provider.fired().values()) == 1
    assert states(shop) == ["created"]


def test_results_that_hold_no_line_prove_nothing(
    shop: Shop, clock: HeldClock, local_provider: LocalProvider, open_account: Callable[..., Provider]
) -> None:
    shop = Shop(shop.ledger, open_account("anthropic"))
    job_id = queued(shop)
    submit_in_vain(shop, job_id, create=sent_and_lost)
    until(lambda: local_provider.batches()[0]["outcome"], what="the batch's end")
    clock.forward(minutes=5)
    local_provider.fault("truncate", share=0.0, at="line_end", framing="close", times=reconciling.PROOFS)

    assert not reconciling.reconcile(shop.ledger, shop.provider, only(shop, job_id))
    assert states(shop) == ["creating"]
    assert reconciling.reconcile(shop.ledger, shop.provider, only(shop, job_id))
    assert states(shop) == ["created"]


@pytest.mark.parametrize("damage", ["lost", "torn"])
def test_a_spool_file_that_is_not_whole_is_never_sent(shop: Shop, local_provider: LocalProvider, damage: str) -> None:
    job_id = queued(shop)
    damage_spool(shop, job_id, damage)

    with pytest.raises(CouldNotRead, match="Nothing was sent"):
        submissions.submit(shop.ledger, shop.provider, only(shop, job_id))

    assert local_provider.batches() == []
    assert (only(shop, job_id).state, only(shop, job_id).chunk_state) == (S.REFUSED, ChunkState.REFUSED)
    receipt = Shop(shop.ledger, shop.provider).buy(tickets(3))
    assert (receipt.rows, receipt.bought) == (3, 3)


@pytest.mark.parametrize("damage", ["lost", "torn"])
def test_a_spool_file_that_is_not_whole_is_never_stamped_anew(
    shop: Shop, clock: HeldClock, local_provider: LocalProvider, damage: str
) -> None:
    job_id = queued(shop)
    submit_in_vain(shop, job_id, create=lost)
    damage_spool(shop, job_id, damage)
    clock.forward(minutes=5)

    with pytest.raises(CouldNotRead, match="Nothing was sent"):
        reconciling.reconcile(shop.ledger, shop.provider, only(shop, job_id))

    assert local_provider.batches() == []
    assert only(shop, job_id).chunk_state is ChunkState.REFUSED
    receipt = Shop(shop.ledger, shop.provider).buy(tickets(3))
    assert (receipt.rows, receipt.bought) == (3, 3)


def damage_spool(shop: Shop, job_id: int, damage: str) -> None:
    path = shop.ledger.spool / only(shop, job_id).spool
    if damage == "lost":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size - 20)


def test_a_definite_refusal_fails_the_job_with_the_providers_words(
    shop: Shop, local_provider: LocalProvider, open_account: Callable[..., Provider]
) -> None:
    def create(inner: Provider, *given: Any, **named: Any) -> BatchView:
        return inner.create(*given, **named | {"file_id": ""})

    bent = Shop(shop.ledger, Through(shop.provider, create=create))  # type: ignore[arg-type]
    with pytest.raises(SubmissionRejected, match="input_file_id"):
        bent.buy(tickets(3))

    assert local_provider.tally("openai")["batches_created"] == 0
    assert list(shop.provider.files(prefix="offpeak-")) == []
    assert Shop(shop.ledger, shop.provider).buy(tickets(3)).rows == 3


def test_a_batch_that_fails_its_validation_fails_the_job_with_the_providers_words(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    local_provider.fault("fail_validation", code="model_mismatch", message="No such model.")
    with pytest.raises(SubmissionRejected, match=r"labels: batch \w+ failed its validation .*No such model"):
        any_shop.buy(tickets(3))

    with any_shop.ledger.database.read() as connection:
        job = connection.execute(sa.select(tables.job)).one()
        why = connection.execute(
            sa.select(tables.event.c.why).where(tables.event.c.subject == "job", tables.event.c.state == "failed")
        ).scalar_one()
    assert job.state == "failed"
    assert "No such model." in why
    receipt = any_shop.buy(tickets(3))
    assert (receipt.rows, receipt.bought) == (3, 3)
    assert local_provider.tally("openai")["answers_delivered"] == 3


def test_a_provider_that_asks_to_wait_is_asked_again(shop: Shop, local_provider: LocalProvider) -> None:
    job_id = queued(shop)
    local_provider.fault("create_429", retry_after=7)

    with pytest.raises(ProviderUnavailable) as asked:
        submissions.submit(shop.ledger, shop.provider, only(shop, job_id))

    assert asked.value.retry_after == timedelta(seconds=7)
    assert (states(shop), only(shop, job_id).chunk_state) == (["absent"], ChunkState.QUEUED)
    submissions.submit(shop.ledger, shop.provider, only(shop, job_id))
    assert states(shop) == ["absent", "created"]


def test_a_chunk_that_was_queued_again_since_it_was_looked_up_is_left(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    job_id = queued(any_shop)
    seen_before = only(any_shop, job_id)
    local_provider.fault("create_429")
    with pytest.raises(ProviderUnavailable):
        submissions.submit(any_shop.ledger, any_shop.provider, only(any_shop, job_id))

    submissions.submit(any_shop.ledger, any_shop.provider, seen_before)

    assert local_provider.batches() == []
    assert only(any_shop, job_id).chunk_state is ChunkState.QUEUED


def test_two_who_meet_the_same_refusal_both_take_it_for_one(shop: Shop) -> None:
    job_id = queued(shop)
    submissions.submit(shop.ledger, shop.provider, only(shop, job_id))
    seen_by_two = only(shop, job_id)
    for _ in range(2):
        submissions.refuse(shop.ledger, seen_by_two, "failed its validation")

    assert only(shop, job_id).chunk_state is ChunkState.REFUSED
