"""What each provider is sent of a prefix that requests share, byte for byte, and what of it another model is sent."""

from typing import Any

import orjson
import pytest

from offpeak.errors import InvalidRequest
from offpeak.providers import open_provider
from offpeak.providers.base import CacheUse, Kind, Provider
from offpeak.providers.wire import for_model, longest_answer, widened
from offpeak.requests import Chat, Embedding, Message, Request

RESPONSES = open_provider("openai", api_key="k")
COMPLETIONS = open_provider("openai", api_key="k", chat_endpoint="chat.completions")
ANTHROPIC = open_provider("anthropic", api_key="k")
ALL = [RESPONSES, COMPLETIONS, ANTHROPIC]

SHARED = Chat(key="a", prefix="The rules.", system="Be brief.", prompt="Hello")
ALONE = Chat(key="a", prefix="The rules.", prompt="Hello")


def sent(
    provider: Provider, request: Request, use: CacheUse = CacheUse.NONE, *, charged: bool, kind: Kind = Kind.CHAT
) -> bytes:
    return provider.encoder(kind=kind, model="m-1", output=None, writes_charged=charged)(request, use)


def body(*given: Any, **more: Any) -> dict[str, Any]:
    parsed: dict[str, Any] = orjson.loads(sent(*given, **more))
    return parsed


def test_anthropic_is_sent_blocks_of_which_the_first_is_to_be_kept_for_an_hour() -> None:
    assert sent(ANTHROPIC, SHARED, CacheUse.WRITE, charged=True) == (
        b'{"model":"m-1","max_tokens":1024,"system":['
        b'{"type":"text","text":"The rules.","cache_control":{"type":"ephemeral","ttl":"1h"}},'
        b'{"type":"text","text":"Be brief."}],"messages":[{"role":"user","content":"Hello"}]}'
    )
    assert body(ANTHROPIC, ALONE, CacheUse.WRITE, charged=True)["system"] == [
        {"type": "text", "text": "The rules.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    ]


def test_anthropic_is_sent_one_text_where_nothing_is_cached() -> None:
    assert sent(ANTHROPIC, SHARED, charged=True) == (
        b'{"model":"m-1","max_tokens":1024,"system":"The rules.\\n\\nBe brief.",'
        b'"messages":[{"role":"user","content":"Hello"}]}'
    )
    assert body(ANTHROPIC, ALONE, charged=True)["system"] == "The rules."


def test_responses_are_sent_a_key_where_writing_costs_nothing() -> None:
    found = body(RESPONSES, SHARED, CacheUse.KEY, charged=False)
    key = found.pop("prompt_cache_key")
    assert len(key) == 32
    assert found == {"model": "m-1", "store": False, "instructions": "The rules.\n\nBe brief.", "input": "Hello"}


def test_responses_are_sent_a_marked_block_where_writing_is_charged() -> None:
    found = body(RESPONSES, SHARED, CacheUse.WRITE, charged=True)
    assert len(found.pop("prompt_cache_key")) == 32
    mark = {"mode": "explicit"}
    assert found == {
        "model": "m-1",
        "store": False,
        "input": [
            {
                "role": "developer",
                "content": [
                    {"type": "input_text", "text": "The rules.", "prompt_cache_breakpoint": mark},
                    {"type": "input_text", "text": "Be brief."},
                ],
            },
            {"role": "user", "content": "Hello"},
        ],
        "prompt_cache_options": mark,
    }
    first = body(RESPONSES, ALONE, CacheUse.WRITE, charged=True)["input"][0]
    assert first["content"] == [{"type": "input_text", "text": "The rules.", "prompt_cache_breakpoint": mark}]


def test_responses_are_told_to_write_nothing_where_that_would_be_charged() -> None:
    plain = {"model": "m-1", "store": False, "instructions": "The rules.\n\nBe brief.", "input": "Hello"}
    assert body(RESPONSES, SHARED, charged=True) == plain | {"prompt_cache_options": {"mode": "explicit"}}
    assert body(RESPONSES, SHARED, charged=False) == plain


def test_chat_completions_are_sent_the_same_in_their_own_form() -> None:
    mark, user = {"mode": "explicit"}, {"role": "user", "content": "Hello"}
    plain = {"model": "m-1", "messages": [{"role": "system", "content": "The rules.\n\nBe brief."}, user]}

    assert body(COMPLETIONS, SHARED, charged=False) == plain
    assert body(COMPLETIONS, SHARED, charged=True) == plain | {"prompt_cache_options": mark}
    keyed = body(COMPLETIONS, SHARED, CacheUse.KEY, charged=False)
    key = keyed.pop("prompt_cache_key")
    assert keyed == plain
    parts = [
        {"type": "text", "text": "The rules.", "prompt_cache_breakpoint": mark},
        {"type": "text", "text": "Be brief."},
    ]
    assert body(COMPLETIONS, SHARED, CacheUse.WRITE, charged=True) == {
        "model": "m-1",
        "messages": [{"role": "system", "content": parts}, user],
        "prompt_cache_options": mark,
        "prompt_cache_key": key,
    }
    alone = body(COMPLETIONS, ALONE, charged=False)
    assert alone["messages"] == [{"role": "system", "content": "The rules."}, user]


def test_a_conversation_follows_the_prefix() -> None:
    turns = [Message(role="user", content="Hi"), Message(role="assistant", content="Yes?")]
    chat = Chat(key="a", prefix="The rules.", messages=turns)
    asked = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]

    assert body(RESPONSES, chat, CacheUse.WRITE, charged=True)["input"][1:] == asked
    assert body(COMPLETIONS, chat, CacheUse.WRITE, charged=True)["messages"][1:] == asked


def test_two_tenants_have_two_keys_for_one_prefix() -> None:
    def key(**fields: Any) -> str:
        chat = Chat(key="a", prompt="Hello", **fields)
        return str(body(RESPONSES, chat, CacheUse.KEY, charged=False)["prompt_cache_key"])

    keys = {
        key(prefix="The rules."),
        key(prefix="Other rules."),
        key(prefix="The rules.", scope=""),
        key(prefix="The rules.", scope="tenant-1"),
        key(prefix="The rules.", scope="tenant-2"),
    }
    assert len(keys) == 5
    assert key(prefix="The rules.", system="More.") == key(prefix="The rules.")


@pytest.mark.parametrize("use", list(CacheUse))
@pytest.mark.parametrize("charged", [True, False])
@pytest.mark.parametrize("provider", ALL, ids=["responses", "completions", "anthropic"])
def test_a_request_without_a_prefix_is_sent_as_ever(provider: Provider, use: CacheUse, charged: bool) -> None:
    chat = Chat(key="a", system="The rules.", prompt="Hello")

    assert sent(provider, chat, use, charged=charged) == provider.encoder(kind=Kind.CHAT, model="m-1", output=None)(
        chat
    )
    if provider is RESPONSES:
        text = Embedding(key="a", text="Hello")
        encode = provider.encoder(kind=Kind.EMBEDDING, model="m-1", output=None)
        assert sent(provider, text, use, charged=charged, kind=Kind.EMBEDDING) == encode(text)


@pytest.mark.parametrize("prefix", ["", 7])
@pytest.mark.parametrize("provider", ALL, ids=["responses", "completions", "anthropic"])
def test_a_prefix_of_no_text_is_refused_by_its_field(provider: Provider, prefix: Any) -> None:
    for use in CacheUse:
        with pytest.raises(InvalidRequest, match=r"key 'T1': prefix is"):
            sent(provider, Chat(key="T1", prefix=prefix, prompt="Hello"), use, charged=True)


@pytest.mark.parametrize("provider", ALL, ids=["responses", "completions", "anthropic"])
def test_a_longer_answer_is_asked_for_with_everything_else_as_it_was(provider: Provider) -> None:
    chat = Chat(key="a", prefix="The rules.", system="Be brief.", prompt="Hello", max_tokens=50)
    asked = sent(provider, chat, CacheUse.WRITE, charged=True)
    wider = widened(asked)

    assert longest_answer(wider) == 100
    assert orjson.loads(wider.replace(b":100", b":50")) == orjson.loads(asked)


@pytest.mark.parametrize("provider", [RESPONSES, COMPLETIONS], ids=["responses", "completions"])
@pytest.mark.parametrize("use", [CacheUse.NONE, CacheUse.WRITE])
def test_another_model_is_not_sent_what_it_may_not_take(provider: Provider, use: CacheUse) -> None:
    found = for_model(sent(provider, SHARED, use, charged=True), "m-2")

    assert b"prompt_cache_options" not in found
    assert b"prompt_cache_breakpoint" not in found
    parsed = orjson.loads(found)
    assert parsed["model"] == "m-2"
    assert b"The rules." in found
    assert b"Be brief." in found


def test_another_model_of_anthropic_is_sent_the_same_marks() -> None:
    asked = sent(ANTHROPIC, SHARED, CacheUse.WRITE, charged=True)
    assert orjson.loads(for_model(asked, "m-2")) == orjson.loads(asked) | {"model": "m-2"}
