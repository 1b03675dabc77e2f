"""The format of `price_sheet.toml`: dated prices in dollars per million tokens, each with its source.

A file is read whole or refused whole, naming the file, the entry and the field. Numbers are read as decimals, never
through binary floating point. A table (`batch` or `realtime`) replaces that tier's price whole: nothing of another
source is mixed in, so what stands in the file is what is charged.
"""

import tomllib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from offpeak.errors import ConfigurationError
from offpeak.money.rates import Tariff, pico_per_token, token_rates


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("write a number: dollars per million tokens, such as 0.01")
    return value


def _whole_pico(value: Decimal) -> Decimal:
    pico_per_token(value)
    return value


DollarsPerMillion = Annotated[Decimal, BeforeValidator(_number), Field(ge=0), AfterValidator(_whole_pico)]


class Rates(BaseModel):
    """Dollars per million tokens. What is left out is charged as what it is part of (see `token_rates`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: DollarsPerMillion
    output: DollarsPerMillion | None = None
    cache_read: DollarsPerMillion | None = None
    cache_write: DollarsPerMillion | None = None
    cache_write_1h: DollarsPerMillion | None = None

    def prices(self) -> dict[str, Decimal]:
        """The rates that the file names."""
        named = (("input", self.input), ("output", self.output), ("cache_read", self.cache_read),
                 ("cache_write", self.cache_write), ("cache_write_1h", self.cache_write_1h))  # fmt: skip
        return {name: price for name, price in named if price is not None}


class LongContext(Rates):
    """What every token of a request costs once it has more than `above_input_tokens` input tokens."""

    above_input_tokens: Annotated[int, Field(gt=0, strict=True)]


class TierPrices(Rates):
    """The price of one tier, batch or realtime."""

    long_context: tuple[LongContext, ...] = ()

    @model_validator(mode="after")
    def _steps_are_complete_and_ascending(self) -> Self:
        named = self.prices().keys()
        starts = [step.above_input_tokens for step in self.long_context]
        if starts != sorted(set(starts)):
            raise ValueError("long_context: above_input_tokens must ascend")
        for step in self.long_context:
            if step.prices().keys() != named:
                raise ValueError(
                    f"long_context above {step.above_input_tokens}: give a price for each of {', '.join(named)}"
                )
        return self

    def tariff(self, *, source: str, cited: str, since: date) -> Tariff:
        return Tariff(
            base=token_rates(**self.prices()),
            long_context=tuple((step.above_input_tokens, token_rates(**step.prices())) for step in self.long_context),
            named=frozenset(self.prices()),
            source=source,
            cited=cited,
            since=since,
        )


class Entry(BaseModel):
    """The price of one model from one UTC day on, until a later entry of the same model takes over."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, StringConstraints(pattern=r"^[^/\s]+/\S+$", to_lower=True)]
    since: date
    source: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    """Where the price was read: an address, a contract."""
    batch: TierPrices | None = None
    realtime: TierPrices | None = None

    @model_validator(mode="after")
    def _prices_something(self) -> Self:
        if self.batch is None and self.realtime is None:
            raise ValueError("give a batch table, a realtime table, or both")
        return self


Whole = Annotated[int, Field(gt=0, strict=True)]


class Terms(BaseModel):
    """What else is known of a model at its provider. What is left out is not known, and assumed as the engine says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, StringConstraints(pattern=r"^[^/\s]+/\S+$", to_lower=True)]
    """ "provider/model", or "provider/*" for each model of it that has no terms of its own for a field."""
    source: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    window_hours: Whole | None = None
    """Within which a batch is answered or expires."""
    requests_per_minute: Whole | None = None
    """At realtime endpoints."""
    tokens_per_minute: Whole | None = None
    """At realtime endpoints, input and output together."""
    cache_minimum_tokens: Whole | None = None
    """Shorter prefixes are not cached."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if all(getattr(self, name) is None for name in TERMS):
            raise ValueError(f"give {', '.join(TERMS[:-1])} or {TERMS[-1]}")
        return self


TERMS = ("window_hours", "requests_per_minute", "tokens_per_minute", "cache_minimum_tokens")


class SheetFile(BaseModel):
    """What one price sheet says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    price: tuple[Entry, ...] = ()
    terms: tuple[Terms, ...] = ()

    @model_validator(mode="after")
    def _terms_once(self) -> Self:
        named = [each.model for each in self.terms]
        if twice := next((model for model in named if named.count(model) > 1), None):
            raise ValueError(f"{twice} has two terms tables: merge them")
        return self

    @model_validator(mode="after")
    def _one_price_a_day(self) -> Self:
        seen = set()
        for entry in self.price:
            if (entry.model, entry.since) in seen:
                raise ValueError(f"{entry.model} has two entries since {entry.since}: merge them, or date one later")
            seen.add((entry.model, entry.since))
        return self


def read_sheet(text: str, *, name: str) -> SheetFile:
    """What a price sheet's text says. Raises ConfigurationError naming the sheet, the entry and the field."""
    try:
        raw = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"{name} is not valid TOML: {error}. No price was read from it; mend the file."
        ) from None
    try:
        return SheetFile.model_validate(raw)
    except ValidationError as error:
        lines = "\n".join(f"  {_where(found['loc'], raw)}: {found['msg']}" for found in error.errors())
        raise ConfigurationError(
            f"{name} cannot be used, so nothing is priced from it:\n{lines}\nThe format is described at its head."
        ) from None


def read_sheet_file(path: Path) -> SheetFile:
    """What a price sheet file says. Raises ConfigurationError when it is missing, unreadable or malformed."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the price sheet {path} could not be read ({error}); mend it, or name another"
        ) from None
    return read_sheet(text, name=str(path))


def _where(loc: tuple[int | str, ...], raw: Mapping[str, Any]) -> str:
    """An error's place as the reader of the file sees it: entries counted from 1, with their model."""
    if len(loc) < 2 or loc[0] not in {"price", "terms"} or not isinstance(loc[1], int):
        return ".".join(str(part) for part in loc) or "the file"
    entry = raw[str(loc[0])][loc[1]]
    model = entry.get("model", "no model") if isinstance(entry, Mapping) else "not a table"
    field = ".".join(str(part) for part in loc[2:])
    what = "entry" if loc[0] == "price" else "terms"
    return f"{what} {loc[1] + 1} ({model})" + (f", {field}" if field else "")
