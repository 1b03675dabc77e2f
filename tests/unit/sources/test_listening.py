"""What tells that a table has changed: files here; Postgres in tests/dagster/test_listener.py."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from offpeak.errors import ConfigurationError, CouldNotRead
from offpeak.sources.database import SourceDatabase
from offpeak.sources.folder import SourceFolder
from offpeak.sources.listening import Changes, Pending, changes_of

TABLES = ("documents", "tickets")


class Stream:
    """What a source tells, from the moment on at which it is listened to."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        assert next(changes) == frozenset(), "nothing has changed yet"

    def next(self) -> set[str]:
        """The tables of the next change."""
        for _ in range(100):  # of TURN each
            if found := next(self._changes):
                return set(found)
        pytest.fail("no change was told of")

    def until_quiet(self) -> set[str]:
        """All tables that are told of until two turns in a row bring nothing."""
        told: set[str] = set()
        empty = 0
        while empty < 2:
            found = next(self._changes)
            told |= found
            empty = 0 if found else empty + 1
        return told


Listen = Callable[[SourceDatabase | SourceFolder], Stream]


@pytest.fixture
def listen() -> Iterator[Listen]:
    stop, opened = threading.Event(), []

    def start(source: SourceDatabase | SourceFolder) -> Stream:
        opened.append(changes_of(source, TABLES, stop=stop))
        return Stream(opened[-1])

    yield start
    stop.set()
    for each in opened:
        each.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tables"
    (made / "documents").mkdir(parents=True)
    (made / "documents" / "a.md").write_text("# A")
    (made / "tickets.csv").write_text("ticket_id,body\n")
    return made


def test_a_table_is_due_once_it_was_quiet() -> None:
    pending = Pending(quiet=timedelta(seconds=2), longest=timedelta(seconds=60))
    pending.changed("documents", 10.0)
    pending.changed("documents", 11.5)
    assert pending.due(13.4) == []
    assert pending.due(13.5) == ["documents"]
    assert pending.due(100.0) == [], "it was told of"


def test_a_table_that_is_never_quiet_is_due_at_the_latest_so_long_after_its_first_change() -> None:
    pending = Pending(quiet=timedelta(seconds=2), longest=timedelta(seconds=5))
    moments = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    found = []
    for moment in moments:
        pending.changed("documents", moment)
        found.append(pending.due(moment))
    assert found == [[], [], [], [], [], ["documents"]]


def test_a_busy_table_does_not_hold_up_another_one() -> None:
    pending = Pending(quiet=timedelta(seconds=2), longest=timedelta(seconds=60))
    pending.changed("tickets", 0.0)
    pending.changed("documents", 0.0)
    pending.changed("documents", 1.9)
    assert pending.due(2.0) == ["tickets"]


def test_a_new_a_changed_and_a_deleted_file_of_a_folder_tell_of_their_table(folder: Path, listen: Listen) -> None:
    stream = listen(SourceFolder(folder))
    (folder / "documents" / "b.md").write_text("# B")
    assert stream.next() == {"documents"}
    (folder / "documents" / "deep").mkdir()
    (folder / "documents" / "deep" / "c.md").write_text("# C")
    assert stream.until_quiet() <= {"documents"}
    (folder / "documents" / "deep" / "c.md").write_text("# C, changed")
    assert stream.next() == {"documents"}
    stream.until_quiet()
    (folder / "documents" / "a.md").unlink()
    assert stream.next() == {"documents"}
    (folder / "tickets.csv").write_text("ticket_id,body\n1,late\n")
    assert stream.next() == {"tickets"}


def test_a_file_that_is_renamed_into_place_tells_of_its_table(folder: Path, listen: Listen) -> None:
    stream = listen(SourceFolder(folder))
    (folder / ".tickets.csv.new").write_text("ticket_id,body\n1,late\n")
    (folder / ".tickets.csv.new").rename(folder / "tickets.csv")
    assert stream.next() == {"tickets"}


def test_files_of_no_table_tell_of_nothing(folder: Path, listen: Listen) -> None:
    stream = listen(SourceFolder(folder))
    (folder / "notes.txt").write_text("not a table of the project")
    assert stream.until_quiet() == set()


def test_a_folder_that_is_not_there_is_said(tmp_path: Path, listen: Listen) -> None:
    with pytest.raises(CouldNotRead, match=r"folder:.*tables cannot be listened to: No such file or directory"):
        listen(SourceFolder(tmp_path / "tables"))


def test_a_folder_that_is_removed_or_replaced_is_not_taken_for_a_quiet_one(folder: Path, listen: Listen) -> None:
    gone = listen(SourceFolder(folder))
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(CouldNotRead, match="No such file"):
        gone.until_quiet()
    folder.mkdir()
    replaced = listen(SourceFolder(folder))
    folder.rename(folder.with_name("elsewhere too"))
    folder.mkdir()
    with pytest.raises(CouldNotRead, match="another folder has taken its place"):
        replaced.until_quiet()


@pytest.fixture(params=["wal", "delete"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A SQLite file in each journal mode that applications use."""
    made = tmp_path / "application" / "app.db"
    made.parent.mkdir()
    with closing(sqlite3.connect(made)) as connection:
        connection.execute(f"PRAGMA journal_mode={request.param}")
        connection.execute("CREATE TABLE documents (document_id TEXT PRIMARY KEY)")
        connection.commit()
    return made


def test_a_commit_to_a_sqlite_file_tells_of_all_its_tables(file: Path, listen: Listen) -> None:
    with closing(sqlite3.connect(file)) as application:
        application.execute("SELECT * FROM documents").fetchall()
        stream = listen(SourceDatabase(f"sqlite:///{file}", hint=""))
        for number in range(2):
            application.execute("INSERT INTO documents VALUES (?)", [str(number)])
            application.commit()
            assert stream.next() == set(TABLES)
            assert stream.until_quiet() <= set(TABLES)


def test_reading_a_sqlite_file_tells_of_nothing(file: Path, listen: Listen) -> None:
    stream = listen(SourceDatabase(f"sqlite:///{file}", hint=""))
    for _ in range(3):
        with closing(sqlite3.connect(file)) as reader:
            reader.execute("SELECT * FROM documents").fetchall()
        assert stream.until_quiet() == set()


def test_a_sqlite_file_that_is_not_there_is_said(tmp_path: Path, listen: Listen) -> None:
    with pytest.raises(CouldNotRead, match=r"app.db cannot be listened to: there is no such file"):
        listen(SourceDatabase(f"sqlite:///{tmp_path / 'app.db'}", hint=""))


@pytest.mark.parametrize("address", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:app.db?uri=true"])
def test_a_sqlite_address_without_a_path_is_refused(address: str, listen: Listen) -> None:
    with pytest.raises(ConfigurationError, match="names no file by its path"):
        listen(SourceDatabase(address, hint=""))
