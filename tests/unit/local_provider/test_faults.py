"""What can be made to go wrong, for whom, and how it is counted."""

import json
import threading
from collections import Counter

import anthropic
import openai
import pytest


def rule(server, fault, **more):
    return server.post("/local/faults", [{"fault": fault, **more}])


def shown(server, provider):
    return [batch for batch in server.get("/local/batches")["batches"] if batch["provider"] == provider]


@pytest.fixture(params=["openai", "anthropic"])
def create(request, server, chats, messages):
    """Create a batch at one of the two, with its SDK."""
    return lambda: server.submit(chats(4)) if request.param == "openai" else server.send(messages(4))


@pytest.fixture
def provider(create, request):
    return request.node.callspec.params["create"]


def test_a_ghost_create_exists_and_is_answered_although_the_caller_saw_500(server, create, provider):
    rule(server, "ghost_500")
    with pytest.raises((openai.InternalServerError, anthropic.InternalServerError)):
        create()
    server.until(lambda: shown(server, provider)[0]["status"], lambda status: status in {"completed", "ended"})
    assert server.get("/local/tally")[provider]["answers_delivered"] == 4
    create()
    assert len(shown(server, provider)) == 2


def test_a_ghost_create_exists_although_the_connection_was_reset(server, create, provider):
    rule(server, "ghost_reset")
    with pytest.raises((openai.APIConnectionError, anthropic.APIConnectionError)):
        create()
    assert len(shown(server, provider)) == 1


def test_a_ghost_create_exists_although_no_answer_came(server, chats):
    rule(server, "ghost_hang", seconds=30)
    client = server.openai.with_options(timeout=0.5)
    file_id = server.upload(chats(1))
    with pytest.raises(openai.APITimeoutError):
        client.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h")
    assert len(shown(server, "openai")) == 1


@pytest.mark.parametrize(("fault", "status"), [("create_500", 500), ("create_429", 429), ("create_reset", None)])
def test_a_refused_create_leaves_nothing(server, create, provider, fault, status):
    rule(server, fault)
    with pytest.raises((openai.APIError, anthropic.APIError)) as refused:
        create()
    assert getattr(refused.value, "status_code", None) == status
    assert shown(server, provider) == []
    assert create().id


def test_429_says_when_to_come_back(server, chats):
    rule(server, "create_429", retry_after=7)
    with pytest.raises(openai.RateLimitError) as refused:
        server.submit(chats(1))
    assert refused.value.response.headers["retry-after"] == "7"


def test_an_overloaded_anthropic_says_529(server, messages):
    rule(server, "create_500", status=529, match={"provider": "anthropic"})
    with pytest.raises(anthropic.APIStatusError) as refused:
        server.send(messages(1))
    assert refused.value.body["error"]["type"] == "overloaded_error"


def test_an_expired_openai_batch_keeps_a_share_and_lists_the_rest(server, chats):
    rule(server, "expire", share=0.3)
    batch = server.landed(chats(10))
    assert batch.status == "expired"
    assert batch.expired_at is not None
    assert batch.completed_at is None
    assert len(server.output(batch)) == 3
    assert Counter(line["error"]["code"] for line in server.errors(batch)) == {"batch_expired": 7}
    assert server.get("/local/tally")["openai"]["answers_delivered"] == 3


def test_an_expired_anthropic_batch_keeps_a_share_and_lists_the_rest(server, messages):
    rule(server, "expire", share=0.3)
    batch = server.message_ended(server.send(messages(10)).id)
    assert Counter(result.type for result in server.results(batch.id).values()) == {"succeeded": 3, "expired": 7}
    assert (batch.request_counts.succeeded, batch.request_counts.expired) == (3, 7)


def test_a_batch_that_never_ends_can_be_cancelled(server, chats):
    rule(server, "never_end", share=0.5)
    batch = server.submit(chats(10))
    server.until(lambda: server.openai.batches.retrieve(batch.id), lambda b: b.request_counts.completed == 5)
    assert server.openai.batches.retrieve(batch.id).status == "in_progress"
    server.openai.batches.cancel(batch.id)
    assert server.ended(batch.id).status == "cancelled"


def test_a_batch_can_complete_although_it_is_cancelled(server, chats):
    rule(server, "never_end", share=0.5)
    rule(server, "beats_cancel")
    batch = server.submit(chats(10))
    server.until(lambda: server.openai.batches.retrieve(batch.id), lambda b: b.request_counts.completed == 5)
    server.openai.batches.cancel(batch.id)
    ended = server.ended(batch.id)
    assert (ended.status, ended.request_counts.completed) == ("completed", 10)


def test_a_batch_that_never_ends_ends_when_it_is_healed(server, messages):
    rule(server, "never_end")
    batch = server.send(messages(3))
    status, *_ = server.raw("DELETE", f"/local/batches/{batch.id}/faults")
    assert status == 200
    assert server.message_ended(batch.id).request_counts.succeeded == 3


def test_an_open_batch_can_be_given_a_fault(server, chats):
    server.post("/local/settings", {"latency_seconds": 30})
    batch = server.submit(chats(4))
    server.post(f"/local/batches/{batch.id}/faults", {"fault": "expire", "share": 0})
    server.post(f"/local/batches/{batch.id}/faults", {"fault": "latency", "seconds": 0})
    assert server.ended(batch.id).status == "expired"


def test_validation_can_fail_as_it_does_for_a_full_queue(server, chats):
    rule(server, "fail_validation", message="Enqueued token limit reached for gpt-5-mini.")
    batch = server.landed(chats(2))
    [error] = batch.errors.data
    assert (batch.status, error.code, error.line) == ("failed", "token_limit_exceeded", None)
    assert server.get("/local/tally")["openai"]["answers_delivered"] == 0


@pytest.mark.parametrize(("code", "status"), [("server_error", 500), ("invalid_request", 400), ("rate_limit", 429)])
def test_a_share_of_openais_lines_fails(server, chats, code, status):
    rule(server, "error_lines", share=0.25, code=code)
    batch = server.landed(chats(8))
    assert [line["response"]["status_code"] for line in server.errors(batch)] == [status, status]
    assert (batch.request_counts.completed, batch.request_counts.failed) == (6, 2)
    assert server.get("/local/tally")["openai"]["answers_delivered"] == 6


def test_a_line_can_time_out_without_any_response(server, chats):
    rule(server, "error_lines", share=1, code="request_timeout")
    [line] = server.errors(server.landed(chats(1)))
    assert (line["response"], line["error"]["code"]) == (None, "request_timeout")


def test_a_share_of_anthropics_requests_fails(server, messages):
    rule(server, "error_lines", share=0.5)
    batch = server.message_ended(server.send(messages(4)).id)
    errors = [result.error.error.type for result in server.results(batch.id).values() if result.type == "errored"]
    assert errors == ["api_error", "api_error"]


def test_one_batch_can_be_slower_than_the_rest(server, chats):
    rule(server, "latency", seconds=30, match={"nth_create": 1})
    slow = server.submit(chats(1))
    assert server.landed(chats(1, "fast")).status == "completed"
    assert server.openai.batches.retrieve(slow.id).status in {"validating", "in_progress"}


def test_a_rule_strikes_as_often_as_it_says_and_only_whom_it_is_for(server, chats, messages):
    rule(server, "create_500", times=2, match={"provider": "openai", "model": "gpt-5-mini"})
    server.send(messages(1))
    server.landed(chats(1, model="gpt-5.5"))
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            server.submit(chats(1))
    server.submit(chats(1))
    faults = server.get("/local/faults")
    assert faults["rules"][0]["fired"] == 2
    assert faults["fired"] == {"create_500": 2}
    assert faults["creates"] == {"openai": 4, "anthropic": 1}


def test_a_rule_can_be_for_a_custom_id_or_the_nth_create(server, chats):
    rule(server, "create_500", times=None, match={"custom_id_prefix": "bad"})
    rule(server, "create_429", match={"nth_create": 3})
    server.submit(chats(1))
    with pytest.raises(openai.InternalServerError):
        server.submit(chats(1, "bad"))
    with pytest.raises(openai.RateLimitError):
        server.submit(chats(1))


def test_synchronous_calls_can_fail_too(server):
    create = server.openai.responses.create
    for fault in ("realtime_500", "realtime_429", "realtime_reset"):
        rule(server, fault)
    with pytest.raises(openai.InternalServerError):
        create(model="gpt-5-mini", input="Hello.")
    with pytest.raises(openai.RateLimitError):
        create(model="gpt-5-mini", input="Hello.")
    with pytest.raises(openai.APIConnectionError):
        create(model="gpt-5-mini", input="Hello.")
    assert create(model="gpt-5-mini", input="Hello.").output_text
    assert server.get("/local/tally")["openai"]["realtime_answers"] == 1


@pytest.fixture(params=["openai", "anthropic"])
def ask(request, server):
    """Make the same synchronous call at one of the two, with its SDK and this many seconds of patience."""

    def call(timeout=10.0):
        if request.param == "openai":
            client = server.openai.with_options(timeout=timeout)
            return client.responses.create(model="gpt-5-mini", input="Hello.")
        user = [{"role": "user", "content": "Hello."}]
        client = server.anthropic.with_options(timeout=timeout)
        return client.messages.create(model="claude-haiku-5-5", max_tokens=9, messages=user)

    return call


@pytest.mark.parametrize(
    ("fault", "params", "error"),
    [
        ("realtime_ghost_reset", {}, (openai.APIConnectionError, anthropic.APIConnectionError)),
        ("realtime_ghost_hang", {"seconds": 30}, (openai.APITimeoutError, anthropic.APITimeoutError)),
    ],
)
def test_a_synchronous_call_can_be_billed_although_its_answer_is_lost(server, ask, request, fault, params, error):
    provider = request.node.callspec.params["ask"]
    rule(server, fault, match={"provider": provider}, **params)
    with pytest.raises(error):
        ask(timeout=0.5)
    server.until(lambda: server.get("/local/tally")[provider]["realtime_answers"], lambda n: n == 1)
    assert ask().id
    assert server.get("/local/tally")[provider]["realtime_failed"] == 0
    [twice] = server.get("/local/tally/requests?at_least=2")["requests"]
    assert (twice["answered"], server.get("/local/faults")["fired"]) == (2, {fault: 1})


def test_faults_can_be_taken_away(server, chats):
    rule(server, "create_500", times=None)
    assert server.raw("DELETE", "/local/faults")[0] == 200
    assert server.submit(chats(1)).id


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fault": "explode"}, "ghost_500"),
        ({"fault": "expire", "share": 2}, "between 0 and 1"),
        ({"fault": "expire", "half": 1}, "no parameter half"),
        ({"fault": "expire", "match": {"colour": "red"}}, "nth_create"),
        ({"fault": "expire", "times": 0}, "times"),
        ({"fault": "error_lines", "code": "odd"}, "server_error"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_and_none_is_added(server, given, message):
    status, _, said = server.raw("POST", "/local/faults", json.dumps([{"fault": "create_500"}, given]).encode())
    assert status == 400
    assert message in said.decode()
    assert server.get("/local/faults")["rules"] == []


def test_a_fault_of_creates_cannot_be_given_to_a_batch(server, chats):
    batch = server.submit(chats(1))
    status, _, said = server.raw("POST", f"/local/batches/{batch.id}/faults", b'{"fault": "ghost_500"}')
    assert (status, b"ghost_500" in said) == (400, True)


def test_creates_at_the_same_time_get_a_fault_once(server, chats):
    rule(server, "ghost_500", times=1)
    file_id = server.upload(chats(1))
    outcomes = []

    def create():
        body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        status, *_ = server.raw("POST", "/v1/batches", json.dumps(body).encode(), authorization="Bearer k")
        outcomes.append(status)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(outcomes) == {200: 7, 500: 1}
    assert len(shown(server, "openai")) == 8
