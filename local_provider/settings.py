"""What can be set while the server runs. An unknown name or a value out of range is refused, never ignored."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

MIB = 1024 * 1024


class Answers(StrEnum):
    """How requests are answered."""

    WORDLLAMA = "wordllama"
    """Nearest labels, extractive digests and real embeddings: sensible, about 1 ms a request."""
    CHEAP = "cheap"
    """By hash and echo: valid and deterministic, but meaningless; for benchmarks."""
    FULL = "full"
    """The same, and a text is as long as its request lets it be; for load, whose cost and limits count tokens."""


class ResultsOrder(StrEnum):
    """The order in which the lines of a batch are answered and delivered."""

    SHUFFLED = "shuffled"
    INPUT = "input"
    REVERSED = "reversed"


ModelLimits = dict[str, dict[str, int]]
"""By "provider/model": what it may be asked in a minute, by the names below."""

PER_MINUTE = ("requests_per_minute", "tokens_per_minute")


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
    """Of a synchronous call; the median where there is a spread."""
    realtime_latency_spread: float = 0.0
    """How far apart latencies are: the standard deviation of their logarithm. 0: all are the same."""
    model_limits: ModelLimits = field(default_factory=dict)
    """Of synchronous calls: limits of single models, in the place of their provider's below."""
    cache_hit_share: float = 1.0
    """The share of requests that find in the prompt cache what is there for them."""
    rate_limit_burst_seconds: float = 60.0
    """How many seconds' worth of a limit per minute can be taken at once, after a pause that is long enough."""
    openai_requests_per_minute: int | None = None
    """Of synchronous calls, for each model. None, here and below: no limit."""
    openai_tokens_per_minute: int | None = None
    openai_enqueued_tokens: int | None = None
    """Prompt tokens of each model's open batches."""
    openai_creates_per_hour: int | None = None
    openai_flex_capacity: float = 1.0
    """The share of synchronous calls on the flex tier for which there is capacity."""
    openai_models_without_flex: tuple[str, ...] = ()
    openai_cache_minimum_tokens: int = 1_024
    """Of a prompt; a shorter one is not cached."""
    openai_max_requests: int = 50_000
    openai_max_bytes: int = 200 * MIB
    openai_max_upload_bytes: int = 512 * MIB
    openai_max_embedding_inputs: int = 50_000
    anthropic_requests_per_minute: int | None = None
    anthropic_input_tokens_per_minute: int | None = None
    anthropic_output_tokens_per_minute: int | None = None
    anthropic_creates_per_hour: int | None = None
    anthropic_cache_minimum_tokens: int = 1_024
    """Of a prompt up to a mark; nothing comes of a mark before."""
    anthropic_max_requests: int = 100_000
    anthropic_max_bytes: int = 256 * MIB

    def update(self, changes: Mapping[str, Any]) -> None:
        """Change all of the named settings, or none. Raises SettingsError."""
        known = {field.name: field.type for field in fields(self)}
        checked = {}
        for name, value in changes.items():
            if name not in known:
                raise SettingsError(f"There is no setting {name!r}. Known: {', '.join(sorted(known))}.")
            checked[name] = _checked(name, value, known[name])
        for name, value in checked.items():
            setattr(self, name, value)

    def become(self, other: "Settings") -> None:
        """Take over every setting of another."""
        for each in fields(self):
            setattr(self, each.name, getattr(other, each.name))


def _checked(name: str, value: Any, kind: Any) -> Any:
    if kind in {Answers, ResultsOrder}:
        if value not in list(kind):
            raise SettingsError(f"{name} is one of {', '.join(kind)}; got {value!r}.")
        return kind(value)
    if kind == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise SettingsError(f"{name} is a list of strings; got {value!r}.")
        return tuple(value)
    if kind == ModelLimits:
        return _model_limits(name, value)
    if kind == int | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise SettingsError(f"{name} is a whole number from 1, or null for no limit; got {value!r}.")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise SettingsError(f"{name} is a number, 0 or more; got {value!r}.")
    if name in {"openai_flex_capacity", "cache_hit_share"} and value > 1:
        raise SettingsError(f"{name} is a share between 0 and 1; got {value!r}.")
    if kind is int and value != int(value):
        raise SettingsError(f"{name} is a whole number; got {value!r}.")
    return kind(value)


def _model_limits(name: str, value: Any) -> ModelLimits:
    if not isinstance(value, dict) or not all(isinstance(each, dict) for each in value.values()):
        raise SettingsError(f'{name} is an object such as {{"openai/gpt-5-mini": {{"requests_per_minute": 60}}}}.')
    for model, limits in value.items():
        provider, _, rest = model.partition("/")
        if provider not in {"openai", "anthropic"} or not rest:
            raise SettingsError(f"{name}: {model!r} is no model: write openai/NAME or anthropic/NAME.")
        for measure, figure in limits.items():
            if measure not in PER_MINUTE:
                raise SettingsError(f"{name}: {model} has no {measure!r}, only {' and '.join(PER_MINUTE)}.")
            if isinstance(figure, bool) or not isinstance(figure, int) or figure < 1:
                raise SettingsError(f"{name}: {measure} of {model} is a whole number from 1; got {figure!r}.")
    return {model: dict(limits) for model, limits in value.items()}
