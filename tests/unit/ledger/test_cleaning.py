"""What a provider keeps of a batch goes once its lines are stored, and only then; a crash in between is made good."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import openai
import pytest
import sqlalchemy as sa

from offpeak.errors import ProviderUnavailable
from offpeak.faultpoints import FaultPoint, on_reach
from offpeak.ledger import cleaning, tables
from offpeak.ledger.custom_ids import submission_token
from offpeak.ledger.ledger import Ledger
from offpeak.providers.base import BatchView, Provider

from ...conftest import LOG, LocalProvider, Shop, Through, tickets


class Stopped(BaseException):
    """Ends a purchase as a kill would: nothing of the product catches it."""


@pytest.fixture
def any_account(open_account: Callable[..., Provider], any_ledger: Ledger, provider_name: str) -> Shop:
    """Buys at each provider, into each database."""
    return Shop(any_ledger, open_account(provider_name))


@pytest.fixture(autouse=True)
def nobody_listens() -> Iterator[None]:
    yield
    on_reach(None)


def left(shop: Shop) -> list[str]:
    """What the provider still keeps of this ledger: uploads and result files, or batches."""
    if shop.provider.name == "anthropic":
        return [batch.id for batch in shop.provider.batches(since=datetime(2020, 1, 1, tzinfo=UTC))]
    files = [file_id for file_id, _ in shop.provider.files(prefix="offpeak-")]
    return files + [
        f"{batch.id} {name}" for batch in views(shop) for name in batch.result_refs if kept(shop, batch, name)
    ]


def views(shop: Shop) -> list[BatchView]:
    return list(shop.provider.batches(since=datetime(2020, 1, 1, tzinfo=UTC)))


def kept(shop: Shop, batch: BatchView, file_id: str) -> bool:
    try:
        shop.provider._client.files.retrieve(file_id)  # type: ignore[attr-defined]
    except openai.NotFoundError:
        return False
    return True


def cleaned(shop: Shop) -> list[bool]:
    with shop.ledger.database.read() as connection:
        return [at is not None for at in connection.execute(sa.select(tables.submission.c.cleaned_at)).scalars()]


def test_nothing_is_left_at_the_provider_once_the_answers_are_stored(any_account: Shop) -> None:
    receipt = any_account.buy(tickets(3))
    assert receipt.rows == 3
    assert left(any_account) == []
    assert cleaned(any_account) == [True]
    assert any_account.buy(tickets(3)).bought == 0


def test_it_is_left_where_it_is_to_be_kept(any_account: Shop) -> None:
    any_account.provider.keeps_files = True
    any_account.buy(tickets(3))
    assert len(left(any_account)) >= 1
    cleaning.sweep(any_account.ledger, any_account.provider, log=LOG)
    assert len(left(any_account)) >= 1
    assert cleaned(any_account) == [False]


@pytest.mark.parametrize("point", [FaultPoint.APPLIED, FaultPoint.CLEANED])
def test_dying_between_the_apply_and_the_record_of_the_deletion_is_made_good(
    any_account: Shop, point: FaultPoint
) -> None:
    def die(reached: FaultPoint) -> None:
        if reached is point:
            raise Stopped

    on_reach(die)
    with pytest.raises(Stopped):
        any_account.buy(tickets(3))
    on_reach(None)
    assert cleaned(any_account) == [False]

    swept = cleaning.sweep(any_account.ledger, any_account.provider, log=LOG)
    assert (swept.batches, swept.failed) == (1, 0)
    assert left(any_account) == []
    assert cleaned(any_account) == [True]
    assert cleaning.sweep(any_account.ledger, any_account.provider, log=LOG).batches == 0
    assert any_account.buy(tickets(3)).bought == 0


def test_a_provider_that_deletes_nothing_now_does_not_keep_rows_from_landing(any_account: Shop) -> None:
    def away(inner: Provider, *arguments: Any) -> None:
        raise ProviderUnavailable("it is away")

    real, any_account.provider = any_account.provider, Through(any_account.provider, delete_batch=away)  # type: ignore[assignment]
    assert any_account.buy(tickets(3)).rows == 3
    assert cleaning.sweep(any_account.ledger, any_account.provider, log=LOG).failed == 1
    any_account.provider = real
    assert cleaning.sweep(any_account.ledger, any_account.provider, log=LOG).batches == 1
    assert left(any_account) == []


def test_a_batch_that_is_on_its_way_is_left_alone(any_account: Shop, local_provider: LocalProvider) -> None:
    local_provider.settings(latency_seconds=1)
    job = any_account.leave(tickets(3))
    swept = cleaning.sweep(any_account.ledger, any_account.provider, log=LOG)
    assert (swept.batches, swept.uploads) == (0, 0)
    assert any_account.collect(job).rows == 3


def test_a_batch_that_another_process_stored_and_deleted_is_taken_from_this_disk(
    any_account: Shop, local_provider: LocalProvider
) -> None:
    """Two jobs wait for one batch: while one downloads, the other stores its lines and has it deleted."""
    local_provider.fault("never_end")
    job = any_account.leave(tickets(3))
    other = any_account.leave(tickets(3), asset="others")
    local_provider.heal(local_provider.batches()[0]["id"])
    inner = any_account.provider
    overtaken: list[int] = []

    def download(provider: Provider, batch: BatchView, to: Any) -> None:
        if not overtaken:
            overtaken.append(other)
            any_account.provider = inner
            any_account.collect(other, asset="others")
        provider.download(batch, to)

    any_account.provider = Through(inner, download=download)  # type: ignore[assignment]
    assert any_account.collect(job).rows == 3
    assert overtaken
    assert local_provider.tally(inner.name)["answers_delivered"] == 3


def test_uploads_that_nothing_will_use_are_deleted_and_no_others(shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.settings(latency_seconds=3600)
    shop.leave(tickets(2))
    (live,) = [file_id for file_id, _ in shop.provider.files(prefix="offpeak-")]
    spool = next(shop.ledger.spool.glob("*.spool"))
    settled = 900
    with shop.ledger.database.write() as connection:
        values = {"state": "absent", "owner": "x#1@1", "intended_at": 1, "chunk_id": 1}
        connection.execute(tables.submission.insert().values(id=settled, **values))
    mine = f"offpeak-{shop.ledger.identity}-{submission_token(settled)}.jsonl"
    unknown = f"offpeak-{shop.ledger.identity}-{submission_token(901)}.jsonl"
    foreign = f"offpeak-zzzzzzzz-{submission_token(settled)}.jsonl"
    orphan = shop.provider.upload(spool, name=mine)
    others = {shop.provider.upload(spool, name=name) for name in (unknown, foreign)}

    assert cleaning.sweep(shop.ledger, shop.provider, log=LOG).uploads == 1
    there = {file_id for file_id, _ in shop.provider.files(prefix="offpeak-")}
    assert there == {live, *others}
    assert orphan not in there
    assert spool.exists()
