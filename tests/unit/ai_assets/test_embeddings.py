"""What is embedded of a document."""

import pandas as pd

from ai_assets.embeddings import LONGEST, document_embeddings
from offpeak import Embedding


def test_a_document_is_embedded_with_its_title_and_text() -> None:
    documents = pd.DataFrame({"document_id": ["D-1"], "title": ["Refunds"], "body": ["Within 14 days."]})
    assert document_embeddings.plan(documents) == [Embedding(key="D-1", text="Refunds\n\nWithin 14 days.")]


def test_a_document_longer_than_the_model_reads_is_cut_instead_of_refused() -> None:
    documents = pd.DataFrame({"document_id": ["D-1"], "title": ["Long"], "body": ["word " * 20_000]})
    (request,) = document_embeddings.plan(documents)
    assert isinstance(request, Embedding)
    assert len(request.text) == LONGEST
