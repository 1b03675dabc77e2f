"""Helicone's requests, as its export tool writes them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from offpeak.audit.usage.jobs import Tokens, UsageLog, usage_jobs

from .writing import lines


def request(**changed: Any) -> dict[str, Any]:
    return {
        "response_id": "r1",
        "response_created_at": "2026-10-05T07:00:02.250Z",
        "response_status": 200,
        "request_id": "q1",
        "request_created_at": "2026-10-05T07:00:00.250Z",
        "request_path": "https://api.openai.com/v1/chat/completions",
        "request_user_id": "u1",
        "request_properties": {"Job": "digest", "Environment": "production"},
        "request_model": "gpt-5.4-mini",
        "model": "gpt-5.4-mini-2026-03-17",
        "provider": "OPENAI",
        "delay_ms": 1_900,
        "prompt_tokens": 1_000,
        "prompt_cache_read_tokens": 600,
        "prompt_cache_write_tokens": 0,
        "completion_tokens": 100,
        **changed,
    }


def log(tmp_path: Path, *records: dict[str, Any]) -> UsageLog:
    return usage_jobs([lines(tmp_path / "helicone.jsonl", records)])


def test_a_request_is_a_call(tmp_path: Path) -> None:
    found = log(tmp_path, request())
    (job,) = found.jobs
    assert (found.format, job.name, job.longest_run) == ("Helicone export", "digest", timedelta(seconds=1.9))
    assert job.models == {
        "openai/gpt-5.4-mini-2026-03-17": Tokens(calls=1, input=1_000, cache_read=600, cache_write=0, output=100)
    }


def test_anthropic_s_input_counts_cached_tokens_apart(tmp_path: Path) -> None:
    anthropic = {"provider": "ANTHROPIC", "model": "claude-haiku-4-5", "prompt_cache_write_tokens": 50}
    (job,) = log(tmp_path, request(**anthropic)).jobs
    assert job.models == {
        "anthropic/claude-haiku-4-5": Tokens(calls=1, input=1_650, cache_read=600, cache_write=50, output=100)
    }


def test_without_a_delay_the_response_ends_the_call(tmp_path: Path) -> None:
    assert log(tmp_path, request(delay_ms=None)).jobs[0].longest_run == timedelta(seconds=2)


def test_failures_and_answers_of_its_own_cache_bought_nothing(tmp_path: Path) -> None:
    cached = request(cache_reference_id="1c0e5f0a-0d3b-4a52-9d52-5c9d2f0f4d11")
    missed = request(cache_reference_id="00000000-0000-0000-0000-000000000000")
    found = log(tmp_path, missed, request(response_status=429), request(response_status=-3), cached)
    assert (found.calls, found.others) == (1, 3)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"request_properties": {"use-case": "digest", "Helicone-Session-Name": "other"}}, "digest"),
        ({"request_properties": {"Helicone-Session-Name": "digest 17"}}, "digest *"),
        ({"request_properties": None, "properties": {"task": "digest"}}, "digest"),
        ({"request_properties": {}, "prompt_id": "digest_prompt"}, "digest_prompt"),
        ({"request_properties": {}}, "/v1/chat/completions gpt-5.4-mini-2026-03-17"),
    ],
)
def test_a_job_goes_by_the_surest_label(tmp_path: Path, changed: dict[str, Any], name: str) -> None:
    assert log(tmp_path, request(**changed)).jobs[0].name == name


def test_its_csv_has_properties_as_json_text(tmp_path: Path) -> None:
    path = tmp_path / "helicone.csv"
    path.write_text(
        "response_id,response_created_at,response_status,request_created_at,request_body,request_properties,"
        "request_user_id,model,prompt_tokens,completion_tokens,latency,cost\n"
        '"r1","2026-10-05T07:00:02.250Z","200","2026-10-05T07:00:00.250Z","{""a"":1}","{""Job"":""digest""}",'
        '"u1","gpt-5.4-mini","1000","100","1900","0.01"\n'
    )
    (job,) = usage_jobs([path]).jobs
    assert (job.name, job.models["gpt-5.4-mini"].input, job.longest_run) == ("digest", 1_000, timedelta(seconds=1.9))
