"""How far a job is, in the words that stand on its run."""

from collections.abc import Sequence

from offpeak.ledger.lane import Lane
from offpeak.ledger.sightings import OpenChunk

STEP = 5
"""Percent by which a job has to have moved before that is written on its run: each writing costs a transaction."""


def progress_of(chunks: Sequence[OpenChunk]) -> str:
    """Such as "35%: 105 of 300 requests, 1 of 4 batches landed"; counts are the provider's own, and may lag."""
    requests = sum(chunk.requests for chunk in chunks)
    finished = sum(chunk.requests if chunk.landed else chunk.finished for chunk in chunks)
    batches = [chunk for chunk in chunks if chunk.lane is Lane.BATCH]
    calls = [chunk for chunk in chunks if chunk.lane is Lane.BACKGROUND and not (chunk.settled or chunk.held)]
    parts = [f"{finished:,} of {requests:,} requests"]
    if len(batches) > 1:
        parts.append(f"{sum(chunk.landed for chunk in batches)} of {len(batches)} batches landed")
    if held := sum(chunk.requests for chunk in chunks if chunk.held):
        parts.append(f"{held:,} held until a sample is released")
    waiting = sum(not (chunk.settled or chunk.at_provider or chunk.held) for chunk in batches)
    if waiting:
        parts.append(f"{waiting} not at the provider yet")
    if left := sum(chunk.requests - chunk.finished for chunk in calls):
        parts.append(f"{left:,} still to be called")
    return f"{_percent(finished, requests)}%: {', '.join(parts)}"


def called(asset: str, done: int, requests: int) -> str:
    """Such as "35%: 105 of 300 requests of labels are called"."""
    return f"{_percent(done, requests)}%: {done:,} of {requests:,} requests of {asset} are called"


def _percent(done: int, of: int) -> int:
    return 100 * done // of // STEP * STEP if of else 0


def same_step(before: str | None, now: str) -> bool:
    """Whether the two say the same percentage, so that the newer one need not be written."""
    return before is not None and before.partition(":")[0] == now.partition(":")[0]
