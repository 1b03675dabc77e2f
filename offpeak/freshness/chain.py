"""The worst and the typical age of what each consumer reads, along every path that leads to it.

An age counts from the moment before the first inputs were read. A producer's rows are renewed by its runs; a run's rows
are there when its batches have landed: at the latest after the workload's deadline, and collected within `COLLECTING`.
So rows are oldest just before the next run's rows land:

    the age of what the run read + time between two runs + deadline + collecting

A consumer that runs in the producer's own job, or whenever the producer has landed, reads them as they land, without
the time between two runs. One with a schedule of its own reads what has landed for certain by then.

What nobody can know counts as nothing and is said so: an asset that only people start, or data that change by
themselves, has no longest time between two runs. Of a partitioned asset, this is about the newest partition.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from graphlib import TopologicalSorter
from statistics import median_low

from offpeak.clock import exactly
from offpeak.errors import DefinitionError
from offpeak.freshness.cadence import Cron, longest_gap, times_since
from offpeak.freshness.contract import COLLECTING, FreshnessContract
from offpeak.freshness.gate import Tolerance
from offpeak.freshness.sla import MARGIN, Sla
from offpeak.lanes.workload import Waiting
from offpeak.ledger.deadline import OnDeadline
from offpeak.ledger.lane import Lane
from offpeak.providers.base import BATCH_WINDOW

AUTOMATION = "automation condition"
"""What ticks of an automation condition go by, beside the names of schedules."""

_NOTHING = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Producer:
    """What a batch asset promises, and how it is bought."""

    model: str
    """"provider/model"."""
    lane: str
    deadline: timedelta
    """From the creation of its run to its landing, at most."""
    contract: FreshnessContract
    daily: Cron | None = None
    """Its deadline where that is a time of day."""
    waiting: Waiting = Waiting.NOBODY
    forced: bool = False
    """It is in its lane because its asset says so."""
    on_deadline: OnDeadline = OnDeadline.RESCUE
    """What is done about what has not landed by then."""
    rescue_needs: timedelta = timedelta(0)
    """Of that time before the deadline, at least; where there is less, nothing is rescued."""

    def due_at(self, created_at: datetime) -> datetime:
        """By when its rows are wanted in a run that was created then."""
        tick = None if self.daily is None else self.daily.next_tick(created_at)
        return created_at + self.deadline if tick is None else tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One asset, check or model of the graph."""

    name: str
    producer: Producer | None = None
    """None for everything that is not bought in batches."""
    source: bool = False
    """Read as it is at that moment, such as a table of the application."""
    crons: Sequence[Cron] = ()
    """When it runs by the clock."""
    jobs: frozenset[str] = frozenset()
    """The scheduled jobs that it runs in."""
    follows: bool = False
    """It runs when its inputs have been renewed, by its automation condition."""
    inputs: Mapping[str, Tolerance | None] = field(default_factory=dict)
    """What it reads, and how stale that may be; None where nothing is declared."""
    sla: Sla | None = None
    """By when it has to be fresh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One summand of an age."""

    duration: timedelta
    what: str

    def __str__(self) -> str:
        return f"{exactly(self.duration)} {self.what}"


@dataclass(frozen=True, slots=True)
class Age:
    """An age as a sum. `unknown`: what else there is and nobody can put a figure to."""

    terms: Sequence[Term] = ()
    unknown: Sequence[str] = ()

    @property
    def total(self) -> timedelta:
        """The least that it is known to reach."""
        return sum((each.duration for each in self.terms), _NOTHING)

    def plus(self, *terms: Term, unknown: Sequence[str] = ()) -> "Age":
        return Age((*self.terms, *terms), (*self.unknown, *unknown))

    def capped(self, most: timedelta, what: str) -> "Age":
        """The same, or `most` where a gate lets nothing older through."""
        if self.total <= most:
            return self
        return Age((Term(duration=most, what=what),))

    def __str__(self) -> str:
        """The arithmetic, such as "24 h between two runs + 12 h deadline = 36 h"."""
        terms = [str(each) for each in self.terms if each.duration] or ["0 s"]
        total = f" = {exactly(self.total)}" if len(terms) > 1 else ""
        return " + ".join(terms) + total + "".join(f"; not counted: {each}" for each in self.unknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """A deadline that a batch asset inherits from what lies downstream."""

    sla: Sla
    ahead: timedelta
    """How long before that deadline its own rows have to have landed."""

    def due(self, now: datetime) -> datetime | None:
        """The next moment by which its batches have to have ended so that the deadline can be met."""
        tick = self.sla.upcoming(now + self.ahead)
        return None if tick is None else tick - self.ahead


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one consumer reads of one producer."""

    consumer: str
    producer: str
    tolerance: Tolerance
    worst: Age
    """With every batch landing at its deadline."""
    typical: Age
    """In the middle between two runs, with batches landing as they did before."""
    at_window: Age
    """With every batch taking the provider's whole window, which no deadline keeps it from; a call takes no window."""


class Chain:
    """The graph, and the ages in it, with batches that land at their deadline.

    `past` holds the usual time from a run's creation to landing, by asset: batches then land as they did. With `window`
    they take at least so long.
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        *,
        now: datetime,
        past: Mapping[str, timedelta] | None = None,
        window: timedelta = _NOTHING,
    ) -> None:
        self.nodes = {each.name: each for each in nodes}
        self.now = now
        self._past = past
        self._window = window
        self._planned: dict[str, Age] = {}
        self._lasting: dict[str, Age] = {}
        self._levels: dict[str, Mapping[str, int]] = {}

    def typically(self, past: Mapping[str, timedelta]) -> "Chain":
        """The same graph with landings that take as long as they usually do, instead of as long as they may."""
        return Chain(self.nodes.values(), now=self.now, past=past)

    @property
    def producers(self) -> Mapping[str, Producer]:
        return {name: each.producer for name, each in sorted(self.nodes.items()) if each.producer is not None}

    def readings(self, past: Mapping[str, timedelta] | None = None) -> list[Reading]:
        """Every consumer of a batch asset with what it reads there, in order."""
        typical = self.typically(past or {})
        slow = Chain(self.nodes.values(), now=self.now, window=BATCH_WINDOW)
        return [
            Reading(
                consumer=node.name,
                producer=name,
                tolerance=tolerance,
                worst=self.read(node.name, name),
                typical=typical.read(node.name, name),
                at_window=slow.read(node.name, name),
            )
            for node in sorted(self.nodes.values(), key=lambda each: each.name)
            for name, tolerance in sorted(node.inputs.items())
            if tolerance is not None and name in self.nodes and self.nodes[name].producer is not None
        ]

    def cadence(self, name: str) -> Age:
        """The longest time between two runs of an asset: unknown where nothing that ticks starts it."""
        node = self.nodes[name]
        gap = longest_gap(node.crons, now=self.now)
        if gap is not None:
            share = gap.duration if self._past is None else gap.duration / 2
            names = ", ".join(str(each) for each in node.crons)
            return Age((Term(duration=share, what=f"between two runs of {name} ({names})"),))
        return Age((), (f"the time between two runs of {name}, which has no schedule",))

    def landed(self, name: str) -> Age:
        """The age of an asset's rows as they land."""
        return self._plan(name).plus(*self._lag(name))

    def lasting(self, name: str) -> Age:
        """The age that an asset's rows reach before newer ones land."""
        if name not in self._lasting:
            self._plan(name)  # with what leads to it, before it
            node = self.nodes[name]
            if node.source:
                self._lasting[name] = Age()
            elif not node.crons and node.follows:
                self._lasting[name] = self._oldest(
                    self.lasting(each).plus(*self._lag(name)) for each in self.known_inputs(node)
                )
            else:
                cadence = self.cadence(name)
                self._lasting[name] = self._plan(name).plus(*cadence.terms, *self._lag(name), unknown=cadence.unknown)
        return self._lasting[name]

    def read(self, consumer: str, producer: str) -> Age:
        """The age that the rows of `producer` may have when `consumer` reads them by any of its triggers."""
        reader, made = self.nodes[consumer], self.nodes[producer]
        if made.source:
            return Age()
        shared = sorted(reader.jobs & made.jobs)
        ages = [self._in_job(job, producer) for job in shared]
        # an automation condition that ticks and follows waits for its inputs to land after the tick
        own = [each for each in reader.crons if each.name not in {*shared, AUTOMATION if reader.follows else ""}]
        if own:
            ages.append(self._by_clock(made, own))
        if reader.follows:
            several = sum(not self.nodes[each].source for each in self.known_inputs(reader)) > 1
            ages.append(self.lasting(producer) if several else self.landed(producer))
        return self._oldest(ages) if ages else self.lasting(producer)

    @cached_property
    def slas(self) -> Sequence[Sla]:
        """The deadlines of assets that depend on batch assets."""
        return [node.sla for node in self.nodes.values() if node.sla is not None and self._ahead(node.name, _NOTHING)]

    def handed_up(self) -> dict[str, list[Handed]]:
        """The deadlines that each batch asset inherits: from every SLA that it is on the way to."""
        found: dict[str, list[Handed]] = {}
        for sla in self.slas:
            for name, ahead in self._ahead(sla.asset, MARGIN).items():
                found.setdefault(name, []).append(Handed(sla=sla, ahead=ahead))
        return found

    def _ahead(self, name: str, after: timedelta) -> dict[str, timedelta]:
        """By batch asset on the way to `name`: how long before its deadline batches have to have ended, where what
        follows `name` takes `after`."""
        follows, found = {name: after}, dict[str, timedelta]()
        for key in reversed(self._upstream(name)):
            node, ahead = self.nodes[key], follows[key]
            if node.producer is not None:
                found[key] = ahead + COLLECTING
                ahead = found[key] + node.producer.deadline
            for each in self.known_inputs(node):
                follows[each] = max(ahead, follows.get(each, _NOTHING))
        return found

    def triggers(self, name: str) -> Sequence[Cron]:
        """When an asset runs by the clock: by its schedules, or by those of the inputs that it follows."""
        found: dict[Cron, None] = {}
        asked = {name}
        for key in reversed(self._upstream(name)):
            node = self.nodes[key]
            if key in asked:
                found |= dict.fromkeys(node.crons)
                asked |= set(self.known_inputs(node)) if node.follows and not node.crons else set()
        return list(found)

    def check(self) -> None:
        """Raise DefinitionError for a contract, a tolerance or an SLA that cannot be kept, with the arithmetic."""
        for name, producer in self.producers.items():
            lasting = self.lasting(name)
            if lasting.total > producer.contract.valid_for:
                raise DefinitionError(
                    f"{name}: contract valid_for={exactly(producer.contract.valid_for)} is shorter than its rows have "
                    f"to last: {lasting}. Make valid_for at least {_as_code(lasting.total)}, run {name} more often, "
                    "or shorten the workload's deadline."
                )
        for reading in self.readings():
            if reading.worst.total > reading.tolerance.max_staleness:
                raise DefinitionError(self._cannot_be_met(reading))
        for sla in self.slas:
            self._check_sla(self.nodes[sla.asset], sla)

    def _check_sla(self, node: Node, sla: Sla) -> None:
        """Raise DefinitionError where no run can make the asset within the window before some deadline."""
        crons = self.triggers(node.name)
        since = times_since(crons, [sla.deadline], lag=_NOTHING, now=self.now)
        # what runs at the window's beginning makes the asset later, when what it waits for has landed
        allowed = sla.window + max((self._longest_way(each) for each in self.known_inputs(node)), default=_NOTHING)
        if since and since[-1] > allowed:
            names = ", ".join(map(str, crons))
            raise DefinitionError(
                f"{node.name}: freshness_sla({sla.deadline.cron_schedule!r}, lower_bound_delta={exactly(sla.window)}) "
                f"cannot be met: before some deadline the last run ({names}) begins {exactly(since[-1])} earlier. Run "
                "it nearer to the deadline, or make lower_bound_delta longer."
            )

    def _longest_way(self, name: str) -> timedelta:
        """The deadlines along the longest way to an asset, itself included."""
        ways: dict[str, timedelta] = {}
        for key in self._upstream(name):
            own = sum((term.duration for term in self._lag(key)), _NOTHING)
            ways[key] = own + max((ways[each] for each in self.known_inputs(self.nodes[key])), default=_NOTHING)
        return ways[name]

    def _cannot_be_met(self, reading: Reading) -> str:
        consumer, producer = reading.consumer, reading.producer
        landed = self.landed(producer)
        remedies = [f"let {consumer} tolerate {_as_code(reading.worst.total)}", f"run {producer} more often"]
        if landed.total <= reading.tolerance.max_staleness and landed.total < reading.worst.total:
            remedies.insert(
                0, f"run {consumer} in the same job as {producer}, where it reads rows as they land ({landed})"
            )
        path = " -> ".join(self._path(producer, consumer))
        return (
            f"{consumer}: max_staleness={exactly(reading.tolerance.max_staleness)} for {producer} cannot be met along "
            f"{path}: {reading.worst}. One of these helps: {'; '.join(remedies)}."
        )

    def _path(self, *ends: str) -> list[str]:
        """The batch assets and what lies between, from the oldest contribution to the consumer."""
        path = list(ends)
        while True:
            node = self.nodes[path[0]]
            known = [each for each in self.known_inputs(node) if not self.nodes[each].source]
            if not known:
                return path
            path.insert(0, max(known, key=lambda each: self.read(node.name, each).total))

    def _plan(self, name: str) -> Age:
        """The age of what an asset has read when it begins to make its rows."""
        if name not in self._planned:
            for key in self._upstream(name):
                if key not in self._planned:
                    node = self.nodes[key]
                    self._planned[key] = self._oldest(self._let_through(node, each) for each in self.known_inputs(node))
                    self.lasting(key)
        return self._planned[name]

    def _let_through(self, node: Node, name: str) -> Age:
        age, tolerance = self.read(node.name, name), node.inputs[name]
        if tolerance is None or tolerance.on_stale != "fail":
            return age
        return age.capped(tolerance.max_staleness, f"that {node.name} tolerates of {name}")

    def _lag(self, name: str) -> Sequence[Term]:
        producer = self.nodes[name].producer
        if producer is None:
            return ()
        usual = None if self._past is None else self._past.get(name)
        if usual is not None:
            return (Term(duration=usual, what=f"until {name} usually has landed"),)
        longest = Term(duration=producer.deadline, what=f"deadline of {name}")
        rescued = producer.on_deadline is OnDeadline.RESCUE and producer.deadline > producer.rescue_needs
        if self._window > producer.deadline and producer.lane == Lane.BATCH and not rescued:
            longest = Term(duration=self._window, what=f"window of the provider of {name}")
        return (longest, Term(duration=COLLECTING, what="for collecting"))

    def _in_job(self, job: str, name: str) -> Age:
        """The age of rows read in the run that made them. What lands together is waited for together."""
        beside = [
            each
            for each, node in self.nodes.items()
            if job in node.jobs and node.producer is not None and self._level(job)[each] == self._level(job)[name]
        ]
        if self.nodes[name].producer is None:
            return self._plan(name)
        slowest = max(beside, key=lambda each: (sum((term.duration for term in self._lag(each)), _NOTHING), each))
        return self._plan(name).plus(*self._lag(slowest))

    def _level(self, job: str) -> Mapping[str, int]:
        """By asset of the job: how many of its batch assets have landed, one after the other, before it is planned."""
        if job not in self._levels:
            levels: dict[str, int] = {}
            for name in self.order:
                if job in self.nodes[name].jobs:
                    above = [each for each in self.known_inputs(self.nodes[name]) if each in levels]
                    levels[name] = max(
                        (levels[each] + (self.nodes[each].producer is not None) for each in above), default=0
                    )
            self._levels[job] = levels
        return self._levels[job]

    def _by_clock(self, made: Node, crons: Sequence[Cron]) -> Age:
        lag = sum((term.duration for term in self._lag(made.name)), _NOTHING)
        since = times_since(made.crons, crons, lag=lag, now=self.now)
        if not since:
            return self.lasting(made.name)
        chosen = since[-1] if self._past is None else median_low(since)
        names = ", ".join(str(each) for each in crons)
        by_the_clock = Term(
            duration=chosen, what=f"since the run of {made.name} that has landed for certain when {names} reads"
        )
        return self._plan(made.name).plus(by_the_clock)

    def known_inputs(self, node: Node) -> list[str]:
        """What it reads of this graph."""
        return [each for each in node.inputs if each in self.nodes and each != node.name]

    @cached_property
    def members(self) -> Mapping[str, Collection[str]]:
        """What is in each scheduled job."""
        found: dict[str, set[str]] = {}
        for name, node in self.nodes.items():
            for job in node.jobs:
                found.setdefault(job, set()).add(name)
        return found

    @cached_property
    def order(self) -> Sequence[str]:
        """Every node, after all that it reads: a graph may be deeper than calls can be, and have too many ways to walk
        each of them."""
        return list(
            TopologicalSorter({name: self.known_inputs(node) for name, node in self.nodes.items()}).static_order()
        )

    def _upstream(self, name: str) -> Sequence[str]:
        """Everything that leads to an asset, in order, itself the last."""
        found, left = {name}, [name]
        while left:
            more = [each for each in self.known_inputs(self.nodes[left.pop()]) if each not in found]
            found.update(more)
            left.extend(more)
        return [each for each in self.order if each in found]

    def _oldest(self, ages: Iterable[Age]) -> Age:
        """The oldest of them, and everything that is unknown of any."""
        found = list(ages)
        if not found:
            return Age()
        oldest = max(found, key=lambda each: each.total)
        unknown = dict.fromkeys(each for age in found for each in age.unknown)
        return replace(oldest, unknown=tuple(unknown))


def _as_code(duration: timedelta) -> str:
    """A timedelta expression of at least that length, in whole hours or minutes."""
    size, name = (3_600, "hours") if duration >= timedelta(hours=2) else (60, "minutes")
    return f"timedelta({name}={-(-int(duration.total_seconds()) // size)})"
