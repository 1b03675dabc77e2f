"""The lines of Anthropic's results: all four kinds in one file."""

from typing import Any

import orjson

from local_provider.answers import Answerer
from local_provider.anthropic_answers import error_body, respond
from local_provider.batches import Batch, Outcome
from local_provider.prompt_cache import PromptCache
from local_provider.replies import LineResult, digest_of
from local_provider.spoiling import spoiled
from local_provider.store import Store

_LEFT = {Outcome.EXPIRED: "expired", Outcome.CANCELLED: "canceled"}
_BROKEN = {
    "server_error": ("api_error", "Internal server error"),
    "invalid_request": ("invalid_request_error", "The request could not be processed"),
    "rate_limit": ("rate_limit_error", "This request would exceed your rate limit"),
    "request_timeout": ("timeout_error", "Request timed out"),
    "overloaded": ("overloaded_error", "Overloaded"),
}


class AnthropicLines:
    """Anthropic's side of answering a batch."""

    def __init__(self, cache: PromptCache) -> None:
        self._cache = cache

    def answer(self, raw: bytes, _: Batch, answerer: Answerer, *, spoil: str | None) -> LineResult:
        request = orjson.loads(raw)
        params = request["params"]
        good = reply = respond(params, answerer, self._cache, batch=True)
        if spoil:
            reply = spoiled(good, spoil)
        ok = reply.status == 200
        result = {"type": "succeeded", "message": reply.body} if ok else {"type": "errored", "error": reply.body}
        return LineResult(
            line=_line(request["custom_id"], result), ok=ok, custom_id=request["custom_id"],
            digest=digest_of(params), reply=reply, struck=None if reply is good else "unusable_lines",
        )  # fmt: skip

    def broken(self, raw: bytes, code: str) -> LineResult:
        custom_id = orjson.loads(raw)["custom_id"]
        result = {"type": "errored", "error": error_body(*_BROKEN[code])}
        return LineResult(line=_line(custom_id, result), ok=False, custom_id=custom_id)

    def left(self, raw: bytes, outcome: Outcome) -> bytes:
        return _line(orjson.loads(raw)["custom_id"], {"type": _LEFT[outcome]})

    def finish(self, batch: Batch, store: Store) -> None:
        """The results file is served as it stands."""


def _line(custom_id: str, result: dict[str, Any]) -> bytes:
    return orjson.dumps({"custom_id": custom_id, "result": result}, option=orjson.OPT_APPEND_NEWLINE)
