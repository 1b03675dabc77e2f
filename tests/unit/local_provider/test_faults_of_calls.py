"""Calls that buy nothing can fail, and what exists can be unknown for a while."""

import contextlib

import anthropic
import openai
import pytest

BOTH = ("retrieve", "list", "download", "delete")
CALLS = [
    *((name, operation) for name in ("openai", "anthropic") for operation in BOTH),
    *(("openai", operation) for operation in ("upload", "list_files", "retrieve_file")),
]
APIErrors = (openai.APIError, anthropic.APIError)


def rule(server, fault, **more):
    return server.post("/local/faults", [{"fault": fault, **more}])


def calls_about(name, server, chats, messages):
    """Every call about a batch that has ended, by operation."""
    if name == "anthropic":
        batches = server.anthropic.messages.batches
        batch = server.message_ended(server.send(messages(2)).id)
        return {
            "retrieve": lambda: batches.retrieve(batch.id),
            "list": lambda: list(batches.list()),
            "download": lambda: list(batches.results(batch.id)),
            "delete": lambda: batches.delete(batch.id),
        }
    batches, files = server.openai.batches, server.openai.files
    batch = server.landed(chats(2))
    return {
        "retrieve": lambda: batches.retrieve(batch.id),
        "list": lambda: list(batches.list()),
        "download": lambda: files.content(batch.output_file_id).content,
        "upload": lambda: server.upload(chats(1)),
        "list_files": lambda: list(files.list()),
        "retrieve_file": lambda: files.retrieve(batch.input_file_id),
        "delete": lambda: files.delete(batch.input_file_id),
    }


@pytest.mark.parametrize(("name", "operation"), CALLS)
@pytest.mark.parametrize(
    ("fault", "params", "status"),
    [
        ("call_500", {"status": 529}, 529),
        ("call_429", {"retry_after": 3}, 429),
        ("call_404", {}, 404),
        ("call_reset", {}, None),
    ],
)
def test_a_call_fails_as_often_as_asked_and_then_goes_through(
    server, chats, messages, name, operation, fault, params, status
):
    calls = calls_about(name, server, chats, messages)
    rule(server, fault, times=2, match={"operation": operation}, **params)
    for _ in range(2):
        with pytest.raises(APIErrors) as failed:
            calls[operation]()
        assert getattr(failed.value, "status_code", None) == status
    calls[operation]()
    counted = server.get("/local/faults")
    assert counted["fired"] == {fault: 2}
    assert [name.split()[-1] for name in counted["variants"]] == [operation]


@pytest.mark.parametrize(("kind", "params", "status"), [("reset", {}, None), ("500", {"status": 503}, 503)])
@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_a_provider_can_be_away_altogether_until_it_is_back(server, chats, messages, name, kind, params, status):
    user = [{"role": "user", "content": "Hello."}]
    file_id = server.upload(chats(1))
    calls = calls_about(name, server, chats, messages)
    deleting = calls.pop("delete")
    if name == "openai":
        calls["create"] = lambda: server.openai.batches.create(
            input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        calls["realtime"] = lambda: server.openai.chat.completions.create(model="gpt-5-mini", messages=user)
    else:
        calls["create"] = lambda: server.send(messages(1))
        calls["realtime"] = lambda: server.anthropic.messages.create(
            model="claude-haiku-5-5", max_tokens=9, messages=user
        )
    before = server.get("/local/tally")
    for point in ("create", "call", "realtime"):
        rule(server, f"{point}_{kind}", times=None, match={"provider": name}, **params)
    for _ in range(2):
        for call in (*calls.values(), deleting):
            with pytest.raises(APIErrors) as failed:
                call()
            assert getattr(failed.value, "status_code", None) == status
    after = server.get("/local/tally")
    assert after[name]["answers_delivered"] == before[name]["answers_delivered"]
    server.raw("DELETE", "/local/faults")
    for call in (*calls.values(), deleting):
        call()


def test_a_cancel_that_failed_cancels_nothing(server, chats, messages):
    server.post("/local/settings", {"latency_seconds": 600})
    rule(server, "call_500", match={"operation": "cancel"}, times=2)
    batch, message_batch = server.submit(chats(1)), server.send(messages(1))
    with pytest.raises(openai.InternalServerError):
        server.openai.batches.cancel(batch.id)
    with pytest.raises(anthropic.InternalServerError):
        server.anthropic.messages.batches.cancel(message_batch.id)
    assert [each["status"] for each in server.get("/local/batches")["batches"]] == ["in_progress", "validating"]


def test_429_of_a_call_says_when_to_come_back(server):
    rule(server, "call_429", retry_after=11)
    with pytest.raises(openai.RateLimitError) as refused:
        list(server.openai.batches.list())
    assert refused.value.response.headers["retry-after"] == "11"


@pytest.fixture(params=["openai", "anthropic"])
def held(request, server, chats, messages):
    """A held clock, and one provider's calls: create, retrieve, list, cancel, results; and its name."""
    server.post("/local/clock", {"now": 1_800_000_000})
    server.post("/local/settings", {"latency_seconds": 100})
    if request.param == "anthropic":
        batches = server.anthropic.messages.batches
        create = lambda: server.send(messages(2)).id  # noqa: E731
        results = server.results
    else:
        batches = server.openai.batches
        create = lambda: server.submit(chats(2)).id  # noqa: E731
        results = lambda batch_id: server.output(batches.retrieve(batch_id))  # noqa: E731
    yield create, batches.retrieve, lambda: [each.id for each in batches.list()], batches.cancel, results
    server.raw("DELETE", "/local/clock")


def test_a_new_batch_is_unknown_for_a_while(server, held):
    create, retrieve, _, cancel, _ = held
    rule(server, "retrieve_lag", seconds=30)
    batch_id = create()
    for call in (retrieve, cancel):
        with pytest.raises((openai.NotFoundError, anthropic.NotFoundError)):
            call(batch_id)
    server.post("/local/clock", {"advance": 31})
    assert retrieve(batch_id).id == batch_id
    assert server.get("/local/faults")["fired"] == {"retrieve_lag": 2}


def test_a_new_batch_is_missing_from_the_list_for_a_while(server, held):
    create, retrieve, listed, _, _ = held
    rule(server, "list_lag", seconds=30, match={"nth_create": 2})
    first, lagging, last = create(), create(), create()
    assert listed() == [last, first]
    assert retrieve(lagging).id == lagging
    server.post("/local/clock", {"advance": 31})
    assert listed() == [last, lagging, first]
    assert server.get("/local/faults")["fired"] == {"list_lag": 1}


def test_pages_of_a_list_with_a_lagging_batch_hold_every_other_one(server, chats):
    server.post("/local/settings", {"latency_seconds": 600})
    rule(server, "list_lag", seconds=600, times=2, match={"provider": "openai"})
    batches = [server.submit(chats(1)).id for _ in range(7)]
    assert [each.id for each in server.openai.batches.list(limit=2)] == batches[:1:-1]


def test_results_are_not_found_for_a_while_after_the_end(server, held):
    create, retrieve, _, _, results = held
    rule(server, "results_lag", seconds=30)
    batch_id = create()
    server.post("/local/clock", {"advance": 100})
    with pytest.raises((openai.NotFoundError, anthropic.NotFoundError)):
        results(batch_id)
    assert retrieve(batch_id).id == batch_id
    server.post("/local/clock", {"advance": 30})
    assert len(results(batch_id)) == 2
    assert server.get("/local/faults")["fired"] == {"results_lag": 1}


def test_a_batch_can_be_finalizing_for_long_although_everything_is_answered(server, chats):
    with holding(server):
        server.post("/local/settings", {"latency_seconds": 100})
        rule(server, "slow_finalizing", seconds=1_000)
        batch_id = server.submit(chats(4)).id
        server.post("/local/clock", {"advance": 1_099})
        batch = server.openai.batches.retrieve(batch_id)
        assert (batch.status, batch.request_counts.completed) == ("finalizing", 4)
        with pytest.raises(openai.ConflictError):
            server.openai.batches.cancel(batch_id)
        server.post("/local/clock", {"advance": 1})
        assert server.openai.batches.retrieve(batch_id).status == "completed"


@contextlib.contextmanager
def holding(server, at=1_800_000_000):
    server.post("/local/clock", {"now": at})
    try:
        yield
    finally:
        server.raw("DELETE", "/local/clock")
