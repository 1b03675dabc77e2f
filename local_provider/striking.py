"""How the faults of a create, of a synchronous call, and of every other call are carried out."""

import asyncio

from starlette.requests import Request

from local_provider.batches import Batch
from local_provider.faults import Faults, Fired, Occasion, Point
from local_provider.state import state_of
from local_provider.wire import ApiError, ConnectionCut, provider_of


async def strike(faults: Faults, point: Point, occasion: Occasion) -> None:
    """Raise what a rule in force here asks for; return when none does."""
    for fired in faults.take(point, occasion):
        await _carry_out(fired)


async def strike_call(request: Request, operation: str, batch: Batch | None = None) -> None:
    """Raise what a rule asks for at a call that buys nothing; `operation` is one of OPERATIONS."""
    occasion = occasion_of(batch, operation) if batch else Occasion(provider=provider_of(request), operation=operation)
    await strike(state_of(request).faults, Point.CALL, occasion)


def occasion_of(batch: Batch, operation: str | None = None) -> Occasion:
    """What rules can ask of a batch that exists."""
    return Occasion(
        provider=batch.provider, model=batch.model, endpoint=batch.endpoint, nth_create=batch.nth_create,
        custom_id=batch.sample_custom_id, operation=operation,
    )  # fmt: skip


async def _carry_out(fired: Fired) -> None:
    params = fired.params
    match fired.fault.rpartition("_")[2]:
        case "500":
            raise ApiError(params["status"], "The server had an error while processing your request.")
        case "429":
            after = params["retry_after"]
            headers = {} if after is None else {"retry-after": str(after)}
            raise ApiError(429, "Rate limit reached.", code="rate_limit_exceeded", headers=headers)
        case "404":
            raise ApiError(404, "What was asked for is not found at the moment.")
        case "reset":
            raise ConnectionCut
        case "hang":
            await asyncio.sleep(params["seconds"])
            raise ConnectionCut
