"""What has to hold when a schedule is over, by the provider's own tally and by the ledger's rows."""

from collections import defaultdict
from collections.abc import Mapping
from enum import StrEnum
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from offpeak.ledger import tables
from offpeak.ledger.custom_ids import base32
from offpeak.ledger.database import Database
from offpeak.ledger.policy import PAID_TWICE
from offpeak.ledger.states import (
    OPEN_JOBS,
    TRANSITIONS,
    ChunkState,
    JobState,
    ParkedState,
    SubmissionState,
)
from offpeak.results.store import ResultStore

FINGERPRINT = slice(16, 48)
"""Where a custom_id carries it."""

SUBJECTS: Mapping[str, tuple[type[StrEnum], sa.Table]] = {
    "job": (JobState, tables.job),
    "chunk": (ChunkState, tables.chunk),
    "submission": (SubmissionState, tables.submission),
    "parked_run": (ParkedState, tables.parked_run),
}
BEGINNINGS = {JobState.PLANNING, ChunkState.QUEUED, SubmissionState.INTENDED, ParkedState.INTENDED}


def judge(
    url: str,
    *,
    bought: list[dict[str, Any]],
    batches: list[dict[str, Any]],
    wanted: Mapping[str, Mapping[str, str]],
    plain: bool,
    late: bool,
) -> list[str]:
    """What must never happen, and did.

    `bought` is the provider's list of distinct requests that it answered, `batches` its list of batches; `wanted` the
    rows of each asset's last run, texts by key; `plain`: answers repeat what was asked;
    `late`: batches turned up after Offpeak had to give them up, and what they bought twice has to be on the bill.
    """
    database = Database(url)
    try:
        with database.read() as connection:
            told = _paid_twice(connection) if late else {}
            trouble = [*_bought_twice(bought, told), *_lost(connection, bought)]
            for asset, rows in wanted.items():
                trouble += _misplaced(connection, asset, rows)
            trouble += _left_open(connection)
            trouble += _inconsistent(connection)
            trouble += _wrong_bills(connection, batches)
        for asset, rows in wanted.items():
            trouble += _wrong_answers(database, asset, rows, plain=plain)
        return trouble
    finally:
        database.close()


_BODY = "body "


def _usable(bought: list[dict[str, Any]]) -> dict[str, int]:
    """By fingerprint: how many usable answers were billed. What was only ever called has none: by its body."""
    usable: dict[str, int] = defaultdict(int)
    for each in bought:
        custom_id = each["last_custom_id"]
        usable[f"{_BODY}{each['body_hash']}" if custom_id is None else custom_id[FINGERPRINT]] += each["usable"]
    return usable


def _bought_twice(bought: list[dict[str, Any]], told: Mapping[str, int]) -> list[str]:
    return [
        f"{found} usable answers were bought of {print_}, and the ledger tells of {told.get(print_, 0)} too many"
        for print_, found in _usable(bought).items()
        if found > 1 + told.get(print_, 0)
    ]


def _paid_twice(connection: sa.Connection) -> dict[str, int]:
    """By fingerprint: how many answers the ledger says were paid for twice."""
    failure, request = tables.failure, tables.request
    query = (
        sa.select(request.c.fingerprint, sa.func.count())
        .join(failure, failure.c.request_id == request.c.id)
        .where(failure.c.reason == PAID_TWICE)
        .group_by(request.c.fingerprint)
    )
    return {base32(bytes(print_)): int(count) for print_, count in connection.execute(query)}


def _lost(connection: sa.Connection, bought: list[dict[str, Any]]) -> list[str]:
    """Usable answers that were bought and are not in the ledger, of what is wanted or of a batch that was applied."""
    request, chunk = tables.request, tables.chunk
    query = (
        sa.select(
            request.c.id,
            request.c.fingerprint,
            chunk.c.state,
            sa.exists().where(tables.answer.c.request_id == request.c.id),
            sa.exists().where(tables.wanted.c.request_id == request.c.id),
        )
        .join(chunk, chunk.c.id == request.c.chunk_id, isouter=True)
    )  # fmt: skip
    known = {base32(bytes(row.fingerprint)): row for row in connection.execute(query)}
    lost = []
    for print_, found in _usable(bought).items():
        if not found or print_.startswith(_BODY):
            continue
        if print_ not in known:
            lost.append(f"an answer was bought of {print_}, which the ledger does not know")
            continue
        request_id, _, state, answered, is_wanted = known[print_]
        if not answered and (is_wanted or state == ChunkState.APPLIED.value):
            lost.append(
                f"a usable answer of request {request_id} was bought and is lost (wanted: {is_wanted}, {state})"
            )
    return lost


def _misplaced(connection: sa.Connection, asset: str, rows: Mapping[str, str]) -> list[str]:
    """Keys that are not in exactly one place: a result row, or a dead letter (whatever its fate)."""
    wanted, target = tables.wanted, tables.target
    query = (
        sa.select(
            wanted.c.key,
            sa.exists().where(tables.answer.c.request_id == wanted.c.request_id).label("answered"),
            sa.exists().where(tables.dead_letter.c.request_id == wanted.c.request_id).label("dead"),
        )
        .join(target, target.c.id == wanted.c.target_id)
        .where(target.c.asset == asset)
    )
    found = {row.key: (bool(row.answered), bool(row.dead)) for row in connection.execute(query)}
    trouble = [
        f"{asset}: key {key} is in {sum(places)} places (answered, dead: {places})"
        for key, places in found.items()
        if sum(places) != 1
    ]
    if set(found) != set(rows):
        trouble.append(f"{asset}: wants {sorted(found)}, and its source holds {sorted(rows)}")
    return trouble


def _left_open(connection: sa.Connection) -> list[str]:
    job = tables.job
    query = sa.select(job.c.id, job.c.asset, job.c.state).where(job.c.state.in_([state.value for state in OPEN_JOBS]))
    return [f"job {row.id} of {row.asset} is still {row.state}" for row in connection.execute(query)]


def _inconsistent(connection: sa.Connection) -> list[str]:
    """Rows whose events do not lead, step by step, to the state they are in."""
    event = tables.event
    trails: dict[tuple[str, int], list[str]] = defaultdict(list)
    for row in connection.execute(sa.select(event).order_by(event.c.id)):
        said = trails[row.subject, row.subject_id]
        # jobs and chunks may tell more of a state that lasts
        if not (said and said[-1] == row.state and row.subject in {"job", "chunk"}):
            said.append(row.state)
    trouble = []
    for name, (states, table) in SUBJECTS.items():
        leading = TRANSITIONS[states]
        for row in connection.execute(sa.select(table.c.id, table.c.state)):
            trail: list[StrEnum] = [states(each) for each in trails[name, row.id]]
            good = bool(trail) and trail[0] in BEGINNINGS and trail[-1] == row.state
            good = good and all(before in leading.get(after, frozenset()) for before, after in pairwise(trail))
            if not good:
                trouble.append(f"{name} {row.id} is {row.state}, and its events say {[each.value for each in trail]}")
    return trouble


def _wrong_bills(connection: sa.Connection, batches: list[dict[str, Any]]) -> list[str]:
    """Collected batches of which the ledger counts other tokens than the provider billed."""
    submission = tables.submission
    counted: dict[str, int] = defaultdict(int)
    for table in (tables.answer, tables.failure):
        query = (
            sa.select(submission.c.batch_id, sa.func.sum(table.c.input_tokens + table.c.output_tokens))
            .join(submission, submission.c.id == table.c.submission_id)
            .group_by(submission.c.batch_id)
        )
        for batch_id, tokens in connection.execute(query):
            counted[batch_id] += int(tokens)
    applied = submission.c.state == SubmissionState.APPLIED.value
    collected = set(connection.execute(sa.select(submission.c.batch_id).where(applied)).scalars())
    billed = {each["id"]: each["input_tokens"] + each["output_tokens"] for each in batches if each["id"] in collected}
    return [
        f"the provider billed {tokens} tokens of batch {batch_id}, and the ledger counts {counted[batch_id]}"
        for batch_id, tokens in billed.items()
        if counted[batch_id] != tokens
    ]


def _wrong_answers(database: Database, asset: str, rows: Mapping[str, str], *, plain: bool) -> list[str]:
    """Keys that serve another key's answer."""
    if not plain:
        return []
    frame = ResultStore(database).frame(asset, partitions=None, output=None)
    answered = dict(zip(frame["key"], frame["text"], strict=True)) if len(frame) else {}
    with database.read() as connection:
        query = (
            sa.select(tables.wanted.c.key)
            .join(tables.target, tables.target.c.id == tables.wanted.c.target_id)
            .join(tables.answer, tables.answer.c.request_id == tables.wanted.c.request_id)
            .where(tables.target.c.asset == asset)
        )
        current = set(connection.execute(query).scalars())
    return [
        f"{asset}: key {key} serves {answered.get(key)!r}, which does not answer {rows[key]!r}"
        for key in current & set(rows)
        if answered.get(key) != rows[key]
    ]
