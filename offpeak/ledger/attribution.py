"""For whom requests are bought: written down as their plan becomes valid, because what rows want changes later.

A request is bought for the first row that asked it. Where a job plans one partition, that is the job's; where it plans
several, `bought` says which ids are new to which. Every other partition, of whichever asset, that wants a request
before it is answered is a `share` of it. Who asks what is answered already gets it for nothing.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Row

from offpeak.ledger import tables
from offpeak.ledger.database import ROWS_PER_TRANSACTION, Database, slices
from offpeak.ledger.staging import Staging, staged
from offpeak.ledger.states import LIVE_CHUNKS


def record(
    database: Database,
    staging: Staging,
    *,
    job_id: int,
    chunks: Sequence[int],
    first_new: int,
    begins: Mapping[int, int],
    rows: int,
    joined: bool,
) -> None:
    """Write down for whom the staged plan of a job buys, in short transactions. Doing it again changes nothing.

    `chunks` are those that it wrote, `first_new` is the lowest id that its new requests can have, `begins` the position
    at which each target's rows begin, of `rows` in all. `joined`: it found requests that were on their way.
    """
    if joined:
        shares = sa.text(_SHARES).bindparams(sa.bindparam("mine", expanding=True))
        for first in range(0, rows, ROWS_PER_TRANSACTION):
            bound = {"job": job_id, "mine": list(chunks), "first": first, "end": first + ROWS_PER_TRANSACTION}
            with staging.writing() as connection:
                connection.execute(shares, bound)
    if len(begins) > 1 and chunks:
        _record_several(database, staging, job_id=job_id, chunks=chunks, first_new=first_new, begins=begins)


def _record_several(
    database: Database,
    staging: Staging,
    *,
    job_id: int,
    chunks: Sequence[int],
    first_new: int,
    begins: Mapping[int, int],
) -> None:
    """Runs of ids that are new to one target, and who else of the plan asks them."""
    targets, starts = list(begins), list(begins.values())
    request_id, mine = tables.request.c.id, tables.request.c.chunk_id.in_(chunks)
    staging.index_fingerprints()
    with staging.reading() as connection:
        end = connection.execute(sa.select(tables.identity.c.next_request)).scalar_one()
    runs = _Runs()
    for first in range(first_new, end, ROWS_PER_TRANSACTION):
        last = min(first + ROWS_PER_TRANSACTION, end) - 1
        shares, before = [], 0
        for row in _asked(staging, request_id.between(first, last), mine):
            if row.id == before:
                shares.append((row.id, row.target_id, job_id))
            else:
                runs.add(row.id, targets[bisect_right(starts, row.first) - 1])
            before = row.id
        _write(database, staging, runs.take(), shares)
    _write(database, staging, runs.take(last=True), [])
    # what had failed for good and is asked once more was new to somebody before
    for part in slices(_asked_before(staging, chunks, first_new), 500):
        rows = _asked(staging, request_id.in_(part), mine)
        shares = [(row.id, row.target_id, job_id) for before_it, row in pairwise(rows) if before_it.id == row.id]
        _write(database, staging, [], shares)


def _asked(staging: Staging, *which: sa.ColumnElement[bool]) -> Sequence[Row[Any]]:
    """Requests by id, each with the targets that ask it, in the order in which they first do."""
    request = tables.request
    first = sa.func.min(staged.c.position).label("first")
    query = (
        sa.select(request.c.id, staged.c.target_id, first)
        .join(staged, staged.c.fingerprint == request.c.fingerprint)
        .where(*which)
        .group_by(request.c.id, staged.c.target_id)
        .order_by(request.c.id, first)
    )
    with staging.reading() as connection:
        return connection.execute(query).all()


def _asked_before(staging: Staging, chunks: Sequence[int], first_new: int) -> Sequence[int]:
    """Ids that were known before the plan, and that its chunks carry once more."""
    member = tables.chunk_member
    query = sa.select(member.c.request_id).where(member.c.chunk_id.in_(chunks), member.c.request_id < first_new)
    with staging.reading() as connection:
        return connection.execute(query.order_by(member.c.request_id)).scalars().all()


def _write(
    database: Database,
    staging: Staging,
    runs: Sequence[tuple[int, int, int]],
    shares: Sequence[tuple[int, int, int]],
) -> None:
    for table, columns, rows in (
        (tables.bought, ["first_request", "requests", "target_id"], runs),
        (tables.share, ["request_id", "target_id", "job_id"], shares),
    ):
        for part in slices(rows):
            with staging.writing() as connection:
                database.bulk_insert(connection, table, columns, part, ignore_existing=True)


class _Runs:
    """Ids that follow one another and are new to one target, put together."""

    def __init__(self) -> None:
        self._done: list[tuple[int, int, int]] = []
        self._open: tuple[int, int, int] | None = None

    def add(self, request_id: int, target_id: int) -> None:
        if self._open is not None:
            first, length, target = self._open
            if (request_id, target_id) == (first + length, target):
                self._open = (first, length + 1, target)
                return
            self._done.append(self._open)
        self._open = (request_id, 1, target_id)

    def take(self, *, last: bool = False) -> list[tuple[int, int, int]]:
        """The runs that are over; with `last`, the one too that is not."""
        done, self._done = self._done, []
        if last and self._open is not None:
            done.append(self._open)
            self._open = None
        return done


# A share whose job never became valid is taken over by the next one of its partition. What a partition itself has on
# its way is no share.
_FIRST_JOB = "(SELECT MIN(l.job_id) FROM job_chunk l WHERE l.chunk_id = c.id)"
_LIVE = ", ".join(f"'{state.value}'" for state in LIVE_CHUNKS)
_SHARES = f"""
INSERT INTO share (request_id, target_id, job_id)
SELECT DISTINCT r.id, s.target_id, CAST(:job AS BIGINT)
FROM staged s JOIN request r ON r.fingerprint = s.fingerprint JOIN chunk c ON c.id = r.chunk_id
WHERE s.position >= :first AND s.position < :end AND c.state IN ({_LIVE}) AND c.id NOT IN :mine
AND (NOT EXISTS (SELECT 1 FROM job_target t WHERE t.job_id = {_FIRST_JOB} AND t.target_id = s.target_id)
     OR (SELECT COUNT(*) FROM job_target t WHERE t.job_id = {_FIRST_JOB}) > 1)
ON CONFLICT (request_id, target_id) DO UPDATE SET job_id = excluded.job_id
WHERE NOT EXISTS (SELECT 1 FROM job_target t WHERE t.job_id = share.job_id AND t.target_id = share.target_id)
"""  # noqa: S608 - constants only
