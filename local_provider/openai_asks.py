"""What a request to one of OpenAI's endpoints asks, and how many tokens it may take.

Everything here raises RequestRefused for a body that its endpoint would refuse.
"""

from typing import Any

from local_provider import openai_caching
from local_provider.asks import Ask, ask_of, token_limit
from local_provider.replies import RequestRefused
from local_provider.schema_rules import check_openai
from local_provider.tokens import Demand, tokens_of

UNSTATED_OUTPUT_TOKENS = 15
"""Counted against the tokens per minute for each sample of a request that names no maximum; OpenAI's cookbook for
parallel requests reckons with it."""


def demand_of(endpoint: str, body: dict[str, Any]) -> Demand:
    """The tokens of a request before it is answered: of its prompt as they will be billed, and at most of its answer.

    A request that will be refused takes none.
    """
    try:
        match endpoint:
            case "/v1/chat/completions":
                ask = chat_ask(body, "")
            case "/v1/responses":
                ask = response_ask(body, "")
            case "/v1/embeddings":
                return Demand(sum(embedding_tokens(embedding_texts(body))), 0)
            case _:
                return Demand(moderation_tokens(moderation_texts(body)), 0)
        openai_caching.hints_of(endpoint, body, ask.prompt)
    except RequestRefused:
        return Demand(0, 0)
    return Demand(ask.input_tokens, (ask.max_tokens or UNSTATED_OUTPUT_TOKENS) * samples_of(body))


def chat_ask(body: dict[str, Any], model: str) -> Ask:
    messages = _required(body, "messages")
    if not isinstance(messages, list):
        raise RequestRefused("Invalid type for 'messages': expected an array of objects.", param="messages")
    wanted = body.get("response_format") or {}
    schema = None
    if wanted.get("type") == "json_schema":
        inner = wanted.get("json_schema") or {}
        schema = _schema(inner, "response_format")
    return ask_of(
        model=model, instructions="", messages=messages, schema=schema,
        json_object=wanted.get("type") == "json_object",
        max_tokens=token_limit(body, "max_completion_tokens", "max_tokens"),
    )  # fmt: skip


def samples_of(body: dict[str, Any]) -> int:
    """How many answers a chat completion is to have."""
    samples: int = body.get("n") or 1
    return samples


def response_ask(body: dict[str, Any], model: str) -> Ask:
    given = _required(body, "input")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(messages, list):
        raise RequestRefused("Invalid type for 'input': expected a string or an array.", param="input")
    wanted = text_format(body)
    schema = _schema(wanted, "text.format") if wanted.get("type") == "json_schema" else None
    return ask_of(
        model=model, instructions=body.get("instructions") or "", messages=messages, schema=schema,
        json_object=wanted.get("type") == "json_object", max_tokens=token_limit(body, "max_output_tokens"),
    )  # fmt: skip


def text_format(body: dict[str, Any]) -> dict[str, Any]:
    """The form in which a response is to be written."""
    wanted: dict[str, Any] = (body.get("text") or {}).get("format") or {"type": "text"}
    return wanted


def embedding_texts(body: dict[str, Any]) -> list[str]:
    """Texts to embed: a string, several, or token ids, which stand for themselves as words."""
    given = _required(body, "input")
    items = given if isinstance(given, list) else [given]
    if items and all(isinstance(item, int) for item in items):
        items = [items]
    texts = [" ".join(map(str, item)) if isinstance(item, list) else item for item in items]
    if not all(isinstance(text, str) and text for text in texts):
        raise RequestRefused("'$.input' is invalid: an input cannot be empty.", param="input")
    if len(texts) > 2_048:
        raise RequestRefused("'$.input' is invalid: at most 2048 inputs a request.", param="input")
    return texts


def embedding_tokens(texts: list[str]) -> list[int]:
    """The tokens of each text."""
    return [max(1, tokens_of(len(text))) for text in texts]


def moderation_texts(body: dict[str, Any]) -> list[str]:
    given = _required(body, "input")
    items = given if isinstance(given, list) else [given]
    if items and all(isinstance(item, dict) for item in items):
        items = [" ".join(str(item.get("text") or "") for item in items)]
    if not all(isinstance(item, str) for item in items):
        raise RequestRefused("Invalid type for 'input'.", param="input")
    return items


def moderation_tokens(texts: list[str]) -> int:
    """The tokens of all texts."""
    return sum(tokens_of(len(text)) for text in texts)


def _required(body: dict[str, Any], name: str) -> Any:
    if body.get(name) in (None, "", []):
        raise RequestRefused(
            f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
        )  # fmt: skip
    return body[name]


def _schema(wanted: dict[str, Any], param: str) -> dict[str, Any]:
    name = wanted.get("name")
    if not isinstance(name, str) or not name:
        raise RequestRefused(
            f"Missing required parameter: '{param}.name'.", param=f"{param}.name", code="missing_required_parameter"
        )
    where = param if param == "response_format" else f"{param}.schema"
    check_openai(wanted.get("schema"), name=name, strict=wanted.get("strict") is True, param=where)
    schema: dict[str, Any] = wanted["schema"]
    return schema
