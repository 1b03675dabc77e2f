"""When a purchase would land, by lane: the provider's window, or as many calls a minute as it allows."""

from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from offpeak.clock import exactly
from offpeak.ledger.lane import Lane
from offpeak.providers.base import BATCH_WINDOW

ASSUMED_PER_MINUTE = 50
"""Calls a minute where a provider has not said how many it allows: what Anthropic allows an account at first (tier 1 of
its rate limits), and the least of both providers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """How long a purchase takes at most, as far as that can be known, and why."""

    within: timedelta
    why: str


def landing(lane: Lane, *, requests: int, per_minute: int | None, window: timedelta = BATCH_WINDOW) -> Landing:
    """How long `requests` take in that lane. `per_minute` is what the provider was last seen to allow, `window` what it
    may take for a batch.
    """
    if not requests:
        return Landing(within=timedelta(0), why="nothing is bought")
    if lane is Lane.BATCH:
        return Landing(within=window, why=f"the provider's window of {exactly(window)}")
    rate, known = (ASSUMED_PER_MINUTE, "assumed") if not per_minute else (per_minute, "as last seen")
    counted = "1 request" if requests == 1 else f"{requests:,} requests"
    return Landing(within=timedelta(minutes=ceil(requests / rate)), why=f"{counted} at {rate:,} a minute, {known}")
