"""One call of a realtime endpoint: its answer, what its headers allow, and what a failure of it means for money."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from offpeak.errors import ConfigurationError, OutcomeUnknown, ProviderUnavailable, RateLimited, TierUnavailable
from offpeak.providers import anthropic_calls, openai_calls
from offpeak.providers.base import Finish, Kind, Outcome, Provider
from offpeak.providers.realtime import Measure, Reply
from offpeak.requests import Chat, Embedding, Moderation

from ...conftest import EMBEDDING_MODEL, MODELS, Label, LocalProvider

Account = Callable[..., Provider]


@pytest.fixture
def local_provider(local_provider_server: LocalProvider) -> LocalProvider:
    """The local provider with its control, with nothing bought."""
    local_provider_server.reset()
    return local_provider_server


def ask(provider: Provider, body: bytes, *, kind: Kind = Kind.CHAT, flex: bool = False) -> Reply:
    async def once() -> Reply:
        caller = provider.caller()
        try:
            return await caller.ask(kind=kind, body=body, flex=flex)
        finally:
            await caller.close()

    return asyncio.run(once())


def chat(provider: Provider, **fields: Any) -> bytes:
    model = MODELS[provider.name].partition("/")[2]
    encode = provider.encoder(kind=Kind.CHAT, model=model, output=Label)
    return encode(Chat(key="T-1", prompt="My invoice is wrong.", **fields))


def test_a_chat_is_answered_as_a_line_of_a_batch_would_be(
    open_account: Account, local_provider: LocalProvider, provider_name: str
) -> None:
    provider = open_account(provider_name)

    line = ask(provider, chat(provider)).line

    assert (line.outcome, line.finish) == (Outcome.SUCCEEDED, Finish.STOP)
    assert Label.model_validate_json(line.text or "")
    assert line.usage.input_tokens > 0
    assert local_provider.tally(provider_name)["realtime_answers"] == 1


@pytest.mark.parametrize("endpoint", ["responses", "chat.completions"])
def test_both_of_openais_chat_endpoints_are_called(open_account: Account, endpoint: str) -> None:
    provider = open_account("openai", chat_endpoint=endpoint)

    assert Label.model_validate_json(ask(provider, chat(provider)).line.text or "")


def test_embeddings_and_moderations_are_called(open_account: Account) -> None:
    provider = open_account("openai")
    embed = provider.encoder(kind=Kind.EMBEDDING, model=EMBEDDING_MODEL.partition("/")[2], output=None)
    moderate = provider.encoder(kind=Kind.MODERATION, model="omni-moderation-latest", output=None)

    vector = ask(provider, embed(Embedding(key="D-1", text="A text.")), kind=Kind.EMBEDDING).line.vector
    verdict = ask(provider, moderate(Moderation(key="P-1", text="A post.")), kind=Kind.MODERATION).line.output

    assert vector
    assert verdict is not None
    assert verdict["flagged"] is False


def test_the_headers_tell_what_may_be_used_in_a_minute(open_account: Account, local_provider: LocalProvider) -> None:
    local_provider.settings(
        openai_requests_per_minute=600,
        openai_tokens_per_minute=90_000,
        anthropic_requests_per_minute=50,
        anthropic_input_tokens_per_minute=30_000,
        anthropic_output_tokens_per_minute=8_000,
    )
    openai, anthropic = open_account("openai"), open_account("anthropic")

    assert ask(openai, chat(openai)).limits == {Measure.REQUESTS: 600, Measure.TOKENS: 90_000}
    assert ask(anthropic, chat(anthropic)).limits == {
        Measure.REQUESTS: 50,
        Measure.TOKENS: 38_000,
        Measure.INPUT_TOKENS: 30_000,
        Measure.OUTPUT_TOKENS: 8_000,
    }


def test_a_limit_by_the_day_counts_by_its_share_of_a_minute() -> None:
    headers = {
        "x-ratelimit-limit-requests": "200",
        "x-ratelimit-remaining-requests": "199",
        "x-ratelimit-reset-requests": "7m12s",
        "x-ratelimit-limit-tokens": "40000",
        "x-ratelimit-remaining-tokens": "39000",
        "x-ratelimit-reset-tokens": "1.5s",
    }

    assert openai_calls.limits(headers) == {Measure.REQUESTS: 200 / 1440, Measure.TOKENS: 40_000}


def test_a_large_limit_that_is_hardly_used_is_not_taken_for_one_by_the_day() -> None:
    headers = {
        "x-ratelimit-limit-tokens": "4000000",
        "x-ratelimit-remaining-tokens": "3999994",
        "x-ratelimit-reset-tokens": "1ms",  # a tenth of that, rounded up
    }

    assert openai_calls.limits(headers) == {Measure.TOKENS: 4_000_000}


@pytest.mark.parametrize("value", ["", "-1", "many", "0"])
def test_a_header_that_tells_no_limit_is_passed_over(value: str) -> None:
    assert openai_calls.limits({"x-ratelimit-limit-requests": value}) == {}
    assert anthropic_calls.limits({"anthropic-ratelimit-requests-limit": value}) == {}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12ms", 0.012),
        ("1s", 1),
        ("1.5s", 1.5),
        ("6m0s", 360),
        ("1h2m3s", 3_723),
        ("2d", 172_800),
        ("soon", 0),
        ("", 0),
    ],
)
def test_durations_are_read_as_openai_writes_them(text: str, seconds: float) -> None:
    assert openai_calls.reset_after(text) == timedelta(seconds=seconds)


def test_flex_is_asked_for_and_told_from_the_standard_tier(
    open_account: Account, local_provider: LocalProvider
) -> None:
    provider = open_account("openai")

    assert ask(provider, chat(provider), flex=True).flex
    assert not ask(provider, chat(provider)).flex
    assert local_provider.tally("openai")["by_model"]["gpt-5-mini"]["flex_answers"] == 1


def test_a_tier_without_room_or_without_the_model_is_told_apart(
    open_account: Account, local_provider: LocalProvider
) -> None:
    provider = open_account("openai")
    local_provider.settings(openai_flex_capacity=0)
    with pytest.raises(TierUnavailable, match="Nothing was bought") as short:
        ask(provider, chat(provider), flex=True)
    local_provider.settings(openai_flex_capacity=1, openai_models_without_flex=["gpt-5-mini"])
    with pytest.raises(TierUnavailable) as without:
        ask(provider, chat(provider), flex=True)

    assert (short.value.lasting, without.value.lasting) == (False, True)
    assert local_provider.tally("openai")["answers_delivered"] == 0


def test_a_provider_without_the_tier_is_asked_at_its_only_one(open_account: Account) -> None:
    provider = open_account("anthropic")

    assert not ask(provider, chat(provider), flex=True).flex


def test_a_refusal_for_a_limit_says_how_long_to_wait(
    open_account: Account, local_provider: LocalProvider, provider_name: str
) -> None:
    local_provider.fault("realtime_429", retry_after=7)
    provider = open_account(provider_name)

    with pytest.raises(RateLimited, match="Nothing was bought") as refused:
        ask(provider, chat(provider))

    assert refused.value.retry_after == timedelta(seconds=7)
    assert local_provider.tally(provider_name)["realtime_calls"] == 1, "a call is never repeated by itself"


@pytest.mark.parametrize("status", [500, 503, 529])
def test_a_provider_that_says_it_failed_has_billed_nothing(
    open_account: Account, local_provider: LocalProvider, provider_name: str, status: int
) -> None:
    local_provider.fault("realtime_500", status=status)
    provider = open_account(provider_name)

    with pytest.raises(ProviderUnavailable, match="Nothing was bought"):
        ask(provider, chat(provider))
    assert local_provider.tally(provider_name)["realtime_calls"] == 1


@pytest.mark.parametrize("status", [408, 409, 502, 504, 520])
def test_a_gateway_that_failed_says_nothing_of_what_was_billed(
    open_account: Account, local_provider: LocalProvider, provider_name: str, status: int
) -> None:
    local_provider.fault("realtime_500", status=status)
    provider = open_account(provider_name)

    with pytest.raises(OutcomeUnknown, match="possibly paid twice"):
        ask(provider, chat(provider))


def test_an_answer_that_never_arrives_may_be_on_the_bill(
    open_account: Account, local_provider: LocalProvider, provider_name: str
) -> None:
    local_provider.fault("realtime_ghost_reset")
    provider = open_account(provider_name)

    with pytest.raises(OutcomeUnknown):
        ask(provider, chat(provider))
    assert local_provider.tally(provider_name)["realtime_answers"] == 1


def test_silence_ends_with_the_time_out(
    open_account: Account, local_provider: LocalProvider, provider_name: str
) -> None:
    local_provider.fault("realtime_ghost_hang", seconds=30)
    provider = open_account(provider_name, timeout=timedelta(seconds=0.3))

    with pytest.raises(OutcomeUnknown):
        ask(provider, chat(provider))


def test_nobody_there_means_that_nothing_was_sent(provider_name: str) -> None:
    provider = LocalProvider("http://127.0.0.1:9").open(provider_name)

    with pytest.raises(ProviderUnavailable, match="Nothing was bought"):
        ask(provider, chat(provider))
    provider.close()


def test_a_wrong_request_is_a_line_that_says_so(
    open_account: Account, local_provider: LocalProvider, provider_name: str
) -> None:
    provider = open_account(provider_name)

    line = ask(provider, b'{"model":"gpt-5-mini","input":7,"messages":7}').line

    assert line.outcome is Outcome.ERRORED
    assert line.error_code
    assert line.error_message
    assert local_provider.tally(provider_name)["answers_delivered"] == 0


def test_a_refused_key_names_its_variable_and_never_the_key(
    open_account: Account, local_provider: LocalProvider, provider_name: str
) -> None:
    local_provider.fault("realtime_500", status=401)
    provider = open_account(provider_name)

    with pytest.raises(ConfigurationError, match=f"{provider_name.upper()}_API_KEY") as refused:
        ask(provider, chat(provider))
    assert "key-of-a-test" not in str(refused.value)
