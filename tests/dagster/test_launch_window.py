"""A launch keeps scheduled work from its providers: it waits, is let go or sent by choice, and is made up after it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorStatus

from offpeak import FreshnessContract, Notifier, Waiting, Workload
from offpeak.errors import ConfigurationError
from offpeak.ledger import launch_windows, notices

from ..conftest import LocalProvider
from .code_location import CodeLocation
from .conftest import OfflineProvider
from .held_launch import Stage, Time, holding
from .parked_assets import ROWS, hold, labels, let_end, outcome, sold, view

STARTS = datetime(2027, 3, 9, 9, tzinfo=UTC)
ENDS = STARTS + timedelta(hours=12)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)

LAUNCH = """\
launches:
  - name: spring
    starts: 2027-03-09 09:00
    ends: 2027-03-09 21:00
    zone: UTC
    peak_users: 100
    session: {{minutes: 10, requests: 5, input_tokens: 5000, output_tokens: 1000}}
    models: openai/gpt-5-mini
    open_batches: {open_batches}
"""


@pytest.fixture
def time(local_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Time]:
    with holding(local_provider, STARTS - 6 * HOUR, monkeypatch) as held:
        yield held


@pytest.fixture
def stage(code_location: Callable[..., CodeLocation], time: Time, local_provider: LocalProvider, tmp_path: Path) -> Any:
    def make(*assets: Any, open_batches: str = "finish", **definitions: Any) -> Stage:
        listed = tmp_path / "launches.yaml"
        listed.write_text(LAUNCH.format(open_batches=open_batches))
        api = OfflineProvider(local_provider.url).api(keep=True, launches=str(listed))
        resources = {"batch_api": api, **definitions.pop("resources", {})}
        return Stage(code_location(*assets, resources=resources, **definitions), time, local_provider)

    return make


def scheduled(name: str, cron: str, *assets: str) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=name, job=dg.define_asset_job(f"{name}_job", selection=list(assets)), cron_schedule=cron
    )


LATER: dict[str, Any] = {
    "workload": Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=24)),
    "contract": FreshnessContract(valid_for=timedelta(hours=49)),
}
"""Due after the launch, with time for a batch and its rescue."""

HOURLY, NIGHTLY = scheduled("hourly", "0 * * * *", "labels", "view"), scheduled("nightly", "0 2 * * *", "plain")
Made = Callable[..., Stage]
WAITS = "waits for the end of the launch spring at 2027-03-09 21:00 UTC"


def test_a_schedule_skips_what_falls_into_a_launch_with_the_reason_and_one_run_makes_up_for_it(stage: Made) -> None:
    made = stage(labels(), view(), schedules=[HOURLY])
    made.after()
    assert len(made.schedule("hourly", STARTS - HOUR)) == 1
    assert made.batches() == 1
    for number in range(12):
        assert made.schedule("hourly", STARTS + number * HOUR) == []
        assert made.after().run_requests == []
    assert (
        made.skipped
        == [("hourly", "Skipped for the launch spring, until 2027-03-09 21:00 UTC. It is made up after that.")] * 12
    )
    assert made.batches() == 1

    made.time.to(ENDS)
    (request,) = made.after().run_requests or []
    assert request.tags["offpeak/made_up_after"] == "spring"
    assert request.tags["dagster/schedule_name"] == "hourly"
    assert request.run_key == "hourly 2027-03-09T20:00:00+00:00 0"
    assert made.after().run_requests == [], "and only once"
    made.cursor = None
    assert [each.run_key for each in made.after().run_requests or []] == [request.run_key], "Dagster runs a key once"
    assert len(made.schedule("hourly", ENDS)) == 1


def test_a_schedule_that_buys_nothing_or_elsewhere_runs_on(stage: Made) -> None:
    @dg.asset
    def plain() -> None: ...

    made = stage(
        labels(provider="anthropic"), plain, schedules=[NIGHTLY, scheduled("elsewhere", "0 * * * *", "labels")]
    )
    assert len(made.schedule("nightly", STARTS + HOUR)) == 1
    assert len(made.schedule("elsewhere", STARTS + HOUR)) == 1
    assert made.batches() == 1


def test_a_schedule_that_was_switched_off_is_not_made_up(stage: Made) -> None:
    made = stage(labels(), view(), schedules=[HOURLY])
    made.schedule("hourly", STARTS + HOUR)
    (state,) = made.here.instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
    made.here.instance.update_instigator_state(state.with_status(InstigatorStatus.STOPPED))
    made.time.to(ENDS)
    assert made.after().run_requests == []


def test_what_somebody_starts_in_a_launch_waits_parked_and_is_sent_when_it_ends(
    stage: Made, local_provider: LocalProvider
) -> None:
    made = stage(labels(**LATER))
    made.time.to(STARTS)
    run = made.here.run("labels")
    said = made.here.messages(run)
    assert f"labels: {ROWS} requests: {WAITS}. To send them all the same, launch with the tag" in said
    assert made.batches() == 0
    assert len(made.here.held()) == 1
    for _ in range(3):
        made.turn()
    assert len(made.here.held()) == 1
    assert made.batches() == 0, "nothing is sent before it ends"

    made.time.to(ENDS)
    made.turn()
    assert made.batches() == 1
    made.time.to(ENDS + HOUR)
    made.turn()
    assert made.here.states() == ["completed"]
    assert sold(local_provider) == [1] * ROWS


def test_a_run_with_the_tag_is_sent_in_a_launch(stage: Made) -> None:
    made = stage(labels())
    made.time.to(STARTS)
    made.here.run("labels", tags={"offpeak/during_launch": "send"})
    assert made.batches() == 1
    made.time.to(STARTS + HOUR)
    made.turn()
    assert made.here.states() == ["completed"]


def test_a_tag_that_says_something_else_buys_nothing(stage: Made) -> None:
    made = stage(labels())
    run = made.here.run("labels", tags={"offpeak/during_launch": "yes"})
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert "labels: the run tag offpeak/during_launch='yes' says nothing. Nothing was submitted." in made.here.messages(
        run
    )


def test_a_job_that_waits_can_be_sent_by_hand(stage: Made) -> None:
    made = stage(labels())
    made.time.to(STARTS)
    made.here.run("labels")
    (job,) = made.here.jobs()
    launch_windows.send_anyway(made.here.ledger, job.id, who="a test")
    made.turn()
    assert made.batches() == 1


def test_a_run_that_waits_in_place_does_not_wait_for_the_end_of_a_launch_and_loses_nothing(stage: Made) -> None:
    made = stage(labels(wait="run", **LATER))
    made.time.to(STARTS)
    run = made.here.run("labels")
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert f"labels: {ROWS} requests are not sent: job 1 {WAITS}. Nothing is lost: materialise" in made.here.messages(
        run
    )
    made.time.to(ENDS)
    again = made.here.run("labels")
    assert again.status is dg.DagsterRunStatus.SUCCESS
    assert made.batches() == 1


def test_batches_that_are_open_when_it_begins_finish_and_are_collected(
    stage: Made, local_provider: LocalProvider
) -> None:
    made = stage(labels(), open_batches="finish")
    hold(local_provider)
    made.here.run("labels")
    made.time.to(STARTS + HOUR)
    made.turn()
    assert len(made.here.held()) == 1
    let_end(local_provider)
    made.time.to(STARTS + 2 * HOUR)
    made.turn()
    assert made.here.states() == ["completed"]
    assert [outcome(local_provider, each["id"]) for each in local_provider.batches()] == ["completed"]


def test_or_they_are_cancelled_in_time_by_choice_and_the_rest_is_bought_after_it(
    stage: Made, local_provider: LocalProvider
) -> None:
    made = stage(labels(**LATER), open_batches="cancel")
    hold(local_provider, share=0.5)
    made.time.to(STARTS - HOUR)
    made.here.run("labels")
    local_provider.call("DELETE", "/local/faults")
    made.turn()
    assert len(made.here.held()) == 1
    (batch,) = local_provider.batches()
    assert outcome(local_provider, batch["id"]) is None
    made.time.to(STARTS - 10 * MINUTE)
    made.turn()
    made.time.to(STARTS)
    made.turn()
    assert outcome(local_provider, batch["id"]) == "cancelled", "it is out of the way when the launch begins"
    for hour in range(1, 12):
        made.time.to(STARTS + hour * HOUR)
        made.turn()
    assert made.batches() == 1
    made.time.to(ENDS)
    made.turn()
    assert made.batches() == 2
    made.time.to(ENDS + HOUR)
    made.turn()
    assert made.here.states() == ["completed"]
    assert sold(local_provider) == [1] * ROWS, "what it had finished is kept"


def test_a_broken_list_keeps_what_is_known_and_stops_no_sensor(stage: Made, tmp_path: Path) -> None:
    made = stage(labels())
    made.time.to(STARTS)
    made.here.run("labels")
    (tmp_path / "launches.yaml").write_text("launches: [{name: spring}]")
    said = made.here.tick().skip_message or ""
    assert "the launches cannot be read: " in said
    assert made.batches() == 0
    assert [each.name for each in launch_windows.known(made.here.ledger)] == ["spring"]


def test_a_list_that_cannot_be_read_is_refused_when_definitions_load(stage: Made, tmp_path: Path) -> None:
    listed = tmp_path / "other.yaml"
    listed.write_text("launches: [{name: spring}]")
    api = OfflineProvider("http://127.0.0.1:1").api(launches=str(listed))
    with pytest.raises(ConfigurationError, match="entry 1: starts: Field required"):
        stage(labels(), resources={"batch_api": api})


def test_people_are_told_beforehand_what_a_launch_will_hold_up(stage: Made) -> None:
    short = {"contract": FreshnessContract(valid_for=timedelta(hours=14))}
    notifier = Notifier(destinations={"team": "json://127.0.0.1:9"})
    made = stage(
        labels(notify="team", **short),
        schedules=[scheduled("hourly", "0 * * * *", "labels")],
        resources={"notifier": notifier},
    )
    made.time.to(STARTS - 25 * HOUR)
    made.after()
    assert notices.listed(made.here.ledger) == []
    made.time.to(STARTS - 24 * HOUR)
    made.after()
    made.after()
    (told,) = notices.listed(made.here.ledger)
    assert told.title == "labels is held up by spring"
    assert told.kind == "deadline_endangered"


def test_a_job_that_is_due_before_a_launch_ends_is_said_to_be_late_when_it_is_planned(stage: Made) -> None:
    made = stage(labels(notify="team"), resources={"notifier": Notifier(destinations={"team": "json://127.0.0.1:9"})})
    made.time.to(STARTS + HOUR)
    assert "late" not in made.here.messages(made.here.run("labels")), "it is due an hour after the launch"
    assert notices.listed(made.here.ledger) == []


def test_or_when_it_is_planned_and_people_are_told(stage: Made) -> None:
    short = {"workload": Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=6)), "notify": "team"}
    made = stage(labels(**short), resources={"notifier": Notifier(destinations={"team": "json://127.0.0.1:9"})})
    made.time.to(STARTS + HOUR)
    said = made.here.messages(made.here.run("labels"))
    assert f"labels: job 1 is due at 2027-03-09 16:00 UTC, and {WAITS}: it will be late." in said
    assert [each.title for each in notices.listed(made.here.ledger)] == ["labels waits for the launch spring to end"]
    assert made.batches() == 0


def test_what_is_due_in_a_launch_is_rescued_before_it_and_lands_in_time(
    stage: Made, local_provider: LocalProvider
) -> None:
    made = stage(labels())
    hold(local_provider)
    made.time.to(STARTS - 2 * HOUR)
    made.here.run("labels")
    made.turn()
    assert len(made.here.held()) == 1
    made.time.to(STARTS - 45 * MINUTE)
    made.turn()
    made.time.to(STARTS - 39 * MINUTE)
    local_provider.call("DELETE", "/local/faults")
    for minute in range(39, 0, -3):
        made.time.to(STARTS - minute * MINUTE)
        made.turn()
    assert made.here.states() == ["completed"]
    assert sold(local_provider) == [1] * ROWS


def test_no_rescue_begins_while_it_lasts(stage: Made, local_provider: LocalProvider) -> None:
    made = stage(labels())
    hold(local_provider)
    made.time.to(STARTS - 2 * HOUR)
    made.here.run("labels")
    for hour in range(12):  # nobody looked before it began
        made.time.to(STARTS + hour * HOUR)
        made.turn()
    assert local_provider.tally("openai")["realtime_answers"] == 0
    assert len(made.here.held()) == 1
