"""Anthropic's prompt caching: a prompt is kept, and found again, up to each block with a `cache_control`."""

from collections.abc import Mapping, Sequence
from typing import Any

from local_provider.asks import Ask
from local_provider.prompt_cache import Place, PromptCache
from local_provider.prompts import Piece, ends_of, keys_of
from local_provider.replies import RequestRefused
from local_provider.tokens import NOT_CACHED, Cached, tokens_of

LIVES = {"5m": 300, "1h": 3_600}
"""Seconds."""
MOST_MARKS = 4
BLOCKS_LOOKED_AT = 20
"""From a marked block backwards: what another request kept up to one of them is found, too."""


def marks_of(params: Mapping[str, Any], prompt: Sequence[Piece]) -> dict[int, int]:
    """The seconds for which to keep the prompt up to each marked piece. Raises RequestRefused for wrong marks."""
    marks: dict[int, int] = {}
    for number, piece in enumerate(prompt):
        life = _life(piece.block.get("cache_control"))
        if life is not None:
            if piece.block.get("text") == "":
                raise RequestRefused("cache_control cannot be set for empty text blocks")
            marks[number] = life
    life, last = _life(params.get("cache_control")), len(prompt) - 1
    if life is not None and marks.setdefault(last, life) != life:
        raise RequestRefused("cache_control: its ttl is not the one that the last block is marked with")
    if len(marks) > MOST_MARKS:
        raise RequestRefused(
            f"A maximum of {MOST_MARKS} blocks with cache_control may be provided. Found {len(marks)}."
        )
    lives = list(marks.values())
    if lives != sorted(lives, reverse=True):
        raise RequestRefused("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block")
    return marks


def use(params: Mapping[str, Any], ask: Ask, cache: PromptCache) -> Cached:
    """What of the prompt was in the cache, and what is now. Raises RequestRefused for wrong marks."""
    marks, minimum = marks_of(params, ask.prompt), cache.settings.anthropic_cache_minimum_tokens
    if not marks or ask.input_tokens < minimum:
        return NOT_CACHED
    ends = ends_of(ask.prompt)
    near = {number for mark in marks for number in range(max(0, mark - BLOCKS_LOOKED_AT + 1), mark + 1)}
    numbers = [number for number in sorted(near) if tokens_of(ends[number]) >= minimum]
    keys = keys_of(ask.prompt, [ends[number] for number in numbers], "anthropic", ask.model)
    places = [Place(key, tokens_of(ends[number]), marks.get(number)) for key, number in zip(keys, numbers, strict=True)]
    return cache.use(places, params)


def _life(mark: Any) -> int | None:
    if mark is None:
        return None
    if not isinstance(mark, dict) or mark.get("type") != "ephemeral":
        raise RequestRefused("cache_control.type: Input should be 'ephemeral'")
    ttl = mark.get("ttl")
    if ttl is None:
        return LIVES["5m"]
    if not isinstance(ttl, str) or ttl not in LIVES:
        raise RequestRefused("cache_control.ttl: Input should be '5m' or '1h'")
    return LIVES[ttl]
