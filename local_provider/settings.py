"""What can be set while the server runs. An unknown name or a value out of range is refused, never ignored."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

MIB = 1024 * 1024


class Answers(StrEnum):
    """How requests are answered."""

    WORDLLAMA = "wordllama"
    """Nearest labels, extractive digests and real embeddings: sensible, about 1 ms a request."""
    CHEAP = "cheap"
    """By hash and echo: valid and deterministic, but meaningless; for benchmarks."""


class ResultsOrder(StrEnum):
    """The order in which the lines of a batch are answered and delivered."""

    SHUFFLED = "shuffled"
    INPUT = "input"
    REVERSED = "reversed"


class SettingsError(ValueError):
    """A setting, fault or config file that cannot be used; the message says which and what would be right."""


@dataclass(slots=True)
class Settings:
    """Defaults are the real providers' limits, and a latency that a person at a terminal can wait for."""

    latency_seconds: float = 2.0
    """From the creation of a batch to its end. Answers are spread over it."""
    answers: Answers = Answers.WORDLLAMA
    results_order: ResultsOrder = ResultsOrder.SHUFFLED
    realtime_latency_seconds: float = 0.0
    openai_max_requests: int = 50_000
    openai_max_bytes: int = 200 * MIB
    openai_max_upload_bytes: int = 512 * MIB
    openai_max_embedding_inputs: int = 50_000
    anthropic_max_requests: int = 100_000
    anthropic_max_bytes: int = 256 * MIB

    def update(self, changes: Mapping[str, Any]) -> None:
        """Change all of the named settings, or none. Raises SettingsError."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        checked = {}
        for name, value in changes.items():
            if name not in known:
                raise SettingsError(f"There is no setting {name!r}. Known: {', '.join(sorted(known))}.")
            checked[name] = _checked(name, value, known[name])
        for name, value in checked.items():
            setattr(self, name, value)


def _checked(name: str, value: Any, current: Any) -> Any:
    if isinstance(current, StrEnum):
        kind = type(current)
        if value not in list(kind):
            raise SettingsError(f"{name} is one of {', '.join(kind)}; got {value!r}.")
        return kind(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise SettingsError(f"{name} is a number, 0 or more; got {value!r}.")
    if isinstance(current, int) and value != int(value):
        raise SettingsError(f"{name} is a whole number; got {value!r}.")
    return type(current)(value)
