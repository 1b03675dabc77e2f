"""The check `fresh` and the deadlines downstream, through Dagster: what is told when, and by what it goes."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from offpeak import Chat, FreshnessContract, Waiting, Workload, batch_asset, freshness_sla, read, tolerates
from offpeak.assets import on_time
from offpeak.assets.freshness_sensor import Cursor
from offpeak.assets.graph import chain_of
from offpeak.errors import StaleInput
from offpeak.freshness.cadence import Cron
from offpeak.freshness.sla import Sla
from offpeak.ledger import jobs, slas
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import SlaState
from offpeak.results.store import ResultStore

from ..conftest import Shop, tickets
from .conftest import age

HOUR = timedelta(hours=1)
WORKLOAD = Workload(waiting=Waiting.NOBODY, deadline=12 * HOUR)
CONTRACT = FreshnessContract(valid_for=37 * HOUR, warn_after=25 * HOUR)


@batch_asset(model="openai/gpt-5-mini", workload=WORKLOAD, lane="batch", contract=CONTRACT)
def labels() -> Iterator[Chat]:
    yield Chat(key="a", prompt="?")


def dashboard_due(deadline_cron: str, timezone: str = "UTC") -> dg.AssetsDefinition:
    @dg.asset(
        name="dashboard",
        ins={"labels": tolerates(38 * HOUR)},
        freshness_policy=freshness_sla(deadline_cron, timezone=timezone),
    )
    def dashboard(labels: pd.DataFrame) -> None: ...

    return dashboard


def in_(duration: timedelta) -> tuple[str, datetime]:
    """A daily cron expression that ticks so long from now, and that moment."""
    at = (datetime.now(UTC) + duration).replace(second=0, microsecond=0)
    return f"{at.minute} {at.hour} * * *", at


@pytest.fixture
def ledger(resources: dict[str, Any]) -> Iterator[Ledger]:
    with Ledger.open(resources["offpeak_results"].database_url) as opened:
        yield opened


def check_of(result: dg.ExecuteInProcessResult, name: str) -> Any:
    (found,) = [each for each in result.get_asset_check_evaluations() if each.check_name == name]
    return found


def test_a_run_says_until_when_what_it_landed_is_fresh(project: Any) -> None:
    check = check_of(project(labels).run("labels"), "fresh")
    assert check.passed
    assert check.description.startswith("Fresh until ")
    assert {"as_of", "effective_until", "standing"} <= set(check.metadata)


def test_the_sensor_tells_each_change_once_and_nothing_while_nothing_changes(project: Any, sensor_of: Any) -> None:
    made = project(labels)
    sensor, now = sensor_of(made), datetime.now(UTC)
    assert sensor.tick(now) == []  # what nobody has made yet is no news
    made.run("labels")
    landed = datetime.now(UTC)
    assert [(check, passed) for check, passed, _ in sensor.tick(landed)] == [("fresh", True)]
    assert sensor.tick(landed + 24 * HOUR) == []
    ((name, passed, ageing),) = sensor.tick(landed + 26 * HOUR)
    assert (name, passed) == ("fresh", False)
    assert ageing.startswith("Ageing: past warn_after=25 h.")
    assert sensor.tick(landed + 27 * HOUR) == []
    ((_, passed, stale),) = sensor.tick(landed + 38 * HOUR)
    assert not passed
    assert stale.startswith("Stale since ")
    assert "1 d 14 h old; the contract promises 37 h" in stale
    assert sensor.tick(landed + 60 * HOUR) == []
    made.run("labels")
    ((_, passed, fresh),) = sensor.tick(datetime.now(UTC))
    assert passed
    assert fresh.startswith("Fresh until")


def test_what_the_sensor_tells_is_what_dagster_shows(project: Any, sensor_of: Any) -> None:
    made = project(labels)
    made.run("labels")
    sensor = sensor_of(made)
    sensor.tick(datetime.now(UTC))
    key = dg.AssetCheckKey(dg.AssetKey("labels"), "fresh")
    for hours, severity in ((26, dg.AssetCheckSeverity.WARN), (38, dg.AssetCheckSeverity.ERROR)):
        sensor.tick(datetime.now(UTC) + hours * HOUR)
        record = made.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)[0]
        assert record.status.value == "FAILED"
        assert record.event.asset_check_evaluation.severity is severity


def test_what_lands_again_and_is_as_fresh_as_before_is_no_news(project: Any, sensor_of: Any) -> None:
    made = project(labels)
    made.run("labels")
    sensor = sensor_of(made)
    sensor.tick(datetime.now(UTC))
    made.run("labels")
    assert sensor.tick(datetime.now(UTC)) == []


def test_a_batch_that_took_six_hours_is_stale_by_its_inputs_age_everywhere_alike(
    project: Any, resources: dict[str, Any], tmp_path: Any, sensor_of: Any
) -> None:
    """Its rows land six hours old; one hour before the end of the promise all say fresh, an hour after it none does."""
    made = project(labels)
    made.run("labels")
    age(resources, "labels", 6 * HOUR)
    url, sensor = resources["offpeak_results"].database_url, sensor_of(made)
    landed = datetime.now(UTC)
    sensor.tick(landed)

    def standings() -> tuple[bool, bool, bool]:
        """By the check, by the gate, by the view."""
        now = datetime.now(UTC)
        check = all(passed or "Ageing" in told for _, passed, told in sensor.tick(now))
        try:
            read("labels", max_staleness=CONTRACT.valid_for, database_url=url)
            gate = True
        except StaleInput:
            gate = False
        with closing(sqlite3.connect(tmp_path / "offpeak.db")) as connection:
            (view,) = connection.execute("SELECT is_fresh FROM results_labels").fetchone()
        return check, gate, bool(view)

    age(resources, "labels", 30 * HOUR)
    assert standings() == (True, True, True)
    age(resources, "labels", 2 * HOUR)
    assert standings() == (False, False, False)


def test_a_row_found_unchanged_is_fresh_again_without_being_bought(
    project: Any, resources: dict[str, Any], provider: Any
) -> None:
    made = project(labels)
    made.run("labels")
    age(resources, "labels", 40 * HOUR)
    assert check_of(made.run("labels"), "fresh").passed
    assert provider.batches() == 1


DAYS = dg.DailyPartitionsDefinition(start_date=datetime.now(UTC) - timedelta(days=10))


@batch_asset(model="openai/gpt-5-mini", workload=WORKLOAD, lane="batch", contract=CONTRACT, partitions_def=DAYS)
def daily() -> Iterator[Chat]:
    yield Chat(key="a", prompt="?")


def test_backfilling_an_old_partition_does_not_make_the_asset_fresh(project: Any) -> None:
    nightly = dg.ScheduleDefinition(
        name="nightly",
        job=dg.define_asset_job("nightly_job", selection=[daily]),
        cron_schedule="30 0 * * *",
        execution_timezone="UTC",
    )
    made = project(daily, schedules=[nightly])
    keys = DAYS.get_partition_keys()
    check = check_of(made.run("daily", partition=keys[0]), "fresh")
    assert not check.passed
    assert "is due and has not landed" in check.description
    assert check.metadata["standing"].value == "missing"
    assert check_of(made.run("daily", partition=keys[-1]), "fresh").passed


def test_a_batch_asset_inherits_the_deadline_of_what_lies_downstream(project: Any, ledger: Ledger) -> None:
    cron, due_at = in_(5 * HOUR)
    project(labels, dashboard_due(cron)).run("labels")
    (job,) = jobs.listed(ledger)
    # half an hour for collecting, ten minutes for the dashboard's own run
    assert abs(job.deadline_at - (due_at - timedelta(minutes=40))) < timedelta(seconds=1)


def test_a_deadline_later_than_its_own_changes_nothing(project: Any, ledger: Ledger) -> None:
    cron, _ = in_(20 * HOUR)
    project(labels, dashboard_due(cron)).run("labels")
    (job,) = jobs.listed(ledger)
    assert job.deadline_at - job.created_at == pytest.approx(12 * HOUR, abs=timedelta(seconds=30))


def test_a_deadline_that_is_met_is_an_event(project: Any, ledger: Ledger, sensor_of: Any) -> None:
    cron, due_at = in_(20 * HOUR)
    made = project(labels, dashboard_due(cron))
    sensor = sensor_of(made)
    assert sensor.tick(datetime.now(UTC) - HOUR) == []
    made.run("labels", "dashboard")
    assert ("on_time", True) in [(check, passed) for check, passed, _ in sensor.tick(datetime.now(UTC))]
    assert [(row.asset, row.due_at, row.state) for row in slas.listed(ledger)] == [("dashboard", due_at, SlaState.MET)]
    assert sensor.tick(due_at + HOUR) == []


def test_a_deadline_is_endangered_and_then_missed_each_an_event_once(
    project: Any, ledger: Ledger, sensor_of: Any
) -> None:
    cron, due_at = in_(20 * HOUR)
    made = project(labels, dashboard_due(cron))
    sensor = sensor_of(made)
    assert sensor.tick(due_at - 19 * HOUR) == []  # a batch takes twelve hours at most, and nobody has begun it
    ((check, passed, why),) = sensor.tick(due_at - 11 * HOUR)
    assert (check, passed) == ("on_time", False)
    key = dg.AssetCheckKey(dg.AssetKey("dashboard"), "on_time")
    record = made.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)[0]
    assert record.event.asset_check_evaluation.severity is dg.AssetCheckSeverity.WARN
    assert "dashboard may not be fresh by" in why
    assert "labels has not begun, and usually takes 12 h" in why
    assert sensor.tick(due_at - 10 * HOUR) == []
    ((check, passed, why),) = [each for each in sensor.tick(due_at + HOUR) if "was not fresh" in each[2]]
    assert (check, passed) == ("on_time", False)
    assert "it was not made in the 24 h before" in why
    assert [row.state for row in slas.listed(ledger) if row.due_at == due_at] == [SlaState.MISSED]
    assert [told for told in sensor.tick(due_at + 2 * HOUR) if "was not fresh" in told[2]] == []


def test_what_was_due_before_anybody_watched_is_nobodys_miss(project: Any, ledger: Ledger, sensor_of: Any) -> None:
    cron, due_at = in_(20 * HOUR)
    sensor = sensor_of(project(labels, dashboard_due(cron)))
    sensor.tick(due_at + HOUR)
    assert [row for row in slas.listed(ledger) if row.due_at == due_at] == []


def test_the_check_of_a_deadline_can_be_run_by_hand(project: Any) -> None:
    cron, _ = in_(5 * HOUR)
    result = project(labels, dashboard_due(cron)).run("labels", "dashboard")
    check = check_of(result, "on_time")
    assert check.passed
    assert check.metadata["state"].value == "met"


def test_a_deadline_without_a_batch_asset_upstream_gets_no_check(project: Any) -> None:
    @dg.asset(freshness_policy=freshness_sla("0 9 * * *"))
    def report() -> None: ...

    made = project(labels, report)
    assert not made.run("report").get_asset_check_evaluations()


def test_a_partition_on_its_way_does_not_make_the_asset_look_as_if_nothing_had_landed(
    project: Any, sensor_of: Any, shop: Shop
) -> None:
    made = project(daily)
    before, newest = DAYS.get_partition_keys()[-2:]
    made.run("daily", partition=before)
    sensor = sensor_of(made)
    sensor.tick(datetime.now(UTC))
    shop.begin(asset="daily", partitions={newest: tickets(3)})
    assert sensor.tick(datetime.now(UTC)) == []
    ((_, passed, told),) = sensor.tick(datetime.now(UTC) + 38 * HOUR)
    assert not passed
    assert f"The oldest row of partition {before} is as of" in told


def test_a_new_partition_on_its_way_is_not_missed_among_those_that_have_landed(
    project: Any, sensor_of: Any, shop: Shop
) -> None:
    @batch_asset(
        model="openai/gpt-5-mini",
        workload=WORKLOAD,
        lane="batch",
        contract=CONTRACT,
        partitions_def=dg.StaticPartitionsDefinition(["de", "fr"]),
    )
    def translations() -> Iterator[Chat]:
        yield Chat(key="a", prompt="?")

    made = project(translations)
    sensor = sensor_of(made)
    sensor.tick(datetime.now(UTC))
    shop.begin(asset="translations", partitions={"de": tickets(3)})
    assert sensor.tick(datetime.now(UTC)) == []
    made.run("translations", partition="de")
    sensor.tick(datetime.now(UTC))
    shop.begin(asset="translations", partitions={"fr": tickets(3)})
    assert sensor.tick(datetime.now(UTC)) == []


def by_schedule(cron_schedule: str) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(name="nightly", target=[daily], cron_schedule=cron_schedule)


def test_a_partition_becomes_late_when_its_run_should_have_landed_and_no_sooner(project: Any, sensor_of: Any) -> None:
    cron, begins = in_(24 * HOUR)
    made = project(daily, schedules=[by_schedule(cron)])
    with dg.partition_loading_context(effective_dt=begins - 24 * HOUR):
        newest = DAYS.get_last_partition_key()
    assert check_of(made.run("daily", partition=newest), "fresh").passed
    sensor = sensor_of(made)
    sensor.tick(datetime.now(UTC))
    lag = 12 * HOUR + timedelta(minutes=30)
    assert [told for _, passed, told in sensor.tick(begins + lag - timedelta(minutes=1)) if "not landed" in told] == []
    ((_, passed, told),) = sensor.tick(begins + lag)
    assert not passed
    assert "is due and has not landed" in told


def test_the_newest_partition_has_to_be_made_for_a_deadline(instance: dg.DagsterInstance) -> None:
    """Not a backfilled older one, nor one that begins after the deadline."""
    days = dg.DailyPartitionsDefinition(start_date=datetime.now(UTC) - timedelta(days=5))
    due_at = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0) + 24 * HOUR
    sla = Sla(asset="dashboard", deadline=Cron(cron_schedule="0 9 * * *", timezone="UTC", name=""), window=48 * HOUR)
    before, newest = (f"{due_at - timedelta(days=number):%Y-%m-%d}" for number in (2, 1))

    def state() -> SlaState:
        return on_time.past(sla, due_at, instance=instance, partitions_def=days).state

    instance.report_runless_asset_event(dg.AssetMaterialization("dashboard", partition=before))
    assert state() is SlaState.MISSED
    instance.report_runless_asset_event(dg.AssetMaterialization("dashboard", partition=newest))
    assert state() is SlaState.MET


def test_deadlines_that_passed_while_there_were_no_ticks_are_told_of_afterwards(
    project: Any, ledger: Ledger, sensor_of: Any
) -> None:
    cron, due_at = in_(20 * HOUR)
    sensor = sensor_of(project(labels, dashboard_due(cron)))
    sensor.tick(due_at - 19 * HOUR)
    told = [why for check, _, why in sensor.tick(due_at + 50 * HOUR) if "was not fresh" in why]
    days = [due_at, due_at + 24 * HOUR, due_at + 48 * HOUR]
    assert [f"{day:%Y-%m-%d %H:%M}" in why for day, why in zip(days, told, strict=True)] == [True] * 3
    assert [row.due_at for row in slas.listed(ledger) if row.state is SlaState.MISSED] == days[::-1]


def test_what_a_failed_tick_did_not_tell_the_next_one_does(
    project: Any, ledger: Ledger, sensor_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cron, due_at = in_(20 * HOUR)
    sensor = sensor_of(project(labels, dashboard_due(cron)))
    sensor.tick(due_at - 19 * HOUR)
    for calls in range(20):  # it fails ever later
        with monkeypatch.context() as broken, suppress(OSError):
            broken.setattr(dg.DagsterInstance, "fetch_materializations", fails_after(calls))
            told = sensor.tick(due_at + HOUR)
            break
    assert calls
    assert len([why for _, _, why in told if "was not fresh" in why]) == 1
    assert [why for _, _, why in sensor.tick(due_at + HOUR) if "was not fresh" in why] == []


@pytest.mark.parametrize(
    "cursor",
    [
        "[]",
        "no JSON",
        '{"since": "2026-11-21T00:00:00+00:00", "assets": {"labels": {"until": null}}}',
        '{"looked": "yesterday"}',
        '{"looked": "2026-11-21T00:00:00"}',
        '{"assets": {"labels": "fresh"}}',
        '{"deadlines": {"dashboard": {"nine": "met"}}}',
    ],
)
def test_a_cursor_of_another_version_is_begun_anew(cursor: str) -> None:
    assert Cursor.read(cursor) == Cursor()


def test_what_was_made_late_is_no_success_however_often_it_is_made_again(
    project: Any, instance: dg.DagsterInstance
) -> None:
    """Many materializations after the window are not mistaken for those in it, nor do they hide them."""
    cron, due_at = in_(-HOUR)
    dashboard = dashboard_due(cron)
    made = project(labels, dashboard)
    (sla,) = chain_of(made.defs, now=datetime.now(UTC)).slas
    for _ in range(3):
        instance.report_runless_asset_event(dg.AssetMaterialization("dashboard"))
    late = on_time.past(sla, due_at, instance=instance, partitions_def=None)
    assert late.state is SlaState.MISSED
    assert "it was made 1 h" in late.why
    in_time = on_time.past(sla, due_at + 2 * HOUR, instance=instance, partitions_def=None)
    assert in_time.state is SlaState.MET


def test_a_contract_that_changed_is_judged_anew(project: Any, sensor_of: Any) -> None:
    made = project(labels)
    made.run("labels")
    sensor = sensor_of(made)
    sensor.tick(datetime.now(UTC) + 20 * HOUR)

    @batch_asset(
        name="labels",
        model="openai/gpt-5-mini",
        workload=WORKLOAD,
        lane="batch",
        contract=FreshnessContract(valid_for=37 * HOUR, warn_after=10 * HOUR),
    )
    def stricter() -> Iterator[Chat]:
        yield Chat(key="a", prompt="?")

    reloaded = sensor_of(project(stricter))
    reloaded.cursor = sensor.cursor
    ((_, passed, told),) = reloaded.tick(datetime.now(UTC) + 20 * HOUR)
    assert not passed
    assert told.startswith("Ageing: past warn_after=10 h.")


def test_nothing_is_counted_while_nothing_moves(project: Any, sensor_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = project(labels)
    made.run("labels")
    sensor = sensor_of(made)
    sensor.tick(datetime.now(UTC))
    monkeypatch.setattr(ResultStore, "summary", None)
    assert sensor.tick(datetime.now(UTC) + 20 * HOUR) == []


def fails_after(calls: int) -> Any:
    inner, left = dg.DagsterInstance.fetch_materializations, [calls]

    def fetch(*given: Any, **named: Any) -> Any:
        if not left[0]:
            raise OSError("the disk is gone")
        left[0] -= 1
        return inner(*given, **named)

    return fetch
