"""The file of a `Lock`: TOML that people read, in the order of names, so that a change is a small diff.

A file that cannot be read is an error, never an empty lock: an empty one would have forgotten what was acknowledged.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import msgspec
import tomlkit

from offpeak.errors import ConfigurationError, CouldNotRead, DefinitionError
from offpeak.freshness.gate import Tolerance
from offpeak.freshness.lock import NAME, NEVER, Acknowledged, Lock, Promise
from offpeak.ledger.spool import publish

VERSION = 1

_HEAD = (
    "What producers promise, and what their consumers have acknowledged. `offpeak contracts check` compares it with",
    "the definitions, `offpeak contracts accept` writes it: commit it together with the change.",
)

_UNITS = {"h": 3_600_000_000, "min": 60_000_000, "s": 1_000_000}
"""In microseconds."""

_MARKER = re.compile(r"^(<{7}|\|{7}|={7}|>{7})( |$)")
"""What git leaves in a file that it could not merge."""


def read(path: Path) -> Lock | None:
    """The lock in a file; None where there is no file.

    Raises CouldNotRead for one that is torn, half merged, edited into nonsense, or of a newer version.
    """
    try:
        return parsed(path.read_text(encoding="utf-8"), name=path.name)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CouldNotRead(
            f"{path} cannot be read ({error}). Nothing was compared or written. Restore it from version control."
        ) from error


def write(path: Path, lock: Lock) -> bool:
    """Put `lock` in the place of the file, whole or not at all; whether that changed anything.

    Raises ConfigurationError where the file cannot be written.
    """
    text = written(lock).encode()
    if path.is_file() and path.read_bytes() == text:
        return False
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, path)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written ({error.strerror}). It is as it was. See to the disk and the rights on the "
            "folder, then run the command again."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return True


def written(lock: Lock) -> str:
    """The text of the file: in the order of names, a line for each figure."""
    document = tomlkit.document()
    for line in _HEAD:
        document.add(tomlkit.comment(line))
    document.add("version", tomlkit.item(VERSION))
    producers = tomlkit.table(is_super_table=True)
    for name, promise in sorted(lock.producers.items()):
        producers.add(name, _table(_of_promise(promise)))
    consumers = tomlkit.table(is_super_table=True)
    for (consumer, producer), said in sorted(lock.readings.items()):
        if consumer not in consumers:
            consumers.add(consumer, tomlkit.table(is_super_table=True))
        fields = _of_tolerance(said.tolerance)
        consumers[consumer].add(producer, _table(fields, acknowledged=_of_promise(said.promise)))
    for name, table in (("producer", producers), ("consumer", consumers)):
        if table:
            document.add(name, table)
    return tomlkit.dumps(document).rstrip("\n") + "\n"


def _table(fields: Mapping[str, Any], **groups: Mapping[str, Any]) -> Any:
    table = tomlkit.table()
    for name, value in fields.items():
        table.add(name, value)
    for group, values in groups.items():
        for name, value in values.items():
            table.append(tomlkit.key([group, name]), tomlkit.item(value))
    return table


def _of_promise(promise: Promise) -> dict[str, Any]:
    return {
        "lane": promise.lane,
        "model": promise.model,
        "valid_for": _text(promise.valid_for),
        "cadence": _text(promise.cadence),
        "deadline": _text(promise.deadline),
    }


def _of_tolerance(tolerance: Tolerance) -> dict[str, Any]:
    return {
        "max_staleness": _text(tolerance.max_staleness),
        "min_coverage": float(tolerance.min_coverage),
        "on_stale": tolerance.on_stale,
        "rows": tolerance.rows,
    }


class _Promise(msgspec.Struct, forbid_unknown_fields=True):
    lane: str
    model: str
    valid_for: str
    cadence: str
    deadline: str

    def value(self) -> Promise:
        return Promise(
            lane=self.lane,
            model=self.model,
            valid_for=_duration(self.valid_for),
            cadence=None if self.cadence == NEVER else _duration(self.cadence),
            deadline=_duration(self.deadline),
        )


class _Acknowledged(msgspec.Struct, forbid_unknown_fields=True):
    max_staleness: str
    min_coverage: float
    on_stale: Literal["fail", "warn"]
    rows: Literal["all", "drop_stale"]
    acknowledged: _Promise

    def value(self) -> Acknowledged:
        tolerance = Tolerance(
            max_staleness=_duration(self.max_staleness),
            min_coverage=self.min_coverage,
            on_stale=self.on_stale,
            rows=self.rows,
        )
        return Acknowledged(tolerance=tolerance, promise=self.acknowledged.value())


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    producer: dict[str, _Promise] = {}
    consumer: dict[str, dict[str, _Acknowledged]] = {}


def parsed(text: str, *, name: str = NAME) -> Lock:
    """The lock that `text` holds. Raises CouldNotRead with what to do."""
    lines = text.splitlines()
    marked = next((number for number, line in enumerate(lines, start=1) if _MARKER.match(line)), None)
    if marked is not None:
        raise CouldNotRead(
            f"{name} is half merged: line {marked} is a conflict marker of git. Nothing was compared or written. Keep "
            "one side of each conflict; `offpeak contracts check` then says in what it differs from the definitions."
        )
    try:
        document = tomllib.loads(text)
        version = document.get("version")
        if isinstance(version, int) and version > VERSION:
            raise CouldNotRead(
                f"{name} is of version {version}, written by a newer Offpeak; this one reads version {VERSION}. "
                "Nothing was compared or written. Install the Offpeak that the project uses elsewhere."
            )
        found = msgspec.convert(document, _File)
        if found.version != VERSION:
            raise ValueError(f"there is no version {found.version}")
        return Lock(
            {producer: each.value() for producer, each in found.producer.items()},
            {
                (consumer, producer): each.value()
                for consumer, read_by_it in found.consumer.items()
                for producer, each in read_by_it.items()
            },
        )
    except (ValueError, OverflowError, DefinitionError, msgspec.ValidationError) as error:
        raise CouldNotRead(
            f"{name} cannot be read: {error}. Nothing was compared or written. Restore it from version control; it is "
            "written by `offpeak contracts accept`, not by hand."
        ) from error


def _text(duration: timedelta | None) -> str:
    """For example "36 h 30 min", to the microsecond; parsed back by `_duration`."""
    if duration is None:
        return NEVER
    left = duration // timedelta(microseconds=1)
    parts = []
    for unit, size in _UNITS.items():
        count, left = divmod(left, size)
        if unit == "s" and left:
            parts.append(f"{count}.{left:06}".rstrip("0") + " s")
        elif count:
            parts.append(f"{count} {unit}")
    return " ".join(parts) or "0 s"


def _duration(text: str) -> timedelta:
    """Raises ValueError for what `_text` does not write."""
    match = re.fullmatch(r"(?:(\d+) h)? ?(?:(\d+) min)? ?(?:(\d+(?:\.\d{1,6})?) s)?", text)
    if match is None or not any(match.groups()):
        raise ValueError(f'{text!r} is no duration such as "36 h 30 min"')
    sizes = zip(match.groups(), _UNITS.values(), strict=True)
    return timedelta(microseconds=int(sum(Fraction(count or 0) * size for count, size in sizes)))
