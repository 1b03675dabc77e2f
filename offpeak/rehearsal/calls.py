"""Calls of the stand-in with the providers' own SDKs. Never of a real provider: the keys are none.

The SDKs' own retries are off, and the same ones are made here: then a refusal that a retry makes good counts, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

import anthropic
import httpx2
import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from offpeak.launches.launch import Session
from offpeak.money.rates import ModelRates
from offpeak.providers import anthropic_wire, openai_wire
from offpeak.rehearsal.arrivals import Arrival

KEY = "rehearsal"

ATTEMPTS = 3
"""As the SDKs have it: one, and two retries."""

LONGEST_WAIT_S, FIRST_WAIT_S, MOST_WAIT_S = 60.0, 0.5, 8.0
"""As the SDKs have them: a Retry-After up to a minute is honoured; otherwise waits double from half of a second."""

THROTTLED = 429
_AGAIN = frozenset({408, 409, THROTTLED})

LEAST_OUTPUT_TOKENS = 16
"""The fewest that OpenAI's responses endpoint takes as a maximum."""

CHARACTERS_PER_TOKEN = 4
_WORDS = "what was asked before and what the visitor has on the page right now, "


class Called(NamedTuple):
    """What came of a request to a model."""

    answered: bool
    refusals: int
    """Answers with 429."""
    cost_pico: int = 0


@dataclass(frozen=True, slots=True)
class Size:
    """Tokens of one request."""

    input_tokens: int
    output_tokens: int

    @classmethod
    def of(cls, session: Session) -> "Size":
        """An equal part of a session's."""
        return cls(
            max(1, round(session.input_tokens / session.requests)),
            max(LEAST_OUTPUT_TOKENS, round(session.output_tokens / session.requests)),
        )


class Models:
    """The models behind one stand-in at `url`. It belongs to the event loop that it is entered in."""

    def __init__(self, url: str, *, size: Size, rates: Mapping[str, ModelRates], most_in_flight: int) -> None:
        self._url, self._size, self._rates, self._most = url, size, rates, most_in_flight

    async def __aenter__(self) -> "Models":
        # A proxy of the environment is not for this machine, and an account of it is not for a stand-in.
        bounds = httpx2.Limits(max_connections=self._most, max_keepalive_connections=self._most)
        self._http = httpx2.AsyncClient(trust_env=False, limits=bounds, timeout=httpx2.Timeout(60.0))
        self._openai = openai.AsyncOpenAI(
            api_key=KEY, base_url=f"{self._url}/v1", max_retries=0, http_client=self._http
        )
        self._anthropic = anthropic.AsyncAnthropic(
            api_key=KEY, base_url=self._url, max_retries=0, http_client=self._http
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def ask(self, arrival: Arrival) -> Called:
        """Send a request, and again where the SDKs would. What fails in the end is said, not raised."""
        refusals = 0
        ask = self._ask_openai if arrival.model.startswith("openai/") else self._ask_anthropic
        try:
            async for attempt in AsyncRetrying(
                stop=stop_after_attempt(ATTEMPTS), wait=_wait, retry=retry_if_exception(_worth_a_retry), reraise=True
            ):
                with attempt:
                    try:
                        cost = await ask(arrival)
                    except (openai.RateLimitError, anthropic.RateLimitError):
                        refusals += 1
                        raise
        except (openai.OpenAIError, anthropic.AnthropicError):
            return Called(answered=False, refusals=refusals)
        return Called(answered=True, refusals=refusals, cost_pico=cost)

    async def _ask_openai(self, arrival: Arrival) -> int:
        answer = await self._openai.responses.create(
            model=arrival.model.partition("/")[2],
            input=self.prompt(arrival),
            max_output_tokens=self._size.output_tokens,
        )
        return self._cost(arrival, openai_wire.usage(answer.usage.model_dump() if answer.usage else None))

    async def _ask_anthropic(self, arrival: Arrival) -> int:
        answer = await self._anthropic.messages.create(
            model=arrival.model.partition("/")[2],
            max_tokens=self._size.output_tokens,
            messages=[{"role": "user", "content": self.prompt(arrival)}],
        )
        return self._cost(arrival, anthropic_wire.usage(answer.usage.model_dump()))

    def _cost(self, arrival: Arrival, usage: Any) -> int:
        return self._rates[arrival.model].cost(usage).realtime_pico

    def prompt(self, arrival: Arrival) -> str:
        """As long as a request of the session is. No two begin alike, so that no cache makes one cheaper."""
        wanted = self._size.input_tokens * CHARACTERS_PER_TOKEN
        begun = f"Request {arrival.number} about {arrival.row.key} of {arrival.row.asset}: "
        return (begun + _WORDS * (wanted // len(_WORDS) + 1))[:wanted]


def _worth_a_retry(error: BaseException) -> bool:
    if isinstance(error, (openai.APIConnectionError, anthropic.APIConnectionError)):
        return True
    status = error.status_code if isinstance(error, (openai.APIStatusError, anthropic.APIStatusError)) else 0
    return status in _AGAIN or status >= 500


def _wait(state: RetryCallState) -> float:
    """Seconds to the next attempt."""
    error = state.outcome.exception() if state.outcome is not None else None
    if isinstance(error, (openai.APIStatusError, anthropic.APIStatusError)):
        asked = error.response.headers.get("retry-after", "")
        if asked.isdecimal() and 0 < int(asked) <= LONGEST_WAIT_S:
            return float(asked)
    return float(min(FIRST_WAIT_S * 2.0 ** (state.attempt_number - 1), MOST_WAIT_S))
