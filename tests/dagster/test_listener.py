"""A listener tells Dagster of a changed table as soon as its source tells of it, and misses and repeats nothing."""

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from offpeak.assets import listener
from offpeak.assets.heartbeat import listened_to
from offpeak.assets.listener import Event, Listening, Told, listen, listened_sources
from offpeak.clock import SystemClock
from scripts.embedded_postgres import EmbeddedPostgres

from ..conftest import free_port, postgres_or_skip, until
from .changing import Application, definitions, observed, source_asset

QUIET = timedelta(seconds=0.2)


@pytest.fixture
def instance(dagster_home: Path) -> Iterator[dg.DagsterInstance]:
    """Stored in files, because the listener's threads and the test use it at once."""
    with dg.DagsterInstance.from_config(str(dagster_home)) as made:
        yield made


class Running:
    """A listener in a thread."""

    def __init__(self, defs: dg.Definitions, instance: dg.DagsterInstance, **more: Any) -> None:
        self.told: list[Told] = []
        self.error: Exception | None = None
        self._stop = threading.Event()
        listening = Listening(
            instance=instance,
            clock=SystemClock(),
            stop=self._stop,
            **{"quiet": QUIET, "say": self.told.append, **more},
        )
        self._thread = threading.Thread(target=self._run, args=(defs, listening))
        self._thread.start()

    def _run(self, defs: dg.Definitions, listening: Listening) -> None:
        try:
            with listened_sources(defs, listening.instance) as sources:
                listen(sources, listening)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def said(self, event: Event) -> list[str]:
        return [each.text for each in self.told if each.event is event]

    def ready(self, times: int = 1) -> None:
        until(lambda: len(self.said(Event.LISTENING)) >= times, what="listening")

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


Start = Callable[..., Running]


@pytest.fixture
def start(instance: dg.DagsterInstance) -> Iterator[Start]:
    """Start a listener; every one is stopped after the test."""
    running: list[Running] = []

    def begin(defs: dg.Definitions, **more: Any) -> Running:
        running.append(Running(defs, instance, **more))
        return running[-1]

    yield begin
    for each in running:
        each.stop()


@pytest.fixture
def application(postgres: str) -> Application:
    return Application(postgres)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server of the test's own, which writes down every statement."""
    made = EmbeddedPostgres(
        tmp_path / "postgres",
        free_port(),
        durable=False,
        settings=("shared_buffers=16MB", "log_statement=all", "log_connections=on"),
    )
    with postgres_or_skip(made):
        yield made
    shutil.rmtree(made.folder, ignore_errors=True)


def looked_after(instance: dg.DagsterInstance) -> set[str]:
    """The assets that somebody listens for now."""
    keys = [dg.AssetKey("documents"), dg.AssetKey("tickets")]
    return {key.to_user_string() for key in listened_to(instance, keys, now=SystemClock().now())}


def after(instance: dg.DagsterInstance, asset: str, count: int) -> list[str]:
    """The versions that Dagster observed, once there are so many."""
    until(lambda: len(observed(instance, asset)) >= count, what=f"observation {count} of {asset}")
    return observed(instance, asset)


def test_an_insert_an_update_and_a_delete_are_one_new_version_each(
    application: Application, instance: dg.DagsterInstance, start: Start
) -> None:
    start(application.definitions()).ready()
    for number, statement in enumerate(
        (
            "INSERT INTO documents VALUES ('a', 'first')",
            "UPDATE documents SET body = 'second'",
            "DELETE FROM documents",
        ),
        start=2,  # the first one is of the start
    ):
        application.run(statement)
        assert len(after(instance, "documents", number)) == number
    application.run("INSERT INTO tickets VALUES ('t', 'last')")
    after(instance, "tickets", 2)
    versions = observed(instance, "documents")
    assert len(versions) == len(set(versions)) == 4, "nothing came after it, and none twice"


def test_many_commits_in_a_row_are_few_versions(
    application: Application, instance: dg.DagsterInstance, start: Start
) -> None:
    running = start(application.definitions())
    running.ready()
    with psycopg.connect(application.address, autocommit=True) as connection:
        for number in range(200):
            connection.execute("INSERT INTO documents VALUES (%s, 'one of many')", [str(number)])
    application.run("INSERT INTO tickets VALUES ('t', 'last')")
    after(instance, "tickets", 2)
    until(lambda: len(observed(instance, "documents")) >= 2)
    assert len(observed(instance, "documents")) <= 4


def test_a_table_that_is_never_quiet_is_told_of_all_the_same(
    application: Application, instance: dg.DagsterInstance, start: Start
) -> None:
    start(application.definitions(), quiet=timedelta(seconds=5), longest=timedelta(seconds=5)).ready()
    began = time.monotonic()
    with psycopg.connect(application.address, autocommit=True) as connection:
        number = 0
        while len(observed(instance, "documents")) < 2 and time.monotonic() < began + 20:
            connection.execute("INSERT INTO documents VALUES (%s, 'one of many')", [str(number := number + 1)])
    assert 5 <= time.monotonic() - began < 8


def test_a_transaction_that_is_rolled_back_is_no_version(
    application: Application, instance: dg.DagsterInstance, start: Start
) -> None:
    start(application.definitions()).ready()
    with psycopg.connect(application.address) as connection:
        connection.execute("INSERT INTO documents VALUES ('a', 'regretted')")
        connection.rollback()
    application.run("INSERT INTO tickets VALUES ('t', 'last')")
    after(instance, "tickets", 2)
    assert len(observed(instance, "documents")) == 1


def test_what_changed_while_the_server_restarted_is_told_of_when_it_is_back(
    server: EmbeddedPostgres, instance: dg.DagsterInstance, start: Start
) -> None:
    application = Application(server.url)
    running = start(application.definitions())
    running.ready()
    application.run("INSERT INTO tickets VALUES ('t', 'before')")
    after(instance, "tickets", 2)
    server.stop()
    (away, *_) = until(lambda: running.said(Event.AWAY), what="the loss")
    assert "cannot be listened to" in away
    assert "***@127.0.0.1" in away
    server.start()
    with psycopg.connect(application.address, autocommit=True) as connection:
        connection.execute("INSERT INTO documents VALUES ('a', 'before the listener is back, or after')")
    running.ready(times=2)
    assert len(after(instance, "documents", 2)) == 2
    application.run("INSERT INTO tickets VALUES ('u', 'after')")
    assert len(after(instance, "tickets", 3)) == 3, "nothing is told of twice"
    password = server.url.partition("offpeak:")[2].partition("@")[0]
    assert password not in "".join(f"{each}" for each in running.told)


def test_nothing_is_asked_of_the_server_between_two_changes(
    server: EmbeddedPostgres, instance: dg.DagsterInstance, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "BEAT", timedelta(seconds=0.3))
    application = Application(server.url)
    running = start(application.definitions())
    running.ready()
    application.run("INSERT INTO documents VALUES ('a', 'first')")
    after(instance, "documents", 2)

    def beat() -> Any:
        return listened_to(instance, [dg.AssetKey("documents")], now=SystemClock().now())[dg.AssetKey("documents")].at

    said = server.log.read_text()
    assert "LISTEN offpeak_changes" in said, "the log holds what is asked"
    for _ in range(5):
        last = beat()
        until(lambda last=last: beat() > last, what="a heartbeat")
    assert server.log.read_text() == said
    application.run("INSERT INTO documents VALUES ('b', 'second')")
    after(instance, "documents", 3)
    asked = [line for line in server.log.read_text()[len(said) :].splitlines() if "SELECT" in line]
    assert asked, "and that a change is looked at"


def test_a_table_that_nobody_watches_is_said_once_and_left_to_the_sensor_until_it_is_watched(
    postgres: str, instance: dg.DagsterInstance, start: Start
) -> None:
    application = Application(postgres, watched=False)
    application.source.watch("tickets", notify=False)
    application.run("CREATE INDEX ON documents (body)")
    running = start(application.definitions())
    until(lambda: len(running.said(Event.LEFT_OUT)) == 2)
    documents, tickets = running.said(Event.LEFT_OUT)
    assert documents.startswith("documents is left out: postgresql")
    assert "Run `offpeak sources watch documents`" in documents
    assert "Run `offpeak sources watch tickets`" in tickets
    assert looked_after(instance) == set()

    for last in (False, True):  # the last one takes the log with it
        application.source.watch("documents")
        until(lambda: looked_after(instance) == {"documents"})
        if last:
            application.source.unwatch("tickets")
        application.source.unwatch("documents")
        until(lambda: looked_after(instance) == set())
    assert len(observed(instance, "documents")) == 2, "one for each time that it was watched anew"
    assert len(running.said(Event.LEFT_OUT)) == 4


def test_a_second_listener_stands_by_and_takes_over(
    application: Application, instance: dg.DagsterInstance, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from offpeak.assets.heartbeat import Heartbeat

    class Elsewhere(Heartbeat):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self._me = ("elsewhere", 4711, 1.0)

    monkeypatch.setattr(listener, "Heartbeat", Elsewhere)
    first = start(application.definitions())
    first.ready()
    monkeypatch.setattr(listener, "Heartbeat", Heartbeat)
    second = start(application.definitions())
    (said,) = until(lambda: second.said(Event.AWAY))
    assert "is listened to by process 4711 on elsewhere, so this one stands by" in said
    application.run("INSERT INTO documents VALUES ('a', 'first')")
    after(instance, "documents", 2)
    first.stop()
    second.ready()
    application.run("INSERT INTO documents VALUES ('b', 'second')")
    assert len(after(instance, "documents", 3)) == 3
    assert not second.said(Event.CHANGED)[1:]


@pytest.mark.parametrize("where", ["folder", "sqlite"])
def test_files_are_listened_to(where: str, instance: dg.DagsterInstance, start: Start, tmp_path: Path) -> None:
    if where == "folder":
        (tmp_path / "documents.csv").write_text("id,updated_at\na,1\n")
        (tmp_path / "tickets.csv").write_text("id,updated_at\na,1\n")
        url = f"folder:{tmp_path}"
    else:
        url = f"sqlite:///{tmp_path / 'app.db'}"
        with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
            connection.execute("PRAGMA journal_mode=wal")
            for table in ("documents", "tickets"):
                connection.execute(f"CREATE TABLE {table} (id TEXT PRIMARY KEY, updated_at TEXT)")
                connection.execute(f"CREATE INDEX by_{table} ON {table} (updated_at)")
            connection.commit()

    def change(table: str, number: int) -> None:
        if where == "folder":
            with (tmp_path / f"{table}.csv").open("a") as file:
                file.write(f"{number},{number}\n")
            return
        with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
            connection.execute(f"INSERT INTO {table} VALUES (?, ?)", [number, number])
            connection.commit()

    running = start(definitions("documents", "tickets", url=url))
    running.ready()
    for number in (2, 3):
        change("documents", number)
        assert len(after(instance, "documents", number)) == number
    assert len(observed(instance, "tickets")) == 1, "only the table that has changed"
    change("tickets", 4)
    assert len(after(instance, "tickets", 2)) == 2
    assert len(observed(instance, "documents")) == 3


def test_what_changed_while_nobody_listened_is_told_of_and_nothing_twice(
    application: Application, instance: dg.DagsterInstance, start: Start
) -> None:
    first = start(application.definitions())
    first.ready()
    first.stop()
    assert listened_to(instance, [dg.AssetKey("documents")], now=SystemClock().now()) == {}, (
        "the sensor goes on at once"
    )
    application.run("INSERT INTO documents VALUES ('a', 'meanwhile')")
    second = start(application.definitions())
    second.ready()
    assert len(observed(instance, "documents")) == 2
    assert len(observed(instance, "tickets")) == 1


def test_a_project_without_source_tables_has_nothing_to_listen_to(start: Start) -> None:
    @dg.asset
    def made_here() -> None: ...

    plain = dg.FilesystemIOManager()
    running = start(dg.Definitions(assets=[made_here, source_asset("documents")], resources={"source_tables": plain}))
    until(lambda: running.error is not None)
    assert "no source asset that can be listened to" in str(running.error)


def test_a_source_that_tells_of_nothing_is_said_and_left_to_the_sensor(
    instance: dg.DagsterInstance, start: Start
) -> None:
    running = start(definitions("documents", url="sqlite:///file:app.db?uri=true"))
    (said,) = until(lambda: running.said(Event.LEFT_OUT))
    assert "names no file by its path" in said
    running.stop()
    assert running.error is None
    assert observed(instance, "documents") == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_listener_that_breaks_down_does_not_go_on_as_if_it_listened(application: Application, start: Start) -> None:
    def broken(_: Told) -> None:
        raise BrokenPipeError

    running = start(application.definitions(), say=broken)
    until(lambda: running.error is not None)
    assert "broke down" in str(running.error)


def test_assets_below_wake_by_a_version_that_was_told(
    application: Application, instance: dg.DagsterInstance, start: Start
) -> None:
    updated = dg.AutomationCondition.any_deps_updated()
    changed = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())

    def below(name: str, condition: Any) -> dg.AssetsDefinition:
        @dg.asset(name=name, deps=["documents"], automation_condition=condition)
        def made() -> None: ...

        return made

    defs = dg.Definitions.merge(
        application.definitions(),
        dg.Definitions(assets=[below("by_update", updated), below("by_version", changed)]),
    )

    def evaluate(cursor: Any = None) -> tuple[int, Any]:
        result = dg.evaluate_automation_conditions(defs, instance=instance, cursor=cursor)
        wanted = [result.get_num_requested(dg.AssetKey(name)) for name in ("by_update", "by_version")]
        assert wanted[0] == wanted[1]
        return wanted[0], result.cursor

    start(application.definitions()).ready()
    _, cursor = evaluate()
    quiet, cursor = evaluate(cursor)
    application.run("UPDATE tickets SET body = 'not read by anybody'", "INSERT INTO documents VALUES ('a', 'new')")
    after(instance, "documents", 2)
    woken, cursor = evaluate(cursor)
    again, _ = evaluate(cursor)
    assert (quiet, woken, again) == (0, 1, 0)
