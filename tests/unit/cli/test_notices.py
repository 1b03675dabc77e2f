"""Notices on the command line: what was told and whether it arrived, and a word to see that it can."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from offpeak.errors import ConfigurationError
from offpeak.ledger import notices
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.notices import Notice
from offpeak.ledger.notify import NoticeKind

from ...receivers import TOKEN, Webhook
from .conftest import Run

DEFINITIONS = """
import dagster as dg
from offpeak import Notifier, with_offpeak

defs = with_offpeak(dg.Definitions(resources={"notifier": Notifier(destinations=%s)}))
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make a project whose notifier has these destinations, and go there."""

    def make(destinations: str) -> None:
        module = f"notices_of_{tmp_path.name}"
        (tmp_path / "pyproject.toml").write_text(
            f'[tool.dg.project]\nroot_module = "shop"\ncode_location_target_module = "{module}"\n'
        )
        (tmp_path / f"{module}.py").write_text(DEFINITIONS % destinations)
        monkeypatch.chdir(tmp_path)

    return make


def test_the_list_says_what_was_told_and_what_did_not_arrive(ledger: Ledger, run: Run) -> None:
    assert "Nobody was told of anything." in run("notices", "list")
    for number, asset in enumerate(["labels", "digests"]):
        notice = Notice(
            name=str(number),
            kind=NoticeKind.LANDED,
            asset=asset,
            title=f"{asset} has landed",
            body="",
            destinations=("ops",),
        )
        assert notices.raise_new(ledger, [notice])
    (claimed,) = notices.claim(ledger, assets=["labels"], most=1)
    notices.settle(ledger, claimed, {"ops": "the service answered 500"})
    told = run("notices", "list")
    assert told.index("digests has landed") < told.index("labels has landed")
    assert "labels has landed: ops: the service answered 500." in told
    assert "digests" not in run("notices", "list", "labels")
    (row,) = json.loads(run("notices", "list", "labels", "--json"))["notices"]
    assert (row["state"], row["attempts"], row["kind"]) == ("pending", 1, "landed")
    assert timedelta(0) < notices.listed(ledger, asset="labels")[0].next_at - ledger.clock.now() <= timedelta(minutes=1)


def test_a_word_is_sent_to_each_destination_or_to_those_named(
    project: Callable[[str], None], run: Run, webhook: Webhook
) -> None:
    project(f'{{"ops": "{webhook.url()}", "desk": "{webhook.url("desk")}"}}')
    assert run("notices", "test") == "ops: told\ndesk: told\n"
    assert json.loads(run("notices", "test", "desk", "--json")) == {"destinations": [{"name": "desk", "error": None}]}
    assert sorted(path for path, _ in webhook.received) == ["desk", "desk", "ops"]


def test_who_cannot_be_told_is_an_error_without_the_address(
    project: Callable[[str], None], run: Run, webhook: Webhook, capfd: pytest.CaptureFixture[str]
) -> None:
    project(f'{{"ops": "{webhook.url()}", "odd": "nonsense://{TOKEN}", "unset": dg.EnvVar("NOT_SET_AT_ALL")}}')
    with pytest.raises(ConfigurationError, match=r"^odd, unset could not be told") as refused:
        run("notices", "test")
    captured = capfd.readouterr()
    assert TOKEN not in str(refused.value) + captured.out + captured.err
    assert len(webhook.received) == 1


def test_without_a_notifier_the_line_to_add_is_shown(project: Callable[[str], None], run: Run) -> None:
    project("{}")
    with pytest.raises(ConfigurationError, match="have no resource 'notifier' with destinations"):
        run("notices", "test")
