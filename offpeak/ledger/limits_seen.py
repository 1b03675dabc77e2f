"""What providers were last seen to allow, by account and model: for the next run, and for those who want to know.

Models are without their provider. A run that begins at what the last one was allowed need not find out again.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from offpeak.clock import from_micros, to_micros
from offpeak.launches.limits import Limit, Limits, Source
from offpeak.ledger import tables
from offpeak.ledger.ledger import Ledger
from offpeak.providers.realtime import Measure


def remember(ledger: Ledger, *, realm: str, model: str, limits: Mapping[Measure, float]) -> None:
    """Write down what the realtime endpoints allow in a minute."""
    queue = tables.queue
    requests, tokens = limits.get(Measure.REQUESTS), limits.get(Measure.TOKENS) or limits.get(Measure.INPUT_TOKENS)
    with ledger.database.write() as connection:
        ledger.database.bulk_insert(connection, queue, ["realm", "model"], [(realm, model)], ignore_existing=True)
        connection.execute(
            queue.update()
            .where(queue.c.realm == realm, queue.c.model == model)
            .values(
                requests_per_minute=None if requests is None else int(requests),
                tokens_per_minute=None if tokens is None else int(tokens),
                rates_seen_at=to_micros(ledger.clock.now()),
            )
        )


def declare(ledger: Ledger, *, realm: str, model: str, limits: Mapping[Measure, int]) -> None:
    """Write down what somebody says that the realtime endpoints allow in a minute, until the provider says it itself.

    With no limits, what was declared before counts no more.
    """
    queue = tables.queue
    values = {
        "requests_per_minute": limits.get(Measure.REQUESTS),
        "tokens_per_minute": limits.get(Measure.TOKENS),
    }
    unseen = sa.and_(queue.c.realm == realm, queue.c.model == model, queue.c.rates_seen_at.is_(None))
    row = _row(ledger, realm, model)
    known = {name: None if row is None else getattr(row, name) for name in values}
    if known == values or (row is not None and row.rates_seen_at is not None):
        return
    with ledger.database.write() as connection:
        ledger.database.bulk_insert(connection, queue, ["realm", "model"], [(realm, model)], ignore_existing=True)
        connection.execute(queue.update().where(unseen).values(values))


def remembered(ledger: Ledger, *, realm: str, model: str) -> dict[Measure, float]:
    """What `remember` wrote down last, or `declare` before; empty where nothing has said anything yet."""
    return {measure: float(limit) for measure, limit in _limits(_row(ledger, realm, model)).items()}


def said(ledger: Ledger, *, realm: str, model: str) -> Limits:
    """What the provider itself said last, and when; empty where it has said nothing, whatever was declared."""
    row = _row(ledger, realm, model)
    if row is None or row.rates_seen_at is None:
        return {}
    seen_at = from_micros(row.rates_seen_at)
    return {
        measure: Limit(per_minute=limit, source=Source.SEEN, seen_at=seen_at) for measure, limit in _limits(row).items()
    }


def requests_per_minute(ledger: Ledger, *, realm: str, model: str) -> int | None:
    """How many calls a minute the realtime endpoints allow for a model; None where nothing has said so yet."""
    found = remembered(ledger, realm=realm, model=model).get(Measure.REQUESTS)
    return None if found is None else int(found)


def _row(ledger: Ledger, realm: str, model: str) -> sa.Row[Any] | None:
    queue = tables.queue
    with ledger.database.read() as connection:
        return connection.execute(sa.select(queue).where(queue.c.realm == realm, queue.c.model == model)).one_or_none()


def _limits(row: sa.Row[Any] | None) -> dict[Measure, int]:
    """Those that it has."""
    found = {} if row is None else {Measure.REQUESTS: row.requests_per_minute, Measure.TOKENS: row.tokens_per_minute}
    return {measure: limit for measure, limit in found.items() if limit}
