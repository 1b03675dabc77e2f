"""What is asked of a post, and the order in which people look at posts."""

import pandas as pd

from ai_assets.moderation import as_table, in_order, moderation_flags
from offpeak import Moderation

SCORES = {"harassment": 0.01, "self-harm/intent": 0.01, "violence": 0.01}


def posts(*ids: str) -> pd.DataFrame:
    """Posts of which each is a minute younger than the one before."""
    return pd.DataFrame(
        {
            "submission_id": ids,
            "author": "C-1",
            "text": [f"The text of {each}" for each in ids],
            "submitted_at": [f"2026-11-20T10:{minute:02d}:00Z" for minute in range(len(ids))],
        }
    )


def flags(**scores: dict[str, float]) -> pd.DataFrame:
    """Flags by post; a category from 0.5 on is flagged."""
    rows = []
    for key, given in scores.items():
        every = SCORES | given
        flagged = {category: score >= 0.5 for category, score in every.items()}
        rows.append(
            {"key": key, "flagged": any(flagged.values()), "categories": flagged, "category_scores": every},
        )
    return pd.DataFrame(rows, columns=["key", "flagged", "categories", "category_scores"])


def test_a_post_is_asked_about_by_its_text_alone() -> None:
    assert moderation_flags.plan(posts("S-1")) == [Moderation(key="S-1", text="The text of S-1")]


def test_flagged_posts_come_first_then_those_that_nobody_screened_then_the_rest_by_age() -> None:
    found = flags(calm={"violence": 0.1}, calmer={}, rude={"harassment": 0.6})
    queue = in_order(posts("calmer", "new", "calm", "rude"), found)
    assert queue["submission_id"].tolist() == ["rude", "new", "calmer", "calm"]
    assert queue["verdict"].tolist() == ["flagged", "not screened", "clear", "clear"]


def test_the_most_serious_come_first_and_equally_serious_ones_by_age() -> None:
    found = flags(
        young={"harassment": 0.7}, old={"harassment": 0.7}, sure={"harassment": 0.9}, danger={"self-harm/intent": 0.5}
    )
    queue = in_order(posts("old", "young", "sure", "danger"), found)
    assert queue["submission_id"].tolist() == ["danger", "sure", "old", "young"]


def test_a_post_is_named_by_the_category_where_somebody_may_be_in_danger() -> None:
    (row,) = in_order(posts("S-1"), flags(**{"S-1": {"violence": 0.9, "self-harm/intent": 0.6}})).itertuples()
    assert (row.category, row.score, row.danger) == ("self-harm/intent", 0.6, True)


def test_the_table_holds_one_line_a_post_whatever_its_text() -> None:
    long = posts("S-1").assign(text="a | b\nc " + "x" * 200)
    *_, line = as_table(in_order(long, flags(**{"S-1": {"violence": 0.9}}))).splitlines()
    assert line.startswith("| 1 | flagged | violence | 0.90 | 2026-11-20 10:00 | `C-1` | `a \\| b c xxx")
    assert line.endswith("x…` |")


def test_what_a_user_wrote_is_shown_and_not_rendered() -> None:
    post = posts("S-1").assign(text="`![seen](https://example.com/pixel.png)` <b>hello</b>")
    *_, line = as_table(in_order(post, flags(**{"S-1": {}}))).splitlines()
    assert line.endswith("| `'![seen](https://example.com/pixel.png)' <b>hello</b>` |")
