"""Langfuse's observations: exported from its table, from blob storage, or read from its public API.

In `usageDetails` every token is under one key, so that the input is the sum of the keys with "input" in them, cached
ones included, as Langfuse itself sums them up. A job goes by, in this order: `metadata` under a job's name, a `job:...`
tag, the trace's name, the other tags, the observation's name, and the model.
"""

from collections.abc import Collection

from offpeak.audit.usage.call import Call, Reader, Record, call_of
from offpeak.audit.usage.labels import first_label, joined_tags, named_in, named_in_tags
from offpeak.audit.usage.values import Times, as_list, as_object, between, count, first, is_cheap, length, number, text

NAME = "Langfuse export"

_CALLS = frozenset({"GENERATION", "EMBEDDING"})
"""Types of observations that are calls to a model."""

_MODEL = ("providedModelName", "provided_model_name", "model", "internalModelId", "modelId", "model_id")
_USAGE = ("usageDetails", "usage_details")
_INPUT = ("inputUsage", "promptTokens", "inputTokens", "input_tokens", "prompt_tokens")
_OUTPUT = ("outputUsage", "completionTokens", "outputTokens", "output_tokens", "completion_tokens")
_TAGS = ("tags", "traceTags", "trace_tags")
_TRACE = ("traceName", "trace_name")
_PARAMETERS = ("modelParameters", "model_parameters")

READS = (
    *("type", "name", "startTime", "start_time", "endTime", "end_time", "latency", "metadata", "usage"),
    *(*_MODEL, *_USAGE, *_INPUT, *_OUTPUT, *_TAGS, *_TRACE, *_PARAMETERS),
)

_GIVEN_NAMES = ("openai-generation", "openai-embedding", "litellm-", "chatopenai", "chatanthropic", "ai.generatetext")
"""How names begin that an integration gives to every observation: no job's name."""


def recognises(fields: Collection[str]) -> bool:
    """Whether these are fields of observations."""
    found = set(fields)
    return bool(found & {"startTime", "start_time"}) and bool(
        found & {"providedModelName", "provided_model_name", "usageDetails", "usage_details"}
        or ("type" in found and found & {"traceId", "trace_id"} and found & {"usage", "promptTokens", "modelId"})
    )


def reader(times: Times) -> Reader:
    """Reads observations; those that are no calls to a model are passed over."""

    def read(record: Record) -> Call | None:
        if text(record.get("type")).upper() not in _CALLS and record.get("type"):
            return None
        tokens_in, cache_read, cache_write, tokens_out = _tokens(record)
        model = text(first(record, *_MODEL))
        if not model and not tokens_in + tokens_out:
            return None
        metadata = as_object(record.get("metadata"))
        start = times.millis(first(record, "startTime", "start_time"), "startTime")
        parameters = as_object(first(record, *_PARAMETERS))
        return call_of(
            start=start,
            duration=_duration(record, start, times),
            job=_job(record, metadata) or f"generation {model}",
            provider="",
            model=model,
            input_tokens=tokens_in,
            cache_read=cache_read,
            cache_write=cache_write,
            output=tokens_out,
            batch=is_cheap(parameters.get("service_tier"), metadata.get("service_tier")),
        )

    return read


def _tokens(record: Record) -> tuple[int, int, int, int]:
    """Input, cache reads, cache writes and output."""
    details = as_object(first(record, *_USAGE))
    if any("input" in key or "output" in key for key in details):
        sums = [0, 0, 0, 0]
        for key, value in details.items():
            kind = _kind(key)
            if kind is not None:
                sums[kind] += count(value, key)
        return sum(sums[:3]), sums[1], sums[2], sums[3]
    usage = {**record, **as_object(record.get("usage"))}
    tokens_in = first(usage, "promptTokens", "input", *_INPUT) if record.get("usage") else first(usage, *_INPUT)
    tokens_out = first(usage, "completionTokens", "output", *_OUTPUT) if record.get("usage") else first(usage, *_OUTPUT)
    return count(tokens_in, "input tokens"), 0, 0, count(tokens_out, "output tokens")


def _kind(key: str) -> int | None:
    if "cache" in key:
        return 2 if "creation" in key or "write" in key else 1
    return 0 if "input" in key else 3 if "output" in key else None


def _duration(record: Record, start: int, times: Times) -> int | None:
    end = first(record, "endTime", "end_time")
    if end is not None:
        return between(start, times.millis(end, "endTime"))
    seconds = number(record.get("latency"), "latency")
    return None if seconds is None else length(seconds * 1_000)


def _job(record: Record, metadata: Record) -> str:
    tags = as_list(first(record, *_TAGS))
    name = text(record.get("name"))
    return (
        named_in(metadata)
        or named_in_tags(tags)
        or first_label(text(first(record, *_TRACE)))
        or joined_tags(tags)
        or ("" if name.lower().startswith(_GIVEN_NAMES) else first_label(name))
    )
