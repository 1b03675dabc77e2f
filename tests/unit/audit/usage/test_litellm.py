"""LiteLLM's spend log: its columns, its labels, and what it bought nothing with."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from offpeak.audit.usage.jobs import Tokens, UsageLog, usage_jobs

from .writing import at, lines


def row(**changed: Any) -> dict[str, Any]:
    """A row of LiteLLM_SpendLogs."""
    return {
        "request_id": "chatcmpl-B1",
        "call_type": "acompletion",
        "api_key": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
        "spend": 0.0021,
        "total_tokens": 1_100,
        "prompt_tokens": 1_000,
        "completion_tokens": 100,
        "startTime": "2026-10-05T07:00:00.250Z",
        "endTime": "2026-10-05T07:00:02.250Z",
        "completionStartTime": "2026-10-05T07:00:00.900Z",
        "model": "gpt-5.4-mini",
        "model_group": "small",
        "custom_llm_provider": "openai",
        "user": "default_user_id",
        "metadata": {},
        "cache_hit": "False",
        "request_tags": [],
        "end_user": "",
        "team_id": "b1",
        "status": "success",
        **changed,
    }


def log(tmp_path: Path, *rows: dict[str, Any]) -> UsageLog:
    return usage_jobs([lines(tmp_path / "spend.jsonl", rows)])


def only_name(tmp_path: Path, **changed: Any) -> str:
    (job,) = log(tmp_path, row(**changed)).jobs
    return job.name


def test_a_row_is_a_call(tmp_path: Path) -> None:
    found = log(tmp_path, row())
    (job,) = found.jobs
    assert (found.format, found.calls, found.skipped) == ("LiteLLM spend log", 1, 0)
    assert job.models == {
        "openai/gpt-5.4-mini": Tokens(calls=1, input=1_000, cache_read=0, cache_write=0, output=100),
    }
    assert job.first == job.last == at(5, 7) + timedelta(milliseconds=250)
    assert job.longest_run == timedelta(seconds=2)


def test_cached_tokens_are_part_of_the_input(tmp_path: Path) -> None:
    openai = {"usage_object": {"prompt_tokens_details": {"cached_tokens": 600}}}
    anthropic = {"usage_object": {"cache_read_input_tokens": 300, "cache_creation_input_tokens": 200}}
    older = {"additional_usage_values": {"cache_read_input_tokens": 50}}
    rows = [row(metadata=each) for each in (openai, anthropic, older)]
    (tokens,) = log(tmp_path, *rows).jobs[0].models.values()
    assert tokens == Tokens(calls=3, input=3_000, cache_read=950, cache_write=200, output=300)


def test_more_cached_tokens_than_input_were_counted_apart(tmp_path: Path) -> None:
    passed_through = {"usage_object": {"cache_read_input_tokens": 9_000}}
    (tokens,) = log(tmp_path, row(metadata=passed_through, prompt_tokens=12)).jobs[0].models.values()
    assert (tokens.input, tokens.cache_read) == (9_012, 9_000)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        (
            {"metadata": {"spend_logs_metadata": {"job": "from metadata"}}, "request_tags": ["job:digest"]},
            "from metadata",
        ),
        ({"request_tags": ["production", "taskName:digest", "jobID:214590dsff09fds"]}, "digest"),
        ({"request_tags": ["digest"], "metadata": {"user_api_key_alias": "backend"}}, "digest"),
        ({"request_tags": ["digest", "eu"]}, "digest, eu"),
        ({"request_tags": ["User-Agent: openai-python"], "metadata": {"user_api_key_alias": "backend"}}, "backend"),
        ({"metadata": {"user_api_key_alias": None, "user_api_key_team_alias": "search"}}, "search"),
        ({}, "completion gpt-5.4-mini"),
        ({"call_type": "aembedding", "model": "text-embedding-3-small"}, "embedding text-embedding-3-small"),
    ],
)
def test_a_job_goes_by_the_surest_label(tmp_path: Path, changed: dict[str, Any], name: str) -> None:
    assert only_name(tmp_path, **changed) == name


def test_metadata_and_tags_may_be_json_text(tmp_path: Path) -> None:
    metadata = orjson.dumps({"user_api_key_alias": "backend", "usage_object": {"cache_read_input_tokens": 7}}).decode()
    (job,) = log(tmp_path, row(metadata=metadata, request_tags='["job:digest"]')).jobs
    assert (job.name, job.models["openai/gpt-5.4-mini"].cache_read) == ("digest", 7)


def test_tags_may_be_an_array_of_postgres(tmp_path: Path) -> None:
    assert only_name(tmp_path, request_tags='{digest,"eu"}') == "digest, eu"


def test_a_provider_that_is_in_the_model_is_not_said_twice(tmp_path: Path) -> None:
    (job,) = log(tmp_path, row(model="openai/gpt-5.4-mini")).jobs
    assert list(job.models) == ["openai/gpt-5.4-mini"]


def test_failures_cache_hits_and_uploads_bought_nothing(tmp_path: Path) -> None:
    nothing = {"prompt_tokens": 0, "completion_tokens": 0}
    rows = [
        row(status="failure", **nothing),
        row(cache_hit="True"),
        row(call_type="acreate_file", **nothing),
        row(call_type="acreate_batch", **nothing),
    ]
    found = log(tmp_path, row(), *rows)
    assert (found.calls, found.others, found.skipped) == (1, 4, 0)


@pytest.mark.parametrize(
    "changed",
    [
        {"call_type": "aretrieve_batch"},
        {"metadata": {"batch_models": ["gpt-5.4-mini"]}},
        {"metadata": {"usage_object": {"service_tier": "flex"}}},
        {"metadata": {"additional_usage_values": {"service_tier": "batch"}}},
    ],
)
def test_what_is_on_the_batch_tier_is_told(tmp_path: Path, changed: dict[str, Any]) -> None:
    (job,) = log(tmp_path, row(request_tags=["digest"]), row(request_tags=["digest"], **changed)).jobs
    assert job.batch_share == 0.5


def test_a_duration_in_a_column_of_its_own_serves_too(tmp_path: Path) -> None:
    (job,) = log(tmp_path, row(endTime=None, request_duration_ms=1_500)).jobs
    assert job.longest_run == timedelta(seconds=1.5)


@pytest.mark.parametrize("end", ["2026-10-05T06:00:00Z", "2099-01-01T00:00:00Z"])
def test_a_call_that_ends_before_it_begins_or_years_later_has_no_duration(tmp_path: Path, end: str) -> None:
    assert log(tmp_path, row(endTime=end)).jobs[0].concurrency is None


def test_without_any_durations_nothing_is_in_flight(tmp_path: Path) -> None:
    (job,) = log(tmp_path, row(endTime=None)).jobs
    assert job.concurrency is None
