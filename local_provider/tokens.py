"""A plain estimate of tokens: four characters each, as both vendors' guides put it for English text."""

from typing import NamedTuple

CHARACTERS_PER_TOKEN = 4
IMAGE_TOKENS = 800
"""One image, whatever its size; of the order of what the providers count for a picture of a megapixel."""


class Demand(NamedTuple):
    """The tokens that a request asks for, before it is answered."""

    input_tokens: int
    most_output_tokens: int


class Cached(NamedTuple):
    """The part of a prompt's tokens that the cache had to do with; the rest of them was only read."""

    read: int = 0
    """Found in the cache."""
    written: int = 0
    """Put into it."""
    written_long: int = 0
    """Of these, to be kept for an hour or longer."""


NOT_CACHED = Cached()


def tokens_of(characters: int) -> int:
    return -(-characters // CHARACTERS_PER_TOKEN)


def cut(text: str, max_tokens: int | None) -> tuple[str, bool]:
    """The text within `max_tokens`, and whether it had to be cut."""
    if max_tokens is None or tokens_of(len(text)) <= max_tokens:
        return text, False
    return text[: max_tokens * CHARACTERS_PER_TOKEN], True
