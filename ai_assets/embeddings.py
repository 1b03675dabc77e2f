"""Vectors of the documents, piece by piece, for search: what they have drifted to, and what each is near to."""

from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from typing import Any

import dagster as dg
import pandas as pd

from offpeak import (
    Embedding,
    FreshnessContract,
    OffpeakResults,
    Waiting,
    Workload,
    batch_asset,
    tolerates,
    when_data_changes,
)
from resources.charts import drift_picture
from resources.chunking import chunks, document_of
from resources.pictures import as_table
from resources.vector_index import nearest
from resources.vectors import drift, one_space, require_same_space, unit

NEAREST = 3
"""Neighbours of each chunk."""

reading = tolerates(timedelta(hours=50), min_coverage=0.99)


@dg.asset(
    automation_condition=when_data_changes(),
    group_name="embeddings",
    owners=["team:documentation"],
    tags={"domain": "knowledge"},
    kinds={"pandas"},
)
def document_chunks(documents: pd.DataFrame) -> dg.MaterializeResult[pd.DataFrame]:
    """The documents in overlapping chunks, for whoever needs the text beside the vector: `key`, `document_id`, `text`.

    A key names a text: an edited paragraph has another key, and the chunks that are as they were keep theirs. So the
    keys are the data version: what reads the chunks is out of date when one of them is another, and not before.
    """
    rows = [(key, document_id, text) for document_id, key, text in pieces(documents)]
    frame = pd.DataFrame(rows, columns=["key", "document_id", "text"])
    version = dg.DataVersion(sha256("\n".join(sorted(frame["key"])).encode()).hexdigest())
    shown = {"chunks": len(rows), "documents": len(documents)}
    return dg.MaterializeResult(value=frame, metadata=shown, data_version=version)


@batch_asset(
    model="openai/text-embedding-3-small",
    workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=24)),
    contract=FreshnessContract(valid_for=timedelta(hours=49)),  # a day between runs, the deadline, and an hour
    code_version="1",
    automation_condition=when_data_changes(),
    group_name="embeddings",
    owners=["team:documentation"],
    tags={"domain": "knowledge"},
)
def document_embeddings(documents: pd.DataFrame) -> Iterator[Embedding]:
    """One vector for each chunk, by the key that `document_chunks` gives it: an edited paragraph is one or two."""
    for _, key, text in pieces(documents):
        yield Embedding(key=key, text=text)


def pieces(documents: pd.DataFrame) -> Iterator[tuple[Any, str, str]]:
    """Document id, key and text of every chunk: what is embedded, and what stands beside the vector."""
    document: Any  # a row: pandas has no type for its fields
    for document in documents.itertuples():
        for key, text in chunks(str(document.document_id), str(document.title or ""), str(document.body or "")):
            yield document.document_id, key, text


@dg.asset(
    ins={"document_embeddings": reading},
    group_name="embeddings",
    owners=["team:documentation"],
    tags={"domain": "knowledge"},
    kinds={"pandas"},
    code_version="1",
)
def embedding_baseline(document_embeddings: pd.DataFrame) -> pd.DataFrame:
    """What drift is measured against: the vectors of the day on which this was last materialised."""
    return one_space(document_embeddings)[["key", "embedding", "model", "produced_at"]]


@dg.asset(
    ins={"document_embeddings": reading},
    check_specs=[dg.AssetCheckSpec("no_drift", asset="embedding_drift")],
    group_name="embeddings",
    owners=["team:documentation"],
    tags={"domain": "knowledge"},
    kinds={"numpy", "matplotlib"},
    code_version="1",
)
def embedding_drift(
    embedding_baseline: pd.DataFrame, document_embeddings: pd.DataFrame
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """How far the documents as a whole have moved away from the baseline.

    The check warns when the mean vector has moved further than 99 of 100 samples of the baseline itself would. After a
    change of the model it raises TwoSpaces until `embedding_baseline` is materialised again.
    """
    now = one_space(document_embeddings)
    require_same_space(embedding_baseline, now, otherwise="Materialise embedding_baseline again.")
    moved = drift(unit(embedding_baseline), unit(now))
    added = len(set(now["key"]) - set(embedding_baseline["key"]))
    removed = len(set(embedding_baseline["key"]) - set(now["key"]))
    figures = {"shift": moved.shift, "by_chance": moved.chance, "chunks_added": added, "chunks_removed": removed}
    yield dg.MaterializeResult(metadata={**figures, "plot": drift_picture(moved)})
    yield dg.AssetCheckResult(
        check_name="no_drift",
        passed=not moved.drifted,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"The mean has moved by {moved.shift:.4f}; by chance it moves by up to {moved.chance:.4f}.",
    )


@dg.asset(
    ins={"document_embeddings": reading},
    automation_condition=when_data_changes(),
    group_name="embeddings",
    owners=["team:documentation"],
    tags={"domain": "knowledge"},
    kinds={"numpy", "postgres"},
    code_version="1",
)
def embedding_neighbours(
    context: dg.AssetExecutionContext,
    document_embeddings: pd.DataFrame,
    documents: pd.DataFrame,
    offpeak_results: dg.ResourceParam[OffpeakResults],
) -> pd.DataFrame:
    """The nearest chunks of other documents, for each chunk: `key`, `neighbour`, `likeness` (cosine) and `rank` from 1.

    With results in Postgres and pgvector there, the vectors are kept as `document_vectors`, with an index for any
    search; elsewhere numpy compares each chunk with every other.
    """
    vectors = one_space(document_embeddings)
    sources, database = vectors["key"].map(document_of), offpeak_results.ledger.database
    frame, how = nearest(vectors, sources, count=NEAREST, database=database, view="document_vectors")
    titles = dict(zip(documents["document_id"], documents["title"], strict=True))
    shown = frame[frame["key"] < frame["neighbour"]].nlargest(10, "likeness").drop(columns="rank")
    pairs = shown.assign(**{name: shown[name].map(document_of).map(titles) for name in ("key", "neighbour")})
    context.add_output_metadata({"chunks": len(vectors), "computed_with": how, "nearest_pairs": as_table(pairs)})
    return frame
