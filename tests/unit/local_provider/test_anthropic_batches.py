"""Anthropic's message batches, from create to results."""

import json
from collections import Counter
from datetime import timedelta

import anthropic
import pytest


def counts(batch):
    return {name: n for name, n in batch.request_counts.to_dict().items() if n}


def test_a_batch_ends_with_one_result_a_request(server, messages):
    batch = server.message_ended(server.send(messages(30)).id)
    results = server.results(batch.id)
    assert counts(batch) == {"succeeded": 30}
    assert results.keys() == {f"a{n}" for n in range(30)}
    assert {result.type for result in results.values()} == {"succeeded"}
    assert results["a7"].message.model == "local-claude-haiku-5-5"
    assert results["a7"].message.usage.service_tier == "batch"


def test_results_do_not_come_in_the_order_of_the_requests(server, messages):
    batch = server.message_ended(server.send(messages(30)).id)
    assert list(server.results(batch.id)) != [f"a{n}" for n in range(30)]


def test_everything_counts_as_processing_until_the_end(server, messages):
    server.post("/local/settings", {"latency_seconds": 0.6})
    batch = server.send(messages(10))
    assert batch.processing_status == "in_progress"
    server.until(lambda: server.get("/local/tally")["anthropic"]["answers_delivered"], lambda n: n > 3)
    batch = server.anthropic.messages.batches.retrieve(batch.id)
    assert counts(batch) == {"processing": 10}
    assert batch.results_url is batch.ended_at is None


def test_a_batch_tells_its_times_and_where_its_results_are(server, messages):
    batch = server.message_ended(server.send(messages(1)).id)
    assert batch.created_at <= batch.ended_at
    assert batch.expires_at - batch.created_at == timedelta(hours=24)
    assert batch.results_url == f"{server.url}/v1/messages/batches/{batch.id}/results"


def test_bad_params_become_an_errored_result_at_the_end(server, messages):
    requests = messages(1) + messages(1, "bad", max_tokens=None) + messages(1, "odd", model="gpt-5-mini")
    batch = server.message_ended(server.send(requests).id)
    results = server.results(batch.id)
    assert counts(batch) == {"succeeded": 1, "errored": 2}
    assert results["bad0"].error.error.type == "invalid_request_error"
    assert results["odd0"].error.error.type == "not_found_error"
    assert server.get("/local/tally")["anthropic"]["answers_delivered"] == 1


@pytest.mark.parametrize("custom_id", ["", "with space", "x" * 65, "ü"])
def test_a_custom_id_that_is_not_allowed_is_refused_at_once(server, messages, custom_id):
    [request] = messages(1)
    with pytest.raises(anthropic.BadRequestError, match="custom_id"):
        server.send([{**request, "custom_id": custom_id}])


def test_a_duplicate_custom_id_is_refused_at_once(server, messages):
    with pytest.raises(anthropic.BadRequestError, match="duplicate"):
        server.send(messages(1) + messages(1))
    assert server.get("/local/batches")["batches"] == []


def test_too_many_requests_are_refused(server, messages):
    server.post("/local/settings", {"anthropic_max_requests": 3})
    with pytest.raises(anthropic.BadRequestError, match="at most 3"):
        server.send(messages(4))
    assert server.send(messages(3)).request_counts.processing == 3


def test_a_body_that_is_too_large_is_refused_with_413(server, messages):
    server.post("/local/settings", {"anthropic_max_bytes": 2_000})
    with pytest.raises(anthropic.APIStatusError) as refused:
        server.send(messages(50))
    assert (refused.value.status_code, refused.value.body["error"]["type"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"{}", b'{"requests": []}', b'{"requests": [1]}', b'{"requests": [{"custom_id": "a"}]}',
        b'{"requests": [{"custom_id": "a", "params": {}} {"custom_id": "b", "params": {}}]}',
        b'{"requests": [{"custom_id": "a", "params": {}}',
        b'{"requests": [{"custom_id": "a", "params": {}},]}',
    ],
)  # fmt: skip
def test_a_body_that_is_not_a_list_of_requests_is_refused(server, body):
    status, _, said = server.raw("POST", "/v1/messages/batches", body or b" ", x_api_key="k")
    assert (status, json.loads(said)["error"]["type"]) == (400, "invalid_request_error")


def test_brackets_quotes_and_line_separators_inside_texts_do_not_confuse(server):
    text = 'He said: "]}" \\ and [{"requests": [ \u2028 \n done.'
    params = {"model": "claude-haiku-5-5", "max_tokens": 500, "messages": [{"role": "user", "content": text}]}
    batch = server.message_ended(server.send([{"custom_id": f"r{n}", "params": params} for n in range(3)]).id)
    results = server.results(batch.id)
    assert {result.message.content[0].text for result in results.values()} == {text}


def test_cancelling_half_way_keeps_what_is_finished(server, messages):
    server.post("/local/settings", {"latency_seconds": 2})
    batch = server.send(messages(50))
    server.until(lambda: server.get("/local/tally")["anthropic"]["answers_delivered"], lambda n: n > 2)
    assert server.anthropic.messages.batches.cancel(batch.id).processing_status == "canceling"
    batch = server.message_ended(batch.id)
    kinds = Counter(result.type for result in server.results(batch.id).values())
    assert batch.cancel_initiated_at is not None
    assert counts(batch) == dict(kinds)
    assert kinds.keys() == {"succeeded", "canceled"}
    assert sum(kinds.values()) == 50
    assert server.get("/local/tally")["anthropic"]["answers_delivered"] == kinds["succeeded"]


def test_only_a_batch_that_ended_can_be_deleted(server, messages):
    batch = server.send(messages(2))
    with pytest.raises(anthropic.BadRequestError, match="cancel it"):
        server.anthropic.messages.batches.delete(batch.id)
    server.message_ended(batch.id)
    assert server.anthropic.messages.batches.delete(batch.id).type == "message_batch_deleted"
    with pytest.raises(anthropic.NotFoundError):
        server.anthropic.messages.batches.retrieve(batch.id)


def test_lists_are_newest_first_and_page_both_ways(server, messages):
    ids = [server.send(messages(1)).id for _ in range(5)][::-1]
    batches = server.anthropic.messages.batches
    assert [batch.id for batch in batches.list(limit=2)] == ids
    assert [batch.id for batch in batches.list(after_id=ids[1], limit=2).data] == ids[2:4]
    page = batches.list(before_id=ids[3], limit=2)
    assert ([batch.id for batch in page.data], page.has_more) == (ids[1:3], True)


def test_either_header_carries_the_key(server):
    assert server.raw("GET", "/v1/messages/batches", x_api_key="k")[0] == 200
    assert server.raw("GET", "/v1/messages/batches", authorization="Bearer k")[0] == 200


def test_a_missing_key_is_refused_in_anthropics_words(server):
    status, _, body = server.raw("GET", "/v1/messages/batches")
    assert (status, json.loads(body)["error"]["type"]) == (401, "authentication_error")


def test_results_of_an_unfinished_batch_are_not_found(server, messages):
    server.post("/local/settings", {"latency_seconds": 5})
    batch = server.send(messages(1))
    assert server.raw("GET", f"/v1/messages/batches/{batch.id}/results", x_api_key="k")[0] == 404


@pytest.mark.parametrize(("name", "value"), [("stream", True), ("speed", "fast"), ("max_tokens", 0)])
def test_what_a_batch_does_not_take_is_errored(server, messages, name, value):
    batch = server.message_ended(server.send(messages(1, **{name: value})).id)
    assert name in server.results(batch.id)["a0"].error.error.message
