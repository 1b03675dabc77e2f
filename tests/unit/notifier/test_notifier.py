"""Real services on loopback are told; whatever goes wrong is said in a few words, without an address."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from offpeak import Notifier
from offpeak.errors import ConfigurationError
from offpeak.notifier import Message, Severity

from ...conftest import free_port
from ...receivers import TOKEN, Mailbox, Webhook

TEXT = "labels has landed: 3 rows.\nCost: $0.0001."


def message(to: str = "ops", title: str = "labels has landed") -> Message:
    return Message(destination=to, title=title, body=TEXT, severity=Severity.WARNING)


def test_a_webhook_gets_title_body_and_severity(webhook: Webhook) -> None:
    assert Notifier(destinations={"ops": webhook.url()}).send([message()]) == [None]
    ((path, body),) = webhook.received
    assert path == "ops"
    assert (body["title"], body["message"], body["type"]) == ("labels has landed", TEXT, "warning")


def test_a_mail_arrives_with_its_lines_as_they_were(mailbox: Mailbox) -> None:
    assert Notifier(destinations={"ops": mailbox.url()}).send([message()]) == [None]
    (mail,) = mailbox.mails
    assert (mail["Subject"], mail["To"]) == ("labels has landed", "ops@example.test")
    assert "offpeak@example.test" in mail["From"]
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().replace("\r\n", "\n").strip() == TEXT


def test_several_messages_to_one_destination_arrive_in_order(webhook: Webhook) -> None:
    titles = [str(number) for number in range(5)]
    sent = Notifier(destinations={"ops": webhook.url()}).send([message(title=title) for title in titles])
    assert sent == [None] * 5
    assert webhook.titles() == titles


def test_each_way_to_fail_is_told_apart_and_holds_up_nobody_else(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook.refusals["broken"] = 1
    monkeypatch.delenv("NOT_SET", raising=False)
    monkeypatch.setenv("EMPTY", " ")
    notifier = Notifier(
        destinations={
            "ops": webhook.url(),
            "broken": webhook.url("broken"),
            "odd": f"nonsense://{TOKEN}",
            "closed": f"json://127.0.0.1:{free_port()}/{TOKEN}",
            "unset": dg.EnvVar("NOT_SET"),
            "empty": "$EMPTY",
        }
    )
    names = [*notifier.destinations, "unknown"]
    found = dict(zip(names, notifier.send([message(name) for name in names]), strict=True))
    assert found == {
        "ops": None,
        "broken": "the service answered 500",
        "odd": "apprise does not understand its address, or lacks a package for it",
        "closed": "the service did not take it, or could not be reached",
        "unset": "its variable NOT_SET is not set",
        "empty": "its variable EMPTY is not set",
        "unknown": "the resource 'notifier' has no destination 'unknown'",
    }
    assert webhook.titles() == ["labels has landed"]


def test_a_service_that_hangs_is_left_after_its_time_and_the_others_are_told(webhook: Webhook) -> None:
    notifier = Notifier(destinations={"ops": webhook.url(), "slow": webhook.url("hangs")}, timeout_seconds=1)
    began = time.monotonic()
    assert notifier.send([message("slow"), message()]) == ["it did not answer within 1 s", None]
    assert time.monotonic() - began < 8


def test_without_apprise_the_remedy_is_named(webhook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "apprise.py").write_text("raise ImportError('no such package')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (why,) = Notifier(destinations={"ops": webhook.url()}).send([message()])
    assert why is not None
    assert "pip install 'offpeak[notify]'" in why


def test_a_process_that_cannot_be_started_is_no_error(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    (why,) = Notifier(destinations={"ops": webhook.url()}).send([message()])
    assert why == "no process could be started to send it (No such file or directory)"


def test_the_process_that_sends_says_no_address_whatever_fails(webhook: Webhook) -> None:
    webhook.refusals["ops"] = 1
    urls = [webhook.url(), f"nonsense://{TOKEN}", f"json://127.0.0.1:{free_port()}/{TOKEN}", f"slack://{TOKEN}"]
    order = {
        "seconds": 5,
        "messages": [
            {"number": number, "url": url, "title": "t", "body": "b", "severity": "failure"}
            for number, url in enumerate(urls)
        ],
    }
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "offpeak.notifier_process"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(ended.stdout.splitlines()) == len(urls)
    assert TOKEN not in ended.stdout + ended.stderr


def test_a_variable_is_read_when_something_is_sent_and_dagster_never_holds_its_value(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPS_URL", raising=False)
    told: list[list[str | None]] = []

    @dg.asset(required_resource_keys={"notifier"})
    def tells(context: dg.AssetExecutionContext) -> None:
        told.append(context.resources.notifier.send([message()]))

    notifier = Notifier(destinations={"ops": dg.EnvVar("OPS_URL")}, base_url=dg.EnvVar("UI_URL"))
    dg.materialize([tells], resources={"notifier": notifier})  # a variable that is not set fails no run
    monkeypatch.setenv("OPS_URL", webhook.url())
    dg.materialize([tells], resources={"notifier": notifier})
    assert told == [["its variable OPS_URL is not set"], [None]]
    assert notifier.destinations == {"ops": "$OPS_URL"}


def test_who_can_be_reached_and_where_the_ui_is_follow_from_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    notifier = Notifier(destinations={"ops": dg.EnvVar("OPS_URL"), "all": "json://x"}, base_url=dg.EnvVar("UI_URL"))
    monkeypatch.delenv("OPS_URL", raising=False)
    monkeypatch.delenv("UI_URL", raising=False)
    assert (notifier.reachable(["ops", "all", "no"]), notifier.link("runs/1")) == (["all"], None)
    monkeypatch.setenv("OPS_URL", "json://y")
    monkeypatch.setenv("UI_URL", "https://dagster.example.test/")
    assert notifier.reachable(["ops", "all"]) == ["ops", "all"]
    assert notifier.link("runs/1") == "https://dagster.example.test/runs/1"


def test_nothing_of_dagster_is_imported_to_send() -> None:
    code = "import sys, offpeak.notifier_process; print('dagster' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


@pytest.mark.parametrize("given", [[f"json://{TOKEN}"], f"json://{TOKEN}", {"ops": [f"json://{TOKEN}"]}, {7: TOKEN}])
def test_destinations_that_are_none_are_refused_without_being_shown(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="destinations= takes the address of each destination") as refused:
        Notifier(destinations=given)
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("seconds", [0, -1, 31])
def test_a_time_that_would_hold_up_a_run_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match=f"timeout_seconds={seconds} is not more than 0 and at most 30"):
        Notifier(timeout_seconds=seconds)


def test_no_address_is_shown_where_the_resource_is_printed() -> None:
    assert TOKEN not in repr(Notifier(destinations={"ops": f"json://{TOKEN}"}))
