"""Tables in a folder: `tickets.csv`, `tickets.parquet`, or `tickets/` with a Markdown or text file per row.

In a CSV file every value is text exactly as it is written: "N/A" stays "N/A", "007" stays "007", an empty cell is "".
A row made from a file has four columns: an id (`document_id` in `documents/`; the path below the folder), `title` (the
first Markdown heading, else the file's name), `body` (the whole text) and `updated_at` (UTC).
"""

import csv
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from offpeak.errors import ConfigurationError, CouldNotRead

BLOCK = 2_000
"""Rows read at a time."""

MARKDOWN = frozenset({".md", ".markdown"})
TEXT = MARKDOWN | {".txt", ".text"}
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)

Rows = Iterator[tuple[Any, ...]]


class SourceFolder:
    """One folder that holds the tables."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return f"folder:{self._folder}"

    @property
    def path(self) -> Path:
        return self._folder

    def open(self, table: str) -> tuple[Sequence[str], Rows]:
        """The column names, and the rows as a stream."""
        path = self._find(table)
        rows = self._guarded(table, _read_files(path) if path.is_dir() else READERS[path.suffix](path))
        return next(rows), rows

    def state(self, table: str) -> tuple[Any, ...]:
        """What changes when the table does."""
        path = self._find(table)
        files = _text_files(path) if path.is_dir() else [path]
        return tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)

    def _find(self, table: str) -> Path:
        if not self._folder.is_dir():
            raise ConfigurationError(f"{table} cannot be read from {self}: there is no such folder")
        found = [path for path in (self._folder / f"{table}{suffix}" for suffix in READERS) if path.is_file()]
        files = self._folder / table
        if files.is_dir() and _text_files(files):
            found.append(files)
        if len(found) == 1:
            return found[0]
        if found:
            names = " and ".join(path.name for path in found)
            raise ConfigurationError(f"{table} cannot be read from {self}: {names} are both there; keep one of them")
        present = sorted(path.name for path in self._folder.iterdir() if not path.name.startswith("."))
        raise ConfigurationError(
            f"{table} cannot be read from {self}: it needs {table}.csv, {table}.parquet or a sub-folder {table}/ of "
            f"Markdown or text files there, and holds {', '.join(present) or 'nothing'}"
        )

    def _guarded(self, table: str, rows: Rows) -> Rows:
        try:
            yield from rows
        except (OSError, ValueError, csv.Error) as error:
            raise CouldNotRead(f"{table} cannot be read from {self}: {error}. Nothing was planned") from error


def _read_csv(path: Path) -> Rows:
    """The header, then the rows."""
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True)
        header = next(lines, None)
        if not header:
            raise ValueError(f"{path.name} is empty, without even a header")
        yield tuple(header)
        for line in filter(None, lines):
            if len(line) != len(header):
                raise ValueError(
                    f"{path.name} has {len(line)} values on line {lines.line_num}, and its header {len(header)}"
                )
            yield tuple(line)


def _read_parquet(path: Path) -> Rows:
    """The header, then the rows."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        yield tuple(file.schema_arrow.names)
        for batch in file.iter_batches(BLOCK):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _read_files(folder: Path) -> Rows:
    """The header, then a row per file."""
    yield (f"{folder.name.rsplit('_')[-1].removesuffix('s')}_id", "title", "body", "updated_at")
    for path in _text_files(folder):
        try:
            body = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path.relative_to(folder)} is not UTF-8 text ({error.reason})") from error
        heading = HEADING.search(body) if path.suffix.lower() in MARKDOWN else None
        changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        yield path.relative_to(folder).as_posix(), heading[1] if heading else path.stem, body, changed


def _text_files(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in TEXT and path.is_file())
    return sorted(path for path in found if not path.name.startswith("."))


READERS: dict[str, Callable[[Path], Rows]] = {".csv": _read_csv, ".parquet": _read_parquet}
