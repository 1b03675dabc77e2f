"""Offpeak's policy through one night: the lane by the rule, and then the rescue's verdicts, tick after tick.

Everything decided here is decided by `offpeak.lanes`; what is here asks it what production would ask, when production
would, with what production would know: what the last look showed, and the limit that the last calls met. Ticks at which
nothing can be different from the last one are passed over: while the endpoints have nothing to do, no moment comes
earlier than the last verdict said, because batches only end.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from offpeak.lanes.rescue import TERMS, Awaited, Owed, Rate, judge, reserve
from offpeak.lanes.rule import Due, Facts, decide
from offpeak.lanes.workload import Waiting
from offpeak.ledger.conditions import SLOW_TAIL
from offpeak.ledger.deadline import OnDeadline
from offpeak.ledger.lane import Lane

from .fixture import Fixture, Scenario
from .lane import RealtimeLane
from .looks import TICK, Looks, tick_at
from .night import Batch, Job, Night
from .provider import Provider, Unreachable

EVENING = datetime(2026, 1, 1, 18, tzinfo=UTC)
"""When the nights begin, for whoever wants a date."""

Groups = Callable[[Batch], int]
"""Which batches are judged together: by the number that they have in common."""


@dataclass
class Outcome:
    """What became of a night under one policy."""

    provider: Provider
    landed: dict[int, float] = field(default_factory=dict)
    """By batch: when its rows were stored."""
    rescued: set[int] = field(default_factory=set)
    """Batches that were given up."""
    pressed_at: float | None = None
    """The last safe moment, as far as it came: when a batch was first to be given up."""
    called: int = 0
    """Jobs that the rule put into the background lane."""


def together(batch: Batch) -> int:
    """All batches have one backlog."""
    return 0


def by_job(batch: Batch) -> int:
    """Each job reckons with its own work alone."""
    return batch.job.number


class Rescuing:
    """One night."""

    def __init__(self, night: Night, fixture: Fixture, scenario: Scenario, groups: Groups = together) -> None:
        self._night, self._fixture, self._groups = night, fixture, groups
        self.outcome = Outcome(Provider(night, fixture, scenario))
        self._provider = self.outcome.provider
        self._lane, self._looks = RealtimeLane(night, fixture), Looks()
        self._new = sorted(night.jobs, key=lambda job: job.submitted)
        self._awaited: list[Batch] = []
        self._cancelled: dict[Batch, float] = {}
        self._seen_at = 0.0
        self._judge_at = 0.0

    def run(self) -> Outcome:
        now = 0.0
        while self._new or self._awaited or self._cancelled:
            self._advance(now)
            self._submit(now)
            self._look(now)
            if now >= self._judge_at:
                self._judge_at = self._judge(now)
            now = max(self._next(now), now + TICK)
        self._advance(math.inf)
        return self.outcome

    def _advance(self, now: float) -> None:
        for work, at in self._lane.advance(now):
            answered = at + self._fixture.answer_seconds
            self._provider.call(work.batch, work.first, answered)
            self.outcome.landed[work.batch.number] = answered + self._fixture.run_seconds

    def _submit(self, now: float) -> None:
        while self._new and self._new[0].submitted <= now:
            job = self._new.pop(0)
            batches = [batch for batch in self._night.batches if batch.job is job]
            if self._lane_of(job, sum(batch.requests for batch in batches)) is Lane.BATCH:
                self._awaited += batches
            else:
                self.outcome.called += 1
                for batch in batches:
                    self._lane.add(batch, 0, ready=now)
            self._judge_at = now

    def _lane_of(self, job: Job, requests: int) -> Lane:
        """By the rule, for scheduled work with a rescue."""
        rate = Rate(requests=self._fixture.limit_per_minute * self._lane.known)
        facts = Facts(
            waiting=Waiting.NOBODY,
            due=Due(deadline=timedelta(seconds=job.due - job.submitted)),
            new=requests,
            past=job.past,
            on_deadline=OnDeadline.RESCUE,
            reserve=reserve(rate.time_for(requests, 0) * (1 - SLOW_TAIL), TERMS),
        )
        return decide(facts).lane

    def _look(self, now: float) -> None:
        out = [*self._awaited, *self._cancelled]
        if not out or not self._looks.due(now, self._jobs_out(), self._cancelled.values()):
            return
        try:
            ended = self._provider.ended(out, now)
        except Unreachable:
            return
        self._looks.looked(now)
        self._seen_at = now
        for batch in ended:
            self._collect(batch, now + self._fixture.run_seconds)

    def _jobs_out(self) -> dict[Job, None]:
        return dict.fromkeys(batch.job for batch in (*self._awaited, *self._cancelled))

    def _collect(self, batch: Batch, applied: float) -> None:
        """Its results are stored; what it leaves is bought from then on."""
        answered = self._provider.collect(batch)
        if answered < batch.requests:
            self._lane.add(batch, answered, ready=applied)
        else:
            self.outcome.landed[batch.number] = applied
        if self._cancelled.pop(batch, None) is None:
            self._awaited.remove(batch)

    def _judge(self, now: float) -> float:
        """Give up what is to be given up; returns when the next verdict may be another one."""
        found = [self._verdict(group, now) for group in sorted({self._groups(each) for each in self._awaited})]
        if self._lane.busy or self._cancelled:
            return now + TICK if self._awaited else math.inf
        return min(found, default=math.inf)

    def _verdict(self, group: int, now: float) -> float:
        mine = {batch.number: batch for batch in self._awaited if self._groups(batch) == group}
        rate = Rate(requests=self._fixture.limit_per_minute * self._lane.known)
        awaited = [self._as_awaited(batch, rate) for batch in mine.values()]
        verdict = judge(awaited, self._owed(group, rate, now), TERMS, now=_moment(now))
        for number in verdict.give_up:
            self._give_up(mine[number], now)
        if any(batch in self._awaited for batch in map(mine.__getitem__, verdict.give_up)):
            return now + TICK  # the provider was away
        return math.inf if verdict.moment is None else (verdict.moment - EVENING).total_seconds()

    def _as_awaited(self, batch: Batch, rate: Rate) -> Awaited:
        return Awaited(
            chunk_id=batch.number,
            due_at=_moment(batch.job.due),
            time=rate.time_for(batch.requests, 0),
            finished=self._provider.progress(batch, max(self._seen_at, batch.job.submitted)),
        )

    def _owed(self, group: int, rate: Rate, now: float) -> list[Owed]:
        bound = TERMS.cancel_bound.total_seconds()
        works = [*self._lane.owed(), *((batch, batch.requests, at + bound) for batch, at in self._cancelled.items())]
        return [
            Owed(
                due_at=_moment(batch.job.due),
                time=rate.time_for(requests, 0),
                ready_at=_moment(ready) if ready > now else None,
            )
            for batch, requests, ready in works
            if self._groups(batch) == group
        ]

    def _give_up(self, batch: Batch, now: float) -> None:
        if self.outcome.pressed_at is None:
            self.outcome.pressed_at = now
        try:
            self._provider.cancel(batch, now)
        except Unreachable:
            return
        self.outcome.rescued.add(batch.number)
        self._awaited.remove(batch)
        self._cancelled[batch] = now

    def _next(self, now: float) -> float:
        """The tick at which something may be different."""
        look = now + self._looks.wait(now, self._jobs_out(), self._cancelled.values())
        new = self._new[0].submitted if self._new else math.inf
        return tick_at(min(look, new, self._judge_at))


def _moment(at: float) -> datetime:
    return EVENING + timedelta(seconds=at)
