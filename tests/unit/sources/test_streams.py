"""A row stream holds one block of rows, however many there are."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from resources.sources import SourceTables

ROWS, LENGTH = 40_000, 1_000


def database(folder: Path) -> str:
    engine = sa.create_engine(f"sqlite:///{folder / 'app.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE tickets (body TEXT)")
        connection.exec_driver_sql(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) "
            f"INSERT INTO tickets SELECT hex(zeroblob({LENGTH // 2})) FROM n"
        )
    return str(engine.url)


def csv_file(folder: Path) -> str:
    (folder / "tickets.csv").write_text("body\n" + ("x" * LENGTH + "\n") * ROWS, "utf-8")
    return f"folder:{folder}"


def parquet_file(folder: Path) -> str:
    pd.DataFrame({"body": ["x" * LENGTH] * ROWS}).to_parquet(folder / "tickets.parquet")
    return f"folder:{folder}"


@pytest.mark.parametrize("write", [database, csv_file, parquet_file])
def test_the_memory_of_a_stream_does_not_grow_with_its_rows(tmp_path: Path, write: Callable[[Path], str]) -> None:
    source = SourceTables(url=write(tmp_path))
    tracemalloc.start()
    try:
        count = sum(len(row.body) == LENGTH for row in source.rows("tickets"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert count == ROWS
    assert peak < ROWS * LENGTH / 4
