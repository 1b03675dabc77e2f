"""What is read out of result lines, as the providers document them and as gateways bend them."""

import base64
import struct
from pathlib import Path
from typing import Any

import orjson
import pytest

from offpeak.errors import DownloadIncomplete
from offpeak.providers import open_provider
from offpeak.providers.base import Finish, Kind, Outcome, ResultLine, Usage
from offpeak.providers.wire import transient

OPENAI = open_provider("openai", api_key="k")
GATEWAY = open_provider("openai", api_key="k", chat_endpoint="chat.completions")
ANTHROPIC = open_provider("anthropic", api_key="k")

RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1764000000,
    "completed_at": 1764000007.9,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "model": "gpt-6-luna-2026-09-01",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "message",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": '{"urgent":', "annotations": []},
                {"type": "output_text", "text": "true}", "annotations": []},
            ],
        },
    ],
    "usage": {
        "input_tokens": 1200,
        "input_tokens_details": {
            "cached_tokens": 1000,
            "cache_write_tokens": 150,
            "cache_write_tokens_details": {"ttl_30m_tokens": 50, "ttl_12h_tokens": 100},
        },
        "output_tokens": 12,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 1212,
    },
}
COMPLETION = {
    "id": "chatcmpl-1",
    "created": 1764000001,
    "model": "gpt-4o-mini",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "fine", "refusal": None}, "finish_reason": "stop"}
    ],
    "usage": {
        "prompt_tokens": 90,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 8},
    },
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-5-5",
    "content": [
        {"type": "thinking", "thinking": "..."},
        {"type": "text", "text": "fi"},
        {"type": "text", "text": "ne"},
    ],
    "stop_reason": "end_turn",
    "usage": {
        "input_tokens": 20,
        "cache_creation_input_tokens": 300,
        "cache_read_input_tokens": 1000,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
        "output_tokens": 5,
        "service_tier": "batch",
    },
}


def ok(body: object, *, custom_id: str = "c1", **changes: Any) -> dict[str, Any]:
    response = {"status_code": 200, "request_id": "r", "body": body} | changes
    return {"id": "batch_req_1", "custom_id": custom_id, "response": response, "error": None}


def succeeded(message: object) -> dict[str, Any]:
    return {"custom_id": "c1", "result": {"type": "succeeded", "message": message}}


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Decodes the given lines through a file, as a provider does."""

    def decoded(provider: Any, *lines: dict[str, Any], kind: Kind = Kind.CHAT) -> list[ResultLine]:
        path = tmp_path / "results.jsonl"
        path.write_bytes(b"\n".join(map(orjson.dumps, lines)))
        return list(provider.results(path, kind=kind))

    return decoded


def test_a_response(read: Any) -> None:
    assert read(OPENAI, ok(RESPONSE)) == [
        ResultLine(
            custom_id="c1",
            outcome=Outcome.SUCCEEDED,
            finish=Finish.STOP,
            text='{"urgent":true}',
            usage=Usage(1200, 12, 1000, 150, 100),
            model="gpt-6-luna-2026-09-01",
            created_at=1764000007,
        )
    ]


def test_a_chat_completion(read: Any) -> None:
    assert read(GATEWAY, ok(COMPLETION)) == [
        ResultLine(
            custom_id="c1",
            outcome=Outcome.SUCCEEDED,
            finish=Finish.STOP,
            text="fine",
            usage=Usage(90, 3, 64, 8, 0),
            model="gpt-4o-mini",
            created_at=1764000001,
        )
    ]


def test_a_message(read: Any) -> None:
    assert read(ANTHROPIC, succeeded(MESSAGE)) == [
        ResultLine(
            custom_id="c1",
            outcome=Outcome.SUCCEEDED,
            finish=Finish.STOP,
            text="fine",
            usage=Usage(1320, 5, 1000, 300, 200),
            model="claude-haiku-5-5",
        )
    ]


def test_an_answer_is_read_by_its_own_shape_not_by_the_endpoint_that_was_asked(read: Any) -> None:
    assert read(OPENAI, ok(COMPLETION))[0].text == "fine"
    assert read(GATEWAY, ok(RESPONSE))[0].text == '{"urgent":true}'


@pytest.mark.parametrize(
    ("change", "finish"),
    [
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, Finish.LENGTH),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, Finish.FILTERED),
        ({"status": "incomplete", "incomplete_details": None}, Finish.OTHER),
        ({"status": "queued"}, Finish.OTHER),
        ({"status": None}, Finish.STOP),
        ({"output": []}, Finish.OTHER),
    ],
)
def test_a_response_that_stopped_early_is_billed_and_unusable(
    read: Any, change: dict[str, Any], finish: Finish
) -> None:
    (line,) = read(OPENAI, ok(RESPONSE | change))
    assert (line.outcome, line.finish, line.usage.output_tokens) == (Outcome.SUCCEEDED, finish, 12)


def test_a_refused_response_says_so(read: Any) -> None:
    refusal = [{"type": "message", "content": [{"type": "refusal", "refusal": "I cannot."}]}]
    (line,) = read(OPENAI, ok(RESPONSE | {"output": refusal}))
    assert (line.finish, line.error_code, line.error_message) == (Finish.REFUSED, "refusal", "I cannot.")


def test_a_failed_response_is_an_error_that_may_be_asked_again(read: Any) -> None:
    failed = {"status": "failed", "error": {"code": "server_error", "message": "oh"}, "output": []}
    (line,) = read(OPENAI, ok(RESPONSE | failed))
    assert (line.outcome, line.error_message) == (Outcome.ERRORED, "server_error: oh")
    assert transient(line.error_code)


@pytest.mark.parametrize(
    ("message", "reason", "finish"),
    [
        ({"content": "x"}, "length", Finish.LENGTH),
        ({"content": None}, "length", Finish.LENGTH),
        ({"content": "x"}, "content_filter", Finish.FILTERED),
        ({"content": None}, "content_filter", Finish.FILTERED),
        ({"content": None, "refusal": "no"}, "stop", Finish.REFUSED),
        ({"content": "x", "refusal": ""}, "stop", Finish.STOP),
        ({"content": "x"}, "", Finish.STOP),
        ({"content": "x"}, None, Finish.STOP),
        ({"content": None}, "tool_calls", Finish.OTHER),
        ({"content": None}, "stop", Finish.OTHER),
        ({"content": [{"type": "text", "text": "x"}]}, "stop", Finish.STOP),
    ],
)
def test_why_a_chat_completion_stopped(read: Any, message: dict[str, Any], reason: object, finish: Finish) -> None:
    (line,) = read(GATEWAY, ok(COMPLETION | {"choices": [{"message": message, "finish_reason": reason}]}))
    assert line.finish is finish
    assert line.text == ("x" if message["content"] else None)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop_sequence", Finish.STOP),
        ("max_tokens", Finish.LENGTH),
        ("model_context_window_exceeded", Finish.LENGTH),
        ("refusal", Finish.REFUSED),
        ("tool_use", Finish.OTHER),
        ("pause_turn", Finish.OTHER),
        ("something new", Finish.OTHER),
        ("", Finish.STOP),
        (None, Finish.STOP),
    ],
)
def test_why_a_message_stopped(read: Any, reason: object, finish: Finish) -> None:
    (line,) = read(ANTHROPIC, succeeded(MESSAGE | {"stop_reason": reason}))
    assert (line.outcome, line.finish) == (Outcome.SUCCEEDED, finish)


def test_a_body_that_is_json_text_is_read(read: Any) -> None:
    assert read(OPENAI, ok(orjson.dumps(RESPONSE).decode()))[0].text == '{"urgent":true}'


def test_a_status_that_is_text_is_read(read: Any) -> None:
    assert read(OPENAI, ok(RESPONSE, status_code="200"))[0].outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("status", "code", "again"), [(400, "invalid_value", False), (429, "http_429", True), (500, "http_500", True)]
)
def test_an_http_error_line(read: Any, status: int, code: str, again: bool) -> None:
    body = {"error": {"message": "bad", "type": "invalid_request_error", "param": None, "code": "invalid_value"}}
    (line,) = read(OPENAI, ok(body, status_code=status))
    assert (line.outcome, line.finish, line.error_code) == (Outcome.ERRORED, Finish.OTHER, code)
    assert line.error_message == f"HTTP {status}: invalid_value: bad"
    assert transient(line.error_code) is again


def test_an_http_error_without_a_code_has_its_type_or_its_status(read: Any) -> None:
    typed, bare = read(OPENAI, ok({"error": {"type": "t", "code": ""}}, status_code=404), ok("", status_code=403))
    assert (typed.error_code, bare.error_code) == ("t", "http_403")
    assert not transient(bare.error_code)


@pytest.mark.parametrize(
    ("code", "outcome", "again"),
    [
        ("batch_expired", Outcome.EXPIRED, False),
        ("batch_cancelled", Outcome.CANCELLED, False),
        ("request_timeout", Outcome.ERRORED, True),
        ("something_new", Outcome.ERRORED, False),
    ],
)
@pytest.mark.parametrize("absent", [None, ""])
def test_a_line_that_was_never_answered(read: Any, code: str, outcome: Outcome, again: bool, absent: object) -> None:
    error = {"code": code, "message": "not run"}
    (line,) = read(OPENAI, {"id": "b", "custom_id": "c9", "response": absent, "error": error})
    assert line == ResultLine(
        custom_id="c9", outcome=outcome, finish=Finish.OTHER, error_code=code, error_message="not run"
    )
    assert transient(line.error_code) is again


@pytest.mark.parametrize(
    ("result", "outcome", "code"),
    [
        ({"type": "expired"}, Outcome.EXPIRED, "expired"),
        ({"type": "canceled"}, Outcome.CANCELLED, "canceled"),
        (
            {"type": "errored", "error": {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}},
            Outcome.ERRORED,
            "overloaded_error",
        ),
        (
            {"type": "errored", "error": {"type": "invalid_request_error", "message": "bad"}},
            Outcome.ERRORED,
            "invalid_request_error",
        ),
        ({"type": "something new"}, Outcome.ERRORED, "unknown_result_type"),
        (None, Outcome.ERRORED, "unknown_result_type"),
    ],
)
def test_anthropics_other_results(read: Any, result: object, outcome: Outcome, code: str) -> None:
    (line,) = read(ANTHROPIC, {"custom_id": "c1", "result": result})
    assert (line.outcome, line.error_code, line.usage) == (outcome, code, Usage())
    assert transient(line.error_code) is (code == "overloaded_error")


@pytest.mark.parametrize("missing", [None, "", {}])
def test_missing_usage_is_no_tokens(read: Any, missing: object) -> None:
    assert read(OPENAI, ok(RESPONSE | {"usage": missing}))[0].usage == Usage()
    assert read(ANTHROPIC, succeeded(MESSAGE | {"usage": missing}))[0].usage == Usage()


def test_usage_with_nulls_in_it(read: Any) -> None:
    reported = {"input_tokens": 7, "output_tokens": 2, "cache_creation_input_tokens": None, "cache_creation": None}
    assert read(ANTHROPIC, succeeded(MESSAGE | {"usage": reported}))[0].usage == Usage(7, 2)
    chat = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": None}
    assert read(GATEWAY, ok(COMPLETION | {"usage": chat}))[0].usage == Usage(7, 2)


FLOATS = [0.25, -1.5, 3.0]
PACKED = struct.pack("<3f", *FLOATS)


@pytest.mark.parametrize("embedding", [FLOATS, [1, 2, 3], base64.b64encode(PACKED).decode()])
def test_an_embedding_is_float32_little_endian_however_it_was_written(read: Any, embedding: object) -> None:
    body = {
        "data": [{"embedding": embedding, "index": 0}],
        "model": "e-3",
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }
    (line,) = read(OPENAI, ok(body), kind=Kind.EMBEDDING)
    assert line.vector == (struct.pack("<3f", 1, 2, 3) if embedding == [1, 2, 3] else PACKED)
    assert (line.finish, line.usage, line.model) == (Finish.STOP, Usage(5, 0), "e-3")


@pytest.mark.parametrize("embedding", [None, "", [], "AAA=", ["x"]])
def test_an_unreadable_embedding_is_an_error_and_still_billed(read: Any, embedding: object) -> None:
    body = {"data": [{"embedding": embedding}], "usage": {"total_tokens": 5}}
    (line,) = read(OPENAI, ok(body), kind=Kind.EMBEDDING)
    assert (line.outcome, line.vector, line.error_code) == (Outcome.ERRORED, None, "unreadable_embedding")
    assert line.usage == Usage(5, 0)


def test_a_moderation(read: Any) -> None:
    verdict = {"flagged": True, "categories": {"hate": True}, "category_scores": {"hate": 0.9}}
    body = {"id": "m", "model": "omni", "results": [verdict | {"category_applied_input_types": {}}]}
    (line,) = read(OPENAI, ok(body), kind=Kind.MODERATION)
    assert (line.outcome, line.output, line.model) == (Outcome.SUCCEEDED, verdict, "omni")


@pytest.mark.parametrize(
    "body", [{"output": "text"}, {"choices": [None]}, {"choices": 7}, {"output": [{"type": "message", "content": [1]}]}]
)
def test_one_answer_of_no_known_shape_does_not_keep_the_others_from_being_read(read: Any, body: object) -> None:
    odd, fine = read(OPENAI, ok(body, custom_id="odd"), ok(RESPONSE))
    assert (odd.custom_id, odd.outcome) == ("odd", Outcome.ERRORED)
    assert fine.text == '{"urgent":true}'


@pytest.mark.parametrize("provider", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
class TestFiles:
    line = orjson.dumps(ok(RESPONSE) | succeeded(MESSAGE))

    def test_blank_lines_and_carriage_returns_are_passed_over(self, provider: Any, tmp_path: Path) -> None:
        path = tmp_path / "r"
        path.write_bytes(b"\n" + self.line + b"\r\n\r\n  \n" + self.line)
        assert len(list(provider.results(path, kind=Kind.CHAT))) == 2

    def test_an_empty_file_holds_nothing(self, provider: Any, tmp_path: Path) -> None:
        path = tmp_path / "r"
        path.touch()
        assert list(provider.results(path, kind=Kind.CHAT)) == []

    @pytest.mark.parametrize("torn", [b'{"custom_id":"c2","resp', b"<html>", b"null", b"[1]"])
    def test_a_line_that_is_no_json_object_is_a_torn_download(self, provider: Any, tmp_path: Path, torn: bytes) -> None:
        path = tmp_path / "r"
        path.write_bytes(self.line + b"\n" + torn)
        with pytest.raises(DownloadIncomplete, match="line 2"):
            list(provider.results(path, kind=Kind.CHAT))

    def test_a_line_separator_inside_a_text_does_not_end_a_line(self, provider: Any, tmp_path: Path) -> None:
        path = tmp_path / "r"
        path.write_bytes(self.line.replace(b"fine", "fi\u2028ne".encode()))
        assert len(list(provider.results(path, kind=Kind.CHAT))) == 1
