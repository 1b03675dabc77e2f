"""What a plan will cost, before anything is bought: plain rules, stated as rules.

An estimate is for deciding whether to go on. The bill is made from the usage that providers report, never from here.
"""

from math import ceil

from offpeak.providers.base import Usage

BYTES_PER_TOKEN = 4
"""English text takes about four characters a token (OpenAI, "What are tokens and how to count them?", help center).
Counted in UTF-8 bytes, other scripts come out nearer the truth than counted in characters."""

OUTPUT_SHARE = 4
FEWEST_OUTPUT_TOKENS = 64
MOST_OUTPUT_TOKENS = 1_024
"""The rule where an asset has no past: a quarter of the input, within these bounds. Batch work mostly condenses
(labels, grades, digests), so this sooner says too much than too little; a reasoning model may think for longer. After
the first job the measured mean takes its place."""


def estimate_tokens(body: bytes) -> int:
    """About how many tokens a request body is; images in base64 are overstated."""
    return _tokens(len(body))


def estimate_usage(
    requests: int, input_bytes: int, mean_output_tokens: float | None, max_output_tokens: int | None
) -> Usage:
    """About what `requests` requests of together `input_bytes` bytes will use, in total and without cache hits.

    `mean_output_tokens` is the measured mean of an answer (0 for embeddings and moderations); None where nothing was
    answered yet, which applies the rule above. No answer counts as longer than `max_output_tokens`. Price the result
    with `ModelRates.cost_of_many(usage, answers=requests)`: the total of many requests is no long context.
    """
    if requests == 0:
        return Usage()
    input_tokens = _tokens(input_bytes)
    mean = mean_output_tokens
    if mean is None:
        mean = min(max(input_tokens / requests / OUTPUT_SHARE, FEWEST_OUTPUT_TOKENS), MOST_OUTPUT_TOKENS)
    if max_output_tokens is not None:
        mean = min(mean, max_output_tokens)
    return Usage(input_tokens=input_tokens, output_tokens=ceil(mean * requests))


def _tokens(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)
