"""What is embedded of a document."""

import dagster as dg
import pandas as pd

from ai_assets.embeddings import document_chunks, document_embeddings
from offpeak import Embedding

DOCUMENTS = pd.DataFrame(
    {
        "document_id": ["D-1", "D-2"],
        "title": ["Refunds", None],
        "body": ["Within 14 days of the payment, a refund goes back the way on which the money came.", ""],
    },
    dtype=object,
)


def test_a_document_is_embedded_in_chunks_with_its_title_and_an_empty_one_not_at_all() -> None:
    (request,) = document_embeddings.plan(DOCUMENTS)
    assert isinstance(request, Embedding)
    assert request.key.startswith("D-1#")
    assert request.text == f"Refunds\n\n{DOCUMENTS['body'][0]}"


def test_the_chunks_have_the_keys_and_texts_of_the_vectors() -> None:
    made = document_chunks(DOCUMENTS)
    assert isinstance(made, dg.MaterializeResult)
    frame = made.value
    planned = [(each.key, each.text) for each in document_embeddings.plan(DOCUMENTS) if isinstance(each, Embedding)]
    assert list(frame[["key", "text"]].itertuples(index=False, name=None)) == planned
    assert list(frame["document_id"]) == ["D-1"]


def test_a_document_longer_than_the_model_reads_is_divided_instead_of_refused() -> None:
    documents = pd.DataFrame({"document_id": ["D-1"], "title": ["Long"], "body": ["word " * 20_000]})
    requests = document_embeddings.plan(documents)
    assert len(requests) > 40
    assert all(len(each.text) < 3_000 for each in requests if isinstance(each, Embedding))
