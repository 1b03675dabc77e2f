"""What a job's minutes come to: its runs, the beats of its calls, and how unevenly they come. One pass, in order."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo

from offpeak.audit.usage.tally import MINUTE, Durations, Minute

PAUSE = 5 * MINUTE
"""A longer pause ends a run. Programs retry within seconds and rarely wait minutes for anything but the next run;
people who chat come back within a minute or two."""

BREATH = 20_000
"""Milliseconds. A longer pause ends a beat: a program that looks every minute makes its calls at once, then waits."""

BINS = (1, 2, 4, 8, 16)
"""Minutes in which calls are counted to see how evenly they come; the narrowest that is full enough is asked."""

FULL_BIN = 3
"""Mean calls in a bin that is full enough: with fewer, any counts look as if the calls were independent."""

LEAST_A_MINUTE = 0.8
"""Calls a minute within runs, from which on it can be told how evenly they come. With fewer, the longer pauses of
independent calls end the run, and those that are left look even."""

FEWEST_STEPS = 10
"""From bin to bin, below which chance decides how uneven they look."""


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of calls without a long pause, in milliseconds since the epoch."""

    start: int
    end: int
    calls: int

    @property
    def length(self) -> timedelta:
        return timedelta(milliseconds=self.end - self.start)

    @property
    def per_minute(self) -> float:
        """Calls a minute; a run of less than a minute counts as one."""
        return self.calls / max(1.0, (self.end - self.start) / MINUTE)


@dataclass(slots=True)
class Beats:
    """Moments at which a job made some calls at once: when they began, for how long, and how many there were."""

    starts: "array[int]" = field(default_factory=lambda: array("q"))
    widths: "array[int]" = field(default_factory=lambda: array("q"))
    calls: "array[int]" = field(default_factory=lambda: array("q"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """How a job ran over the whole log."""

    calls: int
    runs: list[Run]
    beats: Beats
    hours: list[int]
    """Calls by the hour of the day, in the zone that was asked for."""
    dates: set[date]
    """Days with calls, in that zone."""
    unevenness: float | None
    """How much one minute differs from the next within a run, in its calls or in how long they take together, whichever
    is less: 1 where calls come independently of each other, as people's do, however many those are; towards 0 where a
    program makes one at an interval, or as soon as another is answered. None where the runs are too short, or their
    calls too few, to say."""
    concurrency: float | None
    """Mean calls in flight within the runs; None where the log has no durations."""

    @property
    def longest(self) -> timedelta:
        return max((run.length for run in self.runs), default=timedelta(0))


def activity(minutes: Iterable[Minute], *, durations: Durations | None, zone: tzinfo) -> Activity:
    """Read a job's minutes in order. `durations` are those of all its calls, where they are known."""
    runs, beats, unevenness = _Runs(), Beats(), _Unevenness()
    hours, dates, calls, before = [0] * 24, set(), 0, 0
    for minute in minutes:
        unevenness.add(minute, is_new=runs.add(minute))
        _beat(beats, minute, before)
        before = minute.last
        local = datetime.fromtimestamp(minute.first / 1_000, UTC).astimezone(zone)
        hours[local.hour] += minute.calls
        dates.add(local.date())
        calls += minute.calls
    length = sum(run.end - run.start for run in runs.all())
    return Activity(
        calls=calls,
        runs=runs.all(),
        beats=beats,
        hours=hours,
        dates=dates,
        unevenness=unevenness.value(durations),
        concurrency=durations.mean * calls / length if durations is not None and length else None,
    )


class _Runs:
    """Puts minutes together to runs."""

    def __init__(self) -> None:
        self._done: list[Run] = []
        self._start = self._end = self._calls = 0

    def add(self, minute: Minute) -> bool:
        """Take a minute; whether it begins a new run."""
        is_new = not self._calls or minute.first - self._end > PAUSE
        if is_new:
            self._close()
            self._start = minute.first
        self._end = max(self._end, minute.ended)
        self._calls += minute.calls
        return is_new

    def all(self) -> list[Run]:
        self._close()
        return self._done

    def _close(self) -> None:
        if self._calls:
            self._done.append(Run(self._start, self._end, self._calls))
        self._calls = 0


class _Scale:
    """Steps from one bin to the next within a run, for bins of one width in minutes."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.steps = self.calls = 0
        self.squares = self.busy_squares = 0
        self._bin = self._calls = self._busy = 0
        self._before: tuple[int, int] | None = None

    def add(self, minute: int, calls: int, busy: int) -> None:
        """Take a minute, counted from the beginning of the run."""
        found = minute // self.width
        if found > self._bin:
            self._finish(empty=found - self._bin - 1)
            self._bin, self._calls, self._busy = found, 0, 0
        self._calls += calls
        self._busy += busy

    def end_run(self) -> None:
        """Forget the last bin, which the end of the run cuts."""
        self._bin, self._calls, self._busy, self._before = 0, 0, 0, None

    def _finish(self, *, empty: int) -> None:
        if self._bin:  # the first one is cut by the beginning of the run
            self._step(self._calls, self._busy)
        if empty:
            self._step(0, 0)
            self.steps += empty - 1

    def _step(self, calls: int, busy: int) -> None:
        if self._before is not None:
            self.steps += 1
            self.calls += calls
            self.squares += (calls - self._before[0]) ** 2
            self.busy_squares += (busy - self._before[1]) ** 2
        self._before = (calls, busy)


class _Unevenness:
    """Half the mean square of the step from one bin to the next is the variance of a bin, without what changes slowly,
    such as the hours of an office. Of independent calls the variance of their number is its mean, and that of the time
    they take together is the mean number times the mean square of a duration; this is how far below that it is.
    """

    def __init__(self) -> None:
        self._scales = [_Scale(width) for width in BINS]
        self._began = 0

    def add(self, minute: Minute, *, is_new: bool) -> None:
        """Take the next minute."""
        number = minute.first // MINUTE
        if is_new:
            self._began = number
            for scale in self._scales:
                scale.end_run()
        for scale in self._scales:
            scale.add(number - self._began, minute.calls, minute.busy)

    def value(self, durations: Durations | None) -> float | None:
        for scale in self._scales:
            least = max(FULL_BIN, LEAST_A_MINUTE * scale.width)
            if scale.steps >= FEWEST_STEPS and scale.calls >= least * scale.steps:
                of_calls = scale.squares / (2 * scale.calls)
                if durations is None or not durations.mean_square:
                    return of_calls
                return min(of_calls, scale.busy_squares / (2 * scale.calls * durations.mean_square))
        return None


def _beat(beats: Beats, minute: Minute, before: int) -> None:
    if beats.starts and minute.first - before <= BREATH:
        beats.widths[-1] = minute.last - beats.starts[-1]
        beats.calls[-1] += minute.calls
        return
    beats.starts.append(minute.first)
    beats.widths.append(minute.last - minute.first)
    beats.calls.append(minute.calls)
