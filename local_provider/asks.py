"""One question, as a chat completion, a response or a message states it: the same value for all three."""

from dataclasses import dataclass
from typing import Any

import orjson

from local_provider.pictures import look
from local_provider.prompts import Piece, picture
from local_provider.replies import RequestRefused
from local_provider.tokens import tokens_of


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
    prompt: tuple[Piece, ...] = ()
    """All that the model reads."""
    seen: tuple[str, ...] = ()
    """What the pictures look like."""


def ask_of(
    *, model: str, instructions: str | list[Any], messages: list[Any], schema: dict[str, Any] | None,
    json_object: bool = False, max_tokens: int | None,
) -> Ask:  # fmt: skip
    """Read a conversation; `instructions` are a text, or blocks of it. Raises RequestRefused for what is not one."""
    reading = _Reading()
    if schema:
        reading.prompt.append(Piece(orjson.dumps(schema).decode("latin-1"), "schema"))  # a character a byte
    if instructions:
        reading.add("system", instructions, "instructions")
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            raise RequestRefused(f"Invalid type for 'messages[{number}]': expected an object.", param="messages")
        reading.add(message.get("role"), message.get("content"), f"messages[{number}]")
    if not reading.turns:
        raise RequestRefused("At least one user message is required.", param="messages")
    return Ask(
        model=model,
        system="\n\n".join(reading.system),
        user=reading.turns[-1],
        schema=schema,
        json_object=json_object,
        max_tokens=max_tokens,
        input_tokens=max(1, tokens_of(sum(len(piece.text) for piece in reading.prompt))),
        prompt=tuple(reading.prompt),
        seen=tuple(reading.seen),
    )


class _Reading:
    """A conversation as far as it was read."""

    def __init__(self) -> None:
        self.prompt: list[Piece] = []
        self.system: list[str] = []
        self.turns: list[str] = []
        self.seen: list[str] = []

    def add(self, role: Any, content: Any, where: str) -> None:
        """Read one message. Raises RequestRefused for a content that is none."""
        told = self.turns if role == "user" else None
        if role in {"system", "developer"}:
            role, told = "system", self.system
        if role == "system" and self.system:
            self.prompt.append(Piece("\n\n"))
        text = self._read(str(role), content, where)
        if told is not None:
            told.append(text)

    def _read(self, role: str, content: Any, where: str) -> str:
        """The text of a message; its pieces are added to the prompt."""
        if isinstance(content, str):
            self.prompt.append(Piece(content, role))
            return content
        if not isinstance(content, list):
            raise RequestRefused(f"Invalid value for '{where}.content'.", param=f"{where}.content")
        texts: list[str] = []
        for block in content:
            if not isinstance(block, dict):
                raise RequestRefused(f"Invalid content block in '{where}'.", param=where.partition("[")[0])
            if isinstance(block.get("text"), str):
                self.prompt.append(Piece(("\n\n" if texts else "") + block["text"], role, block))
                texts.append(block["text"])
            elif "image" in str(block.get("type", "")):
                self.prompt.append(picture(block, role))
                self.seen.append(look(block))
            else:
                self.prompt.append(Piece("", role, block))
            role = ""
        return "\n\n".join(texts)


def token_limit(body: dict[str, Any], *names: str) -> int | None:
    """The first of the named limits that is given. Raises RequestRefused unless it is a whole number from 1."""
    for name in names:
        limit = body.get(name)
        if limit is not None:
            if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
                raise RequestRefused(f"Invalid '{name}': expected an integer of at least 1.", param=name)
            return limit
    return None
