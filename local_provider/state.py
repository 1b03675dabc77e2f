"""All the parts of one running server, put together once and handed to every route."""

import random
from dataclasses import dataclass, field, replace
from pathlib import Path

from starlette.requests import Request

from local_provider.answers import Answerer
from local_provider.anthropic_lines import AnthropicLines
from local_provider.batches import Batch, ProviderName
from local_provider.clock import Clock
from local_provider.faults import Faults
from local_provider.openai_lines import OpenAILines
from local_provider.prompt_cache import PromptCache
from local_provider.rate_limits import RateLimits
from local_provider.settings import Settings
from local_provider.store import Store
from local_provider.tally import Tally
from local_provider.worker import BatchFormat, Worker


@dataclass(slots=True)
class State:
    """The parts of a server."""

    settings: Settings
    started_with: Settings
    """What the settings were when the server started."""
    faults: Faults
    clock: Clock
    store: Store
    tally: Tally
    answerer: Answerer
    prompt_cache: PromptCache
    rate_limits: RateLimits
    worker: Worker
    latencies: random.Random = field(default_factory=lambda: random.Random(0))
    """What latencies are drawn from: the same from each start on."""

    @classmethod
    def open(cls, folder: Path, settings: Settings, faults: Faults) -> "State":
        """A server's parts over a data folder; the worker is not started yet."""
        store, clock = Store(folder), Clock()
        tally, answerer, cache = Tally(store, clock), Answerer(settings, clock), PromptCache(settings, clock)
        formats: dict[ProviderName, BatchFormat] = {
            ProviderName.OPENAI: OpenAILines(clock, cache),
            ProviderName.ANTHROPIC: AnthropicLines(cache),
        }
        worker = Worker(store, tally, settings, answerer, faults, clock, formats)
        rate_limits = RateLimits(settings, clock)
        return cls(settings, replace(settings), faults, clock, store, tally, answerer, cache, rate_limits, worker)

    def known(self, batch: Batch) -> bool:
        """Whether the provider admits to knowing this batch."""
        return not self._lags(batch, "retrieve_lag")

    def listed(self, batch: Batch) -> bool:
        """Whether the provider's list shows this batch."""
        return not self._lags(batch, "list_lag")

    def _lags(self, batch: Batch, fault: str) -> bool:
        lag = batch.faults.get(fault)
        if lag is None or self.clock.now() >= batch.created_at + lag["seconds"]:
            return False
        self.faults.strike(fault, lag)
        return True

    def close(self) -> None:
        """Stop the worker between two lines, then the store."""
        self.worker.stop()
        if self.worker.is_alive():
            self.worker.join(timeout=1.5)
        self.store.close()


def state_of(request: Request) -> State:
    state: State = request.app.state.parts
    return state
