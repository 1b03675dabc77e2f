"""One row's history tells what really happened, on both databases."""

import pytest

from offpeak.errors import NotFound, OffpeakError
from offpeak.ledger.explaining import RowState, explain
from offpeak.ledger.states import SubmissionState
from offpeak.requests import Embedding

from ...conftest import EMBEDDING_MODEL, Label, LocalProvider, Shop, tickets


def test_an_answered_row_tells_what_it_asked_and_how_it_was_bought(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    receipt = any_shop.buy(tickets(5))
    row = explain(any_shop.ledger, "labels", "T0003")

    assert row.state is RowState.ANSWERED
    assert row.body is not None
    assert "My invoice number 3 is wrong." in str(row.body)
    (attempt,) = row.attempts
    assert attempt.answered
    assert attempt.submission.batch_id == receipt.batch_ids[0] == local_provider.batches()[0]["id"]
    assert attempt.submission.state is SubmissionState.APPLIED
    assert (attempt.ordinal, attempt.chunk.requests) == (3, 5)
    assert attempt.custom_id.endswith("00000301")
    assert row.fingerprint in attempt.custom_id
    assert row.answer is not None
    assert Label.model_validate_json(row.answer.output or "")
    assert row.answer.cost_pico * 2 == row.answer.realtime_pico > 0
    assert (row.previous, row.dead_letter, row.sharers, row.body_missing) == (None, None, 0, None)
    states = [event.state for event in row.events if event.subject == "submission"]
    assert states == ["intended", "creating", "created", "landed", "applied"]


def test_the_last_line_of_a_batch_is_told_too(any_shop: Shop) -> None:
    any_shop.buy(tickets(5))
    row = explain(any_shop.ledger, "labels", "T0004")
    assert "My invoice number 4 is wrong." in str(row.body)


def test_a_row_that_failed_and_was_tried_again_shows_both_attempts(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    local_provider.fault("error_lines", share=1.0)
    any_shop.buy(tickets(2))
    row = explain(any_shop.ledger, "labels", "T0001")

    first, second = row.attempts
    assert (first.answered, second.answered) == (False, True)
    assert first.failure is not None
    assert "500" in first.failure.reason
    assert second.failure is None
    assert first.submission.batch_id != second.submission.batch_id
    assert "invoice number 1 " in str(row.body)


def test_a_dead_letter_says_why(any_shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("error_lines", share=1.0, code="invalid_request")
    with pytest.raises(OffpeakError):
        any_shop.buy(tickets(1))
    row = explain(any_shop.ledger, "labels", "T0000")
    assert row.state is RowState.DEAD
    assert row.dead_letter is not None
    assert row.dead_letter.reason == "invalid_request_error"
    assert row.answer is None


def test_a_changed_row_keeps_the_answer_it_served_before(any_shop: Shop) -> None:
    rows = tickets(10)
    any_shop.buy(rows)
    before = explain(any_shop.ledger, "labels", "T0000").answer
    any_shop.buy(rows | {"T0000": "The app crashes."})
    row = explain(any_shop.ledger, "labels", "T0000")
    assert row.previous is not None
    assert row.previous.answer == before
    assert row.answer != before


def test_rows_that_ask_the_same_are_named(any_shop: Shop) -> None:
    same = "The same text."
    any_shop.buy(partitions={"a": {"K1": same, "K2": same}, "b": {"K3": same}})
    row = explain(any_shop.ledger, "labels", "K1")
    assert row.sharers == 2
    assert [(each.asset, each.partition_key, each.key) for each in row.shared_with] == [
        ("labels", "a", "K2"),
        ("labels", "b", "K3"),
    ]


def test_a_vector_is_told_by_its_length(any_shop: Shop) -> None:
    shop = Shop(any_shop.ledger, any_shop.provider, asset="vectors", model=EMBEDDING_MODEL, output=None)
    shop.buy([Embedding(key="D1", text="A text.")])
    answer = explain(shop.ledger, "vectors", "D1").answer
    assert answer is not None
    assert (answer.output, answer.dimensions) == (None, len(shop.frame()["embedding"][0]))


def test_an_anthropic_body_is_read_out_of_its_document(shop: Shop, local_provider: LocalProvider) -> None:
    provider = local_provider.open("anthropic")
    try:
        Shop(shop.ledger, provider).buy(tickets(3))
    finally:
        provider.close()
    for key in ("T0000", "T0002"):
        body = explain(shop.ledger, "labels", key).body
        assert body is not None
        assert body["system"]


def test_a_spool_file_that_is_gone_leaves_the_rest_readable(shop: Shop) -> None:
    shop.buy(tickets(2))
    for file in shop.ledger.spool.glob("*.spool"):
        file.unlink()
    row = explain(shop.ledger, "labels", "T0000")
    assert row.body is None
    assert "cannot be read" in (row.body_missing or "")
    assert row.answer is not None


def test_a_key_in_several_partitions_asks_for_one(any_shop: Shop) -> None:
    any_shop.buy(partitions={"a": {"K": "One text."}, "b": {"K": "Another text."}})
    with pytest.raises(NotFound, match=r"2 partitions \(a, b\).*--partition"):
        explain(any_shop.ledger, "labels", "K")
    assert "Another" in str(explain(any_shop.ledger, "labels", "K", partition_key="b").body)
    with pytest.raises(NotFound, match="never planned for partition 'c'"):
        explain(any_shop.ledger, "labels", "K", partition_key="c")


def test_unknown_names_are_answered_with_the_nearest(any_shop: Shop) -> None:
    any_shop.buy(tickets(10))
    with pytest.raises(NotFound, match="Did you mean labels"):
        explain(any_shop.ledger, "lables", "T0001")
    with pytest.raises(NotFound, match=r"no row 'T0004x'.*T0004"):
        explain(any_shop.ledger, "labels", "T0004x")


def test_a_row_that_is_not_planned_any_more_is_gone(any_shop: Shop) -> None:
    any_shop.buy(tickets(10))
    any_shop.buy(tickets(9))
    with pytest.raises(NotFound, match="what is not planned any more is gone"):
        explain(any_shop.ledger, "labels", "T0009")
