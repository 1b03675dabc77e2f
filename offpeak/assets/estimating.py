"""What requests of an order would take and cost: learned from what the asset bought before, else from their length."""

from dataclasses import dataclass

from offpeak.ledger import usage
from offpeak.ledger.custom_ids import WIDTH
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.spending import Estimated
from offpeak.ledger.usage import Used
from offpeak.money import ModelRates, estimate_usage
from offpeak.money.estimate import Past, trend
from offpeak.providers.base import Kind, Provider, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Of some requests. Pico-dollars."""

    usage: Usage
    batch_pico: int
    realtime_pico: int
    background_pico: int
    """As `realtime_pico`, less what the asset usually saves by a cheaper tier of the realtime endpoints."""

    def at(self, lane: Lane) -> int:
        return self.batch_pico if lane is Lane.BATCH else self.background_pico


class Estimator:
    """Estimates for one asset; its past is read once, at the first requests that there are to estimate."""

    def __init__(
        self, ledger: Ledger, provider: Provider, rates: ModelRates, *, asset: str, model: str, kind: Kind | None
    ) -> None:
        self._rates, self._kind = rates, kind
        used = [] if kind is None else usage.past(ledger, asset=asset, model=model, kind=kind)
        overhead = 0 if kind is None else _overhead(provider, kind)
        self.past_requests = len(used)
        self._past = _past(used, overhead) if used else None
        self._paid = _paid(used)

    def of(self, requests: int, size: int) -> Estimate:
        """Of so many requests, whose bodies have together `size` bytes."""
        found = estimate_usage(requests, size, self._past, answers=self._kind is Kind.CHAT)
        cost = self._rates.cost_of_many(found, answers=max(requests, 1))
        return Estimate(
            usage=found,
            batch_pico=cost.batch_pico,
            realtime_pico=cost.realtime_pico,
            background_pico=cost.realtime_pico * self._paid[0] // self._paid[1],
        )

    def of_plan(self, lane: Lane, all_of_it: Estimate, drawn: Estimate) -> Estimated:
        """Of a plan that is bought in `lane`, but for its sample, which is called."""
        return Estimated(
            input_tokens=all_of_it.usage.input_tokens,
            output_tokens=all_of_it.usage.output_tokens,
            pico=all_of_it.at(lane) - drawn.at(lane) + drawn.background_pico,
            past_requests=self.past_requests,
        )


def _past(used: list[Used], overhead: int) -> Past:
    sizes = [max(each.line_bytes - overhead, 1) for each in used]
    read = sum(each.input_tokens for each in used)
    return Past(
        requests=len(used),
        input=trend(sizes, [each.input_tokens for each in used], grows=True),
        output=trend(sizes, [each.output_tokens for each in used], grows=False),
        cached_share=sum(each.cached_tokens for each in used) / read if read else 0.0,
        written_share=sum(each.cache_write_tokens for each in used) / read if read else 0.0,
        written_long_share=sum(each.cache_write_long_tokens for each in used) / read if read else 0.0,
    )


def _paid(used: list[Used]) -> tuple[int, int]:
    """What was paid for requests that were called one by one, and the realtime price of them."""
    called = [each for each in used if each.lane is Lane.BACKGROUND]
    realtime = sum(each.realtime_pico for each in called)
    return (sum(each.cost_pico for each in called), realtime) if realtime else (1, 1)


def _overhead(provider: Provider, kind: Kind) -> int:
    """Bytes of a line in an uploaded file around its body."""
    empty = b"{}"
    line = provider.line(kind=kind, custom_id="0" * WIDTH, body=empty)
    return len(line) - len(empty) + len(provider.spooling.separator)
