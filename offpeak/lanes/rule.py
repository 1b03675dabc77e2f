"""The rule by which a purchase gets its lane: a decision of plain values.

The one question is who waits, and until when. Batch costs about half and may take the provider's whole window; the
background lane costs the realtime price and takes minutes. So a purchase goes on the batch tier when its deadline, and
that of everything bought after it in the same run, leaves room for the windows. Where what is late by then is rescued,
or done without, it need only leave room for what a slow batch takes, and for the rescue, and a run that began late may
have none for that any more. Else it is bought in the background. Where that is not what its owner wants, a lane can be
forced: that is obeyed, and the reason keeps what the rule said.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from offpeak.clock import exactly
from offpeak.errors import DefinitionError
from offpeak.lanes.workload import WATCHED, Waiting
from offpeak.ledger.conditions import slow_tail
from offpeak.ledger.deadline import OnDeadline
from offpeak.ledger.lane import Lane
from offpeak.providers.base import BATCH_WINDOW

FEWEST_PAST = 5
"""Batches of an asset from which on their slow tail says something."""

UNKNOWN_TAIL = BATCH_WINDOW / 4
"""The slow tail where there are fewer: most batches take much less than their window (Anthropic's guide says less than
an hour), and one that does not is rescued, or done without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A deadline that a purchase has to leave room for."""

    deadline: timedelta
    """What is left until then."""
    steps: int = 1
    """Batches that have to be bought one after the other until then, this one included."""
    of: str = ""
    """The asset further down whose deadline it is; empty for its own."""
    window: timedelta = BATCH_WINDOW
    """What the provider may take for one batch."""

    @property
    def windows(self) -> timedelta:
        """What the provider may take for all of them."""
        return self.steps * self.window


@dataclass(frozen=True, slots=True, kw_only=True)
class Forced:
    """A lane that somebody chose, and where that is written."""

    lane: Lane
    by: str
    """Such as "the asset's lane="."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLate:
    """A rescue had room before the deadline when the run was created, and has none by now."""

    left: timedelta
    """Until its own deadline."""
    needed: timedelta
    """By a rescue of all that it buys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known when the lane is chosen. Prices are estimates in dollars, for what is new."""

    waiting: Waiting
    due: Due
    new: int
    """Requests to buy."""
    joined: int = 0
    """Requests that are on their way already."""
    volume: int | None = None
    """Requests that a run usually buys, where its asset says so."""
    batch_cost: Decimal = Decimal(0)
    realtime_cost: Decimal = Decimal(0)
    smallest_saving: Decimal = Decimal(0)
    """A smaller one is not worth a batch's wait; 0: every one is."""
    one_off: bool = False
    """A person launched it, and nothing schedules it."""
    past: Sequence[timedelta] = ()
    """How long the asset's past batches took."""
    on_deadline: OnDeadline = OnDeadline.RESCUE
    """What is done about what has not landed by then."""
    reserve: timedelta = timedelta(0)
    """What a rescue needs before a deadline when all but a slow batch have landed."""
    too_late: TooLate | None = None
    """Its run began too late for a rescue."""
    forced: Forced | None = None

    @property
    def saving(self) -> Decimal:
        return self.realtime_cost - self.batch_cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The lane, and the arithmetic that led there, as a clause."""

    lane: Lane
    reason: str


def binding(dues: Sequence[Due]) -> Due:
    """The deadline that leaves the least beyond the windows before it."""
    return min(dues, key=lambda each: (each.deadline - each.windows, each.steps))


def decide(facts: Facts) -> Decision:
    """The lane of a purchase, and why. Raises DefinitionError for one that a person would be watching."""
    if facts.waiting is Waiting.WATCHING:
        raise DefinitionError(f"There is no lane for this: {WATCHED}")
    decision, forced = _by_the_rule(facts), facts.forced
    if forced is None:
        return decision
    said = "says the same" if decision.lane is forced.lane else f"would have said {decision.lane}"
    return Decision(lane=forced.lane, reason=f"forced by {forced.by}; the rule {said}: {decision.reason}")


def room_for_batch(left: timedelta, past: Sequence[timedelta]) -> bool:
    """Whether so much time is more than a slow batch of an asset takes, whose past ones took `past`."""
    return left > _tail(past)[0]


def _by_the_rule(facts: Facts) -> Decision:
    if not facts.new and not facts.joined:
        return Decision(lane=Lane.BATCH, reason="nothing is bought: every row has its answer")
    whoever = "a person asked and walked away" if facts.waiting is Waiting.WALKED_AWAY else "nobody watches"
    due, room = _said(facts.due), facts.due.deadline >= facts.due.windows
    if facts.waiting is Waiting.WALKED_AWAY and not room:
        return Decision(lane=Lane.BACKGROUND, reason=f"{whoever}, {due}: minutes, not {_windows(facts.due)}")
    if room:
        reason = f"{whoever}, {due}: no tighter than {_windows(facts.due)}"
    else:
        if facts.on_deadline is OnDeadline.FAIL:
            return Decision(lane=Lane.BACKGROUND, reason=f"{whoever}, {due}: tighter than {_windows(facts.due)}")
        tail, known = _tail(facts.past)
        needed = f"{_times(facts.due.steps, tail)} that {known}"
        least = facts.due.steps * tail
        if facts.on_deadline is OnDeadline.RESCUE:
            least += facts.reserve
            needed += f" and {exactly(facts.reserve)} for a rescue"
        if facts.due.deadline <= least:
            tight = f"tighter than {_windows(facts.due)}, and no looser than {needed}"
            return Decision(lane=Lane.BACKGROUND, reason=f"{whoever}, {due}: {tight}")
        if facts.on_deadline is OnDeadline.RESCUE and facts.too_late is not None:
            left, rescue = exactly(facts.too_late.left), exactly(facts.too_late.needed)
            late = f"its run began late, {left} are left before its deadline, and a rescue needs {rescue}"
            return Decision(lane=Lane.BACKGROUND, reason=f"{whoever}, {due}: {late}")
        served = facts.on_deadline is OnDeadline.SERVE_LAST_GOOD
        reason = f"{whoever}, {due}: looser than {needed}" + ("; what is late is served from before" if served else "")
    small = _small(facts)
    return Decision(lane=Lane.BACKGROUND, reason=small) if small else Decision(lane=Lane.BATCH, reason=reason)


def _small(facts: Facts) -> str | None:
    """Why the saving is too small to wait for; None where it is not, or where nothing new is bought."""
    if not facts.new or not facts.smallest_saving or facts.saving >= facts.smallest_saving:
        return None
    usual = f" where {facts.volume:,} are usual" if facts.volume is not None else ""
    what = "a one-off job" if facts.one_off else f"low volume ({_counted(facts.new)}{usual})"
    return (
        f"{what}: about ${facts.realtime_cost:,.4f} at realtime price, ${facts.batch_cost:,.4f} on the batch tier; the "
        f"saving of ${facts.saving:,.4f} is below smallest_saving, ${facts.smallest_saving}"
    )


def _tail(past: Sequence[timedelta]) -> tuple[timedelta, str]:
    """What a slow batch takes, and a clause on who says so. Never more than the window: then it expires."""
    found = slow_tail(past)
    if found is None or len(past) < FEWEST_PAST:
        return UNKNOWN_TAIL, f"a slow batch is taken to need, with {len(past)} past ones known"
    return min(found, BATCH_WINDOW), f"the slow tail of {len(past)} past batches needs"


def _said(due: Due) -> str:
    return f"due in {exactly(due.deadline)}" + (f" with {due.of}" if due.of else "")


def _windows(due: Due) -> str:
    window = f"the provider's window of {exactly(due.window)}"
    if due.steps == 1:
        return window
    return f"{due.steps} batches in a row, {due.steps} x {exactly(due.window)} = {exactly(due.windows)}"


def _times(steps: int, tail: timedelta) -> str:
    return exactly(tail) if steps == 1 else f"{steps} x {exactly(tail)} = {exactly(steps * tail)}"


def _counted(requests: int) -> str:
    return "1 request" if requests == 1 else f"{requests:,} requests"
