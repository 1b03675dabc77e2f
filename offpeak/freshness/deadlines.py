"""Deadlines along a chain: what is bought after an asset in the same run, and deadlines that contradict each other.

A deadline counts from the creation of a run. So what a run buys last has to leave room for all that it buys before.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from offpeak.clock import exactly, moment
from offpeak.errors import DefinitionError
from offpeak.freshness.cadence import Cron, following
from offpeak.freshness.chain import Chain, Node, Producer
from offpeak.ledger.lane import Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """A batch asset that a run buys after another one."""

    name: str
    steps: int
    """Batches in a row from the other asset's to its own, both included. What is forced into the background is none."""
    producer: Producer


def bought_after(chain: Chain, name: str, *, selected: Collection[str] | None = None) -> list[Later]:
    """What is bought after `name` and stands on it, in a run of `selected`; without, in any of its scheduled jobs.

    What follows by its automation condition has a run of its own, whose deadline begins anew, unless it is selected.
    """
    if selected is not None:
        return _later(chain, name, selected)
    found: dict[str, Later] = {}
    for job in sorted(chain.nodes[name].jobs):
        for each in _later(chain, name, chain.members[job]):
            if each.name not in found or each.steps > found[each.name].steps:
                found[each.name] = each
    return list(found.values())


def check_deadlines(chain: Chain) -> None:
    """Raise DefinitionError for a deadline that contradicts another one along the chain, with the arithmetic."""
    for name, producer in chain.producers.items():
        for later in bought_after(chain, name):
            _refuse_earlier(chain, name, producer, later)
    for name, handed in chain.handed_up().items():
        daily = chain.producers[name].daily
        for sla in {each.sla for each in handed if daily is not None}:
            _refuse_after_sla(chain, name, daily, sla.asset, sla.deadline)


def _later(chain: Chain, name: str, among: Collection[str]) -> list[Later]:
    steps = {name: _window(chain.nodes[name])}
    for key in chain.order:
        if key not in among or key == name:
            continue
        node = chain.nodes[key]
        above = [steps[each] for each in chain.known_inputs(node) if each in steps]
        if above:
            steps[key] = max(above) + _window(node)
    return [
        Later(name=key, steps=max(count, 1), producer=producer)
        for key, count in steps.items()
        if key != name and (producer := chain.nodes[key].producer) is not None
    ]


def _window(node: Node) -> int:
    """How many windows of the provider its own purchase needs."""
    producer = node.producer
    return int(producer is not None and not (producer.forced and producer.lane == Lane.BACKGROUND))


def _refuse_earlier(chain: Chain, name: str, producer: Producer, later: Later) -> None:
    """Raise DefinitionError where the later asset of a run is wanted before the one that it stands on."""
    below = later.producer
    remedy = f"Give {later.name} a later deadline, or {name} an earlier one: Workload(deadline=...)."
    if producer.daily is None and below.daily is None:
        if below.deadline < producer.deadline:
            raise DefinitionError(
                f"{later.name}: workload deadline={exactly(below.deadline)} ends before that of {name}, "
                f"{exactly(producer.deadline)}, which it stands on and which the same run buys first: it would be due "
                f"{exactly(producer.deadline - below.deadline)} before its input is. {remedy}"
            )
        return
    crons = [
        each for each in chain.nodes[name].crons if each.name in chain.nodes[name].jobs & chain.nodes[later.name].jobs
    ]
    ends = [(each.daily,) if each.daily is not None else crons for each in (producer, below)]
    for begun, _ in following(crons, *ends, now=chain.now):
        due, due_below = producer.due_at(begun), below.due_at(begun)
        if due_below < due:
            raise DefinitionError(
                f"{later.name}: the workload's deadline contradicts that of {name}, which it stands on and which the "
                f"same run buys first: of a run at {moment(begun)}, {later.name} is due at {moment(due_below)} and "
                f"{name} at {moment(due)}, {exactly(due - due_below)} later. {remedy}"
            )


def _refuse_after_sla(chain: Chain, name: str, daily: Cron | None, asset: str, sla: Cron) -> None:
    """Raise DefinitionError where a time of day comes only after the SLA that a run is for."""
    ends: Iterable[Cron] = () if daily is None else (daily,)
    for begun, (due, wanted) in following(chain.triggers(name), ends, (sla,), now=chain.now):
        if due > wanted:
            raise DefinitionError(
                f"{name}: the workload's deadline comes after an SLA that waits for it: of a run at {moment(begun)}, "
                f"{name} is due at {moment(due)}, and {asset} has to be fresh by {moment(wanted)} "
                f"({sla.cron_schedule!r} in {sla.timezone}), {exactly(due - wanted)} before. Make the deadline earlier "
                "than the SLA, or run it sooner."
            )
