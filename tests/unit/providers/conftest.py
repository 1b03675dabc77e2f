"""Servers that the provider tests talk to, over HTTP and with the real SDKs.

`local_provider` is the project's own offline provider as a process; `loopback` answers exactly what a test tells it,
for what no well-behaved server does.
"""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import pytest

from offpeak.providers import open_provider
from offpeak.providers.base import Provider

from ...conftest import ROOT as ROOT
from ...conftest import LocalProvider as Running

SECRET = "sk-test-5up3r53cr3t"


@dataclass
class Seen:
    """One request that the loopback server got."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """What the loopback server answers.

    `cut` ends the connection after that many bytes of the body; `silent` answers nothing while the test lasts.
    """

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    reset: bool = False
    silent: bool = False
    cut: int | None = None
    announce_length: bool = True


class Loopback:
    """A server whose answers are the replies of `answer`."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._closing = threading.Event()
        self.answer: Callable[[Seen], Reply] = lambda seen: Reply(404, {"error": {"message": "not scripted"}})
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = Seen(self.command, self.path, headers, body)
                outer.seen.append(seen)
                outer.give(self, outer.answer(seen))

            do_GET = do_POST = do_DELETE = handle_one  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def give(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        handler.close_connection = True
        if reply.silent:
            self._closing.wait(30)
            return
        if reply.reset:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
            return
        body = reply.body if isinstance(reply.body, bytes) else orjson.dumps(reply.body)
        handler.send_response(reply.status)
        if reply.announce_length:
            handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Connection", "close")
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body if reply.cut is None else body[: reply.cut])

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    server = Loopback()
    yield server
    server.close()


@pytest.fixture(params=["openai", "anthropic"])
def name(request: pytest.FixtureRequest) -> str:
    """Each provider's name in turn."""
    return str(request.param)


@pytest.fixture
def provider(name: str, loopback: Loopback) -> Iterator[Provider]:
    """The provider `name` at the loopback server, its reads not repeated."""
    opened = open_provider(
        name,
        api_key=SECRET,
        base_url=loopback.url + ("/v1" if name == "openai" else ""),
        timeout=timedelta(seconds=1),
        read_retries=0,
    )
    yield opened
    opened.close()


@pytest.fixture
def local_provider(local_provider: Running) -> str:
    """The address of the local provider, with nothing bought."""
    return local_provider.url
