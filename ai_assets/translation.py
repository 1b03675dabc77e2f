"""The documents in other languages: a partition for each language, and only what changed is bought again."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import pandas as pd

from offpeak import Chat, FreshnessContract, PlanContext, Waiting, Workload, batch_asset, when_data_changes

LANGUAGES = {"de": "German", "fr": "French", "es": "Spanish", "ja": "Japanese"}
"""The partitions. A language that is added here is bought whole, and the others are left as they are."""

TRANSLATE = """\
You translate the help centre of a booking system for studios. Translate the document into {language}, for people who
run a studio: plainly, politely, and as it would have been written there. Keep its Markdown as it is: headings,
paragraphs and lists. Leave names, amounts and addresses alone, and what a button says in English where it is quoted.
Where the document is in {language} already, give it back unchanged. Answer with the translation and nothing else.
"""


@batch_asset(
    model="anthropic/claude-haiku-5-5",
    workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=24)),
    contract=FreshnessContract(valid_for=timedelta(hours=49)),  # a day between runs, the deadline, and an hour
    partitions_def=dg.StaticPartitionsDefinition(list(LANGUAGES)),
    code_version="1",
    automation_condition=when_data_changes(),
    group_name="translation",
    owners=["team:documentation"],
    tags={"domain": "knowledge"},
)
def document_translations(context: PlanContext, documents: pd.DataFrame) -> Iterator[Chat]:
    """Every document in one language: its title as a heading, then its text."""
    system = TRANSLATE.format(language=LANGUAGES[str(context.partition_key)])
    document: Any  # a row: pandas has no type for its fields
    for document in documents.itertuples():
        text = f"# {document.title}\n\n{document.body}"
        yield Chat(key=document.document_id, system=system, prompt=text, max_tokens=8_000)
