"""OpenAI's flex tier: answered at a lower price where there is capacity and the model has it."""

import json

import openai
import pytest


@pytest.fixture(params=["chat completion", "response"])
def ask(request, server):
    """Ask for an answer at one of the two endpoints that have the tier."""

    def call(model="gpt-5-mini", text="Hello.", **more):
        if request.param == "response":
            return server.openai.responses.create(model=model, input=text, **more)
        user = [{"role": "user", "content": text}]
        return server.openai.chat.completions.create(model=model, messages=user, **more)

    return call


def test_an_answer_says_which_tier_it_came_on(ask):
    assert ask(service_tier="flex").service_tier == "flex"
    assert [ask(**more).service_tier for more in ({}, {"service_tier": "auto"})] == ["default", "default"]


def test_the_tally_tells_flex_answers_apart(server, ask):
    ask(service_tier="flex"), ask(), ask(model="gpt-5.5", service_tier="flex")
    tally = server.get("/local/tally")["openai"]
    names = ("realtime_answers", "flex_answers", "answers_delivered")
    assert [tally[name] for name in names] == [3, 2, 3]
    assert [tally["by_model"]["gpt-5-mini"][name] for name in names] == [2, 1, 2]


def test_without_capacity_a_flex_call_is_refused_and_not_charged(server, ask):
    server.post("/local/settings", {"openai_flex_capacity": 0})
    with pytest.raises(openai.RateLimitError) as refused:
        ask(service_tier="flex")
    assert (refused.value.code, refused.value.response.headers.get("retry-after")) == ("resource_unavailable", None)
    assert ask().service_tier == "default"
    tally = server.get("/local/tally")["openai"]
    assert [tally[name] for name in ("realtime_calls", "realtime_refused", "flex_answers")] == [2, 1, 0]


def test_a_share_of_capacity_is_met_by_the_same_requests_each_time(server, ask):
    server.post("/local/settings", {"openai_flex_capacity": 0.5})

    def met(number):
        try:
            return ask(text=f"Hello, number {number}.", service_tier="flex").service_tier
        except openai.RateLimitError as refused:
            return refused.code

    first, second = ([met(number) for number in range(40)] for _ in range(2))
    assert first == second
    assert 10 < first.count("flex") < 30
    assert set(first) == {"flex", "resource_unavailable"}


def test_a_refused_flex_call_takes_nothing_from_the_rate_limits(server, ask):
    server.post("/local/settings", {"openai_flex_capacity": 0, "openai_requests_per_minute": 1})
    with pytest.raises(openai.RateLimitError):
        ask(service_tier="flex")
    assert ask().id


def test_a_model_without_flex_says_so(server, ask):
    server.post("/local/settings", {"openai_models_without_flex": ["gpt-5.5"]})
    with pytest.raises(openai.BadRequestError) as refused:
        ask(model="gpt-5.5", service_tier="flex")
    assert (refused.value.type, refused.value.param) == ("invalid_request_error", "service_tier")
    assert server.get("/local/tally")["openai"]["realtime_failed"] == 1
    assert ask(model="gpt-5.5").service_tier == "default"


def test_a_batch_is_a_tier_of_its_own(server, chats):
    server.post("/local/settings", {"openai_flex_capacity": 0})
    [line] = server.output(server.landed(chats(1, service_tier="flex")))
    assert line["response"]["body"]["service_tier"] == "default"
    assert server.get("/local/tally")["openai"]["flex_answers"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"openai_flex_capacity": 1.1}, "between 0 and 1"),
        ({"openai_flex_capacity": True}, "openai_flex_capacity is a number"),
        ({"openai_models_without_flex": "gpt-5.5"}, "list of strings"),
        ({"openai_models_without_flex": [5]}, "list of strings"),
    ],
)
def test_a_setting_of_flex_that_cannot_be_is_refused(server, changes, message):
    status, _, said = server.raw("POST", "/local/settings", json.dumps(changes).encode())
    assert (status, message in said.decode()) == (400, True)
