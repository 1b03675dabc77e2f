"""Spans with OpenTelemetry's `gen_ai` attributes: OTLP as JSON, or one span a line as exporters print them.

`gen_ai.usage.input_tokens` counts cached tokens by the convention. A job goes by, in this order: an attribute under a
job's name, the agent's name, the span's name where it says more than operation and model, the service's name, and
operation and model. Only spans of calls to a model count: those of agents and tools may carry the same tokens again.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from offpeak.audit.usage.call import Call, Reader, Record, call_of
from offpeak.audit.usage.labels import first_label, named_in
from offpeak.audit.usage.values import Times, as_object, between, count, first, is_cheap, text

NAME = "OpenTelemetry spans"

READS: tuple[str, ...] = ()
"""Every column: exporters differ in how they write a span."""

_CALLS = frozenset({"chat", "text_completion", "generate_content", "embeddings", "completion", "embedding", "response"})
"""Operations that are calls to a model; "completion" and those after it are what older instrumentation says."""

_INPUT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens")
_OUTPUT = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens")
_READ = ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens")
_WRITTEN = ("gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_creation_input_tokens")
_TIERS = (
    "openai.response.service_tier",
    "openai.request.service_tier",
    "gen_ai.openai.response.service_tier",
    "gen_ai.openai.request.service_tier",
)
_START = ("startTimeUnixNano", "start_time_unix_nano", "start_time", "startTime")
_END = ("endTimeUnixNano", "end_time_unix_nano", "end_time", "endTime")


def recognises(record: Record) -> bool:
    """Whether this is a span, or a batch of spans, with any attribute of a call to a model."""
    return any(
        key.startswith(("gen_ai.", "llm.request.", "llm.usage.")) for span in spans_in(record) for key in span[1]
    )


def is_batch(fields: Collection[str]) -> bool:
    """Whether a record is an OTLP document rather than one span."""
    return "resourceSpans" in fields or "resource_spans" in fields


def spans_in(record: Record) -> Iterator[tuple[Mapping[str, Any], dict[str, Any], dict[str, Any]]]:
    """The spans of a record with their attributes and those of what sent them."""
    batches = first(record, "resourceSpans", "resource_spans")
    if not isinstance(batches, list):
        yield (
            record,
            _attributes(record.get("attributes")),
            _attributes(as_object(record.get("resource")).get("attributes")),
        )
        return
    for batch in filter(_is_object, batches):
        resource = _attributes(as_object(batch.get("resource")).get("attributes"))
        scopes = first(batch, "scopeSpans", "scope_spans", "instrumentationLibrarySpans") or []
        for scope in filter(_is_object, scopes):
            for span in filter(_is_object, scope.get("spans") or []):
                yield span, _attributes(span.get("attributes")), resource


def flattened(record: Record) -> Iterator[Record]:
    """The spans of a record, each as a record of its own, as `reader` takes them."""
    for span, attributes, resource in spans_in(record):
        yield {**span, "attributes": attributes, "resource": {"attributes": resource}}


def reader(times: Times) -> Reader:
    """Reads spans; those that are no calls to a model are passed over."""

    def read(record: Record) -> Call | None:
        attributes = _attributes(record.get("attributes"))
        operation = text(first(attributes, "gen_ai.operation.name", "llm.request.type")).lower()
        tokens_in, tokens_out = first(attributes, *_INPUT), first(attributes, *_OUTPUT)
        if (operation and operation not in _CALLS) or (tokens_in is None and tokens_out is None):
            return None
        start = times.millis(first(record, *_START), "start time")
        end = first(record, *_END)
        model = text(first(attributes, "gen_ai.response.model", "gen_ai.request.model"))
        return call_of(
            start=start,
            duration=None if end is None else between(start, times.millis(end, "end time")),
            job=_job(record, attributes, operation) or f"{operation or 'call'} {model}",
            provider=text(first(attributes, "gen_ai.provider.name", "gen_ai.system")).lower(),
            model=model,
            input_tokens=count(tokens_in, "input tokens"),
            cache_read=count(first(attributes, *_READ), "cached tokens"),
            cache_write=count(first(attributes, *_WRITTEN), "cached tokens"),
            output=count(tokens_out, "output tokens"),
            batch=is_cheap(*(attributes.get(tier) for tier in _TIERS)),
        )

    return read


def _job(record: Record, attributes: dict[str, Any], operation: str) -> str:
    resource = _attributes(as_object(record.get("resource")).get("attributes"))
    name = text(record.get("name"))
    service = text(resource.get("service.name"))
    return named_in(attributes) or first_label(
        text(attributes.get("gen_ai.agent.name")),
        "" if _is_general(name, attributes, operation) else name,
        "" if service.startswith("unknown_service") else service,
    )


def _is_general(name: str, attributes: dict[str, Any], operation: str) -> bool:
    """Whether a span's name says no more than operation and model, such as "chat gpt-5" or "openai.chat"."""
    models = {text(attributes.get(key)) for key in ("gen_ai.request.model", "gen_ai.response.model")}
    system = text(first(attributes, "gen_ai.provider.name", "gen_ai.system")).lower()
    return name.lower() in {
        *("", operation, f"{system}.{operation}", f"{system}.response", f"{system}.completion"),
        *(f"{operation} {model}".lower() for model in models),
    }


def _attributes(value: Any) -> dict[str, Any]:
    """Attributes as an object, also where OTLP writes them as a list of keys with typed values."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        return {each["key"]: _plain(each.get("value")) for each in value if _is_object(each) and "key" in each}
    return as_object(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return next((found for key, found in value.items() if key.endswith("Value")), None)
    return value


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)
