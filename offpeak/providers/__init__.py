"""The providers whose batch tiers Offpeak buys on, opened by name."""

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from offpeak.errors import ConfigurationError
from offpeak.providers.base import Limits, Provider

if TYPE_CHECKING:
    from offpeak.providers.openai_wire import ChatEndpoint

NAMES = ("anthropic", "openai")
"""The prefixes of model references."""

__all__ = ["NAMES", "open_provider"]


def open_provider(
    name: str,
    *,
    api_key: str | None,
    base_url: str | None = None,
    max_requests: int | None = None,
    max_bytes: int | None = None,
    max_request_bytes: int | None = None,
    chat_endpoint: "ChatEndpoint | None" = None,
    timeout: timedelta = timedelta(minutes=10),
    read_retries: int = 2,
) -> Provider:
    """One account at the provider `name`; no request is sent yet, and no environment variable is read.

    `max_requests` (requests in a batch), `max_bytes` (of a spool file) and `max_request_bytes` (of one encoded request)
    replace the provider's documented limits. `chat_endpoint` is OpenAI's alone: "responses" (the default) or
    "chat.completions", which most compatible gateways have only. `timeout` bounds the silence within one call, and
    `read_retries` how often a call that buys nothing is repeated; a create never is.

    Raises ConfigurationError for an unknown name, a missing key, or a base URL that is none.
    """
    # Each SDK costs about a second to import: only the one that is opened is.
    if name == "openai":
        from offpeak.providers import openai

        return openai.OpenAIProvider(
            api_key=api_key,
            base_url=base_url,
            limits=_limits(openai.LIMITS, max_requests, max_bytes, max_request_bytes),
            chat_endpoint=chat_endpoint or "responses",
            timeout=timeout,
            read_retries=read_retries,
        )
    if name == "anthropic":
        if chat_endpoint is not None:
            raise ConfigurationError(
                "chat_endpoint is a choice between OpenAI's endpoints; leave it out for anthropic."
            )
        from offpeak.providers import anthropic

        return anthropic.AnthropicProvider(
            api_key=api_key,
            base_url=base_url,
            limits=_limits(anthropic.LIMITS, max_requests, max_bytes, max_request_bytes),
            timeout=timeout,
            read_retries=read_retries,
        )
    raise ConfigurationError(
        f"there is no provider {name!r}. Nothing was submitted. A model reference begins with one of "
        f"{', '.join(f'{known}/' for known in NAMES)}."
    )


def _limits(
    documented: Limits, max_requests: int | None, max_bytes: int | None, max_request_bytes: int | None
) -> Limits:
    from offpeak.providers.wire import ENVELOPE_BYTES

    file_bytes = max_bytes or documented.max_bytes
    return replace(
        documented,
        max_requests=max_requests or documented.max_requests,
        max_bytes=file_bytes,
        max_request_bytes=min(max_request_bytes or file_bytes, file_bytes - ENVELOPE_BYTES),
    )
