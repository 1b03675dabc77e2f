"""What the realtime endpoints of a launch's models allow in a minute, and who says so.

A provider says it itself, in the headers of its answers; until it has, the price sheet does. Each limit goes by itself:
where the provider named one of requests only, that of tokens is still the price sheet's.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from offpeak.providers.realtime import Measure

MEASURES = (Measure.REQUESTS, Measure.TOKENS)
"""What a launch is held against."""


class Source(StrEnum):
    """Who says what a limit is."""

    SEEN = "seen"
    """The provider, in the headers of an answer."""
    PRICE_SHEET = "price sheet"
    """Somebody, in a `[[terms]]` entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit of one model."""

    per_minute: int
    source: Source
    seen_at: datetime | None = None
    """When the provider said it; None for one of the price sheet."""


Limits = Mapping[Measure, Limit]
"""Of one model, by what is counted; without what nobody knows."""

Said = Callable[[str], Limits]
"""What somebody says of the limits of a "provider/model"; nothing where they know nothing."""


def known_limits(models: Iterable[str], *, seen: Said, declared: Said) -> Mapping[str, Limits]:
    """The limits of each model, by "provider/model"; empty for one of which nobody knows anything."""
    return {model: {**declared(model), **seen(model)} for model in models}


def declared_limits(limits: Mapping[Measure, int]) -> Limits:
    """Limits of the price sheet."""
    return {measure: Limit(per_minute=each, source=Source.PRICE_SHEET) for measure, each in limits.items()}


def terms_to_write(model: str) -> str:
    """An entry of `price_sheet.toml` that says the limits of a "provider/model", with figures to be replaced."""
    return (
        f'[[terms]]\nmodel = "{model}"\nsource = "the limits page of the account"\n'
        "requests_per_minute = 500\ntokens_per_minute = 500_000"
    )
