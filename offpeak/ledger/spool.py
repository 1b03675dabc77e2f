"""Spool files: the bytes that get uploaded, on disk before anything about them is committed.

Written under a temporary name, fsynced, renamed, and the folder fsynced; only then does the ledger learn of a file. A
file that the ledger does not know is a leftover of a crash and is never uploaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import orjson

from offpeak.errors import CouldNotRead
from offpeak.providers.base import Spooling

_BUFFER = 1 << 20


@dataclass(frozen=True, slots=True)
class SpoolFile:
    """A finished spool file, as the ledger records it."""

    name: str
    size: int
    sha256: str
    offsets: array[int]
    """Where each line begins, in bytes."""


class SpoolWriter:
    """Writes one spool file as a stream. Leaves nothing behind unless `finish` returned."""

    def __init__(self, folder: Path, name: str, spooling: Spooling) -> None:
        self._path = folder / name
        self._temporary = folder / f"{name}.writing"
        self._spooling = spooling
        self._file = self._temporary.open("wb", buffering=_BUFFER)
        self._hash = hashlib.sha256()
        self.offsets: array[int] = array("Q")
        self.size = 0
        self._put(spooling.head)

    def write(self, lines: Sequence[bytes]) -> None:
        """Append lines, without their separators."""
        separator = self._spooling.separator
        if self.offsets:
            self._put(separator)
        starts = accumulate((len(line) + len(separator) for line in lines[:-1]), initial=self.size)
        self.offsets.extend(starts)
        self._put(separator.join(lines))

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def finish(self) -> SpoolFile:
        """Make the file durable under its final name."""
        self._put(self._spooling.tail)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        publish(self._temporary, self._path)
        return SpoolFile(self._path.name, self.size, self._hash.hexdigest(), self.offsets)

    def discard(self) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def publish(temporary: Path, final: Path) -> None:
    """Rename a written file to its final name so that the rename survives a power loss."""
    temporary.rename(final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def check(path: Path, *, sha256: str) -> None:
    """Raise CouldNotRead unless the file is, byte for byte, what the ledger recorded."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CouldNotRead(
            f"The spool file {path.name} cannot be read ({error.strerror}). Nothing was sent. Its requests can be "
            "planned again: materialise the asset once the disk is well."
        ) from error
    if found != sha256:
        raise CouldNotRead(
            f"The spool file {path.name} is not what the ledger recorded (torn, or edited). Nothing was sent."
        )


def lines(path: Path, offsets: Sequence[int], ordinals: Sequence[int], spooling: Spooling) -> Iterator[bytes]:
    """The lines at `ordinals`, as they were written."""
    size = path.stat().st_size - len(spooling.tail)
    with path.open("rb") as file:
        for ordinal in ordinals:
            last = ordinal + 1 == len(offsets)
            end = size if last else offsets[ordinal + 1] - len(spooling.separator)
            file.seek(offsets[ordinal])
            yield file.read(end - offsets[ordinal])


def restamp(source: Path, target: Path, offsets: Sequence[int], *, ledger: str, old: str, new: str) -> SpoolFile:
    """Copy a spool file, giving every custom_id a new submission token; sizes and offsets stay as they are."""
    before, after = f'"{ledger}{old}'.encode(), f'"{ledger}{new}'.encode()
    temporary = target.with_name(f"{target.name}.writing")
    digest = hashlib.sha256()
    window = len(before) + 64  # the custom_id stands at the beginning of its line
    with source.open("rb") as reading, temporary.open("wb", buffering=_BUFFER) as writing:
        bounds = [*offsets[1:], source.stat().st_size]
        head = reading.read(offsets[0]) if offsets else reading.read()
        writing.write(head)
        digest.update(head)
        for start, end in zip(offsets, bounds, strict=False):
            line = reading.read(end - start)
            changed = line[:window].replace(before, after, 1) + line[window:]
            writing.write(changed)
            digest.update(changed)
        writing.flush()
        os.fsync(writing.fileno())
        size = writing.tell()
    publish(temporary, target)
    return SpoolFile(target.name, size, digest.hexdigest(), array("Q", offsets))


def blanked(source: Path, target: Path, offsets: Sequence[int], ordinals: Sequence[int]) -> SpoolFile | None:
    """A copy of a spool file in which the lines at `ordinals` say nothing; None, and no copy, where they do already.

    Sizes and offsets stay as they are: an empty object takes the place of each line, with blanks inside.
    """
    with source.open("rb") as file:
        lengths = {ordinal: _object_length(file, offsets, ordinal) for ordinal in ordinals}
    blanks = sorted((offsets[ordinal], length) for ordinal, length in lengths.items() if length)
    if not blanks:
        return None
    temporary = target.with_name(f"{target.name}.writing")
    shutil.copyfile(source, temporary)
    with temporary.open("r+b") as file:
        for start, length in blanks:
            file.seek(start)
            file.write(b"{" + b" " * (length - 2) + b"}")
        file.flush()
        os.fsync(file.fileno())
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    publish(temporary, target)
    return SpoolFile(target.name, size, digest, array("Q", offsets))


def _object_length(file: BinaryIO, offsets: Sequence[int], ordinal: int) -> int:
    """The bytes of the JSON object at a line's beginning; 0 for an empty one. What follows it is the provider's."""
    file.seek(offsets[ordinal])
    last = ordinal + 1 == len(offsets)
    text = file.read(-1 if last else offsets[ordinal + 1] - offsets[ordinal]).decode()
    found, end = json.JSONDecoder().raw_decode(text)
    return len(text[:end].encode()) if found else 0


def stripped(path: Path, needles: Sequence[bytes]) -> None:
    """Leave out of a result file every line that holds one of `needles`."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.writing")
    pattern = re.compile(b"|".join(map(re.escape, needles)))
    with path.open("rb") as reading, temporary.open("wb", buffering=_BUFFER) as writing:
        dropped = False
        for line in reading:
            if pattern.search(line):
                dropped = True
            else:
                writing.write(line)
        writing.flush()
        os.fsync(writing.fileno())
    if dropped:
        publish(temporary, path)
    else:
        temporary.unlink()


def read_offsets(stored: bytes) -> array[int]:
    """Offsets as the ledger stores them: u64, little-endian."""
    offsets: array[int] = array("Q")
    offsets.frombytes(stored)
    if sys.byteorder == "big":
        offsets.byteswap()
    return offsets


def offsets_bytes(offsets: array[int]) -> bytes:
    """Offsets in the form that the ledger stores."""
    if sys.byteorder == "big":
        offsets = array("Q", offsets)
        offsets.byteswap()
    return offsets.tobytes()


def body_of(line: bytes) -> bytes:
    """The body within a spool line, whichever provider's it is; empty where it was erased."""
    parsed = orjson.loads(line)
    body = parsed.get("body") or parsed.get("params")
    return b"" if body is None else orjson.dumps(body)
