"""Anthropic's side over HTTP: message batches, and messages answered at once."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local_provider.anthropic_answers import demand_of, respond
from local_provider.anthropic_intake import take_in
from local_provider.batches import Batch, Outcome, Phase, ProviderName
from local_provider.downloads import send_results
from local_provider.faults import Occasion, Point
from local_provider.ids import new_id
from local_provider.realtime import Call, serve
from local_provider.replies import RequestRefused
from local_provider.state import State, state_of
from local_provider.striking import strike, strike_call
from local_provider.wire import JSON, ApiError, json_object, require_key, whole_number

WINDOW_SECONDS = 24 * 3600
ENDPOINT = "/v1/messages"
ANTHROPIC = ProviderName.ANTHROPIC


async def create_batch(request: Request) -> Response:
    require_key(request)
    state = state_of(request)
    nth = state.faults.count_create(ANTHROPIC)
    batch_id = new_id("msgbatch_")
    lines = state.store.folder / "inputs" / f"{batch_id}.jsonl"
    incoming = state.store.incoming_path()
    try:
        await _receive(request, incoming, state.settings.anthropic_max_bytes)
        checked = await asyncio.to_thread(take_in, incoming, lines, max_requests=state.settings.anthropic_max_requests)
    except RequestRefused as refused:
        lines.unlink(missing_ok=True)
        raise ApiError(refused.status, refused.message) from None
    finally:
        incoming.unlink(missing_ok=True)
    occasion = Occasion(
        provider=ANTHROPIC, model=checked.model, endpoint=ENDPOINT, nth_create=nth, custom_id=checked.first_custom_id
    )
    try:
        await strike(state.faults, Point.CREATE, occasion)
        state.rate_limits.admit_create(ANTHROPIC)
    except BaseException:
        lines.unlink(missing_ok=True)
        raise
    now = state.clock.now()
    batch = Batch(
        id=batch_id, provider=ANTHROPIC, endpoint=ENDPOINT, model=checked.model, input_path=str(lines), created_at=now,
        latency=state.settings.latency_seconds, results_order=state.settings.results_order, phase=Phase.ANSWERING,
        started_at=now, total=checked.count, sample_custom_id=checked.first_custom_id, nth_create=nth,
        faults={fired.fault: fired.params for fired in state.faults.take(Point.BATCH, occasion)},
    )  # fmt: skip
    with state.store.transaction():
        state.store.add_batch(batch)
        state.tally.count(ANTHROPIC, "batches_created")
        state.tally.count(ANTHROPIC, "requests_accepted", checked.count)
    state.worker.wake()
    await strike(state.faults, Point.ACCEPTED, occasion)
    return JSON(show_batch(batch, request))


async def _receive(request: Request, path: Path, most: int) -> None:
    """Write the body to disk as it arrives. Raises ApiError 413 when it is too large."""
    size = 0
    with path.open("wb") as out:
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                raise ApiError(413, f"Request exceeds the maximum size: {most} bytes")
            out.write(chunk)


async def list_batches(request: Request) -> Response:
    require_key(request)
    await strike_call(request, "list")
    limit = whole_number(request, "limit", 20, 1_000)
    before, after = request.query_params.get("before_id"), request.query_params.get("after_id")
    if before and after:
        raise ApiError(400, "before_id and after_id cannot be given together")
    state = state_of(request)
    found = state.store.batches(
        ANTHROPIC, older_than=after, newer_than=before, limit=limit + 1, shown=state.listed
    )  # fmt: skip
    data = found[-limit:] if before else found[:limit]
    shown = [show_batch(batch, request) for batch in data]
    return JSON(
        {
            "data": shown, "has_more": len(found) > limit,
            "first_id": shown[0]["id"] if shown else None, "last_id": shown[-1]["id"] if shown else None,
        }
    )  # fmt: skip


def _batch(request: Request, state: State) -> Batch:
    batch_id = request.path_params["batch_id"]
    batch = state.store.batch(batch_id, ANTHROPIC)
    if batch is None or not state.known(batch):
        raise ApiError(404, f"Message batch {batch_id} not found")
    return batch


async def retrieve_batch(request: Request) -> Response:
    require_key(request)
    batch = _batch(request, state_of(request))
    await strike_call(request, "retrieve", batch)
    return JSON(show_batch(batch, request))


async def cancel_batch(request: Request) -> Response:
    require_key(request)
    state = state_of(request)
    await strike_call(request, "cancel", _batch(request, state))
    with state.store.transaction():
        batch = _batch(request, state)
        if not batch.open:
            raise ApiError(400, f"Message batch {batch.id} has already ended and cannot be canceled")
        if batch.cancel_requested_at is None and batch.phase is Phase.ANSWERING:
            batch.cancel_requested_at = state.clock.now()
            state.store.save_batch(batch)
    state.worker.wake()
    return JSON(show_batch(batch, request))


async def delete_batch(request: Request) -> Response:
    require_key(request)
    state = state_of(request)
    batch = _batch(request, state)
    await strike_call(request, "delete", batch)
    if batch.open:
        raise ApiError(400, f"Message batch {batch.id} has not ended yet: cancel it before deleting it")
    state.store.delete_batch(batch)
    return JSON({"id": batch.id, "type": "message_batch_deleted"})


async def results(request: Request) -> Response:
    require_key(request)
    state = state_of(request)
    batch = _batch(request, state)
    await strike_call(request, "download", batch)
    if batch.open:
        raise ApiError(404, f"Message batch {batch.id} has no results yet: it is {status_of(batch)}")
    path = state.store.results_path(batch)
    return await send_results(request, batch, path, media_type="application/x-jsonl", filename=None)


def status_of(batch: Batch) -> str:
    """The batch's status in Anthropic's words."""
    if not batch.open:
        return "ended"
    return "in_progress" if batch.cancel_requested_at is None else "canceling"


def show_batch(batch: Batch, request: Request) -> dict[str, Any]:
    """The batch in Anthropic's words, and with the lies that it is to tell."""
    shown, faults = _shown(batch, request), state_of(request).faults
    if "false_counts" in batch.faults and not batch.open:
        shown["request_counts"] = {
            "processing": 0, "succeeded": 0, "errored": 0, "canceled": batch.total, "expired": 0
        }  # fmt: skip
        faults.strike("false_counts", {})
    if "empty_ids" in batch.faults and batch.open:
        shown["results_url"] = ""
        faults.strike("empty_ids", {})
    return shown


def _shown(batch: Batch, request: Request) -> dict[str, Any]:
    counts = {"processing": batch.total, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    if not batch.open:
        counts = {
            "processing": 0, "succeeded": batch.succeeded,
            "errored": batch.total - batch.succeeded - batch.unfinished,  # what got no line, too: they always sum up
            "canceled": batch.unfinished if batch.outcome is Outcome.CANCELLED else 0,
            "expired": batch.unfinished if batch.outcome is Outcome.EXPIRED else 0,
        }  # fmt: skip
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": status_of(batch),
        "request_counts": counts,
        "created_at": _rfc3339(batch.created_at),
        "expires_at": _rfc3339(batch.created_at + WINDOW_SECONDS),
        "ended_at": _rfc3339(batch.ended_at),
        "cancel_initiated_at": _rfc3339(batch.cancel_requested_at),
        "archived_at": None,
        "results_url": None if batch.open else f"{request.base_url}v1/messages/batches/{batch.id}/results",
    }


def _rfc3339(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds")


async def message(request: Request) -> Response:
    """One message, answered at once."""
    require_key(request)
    state = state_of(request)
    params = await json_object(request)
    call = Call(
        provider=ANTHROPIC, endpoint=ENDPOINT, body=params, demand=lambda: demand_of(params),
        respond=lambda: respond(params, state.answerer, state.prompt_cache),
    )  # fmt: skip
    return await serve(call, state)


ROUTES = [
    Route("/v1/messages", message, methods=["POST"]),
    Route("/v1/messages/batches", create_batch, methods=["POST"]),
    Route("/v1/messages/batches", list_batches, methods=["GET"]),
    Route("/v1/messages/batches/{batch_id}", retrieve_batch, methods=["GET"]),
    Route("/v1/messages/batches/{batch_id}", delete_batch, methods=["DELETE"]),
    Route("/v1/messages/batches/{batch_id}/cancel", cancel_batch, methods=["POST"]),
    Route("/v1/messages/batches/{batch_id}/results", results, methods=["GET"]),
]
