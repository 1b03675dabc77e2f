"""What visitors of a launch ask for first, bought on the batch tier in the quiet days before it: a partition a launch.

The same question is bought once, however many launches ask it: a second launch buys what has changed since the first.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pandas as pd
from pydantic import BaseModel, Field

from offpeak import Chat, Embedding, FreshnessContract, Waiting, Workload, batch_asset
from resources.launches import LAUNCH

QUIET_DAYS = Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=24))
TO_THE_END = FreshnessContract(valid_for=timedelta(days=9))
"""Seven quiet days, a launch of a day, and the deadline. `fresh_to_the_end` says where a launch needs more."""

WRITE = """\
You write for small studios: potters, printers, weavers, teachers of yoga. You are told what something has to say. Write
it so that somebody who passes by stops: warmly, plainly, in words that the studio would use. Say nothing that you were
not told, and leave times, prices and names as they are.
"""

EXPLAIN = """\
You explain to small studios what worked elsewhere. You are told what one studio did. Say what made the difference and
how another studio does the same. Stay with what you were told.
"""

SUM_UP = """\
You describe what a design shop sells to people who run a studio. You are told of one item. Say what it is and whom it
serves. Praise nothing, and invent nothing.
"""


class Draft(BaseModel):
    """A text that is ready to be laid out."""

    headline: str = Field(description="At most eight words.")
    body: str = Field(description="What has to be said, in two or three sentences.")
    invitation: str = Field(description="What the reader is to do, in one sentence.")


class Lesson(BaseModel):
    """What others can learn of one studio."""

    headline: str = Field(description="At most eight words.")
    lesson: str = Field(description="What made the difference, in two sentences.")
    steps: list[str] = Field(description="How to do the same, in up to three steps.")


class ItemSummary(BaseModel):
    """One item of the catalogue."""

    summary: str = Field(description="What it is, in one sentence.")
    good_for: list[str] = Field(description="Up to three occasions or people that it serves.")


@batch_asset(
    model="openai/gpt-5-mini",
    output=Draft,
    workload=QUIET_DAYS,
    contract=TO_THE_END,
    partitions_def=LAUNCH,
    code_version="1",
    group_name="launch",
    owners=["team:product"],
    tags={"domain": "launch"},
)
def launch_starters(launch_prompts: pd.DataFrame) -> Iterator[Chat]:
    """What a visitor gets who clicks on one of the starters, by `prompt_id`."""
    starter: Any  # a row: pandas has no type for its fields
    for starter in of_kind(launch_prompts, "starter"):
        yield Chat(key=starter.prompt_id, system=WRITE, prompt=as_text(starter.title, starter.prompt), effort="low")


@batch_asset(
    model="anthropic/claude-haiku-5-5",
    output=Lesson,
    workload=QUIET_DAYS,
    contract=TO_THE_END,
    partitions_def=LAUNCH,
    code_version="1",
    group_name="launch",
    owners=["team:product"],
    tags={"domain": "launch"},
)
def launch_examples(launch_prompts: pd.DataFrame) -> Iterator[Chat]:
    """What stands below each example of the gallery, by `prompt_id`."""
    example: Any
    for example in of_kind(launch_prompts, "example"):
        yield Chat(key=example.prompt_id, system=EXPLAIN, prompt=as_text(example.title, example.prompt), max_tokens=500)


@batch_asset(
    model="openai/gpt-5-mini",
    output=ItemSummary,
    workload=QUIET_DAYS,
    contract=TO_THE_END,
    partitions_def=LAUNCH,
    code_version="1",
    group_name="launch",
    owners=["team:product"],
    tags={"domain": "launch"},
)
def launch_catalog_summaries(catalog_items: pd.DataFrame) -> Iterator[Chat]:
    """What each item of the catalogue is and whom it serves, by `item_id`. The price is not part of the question."""
    item: Any
    for item in catalog_items.itertuples():
        yield Chat(key=item.item_id, system=SUM_UP, prompt=as_text(item.name, item.description), effort="low")


@batch_asset(
    model="openai/text-embedding-3-small",
    workload=QUIET_DAYS,
    contract=TO_THE_END,
    partitions_def=LAUNCH,
    code_version="1",
    group_name="launch",
    owners=["team:product"],
    tags={"domain": "launch"},
)
def launch_embeddings(catalog_items: pd.DataFrame) -> Iterator[Embedding]:
    """One vector for each item of the catalogue, by `item_id`: what the search of the launch compares with."""
    item: Any
    for item in catalog_items.itertuples():
        yield Embedding(key=item.item_id, text=as_text(item.name, item.description))


def of_kind(prompts: pd.DataFrame, kind: str) -> Iterator[Any]:
    """The rows of that kind."""
    return prompts[prompts["kind"] == kind].itertuples()


def as_text(title: str, text: str) -> str:
    """A title above its text."""
    return f"{title}\n\n{text}"
