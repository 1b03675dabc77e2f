"""The body of an Anthropic batch create, read from disk one request at a time and written out one a line.

A body can have 256 MB; only its bytes' places are followed, and no more than one request is ever a parsed object.
"""

import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from local_provider.replies import RequestRefused
from local_provider.validation import Validated

CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def take_in(body: Path, lines: Path, *, max_requests: int) -> Validated:
    """Check a create and write its requests to `lines`. Raises RequestRefused for one that Anthropic would refuse."""
    checked = Validated()
    seen: set[str] = set()
    with body.open("rb") as file, lines.open("wb") as out:
        if not body.stat().st_size:
            raise RequestRefused("requests: Field required")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for raw in _elements(content):
                request = _parsed(raw, checked.count)
                _check(request, checked, seen)
                out.write(orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE))
                if checked.count > max_requests:
                    raise RequestRefused(f"requests: at most {max_requests} requests are allowed in a batch")
    if not checked.count:
        raise RequestRefused("requests: at least one request is required")
    return checked


def _check(request: dict[str, Any], checked: Validated, seen: set[str]) -> None:
    number = checked.count
    custom_id, params = request.get("custom_id"), request.get("params")
    if not isinstance(custom_id, str):
        raise RequestRefused(f"requests.{number}.custom_id: Field required")
    if not CUSTOM_ID.fullmatch(custom_id):
        raise RequestRefused(
            f"requests.{number}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'; "
            f"got {custom_id[:80]!r}"
        )
    if custom_id in seen:
        raise RequestRefused(f"requests.{number}.custom_id: duplicate custom_id {custom_id!r}")
    if not isinstance(params, dict):
        raise RequestRefused(f"requests.{number}.params: Field required")
    seen.add(custom_id)
    checked.count += 1
    checked.first_custom_id = checked.first_custom_id or custom_id
    if checked.model is None and isinstance(params.get("model"), str):
        checked.model = params["model"]


def _parsed(raw: bytes, number: int) -> dict[str, Any]:
    try:
        request = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise RequestRefused(f"The request body is not valid JSON: requests.{number}: {error}") from None
    if not isinstance(request, dict):
        raise RequestRefused(f"requests.{number}: Input should be an object")
    return request


def _elements(content: mmap.mmap) -> Iterator[bytes]:
    """The bytes of each element of the top object's "requests" array. Raises RequestRefused for other JSON."""
    depth, start, end, inside = 0, 0, 0, False
    last_key: bytes | None = None
    for token in _TOKEN.finditer(content):
        first = content[token.start()]
        if first == 0x22:  # a string
            if depth == 1 and not inside:
                last_key = token.group()
            continue
        if first in b"[{":
            if depth == 0 and first != 0x7B:
                break
            if depth == 1 and first == 0x5B and last_key == b'"requests"':
                inside, end = True, token.end()
            elif depth == 2 and inside:
                start = token.start()
                _only_comma(content, end, start)
            depth += 1
            continue
        depth -= 1
        if depth == 2 and inside:
            end = token.end()
            yield content[start:end]
        elif depth == 1 and inside:
            _only_comma(content, end, token.start(), closing=True)
            inside, last_key = False, None
    if depth != 0 or inside:
        raise RequestRefused("The request body is not valid JSON")


def _only_comma(content: mmap.mmap, end: int, start: int, *, closing: bool = False) -> None:
    between = content[end:start].strip()
    first = content[end - 1] == 0x5B
    if between not in ((b"",) if first or closing else (b",",)):
        raise RequestRefused("The request body is not valid JSON, or requests holds something that is not an object")
