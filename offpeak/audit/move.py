"""How a job would run once it is moved: when it is submitted, until when it is due, and how long its rows are good."""

import keyword
import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from offpeak.audit.case import Case
from offpeak.audit.job import SHORT, Job
from offpeak.audit.pricing import Prices
from offpeak.audit.verdict import AHEAD, Verdict
from offpeak.freshness.cadence import Cron, longest_gap
from offpeak.freshness.contract import COLLECTING
from offpeak.lanes.workload import Waiting

CLOCK_CHANGE = timedelta(hours=1)

KEPT = timedelta(days=30)
"""How long the rows of a job are good that no clock starts."""

LONGEST_NAME = 36
"""Characters: a function of that name, with an input that is named after it, is one line of code."""

CHEAP = "anthropic/claude-haiku-5-5"
"""What a scaffold asks where nothing says which model, or no batch rate is known for the one that is used."""

URGENT = 10
"""The priority of what has an hour to keep: as much as ten hours of waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A job as a batch asset."""

    verdict: Verdict
    name: str
    """As Python and Dagster take it."""
    model: str
    model_was: str | None
    """As the job names it now, where that is another one."""
    waiting: Waiting
    deadline: timedelta | time
    cron: str | None
    """When it is submitted; None where a person or a change of data starts it."""
    zone: str
    valid_for: timedelta
    volume: int | None
    priority: int
    max_tokens: int | None

    @property
    def on_data(self) -> bool:
        """A change of data wakes it, instead of a clock."""
        return self.verdict.job.case is Case.POLLING

    @property
    def on_request(self) -> bool:
        """A person asks for it, and is told when it has landed."""
        return self.waiting is Waiting.WALKED_AWAY


def move(verdict: Verdict, prices: Prices, *, now: datetime) -> Move:
    """The job of a verdict as a batch asset."""
    job = verdict.job
    used = max(job.month, key=lambda each: job.month[each].calls, default=None)
    ref = prices.ref(used) if used is not None else None
    deadline = job.deadline if job.deadline is not None else SHORT
    cron, zone = _submitted(job)
    tokens = job.month.get(used) if used is not None else None
    return Move(
        verdict=verdict,
        name=identifier(job.name),
        model=ref or CHEAP,
        model_was=used if ref is None else None,
        waiting=job.waiting if job.waiting is Waiting.WALKED_AWAY else Waiting.NOBODY,
        deadline=deadline,
        cron=cron,
        zone=zone,
        valid_for=_valid_for(deadline, cron, zone, now),
        volume=job.calls_a_run,
        priority=URGENT if isinstance(deadline, time) else 0,
        max_tokens=_limit(tokens.output / tokens.calls) if tokens and tokens.calls else None,
    )


def identifier(name: str) -> str:
    """A name as one of Python and Dagster. Whatever it is, there is one."""
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    plain = re.sub(r"\W+", "_", plain.rpartition(".")[2] or plain, flags=re.ASCII).strip("_").lower()
    if not plain or not plain[0].isalpha() or keyword.iskeyword(plain):
        plain = f"job_{plain}"
    return plain[:LONGEST_NAME].rstrip("_")


def _submitted(job: Job) -> tuple[str | None, str]:
    """The cron expression by which it would be submitted, and its zone."""
    often = job.cadence
    if often is None or often.cron is None or job.case is Case.POLLING:
        return None, "UTC"
    if isinstance(job.deadline, time):
        zone = str(job.deadline.tzinfo)
        return _earlier(often.cron, job.deadline, AHEAD), zone
    return often.cron, often.zone


def _earlier(cron: str, due: time, ahead: timedelta) -> str:
    """A daily or weekly cron expression moved to `ahead` before the hour at which its work is due."""
    *_, day_of_month, month, days = cron.split()
    minutes = due.hour * 60 + due.minute - int(ahead.total_seconds() // 60)
    back, at = divmod(minutes, 24 * 60)
    hour, minute = divmod(at, 60)
    if day_of_month != "*" or month != "*":
        return f"{minute} {hour} * * *" if back else f"{minute} {hour} {day_of_month} {month} {days}"
    return f"{minute} {hour} * * {_days_earlier(days, -back)}"


def _days_earlier(days: str, back: int) -> str:
    """Days of the week, so many days before."""
    if not back or not re.fullmatch(r"[0-7](?:-[0-7])?(?:,[0-7](?:-[0-7])?)*", days):
        return days if days == "*" or not back else "*"
    found: set[int] = set()
    for part in days.split(","):
        first, _, last = part.partition("-")
        found |= {(day - back) % 7 for day in range(int(first), int(last or first) + 1)}
    return ",".join(map(str, sorted(found)))


def _valid_for(deadline: timedelta | time, cron: str | None, zone: str, now: datetime) -> timedelta:
    """The time between two runs, the deadline and the collecting, clock changes included, rounded up to an hour."""
    if cron is None:
        return KEPT
    gap = longest_gap([Cron(cron_schedule=cron, timezone=zone, name="schedule")], now=now)
    between = gap.duration if gap is not None else KEPT
    until = AHEAD if isinstance(deadline, time) else deadline
    hours = (between + until + COLLECTING + CLOCK_CHANGE) / timedelta(hours=1)
    return timedelta(hours=int(hours) + (hours % 1 > 0))


def _limit(tokens: float) -> int:
    """A max_tokens with room over what answers took on average."""
    return max(100, int(-(-tokens * 4 // 100) * 100))
