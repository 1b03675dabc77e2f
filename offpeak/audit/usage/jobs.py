"""The jobs of a log of LLM calls: grouped by label, counted by model, judged by when their calls come.

A log is read once, whatever its order. What is kept meanwhile is in a temporary file, which is deleted, so that memory
does not grow with its lines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

from offpeak.audit.usage.activity import activity
from offpeak.audit.usage.call import BadLine
from offpeak.audit.usage.formats import Format, recognise
from offpeak.audit.usage.patterns import Pattern, judge
from offpeak.audit.usage.tally import JobSum, Tally
from offpeak.audit.usage.values import Times
from offpeak.clock import from_micros
from offpeak.errors import ConfigurationError

__all__ = ["Pattern", "Tokens", "UsageJob", "UsageLog", "usage_jobs"]

SHORTEST_LOG = 1.0
"""Days that a log counts for at least: a month reckoned from an afternoon would be the afternoon sixty times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Calls and their tokens."""

    calls: int
    input: int
    """With those read from and written to a cache."""
    cache_read: int
    cache_write: int
    output: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageJob:
    """One job that the log tells of."""

    name: str
    """The label that it was grouped by."""
    models: Mapping[str, Tokens]
    """The tokens of the whole log, by model as logged: provider/model where the log tells the provider."""
    first: datetime
    """When its first call began, in UTC."""
    last: datetime
    days: float
    """The length of the log, not of the job: what a monthly figure is scaled by. At least one."""
    runs: int
    """Stretches of calls without a pause of more than five minutes."""
    longest_run: timedelta
    active_days: int
    pattern: Pattern
    cadence: str
    """Such as "daily at 09:00 UTC"; empty where there is none."""
    concurrency: float | None
    """Mean calls in flight while it runs; None where the log has no durations."""
    batch_share: float
    """Of its calls, those that the log says were on a batch or flex tier."""
    why: str
    """What makes it this pattern, with the figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLog:
    """What a log holds."""

    jobs: tuple[UsageJob, ...]
    """The one with the most tokens first."""
    calls: int
    """Lines that were read as calls."""
    others: int
    """Lines that are no calls which were bought: spans of tools, failures, answers of a gateway's own cache."""
    skipped: int
    """Lines that could not be read."""
    first_skipped: str
    """The first of those, with its number and what is wrong with it; empty where there is none."""
    notes: tuple[str, ...]
    """What was assumed, in sentences."""
    format: str
    first: datetime
    """When the first call of the log began, in UTC."""
    last: datetime


def usage_jobs(paths: Sequence[Path], *, columns: Mapping[str, str] | None = None, zone: str = "UTC") -> UsageLog:
    """The jobs in some files of calls, which are taken for one log. `columns` maps what a call has to the names that
    these files give it; `zone` is where the clock hangs that starts jobs, such as "Europe/Berlin".

    Raises ConfigurationError for a zone that is not known, a file that is missing, empty or of no known format, a
    mapping to a column that is not there, and files of which no line could be read.
    """
    clock = _zone(zone)
    if not paths:
        raise ConfigurationError("No file was named, so that there is no log to find jobs in. Name one or more.")
    with TemporaryDirectory(prefix="offpeak-audit-", ignore_cleanup_errors=True) as folder:
        tally = Tally(Path(folder))
        try:
            reading = _Reading(columns or {})
            for path in paths:
                reading.read(path, tally)
            return _log(reading, tally, clock)
        finally:
            tally.close()


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"{name!r} is no time zone, so that no schedule could be told. Write it as in Europe/Berlin or UTC."
        ) from error


@dataclass(slots=True)
class _Reading:
    """Reads files into a tally, and remembers what could not be read."""

    columns: Mapping[str, str]
    times: Times = field(default_factory=Times)
    formats: list[str] = field(default_factory=list)
    others: int = 0
    skipped: int = 0
    first_skipped: str = ""

    def read(self, path: Path, tally: Tally) -> None:
        """Count every call of a file."""
        found = recognise(path, self.columns, self.times)
        if found.name not in self.formats:
            self.formats.append(found.name)
        before = (tally.calls, self.skipped)
        self._count(path, found, tally)
        if tally.calls == before[0]:
            self._refuse(path, found, self.skipped - before[1])

    def _count(self, path: Path, found: Format, tally: Tally) -> None:
        read, add = found.read, tally.add
        for number, record in found.records(path):
            try:
                if isinstance(record, str):
                    raise BadLine(record)
                call = read(record)
            except BadLine as reason:
                self.skipped += 1
                self.first_skipped = self.first_skipped or f"line {number:,} of {path.name}: {reason}"
                continue
            if call is None:
                self.others += 1
            else:
                add(call)

    def _refuse(self, path: Path, found: Format, skipped: int) -> None:
        if skipped:
            raise ConfigurationError(
                f"None of the {skipped:,} lines of {path} could be read, so that nothing was counted. It was taken "
                f"for: {found.name}. {self.first_skipped[:1].upper()}{self.first_skipped[1:]}. Export it anew, or say "
                "which columns it has with a mapping such as time=COLUMN."
            )
        raise ConfigurationError(
            f"{path} ({found.name}) holds no call to a model, so that there are no jobs to find. Export the calls "
            "themselves: generations, spend logs or spans with token counts."
        )

    @property
    def notes(self) -> tuple[str, ...]:
        if not self.times.naive:
            return ()
        return (f"{self.times.naive:,} times in the log name no time zone and were taken as UTC.",)


def _log(reading: _Reading, tally: Tally, zone: tzinfo) -> UsageLog:
    first, last = tally.span()
    days = max(SHORTEST_LOG, (last - first) / timedelta(days=1).total_seconds() / 1_000)
    jobs = [_job(name, found, tally, days, zone) for name, found in tally.jobs.items()]
    return UsageLog(
        jobs=tuple(sorted(jobs, key=lambda job: (-_tokens(job), job.name))),
        calls=tally.calls,
        others=reading.others,
        skipped=reading.skipped,
        first_skipped=reading.first_skipped,
        notes=reading.notes,
        format=", ".join(reading.formats),
        first=_moment(first),
        last=_moment(last),
    )


def _job(name: str, job: JobSum, tally: Tally, days: float, zone: tzinfo) -> UsageJob:
    found = activity(tally.minutes(job), durations=job.durations, zone=zone)
    judged = judge(found, zone)
    return UsageJob(
        name=name,
        models={model: _summed(job, model) for model in sorted(job.models)},
        first=_moment(found.runs[0].start),
        last=_moment(found.beats.starts[-1] + found.beats.widths[-1]),
        days=days,
        runs=len(found.runs),
        longest_run=found.longest,
        active_days=len(found.dates),
        pattern=judged.pattern,
        cadence=judged.cadence,
        concurrency=found.concurrency,
        batch_share=job.batch / job.calls,
        why=judged.why,
    )


def _summed(job: JobSum, model: str) -> Tokens:
    found = job.models[model]
    return Tokens(
        calls=found.calls,
        input=found.input,
        cache_read=found.cache_read,
        cache_write=found.cache_write,
        output=found.output,
    )


def _tokens(job: UsageJob) -> int:
    return sum(each.input + each.output for each in job.models.values())


def _moment(millis: int) -> datetime:
    return from_micros(millis * 1_000)
