"""`python -m local_provider`: serve until SIGTERM or SIGINT.

The first line on stdout is `listening on http://127.0.0.1:PORT`, printed when connections are accepted.
"""

import argparse
import contextlib
import gc
import logging
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
import uvicorn

from local_provider.app import application
from local_provider.faults import Faults
from local_provider.settings import Settings, SettingsError
from local_provider.state import State
from local_provider.wire import CuttableProtocol

HOST = "127.0.0.1"
BURST_SECONDS = 5
"""With --limits: what is let through at once after a pause, so that a plateau of a minute meets its limits."""
SPREAD = 0.5
"""With --realtime-latency: one call in a hundred takes three times its median, as realtime endpoints have it."""
GRACE_SECONDS = 0
"""Whatever is in flight when a signal comes is cut off: a simulated provider has nothing to lose."""


class Server(uvicorn.Server):
    """Ends quietly and with exit code 0 on a signal, instead of raising the signal again after an orderly stop."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        logging.disable(logging.CRITICAL)  # what is cut off now is cut off on purpose
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def main() -> int:
    options = _options()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    settings, faults = Settings(), Faults()
    try:
        if options.config is not None:
            _configure(options.config, settings, faults)
        if options.latency is not None:
            settings.update({"latency_seconds": options.latency})
        settings.update(_of_synchronous_calls(options))
        listening = _listening(options.port)
    except (SettingsError, OSError) as error:
        print(f"The local provider cannot start: {error}", file=sys.stderr)
        return 2
    with contextlib.ExitStack() as stack:
        stack.callback(listening.close)
        folder = options.data or Path(stack.enter_context(_temporary_folder()))
        state = State.open(folder, settings, faults)
        stack.callback(state.close)
        state.worker.start()
        # What is there now stays; a batch makes millions of short-lived values, and few cycles.
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        server = Server(
            uvicorn.Config(
                application(state), http=CuttableProtocol, ws="none", lifespan="off", log_config=None,
                access_log=False, timeout_graceful_shutdown=GRACE_SECONDS, server_header=False,
            )
        )  # fmt: skip
        print(f"listening on http://{HOST}:{listening.getsockname()[1]}", flush=True)
        server.run(sockets=[listening])
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local_provider", description=__doc__)
    parser.add_argument("--port", type=int, default=8099, help="port on 127.0.0.1; 0 picks a free one (default 8099)")
    parser.add_argument("--data", type=Path, help="folder to keep files and batches in (default: a temporary one)")
    parser.add_argument("--config", type=Path, help='JSON file: {"settings": {...}, "faults": [...]}')
    parser.add_argument("--latency", type=float, help="seconds from a batch's creation to its end (default 2)")
    parser.add_argument(
        "--limits", help='JSON: {"openai/gpt-5-mini": {"requests_per_minute": 60, "tokens_per_minute": 90000}, ...}'
    )
    parser.add_argument("--realtime-latency", type=float, help="median seconds of a synchronous call (default 0)")
    parser.add_argument("--answers", help="wordllama, cheap or full (default wordllama)")
    return parser.parse_args()


def _of_synchronous_calls(options: argparse.Namespace) -> dict[str, Any]:
    """What the options say of them, as settings. Raises SettingsError."""
    found: dict[str, Any] = {}
    if options.answers is not None:
        found["answers"] = options.answers
    if options.realtime_latency is not None:
        found |= {"realtime_latency_seconds": options.realtime_latency, "realtime_latency_spread": SPREAD}
    if options.limits is not None:
        try:
            limits = orjson.loads(options.limits)
        except orjson.JSONDecodeError as error:
            raise SettingsError(f"--limits is not valid JSON: {error}") from None
        found |= {"model_limits": limits, "rate_limit_burst_seconds": BURST_SECONDS}
    return found


def _configure(path: Path, settings: Settings, faults: Faults) -> None:
    """Apply a config file. Raises SettingsError or OSError."""
    try:
        config = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise SettingsError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(config, dict) or not set(config) <= {"settings", "faults"}:
        raise SettingsError(f'{path} has to be {{"settings": {{...}}, "faults": [...]}}.')
    settings.update(config.get("settings", {}))
    faults.add(config.get("faults", []))


def _listening(port: int) -> socket.socket:
    """A socket that accepts connections already, so that the printed address works at once."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise OSError(f"port {port} of {HOST} cannot be used ({error.strerror}): choose another with --port") from None
    return listening


def _temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="local_provider_", ignore_cleanup_errors=True)


if __name__ == "__main__":
    sys.exit(main())
