"""A batch as the server keeps it, the same for both providers; how each shows it is its own API module's business."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from local_provider.settings import ResultsOrder


class ProviderName(StrEnum):
    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class Phase(StrEnum):
    """Where a batch stands. It only ever moves down this list."""

    VALIDATING = "validating"
    ANSWERING = "answering"
    FINALIZING = "finalizing"
    DONE = "done"


class Outcome(StrEnum):
    """How a batch that is DONE ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(slots=True, kw_only=True)
class Batch:
    """One batch. Times are Unix seconds."""

    id: str
    provider: ProviderName
    endpoint: str
    model: str | None
    input_path: str
    """The JSONL file its lines are read from: OpenAI's uploaded file, or Anthropic's requests written one a line."""
    created_at: float
    latency: float
    """Seconds from creation to end."""
    results_order: ResultsOrder
    input_file_id: str | None = None
    metadata: dict[str, str] | None = None
    output_expires_seconds: int | None = None
    faults: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The faults this batch is to suffer: kind to parameters."""
    struck: list[str] = field(default_factory=list)
    """Those whose effect on its lines or its end is counted already."""
    nth_create: int | None = None
    """Which create of its provider made it, since the last reset."""

    phase: Phase = Phase.VALIDATING
    outcome: Outcome | None = None
    validation_errors: list[dict[str, Any]] = field(default_factory=list)
    sample_custom_id: str | None = None
    total: int = 0
    position: int = 0
    """Lines dealt with so far, in the order of answering."""
    succeeded: int = 0
    errored: int = 0
    unfinished: int = 0
    """Lines that expiry or cancellation left unanswered."""
    enqueued_tokens: int = 0
    """Prompt tokens, which count against OpenAI's limit while it is open; 0 if none was set when it was validated."""
    input_tokens: int = 0
    cached_tokens: int = 0
    """Of the input tokens, those that were read from the prompt cache."""
    output_tokens: int = 0
    output_bytes: int = 0
    """Bytes of the results file that belong to `position`; anything after them is cut off when answering resumes."""
    error_bytes: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None

    started_at: float | None = None
    finalizing_at: float | None = None
    cancel_requested_at: float | None = None
    ended_at: float | None = None
    deleted: bool = False
    """Its caller deleted it: the API shows it no more, and its files are gone. The control API tells of it on."""

    @property
    def open(self) -> bool:
        return self.phase is not Phase.DONE

    def to_json(self) -> bytes:
        return orjson.dumps(self)

    @classmethod
    def from_json(cls, record: bytes) -> "Batch":
        values = orjson.loads(record)
        values["provider"] = ProviderName(values["provider"])
        values["results_order"] = ResultsOrder(values["results_order"])
        values["phase"] = Phase(values["phase"])
        values["outcome"] = Outcome(values["outcome"]) if values["outcome"] else None
        return cls(**values)
