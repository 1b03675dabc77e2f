"""0.1% changed costs 0.1% of the reading, by the database's own account."""

import re
import tracemalloc
from typing import Any

import pytest
import sqlalchemy as sa

from .conftest import Application

ROWS, CHANGED = 200_000, 200


def grown(application: Application, rows: int, length: int) -> Application:
    """With so many rows more, of so many characters."""
    made = {
        "postgresql": f"INSERT INTO tickets SELECT i, repeat('x', {length}) FROM generate_series(4, {rows}) i",
        "sqlite": f"WITH RECURSIVE n(i) AS (SELECT 4 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) "
        f"INSERT INTO tickets SELECT i, hex(zeroblob({length // 2})) FROM n",
    }
    application.run(made[application.engine.dialect.name], "ANALYZE")
    return application


@pytest.fixture
def large_postgres(postgres_app: Application) -> Application:
    return grown(postgres_app, ROWS, 200)


@pytest.fixture
def large_sqlite(sqlite_app: Application) -> Application:
    return grown(sqlite_app, ROWS, 200)


def executed(application: Application, run: Any) -> list[str]:
    """The SQL that `run` has the database execute, with its parameters in it."""
    seen: list[str] = []

    def note(connection: sa.Connection, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append(_with(statement, parameters))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        run()
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    return seen


def _with(statement: str, parameters: Any) -> str:
    if isinstance(parameters, dict):
        return statement % {name: _literal(value) for name, value in parameters.items()}
    for value in parameters or ():
        statement = statement.replace("?", _literal(value), 1)
    return statement


def _literal(value: Any) -> str:
    return str(value) if isinstance(value, int) else "'" + str(value) + "'"


def test_postgres_finds_the_changes_and_their_rows_by_indexes(large_postgres: Application) -> None:
    reader, change = large_postgres.reader(), f"UPDATE tickets SET body = 'new' WHERE id % {ROWS // CHANGED} = 0"
    # Open meanwhile, and not the last that began: the position has to name it.
    with large_postgres.engine.connect() as open_one:
        open_one.exec_driver_sql("UPDATE tickets SET body = 'open' WHERE id = 1")
        large_postgres.run("UPDATE tickets SET body = 'new' WHERE id = 2")
        reader.read()
        large_postgres.run(change)
        given: dict[str, Any] = {}
        statements = executed(large_postgres, lambda: given.update(reader.read()))
    assert len(given) == CHANGED

    (query,) = [each for each in statements if "offpeak_key" in each]
    assert "ANY" in query
    with large_postgres.engine.connect() as connection:
        plan = "\n".join(
            row[0] for row in connection.exec_driver_sql(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {query}")
        )

    assert "Seq Scan" not in plan
    touched = [int(float(rows) * int(loops)) for rows, loops in re.findall(r"rows=([\d.]+) loops=(\d+)", plan)]
    assert max(touched) == CHANGED, plan
    assert "Rows Removed by Filter" not in plan


def test_postgres_tells_the_version_by_an_index(large_postgres: Application) -> None:
    version = large_postgres.version()
    query = executed(large_postgres, lambda: large_postgres.version(since=version))[-1]

    with large_postgres.engine.connect() as connection:
        plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN (ANALYZE, COSTS OFF) {query}"))

    assert "offpeak_changes_xid" in plan
    assert "Seq Scan" not in plan
    assert "Rows Removed by Filter" not in plan


def test_sqlite_finds_the_changes_and_their_rows_by_indexes(large_sqlite: Application) -> None:
    reader = large_sqlite.reader()
    reader.read()
    large_sqlite.run(f"UPDATE tickets SET body = 'new' WHERE id % {ROWS // CHANGED} = 0")
    given: dict[str, Any] = {}
    statements = executed(large_sqlite, lambda: given.update(reader.read()))
    assert len(given) == CHANGED

    (query,) = [each for each in statements if "offpeak_key" in each]
    with large_sqlite.engine.connect() as connection:
        plan = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]

    assert any("offpeak_changes_position (source=? AND position>?)" in each for each in plan)
    assert any("tickets USING INTEGER PRIMARY KEY" in each for each in plan)
    assert not any(each.startswith("SCAN") and "tickets" in each for each in plan)


@pytest.mark.parametrize("everything", [True, False])
def test_the_memory_of_changes_does_not_grow_with_them(application: Application, everything: bool) -> None:
    rows, length = 30_000, 1_000
    position = application.tables.changed("tickets").position
    grown(application, rows, length)
    tracemalloc.start()
    try:
        changed = application.tables.changed("tickets", since=None if everything else position)
        count = sum(len(row.body) == length for row in changed)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (changed.complete, changed.read_to_end) == (everything, True)
    assert count == rows - 3
    assert peak < rows * length / 4
