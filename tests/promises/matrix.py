"""A process is killed at one point of the product's, another one goes on; and what has to hold then."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from offpeak.clock import EPOCH
from offpeak.faultpoints import FaultPoint
from offpeak.results.store import ResultStore

from ..conftest import LocalProvider, Place, tickets, until
from . import rederiving
from .conftest import DIED, Forge

ROWS = tickets(7)
P = FaultPoint


@dataclass(frozen=True)
class Scene:
    """What has to go wrong at the provider for a process to come by a point at all."""

    faults: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    first: Mapping[str, Any] = field(default_factory=dict)
    """What the process that dies is told besides."""
    runs: int = 1
    """How many runs it takes afterwards until everything is settled."""
    wasted: int = 0
    """Batches that the provider accepts, and that bring nothing."""
    called: bool = False
    """It is bought in the background lane, where what was in flight may be bought again."""


LOST = Scene(faults=(("create_reset", {}),), first={"list_lag": 0.1})
LATE = Scene(
    # the list hides the batch for longer than anybody waits; it brings nothing, since it is not run
    faults=(("ghost_reset", {}), ("list_lag", {"seconds": 1.0}), ("expire", {"share": 0.0})),
    first={"list_lag": 0.05},
    runs=2,
    wasted=1,
)
STOPPED = Scene(faults=(("never_end", {"share": 0.0}),), first={"stop": True}, wasted=1)
SAMPLED = Scene(first={"sample": {"rows": 3, "max_failures": 0.5}})
CALLED = Scene(first={"lane": "background"}, called=True)
OF_A_FULL_QUEUE = frozenset({P.PARTS_SPOOLED, P.CHUNK_SPLIT, P.CHUNK_DROPPED, P.STAND_INS_QUEUED, P.STAND_INS_SERVED})
"""What comes of dying there is judged by itself (test_full_queue_through_crashes.py)."""
OF_A_RESCUE = frozenset({P.GIVEN_UP, P.REST_QUEUED, P.TWICE_INTENDED})
"""So is that (test_rescued_through_crashes.py)."""
POINTS = [point for point in FaultPoint if point not in OF_A_FULL_QUEUE | OF_A_RESCUE]

SCENES: Mapping[FaultPoint, Scene] = {
    P.PLACE_TAKEN: Scene(first={"budget": {"day": "1"}}),
    P.FENCED: LOST,
    P.RESTAMPED: LOST,
    P.REQUEUED: LOST,
    P.REFUSED: Scene(faults=(("create_500", {"status": 400}),)),
    P.CANCEL_SENT: STOPPED,
    P.CANCEL_RECORDED: STOPPED,
    P.LATE_RECORDED: LATE,
    P.CALLS_INTENDED: CALLED,
    P.CALL_ANSWERED: CALLED,
    P.CALLS_RECORDED: CALLED,
    P.SAMPLE_SHOWN: SAMPLED,
    P.SAMPLE_JUDGED: SAMPLED,
}
"""Points that a plain purchase does not come by."""


def kill_and_go_on(forge: Forge, place: Place, local_provider: LocalProvider, provider: str, point: FaultPoint) -> None:
    """Kill a purchase at `point`, carry it to its end, and judge by the provider's own account."""
    scene = SCENES.get(point, Scene())
    for fault, rule in scene.faults:
        local_provider.fault(fault, **rule)
    if point is P.LATE_RECORDED:
        _lose_and_buy_again(forge, place, local_provider, provider)
    dying = forge.start(place, local_provider, provider, rows=ROWS, die_at=point.value, **scene.first)
    assert dying.wait() == DIED, f"no process came by {point}"
    local_provider.call("DELETE", "/local/faults")
    if scene is STOPPED:  # it may have been cancelled or not; it ends with nothing run
        for batch in local_provider.batches():
            local_provider.heal(batch["id"])
            local_provider.fault("expire", batch=batch["id"], share=0.0)
    lane = {"lane": "background"} if scene.called else {}
    for _ in range(scene.runs):
        receipt = forge.start(place, local_provider, provider, rows=ROWS, **lane).receipt()

    assert (receipt["rows"], receipt["failed"]) == (len(ROWS), 0)
    if scene.called:
        judge_called(place, local_provider, provider, receipt, in_flight=len(ROWS))
        return
    assert receipt["possibly_paid_twice"] == 0
    judge(place, local_provider, provider, batches=1 + scene.wasted)


def kill_and_stop(forge: Forge, place: Place, local_provider: LocalProvider, provider: str, point: FaultPoint) -> None:
    """Kill a purchase at `point`, stop what it had begun, and buy the rest: nothing stays open, or is lost."""
    local_provider.fault("never_end", share=0.5, times=None)
    dying = forge.start(place, local_provider, provider, rows=ROWS, die_at=point.value)
    assert dying.wait() == DIED, f"no process came by {point}"
    forge.start(place, local_provider, provider, rows=ROWS, stop=True).receipt()

    assert all(batch["outcome"] for batch in local_provider.batches()), "a batch was left open"
    finished = local_provider.tally(provider)["answers_delivered"]
    local_provider.call("DELETE", "/local/faults")
    receipt = forge.start(place, local_provider, provider, rows=ROWS).receipt()
    assert (receipt["rows"], receipt["reused"]) == (len(ROWS), finished)
    assert receipt["bought"] + receipt["joined"] == len(ROWS) - finished  # what was queued and not sent is joined
    assert local_provider.answered(at_least=2) == [], "a usable answer was bought twice"


def _lose_and_buy_again(forge: Forge, place: Place, local_provider: LocalProvider, provider: str) -> None:
    """A purchase whose first batch is hidden by the list, is given up, and has ended when the list shows it."""
    forge.start(place, local_provider, provider, rows=ROWS, list_lag=0.05).receipt()
    assert local_provider.tally(provider)["batches_created"] == 2
    account = local_provider.open(provider)
    # what was collected may be deleted by now
    kept = {batch["id"] for batch in local_provider.batches() if not batch["deleted"]}
    until(
        lambda: kept <= {batch.id for batch in account.batches(since=EPOCH) if batch.state.terminal},
        what="the end of the hidden batch in the list",
    )
    account.close()


def judge_called(
    place: Place, local_provider: LocalProvider, provider: str, receipt: Mapping[str, Any], *, in_flight: int
) -> None:
    """Every row has its answer; no more was bought twice than was in flight, and all of that is counted."""
    from .buyer import Verdict

    twice = local_provider.answered(at_least=2)
    tally = local_provider.tally(provider)
    assert len(twice) <= receipt["possibly_paid_twice"] <= in_flight
    assert tally["realtime_answers"] == receipt["rows"] + sum(each["answered"] - 1 for each in twice)
    assert tally["batches_created"] == 0
    with place.open() as ledger:
        frame = ResultStore(ledger).frame("labels", partitions=None, output=Verdict)
        assert len(frame) == receipt["rows"]
        rederiving.check(ledger)


def judge(place: Place, local_provider: LocalProvider, provider: str, *, batches: int) -> None:
    """Every answer was bought once, every row has its own, nothing is left open, and the events tell all of it."""
    from .buyer import Verdict

    assert local_provider.answered(at_least=2) == [], "a usable answer was bought twice"
    tally = local_provider.tally(provider)
    assert (tally["batches_created"], tally["answers_delivered"]) == (batches, len(ROWS))
    assert all(batch["outcome"] for batch in local_provider.batches()), "a batch was left open"
    with place.open() as ledger:
        frame = ResultStore(ledger).frame("labels", partitions=None, output=Verdict)
        assert set(frame["key"]) == set(ROWS)
        rederiving.check(ledger)
