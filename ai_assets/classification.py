"""What each support ticket is about and how urgent it is, and how well that agrees with what people said."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal

import dagster as dg
import pandas as pd
from pydantic import BaseModel, Field

from offpeak import Chat, FreshnessContract, Waiting, Workload, batch_asset, tolerates

TAXONOMY = """\
You sort the support tickets of a software company. Read the ticket and say two things about it.

Category:
- billing: invoices, payments, refunds, prices, plans and subscriptions
- bug: something that should work does not: errors, crashes, wrong or lost data, slowness
- how-to: a question how something is done, set up or found, about a product that works as intended
- other: feature requests, praise, sales, legal and anything else

Urgency:
- high: somebody cannot work, loses data or money, or a security problem is suspected
- normal: a problem that hinders but can be worked around, or an open question that blocks a task
- low: no pressure: wishes, thanks, curiosity

A ticket about several things belongs to the one that has to be solved first.
"""
"""Changing it asks something else of every ticket, so everything is bought again; raise `code_version` with it."""


class TicketLabel(BaseModel):
    """What is said of one ticket."""

    category: Literal["billing", "bug", "how-to", "other"] = Field(description="What the ticket is about.")
    urgency: Literal["low", "normal", "high"] = Field(description="How soon somebody has to act.")


@batch_asset(
    model="anthropic/claude-haiku-5-5",
    output=TicketLabel,
    workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
    contract=FreshnessContract(valid_for=timedelta(hours=37)),  # a day between runs, the deadline, and an hour
    code_version="1",
    group_name="classification",
    owners=["team:support"],
    tags={"domain": "support"},
)
def ticket_labels(support_tickets: pd.DataFrame) -> Iterator[Chat]:
    """Category and urgency of every support ticket."""
    ticket: Any  # a row: pandas has no type for its fields
    for ticket in support_tickets.itertuples():
        text = "\n\n".join(filter(None, (ticket.subject, ticket.body)))  # a chat has no subject
        yield Chat(key=ticket.ticket_id, system=TAXONOMY, prompt=text, max_tokens=200)


@dg.asset(
    ins={"ticket_labels": tolerates(timedelta(hours=38), min_coverage=0.99)},
    group_name="classification",
    owners=["team:support"],
    tags={"domain": "support"},
    kinds={"pandas"},
)
def support_dashboard(
    context: dg.AssetExecutionContext, ticket_labels: pd.DataFrame, support_tickets: pd.DataFrame
) -> pd.DataFrame:
    """Tickets per category and urgency, and how often the labels agree with those that people gave."""
    counts = ticket_labels.groupby(["category", "urgency"]).size().rename("tickets").reset_index()
    context.add_output_metadata({"tickets": len(ticket_labels), "counts": dg.MetadataValue.md(as_table(counts))})
    if {"human_category", "human_urgency"} <= set(support_tickets.columns):
        context.add_output_metadata(agreement(ticket_labels, support_tickets))
    return counts


def agreement(labels: pd.DataFrame, tickets: pd.DataFrame) -> dict[str, float]:
    """The share of tickets where the model and a person said the same, 0 to 1; nothing where no person did."""
    both = labels.merge(tickets, left_on="key", right_on="ticket_id").dropna(subset=["human_category"])
    if both.empty:
        return {}
    return {
        "category_accuracy": float((both["category"] == both["human_category"]).mean()),
        "urgency_accuracy": float((both["urgency"] == both["human_urgency"]).mean()),
    }


def as_table(counts: pd.DataFrame) -> str:
    """The counts as a Markdown table."""
    lines = ["| category | urgency | tickets |", "| --- | --- | ---: |"]
    lines += [f"| {row.category} | {row.urgency} | {row.tickets} |" for row in counts.itertuples()]
    return "\n".join(lines)
