"""Getting a fresh one first: the ready-made conditions, evaluated as Dagster's daemon does."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from offpeak import Chat, FreshnessContract, Waiting, Workload, batch_asset, fresh_first, refresh_when_stale, tolerates
from offpeak.errors import DefinitionError

from .automation import Daemon

HOUR = timedelta(hours=1)


@batch_asset(
    model="openai/gpt-5-mini",
    workload=Workload(waiting=Waiting.NOBODY, deadline=12 * HOUR),
    lane="batch",
    contract=FreshnessContract(valid_for=37 * HOUR),
    automation_condition=refresh_when_stale("labels"),
)
def labels() -> Iterator[Chat]:
    yield Chat(key="a", prompt="?")


@dg.asset(
    ins={"labels": tolerates(38 * HOUR)},
    automation_condition=fresh_first("0 9 * * *", "labels", timezone="Europe/Berlin"),
)
def dashboard(labels: pd.DataFrame) -> None: ...


def test_a_consumer_waits_for_fresh_rows_which_are_bought_first(project: Any, sensor_of: Any) -> None:
    made = project(labels, dashboard)
    daemon, today = Daemon(made.defs, made.instance), datetime.now(UTC).replace(hour=0, minute=0)
    assert daemon.tick(today) == set()
    assert daemon.tick(today + 10 * HOUR) == set()  # it has ticked, and there are no rows yet
    made.run("labels")
    assert daemon.tick(today + 11 * HOUR) == {"dashboard"}
    made.run("dashboard")
    assert daemon.tick(today + 12 * HOUR) == set()
    sensor_of(made).tick(datetime.now(UTC) + 38 * HOUR)
    assert daemon.tick(today + 13 * HOUR) == {"labels"}
    made.run("labels")
    assert daemon.tick(today + 14 * HOUR) == set()


def test_a_stale_producer_is_renewed_before_the_consumer_runs(project: Any, sensor_of: Any) -> None:
    made = project(labels, dashboard)
    daemon, today = Daemon(made.defs, made.instance), datetime.now(UTC).replace(hour=0, minute=0)
    made.run("labels")
    daemon.tick(today)
    sensor_of(made).tick(datetime.now(UTC) + 38 * HOUR)
    assert daemon.tick(today + 10 * HOUR) == {"labels"}
    made.run("labels")
    assert daemon.tick(today + 11 * HOUR) == {"dashboard"}


def test_after_a_failed_run_nothing_is_asked_again(project: Any, provider: Any, sensor_of: Any) -> None:
    made = project(labels)
    daemon = Daemon(made.defs, made.instance)
    made.run("labels")
    sensor_of(made).tick(datetime.now(UTC) + 38 * HOUR)
    assert daemon.tick(datetime.now(UTC)) == {"labels"}
    with pytest.raises(DefinitionError):
        made.run("labels", offpeak__wait="sleep")
    assert daemon.tick(datetime.now(UTC)) == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("0 9 * * *",), "names no batch asset"),
        (("nine", "labels"), "fresh_first\\('nine'"),
    ],
)
def test_nonsense_is_refused(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        fresh_first(*arguments)
