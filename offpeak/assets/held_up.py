"""What a launch will hold up: which runs it skips, when these are made up, and which promises that breaks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from offpeak.assets.notices import Teller
from offpeak.clock import moment
from offpeak.freshness.cadence import last_tick
from offpeak.freshness.chain import AUTOMATION, Chain
from offpeak.freshness.contract import COLLECTING
from offpeak.launches.launch import Launch
from offpeak.ledger.notices import Notice

_MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldUp:
    """A batch asset with scheduled runs that fall into a launch."""

    asset: str
    runs: int
    """That are skipped."""
    made_up_at: datetime
    """When one run makes up for them."""
    lands_by: datetime
    """When its rows have landed at the latest."""
    stale_from: datetime | None
    """When rows become older than the asset's contract allows; None where they do not before others have landed."""
    late: Sequence[tuple[str, datetime]] = ()
    """Assets downstream, and when they have to be fresh and may not be."""

    @property
    def breaks_a_promise(self) -> bool:
        return self.stale_from is not None or bool(self.late)

    def __str__(self) -> str:
        runs = "1 run is" if self.runs == 1 else f"{self.runs:,} runs are"
        said = [
            f"{runs} skipped and made up at {moment(self.made_up_at)}, so that its rows land by {moment(self.lands_by)}"
        ]
        if self.stale_from is not None:
            said.append(f"they are older than its contract allows from {moment(self.stale_from)} until then")
        said += [f"{name}, due at {moment(due)}, may be late" for name, due in self.late]
        return "; ".join(said)


def held_up(chain: Chain, launch: Launch) -> list[HeldUp]:
    """What a launch holds up of the graph, those first that break a promise."""
    handed = chain.handed_up()
    found: list[HeldUp] = []
    for name, node in chain.nodes.items():
        if node.producer is None or node.producer.model.partition("/")[0] not in launch.providers:
            continue
        crons = [each for each in chain.triggers(name) if each.name != AUTOMATION]
        skipped = sorted({tick for each in crons for tick in each.ticks(launch.starts, launch.ends)})
        if not skipped:
            continue
        lands_by = launch.ends + node.producer.deadline + COLLECTING
        before = last_tick(crons, until=skipped[0] - _MOMENT)
        until = None if before is None else before + node.producer.contract.valid_for
        late = []
        for each in handed.get(name, ()):
            due = each.sla.upcoming(skipped[0])
            if due is not None and due < lands_by:
                late.append((each.sla.asset, due))
        found.append(
            HeldUp(
                asset=name,
                runs=len(skipped),
                made_up_at=launch.ends,
                lands_by=lands_by,
                stale_from=until if until is not None and until < lands_by else None,
                late=late,
            )
        )
    return sorted(found, key=lambda each: (not each.breaks_a_promise, each.asset))


def told(
    chain: Chain | None, launches: Iterable[Launch], tellers: Mapping[str, Teller], *, now: datetime
) -> list[Notice]:
    """What people are told of launches that come: promises that these will break, from `Launch.notice` before."""
    return [
        notice
        for launch in launches
        if chain is not None and launch.starts - launch.notice <= now < launch.ends
        for each in held_up(chain, launch)
        if each.breaks_a_promise and each.asset in tellers
        for notice in tellers[each.asset].held_up(launch.name, launch.starts, str(each))
    ]
