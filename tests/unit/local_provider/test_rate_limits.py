"""Synchronous calls and batch creations have limits, told of in every answer and refilled by the server's clock."""

import json

import anthropic
import openai
import pytest

NOON = 1_700_049_600  # 2023-11-15T12:00:00Z
USER = [{"role": "user", "content": "Eight characters are two of its tokens."}]  # 39 characters: 10 tokens
PROMPT_TOKENS = 10


@pytest.fixture
def limited(server):
    """Set limits on a server whose clock is held."""
    server.post("/local/clock", {"now": NOON})
    yield lambda **settings: server.post("/local/settings", settings)
    server.raw("DELETE", "/local/clock")


def chat(server, model="gpt-5-mini", **more):
    """The headers of an answer."""
    return server.openai.chat.completions.with_raw_response.create(model=model, messages=USER, **more).headers


def message(server, max_tokens=100, **more):
    given = {"model": "claude-haiku-5-5", "messages": USER, **more}
    return server.anthropic.messages.with_raw_response.create(max_tokens=max_tokens, **given).headers


def told(headers, prefix):
    return {name.removeprefix(prefix): value for name, value in headers.items() if name.startswith(prefix)}


def test_an_answer_says_nothing_of_limits_when_there_are_none(server):
    assert told(chat(server), "x-ratelimit") == told(message(server), "anthropic-ratelimit") == {}


def test_openais_answers_tell_of_requests_and_tokens(server, limited):
    limited(openai_requests_per_minute=60, openai_tokens_per_minute=6_000)
    assert told(chat(server, max_completion_tokens=90), "x-ratelimit-") == {
        "limit-requests": "60", "remaining-requests": "59", "reset-requests": "1s",
        "limit-tokens": "6000", "remaining-tokens": "5900", "reset-tokens": "1s",
    }  # fmt: skip


def test_anthropics_answers_tell_of_requests_input_output_and_all_tokens(server, limited):
    limited(
        anthropic_requests_per_minute=60, anthropic_input_tokens_per_minute=600, anthropic_output_tokens_per_minute=60
    )
    headers = told(message(server, max_tokens=5), "anthropic-ratelimit-")
    assert headers == {
        "requests-limit": "60", "requests-remaining": "59", "requests-reset": "2023-11-15T12:00:01Z",
        "input-tokens-limit": "600", "input-tokens-remaining": "590", "input-tokens-reset": "2023-11-15T12:00:01Z",
        "output-tokens-limit": "60", "output-tokens-remaining": "55", "output-tokens-reset": "2023-11-15T12:00:05Z",
        "tokens-limit": "660", "tokens-remaining": "645", "tokens-reset": "2023-11-15T12:00:05Z",
    }  # fmt: skip


def test_openai_refuses_a_request_too_many_until_there_is_room_for_it(server, limited):
    limited(openai_requests_per_minute=2)
    chat(server), chat(server)
    with pytest.raises(openai.RateLimitError) as refused:
        chat(server)
    assert (refused.value.type, refused.value.code, refused.value.param) == ("requests", "rate_limit_exceeded", None)
    assert str(refused.value.body["message"]) == (
        "Rate limit reached for gpt-5-mini in organization org-local on requests per min (RPM): "
        "Limit 2, Used 2, Requested 1. Please try again in 30s."
    )
    headers = refused.value.response.headers
    assert (headers["retry-after"], headers["x-ratelimit-remaining-requests"]) == ("30", "0")
    server.post("/local/clock", {"advance": 29})
    with pytest.raises(openai.RateLimitError):
        chat(server)
    server.post("/local/clock", {"advance": 1})
    chat(server)


def test_anthropic_refuses_a_request_too_many_until_there_is_room_for_it(server, limited):
    limited(anthropic_requests_per_minute=1)
    message(server)
    with pytest.raises(anthropic.RateLimitError) as refused:
        message(server)
    assert refused.value.body["error"]["type"] == "rate_limit_error"
    assert "of 1 requests per minute" in refused.value.body["error"]["message"]
    assert refused.value.response.headers["retry-after"] == "60"
    server.post("/local/clock", {"advance": 60})
    message(server)


def test_openai_counts_the_prompt_and_the_most_that_the_answer_may_have(server, limited):
    limited(openai_tokens_per_minute=100)
    chat(server, max_completion_tokens=30)
    chat(server, max_completion_tokens=50)
    with pytest.raises(openai.RateLimitError, match=r"tokens per min \(TPM\): Limit 100, Used 100, Requested 25"):
        chat(server)


def test_openai_counts_embeddings_by_their_texts(server, limited):
    limited(openai_tokens_per_minute=5)
    embed = server.openai.embeddings.with_raw_response.create
    first = embed(model="text-embedding-3-small", input=["Eight ch", "Twelve chars"])
    assert first.headers["x-ratelimit-remaining-tokens"] == "0"


def test_a_request_that_never_fits_is_told_so(server, limited):
    limited(openai_tokens_per_minute=50)
    with pytest.raises(openai.RateLimitError, match=r"Request too large .*: Limit 50, Requested 60") as never:
        chat(server, max_completion_tokens=50)
    assert "retry-after" not in never.value.response.headers


def test_anthropic_counts_input_before_the_answer_and_output_after_it(server, limited):
    limited(anthropic_input_tokens_per_minute=1_000, anthropic_output_tokens_per_minute=12)
    message(server, max_tokens=1_000)  # echoed: 10 tokens, whatever it might have been
    message(server, max_tokens=1_000)  # two were left, so it is let through, and takes eight more than there were
    with pytest.raises(anthropic.RateLimitError, match="output tokens per minute") as refused:
        message(server, max_tokens=1)
    assert refused.value.response.headers["retry-after"] == "45"
    assert refused.value.response.headers["anthropic-ratelimit-input-tokens-remaining"] == "980"


def test_a_limit_is_each_models_own(server, limited):
    limited(openai_requests_per_minute=1)
    chat(server)
    with pytest.raises(openai.RateLimitError):
        chat(server)
    chat(server, model="gpt-5.5")


def test_a_bucket_holds_as_many_seconds_worth_as_set_and_no_more(server, limited):
    limited(openai_requests_per_minute=60, rate_limit_burst_seconds=2)
    chat(server)
    server.post("/local/clock", {"advance": 3_600})
    chat(server), chat(server)
    with pytest.raises(openai.RateLimitError):
        chat(server)
    server.post("/local/clock", {"advance": 1})
    chat(server)


def test_a_bucket_that_holds_less_than_one_request_needs_admits_it_when_full(server, limited):
    limited(openai_requests_per_minute=6, rate_limit_burst_seconds=1)
    chat(server)
    with pytest.raises(openai.RateLimitError) as refused:
        chat(server)
    server.post("/local/clock", {"advance": int(refused.value.response.headers["retry-after"])})
    chat(server)


def test_a_limit_that_is_changed_or_a_reset_starts_anew(server, limited):
    limited(openai_requests_per_minute=1)
    chat(server)
    limited(openai_requests_per_minute=2)
    chat(server), chat(server)
    server.post("/local/reset")
    chat(server)


def test_a_clock_that_is_set_back_refills_nothing_and_goes_on(server, limited):
    limited(openai_requests_per_minute=1)
    chat(server)
    server.post("/local/clock", {"now": NOON - 3_600})
    with pytest.raises(openai.RateLimitError):
        chat(server)
    server.post("/local/clock", {"advance": 60})
    chat(server)


def test_a_refused_call_takes_nothing_and_buys_nothing(server, limited):
    limited(openai_requests_per_minute=10, openai_tokens_per_minute=30)
    chat(server, max_completion_tokens=20)
    for _ in range(3):
        with pytest.raises(openai.RateLimitError) as refused:
            chat(server, max_completion_tokens=20)
    assert refused.value.response.headers["x-ratelimit-remaining-requests"] == "9"
    tally = server.get("/local/tally")["openai"]
    assert (tally["realtime_calls"], tally["realtime_answers"], tally["realtime_refused"]) == (4, 1, 3)


@pytest.mark.parametrize(
    ("cost", "reset"),
    [(1, "12ms"), (84, "1s"), (126, "1.5s"), (5_040, "1m0s"), (5_166, "1m1.5s")],
)
def test_openai_writes_when_a_bucket_is_full_again_in_its_own_way(server, limited, cost, reset):
    limited(openai_tokens_per_minute=5_040, rate_limit_burst_seconds=3_600)
    while cost > 0:
        headers = server.openai.embeddings.with_raw_response.create(
            model="text-embedding-3-small", input="four" * min(cost, 5_000)
        ).headers
        cost -= 5_000
    assert headers["x-ratelimit-reset-tokens"] == reset


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_batch_creations_have_a_limit_per_hour(server, limited, chats, messages, name):
    def create():
        return server.submit(chats(1)) if name == "openai" else server.send(messages(1))

    limited(**{f"{name}_creates_per_hour": 2})
    create(), create()
    with pytest.raises((openai.RateLimitError, anthropic.RateLimitError)) as refused:
        create()
    assert refused.value.response.headers["retry-after"] == "1800"
    assert len(server.get("/local/batches")["batches"]) == 2
    server.post("/local/clock", {"advance": 1_800})
    create()


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "many"])
def test_a_limit_that_is_none_is_null_and_nothing_else(server, limit):
    status, _, said = server.raw("POST", "/local/settings", json.dumps({"openai_requests_per_minute": limit}).encode())
    assert (status, b"null for no limit" in said) == (400, True)
