"""A prompt as a model reads it, in its order, and what identifies its beginnings.

The schema of the answer comes first, as OpenAI says of its own; then what the system says, then the messages.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from local_provider.replies import without_hints
from local_provider.tokens import CHARACTERS_PER_TOKEN, IMAGE_TOKENS

NO_BLOCK: Mapping[str, Any] = MappingProxyType({})


class Piece(NamedTuple):
    """A part of a prompt: one content block, or a whole text that was given as a string."""

    text: str
    """With what joins it to the one before, so that all of them together are as long as the prompt."""
    role: str = ""
    """Whose words begin here; "" where the same message goes on."""
    block: Mapping[str, Any] = NO_BLOCK
    """The block as it was sent."""


def picture(block: dict[str, Any], role: str) -> Piece:
    """A picture: characters that stand for it alone, as many as its tokens come to."""
    named = hashlib.blake2b(orjson.dumps(without_hints(block)), digest_size=16).hexdigest()
    return Piece(named * (IMAGE_TOKENS * CHARACTERS_PER_TOKEN // len(named)), role, block)


def ends_of(prompt: Iterable[Piece]) -> list[int]:
    """Where each piece ends, in characters from the beginning."""
    return list(accumulate(len(piece.text) for piece in prompt))


def keys_of(prompt: Iterable[Piece], ends: Sequence[int], *scope: str) -> list[bytes]:
    """What identifies the prompt up to each of these ends, which ascend: equal for equal words of the same roles.

    `scope` is what has to be the same besides, such as the model.
    """
    read = hashlib.blake2b(orjson.dumps(scope), digest_size=16)
    keys: list[bytes] = []
    before = 0
    for piece in prompt:
        if piece.role:
            read.update(b"\0" + piece.role.encode() + b"\0")
        taken = 0
        while len(keys) < len(ends) and ends[len(keys)] <= before + len(piece.text):
            upto = ends[len(keys)] - before
            read.update(piece.text[taken:upto].encode())
            taken = upto
            keys.append(read.digest())
        if len(keys) == len(ends):
            break
        read.update(piece.text[taken:].encode())
        before += len(piece.text)
    return keys
