"""The bytes that OpenAI takes and gives: request bodies, and the lines of output and error files.

Bodies are what the realtime endpoints take. Compatible gateways mostly have chat completions only, and answer loosely:
decoding accepts bodies that are JSON text, "" for null, unknown codes and missing usage.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel

from offpeak.errors import DefinitionError
from offpeak.providers import wire
from offpeak.providers.base import CacheUse, Encode, Finish, Kind, Outcome, ResultLine, Usage
from offpeak.providers.openai_caching import tell_completions, tell_responses
from offpeak.providers.schemas import openai_format_name, openai_schema
from offpeak.requests import Chat, Embedding, Image, Moderation, Request

ChatEndpoint = Literal["responses", "chat.completions"]
"""Which of OpenAI's two endpoints serves a Chat."""

PATHS: Mapping[ChatEndpoint, str] = {"responses": "/v1/responses", "chat.completions": "/v1/chat/completions"}

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""What `/v1/responses` takes; gateways with chat completions have values of their own, which pass unchecked."""

MAX_STOPS = 4
"""Stop sequences that chat completions take at most."""

_FINISH = {
    "stop": Finish.STOP,
    "eos": Finish.STOP,
    "length": Finish.LENGTH,
    "content_filter": Finish.FILTERED,
}
_INCOMPLETE = {"max_output_tokens": Finish.LENGTH, "content_filter": Finish.FILTERED}
_LINE_OUTCOMES = {"batch_expired": Outcome.EXPIRED, "batch_cancelled": Outcome.CANCELLED}
# Looking a member up on its enum costs more than the rest of a simple line's bookkeeping.
_SUCCEEDED, _STOP, _OTHER = Outcome.SUCCEEDED, Finish.STOP, Finish.OTHER
_MODERATION_FIELDS = ("flagged", "categories", "category_scores")


# --- encoding -------------------------------------------------------------------------------------------------------


def encoder(
    kind: Kind,
    *,
    model: str,
    output: type[BaseModel] | None,
    chat_endpoint: ChatEndpoint,
    limit: int,
    writes_charged: bool,
) -> Encode:
    """The encoder of one asset; `limit` is in bytes of one body. Arguments and errors as `Provider.encoder` says."""
    if output is not None and kind is not Kind.CHAT:
        raise DefinitionError(f"output={output.__name__}: only a Chat is answered in an output schema; leave it out.")
    match kind:
        case Kind.CHAT:
            return _encode_chats(chat_endpoint, model, output, limit, writes_charged=writes_charged)
        case Kind.EMBEDDING:
            return _encode_with({"model": model, "encoding_format": "base64"}, Embedding, _embedding_body, limit)
        case Kind.MODERATION:
            return _encode_with({"model": model}, Moderation, _moderation_body, limit)


def _encode_chats(
    endpoint: ChatEndpoint, model: str, output: type[BaseModel] | None, limit: int, *, writes_charged: bool
) -> Encode:
    of_responses = endpoint == "responses"
    body_of, tell = (_responses_body, tell_responses) if of_responses else (_completions_body, tell_completions)
    head = wire.open_object((_responses_constant if of_responses else _completions_constant)(model, output))

    def encode(request: Request, use: CacheUse = CacheUse.NONE, /) -> bytes:
        if not isinstance(request, Chat):
            wire.refuse_type(request, Chat)
        body = body_of(request)
        if request.prefix is not None:
            tell(request, body, use, writes_charged=writes_charged)
        return wire.sealed(request, head, body, limit)

    return encode


def _encode_with(
    constant: Mapping[str, Any], expected: type[Request], body_of: Callable[[Any], dict[str, Any]], limit: int
) -> Encode:
    head = wire.open_object(constant)

    def encode(request: Request, _: CacheUse = CacheUse.NONE, /) -> bytes:
        if not isinstance(request, expected):
            wire.refuse_type(request, expected)
        return wire.sealed(request, head, body_of(request), limit)

    return encode


def _responses_constant(model: str, output: type[BaseModel] | None) -> dict[str, Any]:
    # The answer is kept by Offpeak; a copy stored at OpenAI for 30 days could not be erased with its key.
    constant: dict[str, Any] = {"model": model, "store": False}
    if output is not None:
        schema = {"name": openai_format_name(output), "strict": True, "schema": openai_schema(output)}
        constant["text"] = {"format": {"type": "json_schema"} | schema}
    return constant


def _completions_constant(model: str, output: type[BaseModel] | None) -> dict[str, Any]:
    constant: dict[str, Any] = {"model": model}
    if output is not None:
        schema = {"name": openai_format_name(output), "strict": True, "schema": openai_schema(output)}
        constant["response_format"] = {"type": "json_schema", "json_schema": schema}
    return constant


def _responses_body(request: Chat) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if request.system is not None:
        body["instructions"] = wire.text(request, "system", request.system)
    prompt = request.prompt
    if isinstance(prompt, str) and not request.messages and not request.images:
        body["input"] = prompt
    else:
        body["input"] = [_responses_turn(turn) for turn in wire.turns(request)]
    if request.max_tokens is not None:
        wire.check_max_tokens(request)
        body["max_output_tokens"] = request.max_tokens
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.top_p is not None:
        body["top_p"] = request.top_p
    if request.effort is not None:
        wire.check_effort(request, EFFORTS)
        body["reasoning"] = {"effort": request.effort}
    if request.stop:
        wire.refuse(
            request,
            "stop",
            "is not a parameter of /v1/responses",
            'Leave it out, or use the other endpoint: BatchApi(openai_chat_endpoint="chat.completions").',
        )
    if request.user is not None:
        body["safety_identifier"] = request.user
    return body


def _responses_turn(turn: wire.Turn) -> dict[str, Any]:
    if not turn.images:
        return {"role": turn.role, "content": turn.content}
    parts: list[dict[str, Any]] = [{"type": "input_text", "text": turn.content}]
    parts += [{"type": "input_image", "image_url": wire.data_url(image)} for image in turn.images]
    return {"role": turn.role, "content": parts}


def _completions_body(request: Chat) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    if request.system is not None:
        messages.append({"role": "system", "content": wire.text(request, "system", request.system)})
    prompt = request.prompt
    if isinstance(prompt, str) and not request.messages and not request.images:
        messages.append({"role": "user", "content": prompt})
    else:
        messages += [
            {"role": turn.role, "content": _parts(turn.content, turn.images) if turn.images else turn.content}
            for turn in wire.turns(request)
        ]
    body: dict[str, Any] = {"messages": messages}
    if request.max_tokens is not None:
        wire.check_max_tokens(request)
        body["max_completion_tokens"] = request.max_tokens
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.top_p is not None:
        body["top_p"] = request.top_p
    if request.effort is not None:
        body["reasoning_effort"] = request.effort
    if request.stop:
        if len(request.stop) > MAX_STOPS:
            wire.refuse(request, "stop", f"has {len(request.stop)} sequences", f"Give at most {MAX_STOPS}.")
        body["stop"] = list(request.stop)
    if request.user is not None:
        body["user"] = request.user
    return body


def _parts(content: str, images: tuple[Image, ...] | Any) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"type": "text", "text": content}]
    return parts + [{"type": "image_url", "image_url": {"url": wire.data_url(image)}} for image in images]


def _embedding_body(request: Embedding) -> dict[str, Any]:
    content = wire.text(request, "text", request.text)
    if not content:
        wire.refuse(request, "text", "is empty, and there is no vector for that", "Leave the row out of the plan.")
    body: dict[str, Any] = {"input": content}
    if request.dimensions is not None:
        if request.dimensions < 1:
            wire.refuse(request, "dimensions", f"is {request.dimensions}", "Give at least 1, or leave it out.")
        body["dimensions"] = request.dimensions
    if request.user is not None:
        body["user"] = request.user
    return body


def _moderation_body(request: Moderation) -> dict[str, Any]:
    content = wire.text(request, "text", request.text)
    return {"input": _parts(content, request.images) if request.images else content}


# --- decoding -------------------------------------------------------------------------------------------------------


def decoder(kind: Kind, chat_endpoint: ChatEndpoint) -> Callable[[dict[str, Any]], ResultLine]:
    """Decodes one line, already parsed, of an output or error file."""
    answer_of = {
        Kind.EMBEDDING: _embedding_answer,
        Kind.MODERATION: _moderation_answer,
        # A gateway may serve one endpoint through the other: the answer says itself which of the two it is.
        Kind.CHAT: _responses_answer if chat_endpoint == "responses" else _completions_answer,
    }[kind]

    def decode(line: dict[str, Any]) -> ResultLine:
        custom_id = line.get("custom_id") or ""
        response = line.get("response")
        if not response:
            return _without_response(custom_id, wire.mapping(line.get("error")))
        if type(response) is not dict:
            response = wire.mapping(response)
        status = response.get("status_code")
        body = response.get("body")
        if type(body) is not dict:
            body = wire.mapping(body)
        if status == 200 or (status is None and not body.get("error")):
            return answer_of(custom_id, body)
        return _http_error(custom_id, status, body, answer_of)

    return decode


def _without_response(custom_id: str, error: Mapping[str, Any]) -> ResultLine:
    code = wire.said(error.get("code")) or "no_response"
    return ResultLine(
        custom_id,
        _LINE_OUTCOMES.get(code, Outcome.ERRORED),
        _OTHER,
        error_code=code,
        error_message=wire.said(error.get("message")),
    )


def _http_error(
    custom_id: str, status: object, body: dict[str, Any], answer_of: Callable[[str, dict[str, Any]], ResultLine]
) -> ResultLine:
    try:
        number = int(status)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        number = 500 if body.get("error") else 200  # an unreadable status: the body says which it was
    if 200 <= number < 300:
        return answer_of(custom_id, body)
    error = wire.mapping(body.get("error")) or body
    code, message = wire.http_error(
        number, wire.said(error.get("code")) or wire.said(error.get("type")), wire.said(error.get("message"))
    )
    return ResultLine(custom_id, Outcome.ERRORED, _OTHER, error_code=code, error_message=message)


def _responses_answer(custom_id: str, body: dict[str, Any]) -> ResultLine:
    if "choices" in body:
        return _completions_answer(custom_id, body)
    answer: str | None = None
    refusal: str | None = None
    for item in body.get("output") or ():
        if item.get("type") != "message":
            continue
        for part in item.get("content") or ():
            kind = part.get("type")
            if kind == "output_text":
                words = part.get("text") or ""
                answer = words if answer is None else answer + words
            elif kind == "refusal":
                refusal = part.get("refusal") or "refused"
    status = body.get("status")
    finish, code = _STOP, None
    if status == "incomplete":
        reason = wire.mapping(body.get("incomplete_details")).get("reason")
        finish = _INCOMPLETE.get(reason, _OTHER)  # type: ignore[arg-type]
    elif status == "failed":
        return _failed_response(custom_id, body)
    elif status == "cancelled":
        return ResultLine(custom_id, Outcome.CANCELLED, _OTHER, usage=usage(body.get("usage")))
    elif status and status != "completed":
        finish = _OTHER
    if refusal is not None:
        finish, code = Finish.REFUSED, "refusal"
    elif answer is None and finish is _STOP:
        finish = _OTHER
    at = body.get("completed_at") or body.get("created_at")
    if type(at) is not int:
        at = wire.unix_seconds(at)
    # By position: names double the cost of making the tuple.
    return ResultLine(
        custom_id,
        _SUCCEEDED,
        finish,
        answer,
        None,
        None,
        usage(body.get("usage")),
        body.get("model"),
        at,
        code,
        refusal,
    )


def _failed_response(custom_id: str, body: dict[str, Any]) -> ResultLine:
    error = wire.mapping(body.get("error"))
    code = wire.said(error.get("code"))
    return ResultLine(
        custom_id,
        Outcome.ERRORED,
        _OTHER,
        usage=usage(body.get("usage")),
        model=body.get("model"),
        # server_error and rate_limit_exceeded are about the moment, not about the request.
        error_code={"server_error": "http_500", "rate_limit_exceeded": "http_429"}.get(code or "", code or "failed"),
        error_message=": ".join(filter(None, [code, wire.said(error.get("message"))])) or None,
    )


def _completions_answer(custom_id: str, body: dict[str, Any]) -> ResultLine:
    if "output" in body and "choices" not in body:
        return _responses_answer(custom_id, body)
    choices = body.get("choices")
    choice = choices[0] if choices else {}
    message = choice.get("message") or {}
    answer = message.get("content")
    if type(answer) is list:
        answer = "".join(part.get("text") or "" for part in answer)
    refusal = wire.said(message.get("refusal"))
    reason = choice.get("finish_reason")
    if refusal is not None:
        finish = Finish.REFUSED
    elif answer is None:
        finish = Finish.LENGTH if reason == "length" else Finish.FILTERED if reason == "content_filter" else _OTHER
    else:
        finish = _FINISH.get(reason, _OTHER) if reason else _STOP
    at = body.get("created")
    if type(at) is not int:
        at = wire.unix_seconds(at)
    code = None if refusal is None else "refusal"
    return ResultLine(
        custom_id,
        _SUCCEEDED,
        finish,
        answer,
        None,
        None,
        usage(body.get("usage")),
        body.get("model"),
        at,
        code,
        refusal,
    )


def _embedding_answer(custom_id: str, body: dict[str, Any]) -> ResultLine:
    data = body.get("data")
    vector = wire.vector_bytes(data[0].get("embedding")) if data else None
    unreadable = vector is None
    return ResultLine(
        custom_id,
        Outcome.ERRORED if unreadable else _SUCCEEDED,
        _OTHER if unreadable else _STOP,
        vector=vector,
        usage=usage(body.get("usage")),
        model=body.get("model"),
        error_code="unreadable_embedding" if unreadable else None,
        error_message="the answer holds neither base64 float32 nor a list of numbers" if unreadable else None,
    )


def _moderation_answer(custom_id: str, body: dict[str, Any]) -> ResultLine:
    results = body.get("results")
    verdict = {field: results[0].get(field) for field in _MODERATION_FIELDS} if results else None
    return ResultLine(
        custom_id,
        _SUCCEEDED if verdict else Outcome.ERRORED,
        _STOP if verdict else _OTHER,
        output=verdict,
        usage=usage(body.get("usage")),
        model=body.get("model"),
        error_code=None if verdict else "unreadable_moderation",
        error_message=None if verdict else "the answer holds no results",
    )


def usage(reported: object) -> Usage:
    """Tokens as any of OpenAI's endpoints reports them; input tokens include what touched a cache, as OpenAI counts."""
    if type(reported) is not dict:
        return Usage()
    get = reported.get
    given = get("input_tokens")
    if given is None:
        given, answered = get("prompt_tokens"), get("completion_tokens")
        details = get("prompt_tokens_details")
    else:
        answered, details = get("output_tokens"), get("input_tokens_details")
    if given is None:  # some gateways report an embedding's total alone
        given = get("total_tokens")
    if not details:
        return Usage(given or 0, answered or 0)
    long_lived = (details.get("cache_write_tokens_details") or {}).get("ttl_12h_tokens")
    return Usage(
        given or 0,
        answered or 0,
        details.get("cached_tokens") or 0,
        details.get("cache_write_tokens") or 0,
        long_lived or 0,
    )
