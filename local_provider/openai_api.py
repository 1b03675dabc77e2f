"""OpenAI's side over HTTP: files, batches and the synchronous endpoints."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import orjson
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from local_provider.batches import Batch, Outcome, Phase, ProviderName
from local_provider.downloads import send_results
from local_provider.faults import Faults, Occasion, Point
from local_provider.flex import wants_flex
from local_provider.ids import new_id
from local_provider.openai_answers import respond
from local_provider.openai_asks import demand_of
from local_provider.openai_lines import RESULTS, batch_of_results
from local_provider.realtime import Call, serve
from local_provider.state import State, state_of
from local_provider.store import StoredFile
from local_provider.striking import strike, strike_call
from local_provider.validation import ENDPOINTS
from local_provider.wire import JSON, ApiError, json_object, require_key, whole_number

WINDOW_SECONDS = 24 * 3600
BATCH_FILE_SECONDS = 30 * 24 * 3600
OPENAI = ProviderName.OPENAI


async def create_file(request: Request) -> Response:
    require_key(request)
    await strike_call(request, "upload")
    state = state_of(request)
    async with request.form(max_part_size=1024 * 1024) as form:
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise ApiError(400, "Missing required parameter: 'file'.", param="file")
        purpose = form.get("purpose")
        if not isinstance(purpose, str) or not purpose:
            raise ApiError(400, "Missing required parameter: 'purpose'.", param="purpose")
        if (upload.size or 0) > state.settings.openai_max_upload_bytes:
            raise ApiError(413, f"The file is larger than {state.settings.openai_max_upload_bytes} bytes.")
        now = int(state.clock.now())
        file = StoredFile(
            id=new_id("file-"), filename=upload.filename or "upload", bytes=upload.size or 0,
            purpose=purpose, created_at=now, expires_at=_expires_at(form, purpose, now),
        )  # fmt: skip
        await asyncio.to_thread(_keep, upload, state.store.file_path(file.id))
    state.store.add_file(file)
    return JSON(show_file(file))


def _expires_at(form: FormData, purpose: str, now: int) -> int | None:
    seconds = form.get("expires_after[seconds]")
    if seconds is None:
        return now + BATCH_FILE_SECONDS if purpose == "batch" else None
    return now + _expiry_seconds(seconds, form.get("expires_after[anchor]"), "expires_after")


def _expiry_seconds(seconds: Any, anchor: Any, param: str) -> int:
    if anchor != "created_at":
        raise ApiError(400, f"Invalid '{param}.anchor': it has to be 'created_at'.", param=f"{param}.anchor")
    if not str(seconds).isdigit() or not 3_600 <= int(seconds) <= 2_592_000:
        raise ApiError(400, f"Invalid '{param}.seconds': from 3600 to 2592000.", param=f"{param}.seconds")
    return int(seconds)


def _keep(upload: UploadFile, path: Path) -> None:
    with path.open("wb") as out:
        shutil.copyfileobj(upload.file, out, 1024 * 1024)


async def list_files(request: Request) -> Response:
    require_key(request)
    await strike_call(request, "list_files")
    query = request.query_params
    limit = whole_number(request, "limit", 10_000, 10_000)
    files = state_of(request).store.files(
        purpose=query.get("purpose"), after=query.get("after"), limit=limit + 1,
        newest_first=query.get("order", "desc") != "asc",
    )  # fmt: skip
    return JSON(_page([show_file(file) for file in files], limit))


def _file(request: Request) -> StoredFile:
    require_key(request)
    file_id = request.path_params["file_id"]
    file = state_of(request).store.file(file_id)
    if file is None:
        raise ApiError(404, f"No such File object: {file_id}", param="id")
    return file


async def retrieve_file(request: Request) -> Response:
    file = _file(request)
    await strike_call(request, "retrieve_file")
    return JSON(show_file(file))


async def file_content(request: Request) -> Response:
    file, store = _file(request), state_of(request).store
    path, media_type = store.file_path(file.id), "application/octet-stream"
    batch = store.batch(batch_of_results(file.filename), OPENAI) if file.purpose == RESULTS else None
    await strike_call(request, "download", batch)
    if batch is None:
        return FileResponse(path, media_type=media_type, filename=file.filename)
    return await send_results(request, batch, path, media_type=media_type, filename=file.filename)


async def delete_file(request: Request) -> Response:
    file = _file(request)
    await strike_call(request, "delete")
    state_of(request).store.delete_file(file.id)
    return JSON({"id": file.id, "object": "file", "deleted": True})


def show_file(file: StoredFile) -> dict[str, Any]:
    return {
        "object": "file", "id": file.id, "purpose": file.purpose, "filename": file.filename, "bytes": file.bytes,
        "created_at": file.created_at, "expires_at": file.expires_at, "status": "processed", "status_details": None,
    }  # fmt: skip


async def create_batch(request: Request) -> Response:
    require_key(request)
    state = state_of(request)
    nth = state.faults.count_create(OPENAI)
    body = await json_object(request)
    endpoint, file_id = body.get("endpoint"), body.get("input_file_id")
    if endpoint not in ENDPOINTS:
        raise ApiError(400, f"Invalid 'endpoint': one of {', '.join(ENDPOINTS)}.", param="endpoint")
    if body.get("completion_window") != "24h":
        raise ApiError(400, "Invalid 'completion_window': only '24h' is supported.", param="completion_window")
    if not isinstance(file_id, str) or not file_id:
        raise ApiError(400, "Missing required parameter: 'input_file_id'.", param="input_file_id")
    metadata = _metadata(body.get("metadata"))
    expiry = body.get("output_expires_after")
    path = state.store.file_path(file_id)
    first = await asyncio.to_thread(_first_line, path)
    occasion = Occasion(
        provider=OPENAI, model=first.get("model"), endpoint=endpoint, nth_create=nth, custom_id=first.get("custom_id")
    )
    await strike(state.faults, Point.CREATE, occasion)
    state.rate_limits.admit_create(OPENAI)
    batch = Batch(
        id=new_id("batch_"), provider=OPENAI, endpoint=endpoint, model=first.get("model"),
        input_path=str(path), created_at=state.clock.now(), latency=state.settings.latency_seconds,
        results_order=state.settings.results_order, input_file_id=file_id, metadata=metadata,
        output_expires_seconds=_expiry_seconds(expiry.get("seconds"), expiry.get("anchor"), "output_expires_after")
        if isinstance(expiry, dict) else None,
        sample_custom_id=first.get("custom_id"), nth_create=nth,
        faults={fired.fault: fired.params for fired in state.faults.take(Point.BATCH, occasion)},
    )  # fmt: skip
    with state.store.transaction():
        state.store.add_batch(batch)
        state.tally.count(OPENAI, "batches_created")
    state.worker.wake()
    await strike(state.faults, Point.ACCEPTED, occasion)
    return JSON(show_batch(batch, state.faults))


def _metadata(metadata: Any) -> dict[str, str] | None:
    if metadata is None:
        return None
    if not isinstance(metadata, dict) or len(metadata) > 16:
        raise ApiError(400, "Invalid 'metadata': an object of at most 16 pairs.", param="metadata")
    for key, value in metadata.items():
        if len(key) > 64 or not isinstance(value, str) or len(value) > 512:
            raise ApiError(
                400,
                "Invalid 'metadata': keys of at most 64, string values of at most 512 characters.",
                param="metadata",
            )
    return metadata


def _first_line(path: Path) -> dict[str, str]:
    """Model and custom_id of a file's first request, as far as it can be read; validation comes later."""
    try:
        with path.open("rb") as file:
            line = orjson.loads(file.readline())
        found = {"custom_id": line.get("custom_id"), "model": line["body"].get("model")}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)}


async def list_batches(request: Request) -> Response:
    require_key(request)
    await strike_call(request, "list")
    limit = whole_number(request, "limit", 20, 100)
    after, state = request.query_params.get("after"), state_of(request)
    found = state.store.batches(OPENAI, older_than=after, limit=limit + 1, shown=state.listed)
    return JSON(_page([show_batch(batch, state.faults) for batch in found], limit))


def _batch(request: Request, state: State) -> Batch:
    batch_id = request.path_params["batch_id"]
    batch = state.store.batch(batch_id, OPENAI)
    if batch is None or not state.known(batch):
        raise ApiError(404, f"No batch found with id '{batch_id}'.")
    return batch


async def retrieve_batch(request: Request) -> Response:
    require_key(request)
    state = state_of(request)
    batch = _batch(request, state)
    await strike_call(request, "retrieve", batch)
    return JSON(show_batch(batch, state.faults))


async def cancel_batch(request: Request) -> Response:
    require_key(request)
    state = state_of(request)
    await strike_call(request, "cancel", _batch(request, state))
    with state.store.transaction():
        batch = _batch(request, state)
        if batch.phase in {Phase.FINALIZING, Phase.DONE}:
            raise ApiError(409, f"Cannot cancel a batch with status '{status_of(batch)}'.")
        if batch.cancel_requested_at is None:
            batch.cancel_requested_at = state.clock.now()
            state.store.save_batch(batch)
    state.worker.wake()
    return JSON(show_batch(batch, state.faults))


def status_of(batch: Batch) -> str:
    """The batch's status in OpenAI's words."""
    if batch.outcome is not None:
        return batch.outcome.value
    if batch.cancel_requested_at is not None:
        return "cancelling"
    return "in_progress" if batch.phase is Phase.ANSWERING else batch.phase.value


def show_batch(batch: Batch, faults: Faults) -> dict[str, Any]:
    """The batch in OpenAI's words, and with the lies that it is to tell."""
    shown = _shown(batch)
    if "false_counts" in batch.faults and batch.total:
        shown["request_counts"] = {"total": batch.total, "completed": 1, "failed": 0}
        faults.strike("false_counts", {})
    if "empty_ids" in batch.faults and not (batch.output_file_id and batch.error_file_id):
        shown |= {"output_file_id": batch.output_file_id or "", "error_file_id": batch.error_file_id or ""}
        faults.strike("empty_ids", {})
    return shown


def _shown(batch: Batch) -> dict[str, Any]:
    def ended(outcome: Outcome) -> int | None:
        return int(batch.ended_at) if batch.ended_at is not None and batch.outcome is outcome else None

    def at(moment: float | None) -> int | None:
        return None if moment is None else int(moment)

    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": {"object": "list", "data": batch.validation_errors} if batch.validation_errors else None,
        "input_file_id": batch.input_file_id,
        "completion_window": "24h",
        "status": status_of(batch),
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": int(batch.created_at),
        "in_progress_at": at(batch.started_at),
        "expires_at": int(batch.created_at) + WINDOW_SECONDS,
        "finalizing_at": at(batch.finalizing_at),
        "completed_at": ended(Outcome.COMPLETED),
        "failed_at": ended(Outcome.FAILED),
        "expired_at": ended(Outcome.EXPIRED),
        "cancelling_at": at(batch.cancel_requested_at),
        "cancelled_at": ended(Outcome.CANCELLED),
        "request_counts": {"total": batch.total, "completed": batch.succeeded, "failed": batch.errored},
        "metadata": batch.metadata,
        "usage": {
            "input_tokens": batch.input_tokens,
            "input_tokens_details": {"cached_tokens": batch.cached_tokens},
            "output_tokens": batch.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": batch.input_tokens + batch.output_tokens,
        },
    }


def _page(shown: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """A page of at most `limit`, of which one more was fetched to see whether there is more."""
    data = shown[:limit]
    return {
        "object": "list", "data": data, "has_more": len(shown) > limit,
        "first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None,
    }  # fmt: skip


async def synchronous(request: Request) -> Response:
    """Chat completions, responses, embeddings and moderations, answered at once."""
    require_key(request)
    state, endpoint = state_of(request), request.url.path
    body = await json_object(request)
    call = Call(
        provider=OPENAI, endpoint=endpoint, body=body, demand=lambda: demand_of(endpoint, body),
        respond=lambda: respond(endpoint, body, state.answerer, state.prompt_cache), flex=wants_flex(endpoint, body),
    )  # fmt: skip
    return await serve(call, state)


ROUTES = [
    Route("/v1/files", create_file, methods=["POST"]),
    Route("/v1/files", list_files, methods=["GET"]),
    Route("/v1/files/{file_id}", retrieve_file, methods=["GET"]),
    Route("/v1/files/{file_id}", delete_file, methods=["DELETE"]),
    Route("/v1/files/{file_id}/content", file_content, methods=["GET"]),
    Route("/v1/batches", create_batch, methods=["POST"]),
    Route("/v1/batches", list_batches, methods=["GET"]),
    Route("/v1/batches/{batch_id}", retrieve_batch, methods=["GET"]),
    Route("/v1/batches/{batch_id}/cancel", cancel_batch, methods=["POST"]),
    *(Route(endpoint, synchronous, methods=["POST"]) for endpoint in ENDPOINTS),
]
