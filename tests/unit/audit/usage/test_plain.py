"""A plain log, by its columns' names or by a mapping of them; and a mapping on top of a format that is known."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from offpeak.audit.usage.jobs import Tokens, usage_jobs
from offpeak.errors import ConfigurationError

from .writing import at, lines

PLAIN: dict[str, Any] = {
    "timestamp": "2026-10-05T07:00:00Z",
    "duration_ms": 2_000,
    "job": "digest",
    "provider": "OpenAI",
    "model": "gpt-5.4-mini",
    "input_tokens": 1_000,
    "cached_tokens": 600,
    "output_tokens": 100,
    "service_tier": "flex",
}

OWN = {
    "begun": 1_791_183_600,
    "finished": 1_791_183_602.5,
    "meta": {"step": "digest"},
    "llm": "openai/gpt-5.4-mini",
    "toks_in": "1000",
    "toks_out": "100.0",
}
MAPPING = {
    "time": "begun",
    "end": "finished",
    "job": "meta.step",
    "model": "llm",
    "input": "toks_in",
    "output": "toks_out",
}


def test_common_names_are_understood(tmp_path: Path) -> None:
    found = usage_jobs([lines(tmp_path / "calls.jsonl", [PLAIN])])
    (job,) = found.jobs
    assert (found.format, job.name, job.longest_run, job.batch_share) == (
        "plain log",
        "digest",
        timedelta(seconds=2),
        1,
    )
    assert job.models == {
        "openai/gpt-5.4-mini": Tokens(calls=1, input=1_000, cache_read=600, cache_write=0, output=100)
    }


def test_anthropic_s_own_names_count_cached_tokens_apart(tmp_path: Path) -> None:
    usage = {
        "input_tokens": 1_000,
        "cache_read_input_tokens": 300,
        "cache_creation_input_tokens": 200,
        "output_tokens": 5,
    }
    record = {"time": "2026-10-05T07:00:00Z", "model": "claude-haiku-4-5", **usage}
    (job,) = usage_jobs([lines(tmp_path / "calls.jsonl", [record])]).jobs
    assert job.name == "calls of claude-haiku-4-5"
    assert job.models == {"claude-haiku-4-5": Tokens(calls=1, input=1_500, cache_read=300, cache_write=200, output=5)}


def test_other_names_are_mapped_also_within_objects(tmp_path: Path) -> None:
    found = usage_jobs([lines(tmp_path / "calls.jsonl", [OWN])], columns=MAPPING)
    (job,) = found.jobs
    assert (job.name, job.longest_run, found.first) == ("digest", timedelta(seconds=2.5), at(5, 7))
    assert job.models == {"openai/gpt-5.4-mini": Tokens(calls=1, input=1_000, cache_read=0, cache_write=0, output=100)}


@pytest.mark.parametrize("begun", [1_791_183_600, 1_791_183_600_000, 1_791_183_600_000_000, "1791183600000000000"])
def test_times_since_the_epoch_are_told_by_their_size(tmp_path: Path, begun: int | str) -> None:
    path = lines(tmp_path / "calls.jsonl", [OWN | {"begun": begun, "finished": None}])
    assert usage_jobs([path], columns=MAPPING).first == at(5, 7)


def test_a_mapping_wins_over_the_format(tmp_path: Path) -> None:
    row = {
        "startTime": "2026-10-05T07:00:00Z",
        "endTime": "2026-10-05T07:00:02Z",
        "call_type": "acompletion",
        "model": "gpt-5.4-mini",
        "custom_llm_provider": "openai",
        "prompt_tokens": 1_000,
        "completion_tokens": 100,
        "request_tags": ["job:digest"],
        "metadata": '{"team": "search", "cached": 40}',
    }
    columns = {"job": "metadata.team", "cache_read": "metadata.cached"}
    found = usage_jobs([lines(tmp_path / "spend.jsonl", [row])], columns=columns)
    (job,) = found.jobs
    assert (found.format, job.name, job.longest_run) == ("LiteLLM spend log", "search", timedelta(seconds=2))
    assert job.models["openai/gpt-5.4-mini"].cache_read == 40


def refusal(path: Path, columns: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as raised:
        usage_jobs([path], columns=columns)
    return str(raised.value)


def test_a_column_that_is_lacking_is_named(tmp_path: Path) -> None:
    path = lines(tmp_path / "calls.jsonl", [{key: value for key, value in PLAIN.items() if key != "output_tokens"}])
    assert "as a plain log it lacks output: nothing was counted" in refusal(path, {})


def test_a_mapping_to_a_column_that_is_not_there(tmp_path: Path) -> None:
    path = lines(tmp_path / "calls.jsonl", [OWN])
    assert refusal(path, MAPPING | {"output": "tok_out"}) == (
        f"The mapping output=tok_out names a column that {path} does not have, so that the log was not read. Did you "
        "mean toks_out or toks_in?"
    )


def test_a_mapping_of_what_a_call_does_not_have(tmp_path: Path) -> None:
    message = refusal(lines(tmp_path / "calls.jsonl", [OWN]), {"jobs": "meta.step"})
    assert message.startswith("The mapping jobs=meta.step names nothing that a call has")
    assert "Did you mean job?" in message
