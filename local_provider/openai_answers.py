"""OpenAI's endpoints: a request body to a response body, the same live and in a batch."""

import base64
from collections.abc import Callable
from typing import Any

from local_provider import openai_caching
from local_provider.answers import DIMENSIONS, LOCAL_PREFIX, Answerer
from local_provider.asks import Ask
from local_provider.ids import new_id
from local_provider.moderation import moderate
from local_provider.openai_asks import (
    chat_ask,
    embedding_texts,
    embedding_tokens,
    moderation_texts,
    moderation_tokens,
    response_ask,
    samples_of,
    text_format,
)
from local_provider.prompt_cache import PromptCache
from local_provider.replies import Reply, RequestRefused
from local_provider.tokens import Cached, cut, tokens_of

MAX_EMBEDDING_TOKENS = 8_192
ORGANIZATION = "org-local"
"""Whose limits they are that messages tell of."""


def respond(endpoint: str, body: Any, answerer: Answerer, cache: PromptCache) -> Reply:
    """Answer a request; a refused one gives status 400 and OpenAI's error body."""
    try:
        if not isinstance(body, dict):
            raise RequestRefused("The request body is not a JSON object.")
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise RequestRefused("you must provide a model parameter", param="model")
        if model.startswith("claude"):
            raise RequestRefused(
                f"The model `{model}` does not exist or you do not have access to it.",
                code="model_not_found",
                status=404,
            )
        if body.get("stream"):
            raise RequestRefused("The local provider does not stream: send stream false.", param="stream")
        return _ENDPOINTS[endpoint](body, model, answerer, cache)
    except RequestRefused as refused:
        return Reply(status=refused.status, body=error_body(refused.message, refused.param, refused.code))


def error_body(
    message: str, param: str | None = None, code: str | None = None, kind: str = "invalid_request_error"
) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _chat(body: dict[str, Any], model: str, answerer: Answerer, cache: PromptCache) -> Reply:
    ask = chat_ask(body, model)
    cached = openai_caching.use("/v1/chat/completions", body, ask, cache)
    text, was_cut = cut(answerer.write(ask), ask.max_tokens)
    samples = samples_of(body)
    output_tokens = max(1, tokens_of(len(text))) * samples
    choice: dict[str, Any] = {
        "logprobs": None,
        "finish_reason": "length" if was_cut else "stop",
        "message": {"role": "assistant", "content": text, "refusal": None, "annotations": []},
    }
    response = {
        "id": new_id("chatcmpl-"),
        "object": "chat.completion",
        "created": int(answerer.clock.now()),
        "model": LOCAL_PREFIX + model,
        "choices": [{"index": index, **choice} for index in range(samples)],
        "usage": {
            "prompt_tokens": ask.input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": ask.input_tokens + output_tokens,
            "prompt_tokens_details": {
                "cached_tokens": cached.read,
                "cache_write_tokens": cached.written,
                "audio_tokens": 0,
            },
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "flex" if body.get("service_tier") == "flex" else "default",
        "system_fingerprint": None,
    }
    return _reply(response, ask, cached, output_tokens, was_cut)


def _responses(body: dict[str, Any], model: str, answerer: Answerer, cache: PromptCache) -> Reply:
    ask = response_ask(body, model)
    cached = openai_caching.use("/v1/responses", body, ask, cache)
    text, was_cut = cut(answerer.write(ask), ask.max_tokens)
    output_tokens = max(1, tokens_of(len(text)))
    status = "incomplete" if was_cut else "completed"
    message = {
        "id": new_id("msg_"),
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
    }
    response = {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": int(answerer.clock.now()),
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if was_cut else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": ask.max_tokens,
        "metadata": body.get("metadata") or {},
        "model": LOCAL_PREFIX + model,
        "output": [message],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "service_tier": "flex" if body.get("service_tier") == "flex" else "default",
        "temperature": body.get("temperature", 1.0),
        "text": {"format": text_format(body)},
        "tool_choice": "auto",
        "tools": [],
        "top_p": body.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": {
            "input_tokens": ask.input_tokens,
            "input_tokens_details": _input_details(model, cached),
            "output_tokens": output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": ask.input_tokens + output_tokens,
        },
    }
    return _reply(response, ask, cached, output_tokens, was_cut)


def _input_details(model: str, cached: Cached) -> dict[str, Any]:
    details: dict[str, Any] = {"cached_tokens": cached.read, "cache_write_tokens": cached.written}
    if openai_caching.writes(model):
        long = cached.written_long
        details["cache_write_tokens_details"] = {"ttl_30m_tokens": cached.written - long, "ttl_12h_tokens": long}
    return details


def _reply(response: dict[str, Any], ask: Ask, cached: Cached, output_tokens: int, was_cut: bool) -> Reply:
    return Reply(
        status=200, body=response, model=ask.model, input_tokens=ask.input_tokens, output_tokens=output_tokens,
        cached=cached, usable=not was_cut, structured=ask.schema is not None,
    )  # fmt: skip


def _embeddings(body: dict[str, Any], model: str, answerer: Answerer, _: PromptCache) -> Reply:
    texts = embedding_texts(body)
    dimensions = body.get("dimensions") or DIMENSIONS
    if isinstance(dimensions, bool) or not isinstance(dimensions, int) or not 1 <= dimensions <= DIMENSIONS:
        raise RequestRefused(
            f"The local provider has embeddings of at most {DIMENSIONS} dimensions; asked for {dimensions}.",
            param="dimensions",
        )
    counts = embedding_tokens(texts)
    if max(counts) > MAX_EMBEDDING_TOKENS:
        raise RequestRefused(
            f"This model's maximum context length is {MAX_EMBEDDING_TOKENS} tokens, however you requested "
            f"{max(counts)} tokens. Please reduce your prompt.",
            param="input",
        )
    vectors = answerer.embed(texts, dimensions)
    encoded: list[Any]
    if body.get("encoding_format") == "base64":
        encoded = [base64.b64encode(vector.tobytes()).decode() for vector in vectors]
    else:
        encoded = vectors.tolist()
    response = {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(encoded)],
        "model": LOCAL_PREFIX + model,
        "usage": {"prompt_tokens": sum(counts), "total_tokens": sum(counts)},
    }
    return Reply(status=200, body=response, model=model, input_tokens=sum(counts))


def _moderations(body: dict[str, Any], model: str, _: Answerer, __: PromptCache) -> Reply:
    items = moderation_texts(body)
    response = {
        "id": new_id("modr-"),
        "model": LOCAL_PREFIX + model,
        "results": [moderate(text) for text in items],
    }
    return Reply(status=200, body=response, model=model, input_tokens=moderation_tokens(items))


_ENDPOINTS: dict[str, Callable[[dict[str, Any], str, Answerer, PromptCache], Reply]] = {
    "/v1/chat/completions": _chat,
    "/v1/responses": _responses,
    "/v1/embeddings": _embeddings,
    "/v1/moderations": _moderations,
}
