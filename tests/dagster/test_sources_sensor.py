"""Where no listener tells of changes, a sensor looks for them: once per tick and source, at constant cost."""

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from offpeak import with_offpeak
from offpeak.assets import sources_sensor
from offpeak.assets.heartbeat import Heartbeat
from offpeak.assets.observing import Observed
from offpeak.assets.sources_sensor import SOURCES_SENSOR
from offpeak.errors import ConfigurationError, CouldNotRead

from ..conftest import HeldClock
from .changing import Application, definitions, observed, source_asset

NOW = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)


class Counted(dg.ConfigurableIOManager):
    """Tables whose versions, or errors, are given; it counts how often each is looked at."""

    def load_input(self, context: dg.InputContext) -> Any:
        raise NotImplementedError

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        raise NotImplementedError

    def data_version(self, asset_key: dg.AssetKey, *, since: str | None = None) -> str:
        table = asset_key.to_user_string()
        LOOKS.append((table, since))
        found = TABLES[table]
        if isinstance(found, Exception):
            raise found
        if callable(found):
            return str(found())
        return str(found)


TABLES: dict[str, Any] = {}
LOOKS: list[tuple[str, str | None]] = []


@pytest.fixture(autouse=True)
def tables() -> dict[str, Any]:
    TABLES.clear()
    LOOKS.clear()
    TABLES.update(documents="v1", tickets="v1")
    return TABLES


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock(NOW)


Tick = Callable[[], dg.SensorResult]


def ticking(defs: dg.Definitions, instance: dg.DagsterInstance) -> Tick:
    """One tick of the sensor that `with_offpeak` adds; its events are reported as the daemon does."""
    repository = with_offpeak(defs).get_repository_def()
    sensor = repository.get_sensor_def(SOURCES_SENSOR)

    cursor: str | None = None

    def tick() -> Any:
        nonlocal cursor
        with dg.build_sensor_context(
            instance=instance, repository_def=repository, resources=dict(defs.resources or {}), cursor=cursor
        ) as context:
            ticked = sensor.evaluate_tick(context)
        cursor = ticked.cursor
        assert not ticked.run_requests
        for each in ticked.asset_events:
            instance.report_runless_asset_event(each)
        return ticked

    return tick


@pytest.fixture
def tick(instance: dg.DagsterInstance, clock: HeldClock, monkeypatch: pytest.MonkeyPatch) -> Tick:
    monkeypatch.setattr(sources_sensor, "SystemClock", lambda: clock)
    assets = [source_asset("documents"), source_asset("tickets")]
    return ticking(dg.Definitions(assets=assets, resources={"source_tables": Counted()}), instance)


def test_a_change_is_told_of_once(tick: Tick, instance: dg.DagsterInstance, tables: dict[str, Any]) -> None:
    assert tick().skip_message == "Changed: documents, tickets."
    assert tick().skip_message == "Nothing has changed."
    tables["documents"] = "v2"
    assert tick().skip_message == "Changed: documents."
    assert observed(instance, "documents") == ["v1", "v2"]
    assert observed(instance, "tickets") == ["v1"]
    assert [
        *(("documents", None), ("tickets", None)),
        *(("documents", "v1"), ("tickets", "v1")),
        *(("documents", "v1"), ("tickets", "v1")),
    ] == LOOKS, "one look per source and tick, from what was observed last"


def test_what_a_listener_looks_after_is_left_alone_until_its_heartbeat_is_old(
    tick: Tick, instance: dg.DagsterInstance, clock: HeldClock
) -> None:
    Heartbeat(instance, clock).beat([dg.AssetKey("documents"), dg.AssetKey("tickets")])
    clock.sleep(timedelta(seconds=30))
    assert tick().skip_message == "A listener looks after all 2: nothing was asked."
    assert LOOKS == []
    clock.sleep(timedelta(seconds=1))
    assert tick().skip_message == "Changed: documents, tickets."


def test_what_a_listener_leaves_out_is_looked_at(tick: Tick, instance: dg.DagsterInstance, clock: HeldClock) -> None:
    Heartbeat(instance, clock).beat([dg.AssetKey("documents")])
    assert tick().skip_message == "Changed: tickets. A listener looks after 1 of 2."
    assert LOOKS == [("tickets", None)]


def test_an_error_of_one_source_keeps_no_other_from_being_looked_at(
    tick: Tick, instance: dg.DagsterInstance, tables: dict[str, Any]
) -> None:
    tables["documents"] = CouldNotRead("documents cannot be read: the server is away")
    assert tick().skip_message == (
        "Changed: tickets. documents could not be looked at: documents cannot be read: the server is away."
    )
    tables["documents"] = ZeroDivisionError()
    assert tick().skip_message == "Nothing has changed. documents could not be looked at: ZeroDivisionError."
    assert observed(instance, "documents") == []


def test_a_source_that_answers_late_costs_one_wait_and_not_one_per_table(
    tick: Tick, clock: HeldClock, tables: dict[str, Any]
) -> None:
    def late() -> str:
        clock.sleep(timedelta(seconds=10))
        raise CouldNotRead("the server does not answer")

    tables["documents"] = late
    message = tick().skip_message or ""
    assert "documents could not be looked at: the server does not answer" in message
    assert LOOKS == [("documents", None)]
    assert "tickets" in message, "what is not looked at is said"


@pytest.mark.slow
def test_a_server_that_never_answers_holds_a_tick_up_for_ten_seconds(instance: dg.DagsterInstance) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://app:hunter2@127.0.0.1:{silent.getsockname()[1]}/shop"
        began = time.monotonic()
        message = ticking(definitions("documents", "tickets", url=url), instance)().skip_message or ""
    assert time.monotonic() - began < 15
    assert "documents could not be looked at" in message
    assert "tickets was not looked at, because its source answers late" in message
    assert "hunter2" not in message


def test_a_source_that_cannot_be_looked_at_cheaply_is_said_and_not_asked_again_for_a_while(
    tick: Tick, instance: dg.DagsterInstance, clock: HeldClock, tables: dict[str, Any]
) -> None:
    tables["tickets"] = ConfigurationError("nothing keeps track of tickets. Run `offpeak sources watch tickets`")
    said = "Not looked at: tickets. nothing keeps track of tickets. Run `offpeak sources watch tickets`."
    assert tick().skip_message == f"Changed: documents. {said}"
    clock.sleep(timedelta(minutes=9))
    assert tick().skip_message == f"Nothing has changed. {said}"
    assert [table for table, _ in LOOKS] == ["documents", "tickets", "documents"]
    clock.sleep(timedelta(minutes=1))
    tables["tickets"] = "v1"
    assert tick().skip_message == "Changed: tickets."
    assert observed(instance, "tickets") == ["v1"]


@pytest.mark.parametrize("cursor", ["{", "[]", '{"tickets": 1}', '{"tickets": {"until": "soon", "why": ""}}'])
def test_a_cursor_of_another_version_counts_for_nothing(cursor: str, instance: dg.DagsterInstance) -> None:
    tickets = Observed(dg.AssetKey("tickets"), Counted())
    tick = sources_sensor.Tick([tickets], instance, HeldClock(NOW), cursor)
    tick.run()
    assert tick.changed == [(tickets, "v1")]


def test_each_kind_of_change_to_a_watched_table_is_told_of_once(postgres: str, instance: dg.DagsterInstance) -> None:
    application = Application(postgres)
    tick = ticking(application.definitions(), instance)
    assert tick().skip_message == "Changed: documents, tickets."
    assert tick().skip_message == "Nothing has changed."
    for statement in (
        "INSERT INTO documents VALUES ('a', 'first')",
        "UPDATE documents SET body = 'second'",
        "DELETE FROM documents",
    ):
        application.run(statement)
        assert tick().skip_message == "Changed: documents."
        assert tick().skip_message == "Nothing has changed."
    assert len(set(observed(instance, "documents"))) == 4


def test_the_sensor_looks_at_tables_of_a_folder(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    (tmp_path / "documents.csv").write_text("id\na\n")
    tick = ticking(definitions("documents", url=f"folder:{tmp_path}"), instance)
    tick()
    tick()
    (tmp_path / "documents.csv").write_text("id\na\nb\n")
    tick()
    assert len(observed(instance, "documents")) == 2


def test_a_project_without_such_sources_has_no_such_sensor() -> None:
    plain = dg.Definitions(assets=[source_asset("documents")], resources={"source_tables": dg.FilesystemIOManager()})
    assert SOURCES_SENSOR not in {each.name for each in with_offpeak(plain).sensors or ()}


def test_a_sensor_of_that_name_that_is_there_already_is_kept() -> None:
    mine = sources_sensor.sources_sensor({dg.AssetKey("documents"): "source_tables"}, minimum_interval_seconds=300)
    defs = dg.Definitions(assets=[source_asset("documents")], resources={"source_tables": Counted()}, sensors=[mine])
    assert [each.name for each in with_offpeak(defs).sensors or ()] == [SOURCES_SENSOR]
    assert with_offpeak(with_offpeak(defs)).sensors == [mine]
