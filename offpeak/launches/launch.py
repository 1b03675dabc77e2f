"""A launch, as somebody expects it: its window, its visitors, and what they ask for."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class OpenBatches(StrEnum):
    """What becomes of batches that are on their way when a launch begins."""

    FINISH = "finish"
    """They end by themselves, and are collected."""
    CANCEL = "cancel"
    """They are cancelled before it; what they had finished is kept, and the rest goes on after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What one visitor does, on average."""

    length: timedelta
    requests: float
    """To models, those included that a pre-computed result answers."""
    input_tokens: float
    """Of all its requests together."""
    output_tokens: float
    """Of all its requests together."""

    @property
    def tokens_per_request(self) -> float:
        """Input and output together, on average."""
        return (self.input_tokens + self.output_tokens) / self.requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One launch. Times are in UTC."""

    name: str
    starts: datetime
    ends: datetime
    zone: str
    """The IANA zone in which people speak of it."""
    peak_at: datetime
    peak_users: int
    """Who are there at the same time, at the peak."""
    session: Session
    precomputed_share: float
    """Of requests, which are expected to be answered by a pre-computed result; 0 to 1."""
    models: Mapping[str, float]
    """By "provider/model": the share of the other requests that it answers; all together 1."""
    spare: float
    """The share of each limit that is to be left free at the peak; 0 to 1."""
    raise_time: timedelta
    """How long before the launch a higher limit has to be asked for."""
    quiet: timedelta
    """How long before the launch pre-computation begins."""
    open_batches: OpenBatches
    notice: timedelta
    """How long before the launch people are told of what it holds up."""

    @property
    def providers(self) -> frozenset[str]:
        """Whose realtime endpoints it needs."""
        return frozenset(model.partition("/")[0] for model in self.models)

    def holds(self, at: datetime) -> bool:
        """Whether its window is open."""
        return self.starts <= at < self.ends
