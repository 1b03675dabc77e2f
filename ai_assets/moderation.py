"""Which of the users' posts somebody has to look at first, ready before the moderators open their queue at nine."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import pandas as pd

from offpeak import (
    FreshnessContract,
    Moderation,
    Waiting,
    Workload,
    batch_asset,
    freshness_sla,
    tolerates,
    when_data_changes,
)

TIME_ZONE = "Europe/Amsterdam"
"""Where the moderators work."""

SOMEBODY_IN_DANGER = frozenset(
    {
        "harassment/threatening",
        "hate/threatening",
        "illicit/violent",
        "self-harm",
        "self-harm/instructions",
        "self-harm/intent",
        "sexual/minors",
    }
)
"""OpenAI's categories that come before all others, however sure the model is of those."""

SHOWN = 50
"""Posts in the table of the UI."""


@batch_asset(
    model="openai/omni-moderation-latest",
    workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=6)),  # begun at one, here by seven
    lane="batch",  # mostly there within hours, and rescued where not
    contract=FreshnessContract(valid_for=timedelta(hours=32)),  # 25 between runs in autumn, the deadline, and an hour
    notify="operations",
    code_version="1",
    automation_condition=when_data_changes(),
    group_name="moderation",
    owners=["team:community"],
    tags={"domain": "community"},
)
def moderation_flags(submissions: pd.DataFrame) -> Iterator[Moderation]:
    """What a moderation model says of every post: whether it is flagged, and a score of 0 to 1 in each category."""
    post: Any  # a row: pandas has no type for its fields
    for post in submissions.itertuples():
        yield Moderation(key=post.submission_id, text=post.text)


@dg.asset(
    ins={"moderation_flags": tolerates(timedelta(hours=33), min_coverage=0.95)},
    freshness_policy=freshness_sla("0 9 * * *", timezone=TIME_ZONE),
    automation_condition=when_data_changes(),
    group_name="moderation",
    owners=["team:community"],
    tags={"domain": "community"},
    kinds={"pandas"},
    code_version="1",
)
def moderation_queue(
    context: dg.AssetExecutionContext, moderation_flags: pd.DataFrame, submissions: pd.DataFrame
) -> pd.DataFrame:
    """The posts in the order in which people look at them: flagged ones first, the most serious first, then by age.

    A post that came in after the flags were asked for is not screened yet, and stands before those that are clear.
    """
    queue = in_order(submissions, moderation_flags)
    counts = {verdict: int((queue["verdict"] == verdict).sum()) for verdict in ("flagged", "not screened", "clear")}
    context.add_output_metadata({**counts, "queue": dg.MetadataValue.md(as_table(queue.head(SHOWN)))})
    return queue


def in_order(posts: pd.DataFrame, flags: pd.DataFrame) -> pd.DataFrame:
    """The posts with `verdict`, `category` (the worst one), `danger` and `score`, the first to look at first."""
    judged = flags.set_index("key")
    verdicts = [judge(judged.loc[key]) if key in judged.index else UNKNOWN for key in posts["submission_id"]]
    queue = pd.concat([posts.reset_index(drop=True), pd.DataFrame(verdicts)], axis="columns")
    queue["rank"] = queue["verdict"].map({"flagged": 0, "not screened": 1, "clear": 2})
    # What is not flagged is in order of age alone: a score below the mark says little.
    queue["sureness"] = queue["score"].where(queue["verdict"] == "flagged", 0.0)
    first = queue.sort_values(["rank", "danger", "sureness", "submitted_at"], ascending=[True, False, False, True])
    return first.drop(columns=["rank", "sureness"]).reset_index(drop=True)


UNKNOWN = {"verdict": "not screened", "category": "", "danger": False, "score": 0.0}


def judge(row: "pd.Series[Any]") -> dict[str, Any]:
    """The category to name: of those that are flagged the one where somebody may be in danger, then the surest."""
    scores: dict[str, float] = row["category_scores"]
    flagged = [category for category, is_flagged in row["categories"].items() if is_flagged]
    if not row["flagged"]:
        return {"verdict": "clear", "category": "", "danger": False, "score": max(scores.values(), default=0.0)}
    worst = max(flagged or scores, key=lambda category: (category in SOMEBODY_IN_DANGER, scores[category]))
    danger = worst in SOMEBODY_IN_DANGER
    return {"verdict": "flagged", "category": worst, "danger": danger, "score": scores[worst]}


def as_table(queue: pd.DataFrame) -> str:
    """The queue as a Markdown table; a post is cut after 100 characters."""
    head = ("", "verdict", "category", "score", "submitted", "author", "text")
    lines = [f"| {' | '.join(head)} |", "| ---: | --- | --- | ---: | --- | --- | --- |"]
    post: Any
    for place, post in enumerate(queue.itertuples(), 1):
        score = f"{post.score:.2f}" if post.verdict == "flagged" else ""
        day = str(post.submitted_at)[:16].replace("T", " ")
        cells = (place, post.verdict, post.category, score, day, quoted(post.author), quoted(post.text))
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def quoted(text: str) -> str:
    """What a user wrote, as code: a link or a picture in it stays text, and loads nothing where it is looked at."""
    line = " ".join(text.split())
    line = line if len(line) <= 100 else f"{line[:99]}…"
    return "`" + line.replace("`", "'").replace("|", "\\|") + "`"
