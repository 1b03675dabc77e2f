"""Steady intervals: whether a job makes its calls every so many minutes, whatever hour it is."""

from dataclasses import dataclass

import numpy as np

from offpeak.audit.usage.activity import Beats

FEWEST_BEATS = 20
"""Below which a few equal pauses may be chance."""

LONGEST = 45
"""Minutes. What comes less often is found as a schedule, with its minute of the hour."""

STEADY_SHARE = 0.8
"""Of the pauses, those that have to fit: the rest are retries, restarts and slow answers."""

SLACK = 0.1
"""Of the interval, how far a pause may be off: a loop that sleeps a minute also takes the time of its calls."""

LEAST_SLACK = 5_000
"""Milliseconds, of short intervals."""

MOST_MISSED = 6
"""Intervals that a pause may span: an agent that finds nothing to do makes no call. More would fit any pause."""

_MINUTE = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """How often."""

    minutes: int
    calls: float
    """Each time, as a median."""
    beats: int
    share: float
    """Of the pauses, those that fit."""

    @property
    def words(self) -> str:
        return f"every {self.minutes} minute{'' if self.minutes == 1 else 's'}"


def steady_interval(beats: Beats) -> Interval | None:
    """The interval at which calls come; None where they come at no steady one."""
    if len(beats.starts) < FEWEST_BEATS:
        return None
    starts = np.frombuffer(beats.starts, dtype=np.int64)
    pauses = starts[1:] - starts[:-1]
    # Missed beats only make pauses longer, so that the interval is among the shorter ones.
    interval = float(np.percentile(pauses, 25))
    if not 0 < interval <= LONGEST * _MINUTE:
        return None
    times = np.clip(np.round(pauses / interval), 1, MOST_MISSED)
    fits = np.abs(pauses - times * interval) <= max(LEAST_SLACK, SLACK * interval)
    share = float(fits.mean())
    if share < STEADY_SHARE:
        return None
    return Interval(
        minutes=max(1, round(interval / _MINUTE)),
        calls=float(np.median(np.frombuffer(beats.calls, dtype=np.int64))),
        beats=len(beats.starts),
        share=share,
    )
