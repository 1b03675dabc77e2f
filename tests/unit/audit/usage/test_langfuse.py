"""Langfuse's observations, from its table, its API and its exports to blob storage."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from offpeak.audit.usage.jobs import Tokens, UsageLog, usage_jobs

from .writing import lines


def observation(**changed: Any) -> dict[str, Any]:
    """A generation as the public API and the table's export have it."""
    return {
        "id": "0f1d",
        "traceId": "9c1b",
        "type": "GENERATION",
        "name": "summarise",
        "traceName": "nightly-support-job",
        "startTime": "2026-10-05T07:00:00.250Z",
        "endTime": "2026-10-05T07:00:02.250Z",
        "level": "DEFAULT",
        "providedModelName": "gpt-5.4-mini",
        "modelParameters": {"temperature": 0},
        "usageDetails": {
            "input": 400,
            "input_cached_tokens": 600,
            "output": 90,
            "output_reasoning_tokens": 10,
            "total": 1_100,
        },
        "metadata": {},
        "tags": [],
        "userId": "u1",
        "sessionId": "s1",
        **changed,
    }


def log(tmp_path: Path, *records: dict[str, Any]) -> UsageLog:
    return usage_jobs([lines(tmp_path / "observations.jsonl", records)])


def tokens_of(tmp_path: Path, **changed: Any) -> Tokens:
    (tokens,) = log(tmp_path, observation(**changed)).jobs[0].models.values()
    return tokens


def test_a_generation_is_a_call(tmp_path: Path) -> None:
    found = log(tmp_path, observation())
    (job,) = found.jobs
    assert (found.format, found.calls, job.name) == ("Langfuse export", 1, "nightly-support-job")
    assert job.models == {"gpt-5.4-mini": Tokens(calls=1, input=1_000, cache_read=600, cache_write=0, output=100)}
    assert job.longest_run == timedelta(seconds=2)


def test_anthropic_s_usage_is_summed_to_the_input(tmp_path: Path) -> None:
    usage = {"input": 10, "cache_read_input_tokens": 300, "cache_creation_input_tokens": 200, "output": 5}
    assert tokens_of(tmp_path, usageDetails=usage) == Tokens(
        calls=1, input=510, cache_read=300, cache_write=200, output=5
    )


def test_older_records_have_their_usage_elsewhere(tmp_path: Path) -> None:
    older = {"usageDetails": None, "usage": {"input": 70, "output": 7, "total": 77, "unit": "TOKENS"}}
    oldest = {"usageDetails": {}, "usage": None, "promptTokens": 60, "completionTokens": 6}
    assert (tokens_of(tmp_path, **older).input, tokens_of(tmp_path, **oldest).input) == (70, 60)


def test_a_table_holds_objects_as_text(tmp_path: Path) -> None:
    path = tmp_path / "observations.csv"
    path.write_text(
        "id,traceId,type,name,traceName,startTime,endTime,providedModelName,usageDetails,traceTags\n"
        '0f1d,9c1b,GENERATION,summarise,,2026-10-05T07:00:00.250Z,,gpt-5.4-mini,"{""input"":400,""output"":90}",'
        '"[""job:digest""]"\n'
        "0f1e,9c1b,SPAN,search,,2026-10-05T07:00:00.250Z,,,{},[]\n"
    )
    found = usage_jobs([path])
    (job,) = found.jobs
    assert (job.name, job.models["gpt-5.4-mini"].input, found.others) == ("digest", 400, 1)


def test_spans_and_events_are_no_calls(tmp_path: Path) -> None:
    others = [
        observation(type="SPAN", providedModelName=None, usageDetails={}),
        observation(type="EVENT"),
        observation(type="AGENT"),
    ]
    found = log(tmp_path, observation(), observation(type="EMBEDDING"), *others)
    assert (found.calls, found.others) == (2, 3)


def test_an_export_to_blob_storage_has_names_of_its_own(tmp_path: Path) -> None:
    record = {
        "id": "0f1d",
        "trace_id": "9c1b",
        "type": "GENERATION",
        "name": "summarise",
        "trace_name": "nightly-support-job",
        "start_time": "2026-10-05 07:00:00.250000",
        "end_time": None,
        "latency": 2.5,
        "provided_model_name": "claude-haiku-4-5",
        "usage_details": {"input": 400, "output": 90},
        "model_parameters": '{"service_tier":"flex"}',
        "tags": ["eu"],
        "metadata": {},
    }
    found = log(tmp_path, record)
    (job,) = found.jobs
    assert (job.name, list(job.models), job.batch_share) == ("nightly-support-job", ["claude-haiku-4-5"], 1)
    assert job.longest_run == timedelta(seconds=2.5)
    assert found.notes == ("1 times in the log name no time zone and were taken as UTC.",)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"metadata": {"job": "digest"}, "tags": ["job:other"]}, "digest"),
        ({"tags": ["eu", "workflow:digest"]}, "digest"),
        ({"traceName": "digest-2026-10-05"}, "digest-*"),
        ({"traceName": "2026-10-05", "tags": ["digest", "eu"]}, "digest, eu"),
        ({"traceName": None}, "summarise"),
        ({"traceName": "", "name": "OpenAI-generation"}, "generation gpt-5.4-mini"),
        ({"traceName": None, "name": "litellm-acompletion"}, "generation gpt-5.4-mini"),
    ],
)
def test_a_job_goes_by_the_surest_label(tmp_path: Path, changed: dict[str, Any], name: str) -> None:
    assert log(tmp_path, observation(**changed)).jobs[0].name == name
