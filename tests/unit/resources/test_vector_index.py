"""Vectors in Postgres: the same neighbours as numpy's, by an index, and one space at any moment."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pytest

from offpeak.errors import ConfigurationError
from offpeak.ledger.database import Database
from resources.vector_index import LONGEST, nearest

from ...conftest import ROOT, Place

NAME = "document_vectors"


def embeddings(documents: int, *, chunks: int = 4, length: int = 32, model: str = "small") -> pd.DataFrame:
    """Chunks about as many themes as there are documents, each theme near to another: keys are `D7#2`."""
    random = np.random.default_rng(7)
    themes = np.repeat(random.normal(size=(documents // 2 + 1, length)), 2, axis=0)[:documents]
    vectors = np.repeat(themes, chunks, axis=0) + random.normal(scale=0.4, size=(documents * chunks, length))
    return pd.DataFrame(
        {
            "key": [f"D{document}#{chunk}" for document in range(documents) for chunk in range(chunks)],
            "embedding": list(vectors.astype(np.float32)),
            "model": model,
        }
    )


def sources(frame: pd.DataFrame) -> list[str]:
    return [key.partition("#")[0] for key in frame["key"]]


@pytest.fixture
def address(postgres_place: Place) -> str:
    """A database with the extension."""
    address = postgres_place.url.replace("+psycopg", "")
    with psycopg.connect(address) as connection:
        connection.execute("CREATE EXTENSION vector")
    return address


@pytest.fixture
def database(address: str) -> Iterator[Database]:
    opened = Database(address)
    yield opened
    opened.close()


@pytest.fixture
def in_sqlite(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'results.db'}")
    yield opened
    opened.close()


def find(frame: pd.DataFrame, database: Database, count: int = 3) -> tuple[pd.DataFrame, str]:
    return nearest(frame, sources(frame), count=count, database=database, view=NAME)


def shown(address: str) -> dict[str, str]:
    """What a reader of the view sees: the model of each key."""
    with psycopg.connect(address) as connection:
        return dict(connection.execute(f"SELECT key, model FROM {NAME}").fetchall())


def tables(address: str) -> list[str]:
    with psycopg.connect(address) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE %s", [f"{NAME}%"])
        return sorted(name for (name,) in rows)


def recall(found: pd.DataFrame, true: pd.DataFrame) -> float:
    pairs, wanted = (set(zip(each["key"], each["neighbour"], strict=True)) for each in (found, true))
    return len(pairs & wanted) / len(wanted)


def test_the_index_finds_the_neighbours_that_numpy_finds(database: Database, in_sqlite: Database) -> None:
    frame = embeddings(600)
    by_index, how = find(frame, database)
    by_numpy, otherwise = find(frame, in_sqlite)
    assert how.endswith("by its HNSW index")
    assert otherwise.startswith("numpy")
    assert list(by_index.columns) == list(by_numpy.columns) == ["key", "neighbour", "likeness", "rank"]
    assert len(by_index) == len(by_numpy) == 3 * len(frame)
    assert recall(by_index, by_numpy) >= 0.95
    both = by_index.merge(by_numpy, on=["key", "neighbour"])
    assert np.allclose(both["likeness_x"], both["likeness_y"], atol=1e-5)
    assert set(by_index["rank"]) == {1, 2, 3}
    own = by_index["key"].str.partition("#")[0] == by_index["neighbour"].str.partition("#")[0]
    assert not own.any(), "a chunk of the same document is no neighbour"


def test_the_search_of_the_page_uses_the_index(database: Database, address: str) -> None:
    frame = embeddings(600)
    find(frame, database)
    page = (ROOT / "docs" / "how-to" / "search-documents.md").read_text()
    (statement,) = re.findall(r"```sql\n(.+?)```", page, re.S)
    asked = "[" + ",".join(map(str, frame["embedding"][8])) + "]"
    with psycopg.connect(address) as connection:
        found = connection.execute(statement, {"question": asked}).fetchall()
        plan = connection.execute(f"EXPLAIN {statement}", {"question": asked}).fetchall()
    assert found[0][:2] == (frame["key"][8], pytest.approx(1))
    assert f"Index Scan using {tables(address)[0]}_hnsw" in str(plan)


def test_few_rows_are_read_whole_and_it_says_so(database: Database, in_sqlite: Database) -> None:
    frame = embeddings(10)
    found, how = find(frame, database)
    assert how.endswith("read whole, as Postgres does with few rows")
    assert recall(found, find(frame, in_sqlite)[0]) == 1


def test_the_table_follows_the_vectors_row_by_row(database: Database, address: str) -> None:
    frame = embeddings(10)
    find(frame, database)
    changed = frame[frame["key"] != "D0#0"].reset_index(drop=True)
    changed.at[0, "embedding"] = -changed.at[0, "embedding"]
    first, _ = find(changed, database)
    assert shown(address).keys() == set(changed["key"])
    with psycopg.connect(address) as connection:
        versions = connection.execute(f"SELECT key, xmin::text FROM {tables(address)[0]}").fetchall()
    touched = [xmin for _, xmin in versions]
    assert [key for key, xmin in versions if touched.count(xmin) == 1] == [changed.at[0, "key"]]
    assert first.equals(find(changed, database)[0])


def test_a_new_model_is_shown_at_once_and_the_old_space_goes(database: Database, address: str) -> None:
    find(embeddings(10), database)
    before = tables(address)
    find(embeddings(10, length=16, model="it's large"), database)
    assert set(shown(address).values()) == {"it's large"}
    assert len(tables(address)) == 1
    assert tables(address) != before


def test_what_ends_half_way_leaves_the_vectors_of_before(database: Database, address: str) -> None:
    find(embeddings(10), database)
    before, present = shown(address), tables(address)
    torn = embeddings(10, model="large")
    torn.at[39, "embedding"] = np.full(32, np.nan, dtype=np.float32)
    with pytest.raises(Exception, match="NaN not allowed"):
        find(torn, database)
    assert shown(address) == before
    assert tables(address) == present


@pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
def test_what_somebody_else_calls_so_is_left_alone(database: Database, address: str, kind: str) -> None:
    with psycopg.connect(address) as connection:
        connection.execute(f"CREATE {kind} {NAME} AS SELECT 'mine' AS key, 'none' AS model")
    with pytest.raises(ConfigurationError, match="something else has that name"):
        find(embeddings(10), database)
    assert shown(address) == {"mine": "none"}


def test_without_the_extension_numpy_computes_and_says_what_to_do(postgres_place: Place, in_sqlite: Database) -> None:
    frame = embeddings(10)
    database = Database(postgres_place.url)
    found, how = find(frame, database)
    database.close()
    assert how.startswith("numpy")
    assert "run CREATE EXTENSION vector there" in how
    pd.testing.assert_frame_equal(found, find(frame, in_sqlite)[0])
    assert tables(postgres_place.url.replace("+psycopg", "")) == []


def test_vectors_that_are_too_long_for_the_index_are_compared_by_numpy(database: Database) -> None:
    found, how = find(embeddings(2, chunks=1, length=LONGEST + 1), database, count=1)
    assert "vectors of 2,001 numbers have no index" in how
    assert list(found["neighbour"]) == ["D1#0", "D0#0"]


def test_no_vectors_have_no_neighbours(database: Database, in_sqlite: Database) -> None:
    nothing: Any = embeddings(2)[:0]
    for each in (database, in_sqlite):
        assert find(nothing, each)[0].empty
