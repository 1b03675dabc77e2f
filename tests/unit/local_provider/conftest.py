"""The local provider as its users meet it: a process on a free port, driven over HTTP by the real SDKs."""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from anthropic.types.messages import MessageBatch
from openai.types import Batch

ROOT = Path(__file__).parents[3]
DEADLINE_SECONDS = 15
LATENCY = 0.05
SETTINGS = {
    "latency_seconds": LATENCY, "answers": "cheap", "results_order": "shuffled", "realtime_latency_seconds": 0,
    "openai_max_requests": 50_000, "openai_max_bytes": 200 * 1024**2, "openai_max_embedding_inputs": 50_000,
    "anthropic_max_requests": 100_000, "anthropic_max_bytes": 256 * 1024**2, "rate_limit_burst_seconds": 60,
    "openai_requests_per_minute": None, "openai_tokens_per_minute": None, "openai_enqueued_tokens": None,
    "openai_creates_per_hour": None, "anthropic_requests_per_minute": None, "anthropic_input_tokens_per_minute": None,
    "anthropic_output_tokens_per_minute": None, "anthropic_creates_per_hour": None, "openai_flex_capacity": 1,
    "openai_models_without_flex": [],
}  # fmt: skip
ENDED = {"completed", "failed", "expired", "cancelled", "ended"}


@dataclass
class Server:
    """One running local provider, and both SDKs' clients for it."""

    process: "subprocess.Popen[str]"
    url: str

    def __post_init__(self) -> None:
        self.openai = openai.OpenAI(api_key="test", base_url=f"{self.url}/v1", max_retries=0)
        self.anthropic = anthropic.Anthropic(api_key="test", base_url=self.url, max_retries=0)

    def raw(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a call without any SDK, whatever they are."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, body or None, named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, dict(response.headers), response.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def get(self, path: str) -> Any:
        return self._good(*self.raw("GET", path))

    def post(self, path: str, body: Any = None) -> Any:
        return self._good(*self.raw("POST", path, json.dumps({} if body is None else body).encode()))

    @staticmethod
    def _good(status: int, _: dict[str, str], body: bytes) -> Any:
        assert status == 200, body
        return json.loads(body)

    def upload(self, lines: list[dict[str, Any]] | bytes) -> str:
        if isinstance(lines, list):
            lines = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        return self.openai.files.create(file=("requests.jsonl", lines), purpose="batch").id

    def submit(self, lines: list[dict[str, Any]] | bytes, endpoint: Any = "/v1/chat/completions", **more: Any) -> Batch:
        return self.openai.batches.create(
            input_file_id=self.upload(lines), endpoint=endpoint, completion_window="24h", **more
        )

    def landed(self, lines: list[dict[str, Any]] | bytes, endpoint: Any = "/v1/chat/completions") -> Batch:
        return self.ended(self.submit(lines, endpoint).id)

    def ended(self, batch_id: str) -> Batch:
        return self.until(lambda: self.openai.batches.retrieve(batch_id), lambda batch: batch.status in ENDED)

    def output(self, batch: Batch) -> list[dict[str, Any]]:
        assert batch.output_file_id, batch
        return _json_lines(self.openai.files.content(batch.output_file_id).content)

    def errors(self, batch: Batch) -> list[dict[str, Any]]:
        assert batch.error_file_id, batch
        return _json_lines(self.openai.files.content(batch.error_file_id).content)

    def send(self, requests: list[dict[str, Any]]) -> MessageBatch:
        return self.anthropic.messages.batches.create(requests=requests)  # type: ignore[arg-type]

    def message_ended(self, batch_id: str) -> MessageBatch:
        return self.until(
            lambda: self.anthropic.messages.batches.retrieve(batch_id), lambda batch: batch.processing_status == "ended"
        )

    def results(self, batch_id: str) -> dict[str, Any]:
        """Results by custom_id."""
        return {line.custom_id: line.result for line in self.anthropic.messages.batches.results(batch_id)}

    @staticmethod
    def until(look: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
        """What `look` sees once it is good; fails after the deadline."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not good(seen := look()):
            assert time.monotonic() < deadline, f"still {seen}"
            time.sleep(0.01)
        return seen

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """The exit code, and what was said on stderr."""
        self.process.send_signal(sig)
        _, said = self.process.communicate(timeout=10)
        return self.process.returncode, said


def _json_lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def _start(*options: str) -> Server:
    process = subprocess.Popen(
        [sys.executable, "-m", "local_provider", "--port", "0", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    if not first.startswith("listening on "):
        process.kill()
        raise AssertionError(f"the local provider did not start: {first!r} {process.communicate()[1]}")
    return Server(process, first.split()[-1])


@pytest.fixture(scope="session")
def running() -> Iterator[Server]:
    server = _start()
    yield server
    server.stop()


@pytest.fixture
def server(running: Server) -> Server:
    """The one server of the session, as good as new, answering by hash."""
    running.post("/local/reset")
    running.post("/local/settings", SETTINGS)
    return running


@pytest.fixture
def starting() -> Iterator[Callable[..., Server]]:
    """Start further servers, which end with the test at the latest."""
    started: list[Server] = []

    def begin(*options: str) -> Server:
        started.append(_start(*options))
        return started[-1]

    yield begin
    for server in started:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)


@pytest.fixture
def chats() -> Callable[..., list[dict[str, Any]]]:
    """Lines of an OpenAI batch of chats; keywords go into every body."""

    def lines(count: int, prefix: str = "c", **body: Any) -> list[dict[str, Any]]:
        return [
            {
                "custom_id": f"{prefix}{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {
                    "model": "gpt-5-mini",
                    "messages": [{"role": "user", "content": f"Tell me about the number {number}."}],
                    **body,
                },
            }
            for number in range(count)
        ]

    return lines


@pytest.fixture
def messages() -> Callable[..., list[dict[str, Any]]]:
    """Requests of an Anthropic batch; keywords go into the params of each."""

    def requests(count: int, prefix: str = "a", **params: Any) -> list[dict[str, Any]]:
        return [
            {
                "custom_id": f"{prefix}{number}",
                "params": {
                    "model": "claude-haiku-5-5",
                    "max_tokens": 200,
                    "messages": [{"role": "user", "content": f"Tell me about the number {number}."}],
                    **params,
                },
            }
            for number in range(count)
        ]

    return requests
