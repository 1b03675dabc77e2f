"""Neighbours of vectors: by pgvector where the results are in a Postgres that has it, and by numpy everywhere else.

In Postgres each space has a table of its own with an HNSW index, and a view has the name that readers use. Table, index
and view change in one transaction: who searches meanwhile sees the vectors of before, never half of the new ones, and
never two spaces.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

import pandas as pd
from sqlalchemy.engine import Connection

from offpeak.errors import ConfigurationError
from offpeak.ledger.database import Database
from resources.vectors import neighbours, unit

LONGEST = 2_000
"""Numbers in a vector: pgvector's HNSW index takes no longer ones."""
OLDEST = (0, 8)
"""The pgvector that goes on searching where a condition, such as "of another document", has thrown too many out."""
COLUMNS = ["key", "neighbour", "likeness", "rank"]

PREPARE = """
SELECT pg_advisory_xact_lock(hashtext({name}));
CREATE TABLE IF NOT EXISTS {table} (key text PRIMARY KEY, source text NOT NULL, embedding vector({length}) NOT NULL);
CREATE TEMP TABLE incoming (LIKE {table}) ON COMMIT DROP;
"""
TAKE_OVER = """
DELETE FROM {table} WHERE key NOT IN (SELECT key FROM incoming);
INSERT INTO {table} AS present SELECT * FROM incoming ON CONFLICT (key) DO UPDATE
    SET source = excluded.source, embedding = excluded.embedding
    WHERE (present.source, present.embedding) IS DISTINCT FROM (excluded.source, excluded.embedding);
CREATE INDEX IF NOT EXISTS {index} ON {table} USING hnsw (embedding vector_cosine_ops);
ANALYZE {table};
"""
SWITCH = """
DROP VIEW IF EXISTS {view};
CREATE VIEW {view} AS SELECT key, source, embedding, {model} AS model FROM {table};
COMMENT ON VIEW {view} IS {name};
"""
SEARCH = """
SELECT one.key, near.key, near.likeness, near.rank FROM {table} one CROSS JOIN LATERAL (
    SELECT key, 1 - distance AS likeness, row_number() OVER (ORDER BY distance, key)::int AS rank FROM (
        SELECT key, embedding <=> one.embedding AS distance FROM {table} other
        WHERE other.source <> one.source ORDER BY embedding <=> one.embedding LIMIT {count}
    ) found
) near ORDER BY one.key, near.rank
"""


def nearest(
    embeddings: pd.DataFrame, groups: Iterable[str], *, count: int, database: Database, view: str
) -> tuple[pd.DataFrame, str]:
    """For each key the `count` nearest ones of other groups, and in words by what they were found.

    Columns are key, neighbour, likeness (cosine) and rank from 1. `embeddings` are of one space. `view` is the name of
    the view in Postgres; its tables are called VIEW_ and a digest of their space. Raises ConfigurationError where
    something else has that name.
    """
    length = len(embeddings["embedding"].iloc[0]) if len(embeddings) else 0
    with database.read() as connection:
        reason = _unavailable(connection, length)
    if reason:
        return _by_numpy(embeddings, list(groups), count), f"numpy, every vector with every other: {reason}"
    table = f"{view}_{hashlib.sha256(f'{embeddings.model.iloc[0]} {length}'.encode()).hexdigest()[:8]}"
    with database.write() as connection:
        _store(connection.connection.cursor(), view, table, embeddings.assign(source=list(groups)), length)
    with database.read() as connection:
        return _search(connection.connection.cursor(), table, count)


def _unavailable(connection: Connection, length: int) -> str | None:
    """Why there is no index, and what would bring one; None where there is one."""
    if connection.dialect.name != "postgresql":
        return "the results are in SQLite, which has no index for vectors; in Postgres, pgvector has one"
    found = "SELECT installed_version FROM pg_available_extensions WHERE name = 'vector'"
    row = connection.exec_driver_sql(found).first()
    if row is None:
        return "this Postgres server has no pgvector; install it there, then run CREATE EXTENSION vector"
    if row[0] is None:
        return "the extension is not in this database; run CREATE EXTENSION vector there, as its owner"
    if tuple(map(int, row[0].split(".")[:2])) < OLDEST:
        return f"pgvector {row[0]} is older than 0.8; install a newer one, then run ALTER EXTENSION vector UPDATE"
    if not 0 < length <= LONGEST:
        return f"vectors of {length:,} numbers have no index, only those of up to {LONGEST:,}; ask for fewer dimensions"
    return None


def _by_numpy(embeddings: pd.DataFrame, groups: list[str], count: int) -> pd.DataFrame:
    keys = list(embeddings["key"])
    found = neighbours(unit(embeddings), groups, count=count) if keys else []
    rows = [
        (key, keys[other], likeness, rank)
        for key, near in zip(keys, found, strict=True)
        for rank, (other, likeness) in enumerate(near, start=1)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _store(cursor: Any, view: str, table: str, embeddings: pd.DataFrame, length: int) -> None:
    """Make the table what the frame is, row by row that differs, and let the view show it."""
    _run(cursor, PREPARE, table, length=length, name=view)
    with cursor.copy("COPY incoming FROM STDIN") as copy:
        for key, source, vector in embeddings[["key", "source", "embedding"]].itertuples(index=False):
            copy.write_row((key, source, f"[{','.join(map(str, vector.tolist()))}]"))
    _run(cursor, TAKE_OVER, table)
    found = "SELECT to_regclass(%(view)s) IS NOT NULL, obj_description(to_regclass(%(view)s))"
    exists, shown = cursor.execute(found, {"view": view}).fetchone()
    if exists and not str(shown).startswith(f"{view}_"):
        raise ConfigurationError(
            f"The vectors are to be read as {view}, but something else has that name in the results' database. It "
            "was left alone, and no vectors were stored. Rename it, or give nearest() another name for its view."
        )
    if shown != table:
        _run(cursor, SWITCH, table, view=view, model=str(embeddings["model"].iloc[0]), name=table)
        if shown:
            _run(cursor, "DROP TABLE IF EXISTS {table}", shown)


def _search(cursor: Any, table: str, count: int) -> tuple[pd.DataFrame, str]:
    cursor.execute("SET LOCAL hnsw.iterative_scan = strict_order")
    plan = str(_run(cursor, f"EXPLAIN {SEARCH}", table, count=count).fetchall())
    used = "by its HNSW index" if f"{table}_hnsw" in plan else "read whole, as Postgres does with few rows"
    found = _run(cursor, SEARCH, table, count=count).fetchall()
    return pd.DataFrame(found, columns=COLUMNS), f"pgvector, {table} {used}"


def _run(cursor: Any, statements: str, table: str, *, view: str = "", **values: object) -> Any:
    """Execute SQL with its names and values filled in, quoted as each has to be."""
    from psycopg import sql  # with SQLite it need not be installed

    names = {"table": table, "index": f"{table}_hnsw", "view": view}
    quoted = {name: sql.Identifier(each) for name, each in names.items() if each}
    return cursor.execute(sql.SQL(statements).format(**quoted, **{n: sql.Literal(v) for n, v in values.items()}))
