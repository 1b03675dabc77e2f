"""What is embedded of a document."""

import pandas as pd

from ai_assets.embeddings import document_embeddings
from offpeak import Embedding


def test_a_document_is_embedded_with_its_title_and_text() -> None:
    documents = pd.DataFrame({"document_id": ["D-1"], "title": ["Refunds"], "body": ["Within 14 days."]})
    assert document_embeddings.plan(documents) == [Embedding(key="D-1", text="Refunds\n\nWithin 14 days.")]
