"""Anthropic's messages endpoint: params to a message, the same live and in a batch."""

from typing import Any

from local_provider import anthropic_caching
from local_provider.answers import LOCAL_PREFIX, Answerer
from local_provider.asks import Ask, ask_of, token_limit
from local_provider.ids import new_id
from local_provider.prompt_cache import PromptCache
from local_provider.replies import Reply, RequestRefused
from local_provider.schema_rules import check_anthropic
from local_provider.tokens import Demand, cut, tokens_of


def respond(params: Any, answerer: Answerer, cache: PromptCache, *, batch: bool = False) -> Reply:
    """Answer a request; a refused one gives its HTTP status and Anthropic's error body."""
    try:
        return _message(_checked(params, batch=batch), answerer, cache, batch=batch)
    except RequestRefused as refused:
        return Reply(status=refused.status, body=error_body(refused.code or "invalid_request_error", refused.message))


def demand_of(params: dict[str, Any]) -> Demand:
    """The tokens of a message before it is answered; one that will be refused takes none."""
    try:
        ask = _ask(_checked(params, batch=False))
        anthropic_caching.marks_of(params, ask.prompt)
    except RequestRefused:
        return Demand(0, 0)
    return Demand(ask.input_tokens, ask.max_tokens or 0)


def error_body(kind: str, message: str, request_id: str | None = None) -> dict[str, Any]:
    return {
        "type": "error",
        "error": {"details": {"error_visibility": "user_facing"}, "type": kind, "message": message},
        "request_id": request_id,
    }


def _checked(params: Any, *, batch: bool) -> dict[str, Any]:
    if not isinstance(params, dict):
        raise RequestRefused("params: Input should be a valid dictionary")
    for name in ("model", "max_tokens", "messages"):
        if params.get(name) is None:
            raise RequestRefused(f"{name}: Field required")
    if not isinstance(params["model"], str) or not params["model"].startswith("claude"):
        raise RequestRefused(f"model: {params['model']}", code="not_found_error", status=404)
    if not isinstance(params["messages"], list) or not params["messages"]:
        raise RequestRefused("messages: at least one message is required")
    if any(isinstance(m, dict) and m.get("role") not in {"user", "assistant"} for m in params["messages"]):
        raise RequestRefused("messages: Input should be 'user' or 'assistant'")
    if params.get("stream"):
        where = "in a batch" if batch else "by the local provider"
        raise RequestRefused(f"stream: streaming is not supported {where}")
    if batch and params.get("speed") is not None:
        raise RequestRefused("speed: not supported in a batch")
    return params


def _ask(params: dict[str, Any]) -> Ask:
    wanted = (params.get("output_config") or {}).get("format") or {}
    if wanted.get("type") == "json_schema":
        check_anthropic(wanted.get("schema"))
    return ask_of(
        model=params["model"], instructions=_system(params.get("system")), messages=params["messages"],
        schema=wanted.get("schema"), max_tokens=token_limit(params, "max_tokens"),
    )  # fmt: skip


def _message(params: dict[str, Any], answerer: Answerer, cache: PromptCache, *, batch: bool) -> Reply:
    ask = _ask(params)
    cached = anthropic_caching.use(params, ask, cache)
    model = ask.model
    text, was_cut = cut(answerer.write(ask), ask.max_tokens)
    output_tokens = max(1, tokens_of(len(text)))
    message = {
        "id": new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": LOCAL_PREFIX + model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "max_tokens" if was_cut else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": ask.input_tokens - cached.read - cached.written,
            "cache_creation_input_tokens": cached.written,
            "cache_read_input_tokens": cached.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": cached.written - cached.written_long,
                "ephemeral_1h_input_tokens": cached.written_long,
            },
            "output_tokens": output_tokens,
            "service_tier": "batch" if batch else "standard",
        },
    }
    return Reply(
        status=200, body=message, model=model, input_tokens=ask.input_tokens, output_tokens=output_tokens,
        cached=cached, usable=not was_cut, structured=ask.schema is not None,
    )  # fmt: skip


def _system(system: Any) -> str | list[Any]:
    if system is None or isinstance(system, str):
        return system or ""
    if not isinstance(system, list) or not all(isinstance(block, dict) for block in system):
        raise RequestRefused("system: Input should be a valid string or a list of text blocks")
    return system
