"""When a provider is asked again how its batches are getting on."""

from collections.abc import Sequence
from datetime import timedelta

FIRST_LOOK = 0.5
"""A batch is first looked at after this share of the shortest time that one of its asset ever took."""

LOOKS = 20
"""From then on about so often within the usual time, so that a batch is found ended soon after it has."""

LOOKS_WHEN_LATE = 10
"""A batch that drags is looked at again after this part of the time it has been out."""

SHORTEST = timedelta(seconds=5)
LONGEST = timedelta(minutes=10)


def next_look(elapsed: timedelta, past: Sequence[timedelta]) -> timedelta:
    """How long to wait before the next look at a batch that has been out for `elapsed`.

    `past` is how long earlier batches of the same asset took; without any, the batch counts as dragging.
    """
    if not past:
        return _within(elapsed / LOOKS_WHEN_LATE)
    first = min(past) * FIRST_LOOK
    if elapsed < first:
        return max(first - elapsed, SHORTEST)
    usual = _within(sorted(past)[len(past) // 2] / LOOKS)
    return usual if elapsed <= max(past) else max(_within(elapsed / LOOKS_WHEN_LATE), usual)


def _within(duration: timedelta) -> timedelta:
    return min(max(duration, SHORTEST), LONGEST)
