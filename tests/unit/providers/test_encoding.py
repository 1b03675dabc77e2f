"""The exact bytes that each provider is sent, and the requests that are refused before anything is."""

import math
from typing import Any, Literal

import orjson
import pytest
from pydantic import BaseModel

from offpeak.errors import ConfigurationError, DefinitionError, InvalidRequest
from offpeak.providers import open_provider
from offpeak.providers.base import Kind, Provider
from offpeak.providers.wire import DEFAULT_MAX_TOKENS
from offpeak.requests import Chat, Embedding, Image, Message, Moderation, Request


class Label(BaseModel):
    urgent: bool
    kind: Literal["bug", "other"]


OPENAI = open_provider("openai", api_key="k")
GATEWAY = open_provider("openai", api_key="k", chat_endpoint="chat.completions")
ANTHROPIC = open_provider("anthropic", api_key="k")
PIXEL = Image(data=b"\x89PNG", media_type="image/png")

STRICT_LABEL = (
    b'{"properties":{"urgent":{"type":"boolean"},"kind":{"enum":["bug","other"],"type":"string"}},'
    b'"type":"object","required":["urgent","kind"],"additionalProperties":false}'
)


def encoded(
    provider: Provider, request: Request, *, kind: Kind = Kind.CHAT, output: type[BaseModel] | None = None
) -> bytes:
    return provider.encoder(kind=kind, model="m-1", output=output)(request)


def body(provider: Provider, request: Request, **more: Any) -> dict[str, Any]:
    parsed: dict[str, Any] = orjson.loads(encoded(provider, request, **more))
    return parsed


def test_a_simple_chat_for_responses() -> None:
    chat = Chat(key="a", system="Label it.", prompt="It crashed. ümläut")
    assert encoded(OPENAI, chat, output=Label) == (
        b'{"model":"m-1","store":false,"text":{"format":{"type":"json_schema","name":"Label","strict":true,"schema":'
        + STRICT_LABEL
        + '}},"instructions":"Label it.","input":"It crashed. ümläut"}'.encode()
    )


def test_a_simple_chat_for_chat_completions() -> None:
    chat = Chat(key="a", system="Label it.", prompt="It crashed.")
    assert encoded(GATEWAY, chat, output=Label) == (
        b'{"model":"m-1","response_format":{"type":"json_schema","json_schema":{"name":"Label","strict":true,"schema":'
        + STRICT_LABEL
        + b'}},"messages":[{"role":"system","content":"Label it."},{"role":"user","content":"It crashed."}]}'
    )


def test_a_simple_chat_for_anthropic() -> None:
    chat = Chat(key="a", system="Label it.", prompt="It crashed.")
    assert encoded(ANTHROPIC, chat, output=Label) == (
        b'{"model":"m-1","output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":'
        b'{"urgent":{"type":"boolean"},"kind":{"enum":["bug","other"]}},"additionalProperties":false,'
        b'"required":["urgent","kind"]}}},"max_tokens":1024,"system":"Label it.",'
        b'"messages":[{"role":"user","content":"It crashed."}]}'
    )


def test_every_parameter_for_responses() -> None:
    chat = Chat(
        key="a", prompt="p", max_tokens=50, temperature=0.2, top_p=0.9, effort="low", user="u", salt="1", scope="t",
        metadata=(("k", "v"),),
    )  # fmt: skip
    assert body(OPENAI, chat) == {
        "model": "m-1",
        "store": False,
        "input": "p",
        "max_output_tokens": 50,
        "temperature": 0.2,
        "top_p": 0.9,
        "reasoning": {"effort": "low"},
        "safety_identifier": "u",
    }


def test_every_parameter_for_chat_completions() -> None:
    chat = Chat(key="a", prompt="p", max_tokens=50, temperature=0.2, top_p=0.9, effort="default", stop=("X",), user="u")
    assert body(GATEWAY, chat) == {
        "model": "m-1",
        "messages": [{"role": "user", "content": "p"}],
        "max_completion_tokens": 50,
        "temperature": 0.2,
        "top_p": 0.9,
        "reasoning_effort": "default",
        "stop": ["X"],
        "user": "u",
    }


def test_every_parameter_for_anthropic_keeps_the_schema_beside_the_effort() -> None:
    chat = Chat(key="a", prompt="p", max_tokens=50, effort="high", stop=("X",), user="u")
    sent = body(ANTHROPIC, chat, output=Label)
    assert sent["output_config"]["effort"] == "high"
    assert sent["output_config"]["format"]["type"] == "json_schema"
    assert {name: sent[name] for name in ("max_tokens", "stop_sequences", "metadata")} == {
        "max_tokens": 50,
        "stop_sequences": ["X"],
        "metadata": {"user_id": "u"},
    }


def test_anthropic_is_given_the_default_max_tokens() -> None:
    assert body(ANTHROPIC, Chat(key="a", prompt="p"))["max_tokens"] == DEFAULT_MAX_TOKENS


def test_images_and_turns_in_each_form() -> None:
    turns = [Message(role="user", content="What?", images=[PIXEL]), Message(role="assistant", content="A cat.")]
    chat = Chat(key="a", messages=turns)
    data = "data:image/png;base64,iVBORw=="
    assert body(OPENAI, chat)["input"] == [
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": data}],
        },
        {"role": "assistant", "content": "A cat."},
    ]
    assert body(GATEWAY, chat)["messages"][0]["content"] == [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": data}},
    ]
    assert body(ANTHROPIC, chat)["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}},
        {"type": "text", "text": "What?"},
    ]


def test_an_image_by_url_is_sent_as_that_url() -> None:
    chat = Chat(key="a", prompt="p", images=[Image(url="https://x.test/a.png", content_hash="1")])
    source = body(ANTHROPIC, chat)["messages"][0]["content"][0]["source"]
    assert source == {"type": "url", "url": "https://x.test/a.png"}
    assert body(OPENAI, chat)["input"][0]["content"][1]["image_url"] == "https://x.test/a.png"


def test_embeddings_ask_for_base64() -> None:
    request = Embedding(key="a", text="t", dimensions=256)
    assert encoded(OPENAI, request, kind=Kind.EMBEDDING) == (
        b'{"model":"m-1","encoding_format":"base64","input":"t","dimensions":256}'
    )


def test_moderations_with_and_without_images() -> None:
    assert encoded(OPENAI, Moderation(key="a", text="t"), kind=Kind.MODERATION) == b'{"model":"m-1","input":"t"}'
    parts = body(OPENAI, Moderation(key="a", text="t", images=[PIXEL]), kind=Kind.MODERATION)["input"]
    assert [part["type"] for part in parts] == ["text", "image_url"]


@pytest.mark.parametrize("kind", [Kind.EMBEDDING, Kind.MODERATION])
def test_anthropic_says_that_it_has_no_embeddings_and_no_moderation(kind: Kind) -> None:
    with pytest.raises(ConfigurationError, match=f"Anthropic has no {kind} endpoint"):
        ANTHROPIC.endpoint(kind)
    with pytest.raises(ConfigurationError, match=f"Anthropic has no {kind} endpoint"):
        ANTHROPIC.encoder(kind=kind, model="m", output=None)


def test_an_output_schema_for_an_embedding_is_refused() -> None:
    with pytest.raises(DefinitionError, match="output=Label"):
        OPENAI.encoder(kind=Kind.EMBEDDING, model="m", output=Label)


def test_the_endpoints() -> None:
    assert OPENAI.endpoint(Kind.CHAT) == "/v1/responses"
    assert GATEWAY.endpoint(Kind.CHAT) == "/v1/chat/completions"
    assert OPENAI.endpoint(Kind.EMBEDDING) == "/v1/embeddings"
    assert OPENAI.endpoint(Kind.MODERATION) == "/v1/moderations"
    assert ANTHROPIC.endpoint(Kind.CHAT) == "/v1/messages"


CUSTOM_ID = "abcdefgh" * 7


def spool(provider: Provider, kind: Kind, bodies: list[bytes]) -> bytes:
    lines = [provider.line(kind=kind, custom_id=f"{CUSTOM_ID}{n}", body=body) for n, body in enumerate(bodies)]
    return provider.spooling.head + provider.spooling.separator.join(lines) + provider.spooling.tail


def test_an_openai_spool_is_one_json_object_a_line() -> None:
    assert spool(OPENAI, Kind.EMBEDDING, [b'{"a":1}', b'{"b":2}']) == (
        b'{"custom_id":"%s0","method":"POST","url":"/v1/embeddings","body":{"a":1}}\n'
        b'{"custom_id":"%s1","method":"POST","url":"/v1/embeddings","body":{"b":2}}\n'
    ) % (CUSTOM_ID.encode(), CUSTOM_ID.encode())


def test_an_anthropic_spool_is_the_body_of_the_create() -> None:
    assert orjson.loads(spool(ANTHROPIC, Kind.CHAT, [b'{"a":1}', b'{"b":2}'])) == {
        "requests": [
            {"custom_id": CUSTOM_ID + "0", "params": {"a": 1}},
            {"custom_id": CUSTOM_ID + "1", "params": {"b": 2}},
        ]
    }


ALL = pytest.mark.parametrize("provider", [OPENAI, GATEWAY, ANTHROPIC], ids=["responses", "completions", "anthropic"])


@ALL
@pytest.mark.parametrize(
    ("chat", "field"),
    [
        (Chat(key="row-7"), "prompt"),
        (Chat(key="row-7", prompt=math.nan), "prompt"),  # type: ignore[arg-type]
        (Chat(key="row-7", prompt="p", system=math.nan), "system"),  # type: ignore[arg-type]
        (Chat(key="row-7", prompt="p", messages=[Message(role="user", content="c")]), "prompt"),
        (Chat(key="row-7", messages=[Message(role="user", content="c")], images=[PIXEL]), "images"),
        (Chat(key="row-7", messages=[Message(role="assistant", content="c", images=[PIXEL])]), r"messages\[0\]"),
        (Chat(key="row-7", messages=[Message(role="user", content=None)]), r"messages\[0\]"),  # type: ignore[arg-type]
        (Chat(key="row-7", prompt="p", max_tokens=0), "max_tokens"),
        (Chat(key="row-7", prompt="half a pair: \ud83d"), "JSON"),
    ],
)
def test_a_chat_that_cannot_be_sent_is_refused_naming_its_key_and_field(
    provider: Provider, chat: Chat, field: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"'row-7'.*{field}.*Nothing was submitted"):
        encoded(provider, chat)


@pytest.mark.parametrize(
    ("provider", "chat", "field"),
    [
        (OPENAI, Chat(key="k7", prompt="p", stop=("X",)), "stop"),
        (OPENAI, Chat(key="k7", prompt="p", effort="enormous"), "effort"),
        (GATEWAY, Chat(key="k7", prompt="p", stop=tuple("ABCDE")), "stop"),
        (ANTHROPIC, Chat(key="k7", prompt="p", temperature=0.0), "temperature"),
        (ANTHROPIC, Chat(key="k7", prompt="p", top_p=0.5), "top_p"),
        (ANTHROPIC, Chat(key="k7", prompt="p", effort="minimal"), "effort"),
        (ANTHROPIC, Chat(key="k7", prompt=""), "text"),
    ],
)
def test_what_one_provider_does_not_take_is_refused_there(provider: Provider, chat: Chat, field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"'k7'.*{field}"):
        encoded(provider, chat)


def test_an_empty_text_has_no_embedding() -> None:
    with pytest.raises(InvalidRequest, match=r"'e1'.*text is empty"):
        encoded(OPENAI, Embedding(key="e1", text=""), kind=Kind.EMBEDDING)


@ALL
def test_a_request_of_another_kind_is_refused(provider: Provider) -> None:
    with pytest.raises(InvalidRequest, match="'e1' is of type Embedding, among Chat requests"):
        encoded(provider, Embedding(key="e1", text="t"))


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_a_request_over_the_limit_is_refused_naming_its_key_and_size(name: str) -> None:
    provider = open_provider(name, api_key="k", max_request_bytes=1_000)
    encode = provider.encoder(kind=Kind.CHAT, model="m", output=None)
    encode(Chat(key="short", prompt="x" * 500))
    with pytest.raises(InvalidRequest, match=r"'long'.*1,\d\d\d bytes, more than the 1,000"):
        encode(Chat(key="long", prompt="x" * 1_000))


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_a_request_at_the_limit_fits_a_file_alone(name: str) -> None:
    provider = open_provider(name, api_key="k", max_bytes=2_000)
    line = provider.line(kind=Kind.CHAT, custom_id=CUSTOM_ID, body=b"x" * provider.limits.max_request_bytes)
    assert len(provider.spooling.head + line + provider.spooling.tail) <= provider.limits.max_bytes
