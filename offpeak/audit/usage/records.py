"""Files as records: JSON lines, JSON documents, CSV and Parquet, gzipped or not, told apart by their first bytes.

Records come one after the other, and no more than one of them, or one batch of a Parquet file, is held at a time.
"""

import csv
import gzip
import io
import json
import re
from collections.abc import Collection, Iterator
from enum import Enum, auto
from itertools import islice
from pathlib import Path
from typing import IO, Any

import orjson

from offpeak.audit.usage.call import Record
from offpeak.errors import ConfigurationError

Numbered = tuple[int, Record | str]
"""A line's number, from 1, and the record on it, or why there is none. A JSON document counts its records instead."""

HEAD = 50
"""Records that are looked at to tell what a file is: enough that some fields that are rarely there are among them."""

LONGEST_LINE = 32 * 2**20
"""Bytes of a first line that is still taken for a line: a document without line ends may be any size."""

LONGEST_RECORD = 64 * 2**20
"""Characters of a record in a document; what is longer is a document that is torn somewhere."""

_BLOCK = 2**20
_PARQUET_ROWS = 4_096
_WRAPPERS = ("data", "observations", "generations", "spans", "logs", "requests", "results", "rows")
_OTLP = "resourceSpans"
_ARRAY = re.compile(rf'"({"|".join((*_WRAPPERS, _OTLP))})"\s*:\s*\[')

# A call's messages may stand in a CSV file too, and be longer than the 128 kB that the module allows.
csv.field_size_limit(LONGEST_RECORD)


class Kind(Enum):
    """How a file is written."""

    LINES = auto()
    DOCUMENT = auto()
    CSV = auto()
    PARQUET = auto()


def kind_of(path: Path) -> Kind:
    """How a file is written. Raises ConfigurationError where it is not there, empty, or binary."""
    try:
        with _opened(path) as file:
            start = file.read(4)
            if start == b"PAR1":
                return Kind.PARQUET
            head = (start + file.read(_BLOCK)).lstrip(b"\xef\xbb\xbf \t\r\n")
    except (OSError, EOFError) as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error}), so nothing was counted. Name a file of calls that is there, and whole."
        ) from error
    if not head:
        raise ConfigurationError(f"{path} is empty: there are no calls in it to find jobs in. Export the log anew.")
    if b"\0" in head:
        raise ConfigurationError(
            f"{path} is neither text nor Parquet, so that it cannot be read. Export the log as JSON lines, JSON, CSV "
            "or Parquet; gzip is the one compression that is understood."
        )
    if head[:1] == b"[":
        return Kind.DOCUMENT
    if head[:1] != b"{":
        return Kind.LINES if path.name.endswith((".jsonl", ".jsonl.gz", ".ndjson")) else Kind.CSV
    return Kind.LINES if _is_lines(path) else Kind.DOCUMENT


def _is_lines(path: Path) -> bool:
    """Whether any of the first lines is an object of its own: in a document that is set out no line is."""
    with _opened(path) as file:
        for _ in range(HEAD):
            line = file.readline(LONGEST_LINE)
            if not line or len(line) == LONGEST_LINE:
                return False
            if isinstance(_object(line), dict):
                return True
    return False


def head(path: Path, kind: Kind) -> list[Record]:
    """The first records of a file."""
    found = (record for _, record in records(path, kind, ()) if not isinstance(record, str))
    return list(islice(found, HEAD))


def records(path: Path, kind: Kind, columns: Collection[str]) -> Iterator[Numbered]:
    """The records of a file. Of a Parquet file only these columns are read, or all where none is named."""
    match kind:
        case Kind.LINES:
            return _lines(path)
        case Kind.DOCUMENT:
            return _document(path)
        case Kind.CSV:
            return _csv(path)
        case Kind.PARQUET:
            return _parquet(path, columns)


def _opened(path: Path) -> IO[bytes]:
    file = path.open("rb")
    magic = file.read(2)
    file.seek(0)
    return gzip.open(file, "rb") if magic == b"\x1f\x8b" else file  # type: ignore[return-value]


def _lines(path: Path) -> Iterator[Numbered]:
    number = 0
    with _opened(path) as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.isspace():
                    continue
                found = _object(line)
                if isinstance(found, str):
                    yield number, found
                else:
                    for record in _unwrapped(found):
                        yield number, record
        except (EOFError, gzip.BadGzipFile) as error:
            yield number + 1, f"the file breaks off ({error})"


def _object(line: bytes) -> dict[str, Any] | str:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return f"it is no JSON ({error})"
    return found if isinstance(found, dict) else f"it is {type(found).__name__}, where an object was expected"


def _unwrapped(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The records of a page as an API answers it, or the record itself."""
    if len(record) <= len(_WRAPPERS):
        for name in _WRAPPERS:
            inside = record.get(name)
            if isinstance(inside, list) and inside and isinstance(inside[0], dict):
                yield from (each for each in inside if isinstance(each, dict))
                return
    yield record


def _document(path: Path) -> Iterator[Numbered]:
    with _opened(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace")
        for number, found in enumerate(_elements(text), start=1):
            if isinstance(found, dict | str):
                yield number, found


def _elements(text: IO[str]) -> Iterator[dict[str, Any] | str]:
    """The objects of the array that a document is or holds, one after the other."""
    buffer, at = text.read(_BLOCK), 0
    array = re.compile(r"\s*\[").match(buffer) or _ARRAY.search(buffer)
    if array is None:
        yield from _whole(buffer + text.read(LONGEST_RECORD), text.read(1) == "")
        return
    is_otlp = array.re is _ARRAY and array[1] == _OTLP
    at = array.end()
    decoder = json.JSONDecoder()
    between = re.compile(r"[\s,]*")
    while True:
        skipped = between.match(buffer, at)
        at = at if skipped is None else skipped.end()
        if buffer[at : at + 1] == "]":
            return
        try:
            found, at = decoder.raw_decode(buffer, at)
        except json.JSONDecodeError as error:
            more = text.read(_BLOCK) if len(buffer) - at < LONGEST_RECORD else ""
            if not more:
                yield f"the document breaks off here ({error.msg})"
                return
            buffer, at = buffer[at:] + more, 0
            continue
        yield {_OTLP: [found]} if is_otlp else found if isinstance(found, dict) else "it is no object"


def _whole(text: str, is_all: bool) -> Iterator[dict[str, Any] | str]:
    """A document that holds no array that is known: it is a record itself."""
    found = _object(text.encode()) if is_all else "it is longer than a record can be"
    if isinstance(found, str):
        yield found
    else:
        yield from _unwrapped(found)


def _csv(path: Path) -> Iterator[Numbered]:
    with _opened(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="")
        first = text.readline()
        delimiter = max(",;\t|", key=first.count)
        names = next(csv.reader([first], delimiter=delimiter))
        rows = csv.reader(text, delimiter=delimiter)
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except (csv.Error, EOFError, gzip.BadGzipFile) as error:
                yield rows.line_num + 2, f"it cannot be read ({error})"
                if not isinstance(error, csv.Error):
                    return
                continue
            if len(row) == len(names):
                yield rows.line_num + 1, dict(zip(names, row, strict=True))
            elif row:
                yield rows.line_num + 1, f"it has {len(row)} values where the header names {len(names)}"


def _parquet(path: Path, columns: Collection[str]) -> Iterator[Numbered]:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigurationError(
            f"{path} is a Parquet file, and what reads those is not installed: pip install pyarrow. Or export the log "
            "as JSON lines or CSV."
        ) from error
    # A buffer, because without one a whole column of a row group is held.
    with pq.ParquetFile(path, buffer_size=_BLOCK) as file:
        there = file.schema_arrow.names
        wanted = [name for name in there if name in columns] if columns else there
        # Group by group: asked for all of them, the reader holds those that it has read.
        groups = (
            file.iter_batches(batch_size=_PARQUET_ROWS, row_groups=[group], columns=wanted, use_threads=False)
            for group in range(file.num_row_groups)
        )
        batches = (batch for group in groups for batch in group)
        yield from enumerate((record for batch in batches for record in batch.to_pylist()), start=1)
