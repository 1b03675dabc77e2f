"""OpenAI's files and batches, from upload to results."""

import json
import time

import openai
import pytest


def test_a_batch_completes_with_one_answer_a_line(server, chats):
    batch = server.landed(chats(40))
    lines = server.output(batch)
    assert batch.status == "completed"
    assert batch.error_file_id is None
    assert sorted(line["custom_id"] for line in lines) == sorted(f"c{n}" for n in range(40))
    assert {line["response"]["status_code"] for line in lines} == {200}
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (40, 40, 0)


def test_results_do_not_come_in_the_order_of_the_input(server, chats):
    lines = server.output(server.landed(chats(40)))
    assert [line["custom_id"] for line in lines] != [f"c{n}" for n in range(40)]


def test_results_come_in_the_order_that_is_set(server, chats):
    server.post("/local/settings", {"results_order": "reversed"})
    lines = server.output(server.landed(chats(5)))
    assert [line["custom_id"] for line in lines] == ["c4", "c3", "c2", "c1", "c0"]


def test_the_statuses_follow_one_another_as_documented(server, chats):
    server.post("/local/settings", {"latency_seconds": 100})
    server.post("/local/clock", {"now": 1_700_000_000})
    try:
        batch = server.submit(chats(10))
        seen = [batch.status]
        for seconds in (50, 45, 10):
            server.post("/local/clock", {"advance": seconds})
            seen.append(server.openai.batches.retrieve(batch.id).status)
    finally:
        server.raw("DELETE", "/local/clock")
    assert seen == ["validating", "in_progress", "finalizing", "completed"]


def test_a_batch_keeps_what_it_was_given_and_when_it_happened(server, chats):
    batch = server.ended(server.submit(chats(1), metadata={"ledger_job": "7"}).id)
    assert batch.metadata == {"ledger_job": "7"}
    assert batch.endpoint == "/v1/chat/completions"
    assert batch.expires_at == batch.created_at + 24 * 3600
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    assert batch.failed_at is batch.expired_at is batch.cancelled_at is batch.errors is None


def test_the_usage_of_a_batch_is_the_sum_of_its_lines(server, chats):
    batch = server.landed(chats(25))
    usages = [line["response"]["body"]["usage"] for line in server.output(batch)]
    assert batch.usage.input_tokens == sum(usage["prompt_tokens"] for usage in usages) > 0
    assert batch.usage.output_tokens == sum(usage["completion_tokens"] for usage in usages) > 0
    assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens


def test_every_answer_says_that_it_is_local(server, chats):
    [line] = server.output(server.landed(chats(1)))
    assert line["response"]["body"]["model"] == "local-gpt-5-mini"


def test_lists_are_newest_first_and_page_to_the_end(server, chats):
    file_id = server.upload(chats(1))
    ids = [
        server.openai.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h").id
        for _ in range(5)
    ]
    first = server.openai.batches.list(limit=2)
    assert [batch.id for batch in first.data] == ids[:2:-1]
    assert first.has_more is True
    assert [batch.id for batch in server.openai.batches.list(limit=2)] == ids[::-1]


def test_responses_embeddings_and_moderations_run_in_batches(server):
    bodies = {
        "/v1/responses": {"model": "gpt-5-mini", "input": "Say something."},
        "/v1/embeddings": {"model": "text-embedding-3-small", "input": "Some text."},
        "/v1/moderations": {"model": "omni-moderation-latest", "input": "You idiot."},
    }
    objects = {}
    for endpoint, body in bodies.items():
        line = {"custom_id": "x", "method": "POST", "url": endpoint, "body": body}
        [result] = server.output(server.landed([line], endpoint))
        objects[endpoint] = result["response"]["body"]
    assert objects["/v1/responses"]["output"][0]["content"][0]["text"]
    assert len(objects["/v1/embeddings"]["data"][0]["embedding"]) == 256
    assert objects["/v1/moderations"]["results"][0]["flagged"] is True


def test_a_request_with_bad_parameters_goes_to_the_error_file(server, chats):
    good, bad = chats(1), chats(1, "bad", max_tokens=0)
    batch = server.landed(good + bad)
    [line] = server.errors(batch)
    assert batch.status == "completed"
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 1)
    assert (line["custom_id"], line["error"], line["response"]["status_code"]) == ("bad0", None, 400)
    assert line["response"]["body"]["error"]["param"] == "max_tokens"


def test_a_batch_of_nothing_but_errors_is_completed_without_an_output_file(server, chats):
    batch = server.landed(chats(3, max_tokens=0))
    assert (batch.status, batch.output_file_id, len(server.errors(batch))) == ("completed", None, 3)


def test_an_answer_that_is_too_long_is_cut_and_says_so(server, chats):
    [line] = server.output(server.landed(chats(1, max_completion_tokens=2)))
    choice = line["response"]["body"]["choices"][0]
    assert choice["finish_reason"] == "length"
    assert line["response"]["body"]["usage"]["completion_tokens"] == 2
    assert server.get("/local/tally")["openai"]["usable_answers"] == 0


def test_cancelling_half_way_keeps_what_is_finished_and_lists_the_rest(server, chats):
    server.post("/local/settings", {"latency_seconds": 2})
    batch = server.submit(chats(50))
    server.until(lambda: server.openai.batches.retrieve(batch.id), lambda b: 0 < b.request_counts.completed < 50)
    assert server.openai.batches.cancel(batch.id).status == "cancelling"
    batch = server.ended(batch.id)
    finished = {line["custom_id"] for line in server.output(batch)}
    left = server.errors(batch)
    assert batch.status == "cancelled"
    assert batch.cancelling_at <= batch.cancelled_at
    assert {line["error"]["code"] for line in left} == {"batch_cancelled"}
    assert finished | {line["custom_id"] for line in left} == {f"c{n}" for n in range(50)}
    assert len(finished) + len(left) == 50
    assert server.get("/local/tally")["openai"]["answers_delivered"] == len(finished)


def test_a_batch_that_ended_cannot_be_cancelled(server, chats):
    batch = server.landed(chats(1))
    with pytest.raises(openai.ConflictError, match="completed"):
        server.openai.batches.cancel(batch.id)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"endpoint": "/v1/nothing"}, "endpoint"),
        ({"completion_window": "1h"}, "24h"),
        ({"metadata": {"key": "v" * 513}}, "metadata"),
        ({"metadata": {str(n): "v" for n in range(17)}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 5}}, "seconds"),
    ],
)
def test_a_create_with_bad_arguments_is_refused_at_once(server, chats, change, message):
    given = {"endpoint": "/v1/chat/completions", "completion_window": "24h", "input_file_id": server.upload(chats(1))}
    with pytest.raises(openai.BadRequestError, match=message):
        server.openai.batches.create(**{**given, **change})
    assert server.get("/local/tally")["openai"]["batches_created"] == 0


def test_files_are_listed_read_and_deleted(server):
    one, two, three = (server.upload(f"file {n}".encode()) for n in range(3))
    assert [file.id for file in server.openai.files.list(limit=2)] == [three, two, one]
    assert [file.id for file in server.openai.files.list(order="asc", after=one)] == [two, three]
    assert [file.id for file in server.openai.files.list(purpose="batch_output")] == []
    assert server.openai.files.content(two).content == b"file 1"
    assert server.openai.files.retrieve(two).bytes == 6
    assert server.openai.files.delete(two).deleted is True
    with pytest.raises(openai.NotFoundError, match=two):
        server.openai.files.retrieve(two)


def test_files_expire_when_they_were_told_to(server):
    file = server.openai.files.create(
        file=("x.jsonl", b"{}"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert file.expires_at == file.created_at + 3600
    assert abs(file.created_at - time.time()) < 30


def test_results_are_downloaded_as_a_named_attachment(server, chats):
    batch = server.landed(chats(1))
    _, headers, body = server.raw("GET", f"/v1/files/{batch.output_file_id}/content", authorization="Bearer k")
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"] == f'attachment; filename="{batch.id}_output.jsonl"'
    assert json.loads(body)["custom_id"] == "c0"


def test_an_input_file_may_be_deleted_while_its_batch_runs(server, chats):
    server.post("/local/settings", {"latency_seconds": 0.6})
    batch = server.submit(chats(10))
    server.until(lambda: server.openai.batches.retrieve(batch.id).status, lambda status: status == "in_progress")
    server.openai.files.delete(batch.input_file_id)
    assert len(server.output(server.ended(batch.id))) == 10


def test_a_missing_key_is_refused_in_openais_words(server):
    status, _, body = server.raw("GET", "/v1/batches")
    assert status == 401
    assert json.loads(body)["error"]["code"] == "invalid_api_key"


def test_an_unknown_batch_is_not_found(server):
    with pytest.raises(openai.NotFoundError, match="batch_nothing"):
        server.openai.batches.retrieve("batch_nothing")
