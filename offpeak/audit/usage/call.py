"""One call to a model as every log tells it, and what the lines say that are none."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Record = Mapping[str, Any]
"""A line of a log as it was written: names and values."""


class BadLine(ValueError):
    """A line cannot be read; the message says why. It is counted and skipped."""


class Call(NamedTuple):
    """One call. A named tuple, because a log has millions of them and a dataclass takes four times as long to make."""

    start: int
    """Milliseconds since the epoch."""
    duration: int | None
    """Milliseconds; None where the log does not say."""
    job: str
    """The label that groups, ids folded."""
    model: str
    """As logged; provider/model where the log tells the provider."""
    input: int
    """Tokens, with those read from and written to a cache."""
    cache_read: int
    cache_write: int
    output: int
    batch: bool
    """On a batch or flex tier."""


Reader = Callable[[Record], Call | None]
"""Reads a line; None where it is no call that was bought. Raises BadLine."""


def call_of(
    *,
    start: int,
    duration: int | None,
    job: str,
    provider: str,
    model: str,
    input_tokens: int,
    cache_read: int,
    cache_write: int,
    output: int,
    batch: bool,
    cache_apart: bool = False,
) -> Call:
    """A call of what a line says. `cache_apart`: its input does not count cached tokens, as Anthropic reports it."""
    cached = cache_read + cache_write
    # More cached than there was input: whatever the format promises, this line counts them apart.
    if cached and (cache_apart or cached > input_tokens):
        input_tokens += cached
    if not model:
        raise BadLine("it names no model")
    named = model if not provider or model.startswith(f"{provider}/") else f"{provider}/{model}"
    return Call(start, duration, job, named, input_tokens, cache_read, cache_write, output, batch)
