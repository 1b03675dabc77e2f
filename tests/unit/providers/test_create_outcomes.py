"""A create is one request, and what it raises says what may have been bought."""

import socket
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from offpeak.errors import ConfigurationError, OffpeakError, OutcomeUnknown, ProviderUnavailable, SubmissionRejected
from offpeak.providers import open_provider
from offpeak.providers.base import BatchState, BatchView, Kind, Provider

from .conftest import SECRET, Loopback, Reply

CREATED = {
    "openai": {"id": "batch_1", "status": "validating", "created_at": 1764000000, "input_file_id": "file-1"},
    "anthropic": {
        "id": "msgbatch_1",
        "processing_status": "in_progress",
        "created_at": "2026-11-20T10:00:00Z",
        "request_counts": {"processing": 1, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
        "results_url": None,
    },
}


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    path = tmp_path / "chunk"
    path.write_bytes(b'{"requests":[\n{"custom_id":"c","params":{}}\n]}')
    return path


def create(provider: Provider, spool: Path) -> BatchView:
    return provider.create(spool, kind=Kind.CHAT, file_id="file-1", metadata={"ledger": "a1"})


def error_body(name: str) -> object:
    inner = {"type": "some_error", "message": f"it says so; your key {SECRET} or sk-tes***3t", "code": "some_code"}
    return {"error": inner} if name == "openai" else {"type": "error", "error": inner}


def test_a_create_is_one_request(provider: Provider, loopback: Loopback, spool: Path, name: str) -> None:
    loopback.answer = lambda seen: Reply(200, CREATED[name])
    batch = create(provider, spool)
    assert (batch.id, batch.state) == (CREATED[name]["id"], BatchState.IN_PROGRESS)
    (seen,) = loopback.seen
    assert (seen.method, seen.headers["content-type"]) == ("POST", "application/json")


def test_openai_is_given_the_file_the_endpoint_and_the_metadata(loopback: Loopback, spool: Path) -> None:
    loopback.answer = lambda seen: Reply(200, CREATED["openai"])
    provider = open_provider("openai", api_key=SECRET, base_url=loopback.url + "/v1", chat_endpoint="chat.completions")
    create(provider, spool)
    assert loopback.seen[0].path == "/v1/batches"
    assert loopback.seen[0].body == (
        b'{"completion_window":"24h","endpoint":"/v1/chat/completions","input_file_id":"file-1",'
        b'"metadata":{"ledger":"a1"}}'
    )


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_anthropic_is_sent_the_spool_file_itself(loopback: Loopback, spool: Path, suffix: str) -> None:
    loopback.answer = lambda seen: Reply(200, CREATED["anthropic"])
    create(open_provider("anthropic", api_key=SECRET, base_url=loopback.url + suffix), spool)
    (seen,) = loopback.seen
    assert seen.path == "/v1/messages/batches"
    assert seen.body == spool.read_bytes()
    assert seen.headers["content-length"] == str(spool.stat().st_size)


def check(provider: Provider, loopback: Loopback, spool: Path, expected: type[OffpeakError]) -> OffpeakError:
    with pytest.raises(OffpeakError) as caught:
        create(provider, spool)
    assert type(caught.value) is expected
    assert len(loopback.seen) <= 1, "a create was sent again"
    told = "".join(traceback.format_exception(caught.value)) + repr(provider)
    assert SECRET not in told
    assert "sk-tes" not in told
    return caught.value


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
def test_a_definite_refusal_bought_nothing(
    provider: Provider, loopback: Loopback, spool: Path, name: str, status: int
) -> None:
    loopback.answer = lambda seen: Reply(status, error_body(name))
    error = check(provider, loopback, spool, SubmissionRejected)
    if status in {401, 403}:
        assert f"{name.upper()}_API_KEY" in str(error)
    else:
        assert "it says so" in str(error)


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504, 529])
def test_a_broken_answer_leaves_the_outcome_unknown(
    provider: Provider, loopback: Loopback, spool: Path, name: str, status: int
) -> None:
    loopback.answer = lambda seen: Reply(status, error_body(name), headers={"x-should-retry": "true"})
    check(provider, loopback, spool, OutcomeUnknown)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(reset=True),
        Reply(silent=True),
        Reply(200, b"x" * 100, cut=10),
        Reply(200, b"<html>hello</html>", headers={"Content-Type": "text/html"}),
        Reply(200, b"", headers={"Content-Type": "application/json"}),
        Reply(200, {"object": "batch"}),
        Reply(302, b"", headers={"Location": "/elsewhere"}),
    ],
    ids=["reset", "silence", "cut", "html", "empty", "no id", "see other"],
)
def test_an_answer_that_never_came_leaves_the_outcome_unknown(
    provider: Provider, loopback: Loopback, spool: Path, reply: Reply
) -> None:
    loopback.answer = lambda seen: reply
    check(provider, loopback, spool, OutcomeUnknown)


def test_a_redirected_create_is_not_sent_on(provider: Provider, loopback: Loopback, spool: Path) -> None:
    loopback.answer = lambda seen: Reply(307, b"", headers={"Location": loopback.url + "/elsewhere"})
    check(provider, loopback, spool, SubmissionRejected)
    assert len(loopback.seen) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"), [({}, None), ({"Retry-After": "7.5"}, 7.5), ({"Retry-After": "soon"}, None)]
)
def test_too_many_requests_bought_nothing_and_says_when_to_ask_again(
    provider: Provider, loopback: Loopback, spool: Path, name: str, headers: dict[str, str], seconds: float | None
) -> None:
    loopback.answer = lambda seen: Reply(429, error_body(name), headers=headers)
    error = check(provider, loopback, spool, ProviderUnavailable)
    assert isinstance(error, ProviderUnavailable)
    assert error.retry_after == (None if seconds is None else timedelta(seconds=seconds))


def test_retry_after_may_be_a_date(provider: Provider, loopback: Loopback, spool: Path) -> None:
    loopback.answer = lambda seen: Reply(429, {}, headers={"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"})
    error = check(provider, loopback, spool, ProviderUnavailable)
    assert isinstance(error, ProviderUnavailable)
    assert error.retry_after is not None
    expected = datetime(2100, 1, 1, tzinfo=UTC) - datetime.now(UTC)
    assert abs(error.retry_after - expected) < timedelta(minutes=1)


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/v1"


@pytest.mark.parametrize("address", ["closed", "http://no-such-host.invalid/v1"])
def test_a_provider_that_cannot_be_reached_was_sent_nothing(
    name: str, loopback: Loopback, spool: Path, closed_port: str, address: str
) -> None:
    base_url = closed_port if address == "closed" else address
    provider = open_provider(name, api_key=SECRET, base_url=base_url, read_retries=0)
    check(provider, loopback, spool, ProviderUnavailable)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_on_reading_names_its_variable(
    provider: Provider, loopback: Loopback, name: str, status: int
) -> None:
    loopback.answer = lambda seen: Reply(status, error_body(name))
    with pytest.raises(ConfigurationError, match=f"{name.upper()}_API_KEY") as caught:
        provider.retrieve("batch_1")
    assert "sk-tes" not in "".join(traceback.format_exception(caught.value))
