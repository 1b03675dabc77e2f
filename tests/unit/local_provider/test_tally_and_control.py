"""The count of what was bought, and the control over HTTP."""

import contextlib
import json
import threading

import anthropic
import openai
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


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_synchronous_calls_are_counted_by_how_they_ended(server, provider):
    def call(**more):
        with contextlib.suppress(openai.APIError, anthropic.APIError):
            if provider == "openai":
                server.openai.responses.create(**{"model": "gpt-5-mini", "input": "Hello.", **more})
            else:
                user = [{"role": "user", "content": "Hello."}]
                given = {"model": "claude-haiku-5-5", "messages": user, "max_tokens": 9, **more}
                server.anthropic.messages.create(**given)

    server.post("/local/settings", {f"{provider}_requests_per_minute": 3})
    server.post("/local/faults", [{"fault": "realtime_500"}, {"fault": "realtime_reset"}])
    for _ in range(4):
        call()
    call(stream=True)
    call()
    names = ("realtime_calls", "realtime_answers", "realtime_refused", "realtime_failed", "realtime_most_in_flight")
    tally = server.get("/local/tally")[provider]
    [of_model] = tally["by_model"].values()
    assert [tally[name] for name in names] == [of_model[name] for name in names] == [6, 2, 1, 3, 1]
    assert tally["realtime_in_flight"] == 0


def test_a_call_that_names_no_model_is_counted(server):
    server.raw("POST", "/v1/responses", b'{"input": "Hello."}', authorization="Bearer k")
    assert server.get("/local/tally")["openai"]["by_model"]["(none)"]["realtime_failed"] == 1


def test_the_tally_knows_how_many_calls_were_in_flight_at_once(starting):
    server = starting()
    server.post("/local/settings", {"answers": "cheap", "realtime_latency_seconds": 600})

    def call(model):
        with contextlib.suppress(openai.APIConnectionError):
            server.openai.responses.create(model=model, input="Hello.")

    for model in ("gpt-5-mini", "gpt-5-mini", "gpt-5.5"):
        threading.Thread(target=call, args=(model,), daemon=True).start()
    tally = server.until(lambda: server.get("/local/tally")["openai"], lambda t: t["realtime_in_flight"] == 3)
    assert tally["realtime_most_in_flight"] == 3
    assert {model: of["realtime_most_in_flight"] for model, of in tally["by_model"].items()} == {
        "gpt-5-mini": 2,
        "gpt-5.5": 1,
    }
    server.post("/local/reset")
    assert server.get("/local/tally")["openai"]["realtime_most_in_flight"] == 3, "they are still in flight"


def test_an_answer_bought_in_a_batch_and_by_a_synchronous_call_is_bought_twice(server, chats):
    [line] = chats(1)
    server.landed([line])
    create = server.openai.chat.completions.create
    create(**line["body"], service_tier="flex")
    assert server.get("/local/tally/requests?at_least=3")["requests"] == []
    create(**line["body"])
    [thrice] = server.get("/local/tally/requests?at_least=2")["requests"]
    assert (thrice["answered"], thrice["realtime"], thrice["last_custom_id"]) == (3, 2, "c0")


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
    tally = server.get("/local/tally")["openai"]
    assert (tally["by_model"], tally["realtime_calls"], tally["realtime_most_in_flight"]) == ({}, 0, 0)
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
