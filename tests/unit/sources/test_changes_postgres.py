"""What only Postgres has: transactions that overlap, roles, schemas, TRUNCATE, COPY."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy as sa

from offpeak.errors import ConfigurationError

from ...conftest import until
from .conftest import Application


def connect(application: Application, **more: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(application.url.replace("+psycopg", ""), **more)  # type: ignore[arg-type]


def test_a_transaction_that_began_first_and_commits_last_is_not_lost(postgres_app: Application) -> None:
    reader = postgres_app.reader()
    reader.read()
    with connect(postgres_app) as early, connect(postgres_app) as late:
        early.execute("UPDATE tickets SET body = 'early' WHERE id = 1")
        late.execute("UPDATE tickets SET body = 'late' WHERE id = 2")
        late.commit()
        version = postgres_app.version()

        assert reader.read() == {"2": (2, "late")}
        assert reader.read() == {}

        early.commit()

    assert postgres_app.version(since=version) != version
    assert reader.read() == {"1": (1, "early")}
    assert reader.read() == {}


def test_a_savepoint_that_is_rolled_back_leaves_the_rest_of_its_transaction(postgres_app: Application) -> None:
    reader = postgres_app.reader()
    reader.read()
    postgres_app.run(
        "UPDATE tickets SET body = 'kept' WHERE id = 1",
        "SAVEPOINT here",
        "UPDATE tickets SET body = 'never' WHERE id = 2",
        "ROLLBACK TO SAVEPOINT here",
    )

    assert reader.read() == {"1": (1, "kept")}


def test_rows_and_position_are_of_one_moment(postgres_app: Application) -> None:
    """A change between taking the position and reading the rows belongs to the next reading, whole."""
    reader = postgres_app.reader()
    changed = postgres_app.tables.changed("tickets")
    postgres_app.run("UPDATE tickets SET body = 'meanwhile' WHERE id = 1", "DELETE FROM tickets WHERE id = 2")

    assert [tuple(row) for row in changed] == [(1, "one"), (2, "two"), (3, "three")]
    reader.position = changed.position
    assert reader.read() == {"1": (1, "meanwhile"), "2": None}


def test_reading_waits_for_a_rewrite_and_never_sees_an_empty_table(postgres_app: Application) -> None:
    """To a snapshot from before it, a table that is rewritten looks empty, and a plan would remove every row."""
    waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'tickets'::regclass AND NOT granted"
    with ThreadPoolExecutor(1) as pool, connect(postgres_app) as migration, connect(postgres_app) as watcher:
        migration.execute("ALTER TABLE tickets ALTER COLUMN body TYPE text USING upper(body)")
        reading = pool.submit(postgres_app.reader().read)
        until(lambda: watcher.execute(waiting).fetchone() == (1,), what="the reader waiting for the table")
        migration.commit()

        assert reading.result(20) == {"1": (1, "ONE"), "2": (2, "TWO"), "3": (3, "THREE")}


def test_the_other_driver_reads_the_same(postgres_app: Application) -> None:
    pytest.importorskip("psycopg2")
    postgres_app.source.unwatch("tickets")
    other = Application(postgres_app.url.replace("+psycopg", "+psycopg2"))
    other.source.watch("tickets")
    reader = other.reader()
    reader.read()
    version = other.version()
    with connect(postgres_app) as early:
        early.execute("UPDATE tickets SET body = 'early' WHERE id = 1")
        postgres_app.run("DELETE FROM tickets WHERE id = 2")
        assert reader.read() == {"2": None}

    assert other.version(since=version) != version
    assert reader.read() == {"1": (1, "early")}


def test_copy_and_statements_of_many_rows_are_logged(postgres_app: Application) -> None:
    reader = postgres_app.reader()
    reader.read()
    with connect(postgres_app) as connection, connection.cursor() as cursor:
        with cursor.copy("COPY tickets FROM STDIN") as copy:
            for number in range(100, 5_100):
                copy.write_row((number, "copied"))
        cursor.execute("UPDATE tickets SET id = id + 10000 WHERE id BETWEEN 100 AND 199")

    given = reader.read()
    assert len(given) == 5_100
    assert given["100"] is None
    assert reader.mirror == postgres_app.rows()


def test_merge_and_cascades_are_logged(postgres_app: Application) -> None:
    postgres_app.run("CREATE TABLE notes (id uuid PRIMARY KEY, ticket int REFERENCES tickets ON DELETE CASCADE)")
    postgres_app.source.watch("notes")
    note = "00000000-0000-0000-0000-00000000000a"
    postgres_app.run(f"INSERT INTO notes VALUES ('{note}', 1)")
    tickets, notes = postgres_app.reader(), postgres_app.reader("notes")
    assert set(notes.read()) == {note}
    tickets.read()

    postgres_app.run(
        "DELETE FROM tickets WHERE id = 1",
        "MERGE INTO tickets t USING (VALUES (2, 'merged'), (8, 'new')) AS v (id, body) ON t.id = v.id "
        "WHEN MATCHED THEN UPDATE SET body = v.body WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.body)",
    )

    assert tickets.read() == {"1": None, "2": (2, "merged"), "8": (8, "new")}
    assert notes.read() == {note: None}


def test_a_truncate_gives_every_row(postgres_app: Application) -> None:
    reader = postgres_app.reader()
    reader.read()
    version = postgres_app.version()
    postgres_app.run("TRUNCATE tickets", "INSERT INTO tickets VALUES (9, 'nine')")

    assert postgres_app.version(since=version) != version
    assert reader.read() == {"9": (9, "nine")}
    assert reader.complete
    assert (reader.read(), reader.complete) == ({}, False)


@pytest.mark.parametrize(
    "meanwhile",
    [
        ("ALTER TABLE tickets DISABLE TRIGGER ALL",),
        ("ALTER TABLE tickets DISABLE TRIGGER ALL", "ALTER TABLE tickets ENABLE ALWAYS TRIGGER offpeak_update"),
        ("DROP TRIGGER offpeak_update ON tickets",),
    ],
)
def test_while_a_trigger_is_off_or_missing_every_row_is_given(
    postgres_app: Application, meanwhile: tuple[str, ...]
) -> None:
    reader = postgres_app.reader()
    reader.read()
    postgres_app.run(*meanwhile, "UPDATE tickets SET body = 'unseen' WHERE id = 1")

    assert reader.read()["1"] == (1, "unseen")
    assert (reader.complete, reader.position) == (True, None)
    (known,) = postgres_app.source.knowledge(["tickets"])
    assert known.problem is not None


def test_once_a_table_has_an_heir_every_row_is_given(postgres_app: Application) -> None:
    """Its rows are the table's too, and change without the table's triggers."""
    reader = postgres_app.reader()
    reader.read()
    postgres_app.run("CREATE TABLE heir () INHERITS (tickets)", "INSERT INTO heir VALUES (50, 'unseen')")

    assert reader.read()["50"] == (50, "unseen")
    assert (reader.complete, reader.position) == (True, None)


def test_a_trigger_that_was_off_for_a_while_costs_one_full_reading(postgres_app: Application) -> None:
    reader = postgres_app.reader()
    reader.read()
    postgres_app.run(
        "ALTER TABLE tickets DISABLE TRIGGER offpeak_update",
        "UPDATE tickets SET body = 'unseen' WHERE id = 1",
        "ALTER TABLE tickets ENABLE ALWAYS TRIGGER offpeak_update",
    )

    assert reader.read()["1"] == (1, "unseen")
    assert (reader.complete, bool(reader.position)) == (True, True)
    assert (reader.read(), reader.complete) == ({}, False)


def test_a_session_of_a_replica_is_logged_too(postgres_app: Application) -> None:
    """Programs that copy rows in switch ordinary triggers off for their session."""
    reader = postgres_app.reader()
    reader.read()

    postgres_app.run("SET LOCAL session_replication_role = replica", "DELETE FROM tickets WHERE id = 3")

    assert reader.read() == {"3": None}


def test_a_rewrite_of_the_values_gives_every_row(postgres_app: Application) -> None:
    reader = postgres_app.reader()
    reader.read()

    postgres_app.run("ALTER TABLE tickets ALTER COLUMN body TYPE text USING upper(body)")

    assert reader.read() == {"1": (1, "ONE"), "2": (2, "TWO"), "3": (3, "THREE")}
    assert reader.complete


@pytest.fixture
def roles(postgres_app: Application) -> "tuple[str, str]":
    """A role that writes the table and one that reads it, neither with any right on the log."""
    suffix = postgres_app.url.rpartition("_")[2]
    writer, reader = f"writer_{suffix}", f"reader_{suffix}"
    postgres_app.run(
        *(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'" for role in (writer, reader)),
        f"GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON tickets TO {writer}",
        f"GRANT SELECT ON tickets TO {reader}",
    )
    return writer, reader


def as_role(application: Application, role: str) -> Application:
    return Application(str(sa.make_url(application.url).set(username=role, password="secret").render_as_string(False)))


def test_a_role_without_rights_on_the_log_goes_on_writing(postgres_app: Application, roles: tuple[str, str]) -> None:
    reader, writer = postgres_app.reader(), as_role(postgres_app, roles[0])
    reader.read()

    writer.run(
        "INSERT INTO tickets VALUES (4, 'four')",
        "UPDATE tickets SET body = 'new' WHERE id = 1",
        "DELETE FROM tickets WHERE id = 2",
    )

    assert reader.read() == {"4": (4, "four"), "1": (1, "new"), "2": None}
    writer.run("TRUNCATE tickets")
    assert (reader.read(), reader.complete) == ({}, True)
    with pytest.raises(Exception, match="permission denied"):
        writer.rows("offpeak_changes")


def test_a_role_that_may_not_read_the_log_is_told_what_to_grant(
    postgres_app: Application, roles: tuple[str, str]
) -> None:
    reader = as_role(postgres_app, roles[1]).reader()

    with pytest.raises(ConfigurationError, match="GRANT SELECT ON") as refused:
        reader.read()
    assert roles[1] in str(refused.value)

    postgres_app.source.watch("tickets", readers=[roles[1]])
    reader.read()
    assert (reader.read(), reader.complete) == ({}, False)


def test_a_role_that_does_not_own_the_table_cannot_watch_it_and_is_told_who_can(
    postgres_app: Application, roles: tuple[str, str]
) -> None:
    postgres_app.source.unwatch("tickets")
    with pytest.raises(ConfigurationError, match="table's owner") as refused:
        as_role(postgres_app, roles[0]).source.watch("tickets")

    assert "--sql" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_what_a_role_gets_as_sql_can_be_run_by_the_owner(postgres_app: Application, roles: tuple[str, str]) -> None:
    postgres_app.source.unwatch("tickets")
    statements = as_role(postgres_app, roles[0]).source.watching_statements("tickets", readers=[roles[1]])
    reader = as_role(postgres_app, roles[1]).reader()

    postgres_app.run(*statements)

    reader.read()
    postgres_app.run("DELETE FROM tickets WHERE id = 2")
    assert reader.read() == {"2": None}


def test_a_table_of_another_schema_is_found_by_the_search_path(postgres_app: Application) -> None:
    postgres_app.run("CREATE SCHEMA app", "CREATE TABLE app.orders (id int PRIMARY KEY)")
    there = Application(f"{postgres_app.url}?options=-csearch_path%3Dapp,public")
    there.source.watch("orders")
    reader = there.reader("orders")
    reader.read()

    there.run("INSERT INTO orders VALUES (1)")

    assert reader.read() == {"1": (1,)}
    assert not reader.complete
    assert there.rows("offpeak_watched").keys() == {"orders"}


def test_a_change_notifies_with_the_tables_name_once_it_is_committed(postgres_app: Application) -> None:
    with connect(postgres_app, autocommit=True) as listener:  # type: ignore[arg-type]
        listener.execute("LISTEN offpeak_changes")
        with connect(postgres_app) as connection:
            connection.execute("UPDATE tickets SET body = 'x' WHERE id = 77")
            connection.commit()
            connection.execute("UPDATE tickets SET body = 'x'")
            assert list(listener.notifies(timeout=0.2)) == []
        (notified,) = listener.notifies(timeout=10, stop_after=1)

    assert notified.payload == "tickets"


def test_without_notifying_nothing_is_told(postgres_app: Application) -> None:
    assert postgres_app.source.watch("tickets", notify=False)
    with connect(postgres_app, autocommit=True) as listener:  # type: ignore[arg-type]
        listener.execute("LISTEN offpeak_changes")
        postgres_app.run("UPDATE tickets SET body = 'x'")
        assert list(listener.notifies(timeout=0.2)) == []


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ("CREATE VIEW it AS SELECT * FROM tickets", "it is a view"),
        ("CREATE MATERIALIZED VIEW it AS SELECT * FROM tickets", "materialized view"),
        ("CREATE TABLE it (id int)", "no primary key of one column"),
        ("CREATE TABLE it (a int, b int, PRIMARY KEY (a, b))", "no primary key of one column"),
        ("CREATE TABLE it (at timestamptz PRIMARY KEY)", "type timestamptz"),
        ("CREATE TABLE it (id int PRIMARY KEY) PARTITION BY RANGE (id)", "partitions"),
        ("CREATE TABLE it () INHERITS (tickets)", "heirs"),
        ("CREATE TABLE it (id int PRIMARY KEY); CREATE TABLE heir () INHERITS (it)", "heirs"),
        ("SELECT 1", "no table of that name"),
    ],
)
def test_a_table_whose_changes_would_be_missed_is_refused(postgres_app: Application, made: str, why: str) -> None:
    postgres_app.run(*made.split("; "))

    with pytest.raises(ConfigurationError, match=why):
        postgres_app.source.watch("it")


@pytest.mark.parametrize("kind", ["bigint", "numeric(10,2)", "varchar(8)", "uuid", "smallint"])
def test_every_type_of_key_is_found_again(postgres_app: Application, kind: str) -> None:
    one, other = (
        ("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002")
        if kind == "uuid"
        else ("1.50", "2.00")
        if kind.startswith("numeric")
        else ("1", "2")
    )
    postgres_app.run(f"CREATE TABLE keyed (id {kind} PRIMARY KEY, v int)")
    postgres_app.run(f"INSERT INTO keyed VALUES ('{one}', 1), ('{other}', 2)")
    postgres_app.source.watch("keyed")
    reader = postgres_app.reader("keyed")
    assert set(reader.read()) == {one, other}

    postgres_app.run("UPDATE keyed SET v = 3 WHERE v = 1", "DELETE FROM keyed WHERE v = 2")

    given = reader.read()
    assert (given[one][1], given[other]) == (3, None)
    assert not reader.complete


def test_keys_that_are_equal_and_written_apart_are_two(postgres_app: Application) -> None:
    postgres_app.run("CREATE TABLE keyed (id numeric PRIMARY KEY)", "INSERT INTO keyed VALUES ('1.0')")
    postgres_app.source.watch("keyed")
    reader = postgres_app.reader("keyed")
    reader.read()

    postgres_app.run("UPDATE keyed SET id = '1.00'")

    given = reader.read()
    assert given["1.0"] is None
    assert given["1.00"] is not None
