"""What is asked beforehand for the visitors of a launch."""

import pandas as pd
import pytest

from ai_assets.launches import (
    EXPLAIN,
    SUM_UP,
    WRITE,
    launch_catalog_summaries,
    launch_embeddings,
    launch_examples,
    launch_starters,
)
from offpeak import Chat, Embedding, PlanContext

PROMPTS = pd.DataFrame(
    {
        "prompt_id": ["S-1", "E-1", "X-1"],
        "kind": ["starter", "example", "draft"],
        "title": ["Poster", "A studio", "Later"],
        "prompt": ["Class on Saturday.", "It had four guests.", "Not yet."],
    }
)
ITEMS = pd.DataFrame({"item_id": ["I-1"], "name": ["Kiln Night"], "description": ["A poster."], "price_eur": ["9.00"]})


def test_a_starter_is_asked_with_its_title_and_an_example_is_none() -> None:
    assert list(launch_starters.plan(PROMPTS)) == [
        Chat(key="S-1", system=WRITE, prompt="Poster\n\nClass on Saturday.", effort="low")
    ]


def test_an_example_is_explained_and_a_starter_is_none() -> None:
    assert list(launch_examples.plan(PROMPTS)) == [
        Chat(key="E-1", system=EXPLAIN, prompt="A studio\n\nIt had four guests.", max_tokens=500)
    ]


def test_an_item_is_asked_about_without_its_price() -> None:
    text = "Kiln Night\n\nA poster."
    assert list(launch_catalog_summaries.plan(ITEMS)) == [Chat(key="I-1", system=SUM_UP, prompt=text, effort="low")]
    assert list(launch_embeddings.plan(ITEMS)) == [Embedding(key="I-1", text=text)]


@pytest.mark.parametrize("launch", ["spring_release", "autumn_release"])
def test_every_launch_asks_the_same_so_that_the_next_one_buys_what_has_changed(launch: str) -> None:
    context = PlanContext(partition_key=launch)
    assert list(launch_starters.plan(PROMPTS, context=context)) == list(launch_starters.plan(PROMPTS))
    assert list(launch_embeddings.plan(ITEMS, context=context)) == list(launch_embeddings.plan(ITEMS))
