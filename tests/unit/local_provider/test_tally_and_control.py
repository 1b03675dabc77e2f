"""The count of what was bought, and the control over HTTP."""

import json

import pytest


def test_the_tally_counts_batches_requests_answers_and_tokens(server, chats, messages):
    batch = server.landed(chats(7) + chats(2, "bad", max_tokens=0))
    server.message_ended(server.send(messages(3)).id)
    tally = server.get("/local/tally")
    openai, anthropic = tally["openai"], tally["anthropic"]
    assert (openai["batches_created"], openai["requests_accepted"], openai["answers_delivered"]) == (1, 9, 7)
    assert (openai["input_tokens"], openai["output_tokens"]) == (batch.usage.input_tokens, batch.usage.output_tokens)
    assert openai["by_model"]["gpt-5-mini"]["batch_answers"] == 7
    assert (anthropic["batches_created"], anthropic["requests_accepted"], anthropic["usable_answers"]) == (1, 3, 3)


def test_synchronous_calls_are_counted_apart(server):
    server.openai.responses.create(model="gpt-5-mini", input="Hello.")
    server.openai.embeddings.create(model="text-embedding-3-small", input="Hello.")
    tally = server.get("/local/tally")["openai"]
    assert (tally["realtime_calls"], tally["realtime_answers"], tally["batch_answers"]) == (2, 2, 0)
    assert set(tally["by_model"]) == {"gpt-5-mini", "text-embedding-3-small"}


def test_an_answer_bought_twice_is_seen_whatever_its_custom_id(server, chats):
    server.landed(chats(5))
    server.landed(chats(2, "again"))
    twice = server.get("/local/tally/requests?at_least=2")["requests"]
    assert [(entry["answered"], entry["usable"]) for entry in twice] == [(2, 2), (2, 2)]
    assert {entry["last_custom_id"] for entry in twice} == {"again0", "again1"}
    assert len(server.get("/local/tally/requests")["requests"]) == 5


def test_batches_are_shown_to_whoever_watches(server, chats, messages):
    first = server.landed(chats(2))
    second = server.send(messages(4))
    shown = server.get("/local/batches")["batches"]
    assert [(one["id"], one["provider"], one["requests"]) for one in shown] == [
        (second.id, "anthropic", 4),
        (first.id, "openai", 2),
    ]
    assert (shown[1]["status"], shown[1]["first_custom_id"]) == ("completed", "c0")
    assert (shown[1]["input_tokens"], shown[1]["output_tokens"]) == (
        first.usage.input_tokens,
        first.usage.output_tokens,
    )


def test_a_reset_forgets_everything_but_the_settings(server, chats):
    server.post("/local/settings", {"latency_seconds": 3})
    server.post("/local/faults", [{"fault": "create_429"}])
    server.openai.responses.create(model="gpt-5-mini", input="Hello.")
    server.upload(chats(1))
    server.post("/local/reset")
    assert server.get("/local/batches") == {"batches": []}
    assert server.get("/local/faults") == {"rules": [], "fired": {}, "variants": {}, "creates": {}}
    assert server.get("/local/tally")["openai"]["by_model"] == {}
    assert list(server.openai.files.list()) == []
    assert server.get("/local/settings")["latency_seconds"] == 3


def test_a_reset_in_the_middle_of_a_batch_leaves_nothing_behind(server, chats):
    server.post("/local/settings", {"latency_seconds": 1})
    server.submit(chats(200))
    server.until(lambda: server.get("/local/tally")["openai"]["answers_delivered"], lambda n: n > 0)
    server.post("/local/reset")
    assert server.landed(chats(3)).status == "completed"
    assert server.get("/local/tally")["openai"]["answers_delivered"] == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latency": 1}, "no setting 'latency'"),
        ({"latency_seconds": -1}, "latency_seconds"),
        ({"answers": "good"}, "wordllama, cheap"),
        ({"openai_max_requests": 1.5}, "whole number"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(server, changes, message):
    before = server.get("/local/settings")
    status, _, said = server.raw("POST", "/local/settings", json.dumps(changes).encode())
    assert status == 400
    assert message in said.decode()
    assert server.get("/local/settings") == before
