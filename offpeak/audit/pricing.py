"""What a job costs as it is bought now, and what it would cost on the batch tier: to an order of magnitude."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from math import floor, log10

from offpeak.audit.job import Job
from offpeak.errors import ConfigurationError
from offpeak.money import PriceSheet
from offpeak.money.rates import ModelRates
from offpeak.money.rates import dollars as to_dollars
from offpeak.providers.base import Usage

_OPENAI = re.compile(r"^(gpt|o\d|chatgpt|text-embedding|omni-moderation|codex|dall-e)")
_CLAUDE = re.compile(r"^claude")
_ELSEWHERE = re.compile(r"^(azure|bedrock|vertex_ai|openrouter|litellm_proxy|azure_ai|vertex)/")
_TAIL = re.compile(r"(@\d+|-v\d+:\d+|:\d+)$")

CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Pico-dollars, of a month or of one run."""

    realtime_pico: int
    batch_pico: int
    unpriced: tuple[str, ...] = ()
    """Models whose price, or whose batch rate, nobody states: they are in neither figure."""

    @property
    def known(self) -> bool:
        """Some of its models have a price."""
        return self.realtime_pico > 0 or not self.unpriced

    @property
    def saving_pico(self) -> int:
        return self.realtime_pico - self.batch_pico


class Prices:
    """A price sheet on one day, for models as logs and code write them."""

    def __init__(self, sheet: PriceSheet, at: datetime) -> None:
        self._rates = cache(lambda model: _rates(sheet, model, at))

    def of(self, job: Job) -> Price | None:
        """What a job costs; None where nothing tells its tokens."""
        if not job.month:
            return None
        realtime = batch = 0
        unpriced = []
        for model, tokens in job.month.items():
            rates = self._rates(model)
            if rates is None:
                unpriced.append(model)
                continue
            usage = Usage(tokens.input, tokens.output, tokens.cache_read, tokens.cache_write, 0)
            cost = rates.cost_of_many(usage, answers=tokens.calls)
            realtime += cost.realtime_pico
            batch += cost.batch_pico
        return Price(realtime_pico=realtime, batch_pico=batch, unpriced=tuple(sorted(unpriced)))

    def ref(self, model: str) -> str | None:
        """The "provider/model" that a model is bought as; None where it has no batch rate."""
        rates = self._rates(model)
        return None if rates is None else rates.model_ref


def _rates(sheet: PriceSheet, model: str, at: datetime) -> ModelRates | None:
    for ref in _refs(model):
        try:
            return sheet.rates(ref, at=at)
        except ConfigurationError:
            continue
    return None


def _refs(model: str) -> Iterator[str]:
    """The names that a model may go by in the price sheet, as it is written first."""
    plain = model.strip().lower()
    if "/" in plain:
        yield plain
    plain = _ELSEWHERE.sub("", plain)
    bare = _TAIL.sub("", plain.rpartition("/")[2])
    bare = re.sub(r"^([a-z]{2,6}\.)?anthropic\.", "", bare)
    if _OPENAI.match(bare):
        yield f"openai/{bare}"
    elif _CLAUDE.match(bare):
        yield f"anthropic/{bare}"


def about(pico: int) -> str:
    """Dollars to two digits, as an estimate is told: "about $1,200"."""
    value = to_dollars(pico)
    if not value:
        return "$0"
    rounded = round(value, 1 - floor(log10(abs(value))))
    if abs(rounded) >= 10:
        return f"about ${rounded:,.0f}"
    return f"about ${rounded:,.2f}" if abs(rounded) >= CENT else f"about ${rounded.normalize():f}"
