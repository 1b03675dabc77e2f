"""A row that cannot be one is refused with the asset, the row and what to do."""

import math
from typing import Any

import pytest

from offpeak.errors import InvalidRequest
from offpeak.requests import Chat, Embedding, Message
from offpeak.requests.keys import check_request, plainly_in_order
from offpeak.requests.values import MAX_KEY_LENGTH


def refusal(request: object) -> str:
    with pytest.raises(InvalidRequest) as refused:
        check_request(request, asset="support/labels", position=41)
    return str(refused.value)


BAD_KEYS: list[tuple[Any, str, str]] = [
    (None, "null", "leave the row out"),
    (math.nan, "null", "leave the row out"),
    ("", "empty", "Give every row a key"),
    (" \t\u00a0", "empty", "Give every row a key"),
    ("k" * (MAX_KEY_LENGTH + 1), f"{MAX_KEY_LENGTH + 1} characters", "identifier"),
    (7, "type int", "key=str("),
    (7.0, "type float", "key=str("),
    (b"T1", "type bytes", "key=str("),
    ("T\x001", "NUL", "Take it out"),
]


@pytest.mark.parametrize(("key", "problem", "remedy"), BAD_KEYS)
def test_a_bad_key_is_refused_naming_asset_row_and_remedy(key: Any, problem: str, remedy: str) -> None:
    said = refusal(Embedding(key=key, text="Hello"))

    assert said.startswith("support/labels: row 41 ")
    assert "Nothing was submitted." in said
    assert problem in said
    assert remedy in said
    assert len(said) < 300


@pytest.mark.parametrize("key", ["a", " a ", "k" * MAX_KEY_LENGTH, "Grüße/\U0001f44b", "a\nb"])
def test_any_other_text_is_a_key(key: str) -> None:
    check_request(Embedding(key=key, text="Hello"), asset="labels", position=0)


def test_what_is_no_request_is_refused_by_its_type() -> None:
    said = refusal({"key": "T1", "prompt": "Hello"})

    assert said.startswith("support/labels: row 41 of the plan is a dict, not a request.")
    assert "Yield Chat, Embedding or Moderation." in said


@pytest.mark.parametrize(
    "request_",
    [Chat(key="T1"), Chat(key="T1", prompt="Hello", messages=[Message(role="user", content="Hello")])],
    ids=["neither", "both"],
)
def test_a_chat_needs_a_prompt_or_messages_and_not_both(request_: Chat) -> None:
    said = refusal(request_)

    assert said.startswith("support/labels: row 'T1' needs either prompt= or messages=")


@pytest.mark.parametrize(
    ("prefix", "problem"), [("", "is empty"), (math.nan, "nan of type float"), (["Be brief."], "of type list")]
)
def test_a_prefix_that_is_no_text_is_refused(prefix: Any, problem: str) -> None:
    said = refusal(Chat(key="T1", prompt="Hello", prefix=prefix))

    assert said.startswith("support/labels: row 'T1' has a prefix that is ")
    assert problem in said
    assert "Nothing was submitted." in said


def test_a_block_with_a_prefix_is_looked_at_row_by_row() -> None:
    plain = Chat(key="T1", prompt="Hello")

    assert plainly_in_order([plain, plain], Chat)
    assert not plainly_in_order([plain, Chat(key="T2", prompt="Hello", prefix="")], Chat)
