"""OpenAI's Batch API, and what is compatible with it, through OpenAI's SDK.

A spool file is uploaded as a file of purpose "batch" and named by the create, whose metadata comes back with the batch:
that is how a create with a lost answer is found again. Results lie in two files, one with answers and one with errors.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import httpx2
import openai
from pydantic import BaseModel

from offpeak.clock import EPOCH
from offpeak.errors import ProviderUnavailable
from offpeak.providers import http, listing, openai_wire, ordinary, wire
from offpeak.providers.base import (
    BatchError,
    BatchState,
    BatchView,
    Encode,
    Kind,
    Limits,
    Provider,
    ResultLine,
    Spooling,
)
from offpeak.providers.openai_calls import OpenAICaller
from offpeak.providers.openai_wire import ChatEndpoint

DEFAULT_BASE_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"
BASE_URL_VARIABLE = "OPENAI_BASE_URL"

MAX_BYTES = 190_000_000
"""Bytes of one spool file: OpenAI's Batch guide allows 200 MB; 5% is left for its own counting."""

LIMITS = Limits(max_requests=50_000, max_bytes=MAX_BYTES, max_request_bytes=MAX_BYTES - wire.ENVELOPE_BYTES)
"""OpenAI's Batch guide: 50,000 requests (and as many embedding inputs) in a batch."""

FILE_LIFETIME = timedelta(days=14)
"""How long the provider keeps a batch input that nobody deleted: longer than any batch runs, and half of what OpenAI
would keep it by default (Files API reference: 30 days for batch inputs)."""

_PAGE = 100
"""Batches on a page at most, by the API reference."""
_FILES_PAGE = 10_000

_STATES = {
    "finalizing": BatchState.FINALIZING,
    "completed": BatchState.COMPLETED,
    "failed": BatchState.FAILED,
    "expired": BatchState.EXPIRED,
    "cancelling": BatchState.CANCELLING,
    "canceling": BatchState.CANCELLING,
    "cancelled": BatchState.CANCELLED,
    "canceled": BatchState.CANCELLED,
}
_ENDS = ("completed_at", "failed_at", "expired_at", "cancelled_at")

# The SDK types the endpoints it knows; every path of ours is one of these.
_Endpoint = Literal["/v1/responses", "/v1/chat/completions", "/v1/embeddings", "/v1/moderations"]


class OpenAIProvider(Provider):
    """One OpenAI account, or one account at a compatible provider.

    `base_url` includes `/v1`. `read_retries` are the SDK's, for calls that buy nothing.
    """

    name = "openai"
    spooling = Spooling(head=b"", separator=b"\n", tail=b"\n")

    def __init__(
        self,
        *,
        api_key: str | None,
        base_url: str | None = None,
        limits: Limits = LIMITS,
        chat_endpoint: ChatEndpoint = "responses",
        timeout: timedelta = timedelta(minutes=10),
        read_retries: int = 2,
    ) -> None:
        base_url = base_url or DEFAULT_BASE_URL
        self.realm = http.realm(self.name, base_url, variable=BASE_URL_VARIABLE)
        self.limits = limits
        key = http.checked_key(api_key, name=self.name, variable=KEY_VARIABLE)
        self._chat_endpoint: ChatEndpoint = chat_endpoint
        self._endpoints: dict[Kind, _Endpoint] = {
            Kind.CHAT: "/v1/responses" if chat_endpoint == "responses" else "/v1/chat/completions",
            Kind.EMBEDDING: "/v1/embeddings",
            Kind.MODERATION: "/v1/moderations",
        }
        self._line_middles = {
            kind: f'","method":"POST","url":"{endpoint}","body":'.encode() for kind, endpoint in self._endpoints.items()
        }
        self._base_url = base_url
        self._timeout = httpx2.Timeout(timeout.total_seconds(), connect=5.0)
        self._client = openai.OpenAI(
            api_key=key,
            base_url=base_url,
            max_retries=read_retries,
            http_client=openai.DefaultHttpxClient(follow_redirects=False, verify=http.tls(), timeout=self._timeout),
        )
        self._account = http.Account("OpenAI", self.realm, KEY_VARIABLE, key, openai.OpenAIError)

    def endpoint(self, kind: Kind) -> str:
        return self._endpoints[kind]

    def encoder(
        self, *, kind: Kind, model: str, output: type[BaseModel] | None, writes_charged: bool = False
    ) -> Encode:
        return openai_wire.encoder(
            kind,
            model=model,
            output=output,
            chat_endpoint=self._chat_endpoint,
            limit=self.limits.max_request_bytes,
            writes_charged=writes_charged,
        )

    def line(self, *, kind: Kind, custom_id: str, body: bytes) -> bytes:
        return b'{"custom_id":"' + custom_id.encode("ascii") + self._line_middles[kind] + body + b"}"

    def upload(self, spool: Path, *, name: str) -> str:
        with spool.open("rb") as file, self._account.sending("uploading a batch input"):
            response = self._client.files.with_raw_response.create(
                file=(name, file),
                purpose="batch",
                expires_after={"anchor": "created_at", "seconds": int(FILE_LIFETIME.total_seconds())},
            )
        file_id = wire.said(self._account.json(response.http_response, "an upload").get("id"))
        if file_id is None:
            raise ProviderUnavailable(
                f"OpenAI ({self.realm}) took an upload and named no file id. Nothing was bought. It is tried again."
            )
        return file_id

    def create(
        self,
        spool: Path,  # noqa: ARG002 - the file has been uploaded
        *,
        kind: Kind,
        file_id: str | None,
        metadata: Mapping[str, str],
    ) -> BatchView:
        if file_id is None:
            raise ValueError("OpenAI creates batches from an uploaded file: pass the file_id that upload() returned")
        once = self._client.with_options(max_retries=0)
        with self._account.paying():
            response = once.batches.with_raw_response.create(
                input_file_id=file_id,
                endpoint=self._endpoints[kind],
                completion_window="24h",
                metadata=dict(metadata),
            )
            created = view(http.json_object(response.http_response))
            if not created.id:
                raise ValueError("the answer names no batch id")
        return created

    def retrieve(self, batch_id: str) -> BatchView | None:
        try:
            with self._account.reading("reading a batch"):
                response = self._client.batches.with_raw_response.retrieve(batch_id)
        except http.NotFound:
            return None
        return view(self._account.json(response.http_response, "reading a batch"))

    def batches(self, *, since: datetime) -> Iterator[BatchView]:
        def page_after(last: str | None) -> dict[str, Any]:
            with self._account.reading("listing batches"):
                response = self._client.batches.with_raw_response.list(limit=_PAGE, after=last or openai.omit)
            return self._account.json(response.http_response, "listing batches")

        yield from listing.created_since(listing.pages(page_after, size=_PAGE), view, since)

    def cancel(self, batch_id: str) -> None:
        try:
            with self._account.reading("cancelling a batch"):
                self._client.batches.with_raw_response.cancel(batch_id)
        except ProviderUnavailable:
            now = self.retrieve(batch_id)
            if now is None or not (now.state.terminal or now.state is BatchState.CANCELLING):
                raise

    def download(self, batch: BatchView, to: Path) -> None:
        with http.written(to) as file:
            for file_id in batch.result_refs:
                with (
                    self._account.downloading("downloading results"),
                    self._client.files.with_streaming_response.content(file_id) as response,
                ):
                    http.save(response.http_response, file, what=f"result file {file_id}")

    def results(self, path: Path, *, kind: Kind) -> Iterator[ResultLine]:
        endpoint = self._chat_endpoint
        return wire.read_lines(path, openai_wire.decoder(kind, endpoint), ordinary=ordinary.openai(kind, endpoint))

    def delete_file(self, file_id: str) -> None:
        with suppress(http.NotFound), self._account.reading("deleting a file"):
            self._client.files.with_raw_response.delete(file_id)

    def delete_batch(self, batch: BatchView) -> None:
        for file_id in filter(None, (batch.input_file_id, *batch.result_refs)):
            self.delete_file(file_id)

    def files(self, *, prefix: str) -> Iterator[tuple[str, str]]:
        def page_after(last: str | None) -> dict[str, Any]:
            with self._account.reading("listing files"):
                response = self._client.files.with_raw_response.list(
                    purpose="batch", limit=_FILES_PAGE, after=last or openai.omit
                )
            return self._account.json(response.http_response, "listing files")

        for page in listing.pages(page_after, size=_FILES_PAGE):
            for file in page:
                name = wire.said(file.get("filename"))
                if name is not None and name.startswith(prefix):
                    yield str(file["id"]), name

    def caller(self) -> OpenAICaller:
        client = openai.AsyncOpenAI(
            api_key=self._account.secret,
            base_url=self._base_url,
            http_client=openai.DefaultAsyncHttpxClient(
                follow_redirects=False, verify=http.tls(), timeout=self._timeout
            ),
        )
        return OpenAICaller(client, self._account, endpoints=self._endpoints, chat_endpoint=self._chat_endpoint)

    def close(self) -> None:
        self._client.close()


def view(batch: Mapping[str, Any]) -> BatchView:
    """A batch object as a BatchView. A creation time that cannot be read is the epoch."""
    counts = wire.mapping(batch.get("request_counts"))
    metadata = wire.mapping(batch.get("metadata"))
    files = (wire.said(batch.get("output_file_id")), wire.said(batch.get("error_file_id")))
    return BatchView(
        id=wire.said(batch.get("id")) or "",
        # An unknown status is not terminal: the batch is looked at again.
        state=_STATES.get(str(batch.get("status")).lower(), BatchState.IN_PROGRESS),
        created_at=wire.moment(batch.get("created_at")) or EPOCH,
        ended_at=next(filter(None, (wire.moment(batch.get(name)) for name in _ENDS)), None),
        expires_at=wire.moment(batch.get("expires_at")),
        total=wire.count(counts.get("total")),
        finished=wire.count(counts.get("completed")) + wire.count(counts.get("failed")),
        metadata={str(name): str(value) for name, value in metadata.items()},
        input_file_id=wire.said(batch.get("input_file_id")),
        result_refs=tuple(filter(None, files)),
        errors=tuple(_errors(batch.get("errors"))),
    )


def _errors(errors: object) -> Iterator[BatchError]:
    for error in wire.mapping(errors).get("data") or ():
        line = error.get("line")
        yield BatchError(wire.said(error.get("code")), wire.said(error.get("message")), wire.count(line) or None)
