"""What both providers' HTTP sides share: errors in each one's shape, JSON bodies, and connections that are cut."""

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Any, ClassVar

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from local_provider import anthropic_answers, openai_answers
from local_provider.batches import ProviderName
from local_provider.ids import new_id

ANTHROPIC_KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 529: "overloaded_error",
}  # fmt: skip
OPENAI_KINDS = {429: "rate_limit_exceeded"}


class ApiError(Exception):
    """A refusal, to be told in the shape of the provider that was addressed.

    `kind` is OpenAI's error type where it is not the usual one of that status.
    """

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None,
        kind: str | None = None, headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.kind = kind
        self.headers = dict(headers or {})


class ConnectionCut(Exception):
    """The connection is to be reset without an answer."""


class JSON(Response):
    """A JSON response by orjson."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


class CuttableProtocol(HttpToolsProtocol):
    """HTTP whose connections can be reset from inside the application, found by the client's address."""

    open_connections: ClassVar[dict[tuple[str, int], "CuttableProtocol"]] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client:
            self.open_connections[self.client] = self

    def connection_lost(self, exc: Exception | None) -> None:
        if self.client:
            self.open_connections.pop(self.client, None)
        super().connection_lost(exc)


def provider_of(request: Request) -> ProviderName:
    """Both live under /v1; Anthropic's part is /v1/messages."""
    path = request.url.path
    anthropic = path == "/v1/messages" or path.startswith("/v1/messages/")
    return ProviderName.ANTHROPIC if anthropic else ProviderName.OPENAI


def require_key(request: Request) -> None:
    """Any key will do, but there has to be one. Raises ApiError."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return
    if provider_of(request) is ProviderName.ANTHROPIC:
        if not request.headers.get("x-api-key"):
            raise ApiError(401, "x-api-key header is required")
        return
    raise ApiError(401, "You didn't provide an API key. Provide it in an Authorization header using Bearer auth.")


async def json_object(request: Request) -> dict[str, Any]:
    """The body. Raises ApiError unless it is a JSON object."""
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"The request body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise ApiError(400, "The request body has to be a JSON object.")
    return body


def whole_number(request: Request, name: str, default: int, most: int, *, least: int = 1) -> int:
    """A query parameter from `least` to `most`. Raises ApiError."""
    given = request.query_params.get(name)
    if given is None:
        return default
    if not given.isdigit() or not least <= int(given) <= most:
        raise ApiError(400, f"{name}: should be a number from {least} to {most}; got {given!r}", param=name)
    return int(given)


async def api_error(request: Request, error: Exception) -> Response:
    """ApiError, and whatever the router itself raises, as the addressed provider would say it."""
    if isinstance(error, HTTPException):
        message = f"Invalid URL ({request.method} {request.url.path})" if error.status_code == 404 else error.detail
        error = ApiError(error.status_code, message)
    if not isinstance(error, ApiError):
        raise error
    return JSON(error_body(request, error), status_code=error.status, headers={**request_ids(), **error.headers})


async def internal_error(request: Request, error: Exception) -> Response:
    """A mistake in this program. Starlette logs it after this answer was given."""
    told = ApiError(500, f"The local provider failed: {type(error).__name__}: {error}")
    return JSON(error_body(request, told), status_code=500, headers=request_ids())


def error_body(request: Request, error: ApiError) -> dict[str, Any]:
    if provider_of(request) is ProviderName.ANTHROPIC:
        kind = ANTHROPIC_KINDS.get(error.status, "api_error")
        return anthropic_answers.error_body(kind, error.message, new_id("req_"))
    usual = "server_error" if error.status >= 500 else OPENAI_KINDS.get(error.status, "invalid_request_error")
    code = error.code or ("invalid_api_key" if error.status == 401 else None)
    return openai_answers.error_body(error.message, error.param, code, error.kind or usual)


def _protocol(request: Request) -> CuttableProtocol | None:
    client = request.client
    return CuttableProtocol.open_connections.get((client.host, client.port)) if client else None


async def answer_raw(request: Request, body: bytes, *, media_type: str, content_length: int | None) -> Response:
    """Send `body` with this Content-Length, true or not, or with none, and close the connection after it.

    What is returned goes nowhere: the client is gone by then.
    """
    head = ["HTTP/1.1 200 OK", f"content-type: {media_type}", "connection: close"]
    if content_length is not None:
        head.append(f"content-length: {content_length}")
    protocol = _protocol(request)
    if protocol is not None:
        protocol.transport.write("\r\n".join([*head, "", ""]).encode() + body)
        protocol.transport.close()
        while _protocol(request) is protocol:
            await asyncio.sleep(0.001)
    return Response(status_code=500)


async def cut_connection(request: Request, _: Exception) -> Response:
    """Reset the connection: the client sees it break, and no answer."""
    protocol = _protocol(request)
    if protocol is not None:
        plug = protocol.transport.get_extra_info("socket")
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        protocol.transport.abort()
    return Response(status_code=500)


def request_ids() -> dict[str, str]:
    """The headers by which either provider names a call."""
    value = new_id("req_")
    return {"request-id": value, "x-request-id": value}
