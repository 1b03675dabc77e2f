"""What answering one request gives, at either provider, live or in a batch."""

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A response. Only status 200 is billed; of that, only what came to its natural end is usable."""

    status: int
    body: dict[str, Any]
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
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
    """What identifies a request: its body with sorted keys, whatever its custom_id and the tier it is bought on."""
    if isinstance(body, dict) and "service_tier" in body:
        body = {name: value for name, value in body.items() if name != "service_tier"}
    return hashlib.blake2b(orjson.dumps(body, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
