"""People are told what became of their assets, by real services on loopback; and nothing of it fails a run."""

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from offpeak import (
    Budget,
    Chat,
    FreshnessContract,
    NoticeKind,
    Notifier,
    Notify,
    Waiting,
    Workload,
    batch_asset,
    freshness_sla,
    tolerates,
)
from offpeak.assets import notices_sensor
from offpeak.errors import BudgetExceeded, JobFailed, SampleHeld, SurgeHeld
from offpeak.ledger import notices, tables
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.notices import NoticeRow
from offpeak.ledger.states import NoticeState

from ..conftest import HeldClock, free_port
from ..receivers import TOKEN, Mailbox, Webhook
from .conftest import OfflineProvider, Project, age, landed_in

HOUR = timedelta(hours=1)
EVERYTHING = Notify(to="ops", on=set(NoticeKind))
SECRET_TEXT = "my card number is on file"


class Shelf:
    """What is asked, which a test changes."""

    def __init__(self) -> None:
        self.system = "Label it."
        self.rows = {"row-17@example.test": SECRET_TEXT, "b": "?", "c": "!"}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def labels(shelf: Shelf) -> Callable[..., dg.AssetsDefinition]:
    def declare(notify: Any = EVERYTHING, **arguments: Any) -> dg.AssetsDefinition:
        @batch_asset(
            name="labels",
            model="openai/gpt-5-mini",
            notify=notify,
            **{
                "workload": Workload(waiting=Waiting.NOBODY, deadline=12 * HOUR),
                "lane": "batch",
                "contract": FreshnessContract(valid_for=37 * HOUR),
                **arguments,
            },
        )
        def asked() -> Iterator[Chat]:
            for key, prompt in shelf.rows.items():
                yield Chat(key=key, system=shelf.system, prompt=prompt)

        return asked

    return declare


@pytest.fixture
def outbox(resources: dict[str, Any]) -> Iterator[Callable[[], list[NoticeRow]]]:
    """The notices in the ledger, the newest first."""
    with Ledger.open(resources["offpeak_results"].database_url) as ledger:
        yield lambda: notices.listed(ledger)


def due_now(resources: dict[str, Any]) -> None:
    """Let the pause before the next attempt be over."""
    with (
        Ledger.open(resources["offpeak_results"].database_url) as ledger,
        ledger.database.write() as connection,
    ):
        connection.execute(tables.notice.update().values(next_at=0))


def tick(project: Project, at: datetime | None = None, monkeypatch: pytest.MonkeyPatch | None = None) -> str:
    """What one evaluation of the sensor says."""
    if at is not None:
        assert monkeypatch is not None
        monkeypatch.setattr(notices_sensor, "SystemClock", lambda: HeldClock(at))
    repository = project.defs.get_repository_def()
    sensor = repository.get_sensor_def(notices_sensor.NOTICES_SENSOR)
    with dg.build_sensor_context(
        instance=project.instance,
        repository_def=repository,
        resources={name: (project.defs.resources or {})[name] for name in sensor.required_resource_keys},
    ) as context:
        ticked = sensor.evaluate_tick(context)
    assert ticked.run_requests == []
    return str(ticked.skip_message)


def by_webhook(webhook: Webhook, **more: Any) -> dict[str, Any]:
    return {"notifier": Notifier(destinations={"ops": webhook.url(), **more}, base_url="https://ui.example.test")}


def test_whoever_walked_away_is_told_when_rows_have_landed(
    project: Any, labels: Any, webhook: Webhook, outbox: Any
) -> None:
    made = project(labels(Notify(to="ops", on={"landed"})), resources=by_webhook(webhook))
    result = made.run("labels")
    assert webhook.titles() == ["labels has landed"]
    first, figures, times, link = webhook.bodies()[0].splitlines()
    assert first == "labels has landed: 3 rows."
    assert figures.startswith("3 rows planned: 3 bought, 0 on their way already, 0 bought before. Cost: $0.0")
    assert times.startswith("Ended ")
    assert link == f"https://ui.example.test/runs/{result.run_id}"
    assert [row.state for row in outbox()] == [NoticeState.DELIVERED]


def test_a_mail_says_it_too(project: Any, labels: Any, mailbox: Mailbox) -> None:
    project(labels(), resources={"notifier": Notifier(destinations={"ops": mailbox.url()})}).run("labels")
    assert [mail["Subject"] for mail in mailbox.mails] == ["labels has landed"]


def test_rows_that_landed_in_part_are_told_of_once_to_each_who_waits_for_either(
    project: Any, labels: Any, webhook: Webhook, provider: OfflineProvider
) -> None:
    provider.fault("unusable_lines", share=0.34, how="refused")
    both = [Notify(to="ops", on={"landed", "partial_failure"}), Notify(to="desk", on={"landed"})]
    project(labels(both), resources=by_webhook(webhook, desk=webhook.url("desk"))).run("labels")
    assert webhook.titles("ops") == ["labels has landed in part"]
    assert webhook.titles("desk") == ["labels has landed"]
    for body in (*webhook.bodies("ops"), *webhook.bodies("desk")):
        assert "but 1 of its rows have no usable answer of their own (refused 1)" in body
    assert "`offpeak dead-letters list labels`" in webhook.bodies("ops")[0]


def test_a_job_that_fails_is_told_of_without_a_word_of_what_was_asked_or_answered(
    project: Any, labels: Any, webhook: Webhook, provider: OfflineProvider
) -> None:
    provider.fault("unusable_lines", share=1.0, how="refused", times=None)
    with pytest.raises(JobFailed):
        project(labels(), resources=by_webhook(webhook)).run("labels")
    assert webhook.titles() == ["labels has not landed: it failed"]
    (body,) = webhook.bodies()
    assert "Job 1 of labels ended without the answers that its asset needs: it failed (refused 3)." in body
    assert "`offpeak jobs show 1` says why" in body
    for word in (SECRET_TEXT, "row-17", "Label it", TOKEN):
        assert word not in body


def test_kinds_that_nobody_asked_for_are_neither_sent_nor_written(
    project: Any, labels: Any, webhook: Webhook, outbox: Any
) -> None:
    project(labels("ops"), resources=by_webhook(webhook)).run("labels")
    assert (webhook.received, outbox()) == ([], [])


def test_without_a_notifier_or_an_address_nothing_is_sent_and_nothing_fails(
    project: Any, labels: Any, resources: dict[str, Any], outbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPS_URL", raising=False)
    resources.pop("notifier")
    for more in ({}, {"notifier": Notifier(destinations={"ops": dg.EnvVar("OPS_URL")})}):
        made = project(labels(), resources=more)
        assert landed_in(made.run("labels"))
        assert tick(made) == "No destination has an address, so nobody is told."
    assert outbox() == []


@pytest.mark.parametrize("trouble", ["odd", "closed", "hangs", "refuses"])
def test_a_service_that_cannot_be_told_fails_no_run_and_its_address_is_nowhere(
    project: Any,
    labels: Any,
    webhook: Webhook,
    outbox: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    trouble: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    webhook.refusals["refuses"] = 99
    address = {
        "odd": f"nonsense://{TOKEN}",
        "closed": f"json://127.0.0.1:{free_port()}/{TOKEN}",
        "hangs": webhook.url("hangs"),
        "refuses": webhook.url("refuses"),
    }[trouble]
    made = project(labels(), resources={"notifier": Notifier(destinations={"ops": address}, timeout_seconds=1)})
    result = made.run("labels")
    assert landed_in(result)
    (row,) = outbox()
    assert (row.state, row.attempts) == (NoticeState.PENDING, 1)
    said = "\n".join(entry.message for entry in made.instance.all_logs(result.run_id))
    assert "The notice 'labels has landed' is sent again later. ops: " in said
    captured = capfd.readouterr()
    for text in (said, caplog.text, captured.out, captured.err, row.error):
        assert TOKEN not in text
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("offpeak.db*"))
    assert b"labels has landed" in written
    assert TOKEN.encode() not in written


def test_without_apprise_a_run_lands_and_its_log_says_what_to_install(
    project: Any, labels: Any, webhook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apprise.py").write_text("raise ImportError('no such package')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = project(labels(), resources=by_webhook(webhook))
    result = made.run("labels")
    assert landed_in(result)
    assert "pip install 'offpeak[notify]'" in "\n".join(e.message for e in made.instance.all_logs(result.run_id))


def test_a_torn_notice_fails_no_run_and_holds_up_no_other(
    project: Any, labels: Any, shelf: Shelf, webhook: Webhook, outbox: Any, resources: dict[str, Any]
) -> None:
    made = project(labels(), resources=by_webhook(webhook))
    webhook.refusals["ops"] = 1
    made.run("labels")
    with Ledger.open(resources["offpeak_results"].database_url) as ledger, ledger.database.write() as connection:
        connection.execute(tables.notice.update().values(destinations="{", next_at=0))
    shelf.rows["d"] = "another"
    assert landed_in(made.run("labels"))
    assert webhook.titles() == ["labels has landed"]
    assert [row.state for row in outbox()] == [NoticeState.DELIVERED, NoticeState.GIVEN_UP]


def test_the_sensor_sends_again_what_did_not_arrive_and_then_no_more(
    project: Any, labels: Any, webhook: Webhook, resources: dict[str, Any], outbox: Any
) -> None:
    webhook.refusals["ops"] = 2
    made = project(labels(), resources=by_webhook(webhook))
    made.run("labels")
    assert tick(made) == "0 new, 0 delivered.", "it is too early"
    due_now(resources)
    assert tick(made) == "0 new, 0 delivered."
    due_now(resources)
    assert tick(made) == "0 new, 1 delivered."
    due_now(resources)
    assert tick(made) == "0 new, 0 delivered."
    assert (webhook.refused, webhook.titles()) == (2, ["labels has landed"])
    assert [(row.state, row.attempts) for row in outbox()] == [(NoticeState.DELIVERED, 3)]


def test_a_destination_that_is_gone_is_tried_in_bounds_and_given_up(
    project: Any, labels: Any, webhook: Webhook, resources: dict[str, Any], outbox: Any
) -> None:
    webhook.refusals["ops"] = 99
    made = project(labels(), resources=by_webhook(webhook))
    made.run("labels")
    for _ in range(12):
        due_now(resources)
        tick(made)
    (row,) = outbox()
    assert (row.state, row.attempts, row.error) == (
        NoticeState.GIVEN_UP,
        notices.MOST_ATTEMPTS,
        "ops: the service answered 500",
    )
    assert webhook.refused == notices.MOST_ATTEMPTS


def test_a_held_surge_is_told_once_however_many_ticks_see_it(
    project: Any, labels: Any, shelf: Shelf, webhook: Webhook
) -> None:
    made = project(labels("ops"), resources=by_webhook(webhook))
    made.run("labels")
    shelf.system = "Label it anew."
    with pytest.raises(SurgeHeld):
        made.run("labels")
    assert tick(made) == "1 new, 1 delivered."
    assert tick(made) == "0 new, 0 delivered."
    assert webhook.titles() == ["labels is held"]
    assert "`offpeak jobs approve 2`" in webhook.bodies()[0]
    assert "row-17" not in webhook.bodies()[0]


@pytest.mark.parametrize(("over", "word"), [("ask", "held"), ("refuse", "refused")])
def test_a_job_that_costs_too_much_is_told_of_once_by_its_own_run(
    project: Any, labels: Any, webhook: Webhook, provider: OfflineProvider, over: Any, word: str
) -> None:
    made = project(labels("ops", budget=Budget(job="0.000001", over=over)), resources=by_webhook(webhook))
    with pytest.raises(BudgetExceeded):
        made.run("labels")
    assert webhook.titles() == [f"labels is {word} for its price"]
    assert "the budget of a job of labels is $0.000001. Nothing was submitted." in webhook.bodies()[0]
    assert ("`offpeak jobs approve 1`" in webhook.bodies()[0]) is (over == "ask")
    assert "row-17" not in webhook.bodies()[0]
    assert tick(made) == "0 new, 0 delivered."
    assert provider.batches() == 0
    assert landed_in(made.run("labels", offpeak__approve="true"))


def test_a_sample_that_waits_for_approval_is_told_of(project: Any, labels: Any, webhook: Webhook) -> None:
    made = project(labels("ops", sample=1), resources=by_webhook(webhook))
    with pytest.raises(SampleHeld):
        made.run("labels")
    tick(made)
    assert webhook.titles() == ["labels waits for approval"]
    assert "2 requests wait for approval of its sample" in webhook.bodies()[0]


def test_a_job_that_nobody_collects_and_that_is_late_is_told_of(
    project: Any, labels: Any, webhook: Webhook, resources: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project(labels("ops"), resources=by_webhook(webhook))
    made.run("labels")
    with Ledger.open(resources["offpeak_results"].database_url) as ledger, ledger.database.write() as connection:
        dead = str(ledger.claimant).replace("@", "@1")
        connection.execute(tables.job.update().values(state="in_progress", closed_at=None, owner=dead))
    now = datetime.now(UTC)
    assert tick(made, now, monkeypatch) == "1 new, 1 delivered."
    assert tick(made, now + 13 * HOUR, monkeypatch) == "1 new, 1 delivered."
    assert tick(made, now + 14 * HOUR, monkeypatch) == "0 new, 0 delivered."
    assert webhook.titles() == ["labels is left alone", "labels is late"]
    assert "past its deadline, and has not landed" in webhook.bodies()[1]


def test_a_job_that_lands_after_its_deadline_is_told_to_be_late_once(
    project: Any, labels: Any, webhook: Webhook
) -> None:
    late = labels(workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(milliseconds=1)))
    made = project(late, resources=by_webhook(webhook))
    made.run("labels")
    tick(made)
    assert webhook.titles() == ["labels has landed", "labels is late"]


def test_rows_past_their_promise_are_told_of_once_for_each_promise(
    project: Any, labels: Any, webhook: Webhook, resources: dict[str, Any], sensor_of: Any
) -> None:
    made = project(labels("ops"), resources=by_webhook(webhook))
    sensor = sensor_of(made)
    made.run("labels")
    now = datetime.now(UTC)
    sensor.tick(now)
    assert tick(made) == "0 new, 0 delivered."
    sensor.tick(now + 38 * HOUR)
    sensor.cursor = None  # whoever looks afterwards knows nothing
    sensor.tick(now + 39 * HOUR)
    assert tick(made) == "0 new, 1 delivered."
    assert webhook.titles() == ["labels is older than promised"]
    assert "labels breaks its contract. Stale since " in webhook.bodies()[0]
    age(resources, "labels", HOUR)  # another plan, another promise
    sensor.cursor = None
    sensor.tick(now + 39 * HOUR)
    tick(made)
    assert len(webhook.titles()) == 2


@pytest.mark.parametrize("missed", [False, True])
def test_a_time_of_day_downstream_is_told_to_those_of_the_batch_assets_above(
    project: Any, labels: Any, webhook: Webhook, sensor_of: Any, missed: bool
) -> None:
    due_at = (datetime.now(UTC) + 20 * timedelta(minutes=1)).replace(second=0, microsecond=0)

    @dg.asset(
        ins={"labels": tolerates(38 * HOUR)},
        freshness_policy=freshness_sla(f"{due_at.minute} {due_at.hour} * * *"),
    )
    def dashboard(labels: pd.DataFrame) -> None: ...

    made = project(labels("ops"), dashboard, resources=by_webhook(webhook))
    sensor = sensor_of(made)
    sensor.tick(due_at - 2 * timedelta(minutes=1))
    tick(made)
    if not missed:
        assert webhook.titles() == ["dashboard may be late"]
    else:
        sensor.tick(due_at + HOUR)
        tick(made)
        assert webhook.titles() == ["dashboard may be late", "dashboard is late"]
    assert "It is made of labels" in webhook.bodies()[-1]


def test_a_parked_run_tells_when_it_has_collected(
    code_location: Any, labels: Any, webhook: Webhook, local_provider: Any
) -> None:
    here = code_location(labels(), resources=by_webhook(webhook))
    here.run("labels")
    assert webhook.received == []
    while here.held():
        here.turn()
    assert webhook.titles() == ["labels has landed"]
