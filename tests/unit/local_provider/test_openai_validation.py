"""OpenAI's validation: the create is answered first, then one bad line fails the whole batch, and nothing is bought."""

import json

import pytest


def line(custom_id="c", url="/v1/chat/completions", model="gpt-5-mini", **more):
    body = {"model": model, "messages": [{"role": "user", "content": "Hello."}]}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body, **more}


def without(name):
    return {key: value for key, value in line("other").items() if key != name}


@pytest.mark.parametrize(
    ("bad", "code", "param"),
    [
        (b"{not json\n", "invalid_json_line", None),
        (b"[1, 2]\n", "invalid_json_line", None),
        (line("c"), "duplicate_custom_id", "custom_id"),
        (line("d", url="/v1/embeddings"), "url_mismatch", "url"),
        (line("d", url="/v1/nothing"), "invalid_url", "url"),
        (line("d", model="gpt-5.5"), "model_mismatch", "body.model"),
        (line("d", model="claude-haiku-5-5"), "model_not_found", "body.model"),
        (line("d", model=None), "missing_required_parameter", "body.model"),
        (line("d", method="GET"), "invalid_method", "method"),
        (without("custom_id"), "missing_required_parameter", "custom_id"),
        (without("url"), "missing_required_parameter", "url"),
        (without("body"), "missing_required_parameter", "body"),
    ],
)
def test_one_bad_line_fails_the_batch_and_is_named(server, bad, code, param):
    encoded = bad if isinstance(bad, bytes) else json.dumps(bad).encode() + b"\n"
    batch = server.landed(json.dumps(line("c")).encode() + b"\n" + encoded)
    [error] = batch.errors.data
    assert batch.status == "failed"
    assert batch.failed_at is not None
    assert (error.code, error.line, error.param) == (code, 2, param)
    assert batch.output_file_id is batch.error_file_id is None
    assert server.get("/local/tally")["openai"]["answers_delivered"] == 0


def codes(batch):
    return [error.code for error in batch.errors.data]


def test_an_empty_file_fails(server):
    assert codes(server.landed(b"\n")) == ["empty_file"]


def test_too_many_requests_fail_without_naming_a_line(server):
    server.post("/local/settings", {"openai_max_requests": 3})
    batch = server.landed([line(str(number)) for number in range(4)])
    assert (codes(batch), batch.errors.data[0].line) == (["too_many_tasks"], None)


def test_as_many_requests_as_allowed_are_answered(server):
    server.post("/local/settings", {"openai_max_requests": 3})
    assert server.landed([line(str(number)) for number in range(3)]).status == "completed"


def test_a_file_that_is_too_large_fails(server):
    server.post("/local/settings", {"openai_max_bytes": 100})
    assert codes(server.landed([line()])) == ["file_too_large"]


def test_embedding_inputs_are_counted_over_all_requests(server):
    server.post("/local/settings", {"openai_max_embedding_inputs": 3})
    lines = [
        {
            "custom_id": str(number),
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {"model": "text-embedding-3-small", "input": ["a", "b"]},
        }
        for number in range(2)
    ]
    assert codes(server.landed(lines, "/v1/embeddings")) == ["too_many_embedding_inputs"]


def test_an_unknown_input_file_is_accepted_and_fails_later(server):
    batch = server.openai.batches.create(
        input_file_id="file-nothing", endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert batch.status == "validating"
    assert codes(server.ended(batch.id)) == ["invalid_request"]


@pytest.fixture
def slow(server):
    """A server whose clock is held, and whose batches take a hundred seconds."""
    server.post("/local/clock", {"now": 1_700_000_000})
    server.post("/local/settings", {"latency_seconds": 100})
    yield server
    server.raw("DELETE", "/local/clock")


def submitted(server, tokens, model="gpt-5-mini"):
    """A batch of one request with so many prompt tokens, once it is validated."""
    body = {"model": model, "messages": [{"role": "user", "content": "four" * tokens}]}
    batch = server.submit([{"custom_id": "c", "method": "POST", "url": "/v1/chat/completions", "body": body}])
    server.post("/local/clock", {"advance": 10})
    return server.openai.batches.retrieve(batch.id)


def test_prompt_tokens_of_a_models_open_batches_have_a_limit(slow):
    slow.post("/local/settings", {"openai_enqueued_tokens": 2_000})
    assert submitted(slow, 1_500).status == "in_progress"
    refused = submitted(slow, 501)
    [error] = refused.errors.data
    assert (refused.status, error.code, error.line) == ("failed", "token_limit_exceeded", None)
    assert error.message == (
        "Enqueued token limit reached for gpt-5-mini in organization org-local. Limit: 2,000 enqueued tokens. "
        "Please try again once some in_progress batches have been completed."
    )
    assert submitted(slow, 500).status == "in_progress"
    assert submitted(slow, 2_000, model="gpt-5.5").status == "in_progress"


def test_a_batch_that_is_cancelling_still_counts_and_one_that_ended_does_not(slow):
    slow.post("/local/settings", {"openai_enqueued_tokens": 100})
    first = submitted(slow, 100)
    slow.openai.batches.cancel(first.id)
    slow.post("/local/settings", {"latency_seconds": 50})
    early, late = slow.submit([line()]), slow.submit([line()])
    slow.post(f"/local/batches/{late.id}/faults", {"fault": "latency", "seconds": 110})
    slow.post("/local/clock", {"advance": 5})
    assert slow.openai.batches.retrieve(first.id).status == "cancelling"
    assert codes(slow.openai.batches.retrieve(early.id)) == ["token_limit_exceeded"]
    slow.post("/local/clock", {"advance": 6})
    assert slow.openai.batches.retrieve(first.id).status == "cancelled"
    assert slow.openai.batches.retrieve(late.id).status == "in_progress"


def test_a_batch_of_more_tokens_than_the_limit_always_fails(slow):
    slow.post("/local/settings", {"openai_enqueued_tokens": 10})
    assert codes(submitted(slow, 11)) == ["token_limit_exceeded"]
    assert slow.get("/local/tally")["openai"]["answers_delivered"] == 0
