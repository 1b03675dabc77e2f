"""Whoever reads a watched table by its changes has the table, with nothing lost and nothing given twice."""

import random

import pytest

from .conftest import Application


def test_the_first_reading_gives_every_row_and_the_next_nothing(application: Application) -> None:
    reader = application.reader()

    assert reader.read() == application.rows()
    assert (reader.complete, bool(reader.position)) == (True, True)
    assert reader.read() == {}
    assert not reader.complete


@pytest.mark.parametrize(
    ("change", "given"),
    [
        ("INSERT INTO tickets VALUES (4, 'four')", {"4": (4, "four")}),
        ("UPDATE tickets SET body = 'new' WHERE id = 2", {"2": (2, "new")}),
        ("DELETE FROM tickets WHERE id = 1", {"1": None}),
        ("UPDATE tickets SET id = 9 WHERE id = 3", {"3": None, "9": (9, "three")}),
        ("UPDATE tickets SET body = 'new' WHERE id = 77", {}),
        ("INSERT INTO tickets VALUES (2, 'x') ON CONFLICT (id) DO UPDATE SET body = excluded.body", {"2": (2, "x")}),
        ("INSERT INTO tickets VALUES (2, 'x') ON CONFLICT (id) DO NOTHING", {}),
        ("DELETE FROM tickets", {"1": None, "2": None, "3": None}),
    ],
)
def test_a_change_is_given_once(application: Application, change: str, given: dict[str, object]) -> None:
    reader = application.reader()
    reader.read()

    application.run(change)

    assert (reader.read(), reader.complete) == (given, False)
    assert reader.read() == {}


def test_a_row_that_changed_often_is_given_once_as_it_is_now(application: Application) -> None:
    reader = application.reader()
    reader.read()
    for body in ("a", "b", "c"):
        application.run(f"UPDATE tickets SET body = '{body}' WHERE id = 2")
    application.run("DELETE FROM tickets WHERE id = 1", "INSERT INTO tickets VALUES (1, 'again')")

    assert reader.read() == {"2": (2, "c"), "1": (1, "again")}


def test_what_was_rolled_back_is_not_given(application: Application) -> None:
    reader = application.reader()
    reader.read()
    version = application.version()

    with application.engine.connect() as connection:
        connection.exec_driver_sql("UPDATE tickets SET body = 'never' WHERE id = 2")
        connection.rollback()

    assert application.version(since=version) == version
    assert (reader.read(), reader.complete) == ({}, False)


def test_the_log_has_one_entry_per_key_however_often_it_changes(application: Application) -> None:
    for number in range(5):
        application.run(f"UPDATE tickets SET body = '{number}'")

    assert len(application.rows("offpeak_changes")) == 1  # one source
    with application.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM offpeak_changes").scalar() == 3


def test_two_tables_are_logged_apart(application: Application) -> None:
    application.run("CREATE TABLE notes (note TEXT PRIMARY KEY, body TEXT)")
    application.source.watch("notes")
    tickets, notes = application.reader(), application.reader("notes")
    tickets.read(), notes.read()

    application.run("INSERT INTO notes VALUES ('1', 'first')")

    assert tickets.read() == {}
    assert notes.read() == {"1": ("1", "first")}


def test_any_sequence_of_changes_leads_to_the_table(application: Application) -> None:
    reader, dice = application.reader(), random.Random(6)
    reader.read()
    for _ in range(40):
        one, other = dice.sample(range(1, 12), 2)
        application.run(
            *dice.choices(
                [
                    f"DELETE FROM tickets WHERE id = {one}",
                    f"UPDATE tickets SET body = '{dice.random()}' WHERE id % 3 = {one % 3}",
                    f"UPDATE tickets SET id = {other} WHERE id = {one} AND {other} NOT IN (SELECT id FROM tickets)",
                    f"INSERT INTO tickets VALUES ({one}, '{dice.random()}') "
                    "ON CONFLICT (id) DO UPDATE SET body = excluded.body",
                ],
                k=3,
            )
        )
        reader.read()
        assert not reader.complete
        assert reader.mirror == application.rows()


@pytest.mark.parametrize("since", ["", "nonsense", "no-such-epoch@1", "@", "1:2:3"])
def test_a_position_that_is_none_of_this_log_gives_every_row(application: Application, since: str) -> None:
    reader = application.reader()
    reader.position = since

    assert reader.read() == application.rows()
    assert reader.complete


def test_a_position_of_the_future_gives_every_row(application: Application) -> None:
    """The database was put back to a former state."""
    reader = application.reader()
    reader.read()
    assert reader.position is not None
    epoch, _, place = reader.position.rpartition("@")
    ahead = ":".join(str(int(each) + 1000) if each else "" for each in place.split(":"))
    reader.position = f"{epoch}@{ahead}"

    assert reader.read() == application.rows()
    assert reader.complete


def test_a_table_made_anew_gives_every_row(application: Application) -> None:
    reader = application.reader()
    reader.read()
    application.run(
        "DROP TABLE tickets",
        "CREATE TABLE tickets (id INTEGER PRIMARY KEY, body TEXT)",
        "INSERT INTO tickets VALUES (7, 'other')",
    )

    assert reader.read() == {"7": (7, "other")}
    assert (reader.complete, reader.position) == (True, None)

    application.source.watch("tickets")
    assert reader.read() == {"7": (7, "other")}
    assert (reader.complete, bool(reader.position)) == (True, True)


def test_a_new_column_gives_every_row(application: Application) -> None:
    reader = application.reader()
    reader.read()

    application.run("ALTER TABLE tickets ADD COLUMN urgency TEXT DEFAULT 'low'")

    assert reader.read()["1"] == (1, "one", "low")
    assert reader.complete
    application.run("UPDATE tickets SET body = 'new' WHERE id = 1")
    assert reader.read() == {"1": (1, "new", "low")}


def test_tables_that_changed_names_are_not_taken_for_each_other(application: Application) -> None:
    application.run("CREATE TABLE spare (id INTEGER PRIMARY KEY, body TEXT)")
    application.source.watch("spare")
    reader = application.reader()
    reader.read()
    application.run(
        "ALTER TABLE tickets RENAME TO former",
        "ALTER TABLE spare RENAME TO tickets",
        "INSERT INTO tickets VALUES (1, 'of the other table')",
    )

    assert reader.read() == {"1": (1, "of the other table")}
    assert (reader.complete, reader.position) == (True, None)


def test_a_renamed_key_leaves_the_application_writing_and_gives_every_row(application: Application) -> None:
    reader = application.reader()
    reader.read()

    application.run("ALTER TABLE tickets RENAME COLUMN id TO number", "INSERT INTO tickets VALUES (4, 'four')")

    assert reader.read()["4"] == (4, "four")
    assert reader.complete


def test_an_unwatched_table_gives_every_row_each_time(application: Application) -> None:
    application.source.unwatch("tickets")
    reader = application.reader()

    for _ in range(2):
        assert reader.read() == application.rows()
        assert (reader.complete, reader.position) == (True, None)


def test_removing_the_last_log_leaves_nothing_behind(application: Application) -> None:
    application.source.unwatch("tickets")
    application.run("INSERT INTO tickets VALUES (4, 'four')")

    assert [each.table for each in application.source.knowledge()] == ["tickets"]


def test_watching_again_keeps_positions_good(application: Application) -> None:
    reader = application.reader()
    reader.read()

    assert not application.source.watch("tickets")

    assert (reader.read(), reader.complete) == ({}, False)


def test_odd_names_are_quoted(application: Application) -> None:
    odd = """odd 'table" 100%:x"""
    quoted = odd.replace('"', '""')
    application.run(f'CREATE TABLE "{quoted}" ("a ""key" TEXT PRIMARY KEY, b TEXT)')
    application.source.watch(odd)
    reader = application.reader(odd)
    reader.read()
    application.run(f"INSERT INTO \"{quoted}\" VALUES ('k''1', 'v')")

    assert reader.read() == {"k'1": ("k'1", "v")}
    assert not reader.complete
    application.source.unwatch(odd)
