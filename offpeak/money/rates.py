"""What one model costs, as integers, so that pricing a result line is exact and takes less than a microsecond.

Money is counted in pico-dollars (1e-12 $) per token: $0.05 per million tokens is 50,000 pico-dollars a token, and every
published price is a whole number of them. Sums of integers are exact in any order; `dollars` turns one into a Decimal
where it leaves the arithmetic.
"""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import NamedTuple

import orjson

from offpeak.providers.base import Usage

_new = tuple.__new__  # a NamedTuple's own constructor would be half of the time that a result line takes

PICO_PER_TOKEN = 10**6
"""Pico-dollars a token for one dollar per million tokens."""


class Cost(NamedTuple):
    """The price of an answer as it was bought on the batch tier, and what the realtime endpoint would have charged."""

    batch_pico: int
    realtime_pico: int
    cache_saved_pico: int = 0
    """What the former would have been more without any cache; below nought where writing one cost more than it saved.
    """


class TokenRates(NamedTuple):
    """Pico-dollars per token. `cache_write_1h` is the long time to live (Anthropic 1 h, OpenAI 12 h)."""

    input: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    output: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """What a model costs on one tier, and who says so."""

    base: TokenRates
    long_context: tuple[tuple[int, TokenRates], ...] = ()
    """(tokens, rates), ascending: with more input tokens than `tokens`, every token of the request costs `rates`."""
    named: frozenset[str] = frozenset(TokenRates._fields)
    """The rates that the source names; the others follow from their parent (a cache read from input, for example)."""
    source: str = ""
    """Such as "genai-prices 0.2.3", or the path of a price sheet."""
    cited: str = ""
    """Where the price sheet says that it read the price."""
    since: date | None = None
    """The UTC day from which the source says this price applies; None where it does not say."""

    def at(self, input_tokens: float) -> TokenRates:
        """The rates of a request with so many input tokens."""
        rates = self.base
        for tokens, higher in self.long_context:
            if input_tokens > tokens:
                rates = higher
        return rates


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRates:
    """What one model costs on a given day, on the batch tier and at realtime price."""

    model_ref: str
    batch: Tariff
    realtime: Tariff
    flex: Tariff | None = None
    """At realtime endpoints, with flex processing; None where nobody states that price."""
    cache_minimum_tokens: int | None = None
    """Shorter prefixes are not cached; None where nobody states that."""
    _base: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """Both tariffs' rates side by side: `cost` runs once per result line, where lookups would be most of its time."""
    _higher: tuple[tuple[int, tuple[int, ...]], ...] = field(init=False, repr=False, compare=False)
    _threshold: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        steps = sorted({tokens for tariff in (self.batch, self.realtime) for tokens, _ in tariff.long_context})
        higher = tuple(
            (tokens, _side_by_side(self.batch.at(tokens + 1), self.realtime.at(tokens + 1))) for tokens in steps
        )
        object.__setattr__(self, "_base", _side_by_side(self.batch.base, self.realtime.base))
        object.__setattr__(self, "_higher", higher)
        object.__setattr__(self, "_threshold", min(steps, default=float("inf")))

    def cost(self, usage: Usage) -> Cost:
        """The cost of ONE answer; long-context prices depend on the input tokens of the single request.

        Where a provider reports more cached tokens than input tokens, the cached ones are charged as reported: an
        answer that was paid for is not lost over its bookkeeping.
        """
        tokens, output, read, write, long_write = usage
        rates = self._base
        if tokens > self._threshold:
            for above, higher in self._higher:
                if tokens > above:
                    rates = higher
        b_in, r_in, b_out, r_out, b_read, r_read, b_write, r_write, b_long, r_long = rates
        if read or write:
            plain = tokens - read - write
            if plain < 0:
                plain = 0
            short = write - long_write
            if short < 0:
                short = 0
            return _new(
                Cost,
                (
                    plain * b_in + output * b_out + read * b_read + short * b_write + long_write * b_long,
                    plain * r_in + output * r_out + read * r_read + short * r_write + long_write * r_long,
                    read * (b_in - b_read) + short * (b_in - b_write) + long_write * (b_in - b_long),
                ),
            )
        return _new(Cost, (tokens * b_in + output * b_out, tokens * r_in + output * r_out, 0))

    def at_realtime(self) -> "ModelRates":
        """The same with the realtime price in the place of the batch tier."""
        return ModelRates(model_ref=self.model_ref, batch=self.realtime, realtime=self.realtime)

    def written_down(self, day: date) -> str:
        """The rates as JSON, in pico-dollars a token: what every cost of that UTC day can be reckoned from again."""
        tiers = {"batch": self.batch, "realtime": self.realtime, **({"flex": self.flex} if self.flex else {})}
        told = {
            name: {
                **tariff.base._asdict(),
                "long_context": [
                    {"above_input_tokens": above, **higher._asdict()} for above, higher in tariff.long_context
                ],
                "source": tariff.source,
            }
            for name, tariff in tiers.items()
        }
        return orjson.dumps({"model": self.model_ref, "day": day.isoformat(), **told}).decode()

    def with_flex(self) -> "ModelRates | None":
        """The same with flex processing in the place of the batch tier; None where its price is not known."""
        return (
            None if self.flex is None else ModelRates(model_ref=self.model_ref, batch=self.flex, realtime=self.realtime)
        )

    def cost_of_many(self, total: Usage, *, answers: int) -> Cost:
        """The cost of a total over `answers` answers of about equal size: an estimate where sizes straddle a tier."""
        request_tokens = total.input_tokens / answers if answers else 0
        batch, realtime = self.batch.at(request_tokens), self.realtime.at(request_tokens)
        one_size = ModelRates(model_ref=self.model_ref, batch=Tariff(base=batch), realtime=Tariff(base=realtime))
        return one_size.cost(total)


def _side_by_side(batch: TokenRates, realtime: TokenRates) -> tuple[int, ...]:
    """Alternating batch and realtime, in the order in which `Usage` counts."""
    names = ("input", "output", "cache_read", "cache_write", "cache_write_1h")
    return tuple(getattr(rates, name) for name in names for rates in (batch, realtime))


def dollars(pico: int) -> Decimal:
    """Pico-dollars as dollars, exactly (up to ten quadrillion dollars)."""
    return Decimal(pico).scaleb(-12)


def to_pico(amount: Decimal) -> int:
    """Dollars as whole pico-dollars, rounded down."""
    return int(amount.scaleb(12))


def dollars_text(value: Decimal) -> str:
    """Dollars for people: the less it is, the more places, so that half of a cent does not read as nothing."""
    places = 6 if 0 < abs(value) < Decimal("0.01") else 4 if 0 < abs(value) < 1 else 2
    return f"${value:,.{places}f}"


def pico_text(pico: int) -> str:
    """Pico-dollars for people, as dollars."""
    return dollars_text(dollars(pico))


def pico_per_token(dollars_per_million: Decimal) -> int:
    """Dollars per million tokens as pico-dollars per token. Raises ValueError when that is not a whole number >= 0."""
    pico = dollars_per_million * PICO_PER_TOKEN
    if pico < 0 or pico != pico.to_integral_value():
        raise ValueError(f"{dollars_per_million} $ per million tokens is not a whole number of pico-dollars per token")
    return int(pico)


def per_million(pico: int) -> Decimal:
    """Pico-dollars per token as dollars per million tokens."""
    return Decimal(pico) / PICO_PER_TOKEN


def token_rates(
    *,
    input: Decimal,  # noqa: A002 - the names are those of the price sheet
    output: Decimal | None = None,
    cache_read: Decimal | None = None,
    cache_write: Decimal | None = None,
    cache_write_1h: Decimal | None = None,
) -> TokenRates:
    """Rates from dollars per million tokens. What is not priced apart is charged as what it is part of.

    A cache read or write without a price is input; a long cache write without one is a cache write; a model without an
    output price (embeddings) charges nothing for output.
    """
    write = input if cache_write is None else cache_write
    return TokenRates(
        input=pico_per_token(input),
        cache_read=pico_per_token(input if cache_read is None else cache_read),
        cache_write=pico_per_token(write),
        cache_write_1h=pico_per_token(write if cache_write_1h is None else cache_write_1h),
        output=pico_per_token(Decimal(0) if output is None else output),
    )
