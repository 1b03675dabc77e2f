"""What the wire formats of the providers have in common: refusing a request, sealing its JSON, reading loose answers.

No SDK is imported here or in the wire modules: encoding and decoding run once per request, on dictionaries and bytes.
A provider's own file says what it sends; these helpers say how a mistake is reported.
"""

import binascii
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import orjson

from offpeak.errors import DownloadIncomplete, InvalidRequest
from offpeak.providers.base import Finish, Outcome, ResultLine
from offpeak.requests import Chat, Image, Request

DEFAULT_MAX_TOKENS = 1024
"""Tokens that Anthropic may answer with when a Chat names no `max_tokens` (its API requires a number). Not part of the
fingerprint: a request that names 1024 itself is a different request."""

ENVELOPE_BYTES = 256
"""More than any spool line adds around a body: custom_id, method, URL, quotes and braces."""

TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
"""HTTP statuses below 500 of a result line that say "ask again" rather than "this request is wrong"."""

TRANSIENT_ERRORS = frozenset(
    {"api_error", "gateway_timeout", "overloaded_error", "rate_limit_error", "request_timeout", "timeout_error"}
)
"""Error codes of result lines that carry no HTTP status and say "ask again": OpenAI's `request_timeout`, the others
Anthropic's."""

_BUFFER = 1 << 20


_LONGEST_ANSWER = ("max_tokens", "max_output_tokens", "max_completion_tokens")
"""The fields of a body, at any provider, that bound its answer."""


def widened(body: bytes, *, factor: int = 2) -> bytes:
    """The body with room for an answer `factor` times as long; as it is where it sets no bound of its own."""
    fields = orjson.loads(body)
    bounds = {name: fields[name] * factor for name in _LONGEST_ANSWER if isinstance(fields.get(name), int)}
    return orjson.dumps({**fields, **bounds}) if bounds else body


def for_model(body: bytes, model: str) -> bytes:
    """The body for another model of the provider, without what only some models take of what is said of its cache."""
    fields = orjson.loads(body) | {"model": model}
    if fields.pop("prompt_cache_options", None) is not None:
        turns = fields.get("messages") or fields.get("input")
        for turn in turns if isinstance(turns, list) else ():
            for part in turn["content"] if isinstance(turn["content"], list) else ():
                part.pop("prompt_cache_breakpoint", None)
    return orjson.dumps(fields)


def longest_answer(body: bytes) -> int | None:
    """The tokens that an answer to the body may have at most; None where it sets no bound."""
    fields = orjson.loads(body)
    return next((fields[name] for name in _LONGEST_ANSWER if isinstance(fields.get(name), int)), None)


def transient(error_code: str | None) -> bool:
    """Whether asking the same again may succeed after a result line with this `ResultLine.error_code`."""
    if error_code is None:
        return False
    status = error_code.removeprefix("http_")
    if status.isdecimal():
        return int(status) in TRANSIENT_STATUSES or int(status) >= 500
    return error_code in TRANSIENT_ERRORS


def http_error(status: int, code: str | None, message: str | None) -> tuple[str, str]:
    """(error_code, error_message) of a result line with an HTTP error.

    The code is the provider's own, except where asking again may help: there it is `http_<status>`, because codes are
    an open set and the status is what `transient` can rely on. The message always carries both.
    """
    described = ": ".join(filter(None, [f"HTTP {status}", code, message]))
    if code is None or status in TRANSIENT_STATUSES or status >= 500:
        return f"http_{status}", described
    return code, described


def refuse(request: Request, field: str, problem: str, remedy: str) -> NoReturn:
    """Raise InvalidRequest for one field of one request."""
    raise InvalidRequest(
        f"{type(request).__name__} with key {request.key!r}: {field} {problem}. Nothing was submitted. {remedy}"
    )


def refuse_type(request: Request, expected: type) -> NoReturn:
    """Raise InvalidRequest for a request of another kind than its asset's other requests."""
    raise InvalidRequest(
        f"the request with key {request.key!r} is of type {type(request).__name__}, among {expected.__name__} "
        "requests. Nothing was submitted. One asset asks one kind of question: split it in two."
    )


def text(request: Request, field: str, value: object) -> str:
    """`value` if it is text; otherwise InvalidRequest (a missing cell of a frame is a float)."""
    if isinstance(value, str):
        return value
    refuse(
        request,
        field,
        f"is {value!r} of type {type(value).__name__}, not text",
        "Leave rows without text out of the plan, or write str(...).",
    )


def sealed(request: Request, head: bytes, body: dict[str, Any], limit: int) -> bytes:
    """The body's JSON with the constant part `head` (an open object, ending in a comma) in front of it."""
    try:
        encoded = head + orjson.dumps(body)[1:]
    except TypeError as error:  # orjson's own error is a TypeError
        refuse(request, "a field", f"cannot be written as JSON ({error})", "Replace what is not valid Unicode text.")
    if len(encoded) > limit:
        refuse(
            request,
            "the encoded request",
            f"has {len(encoded):,} bytes, more than the {limit:,} that one request may have",
            "Shorten its text, or send smaller images.",
        )
    return encoded


def open_object(constant: Mapping[str, Any]) -> bytes:
    """The JSON of `constant` with its closing brace replaced by a comma, for `sealed`."""
    return orjson.dumps(constant)[:-1] + b","


class Turn(NamedTuple):
    """One turn of a conversation, whichever way the request spelled it."""

    role: str
    content: str
    images: Sequence[Image]


def turns(request: Chat) -> Iterator[Turn]:
    """The conversation of `request`. Raises InvalidRequest for none, for two, and for images in the wrong place."""
    if not request.messages:
        if request.prompt is None:
            refuse(request, "prompt", "is missing, and so are messages", "Give one of the two.")
        yield Turn("user", text(request, "prompt", request.prompt), request.images)
        return
    if request.prompt is not None:
        refuse(request, "prompt", "and messages are both given", "Give one of the two.")
    if request.images:
        refuse(request, "images", "stand beside messages", "Put them into the message they belong to.")
    for position, message in enumerate(request.messages):
        if message.images and message.role != "user":
            refuse(request, f"messages[{position}].images", "are said by the assistant", "Only a user sends images.")
        yield Turn(message.role, text(request, f"messages[{position}].content", message.content), message.images)


def check_max_tokens(request: Chat) -> None:
    """Refuse an answer of no tokens."""
    if request.max_tokens is not None and request.max_tokens < 1:
        refuse(request, "max_tokens", f"is {request.max_tokens}", "Give at least 1, or leave it out.")


def check_prefix(request: Chat) -> None:
    """Refuse a prefix of no text."""
    if not text(request, "prefix", request.prefix):
        refuse(request, "prefix", "is empty", "Give the text that many requests begin with, or leave it out.")


def check_effort(request: Chat, efforts: Sequence[str]) -> None:
    """Refuse an effort that the provider does not know."""
    if request.effort not in efforts:
        refuse(request, "effort", f"is {request.effort!r}", f"Give one of {', '.join(efforts)}, or leave it out.")


def data_url(image: Image) -> str:
    """The image's own URL, or its bytes as a data URL."""
    return image.url if image.url is not None else f"data:{image.media_type};base64,{image.base64}"


def read_lines(
    path: Path,
    decode: Callable[[dict[str, Any]], ResultLine],
    *,
    ordinary: Callable[[bytes], ResultLine | None] | None = None,
) -> Iterator[ResultLine]:
    """Decode every non-blank line of a result file. Raises DownloadIncomplete for a line that is not a JSON object.

    `ordinary` may say what `decode` would say of a line, faster; where it says None, `decode` is asked.
    """
    loads = orjson.loads
    with path.open("rb", buffering=_BUFFER) as file:
        for number, line in enumerate(file, start=1):
            if ordinary is not None and (known := ordinary(line)) is not None:
                yield known
                continue
            try:
                parsed = loads(line)
            except orjson.JSONDecodeError as error:
                if not line.strip():
                    continue
                raise DownloadIncomplete(
                    f"line {number} of {path.name} is not JSON ({error}): the download tore, or it is no result file. "
                    "No line of it is lost at the provider. Download it again."
                ) from None
            if type(parsed) is not dict:
                raise DownloadIncomplete(
                    f"line {number} of {path.name} is JSON but no object: it is no result file. Download it again."
                )
            yield decoded(decode, parsed, what=f"line {number}")


def decoded(decode: Callable[[dict[str, Any]], ResultLine], parsed: dict[str, Any], *, what: str) -> ResultLine:
    """What `decode` makes of one line.

    One answer in a shape that nobody has described must not keep the others from being collected: it is an error of
    its own.
    """
    try:
        return decode(parsed)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        return ResultLine(
            str(parsed.get("custom_id") or ""),
            Outcome.ERRORED,
            Finish.OTHER,
            error_code="unreadable_answer",
            error_message=f"{what} is in no known shape ({type(error).__name__}: {error})",
        )


def mapping(value: object) -> dict[str, Any]:
    """`value` if it is an object, the object in it if it is JSON text, otherwise an empty one."""
    if type(value) is dict:
        return value
    if isinstance(value, str) and value:
        try:
            parsed = orjson.loads(value)
        except orjson.JSONDecodeError:
            return {}
        return parsed if type(parsed) is dict else {}
    return {}


def count(value: object) -> int:
    """A number of tokens or requests; anything that is not a number is 0."""
    return int(value) if isinstance(value, (int, float)) else 0


def said(value: object) -> str | None:
    """Text, or None for null, for "" and for what is not text."""
    return value if isinstance(value, str) and value else None


def unix_seconds(value: object) -> int | None:
    """Whole unix seconds, where there is a number."""
    return int(value) if isinstance(value, (int, float)) and value else None


def moment(value: object) -> datetime | None:
    """A time as a provider writes it (unix seconds or RFC 3339), in UTC; None where there is none."""
    if isinstance(value, (int, float)) and value:
        return datetime.fromtimestamp(value, UTC)
    if not isinstance(value, str) or not value:
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def vector_bytes(value: object) -> bytes | None:
    """An embedding, base64 of float32 or a list of numbers, as float32 little-endian; None if it is neither."""
    if isinstance(value, str):
        try:
            raw = binascii.a2b_base64(value)
        except binascii.Error:
            return None
        return raw if raw and len(raw) % 4 == 0 else None
    if not isinstance(value, list) or not value:
        return None
    try:
        floats = array("f", value)
    except (TypeError, OverflowError):
        return None
    if sys.byteorder == "big":
        floats.byteswap()
    return floats.tobytes()
