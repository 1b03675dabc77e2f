"""The resources a batch asset needs: the providers' accounts with their prices, and the store of results."""

import os
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
from pydantic import Field

from offpeak.clock import SystemClock
from offpeak.errors import ConfigurationError
from offpeak.lanes.background import MOST_IN_FLIGHT, TERMS, Terms
from offpeak.lanes.rescue import CANCEL_BOUND, MARGIN, RescueTerms
from offpeak.launches.listed import Launches, read_launches
from offpeak.ledger.launch_windows import LaunchWindow, windows_of
from offpeak.ledger.queueing import Limits
from offpeak.money.budget import dollar_amount
from offpeak.money.prices import PriceSheet
from offpeak.money.rates import ModelRates
from offpeak.notifier import NOTIFIER_KEY, Notifier
from offpeak.providers import anthropic, http, open_provider, openai
from offpeak.providers.base import BATCH_WINDOW, Provider
from offpeak.providers.realtime import Measure
from offpeak.queue.limits import QueueLimits, limits_for
from offpeak.results.io_manager import RESULTS_KEY, OffpeakResults

if TYPE_CHECKING:
    from offpeak.providers.openai_wire import ChatEndpoint

API_KEY = "batch_api"
"""The resource key of `BatchApi`."""


class BatchApi(dg.ConfigurableResource[Any]):
    """Accounts at the providers, what a batch may hold, and what models cost. Resource key `batch_api`.

    Keys and addresses take `dg.EnvVar`. What is not given falls back on the SDKs' own variables when a run begins:
    OPENAI_API_KEY, OPENAI_BASE_URL, ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL. `price_sheet` is the path of a TOML file
    with dated prices that come before the list prices. `max_requests_per_batch` lowers the provider's own limit.
    `openai_chat_endpoint="chat.completions"` is for gateways that have no responses endpoint. What a provider keeps of
    a batch is deleted once its lines are stored, unless `keep_provider_files`. `limits` bound what may be enqueued for
    a model; what goes beyond waits, or does what the asset's QueuePolicy says. `smallest_saving` is in dollars a run,
    as decimal text: where the batch tier would save less, the run does not wait for it and is bought in the background;
    "0" never does that. `budget_per_day` is in dollars too: what all assets of the ledger may cost within a UTC day, by
    the bills of what landed and the estimates of what is open. A plan that would cost more is held, or refused where
    its asset's Budget says so.

    For the background lane: `calls_in_flight` is how many calls of realtime endpoints a run has on their way at once,
    at most; a run that dies may have to pay so many again. `flex` uses OpenAI's flex processing where the model has
    it, its price is known, and the deadline leaves time.

    For rescues: `rescue_margin_minutes` is what is left between the last answer and the deadline if everything goes as
    reckoned, and `cancel_minutes` how long a batch that is cancelled may take to end.

    `launches` is the path of a YAML file: a launch in it keeps scheduled work from the providers of its models.
    """

    openai_api_key: str | None = None
    openai_base_url: str | None = None
    openai_chat_endpoint: str | None = None
    anthropic_api_key: str | None = None
    anthropic_base_url: str | None = None
    price_sheet: str | None = None
    max_requests_per_batch: int | None = None
    keep_provider_files: bool = False
    calls_in_flight: int = TERMS.in_flight
    flex: bool = True
    smallest_saving: str = "0"
    rescue_margin_minutes: float = MARGIN / timedelta(minutes=1)
    cancel_minutes: float = CANCEL_BOUND / timedelta(minutes=1)
    budget_per_day: str | None = None
    launches: str | None = None
    limits: list[QueueLimits] = Field(default_factory=list)

    def provider(self, name: str, *, asset: str | None = None) -> Provider:
        """An open account at "openai" or "anthropic"; close it after use.

        Raises ConfigurationError when its key is missing, naming the asset, the variable and the remedy.
        """
        prefix = f"{asset}: " if asset else ""
        known = {
            "openai": (self.openai_api_key, self.openai_base_url),
            "anthropic": (self.anthropic_api_key, self.anthropic_base_url),
        }
        if name not in known:
            raise ConfigurationError(f"{prefix}there is no provider {name!r}; there are {' and '.join(known)}.")
        key, base_url = known[name]
        variable = f"{name.upper()}_API_KEY"
        key = key or os.environ.get(variable)
        if not key:
            raise ConfigurationError(
                f"{prefix}no API key for {name}: {variable} is not set, and the resource {API_KEY!r} gives none. "
                f"Nothing was submitted. Set {variable}, or BatchApi({name}_api_key=dg.EnvVar(...))."
            )
        if self.openai_chat_endpoint not in (None, "responses", "chat.completions"):
            raise ConfigurationError(
                f"{prefix}openai_chat_endpoint={self.openai_chat_endpoint!r} of the resource {API_KEY!r} is none. "
                "Nothing was "
                'submitted. Use "responses" (the default) or "chat.completions".'
            )
        provider = open_provider(
            name,
            api_key=key,
            base_url=base_url or os.environ.get(f"{name.upper()}_BASE_URL") or None,
            max_requests=self.max_requests_per_batch,
            chat_endpoint=cast("ChatEndpoint | None", self.openai_chat_endpoint) if name == "openai" else None,
        )
        provider.keeps_files = self.keep_provider_files
        return provider

    def terms(self) -> Terms:
        """How runs use the realtime endpoints. Raises ConfigurationError for a number of calls that is none."""
        if not 1 <= self.calls_in_flight <= MOST_IN_FLIGHT:
            raise ConfigurationError(
                f"calls_in_flight={self.calls_in_flight} of the resource {API_KEY!r} is not a number from 1 to "
                f"{MOST_IN_FLIGHT:,}. Nothing was submitted. The default is {TERMS.in_flight}."
            )
        return Terms(in_flight=self.calls_in_flight, flex=self.flex)

    def worth_waiting_for(self) -> Decimal:
        """`smallest_saving` in dollars. Raises ConfigurationError for what is no amount."""
        try:
            amount = Decimal(self.smallest_saving)
        except InvalidOperation:
            amount = Decimal("NaN")
        if not amount.is_finite() or amount < 0:
            raise ConfigurationError(
                f"smallest_saving={self.smallest_saving!r} of the resource {API_KEY!r} is no amount. Nothing was "
                'submitted. Give dollars a run as decimal text, such as "0.01"; "0" takes every saving.'
            )
        return amount

    def rescue_terms(self) -> RescueTerms:
        """How much time a rescue is left. Raises ConfigurationError for minutes below 0, or for so many as a day."""
        for field in ("rescue_margin_minutes", "cancel_minutes"):
            minutes = getattr(self, field)
            if not 0 <= minutes < BATCH_WINDOW / timedelta(minutes=1):
                raise ConfigurationError(
                    f"{field}={minutes} of the resource {API_KEY!r} is no time that a rescue can be left. Nothing was "
                    f"submitted. Give minutes, from 0 to less than a day."
                )
        return RescueTerms(
            margin=timedelta(minutes=self.rescue_margin_minutes), cancel_bound=timedelta(minutes=self.cancel_minutes)
        )

    def daily_budget(self) -> Decimal | None:
        """`budget_per_day` in dollars; None without one. Raises ConfigurationError for what is no amount."""
        if self.budget_per_day is None:
            return None
        amount = dollar_amount(self.budget_per_day)
        if amount is None:
            raise ConfigurationError(
                f"budget_per_day={self.budget_per_day!r} of the resource {API_KEY!r} is no amount above nought. "
                'Nothing was submitted. Give dollars a UTC day as decimal text, such as "50"; leave it out to set no '
                "bound."
            )
        return amount

    def limits_for(self, model_ref: str) -> Limits:
        """What may be enqueued for "provider/model". Raises DefinitionError where one model is named twice."""
        return limits_for(self.limits, model_ref)

    def planned_launches(self) -> Launches:
        """The launches of the file `launches`, read now; none without one.

        Raises ConfigurationError, naming the entry and the field, for a file that cannot be read.
        """
        return Launches() if self.launches is None else read_launches(Path(self.launches))

    def launch_windows(self) -> list[LaunchWindow] | None:
        """When launches keep scheduled work from a provider; None where nothing says so, not even that there are none.

        Raises ConfigurationError, as `planned_launches` does.
        """
        if self.launches is None:
            return None
        return windows_of(self.planned_launches().launches, cancel_bound=self.rescue_terms().cancel_bound)

    def rates(self, model_ref: str, at: datetime | None = None) -> ModelRates:
        """What "provider/model" costs on the day of a moment, by default today.

        Raises ConfigurationError when nobody states its price.
        """
        return self._sheet().rates(model_ref, at=at or SystemClock().now())

    def window(self, model_ref: str) -> timedelta:
        """What the provider may take for a batch of "provider/model", by the price sheet; else its 24 hours."""
        terms = self._sheet().terms(model_ref)
        return BATCH_WINDOW if terms is None or terms.window_hours is None else timedelta(hours=terms.window_hours)

    def realtime_limits(self, model_ref: str) -> dict[Measure, int]:
        """What the realtime endpoints allow for "provider/model" in a minute, as far as the price sheet says it."""
        terms = self._sheet().terms(model_ref)
        if terms is None:
            return {}
        said = {Measure.REQUESTS: terms.requests_per_minute, Measure.TOKENS: terms.tokens_per_minute}
        return {measure: limit for measure, limit in said.items() if limit is not None}

    def realm(self, provider: str) -> str:
        """Of the account at "openai" or "anthropic", whether or not there is a key for it here."""
        module = openai if provider == "openai" else anthropic
        given = getattr(self, f"{provider}_base_url") or os.environ.get(module.BASE_URL_VARIABLE)
        return http.realm(provider, given or module.DEFAULT_BASE_URL, variable=module.BASE_URL_VARIABLE)

    def _sheet(self) -> PriceSheet:
        return PriceSheet.load(Path(self.price_sheet) if self.price_sheet else None)


def offpeak_resources(
    *,
    database_url: str | None = None,
    spool_dir: str | None = None,
    batch_api: BatchApi | None = None,
    notifier: Notifier | None = None,
) -> dict[str, Any]:
    """Resources for `dg.materialize`, a notebook or a test: the whole lifecycle in one process.

    Without `database_url` the ledger is the project's own (OFFPEAK_DATABASE_URL, or `.offpeak/`).
    """
    return {
        API_KEY: batch_api or BatchApi(),
        RESULTS_KEY: OffpeakResults(database_url=database_url, spool_dir=spool_dir),
        NOTIFIER_KEY: notifier or Notifier(),
    }
