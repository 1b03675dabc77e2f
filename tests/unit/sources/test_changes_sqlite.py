"""What only SQLite has: REPLACE, which removes rows without a word, affinities and collations."""

import pytest

from offpeak.errors import ConfigurationError

from .conftest import Application


@pytest.fixture
def people(sqlite_app: Application) -> Application:
    """A table with a unique value beside its key."""
    sqlite_app.run(
        "CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT UNIQUE, seat INTEGER)",
        "CREATE UNIQUE INDEX people_seat ON people (seat) WHERE seat > 0",
        "INSERT INTO people VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)",
    )
    sqlite_app.source.watch("people")
    return sqlite_app


@pytest.mark.parametrize(
    ("change", "given"),
    [
        ("INSERT OR REPLACE INTO tickets VALUES (2, 'new')", {"2": (2, "new")}),
        ("REPLACE INTO tickets VALUES (5, 'five')", {"5": (5, "five")}),
        ("INSERT OR IGNORE INTO tickets VALUES (2, 'new')", {}),
        ("UPDATE OR REPLACE tickets SET id = 2 WHERE id = 1", {"1": None, "2": (2, "one")}),
        ("UPDATE OR IGNORE tickets SET body = 'new' WHERE id = 1", {"1": (1, "new")}),
    ],
)
def test_a_statements_own_way_with_conflicts_loses_nothing(
    sqlite_app: Application, change: str, given: dict[str, object]
) -> None:
    reader = sqlite_app.reader()
    reader.read()
    sqlite_app.run("UPDATE tickets SET body = body")  # every key has an entry already
    reader.read()

    sqlite_app.run(change)

    assert (reader.read(), reader.complete) == (given, False)


@pytest.mark.parametrize(
    ("change", "given"),
    [
        ("INSERT OR REPLACE INTO people VALUES (9, 'a', 0)", {"1": None, "9": (9, "a", 0)}),
        ("INSERT OR REPLACE INTO people VALUES (9, 'a', 2)", {"1": None, "2": None, "9": (9, "a", 2)}),
        ("UPDATE OR REPLACE people SET email = 'b' WHERE id = 1", {"1": (1, "b", 1), "2": None}),
    ],
)
def test_a_row_that_is_replaced_for_another_unique_value_is_gone(
    people: Application, change: str, given: dict[str, object]
) -> None:
    reader = people.reader("people")
    reader.read()

    people.run(change)

    assert (reader.read(), reader.complete) == (given, False)
    assert reader.mirror == people.rows("people")


def test_a_unique_index_made_later_needs_another_watch(sqlite_app: Application) -> None:
    reader = sqlite_app.reader()
    reader.read()
    sqlite_app.run("CREATE UNIQUE INDEX bodies ON tickets (body)", "INSERT OR REPLACE INTO tickets VALUES (4, 'one')")

    assert set(reader.read()) == {"2", "3", "4"}
    assert (reader.complete, reader.position) == (True, None)
    assert sqlite_app.source.watch("tickets")
    reader.read()
    sqlite_app.run("INSERT OR REPLACE INTO tickets VALUES (5, 'two')")
    assert reader.read() == {"2": None, "5": (5, "two")}


def test_a_trigger_that_was_dropped_gives_every_row(sqlite_app: Application) -> None:
    reader = sqlite_app.reader()
    reader.read()
    sqlite_app.run("DROP TRIGGER offpeak_delete_tickets", "DELETE FROM tickets WHERE id = 1")

    assert set(reader.read()) == {"2", "3"}
    assert (reader.complete, reader.position) == (True, None)


def test_keys_that_a_collation_takes_for_equal_are_two(sqlite_app: Application) -> None:
    sqlite_app.run("CREATE TABLE words (word TEXT COLLATE NOCASE PRIMARY KEY)", "INSERT INTO words VALUES ('a'), ('b')")
    sqlite_app.source.watch("words")
    reader = sqlite_app.reader("words")
    reader.read()

    sqlite_app.run("UPDATE words SET word = 'A' WHERE word = 'a'")

    assert reader.read() == {"a": None, "A": ("A",)}


def test_a_row_without_a_key_does_not_stop_the_application(sqlite_app: Application) -> None:
    """SQLite takes NULL for a primary key of text."""
    sqlite_app.run("CREATE TABLE words (word TEXT PRIMARY KEY)")
    sqlite_app.source.watch("words")

    sqlite_app.run("INSERT INTO words VALUES (NULL)", "DELETE FROM words")

    assert sqlite_app.rows("offpeak_changes") == {}


def test_rows_and_position_are_of_one_moment(sqlite_app: Application) -> None:
    with sqlite_app.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    reader = sqlite_app.reader()
    changed = sqlite_app.tables.changed("tickets")
    sqlite_app.run("DELETE FROM tickets WHERE id = 2")

    assert [tuple(row) for row in changed] == [(1, "one"), (2, "two"), (3, "three")]
    reader.position = changed.position
    assert reader.read() == {"2": None}


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ("CREATE VIEW it AS SELECT * FROM tickets", "it is a view"),
        ("CREATE TABLE it (a TEXT)", "no primary key of one column"),
        ("CREATE TABLE it (a TEXT, b TEXT, PRIMARY KEY (a, b))", "no primary key of one column"),
        ("CREATE TABLE it (a PRIMARY KEY)", "declared as nothing"),
        ("CREATE TABLE it (a REAL PRIMARY KEY)", "declared as REAL"),
        ("CREATE TABLE it (a INTEGER PRIMARY KEY, b TEXT); CREATE UNIQUE INDEX i ON it (lower(b))", "on an expression"),
        ("CREATE VIRTUAL TABLE it USING fts5 (a)", "virtual table"),
        ("SELECT 1", "no table of that name"),
    ],
)
def test_a_table_whose_changes_would_be_missed_is_refused(sqlite_app: Application, made: str, why: str) -> None:
    sqlite_app.run(*made.split(";"))

    with pytest.raises(ConfigurationError, match=why):
        sqlite_app.source.watch("it")


def test_a_file_that_cannot_be_written_stays_as_it_was(sqlite_app: Application) -> None:
    read_only = Application(f"{sqlite_app.url.replace('///', '///file:')}?mode=ro&uri=true")
    sqlite_app.source.unwatch("tickets")

    with pytest.raises(ConfigurationError, match="All is as it was"):
        read_only.source.watch("tickets")
