"""The lines of OpenAI's batch output and error files, and how those files are published when a batch ends."""

from typing import Any

import orjson

from local_provider.answers import Answerer
from local_provider.batches import Batch, Outcome
from local_provider.clock import Clock
from local_provider.ids import new_id
from local_provider.openai_answers import error_body, respond
from local_provider.prompt_cache import PromptCache
from local_provider.replies import LineResult, digest_of
from local_provider.spoiling import spoiled
from local_provider.store import Store, StoredFile

_LEFT = {
    Outcome.EXPIRED: ("batch_expired", "This request could not be executed before the completion window expired."),
    Outcome.CANCELLED: ("batch_cancelled", "This request was not executed because the batch was cancelled."),
}
_BROKEN = {
    "server_error": (500, "server_error", "The server had an error while processing your request. Sorry about that!"),
    "invalid_request": (400, "invalid_request_error", "Invalid request: the request could not be processed."),
    "rate_limit": (429, "rate_limit_exceeded", "Rate limit reached. Please try again later."),
    "overloaded": (503, "server_error", "The engine is currently overloaded, please try again later."),
}
RESULTS = "batch_output"
"""The purpose of a result file."""


def batch_of_results(filename: str) -> str:
    """The id of the batch that a result file of this name belongs to."""
    return filename.rpartition("_")[0]


class OpenAILines:
    """OpenAI's side of answering a batch."""

    def __init__(self, clock: Clock, cache: PromptCache) -> None:
        self._clock, self._cache = clock, cache

    def answer(self, raw: bytes, batch: Batch, answerer: Answerer, *, spoil: str | None) -> LineResult:
        request = orjson.loads(raw)
        body = request["body"]
        # A batch is a tier of its own, whatever its lines say.
        on_tier = {**body, "service_tier": "default"} if "service_tier" in body else body
        good = reply = respond(batch.endpoint, on_tier, answerer, self._cache)
        if spoil:
            reply = spoiled(good, spoil)
        return LineResult(
            line=_line(request["custom_id"], response=_response(reply.status, reply.body)),
            ok=reply.status == 200,
            custom_id=request["custom_id"],
            digest=digest_of(body),
            reply=reply,
            struck=None if reply is good else "unusable_lines",
        )

    def broken(self, raw: bytes, code: str) -> LineResult:
        custom_id = orjson.loads(raw)["custom_id"]
        if code == "request_timeout":
            error = {"code": code, "message": "The request timed out at the provider."}
            return LineResult(line=_line(custom_id, error=error), ok=False, custom_id=custom_id)
        status, kind, message = _BROKEN[code]
        response = _response(status, error_body(message, kind=kind))
        return LineResult(line=_line(custom_id, response=response), ok=False, custom_id=custom_id)

    def left(self, raw: bytes, outcome: Outcome) -> bytes:
        code, message = _LEFT[outcome]
        return _line(orjson.loads(raw)["custom_id"], error={"code": code, "message": message})

    def finish(self, batch: Batch, store: Store) -> None:
        """Make the output and the error file downloadable; a file that would be empty is none."""
        now = int(self._clock.now())
        expires_at = now + batch.output_expires_seconds if batch.output_expires_seconds else None
        for errors, size in ((False, batch.output_bytes), (True, batch.error_bytes)):
            if not size:
                continue
            kind = "error" if errors else "output"
            file = StoredFile(
                id=new_id("file-"), filename=f"{batch.id}_{kind}.jsonl", bytes=size,
                purpose=RESULTS, created_at=now, expires_at=expires_at,
            )  # fmt: skip
            store.results_path(batch, errors=errors).rename(store.file_path(file.id))
            store.add_file(file)
            if errors:
                batch.error_file_id = file.id
            else:
                batch.output_file_id = file.id


def _response(status: int, body: dict[str, Any]) -> dict[str, Any]:
    return {"status_code": status, "request_id": new_id("req_"), "body": body}


def _line(custom_id: str, *, response: dict[str, Any] | None = None, error: dict[str, str] | None = None) -> bytes:
    line = {"id": new_id("batch_req_"), "custom_id": custom_id, "response": response, "error": error}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
