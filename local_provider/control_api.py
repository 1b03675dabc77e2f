"""Control over HTTP under /local/: what was bought, and what is to go wrong. No key is asked for."""

import asyncio
from dataclasses import asdict
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local_provider import anthropic_api, openai_api
from local_provider.batches import Batch, ProviderName
from local_provider.faults import KINDS, Point, params_of
from local_provider.state import state_of
from local_provider.wire import JSON, ApiError, json_object, whole_number

SETTLING_SECONDS = 60.0
"""How long a change of the clock waits for what is due by it."""


async def health(request: Request) -> Response:
    return JSON({"status": "ok", "open_batches": len(state_of(request).store.open_batch_ids())})


async def tally(request: Request) -> Response:
    return JSON(state_of(request).tally.summary())


async def tally_requests(request: Request) -> Response:
    at_least = whole_number(request, "at_least", 1, 1_000_000_000)
    return JSON({"requests": state_of(request).tally.requests(at_least=at_least)})


async def purchases(request: Request) -> Response:
    """Each billed answer after the one of the id `after`, in the order they were counted."""
    after = whole_number(request, "after", 0, 2**63 - 1, least=0)
    limit = whole_number(request, "limit", 1_000, 10_000)
    found = state_of(request).tally.purchases(after=after, limit=limit + 1)
    return JSON({"purchases": found[:limit], "has_more": len(found) > limit})


async def list_batches(request: Request) -> Response:
    return JSON({"batches": [_shown(batch) for batch in state_of(request).store.batches()]})


def _shown(batch: Batch) -> dict[str, Any]:
    status = openai_api.status_of if batch.provider is ProviderName.OPENAI else anthropic_api.status_of
    return {
        "id": batch.id,
        "provider": batch.provider,
        "endpoint": batch.endpoint,
        "model": batch.model,
        "status": status(batch),
        "outcome": batch.outcome,
        "requests": batch.total,
        "answered": batch.succeeded,
        "errored": batch.errored,
        "unfinished": batch.unfinished,
        "input_tokens": batch.input_tokens,
        "output_tokens": batch.output_tokens,
        "created_at": batch.created_at,
        "ended_at": batch.ended_at,
        "metadata": batch.metadata,
        "input_file_id": batch.input_file_id,
        "first_custom_id": batch.sample_custom_id,
        "faults": batch.faults,
        "deleted": batch.deleted,
    }


async def batch_faults(request: Request) -> Response:
    """Give one open batch a fault, or (DELETE) take all of its faults from it, so that it can end."""
    state = state_of(request)
    given = await json_object(request) if request.method == "POST" else None
    with state.store.transaction():
        batch = state.store.batch(request.path_params["batch_id"])
        if batch is None:
            raise ApiError(404, f"There is no batch {request.path_params['batch_id']}.")
        if given is None:
            batch.faults = {}
        else:
            fault = str(given.pop("fault", ""))
            if fault in KINDS and KINDS[fault].point is not Point.BATCH:
                raise ApiError(400, f"{fault} does not strike a batch that exists already.")
            batch.faults = {**batch.faults, fault: params_of(fault, given)}
        state.store.save_batch(batch)
    state.worker.wake()
    return JSON(_shown(batch))


async def clock(request: Request) -> Response:
    """Show the server's time; POST holds it at a time or advances it, DELETE gives it back to the machine.

    Answered once everything that is due by then has happened.
    """
    state = state_of(request)
    if request.method == "POST":
        given = await json_object(request)
        value = next(iter(given.values()), None)
        if set(given) not in ({"now"}, {"advance"}) or isinstance(value, bool) or not isinstance(value, int | float):
            raise ApiError(400, f'The clock takes {{"now": UNIX SECONDS}} or {{"advance": SECONDS}}; got {given!r}.')
        if "now" in given:
            state.clock.hold(value)
        else:
            state.clock.advance(value)
    elif request.method == "DELETE":
        state.clock.release()
    if request.method != "GET" and not await asyncio.to_thread(state.worker.settle, SETTLING_SECONDS):
        raise ApiError(500, f"What is due by now has not happened within {SETTLING_SECONDS:.0f} s.")
    return JSON({"now": state.clock.now(), "held": state.clock.held})


async def reset(request: Request) -> Response:
    """Forget every file, batch, count, fault and cached prompt. Settings and the clock stay."""
    state = state_of(request)
    state.faults.clear(counts=True)
    state.store.clear()
    state.tally.clear()
    state.rate_limits.clear()
    await asyncio.to_thread(state.worker.settle, SETTLING_SECONDS)  # it may be reading prompts of what is gone
    state.prompt_cache.clear()
    return JSON({"status": "reset"})


async def settings(request: Request) -> Response:
    """Show the settings; POST changes those it names; DELETE puts all back to what the server was started with."""
    state = state_of(request)
    if request.method == "POST":
        state.settings.update(await json_object(request))
    elif request.method == "DELETE":
        state.settings.become(state.started_with)
    if request.method != "GET":
        state.worker.wake()
    return JSON(asdict(state.settings))


async def faults(request: Request) -> Response:
    """Show the rules; POST adds one or a list of them; DELETE takes all away and leaves the counts."""
    state = state_of(request)
    if request.method == "POST":
        try:
            given = orjson.loads(await request.body())
        except orjson.JSONDecodeError as error:
            raise ApiError(400, f"The request body is not valid JSON: {error}") from None
        state.faults.add(given if isinstance(given, list) else [given])
    elif request.method == "DELETE":
        state.faults.clear()
    return JSON(state.faults.show())


async def unusable(_: Request, error: Exception) -> Response:
    """A SettingsError, told to whoever sent it."""
    return JSON({"error": {"message": str(error), "type": "invalid_request_error"}}, status_code=400)


ROUTES = [
    Route("/local/health", health, methods=["GET"]),
    Route("/local/tally", tally, methods=["GET"]),
    Route("/local/tally/requests", tally_requests, methods=["GET"]),
    Route("/local/tally/purchases", purchases, methods=["GET"]),
    Route("/local/batches", list_batches, methods=["GET"]),
    Route("/local/batches/{batch_id}/faults", batch_faults, methods=["POST", "DELETE"]),
    Route("/local/clock", clock, methods=["GET", "POST", "DELETE"]),
    Route("/local/reset", reset, methods=["POST"]),
    Route("/local/settings", settings, methods=["GET", "POST", "DELETE"]),
    Route("/local/faults", faults, methods=["GET", "POST", "DELETE"]),
]
