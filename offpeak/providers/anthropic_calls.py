"""Calls of Anthropic's realtime endpoint."""

from collections.abc import Mapping

import anthropic
import httpx2

from offpeak.providers import anthropic_wire, http, wire
from offpeak.providers.base import Kind
from offpeak.providers.realtime import Caller, Measure, Reply

_MEASURES = {
    "requests": Measure.REQUESTS,
    "tokens": Measure.TOKENS,
    "input-tokens": Measure.INPUT_TOKENS,
    "output-tokens": Measure.OUTPUT_TOKENS,
}


class AnthropicCaller(Caller):
    """Calls one Anthropic workspace. `client` is closed with it."""

    def __init__(self, client: anthropic.AsyncAnthropic, account: http.Account, *, endpoint: str) -> None:
        self._client = client.with_options(max_retries=0)
        self._account = account
        self._endpoint = endpoint

    async def ask(
        self,
        *,
        kind: Kind,  # noqa: ARG002 - one kind is all there is
        body: bytes,
        flex: bool = False,  # noqa: ARG002 - there is no such tier
    ) -> Reply:
        try:
            response = await self._client.post(
                self._endpoint,
                content=body,
                cast_to=httpx2.Response,
                options={"headers": {"Content-Type": "application/json"}},
            )
            answer = http.json_object(response)
        except anthropic.APIStatusError as error:
            if not http.wrong_request(error.status_code):
                raise self._account.of_call(error) from None
            refusal = {"type": "errored", "error": wire.mapping(error.response.text)}
            line = anthropic_wire.decode({"result": refusal})
            return Reply(line, limits(error.response.headers))
        except (anthropic.AnthropicError, httpx2.HTTPError, httpx2.StreamError, OSError, ValueError) as error:
            raise self._account.of_call(error) from None
        parsed = {"result": {"type": "succeeded", "message": answer}}
        line = wire.decoded(anthropic_wire.decode, parsed, what="the answer")
        return Reply(line, limits(response.headers))

    async def close(self) -> None:
        await self._client.close()


def limits(headers: Mapping[str, str]) -> dict[Measure, float]:
    """What the headers of an answer allow in a minute."""
    found = {measure: headers.get(f"anthropic-ratelimit-{name}-limit", "") for name, measure in _MEASURES.items()}
    return {measure: float(most) for measure, most in found.items() if most.isdecimal() and int(most)}
