"""Answers that arrive, are billed, and are of no use: cut off, refused, filtered, or not what the schema asks for."""

from dataclasses import replace
from typing import Any

from local_provider.replies import Reply

_NOT_THE_SCHEMA = '{"something_else": "which no schema asks for"}'


def spoiled(reply: Reply, how: str) -> Reply:
    """The reply made unusable in one of the ways of UNUSABLE_ANSWERS; itself where that cannot be.

    Only words can be spoiled, and only an answer to a schema can be invalid or malformed.
    """
    body = reply.body
    if not reply.billed or not reply.usable:
        return reply
    if how in {"invalid", "malformed"} and not reply.structured:
        return reply
    if "choices" in body:
        for choice in body["choices"]:
            _spoil_choice(choice, how)
    elif body.get("object") == "response":
        _spoil_response(body, how)
    elif body.get("type") == "message":
        _spoil_message(body, how)
    else:
        return reply
    return replace(reply, usable=False)


def _spoiled_text(text: str, how: str) -> str:
    if how == "invalid":
        return _NOT_THE_SCHEMA
    return text[: max(1, len(text) // 2)]


def _spoil_choice(choice: dict[str, Any], how: str) -> None:
    message = choice["message"]
    match how:
        case "refused":
            message["refusal"], message["content"] = "I cannot help with that.", None
        case "filtered":
            choice["finish_reason"], message["content"] = "content_filter", None
        case _:
            message["content"] = _spoiled_text(message["content"], how)
            choice["finish_reason"] = "length" if how == "length" else choice["finish_reason"]


def _spoil_response(response: dict[str, Any], how: str) -> None:
    (message,) = response["output"]
    (part,) = message["content"]
    match how:
        case "refused":
            message["content"] = [{"type": "refusal", "refusal": "I cannot help with that."}]
            return
        case "filtered":
            response["output"], reason = [], "content_filter"
        case "length":
            part["text"], reason = _spoiled_text(part["text"], how), "max_output_tokens"
        case _:
            part["text"] = _spoiled_text(part["text"], how)
            return
    response["status"] = message["status"] = "incomplete"
    response["incomplete_details"] = {"reason": reason}


def _spoil_message(message: dict[str, Any], how: str) -> None:
    """Anthropic has one stop reason for what is refused and what is filtered."""
    (block,) = message["content"]
    match how:
        case "refused" | "filtered":
            message["content"], message["stop_reason"] = [], "refusal"
        case _:
            block["text"] = _spoiled_text(block["text"], how)
            message["stop_reason"] = "max_tokens" if how == "length" else message["stop_reason"]
