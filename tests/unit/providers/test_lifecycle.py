"""Whole lives of batches at the local provider: spooled, bought, watched, downloaded and decoded over HTTP."""

import struct
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
from pydantic import BaseModel

from offpeak.errors import OutcomeUnknown, SubmissionRejected
from offpeak.providers import open_provider
from offpeak.providers.base import BatchState, BatchView, Finish, Kind, Outcome, Provider, ResultLine
from offpeak.requests import Chat, Embedding, Moderation, Request

MODELS = {"openai": "gpt-6-luna", "anthropic": "claude-haiku-5-5"}


class TicketLabel(BaseModel):
    category: Literal["billing", "bug", "how-to", "other"]
    urgency: Literal["low", "normal", "high"]


CHATS = [
    Chat(key=f"T{n}", system="Label the ticket.", prompt=f"Ticket {n}: I was charged twice on my invoice.")
    for n in range(12)
]


class Local:
    """The local provider as one test has set it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.reset()

    def reset(self) -> None:
        self.post("/local/reset")
        self.post("/local/settings", {"latency_seconds": 0.2, "answers": "cheap"})

    def post(self, path: str, body: object = None) -> Any:
        return httpx2.post(self.address + path, json=body).raise_for_status().json()

    def fault(self, fault: str, **params: object) -> None:
        self.post("/local/faults", {"fault": fault, **params})

    def open(self, name: str, **options: Any) -> Provider:
        base_url = self.address + ("/v1" if name == "openai" else "")
        return open_provider(name, api_key="sk-local", base_url=base_url, read_retries=0, **options)


@pytest.fixture
def local(local_provider: str) -> Iterator[Local]:
    server = Local(local_provider)
    yield server
    server.reset()


class Bought:
    """Requests spooled and created as one batch."""

    def __init__(self, provider: Provider, folder: Path, requests: list[Any], *, kind: Kind, **encoding: Any) -> None:
        self.provider, self.folder, self.kind = provider, folder, kind
        encode = provider.encoder(kind=kind, **encoding)
        self.custom_ids = [f"{request.key:A<56}" for request in requests]
        lines = [
            provider.line(kind=kind, custom_id=custom_id, body=encode(request))
            for custom_id, request in zip(self.custom_ids, requests, strict=True)
        ]
        self.spool = folder / "chunk"
        parts = provider.spooling
        self.spool.write_bytes(parts.head + parts.separator.join(lines) + parts.tail)
        self.file_id = provider.upload(self.spool, name="offpeak-test")

    def create(self) -> BatchView:
        metadata = {"ledger": "l1", "submission": "s1"}
        return self.provider.create(self.spool, kind=self.kind, file_id=self.file_id, metadata=metadata)

    def end_of(self, batch: BatchView) -> BatchView:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            now = self.provider.retrieve(batch.id)
            assert now is not None
            if now.state.terminal:
                return now
            time.sleep(0.05)
        pytest.fail(f"{batch.id} did not end")

    def results_of(self, batch: BatchView) -> dict[str, ResultLine]:
        path = self.folder / "results"
        self.provider.download(batch, path)
        return {line.custom_id: line for line in self.provider.results(path, kind=self.kind)}


def chats(local: Local, name: str, folder: Path, **options: Any) -> Bought:
    provider = local.open(name, **options)
    return Bought(provider, folder, CHATS, kind=Kind.CHAT, model=MODELS[name], output=TicketLabel)


@pytest.mark.parametrize(
    ("name", "options"),
    [("openai", {}), ("openai", {"chat_endpoint": "chat.completions"}), ("anthropic", {})],
    ids=["responses", "completions", "messages"],
)
def test_chats_are_bought_and_read_back_in_their_schema(
    local: Local, name: str, tmp_path: Path, options: dict[str, Any]
) -> None:
    bought = chats(local, name, tmp_path, **options)
    since = datetime.now(UTC)
    created = bought.create()
    ended = bought.end_of(created)
    assert (ended.state, ended.total, ended.finished) == (BatchState.COMPLETED, 12, 12)
    assert abs(ended.created_at - since) < timedelta(seconds=30)
    assert ended.ended_at is not None
    results = bought.results_of(ended)
    assert sorted(results) == sorted(bought.custom_ids)
    for line in results.values():
        assert (line.outcome, line.finish) == (Outcome.SUCCEEDED, Finish.STOP)
        assert TicketLabel.model_validate_json(line.text or "")
        assert line.usage.input_tokens > 0
        assert line.usage.output_tokens > 0
        assert line.model


@pytest.mark.parametrize(
    ("kind", "model", "request_"),
    [
        (Kind.EMBEDDING, "text-embedding-3-small", Embedding(key="E1", text="A text about invoices.")),
        (Kind.MODERATION, "omni-moderation-latest", Moderation(key="M1", text="A text about invoices.")),
    ],
)
def test_embeddings_and_moderations(local: Local, tmp_path: Path, kind: Kind, model: str, request_: Request) -> None:
    bought = Bought(local.open("openai"), tmp_path, [request_], kind=kind, model=model, output=None)
    (line,) = bought.results_of(bought.end_of(bought.create())).values()
    assert (line.outcome, line.finish) == (Outcome.SUCCEEDED, Finish.STOP)
    if kind is Kind.EMBEDDING:
        vector = struct.unpack(f"<{len(line.vector or b'') // 4}f", line.vector or b"")
        assert len(vector) > 100
        assert sum(value * value for value in vector) == pytest.approx(1.0, abs=0.01)
    else:
        assert line.output is not None
        assert line.output["flagged"] in {True, False}


def test_what_finished_before_a_batch_expired_is_kept(local: Local, name: str, tmp_path: Path) -> None:
    local.fault("expire", share=0.5)
    bought = chats(local, name, tmp_path)
    ended = bought.end_of(bought.create())
    assert ended.state is BatchState.EXPIRED
    outcomes = [line.outcome for line in bought.results_of(ended).values()]
    assert sorted(set(outcomes)) == [Outcome.EXPIRED, Outcome.SUCCEEDED]
    assert len(outcomes) == 12


def test_a_cancelled_batch_ends_as_cancelled(local: Local, name: str, tmp_path: Path) -> None:
    local.fault("never_end", share=0.5)
    bought = chats(local, name, tmp_path)
    batch = bought.create()
    bought.provider.cancel(batch.id)
    ended = bought.end_of(batch)
    assert ended.state is BatchState.CANCELLED
    bought.provider.cancel(batch.id)
    assert Outcome.CANCELLED in {line.outcome for line in bought.results_of(ended).values()}


def test_lines_that_failed_are_read_beside_those_that_did_not(local: Local, name: str, tmp_path: Path) -> None:
    local.fault("error_lines", share=0.5)
    bought = chats(local, name, tmp_path)
    results = bought.results_of(bought.end_of(bought.create()))
    assert {line.outcome for line in results.values()} == {Outcome.SUCCEEDED, Outcome.ERRORED}
    assert all(line.error_code for line in results.values() if line.outcome is Outcome.ERRORED)


def test_a_create_whose_answer_was_lost_is_found_in_the_list(local: Local, name: str, tmp_path: Path) -> None:
    local.fault("ghost_500")
    bought = chats(local, name, tmp_path)
    before = datetime.now(UTC)
    with pytest.raises(OutcomeUnknown):
        bought.create()
    (found,) = bought.provider.batches(since=before)
    assert found.total in {0, 12}
    if name == "openai":
        assert found.metadata == {"ledger": "l1", "submission": "s1"}
        assert found.input_file_id == bought.file_id
    assert sorted(bought.results_of(bought.end_of(found))) == sorted(bought.custom_ids)


def test_a_failed_batch_says_why(local: Local, tmp_path: Path) -> None:
    local.fault("fail_validation", code="token_limit_exceeded", message="Enqueued token limit reached.")
    bought = chats(local, "openai", tmp_path)
    ended = bought.end_of(bought.create())
    assert (ended.state, ended.error) == (
        BatchState.FAILED,
        "token_limit_exceeded: Enqueued token limit reached.",
    )


def test_a_batch_over_the_providers_limit_is_refused(local: Local, tmp_path: Path) -> None:
    local.post("/local/settings", {"anthropic_max_requests": 5})
    try:
        with pytest.raises(SubmissionRejected):
            chats(local, "anthropic", tmp_path).create()
    finally:
        local.post("/local/settings", {"anthropic_max_requests": 100_000})


def test_an_uploaded_file_is_listed_and_deleted(local: Local, tmp_path: Path) -> None:
    bought = chats(local, "openai", tmp_path)
    assert list(bought.provider.files(prefix="offpeak-")) == [(bought.file_id, "offpeak-test")]
    assert bought.file_id is not None
    bought.provider.delete_file(bought.file_id)
    bought.provider.delete_file(bought.file_id)
    assert list(bought.provider.files(prefix="offpeak-")) == []
