"""Fresh by a time of day: what the people downstream were promised, and how it is getting on.

`freshness_sla` makes Dagster's own cron policy, so the UI shows it and any tool that knows such policies does too.
Offpeak adds a check, hands the deadline up to the batch assets on the way, and writes down what becomes of each day.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import dagster as dg

from offpeak.clock import exactly, in_words
from offpeak.errors import DefinitionError
from offpeak.freshness.cadence import Cron, shortest_gap
from offpeak.ledger.states import SlaState

MARGIN = timedelta(minutes=10)
"""How long before the deadline everything bought has to be there: the start of a run, and its own work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sla:
    """An asset has to be made anew within `window` before each tick of `deadline`."""

    asset: str
    deadline: Cron
    window: timedelta

    def upcoming(self, now: datetime) -> datetime | None:
        """The next deadline."""
        return self.deadline.next_tick(now)

    def in_time(self, due_at: datetime, made_at: Sequence[datetime]) -> bool:
        """Whether the asset was made within the window before `due_at`."""
        return any(due_at - self.window <= each <= due_at for each in made_at)

    def __str__(self) -> str:
        return f"fresh by {self.deadline.cron_schedule!r} in {self.deadline.timezone}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What is left to do before an asset can be there. `takes` is None where nobody can know."""

    takes: timedelta | None
    why: str
    """A clause on what takes longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One deadline of an SLA, judged."""

    due_at: datetime
    state: SlaState
    why: str


def freshness_sla(
    deadline_cron: str, *, timezone: str = "UTC", lower_bound_delta: timedelta | None = None
) -> dg.FreshnessPolicy:
    """Fresh by each tick of `deadline_cron` in `timezone`: `freshness_policy=freshness_sla("0 9 * * 1-5", ...)`.

    The asset has to be made anew at most `lower_bound_delta` before each tick; by default since the last one, so far
    as ticks are equally far apart. Batch assets on its way inherit the deadline. Raises DefinitionError for a cron
    expression, time zone or duration that makes no sense.
    """
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
        raise DefinitionError(
            f"freshness_sla(timezone={timezone!r}) is no time zone. Use a name of the IANA database, such as "
            '"Europe/Berlin".'
        ) from error
    if lower_bound_delta is not None and (
        not isinstance(lower_bound_delta, timedelta) or lower_bound_delta < timedelta(minutes=1)
    ):
        raise DefinitionError(
            f"freshness_sla(lower_bound_delta={lower_bound_delta!r}): expected a timedelta of at least one minute, "
            "such as timedelta(hours=12)."
        )
    longest = _shortest_window(deadline_cron)
    if lower_bound_delta is not None and lower_bound_delta > longest:
        raise DefinitionError(
            f"freshness_sla(lower_bound_delta={exactly(lower_bound_delta)}) reaches back beyond the deadline before: "
            f"two ticks of {deadline_cron!r} may be only {exactly(longest)} apart. Make it shorter, or leave it out."
        )
    return dg.FreshnessPolicy.cron(
        deadline_cron=deadline_cron, lower_bound_delta=lower_bound_delta or longest, timezone=timezone
    )


def sla_of(asset: str, policy: object) -> Sla | None:
    """The SLA that an asset's freshness policy is; None for any other policy."""
    deadline: Any = policy
    if getattr(policy, "deadline_cron", None) is None:
        return None
    return Sla(
        asset=asset,
        deadline=Cron(cron_schedule=deadline.deadline_cron, timezone=deadline.timezone, name=f"deadline of {asset}"),
        window=deadline.lower_bound_delta,
    )


def judge_past(sla: Sla, due_at: datetime, made_at: Sequence[datetime]) -> Occurrence:
    """What became of a deadline that is over."""
    if sla.in_time(due_at, made_at):
        return Occurrence(due_at=due_at, state=SlaState.MET, why=f"made in time for {_when(sla, due_at)}")
    late = min((each for each in made_at if each > due_at), default=None)
    if late is not None:
        how = f"it was made {in_words(late - due_at)} late"
    else:
        how = f"it was not made in the {exactly(sla.window)} before"
    return Occurrence(
        due_at=due_at, state=SlaState.MISSED, why=f"{sla.asset} was not fresh by {_when(sla, due_at)}: {how}"
    )


def judge_upcoming(sla: Sla, due_at: datetime, made_at: Sequence[datetime], left: Left, *, now: datetime) -> Occurrence:
    """How the next deadline is getting on."""
    when = _when(sla, due_at)
    if sla.in_time(due_at, made_at):
        return Occurrence(due_at=due_at, state=SlaState.MET, why=f"made in time for {when}")
    if left.takes is None:
        why = f"{sla.asset} may not be fresh by {when}: {left.why}"
        return Occurrence(due_at=due_at, state=SlaState.ENDANGERED, why=why)
    if now + left.takes + MARGIN > due_at:
        because = left.why or "it has not been made, and nothing that it waits for is on its way"
        why = f"{sla.asset} may not be fresh by {when}, in {in_words(due_at - now)}: {because}"
        return Occurrence(due_at=due_at, state=SlaState.ENDANGERED, why=why)
    return Occurrence(due_at=due_at, state=SlaState.DUE, why=f"due by {when}" + (f": {left.why}" if left.why else ""))


def _when(sla: Sla, due_at: datetime) -> str:
    """A deadline as its own time zone's people say it."""
    return f"{due_at.astimezone(ZoneInfo(sla.deadline.timezone)):%A %Y-%m-%d %H:%M} {sla.deadline.timezone}"


def _shortest_window(deadline_cron: object) -> timedelta:
    """How far back a window may reach: the shortest time between two ticks, which Dagster counts in UTC."""
    example = 'Write one such as "0 9 * * 1-5".'
    if not isinstance(deadline_cron, str):
        raise DefinitionError(f"freshness_sla(deadline_cron={deadline_cron!r}) is no cron expression. {example}")
    try:
        found = shortest_gap([Cron(cron_schedule=deadline_cron, timezone="UTC", name="")], now=datetime.now(UTC))
    except Exception as error:
        raise DefinitionError(
            f"freshness_sla(deadline_cron={deadline_cron!r}) is no cron expression. {example}"
        ) from error
    if found is None:
        raise DefinitionError(f"freshness_sla(deadline_cron={deadline_cron!r}) never comes true. {example}")
    return found
