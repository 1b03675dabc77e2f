"""AI work as the audit knows it, whether it is listed, seen in a log of calls, or found in code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import time, timedelta
from enum import StrEnum

from offpeak.audit.case import Case
from offpeak.audit.usage.jobs import Tokens
from offpeak.lanes.workload import Waiting

SHORT = timedelta(days=1)
"""What is taken for the deadline of work that nobody waits for and that says none: by the next day."""


class Source(StrEnum):
    """Who says that there is such work."""

    LIST = "list"
    USAGE = "usage"
    CODE = "code"


class Lane(StrEnum):
    """How work is bought. The ledger knows no realtime lane: Offpeak buys nothing that somebody watches."""

    REALTIME = "realtime"
    BACKGROUND = "background"
    BATCH = "batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """When work runs by the clock."""

    words: str
    """For people, such as "daily at 09:00 Europe/Berlin"."""
    runs_a_month: float
    cron: str | None = None
    """Where it is one that a schedule can be made of."""
    zone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One piece of AI work."""

    name: str
    sources: Sequence[Source]
    where: Sequence[str]
    """A line of a list, a log, or `file:line` of each call in code."""
    waiting: Waiting | None
    """None where nothing says who waits."""
    case: Case | None = None
    deadline: timedelta | time | None = None
    """After it is asked for, or a time of day with its zone; None where nothing says it."""
    cadence: Cadence | None = None
    once: bool = False
    """It ran a single time, and nothing says that it will again."""
    parallel: bool | None = None
    """Its requests do not need each other's answers; None where nothing says so."""
    month: Mapping[str, Tokens] = field(default_factory=dict)
    """What it buys in a month of 30 days, or once, by model as it is written; empty where nothing tells."""
    assumed: str = ""
    """What of the figures is a guess; empty where they are measured or stated."""
    calls_a_run: int | None = None
    lane: Lane = Lane.REALTIME
    """As it is bought now."""
    why: Sequence[str] = ()
    """What was seen, in sentences."""

    @property
    def calls(self) -> int:
        """In a month, or once."""
        return sum(each.calls for each in self.month.values())
