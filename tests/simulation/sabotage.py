"""Durable steps of the product, each of which can be left out, to see that the simulation notices.

    python -m tests.simulation --without STEP --schedules 100

Each is a small change to a module of this process, which the processes of a schedule inherit.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from offpeak.clock import to_micros
from offpeak.ledger import collecting, reconciling, retrying, submissions
from offpeak.ledger.states import ChunkState, SubmissionState


def _claim() -> None:
    """A chunk is sent by whoever finds it queued, without a claim of its own."""
    claim = submissions.claim

    def careless(ledger: Any, chunk: Any, admit: Any = None) -> bool:
        return claim(ledger, chunk, admit) or chunk.chunk_state is ChunkState.QUEUED

    submissions.claim = careless


def _intent() -> None:
    """Nothing is written down before the paid call."""
    enter = submissions._enter

    def late(ledger: Any, chunk: Any, to: Any, **values: Any) -> None:
        if to is not SubmissionState.CREATING:
            if to is SubmissionState.CREATED:
                now = to_micros(ledger.clock.now())
                enter(ledger, chunk, SubmissionState.CREATING, create_at=now)
            enter(ledger, chunk, to, **values)

    submissions._enter = late


def _asking() -> None:
    """A create whose outcome is unknown is sent again without asking the provider's list."""

    def blind(ledger: Any, provider: Any, chunk: Any, **_: Any) -> bool:
        if reconciling._take_over(ledger, chunk) is None:
            return False
        submissions.requeue(ledger, chunk, why="nobody asked")
        return True

    reconciling.reconcile = blind


def _lag() -> None:
    """The list is believed at once."""
    reconcile = reconciling.reconcile

    def hasty(*given: Any, **named: Any) -> bool:
        return reconcile(*given, **{**named, "list_lag": timedelta(0)})

    reconciling.reconcile = hasty


def _counting() -> None:
    """A result file is taken as it came, whatever is missing from it."""
    collecting.DOWNLOADS = 1


def _failures() -> None:
    """Unusable answers are thrown away: their attempts are not written down."""
    flush = collecting.Store.flush

    def forgetful(self: Any) -> None:
        self._failures = []
        flush(self)

    collecting.Store.flush = forgetful  # type: ignore[method-assign]


def _dead_letters() -> None:
    """What is not tried again is not written down either."""
    retrying._bury = lambda *_: None


def _cancelling() -> None:
    """A stopped job is closed without its batches being cancelled."""
    from offpeak.assets.work import Work

    Work.wind_down = lambda self, *, patience: True  # type: ignore[method-assign]


STEPS: Mapping[str, Callable[[], None]] = {
    "claim": _claim,
    "intent": _intent,
    "asking": _asking,
    "lag": _lag,
    "counting": _counting,
    "failures": _failures,
    "dead-letters": _dead_letters,
    "cancelling": _cancelling,
}
