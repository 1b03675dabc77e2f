"""Every line of a landed batch is accounted for once, and what it says is believed only where it proves whose it is."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from pydantic import BaseModel

from offpeak.errors import CouldNotRead, DownloadIncomplete
from offpeak.ledger import collecting, submissions, tables
from offpeak.ledger.lane import Lane
from offpeak.providers.base import BatchView, Provider

from ...conftest import Label, LocalProvider, Shop, Through, tickets
from .test_planning import chats, planned

Line = dict[str, Any]
Change = Callable[[list[Line]], list[Line]]


def changing(shop: Shop, change: Change, *, times: int = 1_000) -> list[int]:
    """Change the result lines of the first `times` downloads; returns a list that counts every download."""
    downloads: list[int] = []

    def download(inner: Provider, batch: BatchView, to: Path) -> None:
        inner.download(batch, to)
        downloads.append(1)
        if len(downloads) <= times:
            lines = [orjson.loads(line) for line in to.read_bytes().splitlines() if line.strip()]
            to.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in change(lines)))

    shop.provider = Through(shop.provider, download=download)  # type: ignore[assignment]
    return downloads


def failures(shop: Shop) -> list[tuple[str, str]]:
    with shop.ledger.database.read() as connection:
        rows = connection.execute(sa.select(tables.failure).order_by(tables.failure.c.request_id)).all()
    return [(row.reason, row.message or "") for row in rows]


def applied_events(shop: Shop) -> list[str]:
    table = tables.event
    with shop.ledger.database.read() as connection:
        query = sa.select(table.c.why).where(table.c.subject == "submission", table.c.state == "applied")
        return list(connection.execute(query.order_by(table.c.id)).scalars())


def with_output(line: Line, text: str) -> Line:
    """The line with another answer, in the words of the responses endpoint."""
    for item in line["response"]["body"]["output"]:
        for part in item.get("content") or ():
            part["text"] = text
    return line


def test_lines_of_another_purchase_are_counted_and_left_out(any_shop: Shop) -> None:
    def add_foreign(lines: list[Line]) -> list[Line]:
        theirs = [
            lines[0] | {"custom_id": "request-1"},
            lines[0] | {"custom_id": "x" * 56},
            lines[0] | {"custom_id": "zzzzzzzz" + lines[0]["custom_id"][8:]},
        ]
        return theirs + lines

    changing(any_shop, add_foreign)
    receipt = any_shop.buy(tickets(4))

    assert (receipt.rows, receipt.failed) == (4, 0)
    assert len(any_shop.frame()) == 4
    assert applied_events(any_shop) == ["answered 4, foreign 3"]


def test_a_line_under_another_rows_number_is_not_believed(any_shop: Shop) -> None:
    """The fingerprint in a custom_id proves which request was answered; the ordinal alone does not."""

    def renumber(lines: list[Line]) -> list[Line]:
        first, second, *rest = lines
        mine, theirs = first["custom_id"], second["custom_id"]
        first["custom_id"] = mine[:48] + theirs[48:]
        return [first, *rest, second]

    changing(any_shop, renumber, times=3)
    receipt = any_shop.buy(tickets(4))

    assert (receipt.rows, receipt.failed) == (4, 0)
    assert applied_events(any_shop)[0] == "answered 3, repeated 1, missing 1"
    assert failures(any_shop) == [("missing", "the result file holds no line for it")]


def test_a_line_that_comes_twice_counts_once_and_the_first_stands(any_shop: Shop) -> None:
    def repeat(lines: list[Line]) -> list[Line]:
        again = orjson.loads(orjson.dumps(lines))
        return [with_output(line, '{"category":"bug","urgent":true}') for line in lines] + [
            with_output(line, '{"category":"other","urgent":false}') for line in again
        ]

    changing(any_shop, repeat)
    receipt = any_shop.buy(tickets(3))

    assert receipt.rows == 3
    assert set(any_shop.frame()["category"]) == {"bug"}
    assert applied_events(any_shop) == ["answered 3, repeated 3"]


def test_lines_missing_from_one_download_are_found_in_the_next(any_shop: Shop, local_provider: LocalProvider) -> None:
    downloads = changing(any_shop, lambda lines: lines[:-2], times=1)
    receipt = any_shop.buy(tickets(5))

    assert (receipt.rows, len(downloads)) == (5, 2)
    assert failures(any_shop) == []
    assert local_provider.tally("openai")["answers_delivered"] == 5


def test_lines_missing_from_every_download_are_failures_and_go_round_again(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    downloads = changing(any_shop, lambda lines: lines[:-2], times=collecting.DOWNLOADS)
    receipt = any_shop.buy(tickets(5))

    assert (receipt.rows, receipt.failed) == (5, 0)
    assert len(downloads) == collecting.DOWNLOADS + 1
    assert [reason for reason, _ in failures(any_shop)] == ["missing", "missing"]
    assert local_provider.tally("openai")["batches_created"] == 2


def test_a_torn_download_is_made_again(any_shop: Shop, local_provider: LocalProvider, provider_name: str) -> None:
    torn = []

    def download(inner: Provider, batch: BatchView, to: Path) -> None:
        if len(torn) < collecting.DOWNLOADS - 1:
            torn.append(1)
            to.write_bytes(b'{"custom_id": "hal')
            raise DownloadIncomplete("the connection was cut")
        inner.download(batch, to)

    account = local_provider.open(provider_name)
    receipt = Shop(any_shop.ledger, Through(account, download=download)).buy(tickets(3))  # type: ignore[arg-type]
    account.close()

    assert (receipt.rows, len(torn)) == (3, collecting.DOWNLOADS - 1)
    assert local_provider.tally(provider_name)["batches_created"] == 1


def test_a_download_that_ends_within_a_line_is_made_again(any_shop: Shop) -> None:
    cuts = []

    def download(inner: Provider, batch: BatchView, to: Path) -> None:
        inner.download(batch, to)
        if not cuts:
            cuts.append(1)
            to.write_bytes(to.read_bytes()[:-40])

    any_shop.provider = Through(any_shop.provider, download=download)  # type: ignore[assignment]

    assert any_shop.buy(tickets(3)).rows == 3


def test_a_download_that_never_succeeds_loses_nothing(any_shop: Shop, local_provider: LocalProvider) -> None:
    def download(inner: Provider, batch: BatchView, to: Path) -> None:
        raise DownloadIncomplete("the connection was cut")

    whole = any_shop.provider
    any_shop.provider = Through(whole, download=download)  # type: ignore[assignment]
    with pytest.raises(DownloadIncomplete):
        any_shop.buy(tickets(3))

    any_shop.provider = whole
    assert any_shop.buy(tickets(3)).rows == 3
    assert local_provider.tally("openai")["batches_created"] == 1


def test_a_result_file_of_somebody_else_is_not_applied(any_shop: Shop, local_provider: LocalProvider) -> None:
    whole = any_shop.provider
    changing(any_shop, lambda lines: [line | {"custom_id": "x" * 56} for line in lines])
    with pytest.raises(CouldNotRead, match="None of the 3 lines of batch"):
        any_shop.buy(tickets(3))

    with any_shop.ledger.database.read() as connection:
        assert connection.execute(sa.select(tables.submission.c.state)).scalars().all() == ["landed"]
    any_shop.provider = whole
    assert local_provider.tally("openai")["batches_created"] == 1


def test_applying_the_same_lines_again_changes_nothing(any_shop: Shop) -> None:
    local = any_shop.provider
    plan = planned(any_shop, {"": chats(tickets(5))})
    plan.commit(lane=Lane.BATCH, reason="a test")
    (chunk,) = submissions.of_job(any_shop.ledger, plan.job_id)
    submissions.submit(any_shop.ledger, local, chunk)
    (chunk,) = submissions.of_job(any_shop.ledger, plan.job_id)
    batch = _ended(local, chunk.batch_id or "")
    options: dict[str, Any] = {
        "validate": collecting.validator(Label),
        "price": collecting.Price(any_shop._rates.cost, "{}"),
    }

    landed = [collecting.land(any_shop.ledger, local, chunk, batch) for _ in range(2)]
    applied = [collecting.apply(any_shop.ledger, local, each, batch, **options) for each in (*landed, landed[0])]

    assert [each.answered for each in applied] == [5, 5, 5]
    assert len(applied_events(any_shop)) == 1
    with any_shop.ledger.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(tables.answer)).scalar_one() == 5


def _ended(provider: Provider, batch_id: str) -> BatchView:
    from ...conftest import until

    def terminal() -> BatchView | None:
        batch = provider.retrieve(batch_id)
        return batch if batch is not None and batch.state.terminal else None

    found: BatchView = until(terminal, what="the batch's end")
    return found


def test_an_answer_that_is_not_what_was_asked_for_goes_round_again(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    def spoil(lines: list[Line]) -> list[Line]:
        return [with_output(lines[0], '{"category":"weather","urgent":true}'), with_output(lines[1], "{"), *lines[2:]]

    changing(any_shop, spoil, times=1)
    receipt = any_shop.buy(tickets(5))

    assert (receipt.rows, receipt.failed) == (5, 0)
    found = failures(any_shop)
    assert [reason for reason, _ in found] == ["invalid_output", "invalid_output"]
    assert any("category" in message for _, message in found)
    assert local_provider.tally("openai")["answers_delivered"] == 7
    with any_shop.ledger.database.read() as connection:
        spoilt = connection.execute(sa.select(tables.failure)).all()
        answered = connection.execute(sa.select(sa.func.sum(tables.answer.c.cost_pico))).scalar_one()
    assert {row.raw for row in spoilt} == {'{"category":"weather","urgent":true}', "{"}
    assert all(row.cost_pico > 0 for row in spoilt), "an unusable answer is billed all the same"
    paid = sum(row.cost_pico for row in spoilt) + int(answered)
    assert receipt.cost == Decimal(paid).scaleb(-12)


def test_a_plain_answer_may_hold_any_text(any_shop: Shop) -> None:
    said = 'Grüße\n\t"\\ \u2028 \x00 \U0001f44b'
    plain = Shop(any_shop.ledger, any_shop.provider, output=None)
    changing(plain, lambda lines: [with_output(line, said) for line in lines])
    receipt = plain.buy(tickets(2))

    assert receipt.rows == 2
    (text,) = set(plain.frame()["text"])
    assert text == said.replace("\x00", "\ufffd")


def test_an_answer_was_produced_while_its_batch_ran(any_shop: Shop) -> None:
    began = datetime.now(UTC) - timedelta(seconds=2)
    any_shop.buy(tickets(3))
    frame = any_shop.frame()

    assert ((frame["produced_at"] >= began) & (frame["produced_at"] <= datetime.now(UTC))).all()
    assert (frame["effective_until"] - frame["as_of"] == timedelta(hours=37)).all()


def test_an_answer_that_claims_an_impossible_time_gets_the_batchs(any_shop: Shop) -> None:
    def age(lines: list[Line]) -> list[Line]:
        for number, line in enumerate(lines):
            line["response"]["body"]["created_at"] = [0, 4_000_000_000, -1][number % 3]
            line["response"]["body"].pop("completed_at", None)
        return lines

    changing(any_shop, age)
    any_shop.buy(tickets(3))

    assert (abs(any_shop.frame()["produced_at"] - datetime.now(UTC)) < timedelta(minutes=1)).all()


def test_the_first_problem_of_an_invalid_answer_is_told_without_the_answer() -> None:
    class Nested(BaseModel):
        inner: Label

    validate = collecting.validator(Nested)
    assert validate is not None
    with pytest.raises(ValueError, match="category") as wrong:
        validate('{"inner":{"category":"secret text","urgent":true}}')

    told = collecting._first_problem(wrong.value)  # type: ignore[arg-type]
    assert told.startswith("inner.category: ")
    assert "secret text" not in told
