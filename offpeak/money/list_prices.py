"""Published list prices, from the data bundled with `genai-prices`; never from the network.

The library answers a question it has no data for (a model without a batch rate, a day before its data begins) with the
standard price, silently. This module asks for the data itself instead, so that "not known" stays different from
"costs the same". Loading the data takes about 0.4 s and 70 MB at its peak, so it happens at the first question.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from offpeak.money.rates import Tariff, token_rates

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

BATCH = {"processing": "batch"}
"""The request context that selects batch prices in the data."""

FLEX = {"service_tier": "flex"}
"""The one that selects the prices of flex processing."""

# Tokens that a Usage can report; prices of searches, audio or storage are not bought through a batch here.
_KEYS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A model as the data knows it on a day. `batch` is None where no batch rate is known; `batch_from` says when
    one begins that does not apply yet."""

    canonical: str
    """The model's own name in the data, "openai/gpt-6-luna" for a dated snapshot of it."""
    realtime: Tariff
    batch: Tariff | None
    batch_from: date | None = None
    flex: Tariff | None = None


class ListPrices:
    """The bundled data. Model names match as the data says: dated snapshots are priced as their model."""

    @property
    def version(self) -> str:
        """The version of genai-prices that is installed."""
        return version("genai-prices")

    @property
    def source(self) -> str:
        return f"genai-prices {self.version}"

    def data_date(self, at: datetime) -> date:
        """The newest price change that the data had seen: it was taken on this day or later.

        The data carries no date of its own and announces some changes ahead, so that what begins after it was
        installed does not count.
        """
        from genai_prices import data

        installed = datetime.fromtimestamp(Path(data.__file__).stat().st_mtime, UTC).date()
        today = at.astimezone(UTC).date()
        # An image built reproducibly may stamp its files with any old date: then only today bounds it.
        seen = [day for day in self._starts if day <= min(installed, today)]
        return max(seen or [day for day in self._starts if day <= today] or [min(self._starts)])

    def knows(self, provider: str) -> bool:
        return provider in self._providers

    def models(self, provider: str, *, at: datetime) -> list[str]:
        """The names of a provider's models that have a price per token."""
        models = self._providers[provider].models if provider in self._providers else ()
        return [model.id for model in models if model.get_prices(at).input_mtok is not None]

    def find(self, provider: str, model: str, *, at: datetime) -> Listed | None:
        """What the data says about a model; None where it has no price per token for it."""
        # Only the provider's own models: the library gives up on batch prices when it falls back to another's.
        info = self._providers[provider].find_model(model) if provider in self._providers else None
        if info is None:
            return None
        realtime = self._tariff(info.get_prices(at), since=None)
        if realtime is None:
            return None
        batch, batch_from = self._variant(info, at, realtime, BATCH)
        flex, _ = self._variant(info, at, realtime, FLEX)
        return Listed(
            canonical=f"{provider}/{info.id}", realtime=realtime, batch=batch, batch_from=batch_from, flex=flex
        )

    def _variant(
        self, info: "ModelInfo", at: datetime, realtime: Tariff, when: Mapping[str, str]
    ) -> tuple[Tariff | None, date | None]:
        """The prices that apply in a context, and where there are none yet the day from which there are."""
        variants = [variant for variant in info.price_variants or () if variant.when == when]
        active = [variant for variant in variants if variant.constraint is None or variant.constraint.active(at)]
        if not active:
            return None, min((day for variant in variants if (day := _start(variant.constraint))), default=None)
        # What a variant leaves out is filled in from the standard price, which for these two would be a wrong answer.
        supplied = {key for variant in active for key, price in vars(variant.prices).items() if price is not None}
        needed = {_KEYS[name] for name in ("input", "output") if name in realtime.named}
        tariff = self._tariff(info.get_prices(at, dict(when)), since=_start(active[0].constraint))
        if tariff is None or not needed <= supplied or (tariff.base == realtime.base and any(tariff.base)):
            return None, None
        return tariff, None

    def _tariff(self, prices: "ModelPrice", *, since: date | None) -> Tariff | None:
        from genai_prices.types import TieredPrices

        named = {name: price for name, key in _KEYS.items() if (price := getattr(prices, key)) is not None}
        if "input" not in named:
            return None

        def rates_above(tokens: int | None) -> dict[str, Decimal]:
            found: dict[str, Decimal] = {}
            for name, price in named.items():
                if isinstance(price, TieredPrices):
                    passed = [tier.price for tier in price.tiers if tokens is not None and tier.start <= tokens]
                    found[name] = passed[-1] if passed else price.base
                else:
                    found[name] = price
            return found

        starts = {tier.start for price in named.values() if isinstance(price, TieredPrices) for tier in price.tiers}
        return Tariff(
            base=token_rates(**rates_above(None)),
            long_context=tuple((start, token_rates(**rates_above(start))) for start in sorted(starts)),
            named=frozenset(named),
            source=self.source,
            since=since,
        )

    @cached_property
    def _providers(self) -> "dict[str, Provider]":
        from genai_prices.data import providers

        return {provider.id: provider for provider in providers}

    @cached_property
    def _starts(self) -> list[date]:
        found = set()
        for provider in self._providers.values():
            for model in provider.models:
                dated = [*(model.prices if isinstance(model.prices, list) else ()), *(model.price_variants or ())]
                found |= {day for price in dated if (day := _start(price.constraint))}
        return sorted(found)


def _start(constraint: object) -> date | None:
    from genai_prices.types import StartDateConstraint

    return constraint.start_date if isinstance(constraint, StartDateConstraint) else None


LIST_PRICES = ListPrices()
