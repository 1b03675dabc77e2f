"""Batches as they are read back: one, all of them, cancelled ones, and odd ones."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from offpeak.clock import EPOCH
from offpeak.errors import ProviderUnavailable
from offpeak.providers import anthropic, open_provider, openai
from offpeak.providers.base import BatchState, Provider

from .conftest import SECRET, Loopback, Reply, Seen

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_an_openai_batch_that_expired() -> None:
    view = openai.view(
        {
            "id": "batch_1",
            "status": "expired",
            "created_at": 1764000000,
            "expires_at": 1764086400,
            "expired_at": 1764086401,
            "output_file_id": "file-out",
            "error_file_id": "",
            "request_counts": {"total": 10, "completed": 1, "failed": 2},
            "metadata": {"a": "b"},
            "input_file_id": "file-in",
        }
    )
    assert view.state is BatchState.EXPIRED
    assert view.ended_at == datetime.fromtimestamp(1764086401, UTC)
    assert view.expires_at == datetime.fromtimestamp(1764086400, UTC)
    assert (view.total, view.finished) == (10, 3)
    assert view.result_refs == ("file-out",)
    assert (view.metadata, view.input_file_id, view.error) == ({"a": "b"}, "file-in", None)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("validating", BatchState.IN_PROGRESS),
        ("finalizing", BatchState.FINALIZING),
        ("COMPLETED", BatchState.COMPLETED),
        ("canceled", BatchState.CANCELLED),
        ("something new", BatchState.IN_PROGRESS),
        (None, BatchState.IN_PROGRESS),
    ],
)
def test_openai_states(status: object, state: BatchState) -> None:
    assert openai.view({"id": "b", "status": status}).state is state


def test_why_an_openai_batch_failed() -> None:
    errors = [
        {"code": "invalid_json_line", "message": "not JSON", "line": 3, "param": None},
        {"code": "token_limit_exceeded", "message": "Enqueued token limit reached", "line": None},
    ]
    view = openai.view({"id": "b", "status": "failed", "errors": {"object": "list", "data": errors}})
    assert view.error == ("invalid_json_line: not JSON (line 3); token_limit_exceeded: Enqueued token limit reached")


def test_an_openai_batch_with_empty_texts_for_nulls() -> None:
    view = openai.view(
        {"id": "b", "status": "completed", "output_file_id": "", "errors": "", "metadata": "", "request_counts": ""}
    )
    assert (view.result_refs, view.error, view.metadata, view.created_at) == ((), None, {}, EPOCH)


@pytest.mark.parametrize(
    ("status", "counts", "state"),
    [
        ("in_progress", {"processing": 5}, BatchState.IN_PROGRESS),
        ("canceling", {"processing": 5}, BatchState.CANCELLING),
        ("ended", {"succeeded": 5}, BatchState.COMPLETED),
        ("ended", {"errored": 5}, BatchState.COMPLETED),
        ("ended", {"succeeded": 2, "canceled": 3}, BatchState.CANCELLED),
        ("ended", {"succeeded": 2, "expired": 3}, BatchState.EXPIRED),
        ("something new", {}, BatchState.IN_PROGRESS),
    ],
)
def test_anthropic_states_are_told_by_what_a_batch_ended_of(
    status: str, counts: dict[str, int], state: BatchState
) -> None:
    view = anthropic.view({"id": "m", "processing_status": status, "request_counts": counts})
    assert view.state is state
    assert view.total == sum(counts.values())


def test_anthropic_times() -> None:
    times = {"created_at": "2026-11-20T12:00:00.5+00:00", "ended_at": "2026-11-20T13:00:00Z", "expires_at": None}
    view = anthropic.view({"id": "m", **times})
    assert (view.created_at, view.ended_at, view.expires_at) == (
        NOON.replace(microsecond=500_000),
        NOON.replace(hour=13),
        None,
    )


def test_a_batch_that_the_provider_does_not_know_is_none(provider: Provider, loopback: Loopback) -> None:
    loopback.answer = lambda seen: Reply(404, {"error": {"message": "no such batch"}})
    assert provider.retrieve("batch_1") is None


@pytest.mark.parametrize("reply", [Reply(500, {}), Reply(429, {}), Reply(reset=True), Reply(200, b"<html>")])
def test_reading_what_cannot_be_read_is_unavailable_never_absent(
    provider: Provider, loopback: Loopback, reply: Reply
) -> None:
    loopback.answer = lambda seen: reply
    with pytest.raises(ProviderUnavailable):
        provider.retrieve("batch_1")
    with pytest.raises(ProviderUnavailable):
        list(provider.batches(since=NOON))


def test_reading_is_repeated(name: str, loopback: Loopback) -> None:
    replies = iter([Reply(503, {}), Reply(200, {"id": "b1"})])
    loopback.answer = lambda seen: next(replies)
    found = open_provider(name, api_key=SECRET, base_url=loopback.url, read_retries=1).retrieve("b1")
    assert found is not None
    assert found.id == "b1"
    assert len(loopback.seen) == 2


class Pages:
    """A list of batches, paged by either provider's cursor."""

    def __init__(self, name: str, created: list[float], size: int, *, say_more: bool = True) -> None:
        self.name, self.size, self.say_more = name, size, say_more
        self.items = [self.item(n, at) for n, at in enumerate(created)]
        self.asked: list[str | None] = []

    def item(self, n: int, at: float) -> dict[str, Any]:
        return {
            "id": f"b{n}",
            "created_at": at if self.name == "openai" else datetime.fromtimestamp(at, UTC).isoformat(),
        }

    def __call__(self, seen: Seen) -> Reply:
        query = parse_qs(urlsplit(seen.path).query)
        cursor = query.get("after" if self.name == "openai" else "after_id", [None])[0]
        self.asked.append(cursor)
        start = 0 if cursor is None else int(cursor[1:]) + 1
        data = self.items[start : start + self.size]
        more = {"has_more": start + self.size < len(self.items)} if self.say_more else {}
        return Reply(200, {"data": data, "last_id": data[-1]["id"] if data else None} | more)


def test_every_page_is_read_down_to_a_whole_page_of_older_ones(
    provider: Provider, loopback: Loopback, name: str
) -> None:
    base = NOON.timestamp()
    # The second page is out of order: one old batch among new ones stops nothing.
    pages = Pages(name, [base + 9, base + 8, base - 99, base + 7, base - 1, base - 2, base + 5], size=2)
    loopback.answer = pages
    assert [batch.id for batch in provider.batches(since=NOON)] == ["b0", "b1", "b3"]
    assert pages.asked == [None, "b1", "b3"]


def test_a_batch_created_in_the_same_second_is_found(provider: Provider, loopback: Loopback, name: str) -> None:
    loopback.answer = Pages(name, [NOON.timestamp()], size=2)
    assert [batch.id for batch in provider.batches(since=NOON.replace(microsecond=700_000))] == ["b0"]


def test_a_batch_without_a_readable_time_is_found(provider: Provider, loopback: Loopback) -> None:
    loopback.answer = lambda seen: Reply(200, {"data": [{"id": "b0"}], "has_more": False})
    assert [batch.id for batch in provider.batches(since=NOON)] == ["b0"]


def test_a_list_that_ignores_its_cursor_ends(provider: Provider, loopback: Loopback) -> None:
    same = {"data": [{"id": "b0", "created_at": 4e9}], "has_more": True, "last_id": ""}
    loopback.answer = lambda seen: Reply(200, same)
    assert len(list(provider.batches(since=NOON))) == 1


def test_a_list_that_breaks_off_is_not_a_short_list(provider: Provider, loopback: Loopback, name: str) -> None:
    pages = Pages(name, [4e9, 4e9, 4e9], size=2)
    loopback.answer = lambda seen: pages(seen) if len(loopback.seen) == 1 else Reply(500, {})
    with pytest.raises(ProviderUnavailable):
        list(provider.batches(since=NOON))


ENDED = {"openai": {"id": "b1", "status": "completed"}, "anthropic": {"id": "b1", "processing_status": "ended"}}
RUNNING = {
    "openai": {"id": "b1", "status": "in_progress"},
    "anthropic": {"id": "b1", "processing_status": "in_progress"},
}


@pytest.mark.parametrize("status", [400, 409])
def test_cancelling_what_already_ended_is_no_error(
    provider: Provider, loopback: Loopback, name: str, status: int
) -> None:
    loopback.answer = lambda seen: Reply(status, {}) if seen.method == "POST" else Reply(200, ENDED[name])
    provider.cancel("b1")
    assert loopback.seen[0].path.endswith("/batches/b1/cancel")


def test_cancelling_in_vain_is_an_error(provider: Provider, loopback: Loopback, name: str) -> None:
    loopback.answer = lambda seen: Reply(500, {}) if seen.method == "POST" else Reply(200, RUNNING[name])
    with pytest.raises(ProviderUnavailable):
        provider.cancel("b1")


@pytest.mark.parametrize("status", [200, 404])
def test_a_file_that_is_gone_is_deleted(loopback: Loopback, status: int) -> None:
    loopback.answer = lambda seen: Reply(status, {"id": "file-1", "deleted": True})
    open_provider("openai", api_key=SECRET, base_url=loopback.url).delete_file("file-1")
    assert (loopback.seen[0].method, loopback.seen[0].path) == ("DELETE", "/files/file-1")


def test_files_are_listed_by_prefix(loopback: Loopback) -> None:
    data = [{"id": "f1", "filename": "offpeak-a"}, {"id": "f2", "filename": "other"}, {"id": "f3", "filename": None}]
    loopback.answer = lambda seen: Reply(200, {"data": data, "has_more": False})
    provider = open_provider("openai", api_key=SECRET, base_url=loopback.url)
    assert list(provider.files(prefix="offpeak-")) == [("f1", "offpeak-a")]
    assert "purpose=batch" in loopback.seen[0].path


def test_anthropic_has_no_files() -> None:
    provider = open_provider("anthropic", api_key=SECRET)
    assert list(provider.files(prefix="")) == []
    provider.delete_file("file-1")


def test_an_id_cannot_lead_elsewhere(provider: Provider, loopback: Loopback) -> None:
    loopback.answer = lambda seen: Reply(200, orjson.loads(b'{"id":"b"}'))
    provider.retrieve("a/b?c")
    assert loopback.seen[0].path.endswith("/batches/a%2Fb%3Fc")
