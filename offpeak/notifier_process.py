"""The program that sends messages: apprise, in a process of its own, which is ended when a service hangs.

It reads one JSON object from stdin, and writes a line of JSON to stdout for every message that it is through with.
After `seconds` it is gone, whatever a service does. Of a failure it says which kind it was and the service's status
code, and nothing else: what apprise itself says may hold parts of an address, and addresses are secrets.

It imports nothing of Offpeak or Dagster, so that it starts in a moment.
"""

import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import apprise


class Trouble(StrEnum):
    """Why a message was not sent."""

    NOT_INSTALLED = "not_installed"
    """There is no apprise here."""
    NOT_UNDERSTOOD = "not_understood"
    """apprise does not understand the address."""
    NOT_TAKEN = "not_taken"
    """The service refused it, or could not be reached."""


_STATUS = re.compile(r"error=(\d{3})\b")
_statuses: ContextVar[list[int]] = ContextVar("statuses")
_output = threading.Lock()


class _Statuses(logging.Handler):
    """Keeps the HTTP status out of what apprise logs, for the message that is being sent."""

    def emit(self, record: logging.LogRecord) -> None:
        found = _STATUS.search(record.getMessage())
        if found is not None:
            _statuses.get([]).append(int(found[1]))


def main() -> None:
    """Send what stdin says. Each address has a thread of its own, so that one that hangs holds up no other."""
    order = json.load(sys.stdin)
    logger = logging.getLogger("apprise")
    logger.addHandler(_Statuses())
    logger.propagate = False
    by_address: dict[str, list[Mapping[str, Any]]] = {}
    for message in order["messages"]:
        by_address.setdefault(message["url"], []).append(message)
    threads = []
    for url, messages in by_address.items():
        service = _service(url)
        if isinstance(service, Trouble):
            _say(messages, service)
        else:
            threads.append(threading.Thread(target=_send, args=(service, messages), daemon=True))
    ends = time.monotonic() + float(order["seconds"])  # what it takes to begin is not the services' time
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends - time.monotonic()))
    with _output:  # no line is cut off
        os._exit(0)  # not sys.exit, which waits for threads of apprise that hang


def _service(url: str) -> "apprise.Apprise | Trouble":
    """What sends to an address; nothing is sent yet."""
    try:
        import apprise
    except ImportError:
        return Trouble.NOT_INSTALLED
    asset = apprise.AppriseAsset(app_id="Offpeak", app_desc="Offpeak", plugin_paths=[])
    found = apprise.Apprise.instantiate(url, asset=asset)
    return Trouble.NOT_UNDERSTOOD if found is None else apprise.Apprise(found, asset=asset)


def _send(service: "apprise.Apprise", messages: Sequence[Mapping[str, Any]]) -> None:
    for message in messages:
        seen: list[int] = []
        _statuses.set(seen)
        try:
            sent = bool(
                service.notify(
                    title=message["title"],
                    body=message["body"],
                    notify_type=message["severity"],
                    body_format="text",
                )
            )
        except Exception:  # noqa: BLE001 - 170 services: whatever one raises may hold its address
            sent = False
        _say([message], None if sent else Trouble.NOT_TAKEN, status=seen[-1] if seen else None)


def _say(messages: Sequence[Mapping[str, Any]], trouble: Trouble | None, *, status: int | None = None) -> None:
    with _output:
        for each in messages:
            print(json.dumps({"number": each["number"], "trouble": trouble, "status": status}), flush=True)


if __name__ == "__main__":
    main()
