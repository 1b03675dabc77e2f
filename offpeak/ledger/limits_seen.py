"""What providers were last seen to allow, for those who only want to know."""

import sqlalchemy as sa

from offpeak.ledger import tables
from offpeak.ledger.ledger import Ledger


def requests_per_minute(ledger: Ledger, *, realm: str, model: str) -> int | None:
    """How many calls a minute the realtime endpoints allow for a model; None where nothing has said so yet.

    `model` is without its provider.
    """
    queue = tables.queue
    query = sa.select(queue.c.requests_per_minute).where(queue.c.realm == realm, queue.c.model == model)
    with ledger.database.read() as connection:
        found = connection.execute(query).scalar()
    return None if found is None else int(found)
