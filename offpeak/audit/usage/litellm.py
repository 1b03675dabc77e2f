"""LiteLLM's spend log: the table LiteLLM_SpendLogs, as the database, `/spend/logs` or a logging callback exports it.

`prompt_tokens` counts cached tokens, also for Anthropic's models: LiteLLM adds them up. A job goes by, in this order:
`metadata.spend_logs_metadata` under a job's name, a `job:...` tag, the other tags, the key's alias, the team's alias,
and the kind of call with its model.
"""

from collections.abc import Collection

from offpeak.audit.usage.call import Call, Reader, Record, call_of
from offpeak.audit.usage.labels import first_label, joined_tags, named_in, named_in_tags
from offpeak.audit.usage.values import Times, as_list, as_object, between, count, first, is_cheap, length, number, text

NAME = "LiteLLM spend log"

READS = (
    "startTime",
    "endTime",
    "request_duration_ms",
    "call_type",
    "model",
    "model_group",
    "custom_llm_provider",
    "prompt_tokens",
    "completion_tokens",
    "metadata",
    "request_tags",
    "status",
    "cache_hit",
)
"""The columns that are read; the others, such as messages, are passed over."""

_CALLED_BATCHES = frozenset({"retrieve_batch", "aretrieve_batch"})
"""One line of these is a whole batch, with its tokens."""

_NO_CALLS = ("file", "batch", "assistant", "thread", "vector_store", "mcp")
"""Words in the name of a call that is none to a model."""


def recognises(fields: Collection[str]) -> bool:
    """Whether these are a spend log's columns."""
    return {"startTime", "model", "prompt_tokens", "completion_tokens"} <= set(fields) and bool(
        {"call_type", "custom_llm_provider", "request_tags", "spend", "api_key"} & set(fields)
    )


def reader(times: Times) -> Reader:
    """Reads the lines of a spend log."""

    def read(record: Record) -> Call | None:
        call_type = text(record.get("call_type"))
        tokens_in, tokens_out = _tokens(record)
        if _bought_nothing(record, call_type, tokens_in + tokens_out):
            return None
        metadata = as_object(record.get("metadata"))
        usage = {**as_object(metadata.get("additional_usage_values")), **as_object(metadata.get("usage_object"))}
        details = as_object(usage.get("prompt_tokens_details"))
        start = times.millis(record.get("startTime"), "startTime")
        model = text(first(record, "model", "model_group"))
        tags = as_list(record.get("request_tags"))
        return call_of(
            start=start,
            duration=_duration(record, start, times),
            job=_job(metadata, tags) or f"{call_type.removeprefix('a') or 'completion'} {model}",
            provider=text(record.get("custom_llm_provider")),
            model=model,
            input_tokens=tokens_in,
            cache_read=count(usage.get("cache_read_input_tokens") or details.get("cached_tokens"), "cached tokens"),
            cache_write=count(
                usage.get("cache_creation_input_tokens") or details.get("cache_creation_tokens"), "cached tokens"
            ),
            output=tokens_out,
            batch=call_type in _CALLED_BATCHES
            or bool(metadata.get("batch_models"))
            or is_cheap(usage.get("service_tier"), metadata.get("service_tier")),
        )

    return read


def _tokens(record: Record) -> tuple[int, int]:
    return (
        count(record.get("prompt_tokens"), "prompt_tokens"),
        count(record.get("completion_tokens"), "completion_tokens"),
    )


def _bought_nothing(record: Record, call_type: str, tokens: int) -> bool:
    if record.get("status") == "failure" or text(record.get("cache_hit")).lower() == "true":
        return True
    return not tokens and any(word in call_type for word in _NO_CALLS)


def _duration(record: Record, start: int, times: Times) -> int | None:
    end = first(record, "endTime")
    if end is not None:
        return between(start, times.millis(end, "endTime"))
    return length(number(record.get("request_duration_ms"), "request_duration_ms"))


def _job(metadata: Record, tags: list[object]) -> str:
    return (
        named_in(as_object(metadata.get("spend_logs_metadata")))
        or named_in_tags(tags)
        or joined_tags(tags)
        or first_label(text(metadata.get("user_api_key_alias")), text(metadata.get("user_api_key_team_alias")))
    )
