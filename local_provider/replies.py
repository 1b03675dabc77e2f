"""What answering one request gives, at either provider, live or in a batch."""

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from local_provider.tokens import NOT_CACHED, Cached

HINTS = frozenset(
    {
        "cache_control", "prompt_cache_key", "prompt_cache_options", "prompt_cache_breakpoint",
        "prompt_cache_retention",
    }
)  # fmt: skip
"""What requests, and the blocks in them, say of caching: no answer depends on it."""
_LEFT_OUT = HINTS | {"service_tier"}
_TEXT_BLOCK = frozenset({"type", "text"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A response. Only status 200 is billed; of that, only what came to its natural end is usable."""

    status: int
    body: dict[str, Any]
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached: Cached = NOT_CACHED
    """Within the input tokens."""
    usable: bool = True
    structured: bool = False
    """It answers to an output schema."""

    @property
    def billed(self) -> bool:
        return self.status == 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LineResult:
    """One line of a result file. `reply` is set where the request was really answered."""

    line: bytes
    ok: bool
    custom_id: str
    digest: bytes = b""
    reply: Reply | None = None
    skipped: bool = False
    """The request gets no line, and was not answered."""
    struck: str | None = None
    """The fault that made the line what it is."""


class RequestRefused(Exception):
    """A request with bad parameters, as its provider would refuse it: status 400 live, an error line in a batch."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.status = status


def digest_of(body: Any) -> bytes:
    """What identifies a request: its body with sorted keys, whatever its custom_id and the tier it is bought on.

    Nor do hints for the cache make a difference, or that a text was made a block to bear one.
    """
    if isinstance(body, dict):
        body = {name: _plain(name, value) for name, value in body.items() if name not in _LEFT_OUT}
    return hashlib.blake2b(orjson.dumps(body, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()


def without_hints(block: dict[str, Any]) -> dict[str, Any]:
    """A content block as it is whatever it says of caching."""
    if HINTS.isdisjoint(block) and not isinstance(block.get("content"), list):
        return block
    return {name: _content(value) if name == "content" else value for name, value in block.items() if name not in HINTS}


def _plain(name: str, value: Any) -> Any:
    """What a request says under a name, without hints in it."""
    if isinstance(value, list):
        if name == "system":
            return _content(value)
        if name in {"messages", "input", "tools"}:
            return [without_hints(each) if isinstance(each, dict) else each for each in value]
    return value


def _content(content: Any) -> Any:
    """Blocks without their hints; one of nothing but text is that text."""
    if not isinstance(content, list):
        return content
    blocks = [without_hints(block) if isinstance(block, dict) else block for block in content]
    if len(blocks) == 1 and isinstance(blocks[0], dict) and blocks[0].keys() == _TEXT_BLOCK:
        return blocks[0]["text"]
    return blocks
