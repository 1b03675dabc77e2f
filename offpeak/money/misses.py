"""What it costs that requests of a launch have no pre-computed answer, and what buying these before would save.

Requests are those that the window is expected to have, at half of the peak on average; each has the tokens that a
request of a session has, at the realtime price of the launch's models, by their shares. Nothing is taken off for
caching. Beforehand a row is bought once, however often it is asked for, at the batch price of the same tokens.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from offpeak.launches.coverage import Coverage
from offpeak.launches.launch import Launch
from offpeak.launches.profile import MEAN, expected_requests
from offpeak.money.rates import ModelRates, Tariff


@dataclass(frozen=True, slots=True, kw_only=True)
class Misses:
    """Of one launch. Money is in pico-dollars."""

    requests: float
    """Of the window, that no fresh pre-computed row answers."""
    cost_pico: int
    """What they cost at realtime price."""
    most_pico: int
    """The same if it were the peak for the whole window."""
    buying_pico: int
    """What the rows that are not covered cost on the batch tier."""

    @property
    def saving_pico(self) -> int:
        """What full coverage would save; below nought where the rows cost more than the misses."""
        return self.cost_pico - self.buying_pico


def misses(found: Coverage, rates: Mapping[str, ModelRates]) -> Misses:
    """Of a launch whose coverage is known; `rates` are those of its models, by "provider/model"."""
    launch = found.launch
    requests = expected_requests(launch) * (1 - found.hit_rate)
    realtime = _request_pico(launch, lambda model: rates[model].realtime)
    batch = _request_pico(launch, lambda model: rates[model].batch)
    return Misses(
        requests=requests,
        cost_pico=round(Fraction(requests) * realtime),
        most_pico=round(Fraction(requests) / Fraction(MEAN) * realtime),
        buying_pico=round(found.total.uncovered_rows * batch),
    )


def _request_pico(launch: Launch, tariff: Callable[[str], Tariff]) -> Fraction:
    """What a request costs on average over the launch's models."""
    each = Fraction(launch.session.requests)
    tokens, output = Fraction(launch.session.input_tokens) / each, Fraction(launch.session.output_tokens) / each
    price = Fraction(0)
    for model, share in launch.models.items():
        rates = tariff(model).at(float(tokens))
        price += Fraction(share) * (tokens * rates.input + output * rates.output)
    return price / sum(map(Fraction, launch.models.values()))
