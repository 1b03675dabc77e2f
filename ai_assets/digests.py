"""Each user's week in a few friendly lines, mailed on Monday morning."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import pandas as pd
from pydantic import BaseModel, Field

from offpeak import Chat, FreshnessContract, PlanContext, Waiting, Workload, batch_asset, freshness_sla, tolerates

WEEKS = dg.WeeklyPartitionsDefinition(start_date="2026-01-05", timezone="Europe/Berlin", day_offset=1)
"""From Monday to Monday, at midnight in Berlin. An event belongs to the week that it was in there, not in UTC."""

DIGEST = """\
You write the mail in which a booking system for studios tells its users about their week. You are told what one user
did, and one thing to try. Write to the user, warmly and plainly. Invent nothing, and leave figures as they are.
"""

DID = {
    "attendance_ticked": "You ticked off attendance: {}",
    "booking_cancelled": "You cancelled a booking for {}",
    "booking_taken": "You took a booking for {}",
    "class_published": "You published the class {}",
    "error_shown": "You met the error {}",
    "export_made": "You exported {}",
    "message_sent": "You sent a message, {}",
    "pass_sold": "You sold a {}",
    "refund_made": "You refunded {}",
    "report_opened": "You looked at the report on {}",
    "teacher_invited": "You invited {} as a teacher",
    "waitlist_promoted": "You gave a seat from the waiting list of {}",
}
TO_TRY = {
    "waitlist_promoted": "Try the waiting list: it fills seats that become free by itself.",
    "attendance_ticked": "Try ticking off attendance: studios that do lose fewer visits to no-shows.",
    "pass_sold": "Try selling passes: regulars then book with two taps.",
    "report_opened": "Try the report on occupancy: it shows which hours are worth another class.",
    "": "Try a day off: you use everything that there is.",
}
"""What to suggest to somebody who did nothing of the kind that week: the first that fits."""


class WeekDigest(BaseModel):
    """One user's week."""

    headline: str = Field(description="The week in at most eight words.")
    summary: str = Field(description="The week in two or three sentences.")
    highlights: list[str] = Field(description="Up to three moments that are worth a smile.")
    next_step: str = Field(description="One thing to try next week, in one sentence.")


@batch_asset(
    model="anthropic/claude-haiku-5-5",
    output=WeekDigest,
    workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=8)),
    contract=FreshnessContract(valid_for=timedelta(days=7, hours=10)),  # a week and a long night, the deadline, an hour
    partitions_def=WEEKS,
    backfill_policy=None,  # a run per week, like its mails
    code_version="1",
    group_name="digests",
    owners=["team:product"],
    tags={"domain": "product"},
)
def weekly_digests(context: PlanContext, product_events: pd.DataFrame) -> Iterator[Chat]:
    """The week of every user who did something in it. Who did nothing is not asked about, and costs nothing."""
    for user_id, events in in_week(product_events, str(context.partition_key)).groupby("user_id"):
        yield Chat(key=str(user_id), system=DIGEST, prompt=what_was_done(events), max_tokens=500)


def in_week(events: pd.DataFrame, week: str) -> pd.DataFrame:
    """The events of the week that begins on that Monday, oldest first."""
    start, end = WEEKS.time_window_for_partition_key(week)
    times = pd.to_datetime(events["occurred_at"], utc=True, format="ISO8601")
    found = events.assign(occurred_at=times)[(times >= start) & (times < end)]
    # in one order whatever the database answers first: another order would be another question, and bought again
    return found.sort_values(["occurred_at", "kind", "detail"])


def what_was_done(events: pd.DataFrame) -> str:
    """One sentence for each thing that a user did, with how often, and something to try."""
    lines = [
        (DID[kind].format(detail) if kind in DID else f"{kind}: {detail}")
        + ("." if times == 1 else f", {times} times.")
        for (kind, detail), times in Counter(zip(events["kind"], events["detail"], strict=True)).items()
    ]
    to_try = next(text for kind, text in TO_TRY.items() if kind not in set(events["kind"]))
    return "\n".join([*lines, to_try])


@dg.asset(
    ins={"weekly_digests": tolerates(timedelta(hours=26), min_coverage=0.98)},  # late mails are better than none
    partitions_def=WEEKS,
    freshness_policy=freshness_sla("0 9 * * 1", timezone="Europe/Berlin"),
    group_name="digests",
    owners=["team:product"],
    tags={"domain": "product"},
    kinds={"pandas"},
    code_version="1",
)
def digest_outbox(context: dg.AssetExecutionContext, weekly_digests: pd.DataFrame) -> pd.DataFrame:
    """The mails of Monday morning, one for each user with a digest: `user_id`, `subject` and `text`."""
    mails = pd.DataFrame(
        [(digest.key, digest.headline, as_text(digest)) for digest in weekly_digests.itertuples()],
        columns=["user_id", "subject", "text"],
    )
    first = mails.iloc[0]
    shown = f"**To {first.user_id}: {first.subject}**\n\n{first.text}"
    context.add_output_metadata({"mails": len(mails), "first_mail": dg.MetadataValue.md(shown)})
    return mails


def as_text(digest: Any) -> str:
    """A digest as the text of a mail, which is Markdown too."""
    highlights = "\n".join(f"- {each}" for each in digest.highlights)
    return f"{digest.summary}\n\n{highlights}\n\nNext week: {digest.next_step}"
