"""A synchronous call at either provider: counted, admitted by the rate limits, answered, billed.

An answer is billed when it has been generated, whether or not it reaches its caller.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from local_provider.batches import ProviderName
from local_provider.faults import Occasion, Point
from local_provider.flex import admit_flex
from local_provider.replies import Reply, digest_of
from local_provider.settings import Settings
from local_provider.state import State
from local_provider.striking import strike
from local_provider.tally import Ending, Lane, Purchase
from local_provider.tokens import Demand
from local_provider.wire import JSON, ApiError, request_ids

NO_MODEL = "(none)"
"""Whom a call is counted for that names no model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A synchronous call, as its provider reads it."""

    provider: ProviderName
    endpoint: str
    body: dict[str, Any]
    demand: Callable[[], Demand]
    """The tokens that it asks for."""
    respond: Callable[[], Reply]
    flex: bool = False

    @property
    def model(self) -> str:
        model = self.body.get("model")
        return model if isinstance(model, str) and model else NO_MODEL


async def serve(call: Call, state: State) -> Response:
    """Answer a call. Raises ApiError or ConnectionCut where it is refused or a fault strikes."""
    provider, model = call.provider, call.model
    occasion = Occasion(provider=provider, model=call.body.get("model"), endpoint=call.endpoint)
    with state.tally.call(provider, model) as counted:
        await strike(state.faults, Point.REALTIME, occasion)
        try:
            if call.flex:
                admit_flex(call.body, state.settings)
            state.rate_limits.admit(provider, model, call.demand)
        except ApiError as refused:
            counted.ending = Ending.REFUSED if refused.status == 429 else Ending.FAILED
            raise
        reply = await asyncio.to_thread(call.respond)
        if latency := latency_of(state.settings, state.latencies):
            await asyncio.sleep(latency)
        if reply.billed:
            purchase = Purchase.of(reply, digest_of(call.body))
            state.tally.record(provider, [purchase], lane=Lane.FLEX if call.flex else Lane.REALTIME)
            state.rate_limits.answered(provider, model, reply.output_tokens)
            counted.ending = Ending.ANSWERED
    if reply.billed:
        await strike(state.faults, Point.ANSWERED, occasion)
    headers = {**request_ids(), **state.rate_limits.headers(provider, model)}
    return JSON(reply.body, status_code=reply.status, headers=headers)


def latency_of(settings: Settings, draw: random.Random) -> float:
    """How many seconds a call takes. With a spread, latencies are log-normal: few are far longer than the median."""
    median, spread = settings.realtime_latency_seconds, settings.realtime_latency_spread
    return median * draw.lognormvariate(0, spread) if median and spread else median
