"""What was bought is charged at the price of the day on which it was bought, whenever it is collected."""

import logging
from collections.abc import Callable
from datetime import date, datetime

from offpeak.clock import Clock, utc_day
from offpeak.errors import ConfigurationError
from offpeak.ledger.collecting import Price
from offpeak.ledger.submissions import Submission
from offpeak.money import ModelRates, PriceSheet

RatesOf = Callable[[str, datetime], ModelRates]
"""What a "provider/model" costs on the day of a moment. Raises ConfigurationError where nobody states that."""


def by_the_sheet(model_ref: str, at: datetime) -> ModelRates:
    """By the price sheet of the project that this process was started in."""
    return PriceSheet.load().rates(model_ref, at=at)


class DayPrices:
    """The prices of one job's models, by day. `model_ref` is its own one, and `today` what that costs now."""

    def __init__(
        self, model_ref: str, today: ModelRates, *, rates_of: RatesOf, clock: Clock, log: logging.Logger
    ) -> None:
        self._provider, _, self._model = model_ref.partition("/")
        self._today, self._rates_of, self._clock, self._log = today, rates_of, clock, log
        self._known: dict[tuple[str, date], ModelRates] = {}

    def of(self, model: str, at: datetime) -> ModelRates:
        """What a model, named without its provider, cost on that day.

        Where nobody can say that any more of the job's own, its price of today: what is paid for is not lost over it.
        """
        day = utc_day(at).date()
        if model == self._model and day == utc_day(self._clock.now()).date():
            return self._today
        if (model, day) not in self._known:
            try:
                found = self._rates_of(f"{self._provider}/{model}", at)
            except ConfigurationError as error:
                if model != self._model:
                    raise
                self._log.warning(
                    f"What {model} answered to requests of {day} is charged at its price of today: {error}"
                )
                found = self._today
            self._known[model, day] = found
        return self._known[model, day]

    def on_batch(self, chunk: Submission) -> Price:
        """What an answer of a chunk's batch costs."""
        at = chunk.create_at or self._clock.now()
        rates = self.of(chunk.model, at)
        return Price(rates.cost, rates.written_down(utc_day(at).date()))
