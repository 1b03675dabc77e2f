"""Files and batches under one data folder: bytes in files, everything else in SQLite.

One connection, used under one lock by the HTTP handlers and the worker. Durability ends with the process being killed
by the machine: the server promises to remember what it was told while it lives, and after an orderly stop.
"""

import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local_provider.batches import Batch, ProviderName
from local_provider.ids import new_id

SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, filename TEXT NOT NULL, bytes INTEGER NOT NULL,
    purpose TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER);
CREATE TABLE IF NOT EXISTS batches (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, provider TEXT NOT NULL, open INTEGER NOT NULL,
    record BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS open_batches ON batches (seq) WHERE open;
CREATE TABLE IF NOT EXISTS counters (
    provider TEXT NOT NULL, name TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (provider, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (
    provider TEXT NOT NULL, model TEXT NOT NULL, calls INTEGER NOT NULL, refused INTEGER NOT NULL,
    failed INTEGER NOT NULL, PRIMARY KEY (provider, model)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bought (
    provider TEXT NOT NULL, model TEXT NOT NULL, lane TEXT NOT NULL, answers INTEGER NOT NULL,
    usable INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    PRIMARY KEY (provider, model, lane)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cached (
    provider TEXT NOT NULL, model TEXT NOT NULL, cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL, PRIMARY KEY (provider, model)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS purchases (
    id INTEGER PRIMARY KEY AUTOINCREMENT, provider TEXT NOT NULL, model TEXT NOT NULL, lane TEXT NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL, cache_write_long_tokens INTEGER NOT NULL, usable INTEGER NOT NULL,
    at REAL NOT NULL, custom_id TEXT);
CREATE TABLE IF NOT EXISTS answered (
    provider TEXT NOT NULL, digest BLOB NOT NULL, model TEXT NOT NULL, custom_id TEXT, answered INTEGER NOT NULL,
    usable INTEGER NOT NULL, realtime INTEGER NOT NULL, PRIMARY KEY (provider, digest)) WITHOUT ROWID;
"""
TABLES = ("files", "batches", "counters", "calls", "bought", "cached", "purchases", "answered")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file of the OpenAI API. Times are Unix seconds."""

    id: str
    filename: str
    bytes: int
    purpose: str
    created_at: int
    expires_at: int | None = None


class Store:
    """All that the server remembers. Queries are put together from constants; what callers give is always bound."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        for name in ("files", "inputs", "results", "incoming"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / "provider.sqlite", check_same_thread=False, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + SCHEMA)

    def close(self) -> None:
        with self.lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection, inside a transaction; nests into the one that is open."""
        with self.lock:
            if self._db.in_transaction:
                yield self._db
                return
            self._db.execute("BEGIN")
            try:
                yield self._db
            except BaseException:
                self._db.rollback()
                raise
            self._db.commit()

    def clear(self) -> None:
        """Forget everything. The bytes of files go too."""
        with self.transaction() as db:
            for table in TABLES:
                db.execute(f"DELETE FROM {table}")  # noqa: S608
        for name in ("files", "inputs", "results", "incoming"):
            for path in (self.folder / name).iterdir():
                path.unlink(missing_ok=True)

    # Files

    def file_path(self, file_id: str) -> Path:
        return self.folder / "files" / file_id

    def incoming_path(self) -> Path:
        """Where bytes that are still arriving are written."""
        return self.folder / "incoming" / new_id("")

    def results_path(self, batch: Batch, *, errors: bool = False) -> Path:
        return self.folder / "results" / f"{batch.id}_{'error' if errors else 'output'}.jsonl"

    def add_file(self, file: StoredFile) -> None:
        with self.transaction() as db:
            db.execute(
                "INSERT INTO files (id, filename, bytes, purpose, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
                (file.id, file.filename, file.bytes, file.purpose, file.created_at, file.expires_at),
            )

    def file(self, file_id: str) -> StoredFile | None:
        with self.lock:
            row = self._db.execute(
                "SELECT id, filename, bytes, purpose, created_at, expires_at FROM files WHERE id = ?", (file_id,)
            ).fetchone()
        return _stored_file(row) if row else None

    def delete_file(self, file_id: str) -> bool:
        with self.transaction() as db:
            found = db.execute("DELETE FROM files WHERE id = ?", (file_id,)).rowcount > 0
        if found:
            self.file_path(file_id).unlink(missing_ok=True)
        return found

    def files(self, *, purpose: str | None, after: str | None, limit: int, newest_first: bool) -> list[StoredFile]:
        """Up to `limit` files after the one named, in the order asked for. An unknown `after` gives none."""
        sign, direction = ("<", "DESC") if newest_first else (">", "ASC")
        where, values = ["(? IS NULL OR purpose = ?)"], [purpose, purpose]
        if after is not None:
            where.append(f"seq {sign} (SELECT seq FROM files WHERE id = ?)")  # noqa: S608
            values.append(after)
        query = (
            "SELECT id, filename, bytes, purpose, created_at, expires_at FROM files "  # noqa: S608
            f"WHERE {' AND '.join(where)} ORDER BY seq {direction} LIMIT ?"
        )
        with self.lock:
            return [_stored_file(row) for row in self._db.execute(query, (*values, limit))]

    # Batches

    def add_batch(self, batch: Batch) -> None:
        with self.transaction() as db:
            db.execute(
                "INSERT INTO batches (id, provider, open, record) VALUES (?, ?, ?, ?)",
                (batch.id, batch.provider, batch.open, batch.to_json()),
            )

    def save_batch(self, batch: Batch) -> None:
        with self.transaction() as db:
            db.execute("UPDATE batches SET open = ?, record = ? WHERE id = ?", (batch.open, batch.to_json(), batch.id))

    def delete_batch(self, batch: Batch) -> None:
        """Its files go; what it was stays on record, for the control API alone."""
        batch.deleted = True
        self.save_batch(batch)
        Path(batch.input_path).unlink(missing_ok=True)
        self.results_path(batch).unlink(missing_ok=True)

    def batch(self, batch_id: str, provider: ProviderName | None = None) -> Batch | None:
        """One batch; with `provider` as its API shows it, so none that was deleted."""
        with self.lock:
            row = self._db.execute(
                "SELECT record FROM batches WHERE id = ? AND (? IS NULL OR provider = ?)",
                (batch_id, provider, provider),
            ).fetchone()
        batch = Batch.from_json(row[0]) if row else None
        return None if batch is None or (provider is not None and batch.deleted) else batch

    def open_batch_ids(self) -> list[str]:
        """Oldest first."""
        with self.lock:
            return [row[0] for row in self._db.execute("SELECT id FROM batches WHERE open ORDER BY seq")]

    def batches(
        self, provider: ProviderName | None = None, *, older_than: str | None = None, newer_than: str | None = None,
        limit: int | None = None, shown: Callable[[Batch], bool] | None = None,
    ) -> list[Batch]:  # fmt: skip
        """Newest first, those that are `shown`; with `newer_than`, the `limit` nearest to it.

        An unknown id gives none. With `provider` as its API shows them, so without those that were deleted.
        """
        where = ["(? IS NULL OR provider = ?)"]
        values: list[str | None] = [provider, provider]
        for sign, batch_id in (("<", older_than), (">", newer_than)):
            if batch_id is not None:
                where.append(f"seq {sign} (SELECT seq FROM batches WHERE id = ?)")  # noqa: S608
                values.append(batch_id)
        direction = "ASC" if newer_than is not None else "DESC"
        query = f"SELECT record FROM batches WHERE {' AND '.join(where)} ORDER BY seq {direction}"  # noqa: S608
        with self.lock:
            batches = (Batch.from_json(row[0]) for row in self._db.execute(query, values))
            there = (batch for batch in batches if provider is None or not batch.deleted)
            found = list(itertools.islice((batch for batch in there if shown is None or shown(batch)), limit))
        return found[::-1] if newer_than is not None else found


def _stored_file(row: tuple[str, str, int, str, int, int | None]) -> StoredFile:
    return StoredFile(
        id=row[0], filename=row[1], bytes=row[2], purpose=row[3], created_at=row[4], expires_at=row[5]
    )  # fmt: skip
