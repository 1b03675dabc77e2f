"""What both providers share about HTTP: whose account a base URL is, what a failed call means, and streaming downloads.

A failed call is told apart by what it means for money, as `offpeak.providers.base` says. The messages name the provider
and the variable that holds the key, never the key: the SDKs' own errors may quote it, so they are not chained.
Clients follow no redirects: a redirected create would be sent twice, and a redirected read would carry the key along.
"""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import httpx2
import orjson

from offpeak.errors import (
    ConfigurationError,
    DownloadIncomplete,
    OffpeakError,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
    SubmissionRejected,
)

CHUNK_BYTES = 1 << 18
"""Bytes read from a download at a time."""

_DEFAULT_PORTS = {"http": 80, "https": 443}

_NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.InvalidURL,
)
"""Failures before the first byte of the request was sent."""

_MAYBE_DONE_STATUSES = frozenset({302, 303, 408, 409, 499})
"""Statuses below 500 after which the work may have been done all the same."""

_FAILED_BEFORE_ANSWERING = frozenset({500, 503, 529})
"""Statuses by which a provider says that it could not answer, and does not bill. A gateway's own (502, 504, 52x) say
nothing of what became of the request behind it."""

_KEY_LIKE = re.compile(r"\b(?:sk|key|gsk|xai)-[A-Za-z0-9_*.-]{4,}")
_MESSAGE_CHARACTERS = 500


def realm(name: str, base_url: str, *, variable: str) -> str:
    """`name` and the base URL's origin, such as "openai:api.openai.com"; the port only if it is not the default.

    Raises ConfigurationError, naming `variable`, when this is no http(s) address. User names and passwords in the
    address are no part of the realm.
    """
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in _DEFAULT_PORTS or not host:
        raise ConfigurationError(
            f"the base URL of {name} is no http(s) address. Nothing was submitted. "
            f"Set {variable} to one such as https://api.example.com, or unset it."
        )
    shown = f"[{host}]" if ":" in host else host
    return f"{name}:{shown}" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{name}:{shown}:{port}"


@cache
def tls() -> ssl.SSLContext:
    """The certificates that HTTPS is checked with: read once (0.06 CPU seconds), not once for each client."""
    return httpx2.create_ssl_context()


def checked_key(api_key: str | None, *, name: str, variable: str) -> str:
    """The key without white space around it. Raises ConfigurationError when it is missing or cannot be a header."""
    key = (api_key or "").strip()
    if not key:
        raise ConfigurationError(f"there is no API key for {name}. Nothing was submitted. Set {variable}.")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(
            f"the API key for {name} holds characters that no key has. Nothing was submitted. Set {variable} anew, "
            "without quotes or line breaks."
        )
    return key


class NotFound(ProviderUnavailable):
    """The provider does not know an id. That may be lag: an id is sometimes unknown for minutes after its create."""


@dataclass(frozen=True, slots=True)
class Account:
    """Says what a failed call to one provider means. `secret` is only ever removed from messages."""

    title: str
    """The provider as written in messages: "OpenAI"."""
    realm: str
    variable: str
    """The environment variable of the key."""
    secret: str = field(repr=False)
    sdk_error: type[Exception]
    """The base class of the SDK's errors."""

    @contextmanager
    def paying(self) -> Iterator[None]:
        """Around the one request of a create: raises exactly what the base module lists."""
        try:
            yield
        except (self.sdk_error, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError, ValueError) as error:
            raise self._of_create(error) from None

    @contextmanager
    def sending(self, what: str) -> Iterator[None]:
        """Around an upload: unpaid, but a definite refusal means that the create would be refused too."""
        try:
            yield
        except (self.sdk_error, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            status = status_of(error)
            if status in {401, 403}:
                raise self._bad_key(status) from None
            if status is not None and _definite(status):
                raise SubmissionRejected(f"{self._failed(what, error)} Nothing was bought. Mend the cause.") from None
            raise self._unavailable(what, error) from None

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Around a call that buys nothing and may be repeated. A 404 raises NotFound."""
        try:
            yield
        except (self.sdk_error, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            status = status_of(error)
            if status in {401, 403}:
                raise self._bad_key(status) from None
            if status == 404:
                raise NotFound(f"{self._failed(what, error)} It is asked again later.") from None
            raise self._unavailable(what, error) from None

    @contextmanager
    def downloading(self, what: str) -> Iterator[None]:
        """Around a download: what tore, or is not there (yet), is downloaded again."""
        try:
            yield
        except (self.sdk_error, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            status = status_of(error)
            if status in {401, 403}:
                raise self._bad_key(status) from None
            if never_sent(error) or status == 429 or (status or 0) >= 500:
                raise self._unavailable(what, error) from None
            raise DownloadIncomplete(
                f"{self._failed(what, error)} The results are still at the provider, nothing was applied. "
                "The download is tried again."
            ) from None

    def of_call(self, error: Exception) -> OffpeakError:
        """What it means that a realtime call failed, as `offpeak.providers.realtime` lists it."""
        status, what = status_of(error), "a call"
        if status in {401, 403}:
            return self._bad_key(status)
        if status == 429 or status in _FAILED_BEFORE_ANSWERING or (status is None and never_sent(error)):
            kind = RateLimited if status == 429 else ProviderUnavailable
            return kind(
                f"{self._failed(what, error)} Nothing was bought. It is asked again later.",
                retry_after=retry_after_of(error),
            )
        return OutcomeUnknown(
            f"{self._failed(what, error)} It may have been answered, and be on the bill, all the same. It is asked "
            "again, and counted as possibly paid twice."
        )

    def json(self, response: httpx2.Response, what: str) -> dict[str, Any]:
        """The object in the answer to a reading call. Raises ProviderUnavailable when there is none."""
        try:
            return json_object(response)
        except ValueError as error:
            raise ProviderUnavailable(
                f"{self.title} ({self.realm}) answered {what} with HTTP {response.status_code} and {error}. "
                "If this lasts, a proxy stands before it, or it is no batch API: check the base URL."
            ) from None

    def _of_create(self, error: Exception) -> OffpeakError:
        status = status_of(error)
        what = "creating a batch"
        if status == 429:
            return ProviderUnavailable(
                f"{self._failed(what, error)} Nothing was bought. It is asked again later.",
                retry_after=retry_after_of(error),
            )
        if status in {401, 403}:
            return SubmissionRejected(str(self._bad_key(status)))
        if status is not None and _definite(status):
            return SubmissionRejected(f"{self._failed(what, error)} Nothing was bought. Mend the cause and run again.")
        if status is None and never_sent(error):
            return ProviderUnavailable(f"{self._failed(what, error)} Nothing was sent. It is asked again later.")
        return OutcomeUnknown(
            f"{self._failed(what, error)} A batch may exist all the same. It is looked for in the provider's list; "
            "do not send it again by hand."
        )

    def _unavailable(self, what: str, error: Exception) -> ProviderUnavailable:
        return ProviderUnavailable(
            f"{self._failed(what, error)} It is asked again later.", retry_after=retry_after_of(error)
        )

    def _bad_key(self, status: int | None) -> ConfigurationError:
        # The provider's message is left out: it may quote the key.
        problem = "does not accept the API key" if status == 401 else "does not let this API key do that"
        return ConfigurationError(
            f"{self.title} ({self.realm}) {problem} (HTTP {status}). Nothing was bought. Check {self.variable}."
        )

    def _failed(self, what: str, error: Exception) -> str:
        status = status_of(error)
        found = _cause(error)
        if status is None:
            how = f"{type(found).__name__}: {found}" if str(found) else type(found).__name__
        else:
            how = f"HTTP {status}: {_provider_message(error)}"
        how = _KEY_LIKE.sub("[key]", how.replace(self.secret, "[key]"))
        return f"{self.title} ({self.realm}): {what} failed ({' '.join(how.split())[:_MESSAGE_CHARACTERS]})."


def json_object(response: httpx2.Response) -> dict[str, Any]:
    """The object in an answer. Raises ValueError when there is none."""
    try:
        parsed = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        parsed = None
    if type(parsed) is not dict:
        raise ValueError("no JSON object")
    return parsed


def status_of(error: Exception) -> int | None:
    """The HTTP status that an SDK's error carries, or None when no answer came."""
    response = getattr(error, "response", None)
    return response.status_code if isinstance(response, httpx2.Response) else None


def never_sent(error: Exception) -> bool:
    """Whether the request certainly did not reach the provider."""
    return isinstance(_cause(error), _NEVER_SENT)


def retry_after_of(error: Exception) -> timedelta | None:
    """What the answer's Retry-After asks for: seconds or a date; None where there is none, or it cannot be read."""
    response = getattr(error, "response", None)
    value = response.headers.get("retry-after") if isinstance(response, httpx2.Response) else None
    if not value:
        return None
    try:
        return timedelta(seconds=max(0.0, float(value)))
    except (OverflowError, ValueError):
        pass
    try:
        return max(timedelta(0), parsedate_to_datetime(value) - datetime.now(UTC))
    except (TypeError, ValueError):
        return None


def save(response: httpx2.Response, file: BinaryIO, *, what: str) -> None:
    """Stream an answer's body into `file` and end it with a newline. Raises DownloadIncomplete if bytes are missing."""
    last = b"\n"
    for chunk in response.iter_bytes(CHUNK_BYTES):
        file.write(chunk)
        last = chunk or last
    if not last.endswith(b"\n"):
        file.write(b"\n")
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and response.num_bytes_downloaded != int(announced):
        raise DownloadIncomplete(
            f"{what} has {response.num_bytes_downloaded} of {announced} bytes. Nothing was applied. "
            "The download is tried again."
        )


@contextmanager
def written(to: Path) -> Iterator[BinaryIO]:
    """`to`, open for writing; removed again when what is written into it could not be had whole."""
    try:
        with to.open("wb") as file:
            yield file
    except BaseException:
        to.unlink(missing_ok=True)
        raise


def wrong_request(status: int) -> bool:
    """Whether an answer with this status means that the request itself cannot be answered."""
    return _definite(status) and status not in {401, 403}


def _definite(status: int) -> bool:
    return 300 <= status < 500 and status != 429 and status not in _MAYBE_DONE_STATUSES


def _cause(error: BaseException) -> BaseException:
    """The transport's own error behind an SDK's."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError)):
            return seen
        seen = seen.__cause__
    return error


def _provider_message(error: Exception) -> str:
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(inner, dict):
        return ": ".join(str(inner[name]) for name in ("code", "type", "message") if inner.get(name)) or "no message"
    return str(inner) if inner else "no message"
