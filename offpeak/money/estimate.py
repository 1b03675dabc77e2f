"""What a plan will cost, before anything is bought: plain rules, stated as rules.

An estimate is for deciding whether to go on. The bill is made from the usage that providers report, never from here.
Where an asset has bought before, its own past says how many tokens a request comes to; where it has not, length does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import fmean

from offpeak.providers.base import Usage

BYTES_PER_TOKEN = 4
"""English text takes about four characters a token (OpenAI, "What are tokens and how to count them?", help center).
Counted in UTF-8 bytes, other scripts come out nearer the truth than counted in characters."""

OUTPUT_SHARE = 4
FEWEST_OUTPUT_TOKENS = 64
MOST_OUTPUT_TOKENS = 1_024
"""The rule where an asset has no past: a quarter of the input, within these bounds. Batch work mostly condenses
(labels, grades, digests), so this sooner says too much than too little; a reasoning model may think for longer. After
the first job the measured tokens take its place."""

ENOUGH_INPUTS = 3
ENOUGH_OUTPUTS = 8
"""Past requests; fewer say what a request takes on average, and not how that depends on its length. Input is counted by
a rule, and answers are as long as a model makes them, so it takes more of those."""

ENOUGH_SPREAD = 0.02
"""Of the lengths, as their standard deviation over their mean; where they differ less, their slope would be noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """How many tokens a request takes: some whatever its length, and some for each byte of it."""

    fixed: float
    per_byte: float

    def total(self, requests: int, size: int) -> int:
        """Of so many requests of together `size` bytes."""
        return max(ceil(round(self.fixed * requests + self.per_byte * size, 6)), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What requests of an asset took that were bought before, every attempt included."""

    requests: int
    """How many of them were looked at."""
    input: Trend
    output: Trend
    cached_share: float = 0.0
    """Of the input tokens, read from the provider's cache."""
    written_share: float = 0.0
    """Of the input tokens, written to it."""
    written_long_share: float = 0.0
    """Of the input tokens, written to it with the long time to live; a part of `written_share`."""


def trend(sizes: Sequence[int], tokens: Sequence[int], *, grows: bool) -> Trend:
    """The straight line through past requests (least squares); at least one is needed.

    Where they are too few, or too much of one length, tokens are taken to grow with the length if `grows`, as input
    does, else to be the same for each. A line that falls, or that begins below nothing, is not believed either.
    """
    size, mean = fmean(sizes), fmean(tokens)
    plain = Trend(fixed=0.0, per_byte=mean / size) if grows and size else Trend(fixed=mean, per_byte=0.0)
    spread = fmean([(each - size) ** 2 for each in sizes])
    if len(sizes) < (ENOUGH_INPUTS if grows else ENOUGH_OUTPUTS) or spread <= (ENOUGH_SPREAD * size) ** 2:
        return plain
    together = fmean([(x - size) * (y - mean) for x, y in zip(sizes, tokens, strict=True)])
    slope = together / spread
    if slope <= 0:
        return Trend(fixed=mean, per_byte=0.0)
    fixed = mean - slope * size
    return Trend(fixed=fixed, per_byte=slope) if fixed >= 0 else Trend(fixed=0.0, per_byte=mean / size)


def estimate_tokens(body: bytes) -> int:
    """About how many tokens a request body is; images in base64 are overstated."""
    return _tokens(len(body))


def estimate_usage(requests: int, input_bytes: int, past: Past | None, *, answers: bool = True) -> Usage:
    """About what `requests` requests of together `input_bytes` bytes will use, in total.

    Without a `past` the rules above apply; `answers` is False for embeddings and moderations, which have no output
    tokens. Price the result with `ModelRates.cost_of_many(usage, answers=requests)`: the total of many requests is no
    long context.
    """
    if requests == 0:
        return Usage()
    if past is not None:
        tokens = past.input.total(requests, input_bytes)
        return Usage(
            input_tokens=tokens,
            output_tokens=past.output.total(requests, input_bytes),
            cache_read_tokens=int(tokens * past.cached_share),
            cache_write_tokens=int(tokens * past.written_share),
            cache_write_1h_tokens=int(tokens * past.written_long_share),
        )
    tokens = _tokens(input_bytes)
    mean = min(max(tokens / requests / OUTPUT_SHARE, FEWEST_OUTPUT_TOKENS), MOST_OUTPUT_TOKENS) if answers else 0
    return Usage(input_tokens=tokens, output_tokens=ceil(mean * requests))


def _tokens(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)
