"""What a provider charges, added up a second time and as plainly as can be: from its own list of what it answered.

It knows nothing of Offpeak: prices are copied from the providers' pages, and each answer is priced by itself.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

MILLION = Decimal(1_000_000)


class Prices(NamedTuple):
    """Dollars for a million tokens."""

    input: str
    read: str
    write: str
    write_long: str
    output: str


PRICES: Mapping[str, Mapping[str, Prices]] = {
    "gpt-5-mini": {
        "batch": Prices("0.125", "0.0125", "0.125", "0.125", "1"),
        "realtime": Prices("0.25", "0.025", "0.25", "0.25", "2"),
        "flex": Prices("0.125", "0.0125", "0.125", "0.125", "1"),
    },
    "gpt-6-luna": {
        "batch": Prices("0.05", "0.005", "0.0625", "0.0625", "0.25"),
        "realtime": Prices("0.1", "0.01", "0.125", "0.125", "0.5"),
    },
    "text-embedding-3-small": {
        "batch": Prices("0.01", "0", "0", "0", "0"),
        "realtime": Prices("0.02", "0", "0", "0", "0"),
    },
    "claude-haiku-5-5": {
        "batch": Prices("0.05", "0.005", "0.0625", "0.1", "0.25"),
        "realtime": Prices("0.1", "0.01", "0.125", "0.2", "0.5"),
    },
}

LONG: Mapping[str, tuple[int, Decimal, Decimal]] = {
    "gpt-6-luna": (272_000, Decimal(2), Decimal("1.5")),
    "claude-haiku-5-5": (100_000, Decimal(5), Decimal(5)),
}
"""Above so many input tokens everything of the input costs so many times as much, and the output so many times."""


def price_of(answer: Mapping[str, Any], lane: str | None = None) -> Decimal:
    """Dollars of one answer, as it was bought or in another lane."""
    model = answer["model"]
    prices = Prices._make(map(Decimal, PRICES[model][lane or answer["lane"]]))
    read, written, long_lived = (
        answer[name] for name in ("cache_read_tokens", "cache_write_tokens", "cache_write_long_tokens")
    )
    given = (
        (answer["input_tokens"] - read - written) * prices.input
        + read * prices.read
        + (written - long_lived) * prices.write
        + long_lived * prices.write_long
    )
    answered = answer["output_tokens"] * prices.output
    above, more_in, more_out = LONG.get(model, (0, Decimal(1), Decimal(1)))
    if above and answer["input_tokens"] > above:
        given, answered = given * more_in, answered * more_out
    return (given + answered) / MILLION


def added_up(
    answers: Iterable[Mapping[str, Any]], by: Callable[[Mapping[str, Any]], Any], lane: str | None = None
) -> dict[Any, Decimal]:
    """Dollars by whatever is asked for."""
    found: defaultdict[Any, Decimal] = defaultdict(Decimal)
    for answer in answers:
        found[by(answer)] += price_of(answer, lane)
    return dict(found)
