"""The vectors of the sample documents, landed against the offline provider: what an edit and a new model change."""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import psycopg
import pytest

from ai_assets import embeddings
from ai_assets.sources import documents
from offpeak import BatchAsset, Embedding, FreshnessContract, Waiting, Workload, batch_asset, offpeak_resources, read
from offpeak.ledger.dead_letters import Chosen, requeue
from offpeak.ledger.ledger import Ledger
from resources import sample_data
from resources.sources import SourceTables
from resources.vectors import TwoSpaces

from ..conftest import Place

NIGHT = ("document_chunks", "document_embeddings", "embedding_neighbours")
OTHER_MODEL = "openai/text-embedding-3-large"


def of_model(model: str) -> BatchAsset:
    """`document_embeddings` after somebody has written another model, and raised its code_version."""

    @batch_asset(
        name="document_embeddings",
        model=model,
        code_version="2",
        workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
        lane="batch",
        contract=FreshnessContract(valid_for=timedelta(hours=37)),
    )
    def changed(documents: pd.DataFrame) -> Iterator[Embedding]:
        yield from embeddings.document_embeddings.plan(documents)  # type: ignore[misc]

    return changed


@dataclass
class Library:
    """The family over a copy of the sample documents."""

    project: Any
    database: Path
    ledger_url: str
    results: Mapping[str, Any] = field(default_factory=dict)
    """Where results go, if not to SQLite."""

    def assets(self, vectors: BatchAsset = embeddings.document_embeddings) -> Any:
        loaded = dg.load_assets_from_modules([embeddings])
        others = [each for each in loaded if isinstance(each, dg.AssetsDefinition) and each.key != vectors.key]
        tables = SourceTables(url=f"sqlite:///{self.database}")
        return self.project(vectors, *others, documents, resources={"source_tables": tables, **self.results})

    def neighbours(self) -> pd.DataFrame:
        family = self.assets()
        frame: pd.DataFrame = family.defs.load_asset_value("embedding_neighbours", instance=family.instance)
        return frame

    def sql(self, statement: str, *values: str) -> None:
        with sqlite3.connect(self.database) as connection:
            connection.execute(statement, values)

    def models(self) -> set[str]:
        frame = read("document_embeddings", max_staleness=timedelta(hours=1), database_url=self.ledger_url)
        return set(frame["model"])


@pytest.fixture
def library(project: Any, tmp_path: Path) -> Library:
    """Twenty documents are enough here."""
    database = tmp_path / "source.db"
    sample_data.create(database)
    made = Library(project, database, f"sqlite:///{tmp_path / 'offpeak.db'}")
    made.sql("DELETE FROM documents WHERE document_id > 'D-020'")
    return made


def test_an_edited_paragraph_is_all_that_is_bought_and_a_second_night_buys_nothing(library: Library) -> None:
    family = library.assets()
    first = family.landed(*NIGHT)
    chunks = first["document_chunks", None].metadata["chunks"]
    assert chunks == first["document_embeddings", None].metadata["bought"] > 50
    assert "| Refunds, in full and in part |" in first["embedding_neighbours", None].metadata["nearest_pairs"]
    again = family.landed("document_embeddings")["document_embeddings", None].metadata
    assert (again["bought"], again["reused"]) == (0, chunks)
    library.sql("UPDATE documents SET body = replace(body, 'two hours', 'three hours') WHERE document_id = 'D-003'")
    edited = family.landed("document_embeddings")["document_embeddings", None].metadata
    assert (edited["bought"], edited["removed"], edited["reused"]) == (1, 1, chunks - 1)
    library.sql("DELETE FROM documents WHERE document_id = 'D-001'")
    gone = family.landed("document_embeddings")["document_embeddings", None].metadata
    assert (gone["bought"], gone["removed"]) == (0, 3)


def test_chunks_have_another_data_version_when_a_text_is_another_and_not_before(library: Library) -> None:
    family = library.assets()
    first = family.landed("document_chunks")["document_chunks", None].data_version
    assert first is not None
    library.sql("UPDATE documents SET updated_at = '2026-11-30' WHERE document_id = 'D-003'")
    assert family.landed("document_chunks")["document_chunks", None].data_version == first
    library.sql(
        "UPDATE documents SET body = body || ' And more.', updated_at = '2026-12-01' WHERE document_id = 'D-003'"
    )
    assert family.landed("document_chunks")["document_chunks", None].data_version != first


def test_in_postgres_the_neighbours_are_those_of_numpy_and_a_search_sees_the_vectors(
    library: Library, provider: Any, postgres_place: Place
) -> None:
    with psycopg.connect(postgres_place.url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE EXTENSION vector")
    results = offpeak_resources(
        database_url=postgres_place.url, spool_dir=str(postgres_place.spool), batch_api=provider.api()
    )
    assert "SQLite" in library.assets().landed(*NIGHT)["embedding_neighbours", None].metadata["computed_with"]
    by_numpy = library.neighbours()
    in_postgres = replace(library, results=results, ledger_url=postgres_place.url)
    landed = in_postgres.assets().landed(*NIGHT)
    assert landed["embedding_neighbours", None].metadata["computed_with"].startswith("pgvector, document_vectors_")
    found = in_postgres.neighbours()
    pairs, wanted = (set(zip(each["key"], each["neighbour"], strict=True)) for each in (found, by_numpy))
    assert len(pairs & wanted) / len(wanted) >= 0.95
    with psycopg.connect(postgres_place.url.replace("+psycopg", "")) as connection:
        keys = {key for (key,) in connection.execute("SELECT key FROM document_vectors").fetchall()}
    assert keys == set(by_numpy["key"])


def test_documents_of_another_kind_are_drift_and_the_same_ones_are_not(library: Library) -> None:
    family = library.assets()
    family.run("document_embeddings", "embedding_baseline")
    assert drift_of(family.run("embedding_drift")) == (True, 0, 0)
    lyrics = "\n\n".join(
        f"Verse {n} of the old ballad sings of rivers, wolves and snow upon the mountains, and of a rider in the fog."
        for n in range(60)
    )
    library.sql("INSERT INTO documents (document_id, title, body) VALUES ('D-900', 'A ballad', ?)", lyrics)
    passed, added, removed = drift_of(family.run("document_embeddings", "embedding_drift"))
    assert (passed, added, removed) == (False, 60, 0)


def drift_of(result: dg.ExecuteInProcessResult) -> tuple[bool, int, int]:
    """Whether the check passed, and how many chunks came and went."""
    (check,) = [each for each in result.get_asset_check_evaluations() if each.check_name == "no_drift"]
    (landed,) = result.asset_materializations_for_node("embedding_drift")
    figures = {name: each.value for name, each in landed.metadata.items()}
    assert str(figures["plot"]).startswith("![Likeness to the baseline](data:image/png;base64,")
    return check.passed, figures["chunks_added"], figures["chunks_removed"]


def test_a_change_of_the_model_is_read_only_when_the_new_space_is_complete(library: Library, provider: Any) -> None:
    library.assets().run(*NIGHT, "embedding_baseline")
    old = library.assets().defs.load_asset_value("embedding_neighbours", instance=library.assets().instance)
    family = library.assets(of_model(OTHER_MODEL))
    provider.fault("error_lines", share=0.5, code="invalid_request")
    with pytest.raises(TwoSpaces, match="29 of local-text-embedding-3-large"):
        family.run("document_embeddings", "embedding_neighbours")
    assert len(library.models()) == 2, "keys without a new vector serve the old one"
    kept = family.defs.load_asset_value("embedding_neighbours", instance=family.instance)
    pd.testing.assert_frame_equal(kept, old)

    with Ledger.open(library.ledger_url) as ledger:
        requeue(ledger, Chosen(asset="document_embeddings"), who=f"test {os.getpid()}")
    family.run("document_embeddings", "embedding_neighbours")
    assert library.models() == {"local-text-embedding-3-large"}
    with pytest.raises(TwoSpaces, match="Materialise embedding_baseline again"):
        family.run("embedding_drift")
    family.run("embedding_baseline")
    assert drift_of(family.run("embedding_drift")) == (True, 0, 0)
