"""Request and result files of this disk, deleted when nothing can need them; and what crashes left behind.

What a chunk asked and what came back is in its two files; its counts, cost and events are in the ledger and stay. A
file goes when the chunk is through, old enough, and no open job could send any of it round again. The ledger forgets
the name first: dying in between leaves a file that the ledger does not know, which `sweep_folder` deletes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.clock import to_micros
from offpeak.ledger import tables
from offpeak.ledger.database import ROWS_PER_TRANSACTION, slices
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import LIVE_CHUNKS, OPEN_JOBS

LEFTOVER_AGE = timedelta(days=1)
"""How old a file must be that the ledger does not know: a living process names its files sooner."""

_PAGE = 500


@dataclass(slots=True)
class Pruned:
    """Files that were deleted, and unusable answers of requests that have a usable one by now."""

    files: int = 0
    bytes: int = 0
    answers: int = 0


def prune(ledger: Ledger, *, keep: timedelta) -> Pruned:
    """Delete the files of chunks that ended more than `keep` ago and that nothing can send round again.

    Raw unusable answers that are as old go, too, except those of dead letters.
    """
    ledger.require_home()
    before = to_micros(ledger.clock.now() - keep)
    pruned = Pruned()
    for ids in _prunable(ledger, before):
        forget(ledger, ids, counted=pruned)
    pruned.answers = _prune_answers(ledger, before)
    return pruned


def forget(ledger: Ledger, chunk_ids: Sequence[int], *, counted: Pruned | None = None) -> None:
    """Delete the files of these chunks, whatever they hold: their names first, then the files."""
    with ledger.database.write() as connection:
        names = _forget(connection, chunk_ids)
    for name in names:
        _delete(ledger.spool / name, counted or Pruned())


def _prunable(ledger: Ledger, before: int) -> Iterator[Sequence[int]]:
    """Ids of chunks whose files may go, page by page."""
    chunk, submission, after = tables.chunk, tables.submission, 0
    ended = sa.select(sa.func.max(sa.func.coalesce(submission.c.ended_at, submission.c.intended_at))).where(
        submission.c.chunk_id == chunk.c.id
    )
    results = sa.exists().where(submission.c.chunk_id == chunk.c.id, submission.c.results.is_not(None))
    query = (
        sa.select(chunk.c.id)
        .where(
            chunk.c.state.not_in([state.value for state in LIVE_CHUNKS]),
            sa.or_(chunk.c.spool.is_not(None), results),
            sa.func.coalesce(ended.scalar_subquery(), chunk.c.created_at) < before,
        )
        .order_by(chunk.c.id)
        .limit(_PAGE)
    )
    with ledger.database.read() as connection:
        needed = _needed(connection)
    while True:
        with ledger.database.read() as connection:
            ids = connection.execute(query.where(chunk.c.id > after)).scalars().all()
        if not ids:
            return
        after = ids[-1]
        yield [each for each in ids if each not in needed]


def _needed(connection: Connection) -> set[int]:
    """Chunks that an open job waits for, or out of which it could send something round again."""
    request, wanted, mine = tables.request, tables.wanted, tables.job_target
    open_jobs = sa.select(tables.job.c.id).where(tables.job.c.state.in_([state.value for state in OPEN_JOBS]))
    waited_for = sa.select(tables.job_chunk.c.chunk_id).where(tables.job_chunk.c.job_id.in_(open_jobs))
    unanswered = (
        sa.select(request.c.chunk_id)
        .distinct()
        .select_from(mine)
        .join(wanted, wanted.c.target_id == mine.c.target_id)
        .join(request, request.c.id == wanted.c.request_id)
        .where(mine.c.job_id.in_(open_jobs), ~sa.exists().where(tables.answer.c.request_id == request.c.id))
    )
    return {*connection.execute(waited_for).scalars(), *connection.execute(unanswered).scalars()}


def _forget(connection: Connection, ids: Sequence[int]) -> list[str]:
    """Take the names of these chunks' files out of the ledger; returns them."""
    chunk, submission = tables.chunk, tables.submission
    of_chunks = submission.c.chunk_id.in_(ids)
    names = [
        *connection.execute(sa.select(chunk.c.spool).where(chunk.c.id.in_(ids))).scalars(),
        *connection.execute(sa.select(submission.c.results).where(of_chunks)).scalars(),
    ]
    connection.execute(chunk.update().where(chunk.c.id.in_(ids)).values(spool=None))
    connection.execute(submission.update().where(of_chunks).values(results=None))
    connection.execute(tables.chunk_offsets.delete().where(tables.chunk_offsets.c.chunk_id.in_(ids)))
    return [name for name in names if name is not None]


def _prune_answers(ledger: Ledger, before: int) -> int:
    failure, dead = tables.failure, tables.dead_letter
    old = (
        sa.select(failure.c.request_id)
        .where(
            failure.c.at < before,
            failure.c.raw.is_not(None),
            ~sa.exists().where(dead.c.request_id == failure.c.request_id),
        )
        .limit(ROWS_PER_TRANSACTION)
    )
    pruned = 0
    while True:
        with ledger.database.write() as connection:
            ids = set(connection.execute(old).scalars())
            for part in slices(sorted(ids), _PAGE):
                pruned += connection.execute(
                    failure.update()
                    .where(failure.c.request_id.in_(part), failure.c.at < before, failure.c.raw.is_not(None))
                    .values(raw=None)
                ).rowcount
        if not ids:
            return pruned


def sweep_folder(ledger: Ledger) -> Pruned:
    """Delete this ledger's files that it does not know, and temporary ones, where they are old enough."""
    ledger.require_home()
    swept = Pruned()
    oldest = ledger.clock.now().timestamp() - LEFTOVER_AGE.total_seconds()
    for paths in _old_files(ledger.spool, f"{ledger.identity}-", oldest):
        known = _known(ledger, [path.name for path in paths])
        for path in paths:
            if path.name not in known:
                _delete(path, swept)
    return swept


def _old_files(folder: Path, prefix: str, oldest: float) -> Iterator[list[Path]]:
    page: list[Path] = []
    for path in folder.iterdir():
        try:
            if path.name.startswith(prefix) and path.stat().st_mtime < oldest:
                page.append(path)
        except FileNotFoundError:  # its process has just renamed or deleted it
            continue
        if len(page) == _PAGE:
            yield page
            page = []
    yield page


def _known(ledger: Ledger, names: Sequence[str]) -> set[str | None]:
    chunk, submission = tables.chunk, tables.submission
    with ledger.database.read() as connection:
        return {
            *connection.execute(sa.select(chunk.c.spool).where(chunk.c.spool.in_(names))).scalars(),
            *connection.execute(sa.select(submission.c.results).where(submission.c.results.in_(names))).scalars(),
        }


def _delete(path: Path, counted: Pruned) -> None:
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return
    counted.files += 1
    counted.bytes += size
