"""All the parts of one running server, put together once and handed to every route."""

from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request

from local_provider.answers import Answerer
from local_provider.anthropic_lines import AnthropicLines
from local_provider.batches import ProviderName
from local_provider.faults import Faults
from local_provider.openai_lines import OpenAILines
from local_provider.settings import Settings
from local_provider.store import Store
from local_provider.tally import Tally
from local_provider.worker import BatchFormat, Worker


@dataclass(slots=True)
class State:
    """The parts of a server."""

    settings: Settings
    faults: Faults
    store: Store
    tally: Tally
    answerer: Answerer
    worker: Worker

    @classmethod
    def open(cls, folder: Path, settings: Settings, faults: Faults) -> "State":
        """A server's parts over a data folder; the worker is not started yet."""
        store = Store(folder)
        tally, answerer = Tally(store), Answerer(settings)
        formats: dict[ProviderName, BatchFormat] = {
            ProviderName.OPENAI: OpenAILines(),
            ProviderName.ANTHROPIC: AnthropicLines(),
        }
        return cls(settings, faults, store, tally, answerer, Worker(store, tally, settings, answerer, formats))

    def close(self) -> None:
        """Stop the worker between two lines, then the store."""
        self.worker.stop()
        if self.worker.is_alive():
            self.worker.join(timeout=1.5)
        self.store.close()


def state_of(request: Request) -> State:
    state: State = request.app.state.parts
    return state
