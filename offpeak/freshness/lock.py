"""`contracts.lock`: what each producer promises, and the promise under which each consumer said that it reads.

A promise that becomes worse or different is not recorded before every consumer that reads under it has acknowledged it:
`compare` says whose word is missing, `accepted` is the lock once some have given it. What makes nothing worse needs
nobody's word, but is recorded all the same, so that it is known the next time.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from offpeak.clock import exactly
from offpeak.freshness.chain import Chain, Reading
from offpeak.freshness.gate import Tolerance

NAME = "contracts.lock"
"""The file's name, beside the project's pyproject.toml."""

NEVER = "none"
"""The cadence of what no schedule runs."""


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
                found.append(f"{name} {_shown(now)}, was {_shown(was)}")
        return found

    def changes(self, new: "Promise") -> list[str]:
        """Everything in which `new` differs: one phrase each."""
        names = ("lane", "model", "valid_for", "cadence", "deadline")
        return [f"{name} {_shown(now)}, was {_shown(was)}" for name, was, now in self._different(new, names)]

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
            found.append(f"{name} promises {'; '.join(changes)}")
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
            yield f"{consumer} acknowledges of {producer} {'; '.join(changes)}"


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


def verdict(reading: Reading, promise: Promise) -> str:
    """Whether the chain meets the tolerance, and by how much."""
    tolerated = reading.tolerance.max_staleness
    spare = tolerated - reading.worst.total
    if spare < timedelta(0):
        return f"cannot be met: {exactly(-spare)} short"
    found = f"holds, with {exactly(spare)} to spare" if spare else "holds, with nothing to spare"
    if reading.worst.unknown:
        found += ", as far as is known"
    if promise.valid_for > tolerated:
        beyond = exactly(promise.valid_for - tolerated)
        found += f"; of the promised {exactly(promise.valid_for)}, {beyond} are not tolerated"
    return found


def when_late(reading: Reading) -> str | None:
    """What becomes of the reading when batches miss their deadline; None where the deadline is no nearer."""
    late, tolerated = reading.at_window.total, reading.tolerance.max_staleness
    if late <= reading.worst.total:
        return None
    outcome = "still tolerated" if late <= tolerated else f"{exactly(late - tolerated)} more than is tolerated"
    return f"{exactly(late)} with a batch that takes its provider's whole window: {outcome}"


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


def _shown(value: str | timedelta | None) -> str:
    if isinstance(value, timedelta):
        return exactly(value)
    return NEVER if value is None else value


def _before(lock: Lock | None, reading: Reading) -> str:
    if lock is None:
        return f"not recorded: there is no {NAME} yet"
    if reading.producer in lock.producers:
        return "none that was acknowledged"
    return "no batch asset before: made in the run itself, at realtime"


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
