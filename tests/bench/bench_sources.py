"""What it costs to know which rows of a table changed, on SQLite and Postgres, and what that costs the application.

    python -m tests.bench.bench_sources [--rows 1000000] [--rounds 3] [--database sqlite] [--json]

A table of short texts is watched. Reading: the version (what a sensor asks at every tick), the changed rows when 0.1%
of them changed, and all rows, in turn. Writing: the same statements on a twin of the table that is not watched, in
turn. Times are wall seconds of this process, and the version's also those of the database alone: within the driver's
calls. Postgres runs without fsync, so that a commit costs no disk and the triggers weigh the most.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from offpeak import SourceTables
from offpeak.sources.watching import watch
from scripts.embedded_postgres import EmbeddedPostgres
from tests.conftest import free_port

SHARE = 0.001
TICKS = 20
BULK = 50_000
"""Rows of one writing statement."""
SINGLE = 300
"""Transactions of one row each."""

TEXT = "Ticket ' || i || ' is about an invoice that came twice, and nobody answered."
MAKE = {
    "sqlite": "WITH RECURSIVE n (i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last}) "
    f"INSERT INTO {{table}} SELECT i, '{TEXT}' FROM n",
    "postgresql": f"INSERT INTO {{table}} SELECT i, '{TEXT}' FROM generate_series({{first}}, {{last}}) AS i",
}


class Bench:
    """One database with a watched table and its twin."""

    def __init__(self, url: str, rows: int) -> None:
        self.engine = sa.create_engine(url, poolclass=NullPool)
        self.tables, self.rows = SourceTables(url=url), rows
        self.step, self._rounds = round(1 / SHARE), 0
        for table in ("tickets", "twin"):
            self.run(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, body TEXT)")
            self.run(self.insert(table, 1, rows))
        with self.engine.begin() as connection:
            watch(connection, "tickets")
        if self.engine.dialect.name == "postgresql":
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM ANALYZE")

    def insert(self, table: str, first: int, last: int) -> str:
        return MAKE[self.engine.dialect.name].format(table=table, first=first, last=last)

    def run(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))

    def reading(self) -> dict[str, float]:
        """One round: the version, the changed rows, all rows."""
        key = dg.AssetKey("tickets")
        changed, position = self._read(None)
        version = self.tables.data_version(key)
        with database_time() as spent:
            ticks = seconds(lambda: [self.tables.data_version(key, since=version) for _ in range(TICKS)])
        self.run(f"UPDATE tickets SET body = body || ' Again.' WHERE id % {self.step} = 0")
        began = time.perf_counter()
        changed, position = self._read(position)
        changed_s = time.perf_counter() - began
        began = time.perf_counter()
        all_of_it, _ = self._read(None)
        whole_s = time.perf_counter() - began
        assert (changed, all_of_it) == (self.rows // self.step, self.rows)
        return {
            "version_ms": 1000 * ticks / TICKS,
            "version_database_ms": 1000 * sum(spent) / TICKS,
            "changed_s": changed_s,
            "whole_s": whole_s,
            "changed / whole": changed_s / whole_s,
        }

    def _read(self, since: str | None) -> tuple[int, str | None]:
        changed = self.tables.changed("tickets", since=since)
        return sum(1 for _ in changed), changed.position

    def writing(self) -> dict[str, float]:
        """One round: what the watched table's statements cost, over those of the twin."""
        first, last = self.rows + 1, self.rows + BULK
        self._rounds += 1  # SQLite writes nothing where a row is as it was

        def singles(table: str) -> None:
            with self.engine.connect() as connection:
                for number in range(SINGLE):
                    row = 1 + 7 * number
                    connection.execute(sa.text(f"UPDATE {table} SET body = '{self._rounds}' WHERE id = {row}"))
                    connection.commit()

        work: dict[str, Callable[[str], None]] = {
            "bulk insert": lambda table: self.run(self.insert(table, first, last)),
            "bulk update": lambda table: self.run(f"UPDATE {table} SET body = 'new' WHERE id >= {first}"),
            "bulk delete": lambda table: self.run(f"DELETE FROM {table} WHERE id >= {first}"),
            "one row a transaction": singles,
        }
        return {
            name: seconds(lambda run=run: run("tickets")) / seconds(lambda run=run: run("twin"))  # type: ignore[misc]
            for name, run in work.items()
        }


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@contextmanager
def database_time() -> Iterator[list[float]]:
    """The seconds of each statement meanwhile, within the driver."""
    spent: list[float] = []

    def before(*_: Any) -> None:
        spent.append(-time.perf_counter())

    def after(*_: Any) -> None:
        spent[-1] += time.perf_counter()

    sa.event.listen(sa.Engine, "before_cursor_execute", before)
    sa.event.listen(sa.Engine, "after_cursor_execute", after)
    try:
        yield spent
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", before)
        sa.event.remove(sa.Engine, "after_cursor_execute", after)


def measure(url: str, rows: int, rounds: int) -> dict[str, dict[str, float]]:
    """Medians of all rounds."""
    bench = Bench(url, rows)
    bench.writing()  # the first writes every entry of the log anew
    found = {"reading": [bench.reading() for _ in range(rounds)], "writing": [bench.writing() for _ in range(rounds)]}
    return {
        part: {name: statistics.median(each[name] for each in runs) for name in runs[0]} for part, runs in found.items()
    }


def databases(folder: Path, only: str | None) -> Iterator[tuple[str, str]]:
    """Names and addresses; Postgres runs while its address is in use."""
    if only in (None, "sqlite"):
        yield "sqlite", f"sqlite:///{folder / 'app.db'}"
    if only in (None, "postgres"):
        server = EmbeddedPostgres(folder / "postgres", free_port(), durable=False, settings=["shared_buffers=256MB"])
        try:
            server.start()
            yield "postgres", f"{server.url.replace('postgresql:', 'postgresql+psycopg:')}/postgres"
        finally:
            server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--database", choices=["sqlite", "postgres"])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {name: measure(url, given.rows, given.rounds) for name, url in databases(Path(folder), given.database)}
    if given.json:
        print(json.dumps({"rows": given.rows, "share": SHARE, "databases": found}))
        return
    for name, parts in found.items():
        print(f"\n{name}, {given.rows:,} rows, {SHARE:.1%} of them changed, medians of {given.rounds}")
        for title, value in parts["reading"].items():
            print(f"  {title:24} {value:8.4f}")
        print(f"  watched / not watched, {BULK:,} rows a statement")
        for title, value in parts["writing"].items():
            print(f"    {title:22} {value:8.2f}")


if __name__ == "__main__":
    main()
