"""What happens to a batch next, as a function of the batch and the time; the worker only carries it out.

A batch lives for its latency: a tenth of it validating, then answering line by line at an even pace, the last tenth
finalizing. So a batch that is cancelled half-way has half of its answers, and has been billed for those.
"""

from dataclasses import dataclass

from local_provider.batches import Batch, Outcome, Phase

VALIDATED_AT = 0.1
ANSWERED_AT = 0.9
CANCELLING_FOR = 0.1


@dataclass(frozen=True, slots=True)
class Validate:
    """Check the whole input."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer lines until `position`."""

    position: int


@dataclass(frozen=True, slots=True)
class Finalize:
    """All is answered; the results are being put together."""


@dataclass(frozen=True, slots=True)
class Finish:
    """End it like this. Lines without an answer are reported as left."""

    outcome: Outcome


Step = Validate | Answer | Finalize | Finish


def next_step(batch: Batch, now: float) -> Step | None:
    """What is due at `now`; None when nothing is yet."""
    latency = _latency(batch)
    match batch.phase:
        case Phase.VALIDATING:
            return Validate() if now >= batch.created_at + VALIDATED_AT * latency else None
        case Phase.ANSWERING:
            if batch.cancel_requested_at is not None and "beats_cancel" in batch.faults:
                return Answer(batch.total) if batch.position < batch.total else Finalize()
            if batch.cancel_requested_at is not None:
                over = now >= batch.cancel_requested_at + CANCELLING_FOR * latency
                return Finish(Outcome.CANCELLED) if over else None
            return _answering(batch, now, latency)
        case Phase.FINALIZING:
            beaten = batch.cancel_requested_at is not None and "beats_cancel" in batch.faults
            over = now >= batch.created_at + latency + _finalizing(batch)
            return Finish(Outcome.COMPLETED) if over or beaten else None
        case Phase.DONE:
            return None


def _answering(batch: Batch, now: float, latency: float) -> Step | None:
    stop = _stop(batch)
    due = _due(batch, now, stop, batch.created_at + ANSWERED_AT * latency)
    if due > batch.position:
        return Answer(due)
    if "never_end" in batch.faults or batch.position < stop:
        return None
    if "expire" in batch.faults:
        return Finish(Outcome.EXPIRED) if now >= batch.created_at + latency else None
    return Finalize() if now >= batch.created_at + ANSWERED_AT * latency else None


def _due(batch: Batch, now: float, stop: int, end: float) -> int:
    """How many lines are answered by `now`, when all up to `stop` are by `end`."""
    start = batch.started_at if batch.started_at is not None else batch.created_at
    if now >= end or end <= start:
        return stop
    return max(0, min(stop, int(stop * (now - start) / (end - start))))


def _stop(batch: Batch) -> int:
    """The line at which answering stops for good."""
    for fault in ("never_end", "expire"):
        if fault in batch.faults:
            return int(batch.total * batch.faults[fault]["share"])
    return batch.total


def _finalizing(batch: Batch) -> float:
    """By how many seconds putting the results together takes longer."""
    return float(batch.faults["slow_finalizing"]["seconds"]) if "slow_finalizing" in batch.faults else 0.0


def _latency(batch: Batch) -> float:
    if "latency" in batch.faults:
        return float(batch.faults["latency"]["seconds"])
    return batch.latency
