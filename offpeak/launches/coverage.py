"""Which share of a launch's traffic is answered by a row that was bought before.

A row counts where it stands in the partition of the launch's name and is fresh through the whole window: one that goes
stale before the window ends is no answer for those who come after that, so it does not count at all. Weights are those
of past traffic. Memory is bounded by what is listed, not by what was asked for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from heapq import heappush, heappushpop

from offpeak.launches.launch import Launch
from offpeak.launches.traffic import Asked, Row

LISTED = 20
"""Rows that are named, of each kind."""


class Standing(StrEnum):
    """What a row that is asked for will be worth in the window."""

    FRESH = "fresh"
    """It is effective until the window ends, or longer."""
    SOON_STALE = "soon stale"
    """It is effective now, and not until the window ends."""
    STALE = "stale"
    """It has an answer that is not effective any more."""
    MISSING = "missing"
    """It has no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncovered:
    """A row that is asked for, and not fresh through the window."""

    row: Row
    requests: float
    """In the past traffic."""
    standing: Standing
    effective_until: datetime | None
    """None where it is missing."""


@dataclass(slots=True, kw_only=True)
class Sums:
    """Rows that are asked for, and their requests in the past traffic, by what they are worth."""

    rows: dict[Standing, int]
    requests: dict[Standing, float]
    at_peak: float = 0.0
    """Requests to rows that are fresh at the peak, whether or not they are until the end."""

    @classmethod
    def none(cls) -> "Sums":
        return cls(rows=dict.fromkeys(Standing, 0), requests=dict.fromkeys(Standing, 0.0))

    @property
    def asked(self) -> float:
        """Requests to all rows."""
        return sum(self.requests.values())

    @property
    def uncovered_rows(self) -> int:
        return sum(self.rows.values()) - self.rows[Standing.FRESH]

    def share(self, standing: Standing) -> float:
        """Of the requests."""
        return self.requests[standing] / self.asked if self.asked else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of a launch's traffic is answered before it comes."""

    launch: Launch
    now: datetime
    total: Sums
    assets: dict[str, Sums]
    """Those that most is asked of first."""
    missing: Sequence[Uncovered]
    """Rows without an answer, or with one that is stale already: the heaviest, at most `LISTED`."""
    soon_stale: Sequence[Uncovered]
    """Rows that are effective now, and not until the window ends: the heaviest, at most `LISTED`."""

    @property
    def hit_rate(self) -> float:
        """The share of the traffic that is answered by a row that is fresh through the window."""
        return self.total.share(Standing.FRESH)

    @property
    def hit_rate_at_peak(self) -> float:
        """The share of the traffic that is answered by a row that is fresh at the peak."""
        return self.total.at_peak / self.total.asked if self.total.asked else 0.0

    @property
    def missing_share(self) -> float:
        """The share of the traffic that asks for rows without an answer, or with a stale one."""
        return self.total.share(Standing.MISSING) + self.total.share(Standing.STALE)

    @property
    def soon_stale_share(self) -> float:
        return self.total.share(Standing.SOON_STALE)

    def weight(self, requests: float) -> float:
        """The share of the traffic that so many requests of the past are."""
        return requests / self.total.asked if self.total.asked else 0.0


class Counting:
    """Adds up a launch's coverage, page by page of the past traffic."""

    def __init__(self, launch: Launch, *, now: datetime, listed: int = LISTED) -> None:
        self.launch, self._now = launch, now
        self._total, self._assets = Sums.none(), dict[str, Sums]()
        self._missing, self._soon_stale = _Heaviest(listed), _Heaviest(listed)

    def add(self, asked: Iterable[tuple[Asked, datetime | None]]) -> None:
        """Rows, and until when each is effective in the launch's partition; None where it has no answer there."""
        for (row, requests), until in asked:
            standing = standing_of(until, self.launch, now=self._now)
            for sums in (self._total, self._assets.setdefault(row.asset, Sums.none())):
                sums.rows[standing] += 1
                sums.requests[standing] += requests
                sums.at_peak += requests if until is not None and until > self.launch.peak_at else 0.0
            if standing is not Standing.FRESH:
                heaviest = self._soon_stale if standing is Standing.SOON_STALE else self._missing
                heaviest.add(Uncovered(row=row, requests=requests, standing=standing, effective_until=until))

    def coverage(self) -> Coverage:
        """Of all that was added."""
        return Coverage(
            launch=self.launch,
            now=self._now,
            total=self._total,
            assets=dict(sorted(self._assets.items(), key=lambda each: (-each[1].asked, each[0]))),
            missing=self._missing.listed(),
            soon_stale=self._soon_stale.listed(),
        )


def standing_of(until: datetime | None, launch: Launch, *, now: datetime) -> Standing:
    """What a row is worth that is effective until then; None is a row without an answer."""
    if until is None:
        return Standing.MISSING
    if until >= launch.ends:
        return Standing.FRESH
    return Standing.SOON_STALE if until > now else Standing.STALE


class _Heaviest:
    """The rows that are asked for most; of equal ones those that came first."""

    def __init__(self, most: int) -> None:
        self._most, self._count = most, 0
        self._kept: list[tuple[float, int, Uncovered]] = []

    def add(self, row: Uncovered) -> None:
        self._count += 1
        entry = (row.requests, -self._count, row)
        if len(self._kept) < self._most:
            heappush(self._kept, entry)
        else:
            heappushpop(self._kept, entry)

    def listed(self) -> Sequence[Uncovered]:
        return [row for _, _, row in sorted(self._kept, reverse=True)]
