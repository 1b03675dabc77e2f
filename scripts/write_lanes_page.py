"""Write docs/reference/lanes.md, the table in it by asking the rule that decides about every purchase."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from offpeak.assets.orders import BEGINNING, LANE_TAG
from offpeak.clock import exactly
from offpeak.lanes.landing import ASSUMED_PER_MINUTE
from offpeak.lanes.rescue import TERMS, reserve
from offpeak.lanes.rule import FEWEST_PAST, UNKNOWN_TAIL, Due, Facts, Forced, decide
from offpeak.lanes.workload import Waiting
from offpeak.ledger.conditions import SLOW_TAIL
from offpeak.ledger.deadline import OnDeadline
from offpeak.ledger.lane import Lane
from offpeak.providers.base import BATCH_WINDOW

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference" / "lanes.md"

HOUR = timedelta(hours=1)
CENT = Decimal("0.01")

HEAD = f"""# Lanes

There are two ways to buy an answer. One question decides between them: **who is waiting, and until when?**

| lane | for whom | how | at what price |
|---|---|---|---|
| `{Lane.BATCH}` | nobody waits; hours are fine | the provider's batch tier, which may take its whole window of \
{exactly(BATCH_WINDOW)} | about half |
| `{Lane.BACKGROUND}` | a person asked and walked away, or the deadline is too tight for a batch | the realtime \
endpoints, within their rate limits: minutes | the realtime price |

Somebody who watches is served by neither: `Waiting.WATCHING` is refused when the definitions load. Call the provider
directly there.

This page is written from the code that decides: the table below is what it answers.

## What decides

- **Who waits**: `Workload(waiting=...)` of the asset.
- **Until when**: `Workload(deadline=...)`, counted from the creation of the run, or a time of day with its zone; and a
  deadline that the asset [inherits](../how-to/be-fresh-by-nine.md) from a `freshness_sla` downstream, where that is
  tighter. Up to {exactly(BEGINNING)} that has passed since the run's creation does not make it tighter: a day has room
  for a batch also when the run took minutes to begin. But where it is tighter than the
  window, and what is left of it by then is too little for a rescue, the batch is not chosen.
- **The whole chain**: what a run buys after this asset, and of its rows, has to be there by *its* deadline. Two batches
  in a row may take two windows, three may take three. Of all these deadlines the one counts that leaves the least room.
- **What it saves**: with `BatchApi(smallest_saving="0.01")` a run for which the batch tier would save less than that
  many dollars does not wait for it. The default, `"0"`, takes every saving.
- **What is done about the rest** at the deadline, `on_deadline=`. With `"{OnDeadline.RESCUE}"`, the default, what a
  slow batch leaves is [bought at realtime price](../how-to/keep-a-deadline.md) in time: so the deadline need
  only leave room for the slow tail of past batches, and for the rescue itself. With `"{OnDeadline.SERVE_LAST_GOOD}"`
  old answers will do, and it need only leave room for the slow tail. With `"{OnDeadline.FAIL}"` it has to leave room
  for the whole windows. The slow tail is what {SLOW_TAIL:.0%} of the asset's past batches took at most; with fewer
  than {FEWEST_PAST} it is taken to be {exactly(UNKNOWN_TAIL)}. A rescue needs a margin of {exactly(TERMS.margin)},
  {exactly(TERMS.cancel_bound)} for cancelling, and the time for calling what a slow batch leaves, a tenth.

## The rule
"""

FOOT = f"""
## Force a lane

`@batch_asset(lane="batch")` or `lane="background"` on the asset, or the run tag `{LANE_TAG}` on one run, which comes
before what the asset declares. It is obeyed, and the reason says who forced it and what the rule would have said. What
is forced to `batch` and would be late is [rescued](../how-to/keep-a-deadline.md) all the same, unless the deadline does
not even leave room for the rescue. Force it where half the price is worth being late now and then, and something tells
when it is:

```python
from collections.abc import Iterator
from datetime import time, timedelta
from zoneinfo import ZoneInfo

import pandas as pd

from offpeak import Chat, FreshnessContract, Waiting, Workload, batch_asset


@batch_asset(
    model="openai/gpt-5-mini",
    workload=Workload(waiting=Waiting.NOBODY, deadline=time(9, tzinfo=ZoneInfo("Europe/Berlin")), volume=2_000),
    contract=FreshnessContract(valid_for=timedelta(hours=49)),
    lane="batch",  # mostly there within hours, and a late morning is no harm
)
def morning_notes(visits: pd.DataFrame) -> Iterator[Chat]:
    for visit in visits.itertuples():
        yield Chat(key=visit.visit_id, prompt=visit.text)
```

## See what was decided

- `offpeak plan ASSET`, before anything is bought: the lane and its arithmetic, when each lane would land, and both
  prices. For the background lane it goes by the requests a minute that the provider was last seen to allow, and assumes
  {ASSUMED_PER_MINUTE} where it has not said so yet.
- `offpeak jobs` lists each job's lane; `offpeak jobs show ID` has the reason. Both have it in `--json`.
- The materialization's [metadata](metadata.md#on-each-materialization): `lane` and `lane_reason`.
- `contracts.lock` has the lane that an asset's declaration leads to. A change of it
  [needs its consumers' word](../how-to/change-a-contract.md).

A request that two jobs wait for takes the tightest deadline of both. A batch that is not sent yet moves to the
background as a whole where a job that is bought there has a deadline tighter than {exactly(BATCH_WINDOW)}; where it can
wait, it waits for the batch, which costs half. A [sample](../how-to/try-a-prompt-first.md) is always bought in the
background, because somebody may be waiting to look at it.

## What is refused

When the definitions load, with the arithmetic, naming asset and field:

- `Waiting.WATCHING`, and `Waiting.WALKED_AWAY` with a deadline of less than a minute;
- a time of day without a named zone, or with seconds;
- an asset that is due before one that it reads and that the same job buys first;
- a time of day that comes after a `freshness_sla` that waits for the asset;
- a contract or tolerance that [deadlines and schedules](../explanation/freshness.md#how-old-it-can-get) cannot keep.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A line of the table."""

    facts: Facts
    past: str = "any"


def cases() -> list[Case]:
    nobody, away = Waiting.NOBODY, Waiting.WALKED_AWAY
    slow = (2 * HOUR, 2 * HOUR, 3 * HOUR, 3 * HOUR, 9 * HOUR)
    shown = "5, the slowest 9 h"
    cheap: dict[str, Any] = {
        "batch_cost": CENT * Decimal("0.4"),
        "realtime_cost": CENT * Decimal("0.8"),
        "smallest_saving": CENT,
    }
    return [
        Case(facts=_facts(nobody, 24)),
        Case(facts=_facts(nobody, 23)),
        Case(facts=_facts(nobody, 1)),
        Case(facts=_facts(away, 1)),
        Case(facts=_facts(away, 24)),
        Case(facts=_facts(nobody, 48, steps=2)),
        Case(facts=_facts(nobody, 47, steps=2)),
        Case(facts=_facts(away, 47, steps=2)),
        Case(facts=_facts(nobody, 24, new=12, **cheap)),
        Case(facts=_facts(nobody, 24, new=12, one_off=True, **cheap)),
        Case(facts=_facts(nobody, 1, new=12, **cheap)),
        Case(facts=_facts(nobody, 1, new=0)),
        Case(facts=_facts(nobody, 11, past=slow), past=shown),
        Case(facts=_facts(nobody, 11, past=slow, on_deadline=OnDeadline.RESCUE), past=shown),
        Case(facts=_facts(nobody, 9, past=slow, on_deadline=OnDeadline.RESCUE), past=shown),
        Case(facts=_facts(nobody, 10, past=slow, on_deadline=OnDeadline.SERVE_LAST_GOOD), past=shown),
        Case(facts=_facts(nobody, 9, past=slow, on_deadline=OnDeadline.SERVE_LAST_GOOD), past=shown),
        Case(facts=_facts(nobody, 20, steps=2, past=slow, on_deadline=OnDeadline.RESCUE), past=shown),
        Case(facts=_facts(nobody, 12, on_deadline=OnDeadline.RESCUE), past="none"),
        Case(facts=_facts(nobody, 6, on_deadline=OnDeadline.RESCUE), past="none"),
        Case(facts=_facts(away, 13, past=slow, on_deadline=OnDeadline.RESCUE), past=shown),
        Case(facts=_facts(nobody, 12, forced=Forced(lane=Lane.BATCH, by="the asset's lane="))),
        Case(facts=_facts(nobody, 24, forced=Forced(lane=Lane.BACKGROUND, by=f"the run tag {LANE_TAG}"))),
    ]


def _facts(waiting: Waiting, hours: int, *, steps: int = 1, **more: Any) -> Facts:
    due = Due(deadline=hours * HOUR, steps=steps, of="" if steps == 1 else "what is bought next")
    values: dict[str, Any] = {"new": 2_000, "batch_cost": Decimal(1), "realtime_cost": Decimal(2)}
    values |= {"on_deadline": OnDeadline.FAIL, "reserve": reserve(timedelta(minutes=1), TERMS)}
    return Facts(waiting=waiting, due=due, **values | more)


def lanes_page() -> str:
    """The whole page, ending in a line break."""
    names = (
        "who waits",
        "due in",
        "batches in a row",
        "to buy",
        "saves",
        "past batches",
        "on_deadline",
        "lane",
        "because",
    )
    rows = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    rows += [f"| {' | '.join(_cells(each))} |" for each in cases()]
    return f"{HEAD}\n" + "\n".join(rows) + f"\n{FOOT}"


def _cells(case: Case) -> list[str]:
    facts, decision = case.facts, decide(case.facts)
    saves = f"${facts.saving.normalize():f}"
    return [
        facts.waiting.value.replace("_", " "),
        exactly(facts.due.deadline),
        str(facts.due.steps),
        f"{facts.new:,}",
        (f"{saves}, of ${facts.smallest_saving} wanted" if facts.smallest_saving else saves) if facts.new else "",
        case.past,
        f"`{facts.on_deadline}`",
        f"**{decision.lane}**",
        decision.reason,
    ]


if __name__ == "__main__":
    TARGET.write_text(lanes_page(), encoding="utf-8")
    print(f"Wrote {TARGET}")
