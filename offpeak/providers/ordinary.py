"""A faster reading of the result lines that nearly all result lines are.

Nine tenths of what a line costs is building dictionaries of fields that nobody asks for. Here the fields that count are
decoded into typed structures and the others are passed over. A line that is ordinary in every respect gives the
ResultLine that `openai_wire` or `anthropic_wire` gives for it; for any other line, a broken one too, a reader returns
None, never raises, and the line is read there. What the wire modules say of a line is what holds: a shape belongs here
only where it can be said in types.

One difference is known, in lines that no provider writes: in a field that is passed over, a number too large for a
float64 or (from Python 3.12 on) more than 1,024 nested values do not make the line unreadable.
"""

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

import msgspec

from offpeak.providers import wire
from offpeak.providers.base import Finish, Kind, Outcome, ResultLine, Usage
from offpeak.providers.openai_wire import ChatEndpoint

Reader = Callable[[bytes], ResultLine | None]
"""One line of a result file to its ResultLine, or None if it is not ordinary. Never raises."""

# The wire modules take any number. Below zero there are no tokens, and above 64 bits their JSON parser gives floats.
_Whole = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Shape = TypeVar("_Shape")

# Looking a member up on its enum costs more than the rest of a simple line's bookkeeping.
_SUCCEEDED, _STOP = Outcome.SUCCEEDED, Finish.STOP


def openai(kind: Kind, chat_endpoint: ChatEndpoint) -> Reader | None:
    """Reads the ordinary lines of an OpenAI output file; None where no line is common enough to be ordinary."""
    match kind:
        case Kind.CHAT if chat_endpoint == "responses":
            return _reader(_ResponseLine, _response)
        case Kind.CHAT:
            return _reader(_CompletionLine, _completion)
        case Kind.EMBEDDING:
            return _reader(_EmbeddingLine, _embedding)
        case Kind.MODERATION:
            return None


def anthropic() -> Reader:
    """Reads the ordinary lines of the results of a message batch."""
    return _reader(_MessageLine, _message)


def _reader(shape: type[_Shape], result: Callable[[_Shape], ResultLine | None]) -> Reader:
    decode = msgspec.json.Decoder(shape).decode

    def read(line: bytes) -> ResultLine | None:
        try:
            if not line.isascii():
                line.decode()  # a torn character in a field that is passed over would go unseen
            parsed = decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        return result(parsed)

    return read


class _Struct(msgspec.Struct, gc=False):
    """A shape without reference cycles. A field that must not be there is of type UnsetType."""


# --- OpenAI: /v1/responses ------------------------------------------------------------------------------------------


class _Writes(_Struct):
    ttl_12h_tokens: _Whole = 0


class _InputDetails(_Struct):
    cached_tokens: _Whole = 0
    cache_write_tokens: _Whole = 0
    cache_write_tokens_details: _Writes | None = None


class _ResponseUsage(_Struct):
    input_tokens: _Whole
    output_tokens: _Whole
    input_tokens_details: _InputDetails | None = None


class _Part(_Struct):
    type: str
    text: str


class _Item(_Struct):
    type: str
    content: list[_Part] | None = None


class _ResponseBody(_Struct):
    status: Literal["completed"]
    output: list[_Item]
    usage: _ResponseUsage
    model: str | None = None
    created_at: _Whole | float | None = None
    completed_at: _Whole | float | None = None
    choices: msgspec.UnsetType = msgspec.UNSET


class _Response(_Struct):
    status_code: Literal[200]
    body: _ResponseBody


class _ResponseLine(_Struct):
    custom_id: str
    response: _Response


def _response(line: _ResponseLine) -> ResultLine | None:
    body = line.response.body
    message: _Item | None = None
    for item in body.output:  # reasoning and what tools did may stand beside the message
        if item.type == "message":
            if message is not None:
                return None
            message = item
    if message is None or message.content is None or len(message.content) != 1:
        return None
    part = message.content[0]
    if part.type != "output_text":
        return None
    reported = body.usage
    usage = _openai_usage(reported.input_tokens, reported.output_tokens, reported.input_tokens_details)
    at = body.completed_at or body.created_at
    if type(at) is not int:
        at = wire.unix_seconds(at)
    # By position: names double the cost of making the tuple.
    return ResultLine(line.custom_id, _SUCCEEDED, _STOP, part.text, None, None, usage, body.model, at)


def _openai_usage(given: int, answered: int, details: _InputDetails | None) -> Usage:
    if details is None:
        return Usage(given, answered)
    writes = details.cache_write_tokens_details
    long_lived = 0 if writes is None else writes.ttl_12h_tokens
    return Usage(given, answered, details.cached_tokens, details.cache_write_tokens, long_lived)


# --- OpenAI: /v1/chat/completions and /v1/embeddings ----------------------------------------------------------------


class _PromptUsage(_Struct):
    prompt_tokens: _Whole
    completion_tokens: _Whole = 0
    prompt_tokens_details: _InputDetails | None = None
    input_tokens: msgspec.UnsetType = msgspec.UNSET


class _Answer(_Struct):
    content: str
    refusal: None = None


class _Choice(_Struct):
    message: _Answer
    finish_reason: Literal["stop"]


class _CompletionBody(_Struct):
    choices: tuple[_Choice]
    usage: _PromptUsage
    model: str | None = None
    created: _Whole | None = None


class _Completion(_Struct):
    status_code: Literal[200]
    body: _CompletionBody


class _CompletionLine(_Struct):
    custom_id: str
    response: _Completion


def _completion(line: _CompletionLine) -> ResultLine:
    body = line.response.body
    text = body.choices[0].message.content
    reported = body.usage
    usage = _openai_usage(reported.prompt_tokens, reported.completion_tokens, reported.prompt_tokens_details)
    return ResultLine(line.custom_id, _SUCCEEDED, _STOP, text, None, None, usage, body.model, body.created)


class _Vector(_Struct):
    embedding: bytes  # decoded from base64; what that refuses, `wire.vector_bytes` may still take


class _EmbeddingBody(_Struct):
    data: tuple[_Vector]
    usage: _PromptUsage
    model: str | None = None


class _Embedding(_Struct):
    status_code: Literal[200]
    body: _EmbeddingBody


class _EmbeddingLine(_Struct):
    custom_id: str
    response: _Embedding


def _embedding(line: _EmbeddingLine) -> ResultLine | None:
    body = line.response.body
    vector = body.data[0].embedding
    if not vector or len(vector) % 4:
        return None
    reported = body.usage
    usage = _openai_usage(reported.prompt_tokens, reported.completion_tokens, reported.prompt_tokens_details)
    return ResultLine(line.custom_id, _SUCCEEDED, _STOP, None, vector, None, usage, body.model)


# --- Anthropic: message batches -------------------------------------------------------------------------------------


class _CacheCreation(_Struct):
    ephemeral_5m_input_tokens: _Whole = 0
    ephemeral_1h_input_tokens: _Whole = 0


class _MessageUsage(_Struct):
    input_tokens: _Whole
    output_tokens: _Whole
    cache_read_input_tokens: _Whole | None = None
    cache_creation_input_tokens: _Whole | None = None
    cache_creation: _CacheCreation | None = None


class _Block(_Struct):
    type: str
    text: str | None = None


class _MessageBody(_Struct):
    content: list[_Block]
    stop_reason: Literal["end_turn"]
    usage: _MessageUsage
    model: str | None = None


class _Succeeded(_Struct):
    type: Literal["succeeded"]
    message: _MessageBody


class _MessageLine(_Struct):
    custom_id: str
    result: _Succeeded


def _message(line: _MessageLine) -> ResultLine | None:
    message = line.result.message
    answer: _Block | None = None
    for block in message.content:  # thinking may stand beside the text
        if block.type == "text":
            if answer is not None:
                return None
            answer = block
    if answer is None or answer.text is None:
        return None
    reported = message.usage
    read = reported.cache_read_input_tokens or 0
    written = reported.cache_creation_input_tokens or 0
    long_lived = 0
    split = reported.cache_creation
    if split is not None:
        long_lived = split.ephemeral_1h_input_tokens
        written = written or split.ephemeral_5m_input_tokens + long_lived
    usage = Usage(reported.input_tokens + read + written, reported.output_tokens, read, written, long_lived)
    return ResultLine(line.custom_id, _SUCCEEDED, _STOP, answer.text, None, None, usage, message.model)
