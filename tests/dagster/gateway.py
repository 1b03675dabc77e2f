"""A gateway in front of the local provider: it passes requests on, remembers them, and can be told to refuse some."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Gateway:
    address: str
    """Host and port."""
    asked: list[str]
    """Every request, as "GET /v1/batches"."""
    refused: set[str]
    """Requests, told likewise, that are answered with an error of the server."""

    @property
    def url(self) -> str:
        return f"http://{self.address}"


@contextmanager
def gateway(to: str) -> Iterator[Gateway]:
    """A gateway to the server at the URL `to`."""
    asked: list[str] = []
    refused: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = f"{self.command} {urlsplit(self.path).path}"
            asked.append(request)
            if request in refused:
                self._answer(503, "application/json", b'{"error": {"message": "no"}}')
                return
            behind = http.client.HTTPConnection(urlsplit(to).netloc, timeout=30)
            try:
                behind.request(self.command, self.path, body, dict(self.headers))
                answer = behind.getresponse()
                self._answer(answer.status, answer.getheader("Content-Type") or "", answer.read())
            finally:
                behind.close()

        do_POST = do_DELETE = do_GET  # noqa: N815

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Gateway(f"127.0.0.1:{server.server_port}", asked, refused)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
