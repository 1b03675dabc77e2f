"""The fingerprint: 20 bytes that name what a request asks, and so decide whether it was bought before.

Form 1, provider-neutral: BLAKE2b-160 over two JSON texts joined by a newline, keys sorted, no white space.
    common  {"endpoint", "model", "output", "parameters", "realm", "scope", "system", "version"}
    own     Chat        [[[role, text, [image digests]], ...], salt]
            Embedding   [text, salt]
            Moderation  [text, [image digests], salt]
"system" is all that the model reads before the turns (`Chat.instructions`): which part of it is a prefix, and whether
that is cached, is not hashed. Parameters that are not set are left out. The common text of one asset is the same for
almost every row, so its hash state is computed once and copied.

The golden vectors in the tests hold this form still: a change to it buys every answer of every user again, and is only
made under a new version.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

import orjson
from pydantic import BaseModel

from offpeak.requests.schema import canonical_schema
from offpeak.requests.values import Chat, Embedding, Image, Moderation, Request

VERSION = 1
SIZE = 20
"""Bytes of a fingerprint."""

COMPONENTS = ("endpoint", "model", "output", "parameters", "system")
"""What the surge guard can name when a whole plan changes."""

SEVERAL = "several"


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no white space."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest(value: Any) -> str:
    """A short hexadecimal digest of a JSON value, to compare components with."""
    return hashlib.blake2b(canonical_json(value), digest_size=8).hexdigest()


class Fingerprinter:
    """Fingerprints the requests of one asset, and remembers what they have in common.

    `realm` and `endpoint` are the provider's (`Provider.realm`, `Provider.endpoint`); `model` comes without the
    provider's prefix.
    """

    def __init__(self, *, realm: str, endpoint: str, model: str, output: type[BaseModel] | None) -> None:
        self._constant: dict[str, Any] = {
            "version": VERSION,
            "realm": realm,
            "endpoint": endpoint,
            "model": model,
            "output": canonical_schema(output) if output is not None else None,
        }
        self._states: dict[tuple[Any, ...], hashlib.blake2b] = {}
        self._seen: dict[str, set[str]] = {"system": set(), "parameters": set()}

    def of(self, request: Request) -> bytes:
        """The request's fingerprint."""
        common: tuple[Any, ...]
        if isinstance(request, Chat):
            common = (
                request.scope, request.prefix, request.system, request.max_tokens, request.temperature, request.top_p,
                request.effort, *request.stop,
            )  # fmt: skip
            turns: list[list[Any]] = [["user", request.prompt, _digests(request.images)]]
            if request.messages:
                turns = [[turn.role, turn.content, _digests(turn.images)] for turn in request.messages]
            own = orjson.dumps([turns, request.salt])
        elif isinstance(request, Embedding):
            common = (request.scope, request.dimensions)
            own = orjson.dumps([request.text, request.salt])
        else:
            common = (request.scope,)
            own = orjson.dumps([request.text, _digests(request.images), request.salt])
        try:
            state = self._states[common].copy()
        except KeyError:
            state = self._begin(common, request)
        state.update(own)
        return state.digest()

    def components(self) -> dict[str, str]:
        """A digest of each component over all requests so far; "several" where the requests differ among themselves."""
        found = {name: digest(self._constant[name]) for name in ("endpoint", "model", "output")}
        for name, seen in self._seen.items():
            found[name] = next(iter(seen)) if len(seen) == 1 else SEVERAL if seen else ""
        return found

    def _begin(self, common: tuple[Any, ...], request: Request) -> hashlib.blake2b:
        system = request.instructions if isinstance(request, Chat) else None
        parameters = parameters_of(request)
        for name, value in (("system", system), ("parameters", parameters)):
            if len(self._seen[name]) < 2:
                self._seen[name].add(digest(value))
        text = canonical_json(
            self._constant | {"scope": request.scope, "system": system, "parameters": parameters},
        )
        state = hashlib.blake2b(text + b"\n", digest_size=SIZE)
        if len(self._states) >= 1024:  # a system text per row must not grow memory with rows
            self._states.clear()
        self._states[common] = state
        return state.copy()


def parameters_of(request: Request) -> dict[str, Any]:
    """The sampling parameters that are set on `request`."""
    match request:
        case Chat():
            names: tuple[str, ...] = ("max_tokens", "effort")
            extra: dict[str, Any] = {"stop": list(request.stop)} if request.stop else {}
            for name, number in (("temperature", request.temperature), ("top_p", request.top_p)):
                if number is not None:
                    extra[name] = float(number)  # 1 and 1.0 are one temperature
        case Embedding():
            names, extra = ("dimensions",), {}
        case Moderation():
            names, extra = (), {}
    return {name: value for name in names if (value := getattr(request, name)) is not None} | extra


def differing(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The components whose digests differ between two plans; empty when only the rows' own texts changed."""
    return [name for name in COMPONENTS if before.get(name, "") != after.get(name, "")]


def _digests(images: Iterable[Image]) -> list[str]:
    return [image.digest for image in images] if images else []
