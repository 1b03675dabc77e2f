"""OpenAI's prompt caching: of each prompt that is long enough, whole blocks of tokens are kept and found again.

From gpt-5.6 on what is written is told, too, and requests can say how long it is to be kept and mark where. Of more
marks than one request can write, the latest are.
"""

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from local_provider.asks import Ask
from local_provider.prompt_cache import Place, PromptCache
from local_provider.prompts import Piece, ends_of, keys_of
from local_provider.replies import RequestRefused
from local_provider.tokens import CHARACTERS_PER_TOKEN, NOT_CACHED, Cached, tokens_of

BLOCK_TOKENS = 128
LIVES = {"30m": 1_800, "12h": 43_200}
"""Seconds."""
LIVES_OF_CHATS = {"30m": 1_800}
MOST_WRITES = 4
_WRITES_FROM = (5, 6)
_VERSION = re.compile(r"(?:ft:)?gpt-(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class Hints:
    """What a request says of caching."""

    key: str
    """Only requests with the same one share what is kept."""
    at_end: int | None
    """The seconds for which to keep the whole prompt; None: only what is marked."""
    marks: Mapping[int, int]
    """The same of each marked piece, by its number."""


@lru_cache(maxsize=256)
def writes(model: str) -> bool:
    """Whether a model tells, and charges for, what it writes to the cache."""
    found = _VERSION.match(model)
    return found is not None and (int(found[1]), int(found[2] or 0)) >= _WRITES_FROM


def hints_of(endpoint: str, body: Mapping[str, Any], prompt: Sequence[Piece]) -> Hints:
    """Raises RequestRefused for hints that the model does not take, or that are none."""
    key, options = body.get("prompt_cache_key"), body.get("prompt_cache_options")
    if key is not None and not isinstance(key, str):
        raise RequestRefused(
            "Invalid type for 'prompt_cache_key': expected a string.", param="prompt_cache_key", code="invalid_type"
        )
    given = {number: piece.block["prompt_cache_breakpoint"] for number, piece in enumerate(prompt)
             if piece.block.get("prompt_cache_breakpoint") is not None}  # fmt: skip
    if not writes(str(body.get("model"))):
        for name, hint in (("prompt_cache_options", options), ("prompt_cache_breakpoint", given or None)):
            if hint is not None:
                raise RequestRefused(
                    f"Unsupported parameter: '{name}' is not supported with this model.", param=name,
                    code="unsupported_parameter",
                )  # fmt: skip
        return Hints(key or "", LIVES["30m"], {})
    lives = LIVES if endpoint == "/v1/responses" else LIVES_OF_CHATS
    mode, life = _read("prompt_cache_options", options, ("implicit", "explicit"), lives, LIVES["30m"])
    marks = {
        number: _read("prompt_cache_breakpoint", mark, ("explicit",), lives, life)[1] for number, mark in given.items()
    }
    if any(mark.get("mode") is None for mark in given.values()):
        raise RequestRefused(
            "Missing required parameter: 'prompt_cache_breakpoint.mode'.", param="prompt_cache_breakpoint.mode",
            code="missing_required_parameter",
        )  # fmt: skip
    return Hints(key or "", life if mode == "implicit" else None, marks)


def use(endpoint: str, body: Mapping[str, Any], ask: Ask, cache: PromptCache) -> Cached:
    """What of the prompt was in the cache, and what is now. Raises RequestRefused for hints that cannot be."""
    hints, minimum = hints_of(endpoint, body, ask.prompt), cache.settings.openai_cache_minimum_tokens
    if ask.input_tokens < minimum or (hints.at_end is None and not hints.marks):
        return NOT_CACHED
    lives = _places(ask, hints, minimum)
    ends = sorted(lives)
    keys = keys_of(ask.prompt, ends, "openai", ask.model, hints.key)
    used = cache.use([Place(key, tokens_of(end), lives[end]) for key, end in zip(keys, ends, strict=True)], body)
    return used if writes(ask.model) else Cached(used.read)


def _places(ask: Ask, hints: Hints, minimum: int) -> dict[int, int | None]:
    """Where to look, in characters, and the seconds for which to keep each; None where it is not kept."""
    ends = ends_of(ask.prompt)
    marked = {ends[number]: life for number, life in hints.marks.items() if tokens_of(ends[number]) >= minimum}
    kept = sorted(marked)[-(MOST_WRITES if hints.at_end is None else MOST_WRITES - 1) :]
    places: dict[int, int | None] = {}
    if hints.at_end is not None:
        first = max(1, -(-minimum // BLOCK_TOKENS)) * BLOCK_TOKENS
        for tokens in range(first, ask.input_tokens + 1, BLOCK_TOKENS):
            end = min(tokens * CHARACTERS_PER_TOKEN, ends[-1])
            next_mark = bisect_left(kept, end)
            places[end] = marked[kept[next_mark]] if next_mark < len(kept) else hints.at_end
    return places | {end: life if end in kept else places.get(end) for end, life in marked.items()}


def _read(name: str, hint: Any, modes: tuple[str, ...], lives: Mapping[str, int], life: int) -> tuple[str, int]:
    """The mode of a hint, by default the first, and its life in seconds, by default the one given."""
    if hint is None:
        return modes[0], life
    if not isinstance(hint, dict):
        raise RequestRefused(f"Invalid type for '{name}': expected an object.", param=name, code="invalid_type")
    mode, ttl = hint.get("mode") or modes[0], hint.get("ttl")
    for part, value, known in (("mode", mode, modes), ("ttl", ttl, (None, *lives))):
        if value not in known:
            named = ", ".join(f"'{each}'" for each in known if each)
            raise RequestRefused(
                f"Invalid value: {value!r}. Supported values are: {named}.", param=f"{name}.{part}",
                code="invalid_value",
            )  # fmt: skip
    return mode, life if ttl is None else lives[ttl]
