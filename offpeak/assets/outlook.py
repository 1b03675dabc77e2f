"""What is left to do before an asset with a deadline can be there, and how long that usually takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from offpeak.clock import in_words, moment
from offpeak.freshness.cadence import Cron, last_tick
from offpeak.freshness.chain import Chain, Node
from offpeak.freshness.sla import Left, Sla
from offpeak.ledger import jobs, sightings
from offpeak.ledger.conditions import WRONG, middle
from offpeak.ledger.jobs import JobRow
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import OPEN_JOBS, JobState
from offpeak.ledger.watching import Watched, watched

BEGUN_WITHIN = timedelta(minutes=30)
"""After this a scheduled run that left no trace did not begin."""

_DONE = frozenset({JobState.COMPLETED, JobState.COMPLETED_WITH_PARTIAL_FAILURES})
_NOTHING = timedelta(0)

_Known = dict[tuple[str, datetime], Left]
"""By asset, and by when it has to be made."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """The ledger's jobs, as far as they tell when the assets of a chain can be there."""

    chain: Chain
    now: datetime
    newest: Mapping[str, Sequence[JobRow]]
    open: Mapping[int, Watched]
    usual: Mapping[str, timedelta]

    @classmethod
    def read(cls, chain: Chain, ledger: Ledger, *, now: datetime) -> "Outlook":
        """Look at the open jobs, and at the last few of each batch asset that some deadline waits for."""
        names = list(chain.handed_up())
        past = sightings.past_durations(ledger, names)
        usual = {name: middle(past[name]) or chain.producers[name].deadline for name in names}
        return cls(
            chain,
            now,
            {name: jobs.listed(ledger, asset=name, limit=5) for name in names},
            {each.job.id: each for each in watched(ledger, now=now)},
            usual,
        )

    def left(self, sla: Sla, due_at: datetime) -> Left:
        """What is left to do before the asset of `sla` can be made for `due_at`."""
        return self._left(self.chain.nodes[sla.asset], due_at, since=due_at - sla.window, known={})

    def _left(self, node: Node, by: datetime, *, since: datetime, known: _Known) -> Left:
        """What is left before `node` can be made in its last run up to `by`, which begins at `since` at the soonest.

        `known` is what was found before: there may be too many ways through a graph to walk each of them.
        """
        if (node.name, by) not in known:
            known[node.name, by] = self._look(node, by, since=since, known=known)
        return known[node.name, by]

    def _look(self, node: Node, by: datetime, *, since: datetime, known: _Known) -> Left:
        start = _last_tick(self.chain.triggers(node.name), since, by)
        waits = [
            self._left(self.chain.nodes[each], by if node.follows else start or by, since=since, known=known)
            for each in node.inputs
            if each in self.chain.nodes and each != node.name and self._waits_for(node, self.chain.nodes[each])
        ]
        unknown = next((each for each in waits if each.takes is None), None)
        if unknown is not None:
            return unknown
        above = max(waits, key=lambda each: each.takes or _NOTHING, default=Left(takes=_NOTHING, why=""))
        wait = max(start - self.now, _NOTHING) if start is not None else _NOTHING
        own = self._own(node, start, since, wait, begun=not above.takes)
        if own.takes is None or above.takes is None:
            return own
        longer = own if own.takes >= above.takes else above
        # until it runs, and until what it waits for is there, pass at the same time
        return Left(takes=max(own.takes, above.takes + max(own.takes - wait, _NOTHING)), why=longer.why)

    def _waits_for(self, node: Node, above: Node) -> bool:
        """Whether `node` is only made when `above` has been: in the same run, after it, or by whoever starts both."""
        alone = not node.crons
        return not above.source and (alone or node.follows or not node.jobs.isdisjoint(above.jobs))

    def _own(self, node: Node, start: datetime | None, since: datetime, wait: timedelta, *, begun: bool) -> Left:
        """What a node itself takes, the `wait` until it runs included. `begun`: nothing above it is waited for."""
        if node.producer is None:
            return Left(takes=wait, why=f"{node.name} runs at {moment(start)}" if start is not None and wait else "")
        usual, name = self.usual[node.name], node.name
        newest = next((job for job in self.newest[name] if job.state is not JobState.ABANDONED), None)
        if newest is not None and newest.state in OPEN_JOBS | {JobState.HELD}:
            return self._open(newest, usual)
        if newest is not None and newest.created_at >= (start or since):
            if newest.state in _DONE:
                return Left(takes=_NOTHING, why="")
            if newest.state is JobState.APPROVED:
                return Left(takes=None, why=f"job {newest.id} of {name} is approved and waits to be materialised again")
            return Left(takes=None, why=f"job {newest.id} of {name} ended as {newest.state.value}")
        if wait:
            return Left(
                takes=wait + usual,
                why=f"{name} begins at {moment(self.now + wait)} and usually takes {in_words(usual)}",
            )
        if start is not None and begun and self.now - start > BEGUN_WITHIN:
            return Left(takes=None, why=f"the run of {name} of {moment(start)} has not begun")
        return Left(takes=usual, why=f"{name} has not begun, and usually takes {in_words(usual)}")

    def _open(self, job: JobRow, usual: timedelta) -> Left:
        found = self.open.get(job.id)
        if found is not None and found.condition in WRONG:
            return Left(takes=None, why=f"job {job.id} of {job.asset} is {found.condition.value}: {found.why}")
        left = max(job.created_at + usual - self.now, _NOTHING)
        took = in_words(self.now - job.created_at)
        return Left(
            takes=left,
            why=f"job {job.id} of {job.asset} has been on its way for {took}, and {in_words(usual)} is usual",
        )


def _last_tick(crons: Sequence[Cron], since: datetime, by: datetime) -> datetime | None:
    """The last tick in [since, by]; else the last one up to `by` within a week; None without any."""
    found = last_tick(crons, until=by)
    return found if found is not None and found >= min(since, by - timedelta(days=7)) else None
