"""Helicone's export of requests: from its export tool, its dashboard, or `/v1/request/query-clickhouse`.

The tokens of Anthropic's models are as Anthropic reports them, cached ones apart. A job goes by, in this order: a
property under a job's name, the session's name, the prompt's id, and the path with the model.
"""

from collections.abc import Collection

from offpeak.audit.usage.call import Call, Reader, Record, call_of
from offpeak.audit.usage.labels import first_label, named_in
from offpeak.audit.usage.values import Times, as_object, between, count, first, is_cheap, length, number, text

NAME = "Helicone export"

READS = (
    *("request_created_at", "response_created_at", "delay_ms", "latency", "response_status", "provider"),
    *("model", "response_model", "request_model", "model_override", "request_path", "path", "target_url"),
    *("prompt_tokens", "completion_tokens", "prompt_cache_read_tokens", "prompt_cache_write_tokens"),
    *("request_properties", "properties", "prompt_id", "cache_reference_id"),
)

_PROVIDERS = {"openai": "openai", "anthropic": "anthropic", "azure": "azure", "google": "google"}
"""How Helicone writes the providers whose models are known by provider/model, in lower case."""

_NO_REFERENCE = "00000000-0000-0000-0000-000000000000"
FAILED = 400
"""The first HTTP status of a call that brought nothing."""


def recognises(fields: Collection[str]) -> bool:
    """Whether these are fields of Helicone's requests."""
    return "request_created_at" in fields and bool(
        {"response_created_at", "request_model", "request_properties", "prompt_tokens"} & set(fields)
    )


def reader(times: Times) -> Reader:
    """Reads requests; failed ones and those answered by Helicone's own cache are passed over."""

    def read(record: Record) -> Call | None:
        status = number(record.get("response_status"), "response_status")
        if (status is not None and (status >= FAILED or status < 0)) or _was_cached(record):
            return None
        start = times.millis(record.get("request_created_at"), "request_created_at")
        properties = as_object(first(record, "request_properties", "properties"))
        model = text(first(record, "model", "response_model", "request_model", "model_override"))
        provider = text(record.get("provider")).lower()
        return call_of(
            start=start,
            duration=_duration(record, start, times),
            job=_job(record, properties) or f"{_path(record)} {model}".strip(),
            provider=_PROVIDERS.get(provider, ""),
            model=model,
            input_tokens=count(record.get("prompt_tokens"), "prompt_tokens"),
            cache_read=count(record.get("prompt_cache_read_tokens"), "prompt_cache_read_tokens"),
            cache_write=count(record.get("prompt_cache_write_tokens"), "prompt_cache_write_tokens"),
            output=count(record.get("completion_tokens"), "completion_tokens"),
            batch=is_cheap(*(value for key, value in properties.items() if "tier" in key.lower())),
            cache_apart=provider == "anthropic" or (not provider and model.startswith("claude")),
        )

    return read


def _was_cached(record: Record) -> bool:
    reference = text(record.get("cache_reference_id"))
    return bool(reference) and reference != _NO_REFERENCE


def _duration(record: Record, start: int, times: Times) -> int | None:
    millis = number(first(record, "delay_ms", "latency"), "delay_ms")
    if millis is not None:
        return length(millis)
    end = first(record, "response_created_at")
    return None if end is None else between(start, times.millis(end, "response_created_at"))


def _job(record: Record, properties: Record) -> str:
    return named_in(properties) or first_label(
        text(properties.get("Helicone-Session-Name")),
        text(first(record, "prompt_id") or properties.get("Helicone-Prompt-Id")),
    )


def _path(record: Record) -> str:
    path = text(first(record, "request_path", "path", "target_url")).partition("?")[0]
    return "/" + path.partition("://")[2].partition("/")[2] if "://" in path else path
