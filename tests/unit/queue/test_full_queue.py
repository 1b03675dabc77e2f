"""When there is no room, an asset's requests wait, are dropped on record, or are bought from a cheaper model."""

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from offpeak import Notifier, Notify
from offpeak.assets.notices import Teller
from offpeak.assets.purchase import begin
from offpeak.cli import build_app
from offpeak.errors import JobFailed
from offpeak.ledger import degrading, erasing, jobs, notices, tables
from offpeak.ledger.explaining import explain
from offpeak.ledger.notify import declared_routes
from offpeak.ledger.states import ChunkState
from offpeak.queue.policy import QueuePolicy
from offpeak.requests import Chat

from ...conftest import LocalProvider, Place, Shop, tickets
from ..ledger.test_changed_rows import Reader, Table
from .conftest import CHEAPER, Account, count, letters, states

DROP = QueuePolicy(on_full="drop")
DEGRADE = QueuePolicy(on_full="degrade", degrade_to=CHEAPER)
KEEPING = tickets(2, start=8_000)
"""Rows that an asset has from before, so that it materialises however many of the others are let go."""


# Delay


def test_what_has_no_room_waits_and_is_bought_once_there_is_some(full_shop: Shop, account: Account) -> None:
    job_id = full_shop.begin(tickets(3))
    work = full_shop.work(job_id, asset="labels")
    assert not work.hand_over()
    assert work.again_at() is None
    assert states(full_shop.ledger) == ["open", "queued"]
    assert len(account.local.batches()) == 1

    account.let_go()
    full_shop.collect(1, asset="occupant")
    receipt = full_shop.collect(job_id)
    assert (receipt.rows, receipt.dropped, receipt.degraded) == (3, 0, 0)
    account.bought_once(4)


# Drop


def test_what_is_dropped_is_on_record_and_the_rest_of_the_asset_lands(full_shop: Shop, account: Account) -> None:
    account.let_go()
    full_shop.collect(1, asset="occupant")
    full_shop.buy(KEEPING)
    account.hold()
    full_shop.leave(tickets(1, start=9_500), asset="occupant")

    receipt = full_shop.buy(KEEPING | tickets(3), queue=DROP)
    assert (receipt.rows, receipt.dropped, receipt.failed, receipt.bought) == (2, 3, 0, 3)
    assert letters(full_shop.ledger) == dict.fromkeys(tickets(3), ("queue_full", "dropped"))
    assert count(full_shop.ledger, ChunkState.DROPPED) == 1
    letter = explain(full_shop.ledger, "labels", "T0000").dead_letter
    assert letter is not None
    assert "1 of 1 batches are open" in (letter.message or "")
    (job,) = jobs.listed(full_shop.ledger, asset="labels", limit=1)
    assert job.state.value == "completed"


def test_a_job_of_which_nothing_is_left_fails_and_says_why(full_shop: Shop) -> None:
    with pytest.raises(JobFailed, match=r"queue_full.* materialise again when there is room"):
        full_shop.buy(tickets(3), queue=DROP)


TELLER = Teller(
    "labels",
    declared_routes("labels", Notify(to="ops", on={"queue_full"})),
    Notifier(destinations={"ops": "json://127.0.0.1:9"}),
)


@pytest.mark.parametrize("told_at_once", [True, False], ids=["at once", "at the end, where its process died"])
def test_people_are_told_once_of_what_is_let_go(full_shop: Shop, told_at_once: bool) -> None:
    job_id = full_shop.begin(tickets(3), queue=DROP)
    more = {"on_let_go": TELLER.queue_full} if told_at_once else {}
    full_shop.work(job_id, asset="labels", queue=DROP, on_close=TELLER.ended, **more).carry_out()
    assert len(notices.listed(full_shop.ledger)) == told_at_once

    with pytest.raises(JobFailed):
        full_shop.work(job_id, asset="labels", queue=DROP, on_close=TELLER.ended).close()

    assert [each.title for each in notices.listed(full_shop.ledger)] == ["labels met a full queue"]


def test_the_next_plan_asks_again_for_what_was_dropped(full_shop: Shop, account: Account) -> None:
    with pytest.raises(JobFailed):
        full_shop.buy(tickets(3), queue=DROP)
    quote = full_shop.quote(tickets(3))
    assert (quote.new, quote.dead) == (3, 0)
    assert len(letters(full_shop.ledger)) == 3, "looking changed something"

    account.let_go()
    full_shop.collect(1, asset="occupant")
    receipt = full_shop.buy(tickets(3), queue=DROP)
    assert (receipt.rows, receipt.dropped, receipt.bought) == (3, 0, 3)
    assert letters(full_shop.ledger) == {}
    account.bought_once(4)


def test_a_batch_waits_for_as_long_as_its_asset_lets_it_before_it_is_dropped(full_shop: Shop) -> None:
    patient = QueuePolicy(on_full="drop", patience=timedelta(hours=2))
    began = full_shop.clock.now()
    work = full_shop.work(full_shop.begin(tickets(3)), asset="labels", queue=patient)
    assert not work.hand_over()
    assert count(full_shop.ledger, ChunkState.DROPPED) == 0

    work.carry_out()
    assert count(full_shop.ledger, ChunkState.DROPPED) == 1
    assert timedelta(hours=2) <= full_shop.clock.now() - began < timedelta(hours=3)


def test_the_first_rows_are_kept_where_a_part_fits(full_shop: Shop, account: Account) -> None:
    ledger = full_shop.ledger
    job_id = full_shop.begin(tickets(10))
    with ledger.database.read() as connection:
        sizes = connection.execute(sa.select(tables.chunk.c.spool_bytes).order_by(tables.chunk.c.id)).scalars().all()
    full_shop.limit(enqueued_tokens=(sizes[0] + sizes[1] // 2) // 4)
    work = full_shop.work(job_id, asset="labels", queue=DROP)
    assert not work.hand_over()
    account.let_go()
    work.carry_out()
    receipt = work.close()

    dropped = sorted(letters(ledger))
    assert 4 <= receipt.rows <= 5
    assert dropped == sorted(tickets(10))[receipt.rows :]
    assert receipt.rows + receipt.dropped == 10
    account.bought_once(1 + receipt.rows)


def test_what_another_asset_waits_for_too_is_not_dropped(full_shop: Shop, account: Account) -> None:
    other = full_shop.begin(tickets(3), asset="other")
    job_id = full_shop.begin(tickets(3))
    work = full_shop.work(job_id, asset="labels", queue=DROP)
    assert not work.hand_over()
    assert letters(full_shop.ledger) == {}

    account.let_go()
    full_shop.collect(1, asset="occupant")
    work.carry_out()
    assert work.close().rows == 3
    assert full_shop.collect(other, asset="other").rows == 3
    account.bought_once(4)


def test_the_least_important_is_dropped_first(full_shop: Shop, account: Account) -> None:
    low = full_shop.begin(tickets(2), asset="low", queue=QueuePolicy(priority=1, on_full="drop"))
    high = full_shop.begin(tickets(2, start=50), asset="high", queue=QueuePolicy(priority=2))
    account.let_go()
    full_shop.collect(1, asset="occupant")
    work = full_shop.work(low, asset="low", queue=DROP)
    work.carry_out()

    assert full_shop.collect(high, asset="high").rows == 2
    assert set(letters(full_shop.ledger)) == set(tickets(2))


def test_a_plan_over_changed_rows_asks_again_for_what_was_dropped_and_did_not_change(
    full_shop: Shop, account: Account
) -> None:
    table = Table()
    reader = Reader(full_shop, table)
    account.let_go()
    full_shop.collect(1, asset="occupant")
    table.set(a="The first invoice is wrong.")
    reader.buy()
    account.hold()
    occupant = full_shop.leave(tickets(1, start=9_500), asset="occupant")
    table.set(b="The second invoice is wrong.")
    work = full_shop.work(begin(replace(reader.order(), queue=DROP), **full_shop._place()), asset="labels", queue=DROP)
    work.carry_out()
    receipt = work.close()
    assert (receipt.rows, receipt.dropped, set(letters(full_shop.ledger))) == (1, 1, {"b"})
    account.let_go()
    full_shop.collect(occupant, asset="occupant")

    table.set(c="The third invoice is wrong.")
    receipt = reader.buy()
    assert table.read == ["c"]
    assert (receipt.rows, receipt.dropped) == (3, 0)
    account.bought_once(5)


# Degrade


def test_rows_are_bought_from_the_cheaper_model_and_say_so(full_shop: Shop, account: Account) -> None:
    account.hold()
    job_id = full_shop.begin(tickets(3))
    work = full_shop.work(job_id, asset="labels", queue=DEGRADE)
    assert not work.hand_over()
    account.let_go()
    work.carry_out()
    receipt = work.close()

    assert (receipt.rows, receipt.degraded, receipt.dropped, receipt.failed) == (3, 3, 0, 0)
    frame = full_shop.frame()
    assert set(frame["model"]) == {"local-gpt-5-nano"}
    found = explain(full_shop.ledger, "labels", "T0001")
    assert found.dead_letter is not None
    assert found.dead_letter.reason == "degraded"
    assert found.previous is not None
    assert found.previous.answer.model == "local-gpt-5-nano"
    account.bought_once(4)


def test_a_stand_in_is_asked_without_what_only_its_own_model_takes(full_shop: Shop, account: Account) -> None:
    shop = Shop(full_shop.ledger, full_shop.provider, model="openai/gpt-6-luna", clock=full_shop.clock)
    shop.limit(open_batches=1)
    shop.leave(tickets(1, start=9_600), asset="occupant of the other")
    rows = [Chat(key=key, prefix="Label the ticket. " * 300, prompt=text) for key, text in tickets(3).items()]
    work = shop.work(shop.begin(rows), asset="labels", queue=DEGRADE)
    assert not work.hand_over()
    account.let_go()
    work.carry_out()
    receipt = work.close()

    assert (receipt.rows, receipt.degraded, receipt.failed) == (3, 3, 0)
    assert set(shop.frame()["model"]) == {"local-gpt-5-nano"}


def test_a_degraded_row_is_priced_by_the_model_that_answered(full_shop: Shop, account: Account) -> None:
    work = full_shop.work(full_shop.begin(tickets(3)), asset="labels", queue=DEGRADE)
    assert not work.hand_over()
    account.let_go()
    work.carry_out()
    receipt = work.close()
    with full_shop.ledger.database.read() as connection:
        chunk, answer, submission = tables.chunk, tables.answer, tables.submission
        rows = connection.execute(
            sa.select(
                chunk.c.model, chunk.c.degraded_from, answer.c.input_tokens, answer.c.output_tokens, answer.c.cost_pico
            )
            .join(submission, submission.c.id == answer.c.submission_id)
            .join(chunk, chunk.c.id == submission.c.chunk_id)
            .where(chunk.c.degraded_from.is_not(None))
        ).all()
    assert {(row.model, row.degraded_from) for row in rows} == {("gpt-5-nano", "gpt-5-mini")}
    assert all(row.cost_pico == row.input_tokens * 25_000 + row.output_tokens * 200_000 for row in rows)
    assert sum(row.cost_pico for row in rows) == receipt.cost * 10**12


def test_the_next_plan_buys_the_assets_own_model_once_there_is_room(full_shop: Shop, account: Account) -> None:
    work = full_shop.work(full_shop.begin(tickets(3)), asset="labels", queue=DEGRADE)
    assert not work.hand_over()
    account.let_go()
    work.carry_out()
    work.close()
    full_shop.collect(1, asset="occupant")

    receipt = full_shop.buy(tickets(3), queue=DEGRADE)
    assert (receipt.rows, receipt.bought, receipt.degraded) == (3, 3, 0)
    assert set(full_shop.frame()["model"]) == {"local-gpt-5-mini"}
    assert letters(full_shop.ledger) == {}
    account.bought_once(7)


def test_a_queue_that_is_still_full_serves_the_stand_ins_that_were_bought_before(
    full_shop: Shop, account: Account, local_provider: LocalProvider
) -> None:
    job_id = full_shop.begin(tickets(3))
    work = full_shop.work(job_id, asset="labels", queue=DEGRADE)
    assert not work.hand_over()
    (nano,) = [batch["id"] for batch in local_provider.batches() if batch["model"] == "gpt-5-nano"]
    local_provider.heal(nano)
    work.carry_out()
    work.close()
    delivered = account.delivered()

    receipt = full_shop.buy(tickets(3), queue=DEGRADE)
    assert (receipt.rows, receipt.degraded) == (3, 3)
    assert account.delivered() == delivered == 3


def test_a_stand_in_that_fails_leaves_its_row_dropped(full_shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.call("DELETE", "/local/faults")
    local_provider.fault("unusable_lines", share=1.0, how="refused", match={"model": "gpt-5-nano"}, times=1)
    with pytest.raises(JobFailed, match="queue_full"):
        full_shop.buy(tickets(3), queue=DEGRADE)
    assert set(letters(full_shop.ledger).values()) == {("queue_full", "dropped")}
    assert local_provider.tally("openai")["batches_created"] == 2


def test_a_key_that_is_erased_while_its_stand_in_is_on_its_way_is_erased_with_it(
    full_shop: Shop, account: Account
) -> None:
    work = full_shop.work(full_shop.begin(tickets(3)), asset="labels", queue=DEGRADE)
    assert not work.hand_over()
    assert len(holding(full_shop, "invoice number 1 is")) == 2  # the request that was let go, and its stand-in
    erased = erasing.erase(full_shop.ledger, "labels", "T0001", who="me")
    assert len(erased.requests) == 2
    account.let_go()
    work.carry_out()
    work.close()
    erasing.finish(full_shop.ledger, [full_shop.provider])

    assert holding(full_shop, "invoice number 1 is") == []
    assert len(holding(full_shop, "invoice number 2 is")) == 2
    with full_shop.ledger.database.read() as connection:
        query = sa.select(sa.func.count()).select_from(tables.erasure).where(tables.erasure.c.done_at.is_(None))
        assert connection.execute(query).scalar_one() == 0


def holding(shop: Shop, text: str) -> list[str]:
    """The spool files that hold these words."""
    return [path.name for path in shop.ledger.spool.glob("*.spool") if text.encode() in path.read_bytes()]


def test_what_a_model_is_asked_in_place_of_another_has_a_fingerprint_of_its_own() -> None:
    print_ = bytes(range(20))
    found = degrading.stand_in_for(print_, "gpt-5-nano")
    assert len(found) == 20
    assert found == degrading.stand_in_for(print_, "gpt-5-nano")
    assert len({print_, found, degrading.stand_in_for(print_, "gpt-5"), degrading.stand_in_for(found, "gpt-5")}) == 4


def test_the_command_line_says_what_a_row_serves_in_whose_place(roomy: Shop, account: Account, place: Place) -> None:
    roomy.limit(open_batches=1)
    account.hold()
    roomy.leave(tickets(1, start=9_000), asset="occupant")
    job_id = roomy.begin(tickets(3))
    work = roomy.work(job_id, asset="labels", queue=DEGRADE)
    assert not work.hand_over()
    account.let_go()
    work.carry_out()
    work.close()

    def said(*arguments: str) -> str:
        result = CliRunner().invoke(build_app(), [*arguments, "--database-url", place.url], catch_exceptions=False)
        return " ".join(result.output.split())

    served = said("explain", "labels", "T0001")
    assert "an answer of local-gpt-5-nano in place of gpt-5-mini, whose queue was full" in served
    assert "in place of gpt-5-mini" in said("jobs", "show", str(job_id))
    assert "degraded" in said("dead-letters", "list", "--fate", "dropped")
