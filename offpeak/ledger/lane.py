"""How requests are bought."""

from enum import StrEnum


class Lane(StrEnum):
    """Which of a provider's doors requests go through. A person who watches is served by neither."""

    BATCH = "batch"
    """The batch tier: hours, at about half the price."""
    BACKGROUND = "background"
    """The realtime endpoints, within their rate limits: minutes."""
