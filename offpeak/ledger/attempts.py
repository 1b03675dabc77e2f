"""Sums over the attempts of jobs: of all answers and failures only theirs are read, by the ids of their requests.

So what a job costs to be added up grows with the job and not with the ledger.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from offpeak.ledger import tables
from offpeak.ledger.database import slices


def billed(connection: Connection, job_ids: Sequence[int], names: Sequence[str]) -> dict[int, list[int]]:
    """By job, the sums of these columns of `answer` and `failure` over the chunks that are billed to it."""
    chunk, submission = tables.chunk, tables.submission
    found = {job_id: [0] * len(names) for job_id in job_ids}
    query = sa.select(chunk.c.id.label("chunk_id"), chunk.c.billed_job_id, chunk.c.first_request, chunk.c.requests)
    for part in slices(job_ids, 500):
        for each in connection.execute(query.where(chunk.c.billed_job_id.in_(part))).all():
            submissions = sa.select(submission.c.id).where(submission.c.chunk_id == each.chunk_id)
            for table in (tables.answer, tables.failure):
                mine = carried_by(each, table.c.request_id)
                sums = sa.select(*(sa.func.coalesce(sa.func.sum(table.c[name]), 0) for name in names))
                row = connection.execute(sums.where(mine, table.c.submission_id.in_(submissions))).one()
                have = found[each.billed_job_id]
                found[each.billed_job_id] = [before + int(more) for before, more in zip(have, row, strict=True)]
    return found


def carried_by(chunk: Row[Any], request_id: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Whether a request is one of a chunk's, a row with its `chunk_id`, `first_request` and `requests`."""
    member, first = tables.chunk_member, chunk.first_request
    if first is None:
        return request_id.in_(sa.select(member.c.request_id).where(member.c.chunk_id == chunk.chunk_id))
    return request_id.between(first, first + chunk.requests - 1)
