"""OpenAI's validation of a whole batch file, which runs after the create was answered: one bad line fails the batch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from local_provider.batches import Batch
from local_provider.openai_answers import ORGANIZATION
from local_provider.openai_asks import demand_of
from local_provider.settings import Settings

ENDPOINTS = ("/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/moderations")
MAX_REPORTED = 100


@dataclass(slots=True)
class Validated:
    """What a file holds. With errors, nothing of it runs."""

    count: int = 0
    model: str | None = None
    first_custom_id: str | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    embedding_inputs: int = 0
    prompt_tokens: int = 0
    """Counted only while there is a limit on enqueued tokens."""

    def refuse(self, code: str, message: str, *, line: int | None = None, param: str | None = None) -> None:
        if len(self.errors) < MAX_REPORTED:
            self.errors.append({"code": code, "message": message, "line": line, "param": param})


def validate(batch: Batch, settings: Settings, enqueued: Callable[[str], int]) -> Validated:
    """Check the file of a batch. Holds one line, and the custom_ids, at a time.

    `enqueued` tells the prompt tokens of a model's other open batches.
    """
    checked = Validated()
    path = Path(batch.input_path)
    if "fail_validation" in batch.faults:
        fault = batch.faults["fail_validation"]
        checked.refuse(fault["code"], fault["message"], line=fault["line"])
    elif not path.exists():
        checked.refuse("invalid_request", f"Cannot find file {batch.input_file_id}, or it has been deleted.")
    elif path.stat().st_size > settings.openai_max_bytes:
        checked.refuse("file_too_large", f"The batch input file is larger than {settings.openai_max_bytes} bytes.")
    else:
        _check_lines(path, batch, settings, checked)
        _check_enqueued(checked, settings, enqueued)
    return checked


def _check_lines(path: Path, batch: Batch, settings: Settings, checked: Validated) -> None:
    seen: set[str] = set()
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if raw.isspace():
                continue
            checked.count += 1
            body = _check_line(raw, number, batch, checked, seen)
            if body is not None and settings.openai_enqueued_tokens is not None:
                checked.prompt_tokens += demand_of(batch.endpoint, body).input_tokens
    if checked.count == 0:
        checked.refuse("empty_file", "The batch input file is empty. It needs at least one request.")
    if checked.count > settings.openai_max_requests:
        checked.refuse(
            "too_many_tasks",
            f"The batch input file contains too many requests: {checked.count}. "
            f"The limit is {settings.openai_max_requests}.",
        )
    if checked.embedding_inputs > settings.openai_max_embedding_inputs:
        checked.refuse(
            "too_many_embedding_inputs",
            f"The batch holds {checked.embedding_inputs} embedding inputs across all requests. "
            f"The limit is {settings.openai_max_embedding_inputs}.",
        )


def _check_enqueued(checked: Validated, settings: Settings, enqueued: Callable[[str], int]) -> None:
    limit = settings.openai_enqueued_tokens
    if limit is None or checked.errors or checked.model is None:
        return
    if checked.prompt_tokens + enqueued(checked.model) > limit:
        checked.refuse(
            "token_limit_exceeded",
            f"Enqueued token limit reached for {checked.model} in organization {ORGANIZATION}. "
            f"Limit: {limit:,} enqueued tokens. Please try again once some in_progress batches have been completed.",
        )


def _check_line(raw: bytes, number: int, batch: Batch, checked: Validated, seen: set[str]) -> dict[str, Any] | None:
    """The request's body, as far as it is one."""
    try:
        line = orjson.loads(raw)
    except orjson.JSONDecodeError:
        line = None
    if not isinstance(line, dict):
        checked.refuse("invalid_json_line", "This line is not parseable as valid JSON.", line=number)
        return None
    for name in ("custom_id", "method", "url", "body"):
        if not line.get(name):
            checked.refuse(
                "missing_required_parameter", f"Missing required parameter: '{name}'.", line=number, param=name
            )
            return None
    custom_id, body = line["custom_id"], line["body"]
    if not isinstance(custom_id, str) or not isinstance(body, dict):
        name = "body" if isinstance(custom_id, str) else "custom_id"
        checked.refuse("invalid_type", f"Invalid type for '{name}'.", line=number, param=name)
        return None
    if custom_id in seen:
        checked.refuse(
            "duplicate_custom_id",
            f"The custom_id '{custom_id}' for this request is a duplicate of another request.",
            line=number,
            param="custom_id",
        )
    seen.add(custom_id)
    checked.first_custom_id = checked.first_custom_id or custom_id
    _check_target(line, number, batch, checked)
    _check_model(body, number, checked)
    if batch.endpoint == "/v1/embeddings":
        given = body.get("input")
        checked.embedding_inputs += len(given) if isinstance(given, list) else 1
    return body


def _check_target(line: dict[str, Any], number: int, batch: Batch, checked: Validated) -> None:
    if line["method"] != "POST":
        checked.refuse("invalid_method", "The method has to be POST.", line=number, param="method")
    if line["url"] == batch.endpoint:
        return
    if line["url"] in ENDPOINTS:
        checked.refuse(
            "url_mismatch",
            f"The URL provided for this request does not match the batch endpoint {batch.endpoint}.",
            line=number,
            param="url",
        )
    else:
        checked.refuse("invalid_url", f"The URL '{line['url']}' is not supported.", line=number, param="url")


def _check_model(body: dict[str, Any], number: int, checked: Validated) -> None:
    model = body.get("model")
    if not model or not isinstance(model, str):
        checked.refuse(
            "missing_required_parameter", "Missing required parameter: 'model'.", line=number, param="body.model"
        )
    elif model.startswith("claude"):
        checked.refuse("model_not_found", f"The model '{model}' does not exist.", line=number, param="body.model")
    elif checked.model is None:
        checked.model = model
    elif model != checked.model:
        checked.refuse(
            "model_mismatch",
            f"The model '{model}' of this request does not match the rest of the batch, '{checked.model}'.",
            line=number,
            param="body.model",
        )
