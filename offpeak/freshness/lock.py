"""`contracts.lock`: what each producer promises, and the promise under which each consumer said that it reads.

A promise that becomes worse or different is not recorded before every consumer that reads under it has acknowledged it:
`compare` says whose word is missing, `accepted` is the lock once some have given it. What makes nothing worse needs
nobody's word, but is recorded all the same, so that it is known the next time.

A lock that cannot be read is an error, never an empty lock: an empty one would have forgotten what was acknowledged.
"""

import os
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import msgspec
import tomlkit

from offpeak.clock import exactly
from offpeak.errors import ConfigurationError, CouldNotRead, DefinitionError
from offpeak.freshness.chain import Chain, Reading
from offpeak.freshness.gate import Tolerance
from offpeak.ledger.spool import publish

NAME = "contracts.lock"
"""The file's name, beside the project's pyproject.toml."""

VERSION = 1

NEVER = "none"
"""The cadence of what no schedule runs."""

_HEAD = (
    "What producers promise, and what their consumers have acknowledged. `offpeak contracts check` compares it with",
    "the definitions, `offpeak contracts accept` writes it: commit it together with the change.",
)

_UNITS = {"h": 3_600_000_000, "min": 60_000_000, "s": 1_000_000}
"""In microseconds."""

_MARKER = re.compile(r"^(<{7}|\|{7}|={7}|>{7})( |$)")
"""What git leaves in a file that it could not merge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What consumers of a batch asset go by."""

    lane: str
    model: str
    """"provider/model"."""
    valid_for: timedelta
    cadence: timedelta | None
    """The longest time between two runs; None where no schedule says."""
    deadline: timedelta

    def __str__(self) -> str:
        runs = "no schedule" if self.cadence is None else f"{exactly(self.cadence)} between runs"
        return (
            f"{self.lane}, {self.model}, valid for {exactly(self.valid_for)}, {runs}, deadline {exactly(self.deadline)}"
        )

    def worse(self, new: "Promise") -> list[str]:
        """What of `new` a consumer that acknowledged this one has not agreed to: one phrase each."""
        found = [f"{name} {now}, was {was}" for name, was, now in self._different(new, ("lane", "model"))]
        for name, was, now in self._different(new, ("valid_for", "cadence", "deadline")):
            if now is None or (was is not None and now > was):
                found.append(f"{name} {_text(now)}, was {_text(was)}")
        return found

    def changes(self, new: "Promise") -> list[str]:
        """Everything in which `new` differs: one phrase each."""
        names = ("lane", "model", "valid_for", "cadence", "deadline")
        return [f"{name} {_text(now)}, was {_text(was)}" for name, was, now in self._different(new, names)]

    def _different(self, new: "Promise", names: Iterable[str]) -> Iterator[tuple[str, Any, Any]]:
        for name in names:
            if getattr(self, name) != getattr(new, name):
                yield name, getattr(self, name), getattr(new, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """How stale a consumer's rows may be, and the promise that it knew when it said so."""

    tolerance: Tolerance
    promise: Promise


@dataclass(frozen=True, slots=True)
class Lock:
    """What is recorded. `readings` by consumer and producer."""

    producers: Mapping[str, Promise] = field(default_factory=dict)
    readings: Mapping[tuple[str, str], Acknowledged] = field(default_factory=dict)

    def named(self, names: Mapping[str, str]) -> "Lock":
        """The same with the new names of what was renamed."""
        return Lock(
            {names.get(name, name): promise for name, promise in self.producers.items()},
            {tuple(names.get(each, each) for each in key): value for key, value in self.readings.items()},  # type: ignore[misc]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A reading whose consumer has not acknowledged the promise that it reads under."""

    reading: Reading
    old: Promise | None
    """What was acknowledged; None for nothing."""
    before: str
    """The same in words; without one, how the rows were made before, as far as the lock knows."""
    new: Promise
    changes: Sequence[str]
    """What became worse or different; empty for a first acknowledgement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """In what definitions and lock disagree."""

    pending: Sequence[Pending]
    outdated: Sequence[str]
    """What only has to be recorded, a sentence each."""
    renamed: Mapping[str, str]
    """New names by old ones, of what differs in nothing but its name."""

    @property
    def agrees(self) -> bool:
        return not self.pending and not self.outdated


def promises(chain: Chain) -> dict[str, Promise]:
    """What each producer promises by its definition and its schedules."""
    return {
        name: Promise(
            lane=producer.lane,
            model=producer.model,
            valid_for=producer.contract.valid_for,
            cadence=cadence.total if (cadence := chain.cadence(name)).terms else None,
            deadline=producer.deadline,
        )
        for name, producer in chain.producers.items()
    }


def compare(lock: Lock | None, chain: Chain) -> Comparison:
    """Whose word is missing, and what else is not recorded. `lock`: None where none was ever written."""
    renamed = _renamed(lock or Lock(), chain)
    return Comparison(
        pending=_pending(None if lock is None else lock.named(renamed), chain),
        outdated=differences(lock or Lock(), accepted(lock, chain), renamed),
        renamed=renamed,
    )


def accepted(lock: Lock | None, chain: Chain, consumers: Collection[str] = ()) -> Lock:
    """The lock once `consumers` have acknowledged what they read, and everything is recorded that needs no one's word.

    A promise that somebody has yet to acknowledge stays as it was, both the producer's and that consumer's.
    """
    known = (lock or Lock()).named(_renamed(lock or Lock(), chain))
    now = promises(chain)
    pending = {
        (each.reading.consumer, each.reading.producer)
        for each in _pending(None if lock is None else known, chain)
        if each.reading.consumer not in consumers
    }
    # a lock that begins records everything: from then on it is known what had been a batch asset before
    held = {producer for _, producer in pending} if lock is not None else set()
    readings = {}
    for reading in chain.readings():
        key = (reading.consumer, reading.producer)
        if key not in pending:
            readings[key] = Acknowledged(tolerance=reading.tolerance, promise=now[reading.producer])
        elif key in known.readings:
            readings[key] = replace(known.readings[key], tolerance=reading.tolerance)
    producers = {name: known.producers.get(name) if name in held else promise for name, promise in now.items()}
    return Lock({name: promise for name, promise in producers.items() if promise is not None}, readings)


def differences(old: Lock, new: Lock, renamed: Mapping[str, str]) -> list[str]:
    """What `new` records that `old` did not, a sentence each. `renamed`: new names by old ones."""
    found = [f"{was} is called {now} now" for was, now in sorted(renamed.items())]
    old = old.named(renamed)
    for name in sorted({*old.producers, *new.producers}):
        if name not in new.producers:
            found.append(f"{name} is not a batch asset any more")
        elif name not in old.producers:
            found.append(f"{name} promises: {new.producers[name]}")
        elif changes := old.producers[name].changes(new.producers[name]):
            found.append(f"{name} promises {', '.join(changes)}")
    for key in sorted({*old.readings, *new.readings}):
        found += _of_reading(*key, old.readings.get(key), new.readings.get(key))
    return found


def _of_reading(consumer: str, producer: str, old: Acknowledged | None, new: Acknowledged | None) -> Iterator[str]:
    if new is None:
        yield f"{consumer} does not read {producer} any more"
    elif old is None:
        yield f"{consumer} acknowledges what {producer} promises"
    else:
        if old.tolerance != new.tolerance:
            yield f"{consumer} tolerates of {producer} {in_words(new.tolerance)}, was {in_words(old.tolerance)}"
        if changes := old.promise.changes(new.promise):
            yield f"{consumer} acknowledges of {producer} {', '.join(changes)}"


def in_words(tolerance: Tolerance) -> str:
    """A tolerance for people; what is as it is by default is left out."""
    found = [exactly(tolerance.max_staleness)]
    if tolerance.min_coverage < 1:
        found.append(f"min_coverage {tolerance.min_coverage}")
    if tolerance.on_stale != "fail":
        found.append(f"on_stale {tolerance.on_stale}")
    if tolerance.rows != "all":
        found.append(f"rows {tolerance.rows}")
    return ", ".join(found)


def verdict(reading: Reading) -> str:
    """Whether the chain meets the tolerance, and by how much."""
    spare = reading.tolerance.max_staleness - reading.worst.total
    if spare < timedelta(0):
        return f"cannot be met: {exactly(-spare)} short"
    left = f"holds, with {exactly(spare)} to spare" if spare else "holds, with nothing to spare"
    return f"{left}, as far as is known" if reading.worst.unknown else left


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
    if not isinstance(duration, timedelta):
        return NEVER if duration is None else str(duration)
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


def _pending(lock: Lock | None, chain: Chain) -> list[Pending]:
    """In the order of names. `lock` goes by the names of today."""
    now = promises(chain)
    found = []
    for reading in chain.readings():
        new = now[reading.producer]
        known = None if lock is None else lock.readings.get((reading.consumer, reading.producer))
        changes = [] if known is None else known.promise.worse(new)
        if known is None or changes:
            found.append(
                Pending(
                    reading=reading,
                    old=None if known is None else known.promise,
                    before=_before(lock, reading) if known is None else str(known.promise),
                    new=new,
                    changes=changes,
                )
            )
    return found


def _before(lock: Lock | None, reading: Reading) -> str:
    if lock is None:
        return f"not recorded: there is no {NAME} yet"
    if reading.producer in lock.producers:
        return "none that was acknowledged"
    return "made in the run itself, at realtime"


def _renamed(lock: Lock, chain: Chain) -> dict[str, str]:
    """New names by old ones, of producers and consumers that differ in nothing but their name.

    Where two could have taken the name, neither has: both count as new.
    """
    now = promises(chain)
    names = _matched(
        {name: promise for name, promise in lock.producers.items() if name not in chain.nodes},
        {name: promise for name, promise in now.items() if name not in lock.producers},
    )
    lock = lock.named(names)
    before: dict[str, set[object]] = {}
    for (consumer, producer), said in lock.readings.items():
        before.setdefault(consumer, set()).add((producer, said.tolerance))
    after: dict[str, set[object]] = {}
    for reading in chain.readings():
        after.setdefault(reading.consumer, set()).add((reading.producer, reading.tolerance))
    return names | _matched(
        {name: frozenset(each) for name, each in before.items() if name not in chain.nodes},
        {name: frozenset(each) for name, each in after.items() if name not in before},
    )


def _matched(gone: Mapping[str, object], new: Mapping[str, object]) -> dict[str, str]:
    """Those of `gone` of which exactly one of `new` is the like, and of that no other."""
    found = {}
    for name, what in gone.items():
        likes = [each for each, other in new.items() if other == what]
        if len(likes) == 1 and sum(other == what for other in gone.values()) == 1:
            found[name] = likes[0]
    return found
