"""The server's time can be held: nothing happens until it is advanced, and then everything that is due has happened."""

import json
import time

import pytest


@pytest.fixture
def clock(server):
    """The server with its clock held at a moment long ago."""
    server.post("/local/clock", {"now": 1_700_000_000})
    yield server
    server.raw("DELETE", "/local/clock")


def test_it_is_the_machines_time_unless_somebody_holds_it(server):
    said = server.get("/local/clock")
    assert (said["held"], abs(said["now"] - time.time()) < 5) == (False, True)
    assert server.post("/local/clock", {"now": 1_700_000_000}) == {"now": 1_700_000_000, "held": True}
    assert server.post("/local/clock", {"advance": 2.5}) == {"now": 1_700_000_002.5, "held": True}
    server.raw("DELETE", "/local/clock")
    assert server.get("/local/clock")["held"] is False


def test_a_batch_lives_by_the_held_clock(clock, chats):
    clock.post("/local/settings", {"latency_seconds": 3_600})
    batch = clock.submit(chats(10))
    assert batch.created_at == 1_700_000_000
    clock.post("/local/clock", {"advance": 2_000})
    batch = clock.openai.batches.retrieve(batch.id)
    assert batch.status == "in_progress"
    clock.post("/local/clock", {"advance": 500})
    answered = clock.openai.batches.retrieve(batch.id).request_counts.completed
    assert 0 < answered < 10
    assert clock.get("/local/tally")["openai"]["answers_delivered"] == answered
    clock.post("/local/clock", {"advance": 1_100})
    batch = clock.openai.batches.retrieve(batch.id)
    assert (batch.status, batch.completed_at) == ("completed", 1_700_003_600)
    assert all(line["response"]["body"]["created"] <= batch.completed_at for line in clock.output(batch))


def test_a_message_batch_lives_by_the_held_clock(clock, messages):
    clock.post("/local/settings", {"latency_seconds": 3_600})
    batch = clock.send(messages(3))
    assert batch.created_at.timestamp() == 1_700_000_000
    assert clock.anthropic.messages.batches.retrieve(batch.id).processing_status == "in_progress"
    clock.post("/local/clock", {"advance": 3_600})
    batch = clock.anthropic.messages.batches.retrieve(batch.id)
    assert (batch.processing_status, batch.ended_at.timestamp()) == ("ended", 1_700_003_600)


def test_what_is_due_has_happened_when_the_clock_answers(clock, chats):
    for number in range(5):
        batches = [clock.submit(chats(20, f"b{number}-{each}-")) for each in range(3)]
        clock.post("/local/clock", {"advance": 1})
        assert {clock.openai.batches.retrieve(batch.id).status for batch in batches} == {"completed"}


@pytest.mark.parametrize("given", [{}, {"now": "noon"}, {"advance": True}, {"now": 1, "advance": 1}, {"later": 1}])
def test_what_is_no_time_is_refused(server, given):
    status, _, said = server.raw("POST", "/local/clock", json.dumps(given).encode())
    assert (status, b"advance" in said) == (400, True)
    assert server.get("/local/clock")["held"] is False
