"""What can be wrong with lines, files and what is said about them; and that only what was answered is billed."""

import json
from collections import Counter

import anthropic
import openai
import pytest

SCHEMA = {
    "type": "object", "properties": {"urgent": {"type": "boolean"}}, "required": ["urgent"],
    "additionalProperties": False,
}  # fmt: skip
CHAT_SCHEMA = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA}}


def rule(server, fault, **more):
    return server.post("/local/faults", [{"fault": fault, **more}])


def fired(server):
    return server.get("/local/faults")["fired"]


@pytest.fixture
def responses():
    """Lines of a batch of responses; keywords go into every body."""

    def lines(count, **body):
        return [
            {
                "custom_id": f"r{number}", "method": "POST", "url": "/v1/responses",
                "body": {"model": "gpt-5-mini", "input": f"Tell me about the number {number}.", **body},
            }
            for number in range(count)
        ]  # fmt: skip

    return lines


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("length", ("length", "content", None)),
        ("refused", ("stop", None, "refusal")),
        ("filtered", ("content_filter", None, None)),
        ("invalid", ("stop", "content", None)),
        ("malformed", ("stop", "content", None)),
    ],
)
def test_a_chat_can_be_answered_without_use_and_is_billed(server, chats, how, said):
    rule(server, "unusable_lines", share=0.5, how=how)
    lines = server.output(server.landed(chats(4, response_format=CHAT_SCHEMA)))
    bodies = [line["response"]["body"] for line in lines]
    spoiled = [body["choices"][0] for body in bodies if not usable(body["choices"][0])]
    assert len(spoiled) == 2
    for choice in spoiled:
        message = choice["message"]
        found = (choice["finish_reason"], "content" if message["content"] else None)
        assert (*found, "refusal" if message["refusal"] else None) == said
    tally = server.get("/local/tally")["openai"]
    assert (tally["answers_delivered"], tally["usable_answers"]) == (4, 2)
    assert fired(server) == {"unusable_lines": 1}
    assert server.get("/local/faults")["variants"] == {f"unusable_lines {how}": 1}


def usable(choice):
    try:
        return choice["finish_reason"] == "stop" and "urgent" in json.loads(choice["message"]["content"] or "{}")
    except ValueError:
        return False


@pytest.mark.parametrize(
    ("how", "status", "reason", "kinds"),
    [
        ("length", "incomplete", "max_output_tokens", ["output_text"]),
        ("refused", "completed", None, ["refusal"]),
        ("filtered", "incomplete", "content_filter", []),
    ],
)
def test_a_response_can_be_answered_without_use(server, responses, how, status, reason, kinds):
    rule(server, "unusable_lines", share=1, how=how)
    [line] = server.output(server.landed(responses(1), "/v1/responses"))
    body = line["response"]["body"]
    assert (body["status"], (body["incomplete_details"] or {}).get("reason")) == (status, reason)
    assert [part["type"] for item in body["output"] for part in item["content"]] == kinds


@pytest.mark.parametrize(
    ("how", "stop", "text"),
    [("length", "max_tokens", True), ("refused", "refusal", False), ("filtered", "refusal", False)],
)
def test_a_message_can_be_answered_without_use(server, messages, how, stop, text):
    rule(server, "unusable_lines", share=1, how=how)
    batch = server.message_ended(server.send(messages(1)).id)
    message = server.results(batch.id)["a0"].message
    assert (message.stop_reason, bool(message.content)) == (stop, text)
    tally = server.get("/local/tally")["anthropic"]
    assert (tally["answers_delivered"], tally["usable_answers"]) == (1, 0)


@pytest.mark.parametrize("how", ["invalid", "malformed"])
def test_only_what_answers_to_a_schema_can_be_invalid(server, messages, how):
    rule(server, "unusable_lines", share=1, how=how, times=None)
    wanted = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    batch = server.message_ended(server.send([*messages(1), *messages(1, "s", **wanted)]).id)
    results = server.results(batch.id)
    assert {each.message.stop_reason for each in results.values()} == {"end_turn"}
    assert not usable({"finish_reason": "stop", "message": {"content": results["s0"].message.content[0].text}})
    assert server.get("/local/tally")["anthropic"]["usable_answers"] == 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("server_error", "api_error"),
        ("invalid_request", "invalid_request_error"),
        ("rate_limit", "rate_limit_error"),
        ("request_timeout", "timeout_error"),
        ("overloaded", "overloaded_error"),
    ],
)
def test_each_kind_of_error_line_of_anthropic(server, messages, code, kind):
    rule(server, "error_lines", share=1, code=code)
    batch = server.message_ended(server.send(messages(1)).id)
    assert server.results(batch.id)["a0"].error.error.type == kind
    assert server.get("/local/tally")["anthropic"]["answers_delivered"] == 0


def test_an_overloaded_line_of_openai_is_503(server, chats):
    rule(server, "error_lines", share=1, code="overloaded")
    [line] = server.errors(server.landed(chats(1)))
    assert line["response"]["status_code"] == 503


def test_skipped_lines_are_neither_answered_nor_billed_nor_told(server, chats, messages):
    rule(server, "skip_lines", share=0.5, times=2)
    batch = server.landed(chats(4))
    message_batch = server.message_ended(server.send(messages(4)).id)
    assert (len(server.output(batch)), batch.error_file_id) == (2, None)
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (4, 2, 0)
    assert len(server.results(message_batch.id)) == 2
    assert (message_batch.request_counts.succeeded, message_batch.request_counts.errored) == (2, 2)
    tally = server.get("/local/tally")
    assert [tally[each]["answers_delivered"] for each in ("openai", "anthropic")] == [2, 2]


def test_a_validation_fails_with_the_number_of_a_line(server, chats):
    rule(server, "fail_validation", code="invalid_json_line", message="This line is no JSON.", line=3)
    batch = server.landed(chats(4))
    assert (batch.status, batch.output_file_id) == ("failed", None)
    [error] = batch.errors.data
    assert (error.code, error.line) == ("invalid_json_line", 3)
    assert server.get("/local/tally")["openai"]["answers_delivered"] == 0
    assert fired(server) == {"fail_validation": 1}


def test_ids_that_are_none_can_be_told_as_empty_text(server, chats, messages):
    server.post("/local/settings", {"latency_seconds": 600})
    rule(server, "empty_ids", times=None)
    batch, message_batch = server.submit(chats(1)), server.send(messages(1))
    assert (batch.output_file_id, batch.error_file_id) == ("", "")
    assert message_batch.results_url == ""
    server.post("/local/settings", {"latency_seconds": 0})
    ended = server.landed(chats(1, "quick"))
    assert (bool(ended.output_file_id), ended.error_file_id) == (True, "")


def test_counts_can_lie_while_the_total_holds(server, chats, messages):
    rule(server, "false_counts", times=None)
    batch = server.landed(chats(5))
    message_batch = server.message_ended(server.send(messages(5)).id)
    assert (batch.request_counts.total, batch.request_counts.completed) == (5, 1)
    assert (message_batch.request_counts.canceled, message_batch.request_counts.succeeded) == (5, 0)
    assert len(server.output(batch)) == len(server.results(message_batch.id)) == 5


@pytest.fixture(params=["openai", "anthropic"])
def download(request, server, chats, messages):
    """Downloads the results of six requests, as bytes, in one provider's way."""
    if request.param == "anthropic":
        batch_id = server.message_ended(server.send(messages(6)).id).id
        return lambda: server.raw("GET", f"/v1/messages/batches/{batch_id}/results", x_api_key="k")[2]
    file_id = server.landed(chats(6)).output_file_id
    return lambda: server.openai.files.content(file_id).content


def ids(content):
    return [json.loads(line)["custom_id"] for line in content.splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("fault", "changed"),
    [
        ("missing_lines", lambda whole: whole[2:]),
        ("duplicate_lines", lambda whole: whole + whole[:2]),
        ("foreign_lines", lambda whole: [each[::-1] for each in whole[:2]] + whole),
    ],
)
def test_lines_of_one_download_can_be_wrong_and_the_next_is_whole(server, download, fault, changed):
    whole = ids(download())
    rule(server, fault, count=2)
    assert ids(download()) == changed(whole)
    assert ids(download()) == whole
    assert fired(server) == {fault: 1}


def test_lines_of_one_download_can_be_blank_or_in_another_order(server, download):
    whole = download()
    rule(server, "shuffle_lines")
    shuffled = download()
    assert (ids(shuffled) != ids(whole), Counter(ids(shuffled))) == (True, Counter(ids(whole)))
    rule(server, "blank_lines", count=2)
    blank = download()
    assert (sum(not line.strip() for line in blank.splitlines()), ids(blank)) == (4, ids(whole))


def test_faults_of_one_download_add_up(server, download):
    whole = ids(download())
    for fault in ("missing_lines", "duplicate_lines", "blank_lines", "foreign_lines"):
        rule(server, fault)
    assert ids(download()) == [whole[1][::-1], *whole[1:], whole[1]]


@pytest.mark.parametrize("at", ["mid_line", "line_end"])
def test_a_download_that_ends_early_without_a_length_looks_whole_and_the_next_is(server, download, at):
    whole = download()
    rule(server, "truncate", share=0.5, at=at, framing="close")
    torn = download()
    assert whole.startswith(torn)
    assert 0 < len(torn) < len(whole)
    assert torn.endswith(b"\n") == (at == "line_end")
    assert download() == whole
    assert server.get("/local/faults")["variants"] == {f"truncate {at} close": 1}


@pytest.mark.parametrize("at", ["mid_line", "line_end"])
def test_a_download_that_breaks_its_length_is_an_error_of_the_sdk(server, chats, messages, at):
    batch, message_batch = server.landed(chats(3)), server.message_ended(server.send(messages(3)).id)
    rule(server, "truncate", at=at, framing="length", times=2)
    with pytest.raises(openai.APIConnectionError):
        server.openai.files.content(batch.output_file_id)
    with pytest.raises(Exception, match=r"incomplete|peer closed") as torn:
        server.results(message_batch.id)
    assert not isinstance(torn.value, anthropic.APIStatusError)
    assert len(server.output(batch)) == len(server.results(message_batch.id)) == 3


def test_what_was_uploaded_is_given_back_whole(server, chats):
    rule(server, "truncate", times=None)
    file_id = server.upload(chats(2))
    assert len(server.openai.files.content(file_id).content.splitlines()) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fault": "unusable_lines", "how": "dull"}, "malformed"),
        ({"fault": "truncate", "at": "noon"}, "line_end"),
        ({"fault": "missing_lines", "count": 0}, "whole number"),
        ({"fault": "call_500", "match": {"operation": "pay"}}, "retrieve"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(server, given, message):
    status, _, said = server.raw("POST", "/local/faults", json.dumps(given).encode())
    assert (status, message in said.decode()) == (400, True)
