"""The worst and the typical age at each consumer, along every path, and what cannot be kept."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from offpeak.errors import DefinitionError
from offpeak.freshness.cadence import Cron
from offpeak.freshness.chain import AUTOMATION, Chain, Node, Producer
from offpeak.freshness.contract import FreshnessContract
from offpeak.freshness.gate import Tolerance
from offpeak.freshness.sla import Sla
from offpeak.ledger.deadline import OnDeadline

NOW = datetime(2026, 11, 21, 18, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
NIGHTLY = Cron(cron_schedule="30 1 * * *", timezone="UTC", name="nightly")
MORNING = Cron(cron_schedule="0 9 * * 1-5", timezone="Europe/Berlin", name="morning")


def hours(number: float) -> Tolerance:
    return Tolerance(max_staleness=number * HOUR)


def batch(name: str, *, deadline: float = 12, valid_for: float = 37, **node: Any) -> Node:
    producer = Producer(
        model="openai/gpt-5-mini",
        lane="batch",
        deadline=deadline * HOUR,
        contract=FreshnessContract(valid_for=valid_for * HOUR),
    )
    return Node(name=name, producer=producer, **node)


def nightly(name: str, **node: Any) -> Node:
    """A batch asset of the nightly job."""
    return batch(name, crons=[NIGHTLY], jobs=frozenset({"nightly"}), **node)


def chain(*nodes: Node) -> Chain:
    return Chain([*nodes, Node(name="tickets", source=True)], now=NOW)


def test_rows_last_until_the_next_run_has_landed() -> None:
    made = chain(nightly("labels", inputs={"tickets": None}))
    assert made.landed("labels").total == 12.5 * HOUR
    assert made.lasting("labels").total == 36.5 * HOUR
    assert str(made.lasting("labels")) == (
        "24 h between two runs of labels (nightly, '30 1 * * *' in UTC) + 12 h deadline of labels "
        "+ 30 min for collecting = 36 h 30 min"
    )


READERS = {
    "in the same job": (Node(name="report", crons=[NIGHTLY], jobs=frozenset({"nightly"})), 12.5),
    "whenever it has landed": (Node(name="report", follows=True), 12.5),
    "when a person starts it": (Node(name="report"), 36.5),
    # 8:00 UTC in winter, when the run of the day before has landed for certain
    "by a schedule of its own": (Node(name="report", crons=[MORNING], jobs=frozenset({"morning"})), 30.5),
    "at a tick, once inputs are renewed": (
        Node(
            name="report",
            follows=True,
            crons=[Cron(cron_schedule="0 9 * * *", timezone="UTC", name=AUTOMATION)],
        ),
        12.5,
    ),
    "in the same job and by a schedule of its own": (
        Node(name="report", crons=[NIGHTLY, MORNING], jobs=frozenset({"nightly", "morning"})),
        30.5,
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_the_worst_age_depends_on_when_a_consumer_reads(reader: str) -> None:
    node, worst = READERS[reader]
    read = Node(name="report", crons=node.crons, jobs=node.jobs, follows=node.follows, inputs={"labels": hours(48)})
    (reading,) = chain(nightly("labels"), read).readings()
    assert reading.worst.total == worst * HOUR


def test_typically_half_a_cadence_has_passed_and_landing_takes_what_it_took() -> None:
    made = chain(nightly("labels"), Node(name="report", inputs={"labels": hours(48)}))
    (reading,) = made.readings({"labels": 2 * HOUR})
    assert reading.typical.total == 14 * HOUR
    (without_history,) = made.readings({})
    assert without_history.typical.total == 24.5 * HOUR


@pytest.mark.parametrize("on_deadline", [OnDeadline.FAIL, OnDeadline.SERVE_LAST_GOOD])
def test_a_batch_that_takes_the_providers_whole_window_makes_rows_older_than_the_deadline_says(
    on_deadline: OnDeadline,
) -> None:
    labels = nightly("labels")
    assert labels.producer is not None
    late = replace(labels, producer=replace(labels.producer, on_deadline=on_deadline))
    (reading,) = chain(late, Node(name="report", inputs={"labels": hours(48)})).readings()
    assert reading.at_window.total == 48.5 * HOUR
    assert "24 h window of the provider of labels" in str(reading.at_window)
    (patient,) = chain(
        nightly("labels", deadline=30, valid_for=60), Node(name="report", inputs={"labels": hours(60)})
    ).readings()
    assert patient.at_window.total == patient.worst.total == 54.5 * HOUR


def test_what_is_rescued_is_no_older_than_its_deadline_says() -> None:
    (reading,) = chain(nightly("labels"), Node(name="report", inputs={"labels": hours(48)})).readings()
    assert reading.at_window.total == reading.worst.total == 36.5 * HOUR


def test_what_is_bought_in_the_background_takes_no_window() -> None:
    labels = nightly("labels")
    assert labels.producer is not None
    away = replace(labels, producer=replace(labels.producer, lane="background"))
    (reading,) = chain(away, Node(name="report", inputs={"labels": hours(48)})).readings()
    assert reading.at_window.total == reading.worst.total == 36.5 * HOUR


def test_ages_add_up_over_chained_batch_assets() -> None:
    made = chain(
        nightly("labels"),
        nightly("summaries", inputs={"labels": hours(13)}, valid_for=49),
        Node(name="report", inputs={"summaries": hours(60)}),
    )
    assert made.landed("summaries").total == 25 * HOUR
    assert made.readings()[0].worst.total == 49 * HOUR


def test_what_a_gate_refuses_is_not_counted() -> None:
    made = chain(
        nightly("labels"),
        batch("summaries", crons=[MORNING], jobs=frozenset({"morning"}), inputs={"labels": hours(20)}, valid_for=200),
    )
    assert made.landed("summaries").total == (20 + 12.5) * HOUR
    assert "20 h that summaries tolerates of labels" in str(made.landed("summaries"))


def test_a_gate_that_only_warns_lets_everything_through() -> None:
    tolerance = Tolerance(max_staleness=20 * HOUR, on_stale="warn")
    made = chain(nightly("labels"), batch("summaries", crons=[MORNING], inputs={"labels": tolerance}, valid_for=200))
    assert made.landed("summaries").total == (30.5 + 12.5) * HOUR


def test_an_ordinary_asset_on_the_way_adds_its_own_cadence() -> None:
    weekly = Cron(cron_schedule="0 6 * * 1", timezone="UTC", name="weekly")
    made = chain(
        Node(name="customers", crons=[weekly], inputs={"tickets": None}),
        nightly("labels", inputs={"customers": None}, valid_for=200),
        Node(name="report", inputs={"labels": hours(200)}),
    )
    # on a Monday at 01:30 the customers are those of the Monday before
    assert made.landed("labels").total == (6 * 24 + 19.5 + 12.5) * HOUR


def test_what_lands_together_is_waited_for_together() -> None:
    made = chain(
        nightly("labels", deadline=2),
        nightly("translations", deadline=12),
        Node(name="report", crons=[NIGHTLY], jobs=frozenset({"nightly"}), inputs={"labels": hours(13)}),
    )
    (reading,) = made.readings()
    assert reading.worst.total == 12.5 * HOUR
    assert "deadline of translations" in str(reading.worst)


def test_an_asset_that_nothing_schedules_has_no_longest_time_between_two_runs() -> None:
    made = chain(batch("labels"), Node(name="report", inputs={"labels": hours(13)}))
    (reading,) = made.readings()
    assert reading.worst.total == 12.5 * HOUR
    assert str(reading.worst).endswith("not counted: the time between two runs of labels, which has no schedule")
    made.check()


def test_an_asset_that_follows_a_source_is_renewed_when_that_changes_which_nobody_knows() -> None:
    made = chain(batch("labels", follows=True, inputs={"tickets": None}))
    assert made.lasting("labels").total == 12.5 * HOUR


def test_a_contract_shorter_than_rows_have_to_last_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(DefinitionError) as refused:
        chain(nightly("labels", valid_for=36)).check()
    assert str(refused.value) == (
        "labels: contract valid_for=36 h is shorter than its rows have to last: 24 h between two runs of labels "
        "(nightly, '30 1 * * *' in UTC) + 12 h deadline of labels + 30 min for collecting = 36 h 30 min. Make "
        "valid_for at least timedelta(hours=37), run labels more often, or shorten the workload's deadline."
    )


def test_the_hour_of_the_clock_change_counts() -> None:
    berlin = Cron(cron_schedule="30 1 * * *", timezone="Europe/Berlin", name="nightly")
    with pytest.raises(DefinitionError, match=r"25 h between two runs .* = 37 h 30 min"):
        chain(batch("labels", crons=[berlin])).check()
    chain(batch("labels", crons=[berlin], valid_for=37.5)).check()


def test_a_tolerance_that_the_chain_cannot_meet_is_refused_with_path_and_remedies() -> None:
    made = chain(
        nightly("labels"),
        nightly("summaries", inputs={"labels": hours(13)}, valid_for=49),
        Node(name="report", inputs={"summaries": hours(30)}),
    )
    with pytest.raises(DefinitionError) as refused:
        made.check()
    message = str(refused.value)
    assert message.startswith(
        "report: max_staleness=30 h for summaries cannot be met along labels -> summaries -> report"
    )
    assert "= 49 h. One of these helps: run report in the same job as summaries" in message
    assert "let report tolerate timedelta(hours=49)" in message


def test_a_tolerance_is_held_to_what_is_known() -> None:
    with pytest.raises(DefinitionError, match="max_staleness=5 min for labels cannot be met along labels -> report"):
        chain(batch("labels"), Node(name="report", inputs={"labels": hours(5 / 60)})).check()


def sla(*, window: float = 24) -> Sla:
    return Sla(asset="report", deadline=MORNING, window=window * HOUR)


def test_a_deadline_is_handed_up_along_the_whole_chain() -> None:
    made = chain(
        nightly("labels"),
        nightly("summaries", inputs={"labels": hours(13)}, valid_for=49),
        Node(name="report", inputs={"summaries": hours(60), "tickets": None}, sla=sla()),
        Node(name="other", inputs={"labels": hours(60)}),
    )
    handed = {name: [each.ahead for each in given] for name, given in made.handed_up().items()}
    assert handed == {
        "summaries": [timedelta(minutes=40)],
        # what follows takes its deadline and its collecting
        "labels": [timedelta(hours=13, minutes=10)],
    }
    (of_summaries,) = made.handed_up()["summaries"]
    assert of_summaries.due(datetime(2026, 11, 23, 1, 30, tzinfo=UTC)) == datetime(2026, 11, 23, 7, 20, tzinfo=UTC)
    # what can be met no more is not asked for: the next one is
    assert of_summaries.due(datetime(2026, 11, 23, 7, 30, tzinfo=UTC)) == datetime(2026, 11, 24, 7, 20, tzinfo=UTC)


def test_a_deadline_of_something_without_batch_assets_is_nobodys_business() -> None:
    made = chain(Node(name="report", inputs={"tickets": None}, sla=sla()))
    assert made.slas == []
    assert made.handed_up() == {}


def test_a_deadline_that_no_run_can_meet_is_refused() -> None:
    report = Node(name="report", crons=[NIGHTLY], inputs={"labels": hours(60)}, sla=sla(window=4))
    with pytest.raises(
        DefinitionError, match=r"report: freshness_sla.*lower_bound_delta=4 h.* begins 6 h 30 min earlier"
    ):
        chain(batch("labels", deadline=1, valid_for=37), report).check()


@pytest.mark.parametrize("follows", [False, True])
def test_a_graph_may_be_deep_and_have_more_ways_than_anybody_can_walk(follows: bool) -> None:
    """600 assets in front of a batch asset and behind it, each reading the two before it."""

    def steps(name: str, first: Tolerance | None, begin: str, *, follows: bool) -> list[Node]:
        made = [Node(name=f"{name} 0", inputs={begin: first}, follows=follows)]
        for number in range(1, 600):
            inputs = dict.fromkeys((f"{name} {number - 1}", f"{name} {max(number - 2, 0)}"))
            made.append(Node(name=f"{name} {number}", inputs=inputs, follows=follows))
        return made

    raw = steps("raw", None, "tickets", follows=follows)
    report = steps("report", hours(60), "labels", follows=True)
    report[-1] = Node(
        name="end", inputs=report[-1].inputs, follows=True, sla=Sla(asset="end", deadline=MORNING, window=24 * HOUR)
    )
    trigger: dict[str, Any] = {"follows": True} if follows else {"crons": [NIGHTLY], "jobs": frozenset({"nightly"})}
    made = chain(*raw, batch("labels", inputs={"raw 599": None}, **trigger), *report)
    made.check()
    assert [each.ahead for each in made.handed_up()["labels"]] == [timedelta(minutes=40)]
    assert made.triggers("end") == ([NIGHTLY] if not follows else [])


def test_a_deadline_may_be_met_by_what_the_run_before_the_window_waits_for() -> None:
    """A run that begins before the window makes the asset in it, once its batch has landed."""
    report = Node(
        name="report", crons=[NIGHTLY], jobs=frozenset({"nightly"}), inputs={"labels": hours(60)}, sla=sla(window=4)
    )
    chain(nightly("labels", deadline=3), report).check()
    with pytest.raises(DefinitionError, match="freshness_sla"):
        chain(nightly("labels", deadline=1.5), report).check()


@pytest.mark.parametrize("turn", [1, -1])
def test_of_several_ways_to_a_deadline_the_longest_counts(turn: int) -> None:
    ways = [
        nightly("summaries", inputs={"labels": hours(13)}, valid_for=49),
        Node(name="counts", inputs={"labels": hours(60)}),
    ]
    inputs = {each.name: hours(60) for each in ways[::turn]}
    made = chain(nightly("labels"), *ways[::turn], Node(name="report", inputs=inputs, sla=sla()))
    assert [each.ahead for each in made.handed_up()["labels"]] == [timedelta(hours=13, minutes=10)]


def test_what_follows_its_inputs_runs_when_they_do() -> None:
    made = chain(nightly("labels"), Node(name="report", follows=True, inputs={"labels": hours(60), "tickets": None}))
    assert made.triggers("report") == [NIGHTLY]
    assert chain(nightly("labels"), Node(name="report", inputs={"labels": hours(60)})).triggers("report") == []


def test_what_follows_one_of_several_inputs_reads_the_others_at_any_age() -> None:
    both = {"labels": hours(60), "translations": hours(60)}
    made = chain(nightly("labels"), nightly("translations"), Node(name="report", follows=True, inputs=both))
    assert {each.producer: each.worst.total for each in made.readings()} == dict.fromkeys(both, 36.5 * HOUR)


def test_an_asset_that_reads_its_own_earlier_rows_is_no_endless_chain() -> None:
    made = chain(nightly("labels", inputs={"labels": None, "tickets": None}))
    made.check()
    assert made.lasting("labels").total == 36.5 * HOUR
