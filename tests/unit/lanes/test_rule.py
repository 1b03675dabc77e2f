"""Who waits, until when, for how much and through how many batches: to which lane that leads, and why."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpeak.errors import DefinitionError
from offpeak.lanes.rule import FEWEST_PAST, UNKNOWN_TAIL, Due, Facts, Forced, TooLate, binding, decide
from offpeak.lanes.workload import Waiting
from offpeak.ledger.conditions import slow_tail
from offpeak.ledger.deadline import OnDeadline
from offpeak.ledger.lane import Lane
from offpeak.providers.base import BATCH_WINDOW

H, MIN = timedelta(hours=1), timedelta(minutes=1)
NOBODY, AWAY = Waiting.NOBODY, Waiting.WALKED_AWAY
BATCH, BACKGROUND = Lane.BATCH, Lane.BACKGROUND
RESCUE, SERVE, FAIL = OnDeadline.RESCUE, OnDeadline.SERVE_LAST_GOOD, OnDeadline.FAIL
CENT = Decimal("0.01")
SLOW = (2 * H, 2 * H, 3 * H, 3 * H, 9 * H)  # their slow tail is 9 h
FEW = (H,) * (FEWEST_PAST - 1)


def facts(
    waiting: Waiting = NOBODY, deadline: timedelta = 24 * H, *, steps: int = 1, of: str = "", **more: object
) -> Facts:
    due = Due(deadline=deadline, steps=steps, of=of)
    values: dict[str, Any] = {"waiting": waiting, "due": due, "new": 500, "smallest_saving": Decimal(0)}
    values["on_deadline"] = FAIL
    prices = {"batch_cost": Decimal("1.00"), "realtime_cost": Decimal("2.00")}
    return Facts(**values | prices | more)


def small(**more: Any) -> dict[str, Any]:
    prices = {"batch_cost": Decimal("0.004"), "realtime_cost": Decimal("0.008"), "smallest_saving": CENT}
    return {**prices, "new": 12, **more}


TABLE = [
    # who waits, until when, through how many batches
    (facts(NOBODY, 24 * H), BATCH, "nobody watches, due in 24 h: no tighter than the provider's window of 24 h"),
    (
        facts(NOBODY, 24 * H - MIN),
        BACKGROUND,
        "nobody watches, due in 23 h 59 min: tighter than the provider's window of 24 h",
    ),
    (facts(NOBODY, timedelta(0)), BACKGROUND, "nobody watches, due in 0 s: tighter than the provider's window of 24 h"),
    (
        facts(AWAY, H),
        BACKGROUND,
        "a person asked and walked away, due in 1 h: minutes, not the provider's window of 24 h",
    ),
    (
        facts(AWAY, 24 * H),
        BATCH,
        "a person asked and walked away, due in 24 h: no tighter than the provider's window of 24 h",
    ),
    (
        facts(NOBODY, 48 * H, steps=2, of="summaries"),
        BATCH,
        "nobody watches, due in 48 h with summaries: no tighter than 2 batches in a row, 2 x 24 h = 48 h",
    ),
    (
        facts(NOBODY, 47 * H, steps=2, of="summaries"),
        BACKGROUND,
        "nobody watches, due in 47 h with summaries: tighter than 2 batches in a row, 2 x 24 h = 48 h",
    ),
    (
        facts(AWAY, 47 * H, steps=2, of="summaries"),
        BACKGROUND,
        "a person asked and walked away, due in 47 h with summaries: minutes, not 2 batches in a row, 2 x 24 h = 48 h",
    ),
    # what past batches took counts where what is late is rescued, or done without
    (
        facts(NOBODY, 10 * H, past=SLOW),
        BACKGROUND,
        "nobody watches, due in 10 h: tighter than the provider's window of 24 h",
    ),
    (
        facts(NOBODY, 10 * H + MIN, past=SLOW, on_deadline=RESCUE, reserve=H),
        BATCH,
        "nobody watches, due in 10 h 1 min: looser than 9 h that the slow tail of 5 past batches needs and 1 h for a "
        "rescue",
    ),
    (
        facts(NOBODY, 10 * H, past=SLOW, on_deadline=RESCUE, reserve=H),
        BACKGROUND,
        "nobody watches, due in 10 h: tighter than the provider's window of 24 h, and no looser than 9 h that the slow "
        "tail of 5 past batches needs and 1 h for a rescue",
    ),
    (
        facts(NOBODY, 10 * H, past=SLOW, on_deadline=SERVE, reserve=H),
        BATCH,
        "nobody watches, due in 10 h: looser than 9 h that the slow tail of 5 past batches needs; what is late is "
        "served from before",
    ),
    (
        facts(NOBODY, 9 * H, past=SLOW, on_deadline=SERVE, reserve=H),
        BACKGROUND,
        "nobody watches, due in 9 h: tighter than the provider's window of 24 h, and no looser than 9 h that the slow "
        "tail of 5 past batches needs",
    ),
    (
        facts(NOBODY, 20 * H, steps=2, of="summaries", past=SLOW, on_deadline=RESCUE, reserve=H),
        BATCH,
        "nobody watches, due in 20 h with summaries: looser than 2 x 9 h = 18 h that the slow tail of 5 past batches "
        "needs and 1 h for a rescue",
    ),
    (
        facts(NOBODY, 19 * H, steps=2, of="summaries", past=SLOW, on_deadline=RESCUE, reserve=H),
        BACKGROUND,
        "nobody watches, due in 19 h with summaries: tighter than 2 batches in a row, 2 x 24 h = 48 h, and no looser "
        "than 2 x 9 h = 18 h that the slow tail of 5 past batches needs and 1 h for a rescue",
    ),
    (
        facts(NOBODY, 7 * H, past=FEW, on_deadline=RESCUE, reserve=H),
        BACKGROUND,
        "nobody watches, due in 7 h: tighter than the provider's window of 24 h, and no looser than 6 h that a slow "
        "batch is taken to need, with 4 past ones known and 1 h for a rescue",
    ),
    (
        facts(NOBODY, 12 * H, past=FEW, on_deadline=RESCUE, reserve=H),
        BATCH,
        "nobody watches, due in 12 h: looser than 6 h that a slow batch is taken to need, with 4 past ones known and "
        "1 h for a rescue",
    ),
    (
        facts(AWAY, 13 * H, past=SLOW, on_deadline=RESCUE, reserve=H),
        BACKGROUND,
        "a person asked and walked away, due in 13 h: minutes, not the provider's window of 24 h",
    ),
    # a run that began too late for a rescue
    (
        facts(NOBODY, 12 * H, past=SLOW, on_deadline=RESCUE, reserve=H, too_late=TooLate(left=H, needed=2 * H)),
        BACKGROUND,
        "nobody watches, due in 12 h: its run began late, 1 h are left before its deadline, and a rescue needs 2 h",
    ),
    (
        facts(NOBODY, 12 * H, past=SLOW, on_deadline=SERVE, reserve=H, too_late=TooLate(left=H, needed=2 * H)),
        BATCH,
        "nobody watches, due in 12 h: looser than 9 h that the slow tail of 5 past batches needs; what is late is "
        "served from before",
    ),
    # what is saved
    (
        facts(**small()),
        BACKGROUND,
        "low volume (12 requests): about $0.0080 at realtime price, $0.0040 on the batch tier; the saving of $0.0040 "
        "is below smallest_saving, $0.01",
    ),
    (
        facts(**small(volume=5_000)),
        BACKGROUND,
        "low volume (12 requests where 5,000 are usual): about $0.0080 at realtime price, $0.0040 on the batch tier; "
        "the saving of $0.0040 is below smallest_saving, $0.01",
    ),
    (
        facts(**small(one_off=True)),
        BACKGROUND,
        "a one-off job: about $0.0080 at realtime price, $0.0040 on the batch tier; the saving of $0.0040 is below "
        "smallest_saving, $0.01",
    ),
    (
        facts(**small(smallest_saving=Decimal("0.004"), one_off=True)),
        BATCH,
        "nobody watches, due in 24 h: no tighter than the provider's window of 24 h",
    ),
    (
        facts(**small(smallest_saving=Decimal(0))),
        BATCH,
        "nobody watches, due in 24 h: no tighter than the provider's window of 24 h",
    ),
    (
        facts(NOBODY, H, **small()),
        BACKGROUND,
        "nobody watches, due in 1 h: tighter than the provider's window of 24 h",
    ),
    # nothing to buy
    (facts(NOBODY, MIN, new=0), BATCH, "nothing is bought: every row has its answer"),
    (facts(AWAY, MIN, **small(new=0)), BATCH, "nothing is bought: every row has its answer"),
    (
        facts(**small(new=0, joined=3)),
        BATCH,
        "nobody watches, due in 24 h: no tighter than the provider's window of 24 h",
    ),
    (
        facts(AWAY, H, new=0, joined=3),
        BACKGROUND,
        "a person asked and walked away, due in 1 h: minutes, not the provider's window of 24 h",
    ),
    # forced
    (
        facts(NOBODY, 12 * H, forced=Forced(lane=BATCH, by="the asset's lane=")),
        BATCH,
        "forced by the asset's lane=; the rule would have said background: nobody watches, due in 12 h: tighter than "
        "the provider's window of 24 h",
    ),
    (
        facts(NOBODY, 24 * H, forced=Forced(lane=BACKGROUND, by="the run's tag offpeak/lane")),
        BACKGROUND,
        "forced by the run's tag offpeak/lane; the rule would have said batch: nobody watches, due in 24 h: no tighter "
        "than the provider's window of 24 h",
    ),
    (
        facts(NOBODY, 24 * H, forced=Forced(lane=BATCH, by="the asset's lane=")),
        BATCH,
        "forced by the asset's lane=; the rule says the same: nobody watches, due in 24 h: no tighter than the "
        "provider's window of 24 h",
    ),
]


@pytest.mark.parametrize(("given_facts", "lane", "reason"), TABLE)
def test_the_facts_lead_to_the_lane_and_its_reason(given_facts: Facts, lane: Lane, reason: str) -> None:
    decision = decide(given_facts)

    assert (decision.lane, decision.reason) == (lane, reason)


def test_nothing_is_bought_for_somebody_who_watches() -> None:
    with pytest.raises(DefinitionError, match=r"declare Waiting\.WALKED_AWAY if minutes are fine"):
        decide(facts(Waiting.WATCHING))


def test_the_deadline_that_binds_is_the_one_that_leaves_the_least_beyond_its_windows() -> None:
    own, next_one, last = Due(deadline=30 * H), Due(deadline=50 * H, steps=2), Due(deadline=80 * H, steps=3)

    assert binding([own, next_one, last]) == next_one
    assert binding([own]) == own


hours = st.integers(0, 120).map(lambda count: count * H)
pasts = st.lists(hours, max_size=12)
cents = st.integers(0, 50).map(lambda count: count * CENT)
anything = st.builds(
    Facts,
    waiting=st.sampled_from([NOBODY, AWAY]),
    due=st.builds(Due, deadline=hours, steps=st.integers(1, 4)),
    new=st.integers(0, 100),
    joined=st.integers(0, 100),
    batch_cost=cents,
    realtime_cost=cents,
    smallest_saving=cents,
    one_off=st.booleans(),
    past=pasts,
    on_deadline=st.sampled_from(OnDeadline),
    reserve=hours,
)


@given(anything)
def test_what_is_bought_on_batch_has_room_for_the_windows_or_for_the_slow_tail_and_a_rescue(some: Facts) -> None:
    if decide(some).lane is BATCH and (some.new or some.joined):
        tail = UNKNOWN_TAIL if len(some.past) < FEWEST_PAST else slow_tail(some.past)
        assert tail is not None
        room = some.due.deadline >= some.due.steps * BATCH_WINDOW
        needed = some.due.steps * tail + (some.reserve if some.on_deadline is RESCUE else timedelta(0))
        soft = some.on_deadline is not FAIL and some.waiting is NOBODY
        assert room or (soft and some.due.deadline > needed)


@given(anything, hours)
def test_a_tighter_deadline_never_leads_from_the_background_to_batch(some: Facts, less: timedelta) -> None:
    tighter = replace(some, due=replace(some.due, deadline=max(some.due.deadline - less, timedelta(0))))

    assert not (decide(some).lane is BACKGROUND and decide(tighter).lane is BATCH)


@given(anything)
def test_a_longer_chain_a_person_and_a_larger_smallest_saving_never_lead_to_batch(some: Facts) -> None:
    longer = replace(some, due=replace(some.due, steps=some.due.steps + 1))
    awaited = replace(some, waiting=AWAY)
    choosy = replace(some, smallest_saving=some.smallest_saving + CENT)

    if decide(some).lane is BACKGROUND:
        assert {decide(each).lane for each in (longer, awaited, choosy)} == {BACKGROUND}


@given(anything)
def test_where_a_late_batch_fails_the_run_it_does_not_matter_what_past_ones_took(some: Facts) -> None:
    strict = replace(some, on_deadline=FAIL)
    assert decide(strict) == decide(replace(strict, past=(), reserve=timedelta(0)))


@given(anything, st.sampled_from(Lane))
def test_a_forced_lane_is_obeyed_and_keeps_what_the_rule_said(some: Facts, lane: Lane) -> None:
    by_the_rule = decide(some)
    forced = decide(replace(some, forced=Forced(lane=lane, by="somebody")))

    assert forced.lane is lane
    assert forced.reason.startswith("forced by somebody; ")
    assert forced.reason.endswith(by_the_rule.reason)
