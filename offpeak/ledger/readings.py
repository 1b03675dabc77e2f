"""Up to where plans have read an input whose changes are known, committed with the plan that read it.

A plan over changed rows alone stands on the plan before it: a key that did not change is as that one left it. So it is
made only where every row of that one has found its end, and where the rows were asked the same as now.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.clock import from_micros, to_micros
from offpeak.ledger import tables
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import LIVE_CHUNKS, JobState

_SETTLED = (JobState.COMPLETED.value, JobState.COMPLETED_WITH_PARTIAL_FAILURES.value)


class Feed(Protocol):
    """The rows of an input as they are read: every row, or those that changed."""

    position: str | None
    """Where the next plan goes on; None where it has to read every row."""
    complete: bool
    """It gives every row: what it does not give is gone."""
    read_to_end: bool

    def tell(self, told: Callable[[str], None]) -> None:
        """Have `told` called with every changed key, those of rows that are gone included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What a plan over changed rows of one partition can stand on."""

    job_id: int
    """The job whose plan is valid."""
    asked: str
    position: str
    versions: Mapping[str, str]
    """Of the other inputs, by asset key."""
    complete_at: datetime
    """When every row was last read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How one partition of a plan reads its inputs."""

    source: str
    """The asset key of the input whose changes are known."""
    feed: Feed
    asked: str
    versions: Mapping[str, str]
    """Data versions of the other inputs, by asset key."""
    began_at: datetime
    base: Base | None
    """What it stands on; None where every row was to be read."""

    @property
    def partial(self) -> bool:
        """Whether it leaves out rows that did not change."""
        return self.base is not None and not self.feed.complete


def base_of(ledger: Ledger, asset: str, partition_key: str, *, source: str) -> Base | None:
    """What a plan over changed rows of `source` can stand on; None where every row has to be read.

    That is so while rows of the valid plan have no end yet: neither answered, nor dead, nor on their way.
    """
    target, job, table = tables.target, tables.job, tables.reading
    valid = (
        sa.select(target.c.id, target.c.job_id)
        .join(job, job.c.id == target.c.job_id)
        .where(
            target.c.asset == asset,
            target.c.partition_key == partition_key,
            target.c.planned_by == target.c.job_id,
            job.c.state.in_(_SETTLED),
        )
    )
    with ledger.database.read() as connection:
        found = connection.execute(valid).first()
        if found is None:
            return None
        rows = connection.execute(table.select().where(table.c.target_id == found.id)).all()
        mine = next((row for row in rows if row.source == source and row.position is not None), None)
        if mine is None or connection.execute(_without_end(found.id)).first() is not None:
            return None
    return Base(
        job_id=found.job_id,
        asked=mine.asked,
        position=mine.position,
        versions={row.source: row.version for row in rows if row.source != source},
        complete_at=from_micros(mine.complete_at),
    )


def _without_end(target_id: int) -> sa.Select[tuple[str]]:
    """A row that has no answer and will not get one by itself."""
    wanted, request, chunk = tables.wanted, tables.request, tables.chunk
    answer, dead = tables.answer, tables.dead_letter
    return (
        sa.select(wanted.c.key)
        .outerjoin(answer, answer.c.request_id == wanted.c.request_id)
        .outerjoin(dead, dead.c.request_id == wanted.c.request_id)
        .outerjoin(request, request.c.id == wanted.c.request_id)
        .outerjoin(chunk, chunk.c.id == request.c.chunk_id)
        .where(
            wanted.c.target_id == target_id,
            answer.c.request_id.is_(None),
            dead.c.request_id.is_(None),
            sa.func.coalesce(chunk.c.state, "").not_in([state.value for state in LIVE_CHUNKS]),
        )
        .limit(1)
    )


def record(connection: Connection, target_id: int, reading: Reading | None) -> None:
    """Keep how far a plan has read, in the transaction that makes it the valid one."""
    table = tables.reading
    connection.execute(table.delete().where(table.c.target_id == target_id))
    if reading is None or reading.feed.position is None:
        return
    complete_at = reading.base.complete_at if reading.base is not None and reading.partial else reading.began_at
    common = {"target_id": target_id, "asked": reading.asked, "complete_at": to_micros(complete_at)}
    connection.execute(
        table.insert(),
        [
            common | {"source": reading.source, "position": reading.feed.position, "version": None},
            *(
                common | {"source": source, "position": None, "version": version}
                for source, version in reading.versions.items()
            ),
        ],
    )
