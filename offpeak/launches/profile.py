"""How a launch's traffic is expected to run through its window: up to the peak in a straight line, and down again.

Over the window it is half of the peak, wherever the peak lies. That is a guess, and a simple one on purpose: who knows
better knows it of the peak, which is what limits are held against.
"""

from datetime import datetime, timedelta

from offpeak.launches.demand import peak_per_minute
from offpeak.launches.launch import Launch

MEAN = 0.5
"""The mean of the window, as a share of the peak."""


def level(launch: Launch, at: datetime) -> float:
    """The share of the peak's rate that is expected at a moment; nought outside of the window."""
    if not launch.starts <= at <= launch.ends:
        return 0.0
    begin, end = (launch.starts, launch.peak_at) if at <= launch.peak_at else (launch.ends, launch.peak_at)
    return 1.0 if begin == end else (at - begin) / (end - begin)


def expected_requests(launch: Launch) -> float:
    """Of the whole window, whatever answers them."""
    return peak_per_minute(launch) * MEAN * ((launch.ends - launch.starts) / timedelta(minutes=1))


def over_from_to(launch: Launch, *, peak: float, limit: float) -> tuple[datetime, datetime] | None:
    """From when to when more than a limit is needed, where `peak` is at the peak; None where it never is."""
    if peak <= limit:
        return None
    below = limit / peak
    return (
        launch.starts + below * (launch.peak_at - launch.starts),
        launch.ends - below * (launch.ends - launch.peak_at),
    )
