"""Calls of a provider's realtime endpoints: one request, one answer, decoded as a line of a batch's results would be.

A caller keeps no state, never repeats a call and never decides anything about money: whoever asks has written down
before that a call is about to be sent, and writes down after what came of it.

Errors of `Caller.ask`
    RateLimited           nothing was bought: the account has had its share for now
    TierUnavailable       nothing was bought: the cheaper tier does not take it, the standard one would
    ProviderUnavailable   nothing was bought: never sent, or the provider failed before answering
    OutcomeUnknown        sent, and the answer never arrived whole: it may be on the bill
    ConfigurationError    the key is refused
A request that is itself wrong is no error here: its ResultLine says so.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from offpeak.providers.base import Kind, ResultLine


class Measure(StrEnum):
    """What a provider limits by the minute."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    """Input and output together."""
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"


class Reply(NamedTuple):
    """The answer to one call."""

    line: ResultLine
    limits: Mapping[Measure, float]
    """What the account may use of the model in a minute, as the answer's headers say it; empty where they say nothing.
    """
    flex: bool = False
    """It was served, and is billed, by the cheaper tier."""


class Caller(ABC):
    """Connections to one account's realtime endpoints. It belongs to the event loop it is first used in."""

    @abstractmethod
    async def ask(self, *, kind: Kind, body: bytes, flex: bool = False) -> Reply:
        """Send one encoded body: exactly one HTTP request. The reply's line has an empty custom_id.

        `flex` asks for the provider's cheaper and slower tier; where it has none, it is ignored.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release connections."""
