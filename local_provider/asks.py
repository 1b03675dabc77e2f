"""One question, as a chat completion, a response or a message states it: the same value for all three."""

from dataclasses import dataclass
from typing import Any

import orjson

from local_provider.pictures import look
from local_provider.replies import RequestRefused
from local_provider.tokens import IMAGE_TOKENS, tokens_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is asked. `user` is the last thing the user says; earlier turns only cost tokens."""

    model: str
    system: str
    user: str
    schema: dict[str, Any] | None = None
    json_object: bool = False
    """JSON is asked for, without a schema."""
    max_tokens: int | None = None
    input_tokens: int = 0
    seen: tuple[str, ...] = ()
    """What the pictures look like."""


def ask_of(
    *, model: str, instructions: str, messages: list[Any], schema: dict[str, Any] | None, json_object: bool = False,
    max_tokens: int | None,
) -> Ask:  # fmt: skip
    """Read a conversation. Raises RequestRefused for what is not one."""
    system, turns, characters = [instructions] if instructions else [], [], 0
    seen: list[str] = []
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            raise RequestRefused(f"Invalid type for 'messages[{number}]': expected an object.", param="messages")
        text, pictures = _content(message.get("content"), number)
        seen += pictures
        if message.get("role") in {"system", "developer"}:
            system.append(text)
        else:
            characters += len(text)
            if message.get("role") == "user":
                turns.append(text)
    if not turns:
        raise RequestRefused("At least one user message is required.", param="messages")
    asked = "\n\n".join(system)
    characters += len(asked) + (len(orjson.dumps(schema)) if schema else 0)
    return Ask(
        model=model,
        system=asked,
        user=turns[-1],
        schema=schema,
        json_object=json_object,
        max_tokens=max_tokens,
        input_tokens=max(1, tokens_of(characters) + len(seen) * IMAGE_TOKENS),
        seen=tuple(seen),
    )


def _content(content: Any, number: int) -> tuple[str, list[str]]:
    """The text of a message, and what its images look like."""
    if isinstance(content, str):
        return content, []
    if not isinstance(content, list):
        raise RequestRefused(f"Invalid value for 'messages[{number}].content'.", param=f"messages[{number}].content")
    texts: list[str] = []
    images: list[str] = []
    for block in content:
        if not isinstance(block, dict):
            raise RequestRefused(f"Invalid content block in 'messages[{number}]'.", param="messages")
        if isinstance(block.get("text"), str):
            texts.append(block["text"])
        elif "image" in str(block.get("type", "")):
            images.append(look(block))
    return "\n\n".join(texts), images


def token_limit(body: dict[str, Any], *names: str) -> int | None:
    """The first of the named limits that is given. Raises RequestRefused unless it is a whole number from 1."""
    for name in names:
        limit = body.get(name)
        if limit is not None:
            if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
                raise RequestRefused(f"Invalid '{name}': expected an integer of at least 1.", param=name)
            return limit
    return None
