"""What decides an answer is hashed, in one fixed form, and nothing else is.

The vectors below are golden: a change to one of them buys every answer of every user again, and is only made together
with a new version of the form.
"""

from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from offpeak.requests import Chat, Embedding, Image, Message, Moderation, Request
from offpeak.requests.fingerprint import SIZE, VERSION, Fingerprinter, differing
from offpeak.requests.values import NOT_HASHED

REALM = "openai:api.openai.com"
PIXEL = b"\x89PNG\r\n\x1a\n"


class Label(BaseModel):
    """What a ticket is about."""

    category: Literal["billing", "bug"]
    urgent: bool


def printer(**changed: Any) -> Fingerprinter:
    values: dict[str, Any] = {"realm": REALM, "endpoint": "/v1/responses", "model": "gpt-5-mini", "output": None}
    return Fingerprinter(**values | changed)


def print_of(request: Request, **changed: Any) -> str:
    return printer(**changed).of(request).hex()


GOLDEN: list[tuple[str, Request, dict[str, Any], str]] = [
    ("a prompt", Chat(key="a", prompt="Hello"), {}, "541f6291afe1a2718ee06ed57d17e70c6eadd39d"),
    (
        "a system text",
        Chat(key="a", system="Be brief.", prompt="Hello"),
        {},
        "62ff0d5f54d199829714868858e72d6bff735914",
    ),
    (
        "text beyond ASCII",
        Chat(key="a", prompt="Grüße \U0001f44b\u2028"),
        {},
        "1b83e675a06ee70b4738c947e6b47fc5179fa43b",
    ),
    ("an output schema", Chat(key="a", prompt="Hello"), {"output": Label}, "c66fc30cc3245b69a2b2b12d6be67fa6b6a9bab0"),
    (
        "a conversation",
        Chat(
            key="a",
            messages=(
                Message(role="user", content="Hello"),
                Message(role="assistant", content="Hi"),
                Message(role="user", content="Bye"),
            ),
        ),
        {},
        "3574e0470b585477ea1c2633e00676fd5628dfa9",
    ),
    (
        "every parameter",
        Chat(
            key="a",
            prompt="Hello",
            max_tokens=100,
            temperature=0.5,
            top_p=0.9,
            effort="low",
            stop=("END",),
            salt="1",
            scope="tenant-1",
        ),
        {},
        "b4c0e3f11bd32623b649cbd1ba21b3258b2166f3",
    ),
    (
        "an image by its bytes",
        Chat(key="a", prompt="What is it?", images=(Image(data=PIXEL),)),
        {},
        "c65d53a162b32af95c605f815c365dda8f7d2ec9",
    ),
    (
        "an image by its hash",
        Chat(key="a", prompt="What is it?", images=(Image(url="https://x.example/1?sig=2", content_hash="abc"),)),
        {},
        "301e9ca1b5f545a769e1af82f795bd574934f48c",
    ),
    (
        "an embedding",
        Embedding(key="a", text="Hello"),
        {"endpoint": "/v1/embeddings"},
        "28e41ed5452713fb95123e03ca8c30acaff539f0",
    ),
    (
        "a short embedding",
        Embedding(key="a", text="Hello", dimensions=256),
        {"endpoint": "/v1/embeddings"},
        "bdb77651bcd2095c7d98a77c4509a5c2d4f393df",
    ),
    (
        "a moderation",
        Moderation(key="a", text="Hello"),
        {"endpoint": "/v1/moderations"},
        "546ae646bbbc249d081a46da232274b90c08a72c",
    ),
    (
        "Anthropic",
        Chat(key="a", prompt="Hello"),
        {"realm": "anthropic:api.anthropic.com", "endpoint": "/v1/messages", "model": "claude-haiku-5-5"},
        "a5008dd082019d6553010cbc4bc7b9f79bd32fe4",
    ),
]


@pytest.mark.parametrize(("request_", "constant", "expected"), [row[1:] for row in GOLDEN], ids=[g[0] for g in GOLDEN])
def test_the_canonical_form_stands_still(request_: Request, constant: dict[str, Any], expected: str) -> None:
    assert VERSION == 1
    assert print_of(request_, **constant) == expected
    assert len(bytes.fromhex(expected)) == SIZE


def test_a_prompt_is_a_conversation_of_one_message() -> None:
    image = Image(data=PIXEL)
    whole = Chat(key="a", messages=[Message(role="user", content="Hello", images=[image])])

    assert print_of(whole) == print_of(Chat(key="a", prompt="Hello", images=[image]))


def test_an_image_is_known_by_its_hash_whatever_its_signed_url_is_tonight() -> None:
    def asking(url: str, content_hash: str = "abc") -> str:
        return print_of(Chat(key="a", prompt="?", images=[Image(url=url, content_hash=content_hash)]))

    assert asking("https://x.example/1?signature=monday") == asking("https://x.example/1?signature=tuesday")
    assert asking("https://x.example/1") != asking("https://x.example/1", "abd")


def test_an_image_by_url_without_a_hash_is_refused() -> None:
    with pytest.raises(ValueError, match="content_hash="):
        Image(url="https://x.example/1")


def test_an_image_is_bytes_or_a_url_and_not_both() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        Image()
    with pytest.raises(ValueError, match="exactly one"):
        Image(data=PIXEL, url="https://x.example/1", content_hash="abc")


CHAT = Chat(key="a", prompt="Hello")
OTHERS = {
    "prompt": "Hello!",
    "prefix": "Be brief.",
    "system": "Be brief.",
    "images": (Image(data=PIXEL),),
    "max_tokens": 100,
    "temperature": 0.0,
    "top_p": 1.0,
    "effort": "low",
    "stop": ("END",),
    "salt": "1",
    "scope": "tenant-1",
}


@pytest.mark.parametrize("field", sorted(OTHERS))
def test_every_field_that_decides_the_answer_is_hashed(field: str) -> None:
    assert print_of(msgspec.structs.replace(CHAT, **{field: OTHERS[field]})) != print_of(CHAT)


@pytest.mark.parametrize(
    "changed",
    [{"key": "b"}, {"user": "u"}, {"task": "t"}, {"metadata": (("run", "1"),)}],
    ids=lambda changed: next(iter(changed)),
)
def test_what_does_not_decide_the_answer_is_not_hashed(changed: dict[str, Any]) -> None:
    assert set(changed) <= NOT_HASHED
    assert print_of(msgspec.structs.replace(CHAT, **changed)) == print_of(CHAT)


def test_every_field_of_a_request_is_hashed_or_said_not_to_be() -> None:
    fields = {field.name for field in msgspec.structs.fields(Chat)}

    assert fields == NOT_HASHED | set(OTHERS) | {"messages"}


@pytest.mark.parametrize(
    "changed",
    [
        {"realm": "openai:127.0.0.1:8080"},
        {"endpoint": "/v1/chat/completions"},
        {"model": "gpt-5"},
        {"output": Label},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_realm_endpoint_model_and_output_are_hashed(changed: dict[str, Any]) -> None:
    assert print_of(CHAT, **changed) != print_of(CHAT)


def test_whole_and_decimal_parameters_of_equal_value_are_the_same_whatever_came_before() -> None:
    whole, decimal = Chat(key="a", prompt="Hello", temperature=1), Chat(key="a", prompt="Hello", temperature=1.0)
    one = printer()
    other = printer()

    assert [one.of(whole), one.of(decimal)] == [other.of(decimal), other.of(whole)]
    assert print_of(whole) == print_of(decimal)


ASKED_ALIKE = [
    (Chat(key="a", prefix="Be brief.", prompt="Hello"), Chat(key="a", system="Be brief.", prompt="Hello")),
    (
        Chat(key="a", prefix="Be brief.", system="Be kind.", prompt="Hello"),
        Chat(key="a", system="Be brief.\n\nBe kind.", prompt="Hello"),
    ),
    (Chat(key="a", prefix="Be brief.", system="", prompt="Hello"), Chat(key="a", system="Be brief.", prompt="Hello")),
]


@pytest.mark.parametrize(("one", "other"), ASKED_ALIKE)
def test_what_is_moved_from_the_system_text_to_the_prefix_is_not_bought_again(one: Chat, other: Chat) -> None:
    first, second = printer(), printer()

    assert first.of(one) == second.of(other)
    assert first.of(other) == first.of(one)
    assert first.components() == second.components()


def test_one_asset_tells_prefixes_apart() -> None:
    one = printer()
    chats = [Chat(key="a", prefix=text, system="Be kind.", prompt="Hello") for text in ("One.", "Two.", None)]

    assert [one.of(chat).hex() for chat in chats] == [print_of(chat) for chat in chats]
    assert len({one.of(chat) for chat in chats}) == 3
    assert one.components()["system"] == "several"


def test_a_text_beside_the_prefix_is_no_part_of_it() -> None:
    together = Chat(key="a", prefix="One.\n\nTwo.", prompt="Hello")
    apart = Chat(key="a", prefix="One.", system="Two.", prompt="Hello")

    assert print_of(together) == print_of(apart)
    assert print_of(apart) != print_of(Chat(key="a", prefix="Two.", system="One.", prompt="Hello"))


def test_an_embedding_and_a_moderation_of_one_text_are_not_one_request() -> None:
    prints = {
        print_of(Embedding(key="a", text="Hello"), endpoint="/v1/embeddings"),
        print_of(Embedding(key="a", text="Hello", dimensions=256), endpoint="/v1/embeddings"),
        print_of(Moderation(key="a", text="Hello"), endpoint="/v1/moderations"),
        print_of(Moderation(key="a", text="Hello", images=[Image(data=PIXEL)]), endpoint="/v1/moderations"),
    }

    assert len(prints) == 4


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ASKED = st.tuples(TEXTS, st.none() | TEXTS, st.none() | TEXTS, st.none() | TEXTS)


@given(st.lists(ASKED, min_size=2, max_size=6, unique=True))
def test_requests_that_differ_in_any_text_have_different_prints(asked: list[tuple[str, Any, Any, Any]]) -> None:
    one = printer()
    prints = {
        one.of(Chat(key="a", prompt=prompt, system=system, salt=salt, scope=scope))
        for prompt, system, salt, scope in asked
    }

    assert len(prints) == len(asked)


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), TEXTS), min_size=1, max_size=4), TEXTS)
def test_a_print_does_not_depend_on_what_was_printed_before(turns: list[tuple[Any, str]], system: str) -> None:
    messages = tuple(Message(role=role, content=content) for role, content in turns)
    request = Chat(key="a", system=system, messages=messages)
    busy = printer()
    for number in range(3):
        busy.of(Chat(key="b", system=system, prompt=f"another {number}"))
        busy.of(Chat(key="b", prompt=system))

    assert busy.of(request).hex() == print_of(request)


def test_a_system_text_per_row_does_not_grow_memory_with_rows() -> None:
    one = printer()
    for number in range(5000):
        one.of(Chat(key="a", system=f"Tenant {number}", prompt="Hello"))

    assert len(one._states) <= 1024
    assert one.of(CHAT).hex() == print_of(CHAT)


def test_the_component_that_differs_between_two_plans_is_named() -> None:
    def plan(*requests: Request, **constant: Any) -> dict[str, str]:
        one = printer(**constant)
        for request in requests:
            one.of(request)
        return one.components()

    plain = plan(Chat(key="a", system="S", prompt="1"), Chat(key="b", system="S", prompt="2"))

    assert differing(plain, plan(Chat(key="a", system="S", prompt="3"))) == []
    assert differing(plain, plan(Chat(key="a", system="T", prompt="1"))) == ["system"]
    assert differing(plain, plan(Chat(key="a", system="S", prompt="1", temperature=0.5))) == ["parameters"]
    assert differing(plain, plan(Chat(key="a", system="S", prompt="1"), model="gpt-5")) == ["model"]
    assert differing(plain, plan(Chat(key="a", system="S", prompt="1"), output=Label)) == ["output"]
    assert differing(plain, plan(Chat(key="a", system="S", prompt="1"), Chat(key="b", prompt="2"))) == ["system"]
