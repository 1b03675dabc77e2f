"""Each document in a few lines. A long one is read section by section first: two steps, both on the batch tier."""

from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pandas as pd
from pydantic import BaseModel, Field

from offpeak import Chat, FreshnessContract, Waiting, Workload, batch_asset, tolerates, when_data_changes

LONG = 4_000
"""Characters. A longer document is summed up in two steps, and its sections are no longer, unless one paragraph is."""

SECTION = "Sum up this section of a longer document in two sentences. Keep names, figures and dates."
SUMMARY = """\
Sum up the document for somebody who wants to know whether to read it. Of a long one you are given its title and a
summary of each section, in order. Keep names, figures and dates, and add nothing of your own.
"""


class DocumentSummary(BaseModel):
    """What one document says."""

    summary: str = Field(description="The document in two or three sentences.")
    key_points: list[str] = Field(description="Up to three points that a reader should take away.")


@batch_asset(
    model="anthropic/claude-haiku-5-5",
    workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=24)),
    contract=FreshnessContract(valid_for=timedelta(hours=49)),  # a day between runs, the deadline, and an hour
    code_version="1",
    automation_condition=when_data_changes(),
    group_name="digests",
    owners=["team:documentation"],
    tags={"domain": "knowledge"},
)
def document_section_summaries(documents: pd.DataFrame) -> Iterator[Chat]:
    """Each section of each long document in two sentences: the first of two steps."""
    document: Any  # a row: pandas has no type for its fields
    for document in documents.itertuples():
        for key, section in sections(document).items():
            prompt = f"{document.title}\n\n{section}"
            yield Chat(key=key, task=document.document_id, system=SECTION, prompt=prompt, max_tokens=300)


@batch_asset(
    model="anthropic/claude-haiku-5-5",
    output=DocumentSummary,
    ins={"document_section_summaries": tolerates(timedelta(hours=26), min_coverage=0.98)},  # made in the same run
    workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=48)),  # of the run, which buys two in a row
    contract=FreshnessContract(valid_for=timedelta(hours=98)),  # both deadlines, a day between runs, two hours
    code_version="1",
    automation_condition=when_data_changes(),
    group_name="digests",
    owners=["team:documentation"],
    tags={"domain": "knowledge"},
)
def document_summaries(documents: pd.DataFrame, document_section_summaries: pd.DataFrame) -> Iterator[Chat]:
    """A summary of each document: of its text, or of what its sections were summed up to where it is long."""
    said = dict(zip(document_section_summaries["key"], document_section_summaries["text"], strict=True))
    document: Any
    for document in documents.itertuples():
        parts = [said.get(key, "(This section could not be summed up.)") for key in sections(document)]
        prompt = "\n\n".join([document.title, *(parts or [document.body])])
        name = document.document_id
        yield Chat(key=name, task=name, system=SUMMARY, prompt=prompt, max_tokens=500)


def sections(document: Any) -> dict[str, str]:
    """The sections of a long document by their keys, in order; none of a short one.

    It is cut at its Markdown headings, and between paragraphs where a part is long itself. A key is made of what the
    section says, not of where it stands: a section that is put before another leaves that one as it was.
    """
    parts: list[str] = []
    for paragraph in document.body.split("\n\n") if len(document.body) > LONG else ():
        if not parts or paragraph.startswith("#") or len(parts[-1]) + len(paragraph) + 2 > LONG:
            parts.append(paragraph)
        else:
            parts[-1] += f"\n\n{paragraph}"
    return {f"{document.document_id}/{sha256(part.encode()).hexdigest()[:8]}": part for part in parts}
