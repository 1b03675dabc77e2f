"""What is said of an open job, and of a full queue: decisions of plain values and the time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from offpeak import NoticeKind, Notifier, Notify
from offpeak.assets.notices import Teller, merged, severity
from offpeak.ledger.conditions import Condition
from offpeak.ledger.deadline import OnDeadline
from offpeak.ledger.jobs import JobRow
from offpeak.ledger.notices import Notice
from offpeak.ledger.notify import declared_routes
from offpeak.ledger.states import JobState
from offpeak.ledger.watching import Watched

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DUE = NOW + 3 * HOUR
EVERYTHING = Notify(to=["ops", "unset"], on=set(NoticeKind))
TELLER = Teller(
    "labels",
    declared_routes("labels", EVERYTHING),
    Notifier(destinations={"ops": "json://127.0.0.1", "unset": "$NO_SUCH_VARIABLE"}),
)
JOB = JobRow(
    id=7,
    asset="labels",
    state=JobState.IN_PROGRESS,
    model="openai/gpt-5-mini",
    run_id="run",
    created_at=NOW - HOUR,
    deadline_at=DUE,
    closed_at=None,
    rows=3,
    new=3,
    joined=0,
    reused=0,
    removed=0,
    lane="batch",
    reason=None,
    chunks=1,
    landed=0,
    called=0,
    applied=0,
    batch_ids=(),
)
WATCHED = Watched(
    job=JOB,
    condition=Condition.RUNNING,
    why="",
    requests=3,
    finished=0,
    batches=1,
    landed=0,
    applied=0,
    submitted_at=NOW - HOUR,
    elapsed=HOUR,
    typical=2 * HOUR,
    deadline_at=DUE,
    parked=None,
)


def kinds(found: Watched, *, now: datetime = NOW) -> list[NoticeKind]:
    return [each.kind for each in TELLER.open_job(found, now=now)]


@pytest.mark.parametrize(
    ("condition", "typical", "endangered"),
    [
        (Condition.RUNNING, 4 * HOUR, False),
        (Condition.RUNNING, 4 * HOUR + timedelta(seconds=1), True),
        (Condition.QUEUED, 3 * HOUR, False),
        (Condition.QUEUED, 3 * HOUR + timedelta(seconds=1), True),
        (Condition.RUNNING_LONG, timedelta(minutes=30), False),
        (Condition.RUNNING_LONG, 4 * HOUR, True),
        (Condition.LANDED, 100 * HOUR, False),
        (Condition.RUNNING, None, False),
    ],
)
def test_a_deadline_is_endangered_by_what_batches_usually_take(
    condition: Condition, typical: timedelta | None, endangered: bool
) -> None:
    found = kinds(replace(WATCHED, condition=condition, typical=typical))
    assert found == ([NoticeKind.DEADLINE_ENDANGERED] if endangered else [])


@pytest.mark.parametrize(("left", "endangered"), [(31, False), (30, True)])
def test_a_deadline_that_a_rescue_sees_to_is_endangered_when_its_margin_is_gone(*, left: int, endangered: bool) -> None:
    job = replace(JOB, on_deadline=OnDeadline.RESCUE)
    found = replace(WATCHED, job=job, condition=Condition.RUNNING_LONG, typical=4 * HOUR)
    told = kinds(found, now=DUE - timedelta(minutes=left))
    assert told == ([NoticeKind.DEADLINE_ENDANGERED] if endangered else [])


def test_a_rescue_is_told_once_and_what_may_be_paid_twice_once_more() -> None:
    (rescue,) = TELLER.rescue(7, requests=1_200)
    (again,) = TELLER.rescue(7, requests=300)
    (twice,) = TELLER.rescue(7, requests=300, twice=Decimal("0.5"))
    assert (rescue.kind, rescue.name, again.name) == (NoticeKind.RESCUE, "rescue/labels/7", "rescue/labels/7")
    assert twice.name == "rescue/labels/7/twice"
    assert "1,200 requests are given up first" in rescue.body
    assert "about $0.5000 for nothing" in twice.body


@pytest.mark.parametrize("condition", [Condition.LATE, Condition.LANDED, Condition.RUNNING_LONG])
def test_past_its_deadline_a_job_is_late_whatever_its_condition_and_not_before(condition: Condition) -> None:
    found = replace(WATCHED, condition=condition, typical=None)
    assert kinds(found, now=DUE) == []
    assert kinds(found, now=DUE + timedelta(seconds=1)) == [NoticeKind.DEADLINE_MISSED]


@pytest.mark.parametrize("condition", [Condition.STUCK, Condition.UNATTENDED])
def test_a_job_that_needs_somebody_is_told_with_the_reason(condition: Condition) -> None:
    (notice,) = TELLER.open_job(replace(WATCHED, condition=condition, why="no progress for 7 h", typical=None), now=NOW)
    assert (notice.kind, notice.name) == (NoticeKind.STUCK, "stuck/labels/7")
    assert notice.body.startswith("Job 7 of labels: no progress for 7 h.")


def test_a_job_that_is_being_stopped_is_nobodys_news() -> None:
    assert kinds(replace(WATCHED, condition=Condition.STOPPING)) == []


def test_only_those_who_can_be_reached_are_told() -> None:
    (notice,) = TELLER.queue_full(7, dropped=1)
    assert notice.destinations == ("ops",)
    assert (
        Teller("labels", declared_routes("labels", Notify(to="unset")), TELLER.notifier).queue_full(7, dropped=1) == []
    )


def test_a_full_queue_says_what_the_asset_did_without() -> None:
    (notice,) = TELLER.queue_full(7, dropped=120, degraded=1_000)
    assert notice.body.startswith(
        "The queue was full when job 7 of labels was to be sent: 120 of its requests were dropped and 1,000 of its "
        "requests were sent to a cheaper model instead, as its queue= says."
    )
    assert notice.name == "queue_full/labels/7"
    assert TELLER.queue_full(7) == []


def test_one_notice_of_several_assets_goes_to_everybody_who_is_told_of_any() -> None:
    one = Notice(
        name="n", kind=NoticeKind.DEADLINE_MISSED, asset="a", title="t", body="b", destinations=("ops", "desk")
    )
    (found,) = merged([one, replace(one, asset="b", destinations=("desk", "support"))])
    assert (found.asset, found.destinations) == ("a", ("ops", "desk", "support"))


def test_every_kind_has_a_severity() -> None:
    assert {severity(kind).value for kind in NoticeKind} == {"success", "warning", "failure"}


@pytest.mark.parametrize(("refused", "word"), [(False, "held"), (True, "refused")])
def test_a_job_that_costs_too_much_is_told_of_with_its_figures_and_not_as_a_surge(refused: bool, word: str) -> None:
    why = "Over budget: labels is estimated at $3.10, and the budget of a job of labels is $2.50."
    (notice,) = TELLER.over_budget(7, why, refused, run_id="run")
    assert (notice.kind, notice.title) == (NoticeKind.BUDGET, f"labels is {word} for its price")
    assert notice.body.startswith(f"Job 7 of labels is {word}. {why} Nothing was submitted.")
    assert ("`offpeak jobs approve 7`" in notice.body) is not refused


def test_the_sensor_tells_of_a_job_that_is_held_for_its_price_what_its_run_has_told() -> None:
    why = "Over budget: labels is estimated at $3.10, and the budget of a job of labels is $2.50."
    held = replace(WATCHED, job=replace(JOB, state=JobState.HELD, reason=why), condition=Condition.HELD, why=why)
    assert TELLER.open_job(held, now=NOW) == TELLER.over_budget(7, why, False, run_id="run")
    surge = replace(held, job=replace(held.job, reason="labels: 3 of 10 unchanged keys ask something else."))
    assert kinds(surge) == [NoticeKind.HELD]
