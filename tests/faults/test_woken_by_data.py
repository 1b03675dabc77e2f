"""From a commit in the application's Postgres to rows that are bought: the real daemon, listener and provider."""

import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ..conftest import LocalProvider, until
from ..waking.deployment import Waking, waking


@pytest.fixture
def deployment(tmp_path: Path, local_provider: LocalProvider) -> Iterator[Waking]:
    with waking(tmp_path, local_provider) as found:
        yield found


def bought(provider: LocalProvider) -> int:
    return int(provider.tally("openai")["answers_delivered"])


def labelled(deployment: Waking) -> int:
    event = deployment.instance.get_latest_materialization_event(dg.AssetKey("counts"))
    assert event is not None
    assert event.asset_materialization is not None
    return int(event.asset_materialization.metadata["labels"].value)  # type: ignore[arg-type]


def test_each_change_of_a_row_is_one_purchase_and_between_changes_nobody_asks_the_source(
    deployment: Waking, local_provider: LocalProvider
) -> None:
    assert (bought(local_provider), labelled(deployment)) == (50, 50)
    for statement, answers, rows in (
        ("INSERT INTO tickets (body) VALUES ('The app crashes.')", 51, 51),
        ("UPDATE tickets SET body = 'How do I export?' WHERE id = 7", 52, 51),
        ("DELETE FROM tickets WHERE id = 9", 52, 50),
    ):
        known = len(deployment.runs())
        deployment.woken_after(deployment.commit(statement), known=known)
        until(lambda rows=rows: labelled(deployment) == rows, seconds=90, what=statement)  # type: ignore[misc]
        deployment.settle()
        assert bought(local_provider) == answers
        names = {key.to_user_string() for key in deployment.runs()[0].dagster_run.asset_selection or ()}
        assert names == {"labels", "counts"}

    known, asked, began = len(deployment.runs()), deployment.server.log.read_text().count("statement:"), time.time()
    until(lambda: deployment.ticks("offpeak_sources", since=began) >= 2, seconds=120, what="two looks of the sensor")
    assert deployment.server.log.read_text().count("statement:") == asked, "no question between changes"
    assert len(deployment.runs()) == known, "and no run"


def test_without_a_listener_the_sensor_finds_the_change(tmp_path: Path, local_provider: LocalProvider) -> None:
    with waking(tmp_path, local_provider, listens=False) as deployment:
        known = len(deployment.runs())
        deployment.woken_after(deployment.commit("DELETE FROM tickets WHERE id = 3"), known=known, within=90)
        until(lambda: labelled(deployment) == 49, seconds=90, what="49 labels")
        assert bought(local_provider) == 50
