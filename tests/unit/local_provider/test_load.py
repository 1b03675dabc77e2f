"""The local provider as a stand-in for load: limits of single models, latencies as they are, answers of full length."""

import json
import random

import anthropic
import openai
import pytest

from local_provider.realtime import latency_of
from local_provider.settings import Settings

NOON = 1_700_049_600  # 2023-11-15T12:00:00Z
USER = [{"role": "user", "content": "Eight characters are two of its tokens."}]  # 39 characters: 10 tokens


@pytest.fixture
def limited(server):
    """Set limits of models on a server whose clock is held, and which holds what five seconds bring."""
    server.post("/local/clock", {"now": NOON})
    yield lambda **limits: server.post("/local/settings", {"model_limits": limits, "rate_limit_burst_seconds": 5})
    server.raw("DELETE", "/local/clock")


def chat(server, model="gpt-5-mini", **more):
    return server.openai.chat.completions.with_raw_response.create(model=model, messages=USER, **more).headers


def message(server, **more):
    given = {"model": "claude-haiku-5-5", "messages": USER, "max_tokens": 100} | more
    return server.anthropic.messages.with_raw_response.create(**given).headers


def test_a_model_has_its_own_limits_and_others_have_none(server, limited):
    limited(**{"openai/gpt-5-mini": {"requests_per_minute": 12}})
    chat(server)
    with pytest.raises(openai.RateLimitError) as refused:
        chat(server)
    assert refused.value.response.headers["retry-after"] == "5"
    assert refused.value.response.headers["x-ratelimit-limit-requests"] == "12"
    for _ in range(3):
        assert "x-ratelimit-limit-requests" not in chat(server, "gpt-5.4-mini")


def test_the_tokens_of_an_openai_model_are_those_of_prompt_and_longest_answer(server, limited):
    limited(**{"openai/gpt-5-mini": {"tokens_per_minute": 1_200}})  # 100 at once
    chat(server, max_completion_tokens=90)
    with pytest.raises(openai.RateLimitError, match="Requested 100"):
        chat(server, max_completion_tokens=90)


def test_the_tokens_of_an_anthropic_model_are_input_and_output_in_one(server, limited):
    server.post("/local/settings", {"answers": "full"})
    limited(**{"anthropic/claude-haiku-5-5": {"requests_per_minute": 600, "tokens_per_minute": 1_200}})
    headers = message(server)
    told = {name: value for name, value in headers.items() if name.startswith("anthropic-ratelimit-tokens")}
    assert told["anthropic-ratelimit-tokens-limit"] == "1200"
    assert told["anthropic-ratelimit-tokens-remaining"] == "0"  # of 100: 10 of the prompt, and 100 of the answer
    assert "anthropic-ratelimit-input-tokens-limit" not in headers
    with pytest.raises(anthropic.RateLimitError, match="1,200 tokens per minute"):
        message(server)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"gpt-5-mini": {}}, "'gpt-5-mini' is no model"),
        ({"openai/gpt-5-mini": {"requests_per_day": 3}}, "has no 'requests_per_day'"),
        ({"openai/gpt-5-mini": {"tokens_per_minute": 0}}, "a whole number from 1"),
        (["openai/gpt-5-mini"], "is an object such as"),
    ],
)
def test_limits_that_are_none_are_refused(server, limits, said):
    status, _, answer = server.raw("POST", "/local/settings", json.dumps({"model_limits": limits}).encode())
    assert status == 400
    assert said in json.loads(answer)["error"]["message"]


def test_a_full_answer_is_as_long_as_its_request_lets_it_be(server):
    server.post("/local/settings", {"answers": "full"})
    answer = server.openai.responses.create(model="gpt-5-mini", input="Say it.", max_output_tokens=200)
    assert (answer.usage.output_tokens, answer.status) == (200, "completed")
    said = server.anthropic.messages.create(model="claude-haiku-5-5", max_tokens=70, messages=USER)
    assert (said.usage.output_tokens, said.stop_reason) == (70, "end_turn")


def test_latencies_are_all_the_same_without_a_spread_and_lie_around_their_median_with_one():
    draw = random.Random(1)
    assert latency_of(Settings(realtime_latency_seconds=0.9), draw) == 0.9
    assert latency_of(Settings(realtime_latency_spread=0.5), draw) == 0
    spread = Settings(realtime_latency_seconds=0.9, realtime_latency_spread=0.5)
    drawn = sorted(latency_of(spread, draw) for _ in range(10_001))
    assert drawn[5_000] == pytest.approx(0.9, rel=0.05)
    assert drawn[9_900] == pytest.approx(0.9 * 3.2, rel=0.15)


def test_the_options_of_the_command_set_what_they_say(starting):
    limits = {"openai/gpt-5-mini": {"requests_per_minute": 60}}
    server = starting("--limits", json.dumps(limits), "--realtime-latency", "0.01", "--answers", "full")
    settings = server.get("/local/settings")
    assert settings["model_limits"] == limits
    assert (settings["rate_limit_burst_seconds"], settings["answers"]) == (5, "full")
    assert (settings["realtime_latency_seconds"], settings["realtime_latency_spread"]) == (0.01, 0.5)


@pytest.mark.parametrize(("limits", "said"), [("{", "--limits is not valid JSON"), ("[]", "is an object such as")])
def test_limits_of_the_command_that_are_none_end_it(starting, limits, said):
    with pytest.raises(AssertionError, match=said):
        starting("--limits", limits)
