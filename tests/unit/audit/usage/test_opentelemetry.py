"""Spans with `gen_ai` attributes: OTLP as JSON, and one span a line."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from offpeak.audit.usage.jobs import Tokens, UsageLog, usage_jobs

from .writing import at, lines

ATTRIBUTES = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5.4-mini",
    "gen_ai.usage.input_tokens": 1_000,
    "gen_ai.usage.cache_read.input_tokens": 600,
    "gen_ai.usage.output_tokens": 100,
}


def span(name: str = "chat gpt-5.4-mini", *, service: str = "digests", **changed: Any) -> dict[str, Any]:
    """A span as Python's console exporter prints it, on one line; `changed` are attributes with `_` for `.`."""
    return {
        "name": name,
        "context": {"trace_id": "0x1", "span_id": "0x2"},
        "start_time": "2026-10-05T07:00:00.250000Z",
        "end_time": "2026-10-05T07:00:02.250000Z",
        "attributes": ATTRIBUTES | changed,
        "resource": {"attributes": {"service.name": service}},
    }


def typed(value: str | int) -> dict[str, str]:
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


def otlp(*names: str) -> dict[str, Any]:
    """A batch of spans as the collector writes it."""
    start = round(at(5, 7).timestamp()) * 10**9
    spans = [
        {
            "name": name,
            "startTimeUnixNano": str(start),
            "endTimeUnixNano": str(start + 2 * 10**9),
            "attributes": [{"key": key, "value": typed(value)} for key, value in ATTRIBUTES.items()],
        }
        for name in names
    ]
    service = {"key": "service.name", "value": {"stringValue": "digests"}}
    return {"resourceSpans": [{"resource": {"attributes": [service]}, "scopeSpans": [{"spans": spans}]}]}


def log(tmp_path: Path, *records: dict[str, Any]) -> UsageLog:
    return usage_jobs([lines(tmp_path / "spans.jsonl", records)])


def test_a_span_of_a_call_is_a_call(tmp_path: Path) -> None:
    found = log(tmp_path, span())
    (job,) = found.jobs
    assert (found.format, job.name, job.longest_run) == ("OpenTelemetry spans", "digests", timedelta(seconds=2))
    assert job.models == {
        "openai/gpt-5.4-mini": Tokens(calls=1, input=1_000, cache_read=600, cache_write=0, output=100)
    }


def test_a_line_may_hold_a_batch_of_spans(tmp_path: Path) -> None:
    found = log(tmp_path, otlp("digest", "digest"), otlp("other"))
    assert {job.name: job.models["openai/gpt-5.4-mini"].calls for job in found.jobs} == {"digest": 2, "other": 1}
    assert found.first == at(5, 7)


def test_a_document_of_spans_may_be_set_out(tmp_path: Path) -> None:
    path = tmp_path / "spans.json"
    path.write_text(json.dumps(otlp("digest", "other"), indent=2))
    assert usage_jobs([path]).calls == 2


def test_spans_of_tools_agents_and_requests_are_no_calls(tmp_path: Path) -> None:
    tool = span("execute_tool search", **{"gen_ai.operation.name": "execute_tool"})
    agent = span("invoke_agent writer", **{"gen_ai.operation.name": "invoke_agent"})
    request = {**span("GET /"), "attributes": {"http.request.method": "GET"}}
    found = log(tmp_path, request, agent, tool, span())
    assert (found.calls, found.others) == (1, 3)


def test_older_names_of_attributes_are_understood(tmp_path: Path) -> None:
    older = {
        "gen_ai.system": "anthropic",
        "llm.request.type": "chat",
        "gen_ai.response.model": "claude-haiku-4-5",
        "gen_ai.usage.prompt_tokens": 1_000,
        "gen_ai.usage.completion_tokens": 100,
        "gen_ai.usage.cache_read_input_tokens": 300,
        "gen_ai.usage.cache_creation_input_tokens": 200,
    }
    (job,) = log(tmp_path, {**span("anthropic.chat"), "attributes": older}).jobs
    assert job.name == "digests"
    assert job.models == {
        "anthropic/claude-haiku-4-5": Tokens(calls=1, input=1_000, cache_read=300, cache_write=200, output=100)
    }


@pytest.mark.parametrize(
    ("name", "service", "changed", "label"),
    [
        ("chat gpt-5.4-mini", "api", {"job.name": "digest", "gen_ai.agent.name": "writer"}, "digest"),
        ("chat gpt-5.4-mini", "api", {"gen_ai.agent.name": "writer"}, "writer"),
        ("write digest 17", "api", {}, "write digest *"),
        ("chat gpt-5.4-mini", "api", {}, "api"),
        ("chat gpt-5.4-mini", "unknown_service:python", {}, "chat gpt-5.4-mini"),
    ],
)
def test_a_job_goes_by_the_surest_label(
    tmp_path: Path, name: str, service: str, changed: dict[str, Any], label: str
) -> None:
    assert log(tmp_path, span(name, service=service, **changed)).jobs[0].name == label


def test_the_tier_of_the_answer_is_told(tmp_path: Path) -> None:
    (job,) = log(tmp_path, span(), span(**{"openai.response.service_tier": "flex"})).jobs
    assert job.batch_share == 0.5
