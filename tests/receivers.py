"""Those who are told, as programs on loopback: a webhook over HTTP, and a mail server over SMTP."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller

TOKEN = "tok-51b7c0ffee"
"""Stands in every address, as a service's secret does."""


@dataclass
class Webhook:
    """A receiver of JSON. What comes to `/hangs` is not answered before the end of the test."""

    port: int
    refusals: dict[str, int] = field(default_factory=dict)
    """By path, how many requests are still answered with 500."""
    received: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Path and body of what was taken."""
    refused: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str = "ops") -> str:
        """As apprise is given it."""
        return f"json://user:{TOKEN}@127.0.0.1:{self.port}/{path}/{TOKEN}"

    def titles(self, path: str = "ops") -> list[str]:
        return [body["title"] for to, body in self.received if to == path]

    def bodies(self, path: str = "ops") -> list[str]:
        return [body["message"] for to, body in self.received if to == path]


@contextmanager
def webhook_server() -> Iterator[Webhook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            path = self.path.split("/")[1]
            if path == "hangs":
                webhook.over.wait(60)
                return
            if webhook.refusals.get(path, 0):
                webhook.refusals[path] -= 1
                webhook.refused += 1
                self.send_response(500)
            else:
                webhook.received.append((path, body))
                self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    webhook = Webhook(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield webhook
    finally:
        webhook.over.set()
        server.shutdown()
        server.server_close()


@dataclass
class Mailbox:
    """A mail server that keeps what it is given."""

    port: int
    mails: list[EmailMessage] = field(default_factory=list)

    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}?from=offpeak@example.test&to=ops@example.test&mode=insecure"


@contextmanager
def mail_server(port: int) -> Iterator[Mailbox]:
    class Keep:
        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
            mail = BytesParser(policy=default).parsebytes(envelope.content)
            assert isinstance(mail, EmailMessage)
            mailbox.mails.append(mail)
            return "250 OK"

    mailbox = Mailbox(port)
    controller = Controller(Keep(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()
