"""What a run buys after an asset, and which deadlines along the way contradict each other."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from offpeak.errors import DefinitionError
from offpeak.freshness.cadence import Cron
from offpeak.freshness.chain import Chain, Node, Producer
from offpeak.freshness.contract import FreshnessContract
from offpeak.freshness.deadlines import bought_after, check_deadlines
from offpeak.freshness.gate import Tolerance
from offpeak.freshness.sla import Sla

NOW = datetime(2026, 11, 21, 18, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
NIGHTLY = Cron(cron_schedule="30 1 * * *", timezone="UTC", name="nightly")
NINE = Cron(cron_schedule="0 9 * * *", timezone="UTC", name="deadline")
READS = Tolerance(max_staleness=1000 * HOUR)


def batch(name: str, *above: str, deadline: float = 24, job: str = "nightly", **more: Any) -> Node:
    """A batch asset that reads those above it, in the nightly job."""
    producer = Producer(
        model="openai/gpt-5-mini",
        lane=more.pop("lane", "batch"),
        deadline=deadline * HOUR,
        contract=FreshnessContract(valid_for=500 * HOUR),
        daily=more.pop("daily", None),
        forced=more.pop("forced", False),
    )
    crons = [replace(NIGHTLY, name=job)] if job else []
    inputs = dict.fromkeys(above, READS)
    return Node(name=name, producer=producer, crons=crons, jobs=frozenset({job} - {""}), inputs=inputs, **more)


def chain(*nodes: Node) -> Chain:
    return Chain(nodes, now=NOW)


def after(made: Chain, name: str, selected: set[str] | None = None) -> dict[str, int]:
    return {each.name: each.steps for each in bought_after(made, name, selected=selected)}


def test_what_a_job_buys_later_needs_a_window_for_each_batch_on_the_longest_way() -> None:
    middle = Node(name="joined", jobs=frozenset({"nightly"}), inputs={"labels": READS, "summaries": READS})
    made = chain(batch("labels"), batch("summaries", "labels"), middle, batch("digest", "joined"), batch("aside"))

    assert after(made, "labels") == {"summaries": 2, "digest": 3}
    assert after(made, "summaries") == {"digest": 2}
    assert after(made, "digest") == after(made, "aside") == {}


def test_only_what_the_run_selects_is_bought_later() -> None:
    made = chain(batch("labels"), batch("summaries", "labels"), batch("digest", "summaries"))

    assert after(made, "labels", {"labels", "summaries"}) == {"summaries": 2}
    assert after(made, "labels", {"labels"}) == {}


def test_what_another_job_buys_or_follows_by_itself_has_a_run_and_a_deadline_of_its_own() -> None:
    made = chain(
        batch("labels"), batch("weekly", "labels", job="weekly"), batch("woken", "labels", job="", follows=True)
    )

    assert after(made, "labels") == {}
    assert after(made, "labels", {"labels", "woken"}) == {"woken": 2}


def test_what_is_forced_into_the_background_needs_no_window() -> None:
    made = chain(batch("labels"), batch("summaries", "labels", lane="background", forced=True))

    assert after(made, "labels") == {"summaries": 1}


def test_an_asset_that_is_due_before_its_input_of_the_same_run_is_refused_with_the_arithmetic() -> None:
    check_deadlines(chain(batch("labels", deadline=24), batch("summaries", "labels", deadline=24)))
    with pytest.raises(DefinitionError) as refused:
        check_deadlines(chain(batch("labels", deadline=24), batch("summaries", "labels", deadline=12)))

    assert str(refused.value) == (
        "summaries: workload deadline=12 h ends before that of labels, 24 h, which it stands on and which the same run "
        "buys first: it would be due 12 h before its input is. Give summaries a later deadline, or labels an earlier "
        "one: Workload(deadline=...)."
    )


def test_in_jobs_of_their_own_each_deadline_stands_for_itself() -> None:
    check_deadlines(chain(batch("labels", deadline=24), batch("summaries", "labels", deadline=12, job="weekly")))


def test_a_time_of_day_before_the_deadline_of_the_input_is_refused() -> None:
    made = chain(batch("labels", deadline=12), batch("summaries", "labels", deadline=7.5, daily=NINE))
    with pytest.raises(DefinitionError) as refused:
        check_deadlines(made)

    assert str(refused.value) == (
        "summaries: the workload's deadline contradicts that of labels, which it stands on and which the same run buys "
        "first: of a run at 2026-11-21 01:30 UTC, summaries is due at 2026-11-21 09:00 UTC and labels at 2026-11-21 "
        "13:30 UTC, 4 h 30 min later. Give summaries a later deadline, or labels an earlier one: "
        "Workload(deadline=...)."
    )
    check_deadlines(chain(batch("labels", deadline=7), batch("summaries", "labels", deadline=7.5, daily=NINE)))


def report(hour: int) -> Node:
    deadline = Cron(cron_schedule=f"0 {hour} * * *", timezone="UTC", name="deadline of report")
    sla = Sla(asset="report", deadline=deadline, window=24 * HOUR)
    return Node(name="report", follows=True, inputs={"labels": READS}, sla=sla)


def test_a_time_of_day_after_an_sla_that_waits_for_it_is_refused() -> None:
    labels = batch("labels", deadline=7.5, daily=NINE)
    check_deadlines(chain(labels, report(10)))
    check_deadlines(chain(labels, report(9)))
    with pytest.raises(DefinitionError) as refused:
        check_deadlines(chain(labels, report(8)))

    assert str(refused.value) == (
        "labels: the workload's deadline comes after an SLA that waits for it: of a run at 2026-11-21 01:30 UTC, "
        "labels is due at 2026-11-21 09:00 UTC, and report has to be fresh by 2026-11-21 08:00 UTC ('0 8 * * *' in "
        "UTC), 1 h before. Make the deadline earlier than the SLA, or run it sooner."
    )


def test_an_asset_that_only_people_start_is_held_against_no_sla() -> None:
    check_deadlines(chain(batch("labels", job="", daily=NINE), report(8)))
