"""Answers for benchmarks: picked by hash, or echoed. Valid and deterministic, and nothing more."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from local_provider.asks import Ask
from local_provider.fields import Field, find
from local_provider.tokens import CHARACTERS_PER_TOKEN


class CheapWriter:
    """Values by a hash of what the user said."""

    def __init__(self, ask: Ask) -> None:
        self._text = ask.user.strip()
        self._seed = int.from_bytes(hashlib.blake2b(ask.user.encode(), digest_size=8).digest(), "big")

    def choice(self, _: Field, options: Sequence[Any]) -> Any:
        return options[self._seed % len(options)]

    def choices(self, _: Field, options: Sequence[Any]) -> list[Any]:
        return [options[self._seed % len(options)]]

    def text(self, _: Field) -> str:
        return self._text[:120]

    def texts(self, _: Field, count: int) -> list[str]:
        return [f"{self._text[:40]} {number}" for number in range(1, count + 1)]

    def look_up_text(self, _: Field) -> None:
        return None

    def look_up_number(self, _: Field) -> None:
        return None

    def find(self, pattern: str) -> str | None:
        return find(pattern, self._text)

    def fraction(self, _: Field) -> float:
        return (self._seed % 1000) / 999

    def truth(self, _: Field) -> bool:
        return self._seed % 2 == 0


def filled(text: str, tokens: int) -> str:
    """A text of so many tokens, said again and again."""
    wanted = tokens * CHARACTERS_PER_TOKEN
    return (f"{text or '.'} " * (wanted // (len(text) + 1) + 1))[:wanted]


def cheap_embeddings(texts: Sequence[str]) -> NDArray[np.float32]:
    """256 numbers a text, by hash."""
    raw = b"".join(hashlib.shake_128(text.encode()).digest(256) for text in texts)
    return np.frombuffer(raw, dtype=np.int8).reshape(len(texts), 256).astype(np.float32)
