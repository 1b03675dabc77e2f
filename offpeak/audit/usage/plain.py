"""A plain log: a line a call, with columns under the names most programs choose, or under those a mapping gives.

Input counts cached tokens, unless the cache's columns have Anthropic's own names, whose `input_tokens` does not.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from offpeak.audit.usage.call import Call, Reader, Record, call_of
from offpeak.audit.usage.labels import first_label
from offpeak.audit.usage.values import Times, as_object, between, count, is_cheap, length, number, text

NAME = "plain log"

ALIASES: Mapping[str, tuple[str, ...]] = {
    "time": ("time", "timestamp", "start", "start_time", "started_at", "created_at", "request_time", "ts"),
    "end": ("end", "end_time", "ended_at", "finished_at", "completed_at"),
    "duration_ms": ("duration_ms", "latency_ms", "elapsed_ms", "response_time_ms"),
    "job": ("job", "job_name", "task", "task_name", "name", "label", "workflow", "pipeline", "agent", "feature"),
    "model": ("model", "model_name", "model_id"),
    "provider": ("provider", "vendor"),
    "input": ("input_tokens", "prompt_tokens", "tokens_in", "input"),
    "output": ("output_tokens", "completion_tokens", "tokens_out", "output"),
    "cache_read": (
        "cache_read_tokens",
        "cached_tokens",
        "cached_input_tokens",
        "cache_read_input_tokens",
        "cache_read",
    ),
    "cache_write": ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens", "cache_write"),
    "tier": ("tier", "service_tier"),
}
"""What a call consists of, which are also the keys of a mapping, and the columns that are taken for it unasked."""

REQUIRED = ("time", "model", "input", "output")
"""What a plain log has to say. Without a job, calls are grouped by their model."""

_APART = frozenset({"cache_read_input_tokens", "cache_creation_input_tokens"})
"""Anthropic's own names."""


def columns_of(fields: Collection[str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Which column says what, those that are `chosen` first."""
    found = {ours: next((name for name in names if name in fields), "") for ours, names in ALIASES.items()}
    return {ours: theirs for ours, theirs in {**found, **chosen}.items() if theirs}


def getter(path: str) -> Callable[[Record], Any]:
    """Reads a column; one with dots may lie within objects, as in "metadata.job"."""
    parts = path.split(".")

    def get(record: Record) -> Any:
        if path in record or len(parts) == 1:
            return record.get(path)
        value: Any = record
        for part in parts:
            value = as_object(value).get(part)
        return value

    return get


def reader(times: Times, columns: Mapping[str, str]) -> Reader:
    """Reads a log by its columns, ours to theirs."""
    get = {ours: getter(theirs) for ours, theirs in columns.items()}
    apart = any(columns.get(ours) in _APART for ours in ("cache_read", "cache_write"))

    def value(record: Record, ours: str) -> Any:
        return get[ours](record) if ours in get else None

    def tokens(record: Record, ours: str) -> int:
        return count(value(record, ours), columns.get(ours, ours))

    def read(record: Record) -> Call | None:
        start = times.millis(value(record, "time"), columns["time"])
        model = text(value(record, "model"))
        return call_of(
            start=start,
            duration=_duration(value(record, "end"), value(record, "duration_ms"), start, times, columns),
            job=first_label(text(value(record, "job"))) or f"calls of {model}",
            provider=text(value(record, "provider")).lower(),
            model=model,
            input_tokens=tokens(record, "input"),
            cache_read=tokens(record, "cache_read"),
            cache_write=tokens(record, "cache_write"),
            output=tokens(record, "output"),
            batch=is_cheap(value(record, "tier")),
            cache_apart=apart,
        )

    return read


def _duration(end: Any, millis: Any, start: int, times: Times, columns: Mapping[str, str]) -> int | None:
    duration = number(millis, columns.get("duration_ms", ""))
    if duration is not None:
        return length(duration)
    return None if end is None or end == "" else between(start, times.millis(end, columns["end"]))


def over(read: Reader, times: Times, columns: Mapping[str, str]) -> Reader:
    """Reads as `read` does, with what `columns` names in place of what it found."""
    get = {ours: getter(columns[ours]) for ours in ALIASES if ours in columns}

    def read_over(record: Record) -> Call | None:
        call = read(record)
        if call is None:
            return None
        for ours in get:
            call = _changed(call, ours, columns[ours], get[ours](record), times)
        return call

    return read_over


def _changed(call: Call, ours: str, theirs: str, found: Any, times: Times) -> Call:
    """A call with one thing as a column says it."""
    match ours:
        case "time":
            return call._replace(start=times.millis(found, theirs))
        case "end":
            return call._replace(duration=between(call.start, times.millis(found, theirs)))
        case "duration_ms":
            return call._replace(duration=length(number(found, theirs)))
        case "job":
            return call._replace(job=first_label(text(found)) or call.job)
        case "model":
            return call._replace(model=text(found) or call.model)
        case "provider":
            return call._replace(model=f"{text(found)}/{call.model.rpartition('/')[2]}" if found else call.model)
        case "tier":
            return call._replace(batch=is_cheap(found))
        case _:
            tokens: dict[str, Any] = {ours: count(found, theirs)}
            return call._replace(**tokens)
