"""The contract between Offpeak and a provider's batch API.

A provider turns requests into the bytes that get uploaded, creates, watches and downloads batches, and turns result
lines into plain values. It keeps no state, never retries a create, and never decides anything about money: its caller
writes down what is about to happen and what did.

Errors. A method that makes a paid call (`create`) raises exactly one of
    SubmissionRejected    the provider refused definitely; nothing was bought
    ProviderUnavailable   nothing can have been bought (connection refused, 429): ask again later
    OutcomeUnknown        sent, and the answer never arrived (timeout, reset, 5xx): a batch may exist
Reading methods raise ProviderUnavailable when the provider cannot be reached, DownloadIncomplete for a torn download,
ConfigurationError for a refused key.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pydantic import BaseModel

from offpeak.requests import Request

if TYPE_CHECKING:
    from offpeak.providers.realtime import Caller

BATCH_WINDOW = timedelta(hours=24)
"""Within which both providers finish a batch or expire it (their batch guides)."""


class Kind(StrEnum):
    """What is asked for; each maps to one endpoint of a provider."""

    CHAT = "chat"
    EMBEDDING = "embedding"
    MODERATION = "moderation"


class BatchState(StrEnum):
    """A batch, as far as Offpeak needs to tell its states apart. An unknown status reads as IN_PROGRESS."""

    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return self in {BatchState.COMPLETED, BatchState.FAILED, BatchState.EXPIRED, BatchState.CANCELLED}


class BatchError(NamedTuple):
    """One reason why a batch failed its validation, and the line of the file that it is about, counted from 1."""

    code: str | None = None
    message: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        said = ": ".join(filter(None, (self.code, self.message)))
        return f"{said} (line {self.line})" if self.line else said


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchView:
    """A batch as its provider shows it now."""

    id: str
    state: BatchState
    created_at: datetime
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    total: int = 0
    """Requests in the batch, by the provider's count (which may lag, or lie)."""
    finished: int = 0
    """Requests answered or failed so far, by the provider's count."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    input_file_id: str | None = None
    result_refs: tuple[str, ...] = ()
    """File ids (OpenAI: output and error file) or the results path (Anthropic); empty until there is something."""
    errors: tuple[BatchError, ...] = ()
    """Why a FAILED batch failed."""

    @property
    def error(self) -> str | None:
        """The provider's codes and messages, joined; None where there are none."""
        return "; ".join(filter(None, map(str, self.errors))) or None


class Usage(NamedTuple):
    """Tokens of one answer. `input_tokens` includes what was read from and written to a cache, at both providers."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    """All cache writes, of each length."""
    cache_write_1h_tokens: int = 0
    """The part of cache_write_tokens with the long time to live (Anthropic 1 h, OpenAI 12 h)."""


class Outcome(StrEnum):
    """What became of one request."""

    SUCCEEDED = "succeeded"
    ERRORED = "errored"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Finish(StrEnum):
    """Why a model stopped. Only STOP is usable; the others are billed all the same."""

    STOP = "stop"
    LENGTH = "length"
    REFUSED = "refused"
    FILTERED = "filtered"
    OTHER = "other"


class ResultLine(NamedTuple):
    """One line of a result file, decoded. `text`, `vector` or `output` is set according to the request's kind."""

    custom_id: str
    outcome: Outcome
    finish: Finish = Finish.STOP
    text: str | None = None
    vector: bytes | None = None
    """float32, little-endian."""
    output: Mapping[str, object] | None = None
    """A moderation: flagged, categories, category_scores."""
    usage: Usage = Usage()
    model: str | None = None
    """The model that answered, as the provider names it."""
    created_at: int | None = None
    """Unix seconds, where the answer carries its own time."""
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one batch may hold."""

    max_requests: int
    max_bytes: int
    """Bytes of one spool file."""
    max_request_bytes: int
    """Bytes of one encoded request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooling:
    """How encoded lines are put together into the bytes that get uploaded."""

    head: bytes
    separator: bytes
    tail: bytes


class CacheUse(StrEnum):
    """What a provider is told about the prefix of one request. It means nothing for a request without one."""

    NONE = "none"
    """Nothing is to be cached, and no write of the cache to be paid."""
    KEY = "key"
    """The provider caches by itself and writes for nothing; it is told which requests begin alike."""
    WRITE = "write"
    """The prefix is to be cached, and writing it is charged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTerms:
    """When caching a prefix is worth it at one model, for one asset."""

    charged: bool = False
    """Writing the cache costs more than reading the text as input."""
    fewest: int | None = None
    """Requests that have to share a prefix for it to be cached; None: it never is."""
    least_tokens: int = 0
    """Of a prefix: shorter ones are not cached by the provider."""
    why: str = ""
    """In words."""

    @property
    def use(self) -> CacheUse:
        """Of a prefix that enough requests share."""
        return CacheUse.NONE if self.fewest is None else CacheUse.WRITE if self.charged else CacheUse.KEY


NEVER_CACHED = CacheTerms()


class Encode(Protocol):
    """A request to the JSON bytes of its body (without custom_id). Raises InvalidRequest, naming field and remedy."""

    def __call__(self, request: Request, use: CacheUse = CacheUse.NONE, /) -> bytes: ...


class Provider(ABC):
    """One account at one provider."""

    name: str
    """The prefix of model references: "openai", "anthropic"."""
    realm: str
    """The provider's kind and its base URL's origin, such as "openai:api.openai.com": whose answer it is."""
    limits: Limits
    spooling: Spooling
    caches_what_it_is_told: bool = False
    """Whether it caches only prefixes that it is told to, for the longer of its times to live, and charges the write.
    Others cache by themselves."""
    keeps_files: bool = False
    """Whether its files of batches that are through stay there, until the provider lets them expire."""

    @abstractmethod
    def endpoint(self, kind: Kind) -> str:
        """The endpoint that serves `kind`, hashed into fingerprints. Raises ConfigurationError where there is none."""

    @abstractmethod
    def encoder(
        self, *, kind: Kind, model: str, output: type[BaseModel] | None, writes_charged: bool = False
    ) -> Encode:
        """The function that encodes requests of one asset. `model` comes without the provider's prefix.

        `writes_charged` says whether writing the model's cache costs more than input: then a provider that would write
        it by itself is told of prefixes that are not worth it.
        Raises DefinitionError when the provider cannot take the output schema, naming the field.
        """

    @abstractmethod
    def line(self, *, kind: Kind, custom_id: str, body: bytes) -> bytes:
        """One spool line, without separator. `custom_id` must stand in it once, verbatim, before the body."""

    @abstractmethod
    def upload(self, spool: Path, *, name: str) -> str | None:
        """Upload a spool file under `name`; return its file id, or None where a create carries the requests itself."""

    @abstractmethod
    def create(self, spool: Path, *, kind: Kind, file_id: str | None, metadata: Mapping[str, str]) -> BatchView:
        """The paid call: exactly one HTTP request, never retried. Errors as the module says."""

    @abstractmethod
    def retrieve(self, batch_id: str) -> BatchView | None:
        """The batch now; None when the provider says it does not exist (which may be lag)."""

    @abstractmethod
    def batches(self, *, since: datetime) -> Iterator[BatchView]:
        """Every batch of the account created at or after `since`, in any order, all pages."""

    @abstractmethod
    def cancel(self, batch_id: str) -> None:
        """Ask for cancellation; a batch that already ended is not an error."""

    @abstractmethod
    def download(self, batch: BatchView, to: Path) -> None:
        """Write all result lines of a terminal batch into the file `to` (created, not fsynced), streaming.

        Lines of an output and an error file follow one another. Raises DownloadIncomplete where the transfer tore.
        """

    @abstractmethod
    def results(self, path: Path, *, kind: Kind) -> Iterator[ResultLine]:
        """Decode a downloaded file. Blank lines are passed over; a line that is not JSON raises DownloadIncomplete."""

    @abstractmethod
    def delete_file(self, file_id: str) -> None:
        """Delete an uploaded file; one that is already gone is not an error."""

    @abstractmethod
    def delete_batch(self, batch: BatchView) -> None:
        """Delete what the provider keeps of a terminal batch; what is already gone is not an error.

        OpenAI: its input, output and error file. Anthropic: the batch itself, with its results.
        """

    @abstractmethod
    def files(self, *, prefix: str) -> Iterator[tuple[str, str]]:
        """(file id, name) of uploaded batch inputs whose name starts with `prefix`."""

    @abstractmethod
    def caller(self) -> "Caller":
        """Connections to the realtime endpoints, for use in one event loop; close them after it."""

    def close(self) -> None:  # noqa: B027 - a provider without connections has nothing to close
        """Release connections."""
