"""How the faults of a create, or of a synchronous call, are carried out."""

import asyncio

from local_provider.faults import Faults, Fired, Occasion, Point
from local_provider.wire import ApiError, ConnectionCut


async def strike(faults: Faults, point: Point, occasion: Occasion) -> None:
    """Raise what a rule in force here asks for; return when none does."""
    for fired in faults.take(point, occasion):
        await _carry_out(fired)


async def _carry_out(fired: Fired) -> None:
    params = fired.params
    match fired.fault:
        case "create_500" | "ghost_500" | "realtime_500":
            raise ApiError(params["status"], "The server had an error while processing your request.")
        case "create_429" | "realtime_429":
            after = params["retry_after"]
            headers = {} if after is None else {"retry-after": str(after)}
            raise ApiError(429, "Rate limit reached.", code="rate_limit_exceeded", headers=headers)
        case "create_reset" | "ghost_reset" | "realtime_reset":
            raise ConnectionCut
        case "ghost_hang":
            await asyncio.sleep(params["seconds"])
            raise ConnectionCut
