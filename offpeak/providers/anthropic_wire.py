"""The bytes that Anthropic takes and gives: Messages parameters, and the lines of a batch's results.

Parameters are checked by Anthropic only when the batch runs, so what it is known to refuse is refused here, before
anything is sent: sampling parameters, which its API no longer has, and answers of no tokens.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from offpeak.providers import wire
from offpeak.providers.base import CacheUse, Encode, Finish, Outcome, ResultLine, Usage
from offpeak.providers.schemas import anthropic_schema
from offpeak.requests import Chat, Image, Request

CACHED = {"type": "ephemeral", "ttl": "1h"}
"""Where a block ends that is to be cached. A batch takes up to a day, so Anthropic's guide to batches has the longer of
its two times to live."""

EFFORTS = ("low", "medium", "high", "xhigh", "max")

_FINISH = {
    None: Finish.STOP,
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
    "refusal": Finish.REFUSED,
}

# Looking a member up on its enum costs more than the rest of a simple line's bookkeeping.
_SUCCEEDED, _STOP, _OTHER, _REFUSED = Outcome.SUCCEEDED, Finish.STOP, Finish.OTHER, Finish.REFUSED


def encoder(*, model: str, output: type[BaseModel] | None, limit: int) -> Encode:
    """The encoder of one asset's Chats; `limit` is in bytes of one `params`. Errors as `Provider.encoder` says."""
    schema = None if output is None else {"type": "json_schema", "schema": anthropic_schema(output)}
    plain = wire.open_object(
        {"model": model} if schema is None else {"model": model, "output_config": {"format": schema}}
    )
    bare = wire.open_object({"model": model})

    def encode(request: Request, use: CacheUse = CacheUse.NONE, /) -> bytes:
        if not isinstance(request, Chat):
            wire.refuse_type(request, Chat)
        body = _body(request)
        if request.prefix is not None:
            body["system"] = _system(request, use)
        if request.effort is None:
            return wire.sealed(request, plain, body, limit)
        wire.check_effort(request, EFFORTS)
        config: dict[str, Any] = {"effort": request.effort}
        body["output_config"] = config if schema is None else config | {"format": schema}
        return wire.sealed(request, bare, body, limit)

    return encode


def _body(request: Chat) -> dict[str, Any]:
    body: dict[str, Any] = {"max_tokens": wire.DEFAULT_MAX_TOKENS}
    if request.max_tokens is not None:
        wire.check_max_tokens(request)
        body["max_tokens"] = request.max_tokens
    if request.system is not None:
        body["system"] = wire.text(request, "system", request.system)
    prompt = request.prompt
    if isinstance(prompt, str) and prompt and not request.messages and not request.images:
        body["messages"] = [{"role": "user", "content": prompt}]
    else:
        body["messages"] = [_turn(request, turn) for turn in wire.turns(request)]
    if request.temperature is not None or request.top_p is not None:
        name = "temperature" if request.temperature is not None else "top_p"
        wire.refuse(
            request, name, "is not a parameter of Anthropic's Messages API any more", "Leave it out; see effort."
        )
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    if request.user is not None:
        body["metadata"] = {"user_id": request.user}
    return body


def _system(request: Chat, use: CacheUse) -> str | list[dict[str, Any]] | None:
    """The system text of a request with a prefix: one text, or blocks of which the first is to be cached."""
    wire.check_prefix(request)
    if use is not CacheUse.WRITE:
        return request.instructions
    cached: list[dict[str, Any]] = [{"type": "text", "text": request.prefix, "cache_control": CACHED}]
    return [*cached, {"type": "text", "text": request.system}] if request.system else cached


def _turn(request: Chat, turn: wire.Turn) -> dict[str, Any]:
    if not turn.content and not turn.images:
        wire.refuse(
            request, "the text of a turn", "is empty, which Anthropic refuses", "Leave the row out of the plan."
        )
    if not turn.images:
        return {"role": turn.role, "content": turn.content}
    parts: list[dict[str, Any]] = [{"type": "image", "source": _source(image)} for image in turn.images]
    if turn.content:
        parts.append({"type": "text", "text": turn.content})
    return {"role": turn.role, "content": parts}


def _source(image: Image) -> dict[str, Any]:
    if image.url is not None:
        return {"type": "url", "url": image.url}
    return {"type": "base64", "media_type": image.media_type, "data": image.base64}


def decode(line: dict[str, Any]) -> ResultLine:
    """Decode one line, already parsed, of a batch's results."""
    custom_id = line.get("custom_id") or ""
    result = line.get("result")
    if type(result) is not dict:
        result = wire.mapping(result)
    match result.get("type"):
        case "succeeded":
            message = result.get("message")
            return _answer(custom_id, message if type(message) is dict else wire.mapping(message))
        case "expired":
            return ResultLine(custom_id, Outcome.EXPIRED, _OTHER, error_code="expired")
        case "canceled" | "cancelled":
            return ResultLine(custom_id, Outcome.CANCELLED, _OTHER, error_code="canceled")
        case "errored":
            return _error(custom_id, wire.mapping(result.get("error")))
        case other:
            return ResultLine(
                custom_id,
                Outcome.ERRORED,
                _OTHER,
                error_code="unknown_result_type",
                error_message=f"a result of type {other!r}, which this version does not know",
            )


def _answer(custom_id: str, message: dict[str, Any]) -> ResultLine:
    answer: str | None = None
    for block in message.get("content") or ():
        if block.get("type") == "text":
            words = block.get("text") or ""
            answer = words if answer is None else answer + words
    finish = _FINISH.get(message.get("stop_reason") or None, _OTHER)
    if answer is None and finish is _STOP:
        finish = _OTHER
    code = "refusal" if finish is _REFUSED else None
    # By position: names double the cost of making the tuple.
    return ResultLine(
        custom_id, _SUCCEEDED, finish, answer, None, None, usage(message.get("usage")), message.get("model"), None, code
    )


def _error(custom_id: str, error: Mapping[str, Any]) -> ResultLine:
    inner = wire.mapping(error.get("error")) or error
    code = wire.said(inner.get("type")) or "error"
    return ResultLine(
        custom_id, Outcome.ERRORED, _OTHER, error_code=code, error_message=wire.said(inner.get("message"))
    )


def usage(reported: object) -> Usage:
    """Tokens of one message. Anthropic counts cached input apart; here it is part of `input_tokens`."""
    if type(reported) is not dict:
        return Usage()
    get = reported.get
    read = get("cache_read_input_tokens") or 0
    written = get("cache_creation_input_tokens") or 0
    long_lived = 0
    split = get("cache_creation")
    if split:
        long_lived = split.get("ephemeral_1h_input_tokens") or 0
        written = written or (split.get("ephemeral_5m_input_tokens") or 0) + long_lived
    return Usage((get("input_tokens") or 0) + read + written, get("output_tokens") or 0, read, written, long_lived)
