"""The queue-and-notify design of a move: when it is submitted, which queue, what fails, what is full, who is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time

from offpeak.audit.move import Move
from offpeak.audit.verdict import AHEAD
from offpeak.clock import exactly, in_words
from offpeak.lanes.rule import UNKNOWN_TAIL
from offpeak.ledger.policy import SURFACE
from offpeak.money.prices import SHEET_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One question that a design answers. Code stands between backticks."""

    question: str
    answer: str


def design(move: Move) -> Sequence[Point]:
    """What has to be decided before a job runs unwatched, decided."""
    return (
        Point(question="When is it submitted?", answer=_submitted(move)),
        Point(question="Until when is it due?", answer=_due(move)),
        Point(question="Which queue?", answer=_queue(move)),
        Point(question="What is tried again?", answer=_retries()),
        Point(question="What if the queue is full?", answer=_full(move)),
        Point(question="Who is told?", answer=_told(move)),
        Point(question="What do readers see?", answer=_readers(move)),
        Point(question="What changes in the code?", answer=_code(move)),
    )


def _submitted(move: Move) -> str:
    if move.on_request:
        return (
            "As soon as somebody asks: the page writes a row (who asks, what for) and answers at once that it is "
            "queued. A sensor sees the row and starts the run; nobody holds a connection open."
        )
    if move.on_data:
        return (
            "When a row arrives or changes: `when_data_changes` wakes on the commit, and an unchanged row is never "
            "asked again. Nothing polls."
        )
    if move.cron is None:
        return "Once, when somebody materialises it; it is one batch, in which requests run side by side."
    if isinstance(move.deadline, time):
        return (
            f"By the schedule `{move.cron}` ({move.zone}), {exactly(AHEAD)} before its hour: twice the "
            f"{exactly(UNKNOWN_TAIL)} that a slow batch is taken to need until its own past tells more."
        )
    return f"By the schedule `{move.cron}` ({move.zone})."


def _due(move: Move) -> str:
    if isinstance(move.deadline, time):
        due = f"At {move.deadline:%H:%M} {move.deadline.tzinfo}."
    else:
        due = f"Within {exactly(move.deadline)} of being asked for."
    return (
        f"{due} What is still open at the last safe moment is cancelled, what finished is kept, and the rest is bought "
        'at realtime price (`on_deadline="rescue"`).'
    )


def _queue(move: Move) -> str:
    provider = move.model.partition("/")[0]
    priority = f"With `priority={move.priority}`, " if move.priority else "With the priority that others have, "
    return (
        f"That of `{move.model}` at {provider}. {priority}each step being worth an hour of waiting; limits on enqueued "
        "tokens, open batches and dollars are those of `BatchApi(queues=...)`, for all its assets together."
    )


def _retries() -> str:
    return (
        f"Each request is tried {SURFACE.attempts} times in all: the provider's failures after a pause, an answer that "
        "does not fit its schema or was cut at once, a refusal not at all. What is left is a dead letter with its "
        "reason: "
        f'counted, shown, and there to be requeued (`on_failure="{SURFACE.then}"`).'
    )


def _full(move: Move) -> str:
    if isinstance(move.deadline, time):
        return (
            'It waits (`on_full="delay"`), because its hour is the rescue\'s business. Where a cheaper model would do: '
            '`QueuePolicy(on_full="degrade", degrade_to=...)`.'
        )
    return (
        'It waits (`on_full="delay"`): nobody stands behind it. Where an old row is worth nothing: '
        '`QueuePolicy(on_full="drop")`, which is on record, and asked for again by the next run.'
    )


def _told(move: Move) -> str:
    people = "whoever looks after it of what needs a person: failures, a deadline in danger, a surge, a budget"
    if move.on_request:
        return f'Who asked, when it has landed (`Notify(on={{"landed"}})`); and {people}.'
    return f"{people[:1].upper()}{people[1:]} (`notify=`)."


def _readers(move: Move) -> str:
    return (
        f"Rows with `as_of`, good for {in_words(move.valid_for)}: the time between two runs, the deadline and the "
        "collecting. A reader says what age it tolerates, in Dagster with `tolerates`, elsewhere with `offpeak.read`."
    )


def _code(move: Move) -> str:
    said = (
        f"`offpeak audit scaffold {move.verdict.job.name}` writes the asset and its schedule; move the prompt into it."
    )
    if move.model_was is not None:
        said += (
            f" It asks `{move.model}`, because no batch rate is known for {move.model_was}: add it to `{SHEET_NAME}` "
            "where its provider sells one."
        )
    return said
