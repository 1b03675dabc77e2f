"""Vectors of the documents, for search and for finding what belongs together."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pandas as pd

from offpeak import Embedding, FreshnessContract, Waiting, Workload, batch_asset

LONGEST = 24_000
"""Characters of a document that are embedded: the model takes 8,192 tokens, and refuses a longer text as a whole."""


@batch_asset(
    model="openai/text-embedding-3-small",
    workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
    contract=FreshnessContract(valid_for=timedelta(hours=37)),  # a day between runs, the deadline, and an hour
    code_version="1",
    group_name="embeddings",
    owners=["team:documentation"],
    tags={"domain": "knowledge"},
)
def document_embeddings(documents: pd.DataFrame) -> Iterator[Embedding]:
    """One vector for each document, of its title and its text, as far as the model reads."""
    document: Any  # a row: pandas has no type for its fields
    for document in documents.itertuples():
        yield Embedding(key=document.document_id, text=f"{document.title}\n\n{document.body}"[:LONGEST])
