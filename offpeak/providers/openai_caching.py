"""What OpenAI's endpoints are told of a prefix that many requests share.

From gpt-5.6 on a model charges what it writes into its cache, and writes the whole prompt by itself unless it is told
where to stop (OpenAI's guide to prompt caching): there the end of the prefix is marked, or nothing is written. Other
models cache by themselves and for nothing; a key tells them which requests begin alike.
"""

import hashlib
from functools import lru_cache
from typing import Any

from offpeak.providers import wire
from offpeak.providers.base import CacheUse
from offpeak.requests import Chat

_MARKED_ONLY = {"mode": "explicit"}
"""As options: nothing is written but what is marked. As a mark: here ends what is to be written."""


def tell_responses(request: Chat, body: dict[str, Any], use: CacheUse, *, writes_charged: bool) -> None:
    """Put the request's prefix into a body of `/v1/responses` that was made of the rest of it."""
    wire.check_prefix(request)
    if use is CacheUse.WRITE:
        body.pop("instructions", None)
        asked = body["input"]
        turns = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
        body["input"] = [{"role": "developer", "content": _parts(request, "input_text")}, *turns]
    else:
        body["instructions"] = request.instructions
    _hint(request, body, use, writes_charged=writes_charged)


def tell_completions(request: Chat, body: dict[str, Any], use: CacheUse, *, writes_charged: bool) -> None:
    """Put the request's prefix into a body of `/v1/chat/completions` that was made of the rest of it."""
    wire.check_prefix(request)
    turns = body["messages"] if request.system is None else body["messages"][1:]
    content = _parts(request, "text") if use is CacheUse.WRITE else request.instructions
    body["messages"] = [{"role": "system", "content": content}, *turns]
    _hint(request, body, use, writes_charged=writes_charged)


def _parts(request: Chat, kind: str) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"type": kind, "text": request.prefix, "prompt_cache_breakpoint": _MARKED_ONLY}]
    return [*parts, {"type": kind, "text": request.system}] if request.system else parts


def _hint(request: Chat, body: dict[str, Any], use: CacheUse, *, writes_charged: bool) -> None:
    if writes_charged:
        body["prompt_cache_options"] = _MARKED_ONLY
    if use is not CacheUse.NONE:
        body["prompt_cache_key"] = _key(str(request.prefix), request.scope)


@lru_cache(maxsize=16)  # requests come in the order of their prefixes
def _key(prefix: str, scope: str | None) -> str:
    """32 characters that stand for the prefix; of two scopes no two are equal, so that tenants share nothing."""
    person = b"" if scope is None else hashlib.blake2b(scope.encode(errors="surrogatepass"), digest_size=16).digest()
    return hashlib.blake2b(prefix.encode(errors="surrogatepass"), digest_size=16, person=person).hexdigest()
