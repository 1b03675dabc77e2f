"""A chunk is sent only where its queue has room: the decision and the claim are one transaction.

So two processes never send more together than there is room for.
"""

from datetime import datetime

from sqlalchemy.engine import Connection

from offpeak.ledger import launch_windows, queueing, submissions
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.queueing import Queue
from offpeak.ledger.submissions import Submission
from offpeak.providers.base import Provider
from offpeak.queue.admission import Place, in_words, places


def submit(ledger: Ledger, provider: Provider, chunk: Submission, *, now: datetime) -> tuple[Queue, Place] | None:
    """Send a queued chunk where there is room for it; returns how it stands where there is none.

    Raises what `submissions.submit` raises.
    """
    refused: tuple[Queue, Place] | None = None

    def admit(connection: Connection) -> bool:
        nonlocal refused
        if not queueing.lock(connection, chunk.realm, chunk.model):
            return True
        queue = queueing.read(connection, chunk.realm, chunk.model, now=now, own=chunk.chunk_id)
        place = None if queue is None else places(queue, now).get(chunk.chunk_id)
        if queue is not None and place is not None and not place.admitted:
            refused = (queue, place)
            return False
        if queue is not None and queue.probing:
            queueing.probe(connection, queue, now)
        return True

    submissions.submit(ledger, provider, chunk, admit=admit)
    return refused


def waits(ledger: Ledger, *, now: datetime) -> dict[int, str]:
    """Why chunks are not sent, by chunk: there is no room for them, or a launch keeps them from their provider."""
    return no_room(ledger, now=now) | launch_windows.waits(ledger, now=now)


def no_room(ledger: Ledger, *, now: datetime) -> dict[int, str]:
    """Why there is no room for chunks, by chunk. One look at each limited queue."""
    return {
        chunk_id: in_words(queue, place)
        for queue in queueing.limited(ledger, now)
        for chunk_id, place in places(queue, now).items()
        if not place.admitted
    }
