"""The hybrid: the application answers at once, and what deserves a longer look is bought here for the next visit."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pandas as pd
from pydantic import BaseModel, Field

from offpeak import Chat, FreshnessContract, Notify, Waiting, Workload, batch_asset, when_data_changes

INSTRUCTIONS = """\
You look after the customers of a booking software for studios. A customer asked something and got a short answer at
once. Now take the time that a good colleague would take: say what the short answer left open or got wrong, what the
customer should do and in which order, and what he should ask himself before. Write to the customer, plainly, without
repeating the short answer and without promising anything on behalf of the company.
"""


class FollowUp(BaseModel):
    """What the customer finds at the next visit."""

    headline: str = Field(max_length=120, description="What it comes to, in one line.")
    explanation: str = Field(description="What the short answer left open, in a few sentences.")
    steps: list[str] = Field(max_length=5, description="What to do, in order.")


@batch_asset(
    model="anthropic/claude-sonnet-5-5",
    output=FollowUp,
    workload=Workload(waiting=Waiting.WALKED_AWAY, deadline=timedelta(hours=1)),
    contract=FreshnessContract(valid_for=timedelta(hours=3)),  # an hour between runs, the deadline, and an hour
    notify=[Notify(to="support", on={"landed"}), "operations"],
    code_version="1",
    automation_condition=when_data_changes(),
    group_name="follow_ups",
    owners=["team:support"],
    tags={"domain": "support"},
)
def follow_up_results(follow_up_requests: pd.DataFrame) -> Iterator[Chat]:
    """The longer answer to every request, by `request_id`; an answer of one user is never shared with another."""
    request: Any  # a row: pandas has no type for its fields
    for request in follow_up_requests.itertuples():
        text = f"Question: {request.question}\n\nShort answer: {request.answered_in_real_time or 'none'}"
        yield Chat(
            key=request.request_id, system=INSTRUCTIONS, prompt=text, scope=f"user:{request.user_id}", max_tokens=1_000
        )
