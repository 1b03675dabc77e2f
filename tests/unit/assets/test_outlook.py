"""What is left to do before a deadline: by schedules, by the jobs that are on their way, and by those that failed."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from offpeak.assets.outlook import Outlook
from offpeak.freshness.cadence import Cron
from offpeak.freshness.chain import Chain, Node, Producer
from offpeak.freshness.contract import FreshnessContract
from offpeak.freshness.gate import Tolerance
from offpeak.freshness.sla import Left, Sla
from offpeak.ledger.conditions import Condition
from offpeak.ledger.jobs import JobRow
from offpeak.ledger.states import JobState
from offpeak.ledger.watching import Watched

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
BEGIN = datetime(2026, 11, 23, 1, 30, tzinfo=UTC)
DUE = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
NIGHTLY = Cron(cron_schedule="30 1 * * *", timezone="UTC", name="nightly")
NINE = Sla(asset="report", deadline=Cron(cron_schedule="0 9 * * *", timezone="UTC", name="deadline"), window=24 * HOUR)
TOLERANCE = Tolerance(max_staleness=90 * HOUR)
IN_JOB: dict[str, Any] = {"crons": [NIGHTLY], "jobs": frozenset({"nightly"})}


def batch(name: str, *inputs: str) -> Node:
    contract = FreshnessContract(valid_for=200 * HOUR)
    producer = Producer(model="openai/gpt-5-mini", lane="batch", deadline=12 * HOUR, contract=contract)
    return Node(name=name, producer=producer, inputs=dict.fromkeys(inputs, TOLERANCE), **IN_JOB)


def report(*inputs: str) -> Node:
    return Node(name="report", inputs=dict.fromkeys(inputs, TOLERANCE), sla=NINE, **IN_JOB)


def job(state: JobState, *, after: timedelta = MINUTE, number: int = 7) -> JobRow:
    """One that was created so long after the schedule ticked."""
    figures = dict.fromkeys(("rows", "new", "joined", "reused", "removed", "chunks", "landed", "applied", "called"), 0)
    return JobRow(
        id=number,
        asset="labels",
        state=state,
        model="openai/gpt-5-mini",
        run_id="",
        created_at=BEGIN + after,
        deadline_at=DUE,
        closed_at=None,
        lane=None,
        reason=None,
        batch_ids=(),
        **figures,
    )


def left(
    *nodes: Node,
    now: datetime,
    newest: Mapping[str, Sequence[JobRow]] | None = None,
    condition: tuple[Condition, str] | None = None,
) -> Left:
    chain = Chain(nodes or [batch("labels"), report("labels")], now=now)
    jobs = {name: (newest or {}).get(name, ()) for name in chain.producers}
    open_ones = {
        each.id: Watched(
            job=each,
            condition=condition[0],
            why=condition[1],
            requests=1,
            finished=0,
            batches=1,
            landed=0,
            applied=0,
            submitted_at=None,
            elapsed=None,
            typical=None,
            deadline_at=each.deadline_at,
            parked=None,
        )
        for rows in jobs.values()
        for each in rows
        if condition is not None
    }
    return Outlook(chain, now, jobs, open_ones, dict.fromkeys(chain.producers, 3 * HOUR)).left(NINE, DUE)


def test_before_the_schedule_ticks_it_is_the_wait_and_what_is_usual() -> None:
    found = left(now=BEGIN - HOUR)
    assert (found.takes, found.why) == (4 * HOUR, "labels begins at 2026-11-23 01:30 UTC and usually takes 3 h")


def test_a_run_that_has_not_begun_half_an_hour_later_is_not_reckoned_with() -> None:
    assert left(now=BEGIN + 30 * MINUTE).takes == 3 * HOUR
    found = left(now=BEGIN + 31 * MINUTE)
    assert (found.takes, found.why) == (None, "the run of labels of 2026-11-23 01:30 UTC has not begun")


@pytest.mark.parametrize(
    ("jobs", "takes", "why"),
    [
        ([job(JobState.COMPLETED)], 0 * HOUR, ""),
        ([job(JobState.COMPLETED_WITH_PARTIAL_FAILURES)], 0 * HOUR, ""),
        ([job(JobState.FAILED)], None, "job 7 of labels ended as failed"),
        ([job(JobState.EXPIRED)], None, "job 7 of labels ended as expired"),
        ([job(JobState.APPROVED)], None, "job 7 of labels is approved and waits to be materialised again"),
        # a plan that was not finished is nothing
        ([job(JobState.ABANDONED, number=8), job(JobState.COMPLETED)], 0 * HOUR, ""),
        # what was made before this run's time is not its
        ([job(JobState.COMPLETED, after=-MINUTE)], None, "the run of labels of 2026-11-23 01:30 UTC has not begun"),
        ([job(JobState.FAILED, after=-MINUTE)], None, "the run of labels of 2026-11-23 01:30 UTC has not begun"),
    ],
)
def test_what_has_ended_counts_as_it_ended(jobs: list[JobRow], takes: timedelta | None, why: str) -> None:
    found = left(now=BEGIN + 2 * HOUR, newest={"labels": jobs})
    assert (found.takes, found.why) == (takes, why)


@pytest.mark.parametrize(
    ("state", "condition", "takes"),
    [
        (JobState.IN_PROGRESS, Condition.RUNNING, 2 * HOUR),
        (JobState.IN_PROGRESS, Condition.LANDED, 2 * HOUR),
        (JobState.IN_PROGRESS, Condition.LATE, None),
        (JobState.IN_PROGRESS, Condition.STUCK, None),
        (JobState.IN_PROGRESS, Condition.UNATTENDED, None),
        (JobState.IN_PROGRESS, Condition.AWAITING_APPROVAL, None),
        (JobState.HELD, Condition.HELD, None),
    ],
)
def test_a_job_on_its_way_takes_what_is_left_of_the_usual_unless_something_is_wrong(
    state: JobState, condition: Condition, takes: timedelta | None
) -> None:
    rows = {"labels": [job(state)]}
    found = left(now=BEGIN + MINUTE + HOUR, newest=rows, condition=(condition, "somebody has to look"))
    assert found.takes == takes
    assert ("somebody has to look" in found.why) == (takes is None)


def test_what_takes_longer_than_usual_is_expected_at_any_moment() -> None:
    rows = {"labels": [job(JobState.IN_PROGRESS)]}
    assert left(now=BEGIN + 6 * HOUR, newest=rows, condition=(Condition.RUNNING_LONG, "")).takes == 0 * HOUR


def test_one_after_the_other_adds_up_and_side_by_side_does_not() -> None:
    chained = [batch("labels"), batch("summaries", "labels"), report("summaries")]
    assert left(*chained, now=BEGIN).takes == 6 * HOUR
    beside = [batch("labels"), batch("summaries"), report("labels", "summaries")]
    assert left(*beside, now=BEGIN).takes == 3 * HOUR


def test_one_that_failed_upstream_is_told_before_what_waits_for_it() -> None:
    chained = [batch("labels"), batch("summaries", "labels"), report("summaries")]
    found = left(*chained, now=BEGIN + 2 * HOUR, newest={"labels": [job(JobState.FAILED)]})
    assert (found.takes, found.why) == (None, "job 7 of labels ended as failed")


def test_there_may_be_more_ways_through_a_graph_than_anybody_can_walk() -> None:
    steps = [Node(name=f"{n}", inputs={f"{n - 1}": None, f"{max(n - 2, 0)}": None}, **IN_JOB) for n in range(2, 60)]
    first = [batch("labels"), Node(name="0", inputs={"labels": TOLERANCE}, **IN_JOB)]
    nodes = [*first, Node(name="1", inputs={"0": None}, **IN_JOB), *steps, report("59")]
    assert left(*nodes, now=BEGIN).takes == 3 * HOUR
