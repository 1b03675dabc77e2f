"""Calls added up: by job and minute in a temporary SQLite file, by job and model in memory.

Lines come in any order, newest first as a rule, and a month has 40,320 minutes however many calls there are. So what is
kept of a call is its share of a minute; and of the minutes, those of the last lines are in memory and the rest on disk.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from offpeak.audit.usage.call import Call
from offpeak.errors import ConfigurationError

MINUTE = 60_000
"""Milliseconds."""

KEPT_MINUTES = 40_000
"""Minutes of jobs in memory before they are written: about 12 MB."""

MOST_JOBS = 5_000
"""Labels before it is clear that a label is no job's name but differs from call to call."""

_MINUTES = 32
"""Bits of a minute since the epoch; a job's number stands before them in the key."""

_CREATE = """
CREATE TABLE minutes (
    slot INTEGER PRIMARY KEY,
    calls INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    busy INTEGER NOT NULL
)
"""

_UPSERT = """
INSERT INTO minutes (slot, calls, first, last, ended, busy) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (slot) DO UPDATE SET
    calls = calls + excluded.calls,
    first = min(first, excluded.first),
    last = max(last, excluded.last),
    ended = max(ended, excluded.ended),
    busy = busy + excluded.busy
"""


class Minute(NamedTuple):
    """The calls of a job that began within one minute. Moments are milliseconds since the epoch."""

    calls: int
    first: int
    """When the first of them began."""
    last: int
    """When the last of them began."""
    ended: int
    """When the last of them ended."""
    busy: int
    """Milliseconds that they took together, as far as is known."""


@dataclass(slots=True)
class Sum:
    """Of one model, or of one job."""

    calls: int = 0
    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0


class Durations(NamedTuple):
    """How long a job's calls take, in milliseconds."""

    mean: float
    mean_square: float


@dataclass(slots=True)
class JobSum:
    """What is known of a job but its minutes."""

    number: int
    models: dict[str, Sum] = field(default_factory=dict)
    calls: int = 0
    batch: int = 0
    timed: int = 0
    """Calls whose duration is known."""
    busy: int = 0
    """Milliseconds that those took together."""
    squares: int = 0
    """Of their durations, in milliseconds, added up."""

    @property
    def durations(self) -> Durations | None:
        """What is known of them; None where nothing is."""
        return Durations(self.busy / self.timed, self.squares / self.timed) if self.timed else None


class Tally:
    """Adds calls up, in a file of its own within `folder`."""

    def __init__(self, folder: Path) -> None:
        self.jobs: dict[str, JobSum] = {}
        self.calls = 0
        self._recent: dict[int, list[int]] = {}
        self._database = sqlite3.connect(folder / "minutes.db", isolation_level=None)
        # Nobody reads this file after a crash.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -4000"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute(_CREATE)

    def close(self) -> None:
        """Let the file go, so that its folder can be deleted."""
        self._database.close()

    def add(self, call: Call) -> None:
        """Count a call."""
        start, duration, label, model, *tokens, batch = call
        job = self.jobs.get(label) or self._new(label)
        found = job.models.get(model)
        if found is None:
            found = job.models[model] = Sum()
        found.calls += 1
        found.input += tokens[0]
        found.cache_read += tokens[1]
        found.cache_write += tokens[2]
        found.output += tokens[3]
        self.calls += 1
        job.calls += 1
        job.batch += batch
        took = 0
        if duration is not None:
            job.timed += 1
            job.busy += duration
            job.squares += duration * duration
            took = duration
        end = start + took
        slot = job.number << _MINUTES | start // MINUTE
        minute = self._recent.get(slot)
        if minute is None:
            if len(self._recent) >= KEPT_MINUTES:
                self._write()
            self._recent[slot] = [1, start, start, end, took]
            return
        minute[0] += 1
        minute[4] += took
        if start < minute[1]:
            minute[1] = start
        if start > minute[2]:
            minute[2] = start
        if end > minute[3]:
            minute[3] = end

    def minutes(self, job: JobSum) -> Iterator[Minute]:
        """The minutes in which a job was active, in order."""
        self._write()
        between = (job.number << _MINUTES, (job.number + 1) << _MINUTES)
        query = "SELECT calls, first, last, ended, busy FROM minutes WHERE slot >= ? AND slot < ? ORDER BY slot"
        with closing(self._database.execute(query, between)) as rows:
            yield from map(Minute._make, rows)

    def span(self) -> tuple[int, int]:
        """When the first call of the log began, and the last, in milliseconds since the epoch."""
        self._write()
        first, last = self._database.execute("SELECT min(first), max(last) FROM minutes").fetchone()
        return first, last

    def _new(self, label: str) -> JobSum:
        if len(self.jobs) >= MOST_JOBS:
            examples = ", ".join(repr(each) for each in list(self.jobs)[-3:])
            raise ConfigurationError(
                f"After {self.calls:,} calls the log has more than {MOST_JOBS:,} labels, such as {examples}: those are "
                "ids rather than names, and no job can be told from them. Say which field names the job: job=FIELD."
            )
        found = self.jobs[label] = JobSum(len(self.jobs))
        return found

    def _write(self) -> None:
        if not self._recent:
            return
        self._database.execute("BEGIN")
        self._database.executemany(_UPSERT, ((slot, *minute) for slot, minute in sorted(self._recent.items())))
        self._database.execute("COMMIT")
        self._recent.clear()
