"""Anthropic's Message Batches through Anthropic's SDK.

A spool file is the body of the create itself, streamed from the disk: the SDK's own method would hold every request as
Python objects. A batch carries nothing of ours but its custom_ids, and its results name the address they lie at: only
the path of that address is used, on our own base URL, so that the key goes nowhere else.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import anthropic
import httpx2
from pydantic import BaseModel

from offpeak.clock import EPOCH
from offpeak.errors import ConfigurationError, ProviderUnavailable
from offpeak.providers import anthropic_wire, http, listing, ordinary, wire
from offpeak.providers.anthropic_calls import AnthropicCaller
from offpeak.providers.base import BatchState, BatchView, Encode, Kind, Limits, Provider, ResultLine, Spooling

DEFAULT_BASE_URL = "https://api.anthropic.com"
KEY_VARIABLE = "ANTHROPIC_API_KEY"
BASE_URL_VARIABLE = "ANTHROPIC_BASE_URL"

ENDPOINT = "/v1/messages"
BATCHES = "/v1/messages/batches"

MAX_BYTES = 245_000_000
"""Bytes of one spool file: Anthropic's batch guide allows 256 MB; 4% is left for its own counting."""

LIMITS = Limits(max_requests=100_000, max_bytes=MAX_BYTES, max_request_bytes=MAX_BYTES - wire.ENVELOPE_BYTES)
"""Anthropic's batch guide: 100,000 requests in a batch."""

_PAGE = 1_000
"""Batches on a page at most, by the API reference."""

_PLAIN_PATH = re.compile(r"[A-Za-z0-9/_.~-]+")
"""Result paths that are followed; others (braces, escapes, queries) are replaced by the documented one."""


class AnthropicProvider(Provider):
    """One Anthropic workspace.

    `base_url` is taken with and without `/v1`. `read_retries` are the SDK's, for calls that buy nothing.
    """

    name = "anthropic"
    caches_what_it_is_told = True
    spooling = Spooling(head=b'{"requests":[\n', separator=b",\n", tail=b"\n]}")

    def __init__(
        self,
        *,
        api_key: str | None,
        base_url: str | None = None,
        limits: Limits = LIMITS,
        timeout: timedelta = timedelta(minutes=10),
        read_retries: int = 2,
    ) -> None:
        base_url = (base_url or DEFAULT_BASE_URL).rstrip("/").removesuffix("/v1")
        self.realm = http.realm(self.name, base_url, variable=BASE_URL_VARIABLE)
        self.limits = limits
        key = http.checked_key(api_key, name=self.name, variable=KEY_VARIABLE)
        self._base_path = urlsplit(base_url).path
        self._base_url = base_url
        self._timeout = httpx2.Timeout(timeout.total_seconds(), connect=5.0)
        self._client = anthropic.Anthropic(
            api_key=key,
            base_url=base_url,
            max_retries=read_retries,
            http_client=anthropic.DefaultHttpxClient(follow_redirects=False, verify=http.tls(), timeout=self._timeout),
        )
        self._account = http.Account("Anthropic", self.realm, KEY_VARIABLE, key, anthropic.AnthropicError)

    def endpoint(self, kind: Kind) -> str:
        if kind is not Kind.CHAT:
            raise ConfigurationError(
                f"Anthropic has no {kind.value} endpoint. Nothing was submitted. Use a model of another provider, such "
                "as one whose reference begins with openai/."
            )
        return ENDPOINT

    def encoder(
        self,
        *,
        kind: Kind,
        model: str,
        output: type[BaseModel] | None,
        writes_charged: bool = False,  # noqa: ARG002 - nothing is written here that nobody asked for
    ) -> Encode:
        self.endpoint(kind)
        return anthropic_wire.encoder(model=model, output=output, limit=self.limits.max_request_bytes)

    def line(self, *, kind: Kind, custom_id: str, body: bytes) -> bytes:  # noqa: ARG002 - one kind is all there is
        return b'{"custom_id":"' + custom_id.encode("ascii") + b'","params":' + body + b"}"

    def upload(self, spool: Path, *, name: str) -> None:  # noqa: ARG002 - the create carries the requests itself
        return None

    def create(
        self,
        spool: Path,
        *,
        kind: Kind,
        file_id: str | None,  # noqa: ARG002
        metadata: Mapping[str, str],  # noqa: ARG002 - Anthropic's batches have none
    ) -> BatchView:
        self.endpoint(kind)
        with spool.open("rb") as body, self._account.paying():
            response = self._client.post(
                BATCHES,
                content=body,
                cast_to=httpx2.Response,
                options={"max_retries": 0, "headers": {"Content-Type": "application/json"}},
            )
            created = view(http.json_object(response))
            if not created.id:
                raise ValueError("the answer names no batch id")
        return created

    def retrieve(self, batch_id: str) -> BatchView | None:
        try:
            with self._account.reading("reading a batch"):
                response = self._client.messages.batches.with_raw_response.retrieve(batch_id)
        except http.NotFound:
            return None
        return view(self._account.json(response.http_response, "reading a batch"))

    def batches(self, *, since: datetime) -> Iterator[BatchView]:
        def page_after(last: str | None) -> dict[str, Any]:
            with self._account.reading("listing batches"):
                response = self._client.messages.batches.with_raw_response.list(
                    limit=_PAGE, after_id=last or anthropic.omit
                )
            return self._account.json(response.http_response, "listing batches")

        yield from listing.created_since(listing.pages(page_after, size=_PAGE), view, since)

    def cancel(self, batch_id: str) -> None:
        try:
            with self._account.reading("cancelling a batch"):
                self._client.messages.batches.with_raw_response.cancel(batch_id)
        except ProviderUnavailable:
            now = self.retrieve(batch_id)
            if now is None or not (now.state.terminal or now.state is BatchState.CANCELLING):
                raise

    def download(self, batch: BatchView, to: Path) -> None:
        documented = f"{BATCHES}/{quote(batch.id, safe='')}/results"
        path = next(iter(batch.result_refs), documented)
        with self._account.downloading("downloading results"):
            try:
                response = self._stream(self._own_path(path) or documented)
            except anthropic.NotFoundError:
                # The address may have been relative to something that only the provider knows.
                response = self._stream(documented)
            with closing(response), http.written(to) as file:
                http.save(response, file, what=f"the results of {batch.id}")

    def _stream(self, path: str) -> httpx2.Response:
        stream: bool = True  # the SDK's overload for a literal True is for server-sent events
        return self._client.get(path, cast_to=httpx2.Response, stream=stream)

    def _own_path(self, path: str) -> str | None:
        """`path` below our base URL, or None if it is one that should not be followed."""
        if not _PLAIN_PATH.fullmatch(path) or ".." in path:
            return None
        return "/" + path.removeprefix(self._base_path).lstrip("/")

    def results(self, path: Path, *, kind: Kind) -> Iterator[ResultLine]:
        self.endpoint(kind)
        return wire.read_lines(path, anthropic_wire.decode, ordinary=ordinary.anthropic())

    def delete_file(self, file_id: str) -> None:
        """Nothing is uploaded apart from batches, so nothing is there to delete."""

    def delete_batch(self, batch: BatchView) -> None:
        with suppress(http.NotFound), self._account.reading("deleting a batch"):
            self._client.messages.batches.with_raw_response.delete(batch.id)

    def files(self, *, prefix: str) -> Iterator[tuple[str, str]]:  # noqa: ARG002 - nothing is uploaded
        return iter(())

    def caller(self) -> AnthropicCaller:
        client = anthropic.AsyncAnthropic(
            api_key=self._account.secret,
            base_url=self._base_url,
            http_client=anthropic.DefaultAsyncHttpxClient(
                follow_redirects=False, verify=http.tls(), timeout=self._timeout
            ),
        )
        return AnthropicCaller(client, self._account, endpoint=ENDPOINT)

    def close(self) -> None:
        self._client.close()


def view(batch: Mapping[str, Any]) -> BatchView:
    """A message batch as a BatchView. A creation time that cannot be read is the epoch.

    Every batch ends as "ended": what it ended of is in its counts.
    """
    counts = {name: wire.count(value) for name, value in wire.mapping(batch.get("request_counts")).items()}
    finished = sum(counts.get(name, 0) for name in ("succeeded", "errored", "canceled", "expired"))
    results_url = wire.said(batch.get("results_url"))
    return BatchView(
        id=wire.said(batch.get("id")) or "",
        state=_state(str(batch.get("processing_status")).lower(), counts),
        created_at=wire.moment(batch.get("created_at")) or EPOCH,
        ended_at=wire.moment(batch.get("ended_at")),
        expires_at=wire.moment(batch.get("expires_at")),
        total=finished + counts.get("processing", 0),
        finished=finished,
        result_refs=(_path_of(results_url),) if results_url else (),
    )


def _path_of(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "?"  # not plain, so the documented path is taken
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _state(status: str, counts: Mapping[str, int]) -> BatchState:
    if status in {"canceling", "cancelling"}:
        return BatchState.CANCELLING
    if status != "ended":
        return BatchState.IN_PROGRESS
    if counts.get("canceled"):
        return BatchState.CANCELLED
    if counts.get("expired"):
        return BatchState.EXPIRED
    return BatchState.COMPLETED
