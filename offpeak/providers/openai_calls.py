"""Calls of OpenAI's realtime endpoints, and of what is compatible with them."""

import re
from collections.abc import Mapping
from datetime import timedelta

import httpx2
import openai

from offpeak.errors import TierUnavailable
from offpeak.providers import http, openai_wire, wire
from offpeak.providers.base import Kind
from offpeak.providers.openai_wire import ChatEndpoint
from offpeak.providers.realtime import Caller, Measure, Reply

FLEX = b'{"service_tier":"flex",'
"""What a body begins with that asks for flex processing: batch prices, slower, and refused when it is short
(OpenAI's guide to flex processing)."""

_NO_FLEX_NOW = "resource_unavailable"
_MEASURES = {"requests": Measure.REQUESTS, "tokens": Measure.TOKENS}
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:([\d.]+)s)?(?:([\d.]+)ms)?")
_LONGEST_MINUTE = timedelta(minutes=10)
"""A limit that would take longer than this to be there whole again is one by the day."""

_RESOLUTION = timedelta(milliseconds=10)
"""What a reset says may be so much too long: it is told in whole milliseconds, and of a large limit hardly used that is
mostly rounding."""


class OpenAICaller(Caller):
    """Calls one OpenAI account. `client` is closed with it."""

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        account: http.Account,
        *,
        endpoints: Mapping[Kind, str],
        chat_endpoint: ChatEndpoint,
    ) -> None:
        self._client = client.with_options(max_retries=0)
        self._account = account
        self._paths = {kind: endpoint.removeprefix("/v1") for kind, endpoint in endpoints.items()}
        self._decoders = {kind: openai_wire.decoder(kind, chat_endpoint) for kind in Kind}

    async def ask(self, *, kind: Kind, body: bytes, flex: bool = False) -> Reply:
        flex = flex and kind is Kind.CHAT
        try:
            response = await self._client.post(
                self._paths[kind],
                content=FLEX + body[1:] if flex else body,
                cast_to=httpx2.Response,
                options={"headers": {"Content-Type": "application/json"}},
            )
            answer = http.json_object(response)
        except openai.APIStatusError as error:
            return self._refused(error, kind, flex)
        except (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError, OSError, ValueError) as error:
            raise self._account.of_call(error) from None
        parsed = {"response": {"status_code": 200, "body": answer}}
        line = wire.decoded(self._decoders[kind], parsed, what="the answer")
        return Reply(line, limits(response.headers), answer.get("service_tier") == "flex")

    def _refused(self, error: openai.APIStatusError, kind: Kind, flex: bool) -> Reply:
        """The reply to a request that is wrong. Raises what any other refusal means."""
        said = wire.mapping(wire.mapping(error.response.text).get("error"))
        if flex and (said.get("code") == _NO_FLEX_NOW or said.get("param") == "service_tier"):
            raise TierUnavailable(
                f"{self._account.title} ({self._account.realm}) has no flex capacity for the model. Nothing was "
                "bought. It is asked at its standard tier.",
                lasting=said.get("code") != _NO_FLEX_NOW,
            ) from None
        if not http.wrong_request(error.status_code):
            raise self._account.of_call(error) from None
        refusal = {"response": {"status_code": error.status_code, "body": {"error": said}}}
        return Reply(self._decoders[kind](refusal), limits(error.response.headers))

    async def close(self) -> None:
        await self._client.close()


def limits(headers: Mapping[str, str]) -> dict[Measure, float]:
    """What the headers of an answer allow in a minute. A limit by the day counts by its share of a minute."""
    found: dict[Measure, float] = {}
    for name, measure in _MEASURES.items():
        most = headers.get(f"x-ratelimit-limit-{name}", "")
        if most.isdecimal() and int(most):
            by_day = _whole_after(headers, name, int(most)) > _LONGEST_MINUTE
            found[measure] = int(most) / (24 * 60) if by_day else float(most)
    return found


def _whole_after(headers: Mapping[str, str], name: str, most: int) -> timedelta:
    """How long the whole of a limit takes to come back, by how long the used part of it does."""
    left = headers.get(f"x-ratelimit-remaining-{name}", "")
    used = most - int(left) if left.isdecimal() else 0
    reset = max(reset_after(headers.get(f"x-ratelimit-reset-{name}", "")) - _RESOLUTION, timedelta(0))
    return reset * most / used if used > 0 else timedelta(0)


def reset_after(text: str) -> timedelta:
    """A duration as OpenAI writes it: "12ms", "1s", "6m0s". What is none counts as nothing."""
    found = _DURATION.fullmatch(text)
    if found is None:
        return timedelta(0)
    days, hours, minutes, seconds, milliseconds = (float(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)
