"""The limits per minute of synchronous calls, and per hour of batch creations, on the server's clock.

Each limit of each model is a token bucket of its own, full to begin with. A call is admitted when every bucket has what
it needs, and one that is refused takes nothing. Changing a limit starts its buckets anew.

OpenAI's tokens are those of the prompt and the most that the answer may have, and stay taken. Anthropic's input tokens
are taken when a call is admitted, its output tokens when it has been answered: its `max_tokens` counts for nothing. A
model with limits of its own has those, and none of its provider's; its tokens at Anthropic are input and output in one.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from local_provider.batches import ProviderName
from local_provider.buckets import Bucket
from local_provider.clock import Clock
from local_provider.openai_answers import ORGANIZATION
from local_provider.settings import Settings
from local_provider.tokens import Demand
from local_provider.wire import ApiError

MINUTE = 60
HOUR = 3_600


class Measure(StrEnum):
    """What a limit per minute counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    INPUT_TOKENS = "input tokens"
    OUTPUT_TOKENS = "output tokens"


SETTINGS = {
    ProviderName.OPENAI: {
        Measure.REQUESTS: "openai_requests_per_minute",
        Measure.TOKENS: "openai_tokens_per_minute",
    },
    ProviderName.ANTHROPIC: {
        Measure.REQUESTS: "anthropic_requests_per_minute",
        Measure.INPUT_TOKENS: "anthropic_input_tokens_per_minute",
        Measure.OUTPUT_TOKENS: "anthropic_output_tokens_per_minute",
    },
}
OF_A_MODEL = {Measure.REQUESTS: "requests_per_minute", Measure.TOKENS: "tokens_per_minute"}
"""What the limits of a single model count."""
CREATES = {
    ProviderName.OPENAI: "openai_creates_per_hour",
    ProviderName.ANTHROPIC: "anthropic_creates_per_hour",
}


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit per minute in force for one model, its bucket brought up to date."""

    measure: Measure
    figure: int
    bucket: Bucket


class RateLimits:
    """Admits calls, or says why not. For the HTTP loop alone."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._buckets: dict[tuple[str, str], tuple[int, float, Bucket]] = {}

    def clear(self) -> None:
        """Every bucket is full again."""
        self._buckets.clear()

    def admit(self, provider: ProviderName, model: str, demand: Callable[[], Demand]) -> None:
        """Let a synchronous call through. Raises ApiError 429 when that would exceed a limit."""
        limits = list(self._limits(provider, model))
        if not limits:
            return
        by_tokens = any(limit.measure is not Measure.REQUESTS for limit in limits)
        asked = demand() if by_tokens else Demand(0, 0)
        waits = []
        for limit in limits:
            needed = _needed(provider, limit.measure, asked)
            if needed > limit.figure:
                raise _refusal(provider, model, limit, needed, None, self.headers(provider, model))
            waits.append((limit.bucket.wait_for(needed), limit, needed))
        wait, limit, needed = max(waits, key=lambda each: each[0])
        if wait:
            raise _refusal(provider, model, limit, needed, wait, self.headers(provider, model))
        for limit in limits:
            if limit.measure is not Measure.OUTPUT_TOKENS:
                limit.bucket.take(_needed(provider, limit.measure, asked))

    def answered(self, provider: ProviderName, model: str, output_tokens: int) -> None:
        """Take what is known only once a call has been answered."""
        for limit in self._limits(provider, model):
            both = provider is ProviderName.ANTHROPIC and limit.measure is Measure.TOKENS
            if both or limit.measure is Measure.OUTPUT_TOKENS:
                limit.bucket.take(output_tokens)

    def admit_create(self, provider: ProviderName) -> None:
        """Let the creation of a batch through. Raises ApiError 429 when that would be too many in an hour."""
        setting = CREATES[provider]
        figure: int | None = getattr(self._settings, setting)
        if figure is None:
            return
        bucket = self._bucket(setting, "", figure, per_second=figure / HOUR, seconds=HOUR)
        wait = bucket.wait_for(1)
        if wait:
            raise ApiError(
                429, f"Rate limit reached on batch creations per hour: Limit {figure}. Please try again in "
                f"{duration(wait)}.", code="rate_limit_exceeded", headers={"retry-after": str(math.ceil(wait))},
            )  # fmt: skip
        bucket.take(1)

    def headers(self, provider: ProviderName, model: str) -> dict[str, str]:
        """What an answer says of the limits in force for its model, as they stand; nothing of what is not limited."""
        limits = list(self._limits(provider, model))
        if provider is ProviderName.OPENAI:
            return {name: value for limit in limits for name, value in _openai_headers(limit)}
        now = self._clock.now()
        found = {name: value for limit in limits for name, value in _anthropic_headers(limit.measure, [limit], now)}
        if both := [limit for limit in limits if limit.measure is not Measure.REQUESTS]:
            found |= dict(_anthropic_headers(Measure.TOKENS, both, now))
        return found

    def _limits(self, provider: ProviderName, model: str) -> Iterator[Limit]:
        seconds = self._settings.rate_limit_burst_seconds
        for measure, setting, figure in self._figures(provider, model):
            if figure is not None:
                bucket = self._bucket(setting, model, figure, per_second=figure / MINUTE, seconds=seconds)
                yield Limit(measure, figure, bucket)

    def _figures(self, provider: ProviderName, model: str) -> Iterator[tuple[Measure, str, int | None]]:
        """What is limited, the name of the limit, and its figure."""
        own = self._settings.model_limits.get(f"{provider}/{model}")
        if own is None:
            for measure, setting in SETTINGS[provider].items():
                yield measure, setting, getattr(self._settings, setting)
            return
        for measure, name in OF_A_MODEL.items():
            yield measure, f"{provider}/{name}", own.get(name)

    def _bucket(self, setting: str, model: str, figure: int, *, per_second: float, seconds: float) -> Bucket:
        now = self._clock.now()
        kept = self._buckets.get((setting, model))
        if kept is not None and kept[:2] == (figure, seconds):
            kept[2].refill(now)
            return kept[2]
        bucket = Bucket.full(per_second=per_second, seconds=seconds, now=now)
        self._buckets[setting, model] = (figure, seconds, bucket)
        return bucket


def duration(seconds: float) -> str:
    """A time as OpenAI writes it: 0s, 12ms, 1.5s, 6m0s, 1h0m0s. Never less than it is."""
    milliseconds = math.ceil(seconds * 1_000 - 1e-3)
    if 0 < milliseconds < 1_000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    told = f"{rest / 1_000:g}s"
    if minutes >= 60:
        return f"{minutes // 60}h{minutes % 60}m{told}"
    return f"{minutes}m{told}" if minutes else told


def _needed(provider: ProviderName, measure: Measure, asked: Demand) -> int:
    match measure:
        case Measure.REQUESTS:
            return 1
        case Measure.TOKENS:
            later = provider is ProviderName.ANTHROPIC
            return asked.input_tokens + (0 if later else asked.most_output_tokens)
        case Measure.INPUT_TOKENS:
            return asked.input_tokens
        case Measure.OUTPUT_TOKENS:
            return 1


def _refusal(
    provider: ProviderName, model: str, limit: Limit, needed: int, wait: float | None, headers: dict[str, str]
) -> ApiError:
    """Why a call is not admitted, in its provider's words; `wait` None: it never will be."""
    if wait is not None:
        headers["retry-after"] = str(math.ceil(wait))
    if provider is ProviderName.ANTHROPIC:
        message = (
            f"This request would exceed the rate limit for your organization ({ORGANIZATION}) of "
            f"{limit.figure:,} {limit.measure} per minute. Please reduce the prompt length or the maximum tokens "
            "requested, or try again later."
        )
        return ApiError(429, message, headers=headers)
    short = "RPM" if limit.measure is Measure.REQUESTS else "TPM"
    what = f"for {model} in organization {ORGANIZATION} on {limit.measure} per min ({short}): Limit {limit.figure}"
    if wait is None:
        message = (
            f"Request too large {what}, Requested {needed}. The input or output tokens must be reduced in order to "
            "run successfully."
        )
    else:
        used = limit.figure - limit.bucket.remaining
        message = f"Rate limit reached {what}, Used {used}, Requested {needed}. Please try again in {duration(wait)}."
    return ApiError(429, message, code="rate_limit_exceeded", kind=limit.measure, headers=headers)


def _openai_headers(limit: Limit) -> Iterator[tuple[str, str]]:
    yield f"x-ratelimit-limit-{limit.measure}", str(limit.figure)
    yield f"x-ratelimit-remaining-{limit.measure}", str(limit.bucket.remaining)
    yield f"x-ratelimit-reset-{limit.measure}", duration(limit.bucket.wait_for(math.inf))


def _anthropic_headers(measure: Measure, limits: list[Limit], now: float) -> Iterator[tuple[str, str]]:
    """Of several limits their sum, full again when the last of them is."""
    name = f"anthropic-ratelimit-{measure.replace(' ', '-')}"
    full_at = math.ceil(now + max(limit.bucket.wait_for(math.inf) for limit in limits) - 1e-3)
    yield f"{name}-limit", str(sum(limit.figure for limit in limits))
    yield f"{name}-remaining", str(sum(limit.bucket.remaining for limit in limits))
    yield f"{name}-reset", datetime.fromtimestamp(full_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
