"""What each support ticket is about and how urgent it is, and how well that agrees with what people said."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal, get_args

import dagster as dg
import pandas as pd
from pydantic import BaseModel, Field

from offpeak import Chat, FreshnessContract, PlanContext, Waiting, Workload, batch_asset, tolerates, when_data_changes
from resources.charts import confusion_picture

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
    workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=24)),
    contract=FreshnessContract(valid_for=timedelta(hours=49)),  # a day between runs, the deadline, and an hour
    code_version="1",
    automation_condition=when_data_changes(),
    group_name="classification",
    owners=["team:support"],
    tags={"domain": "support"},
)
def ticket_labels(support_tickets: pd.DataFrame) -> Iterator[Chat]:
    """Category and urgency of every support ticket."""
    yield from questions(support_tickets)


def questions(tickets: pd.DataFrame) -> Iterator[Chat]:
    """One question per ticket, the same for tickets of today and of the archive: whoever asks first buys the answer."""
    ticket: Any  # a row: pandas has no type for its fields
    for ticket in tickets.itertuples():
        text = "\n\n".join(filter(None, (ticket.subject, ticket.body)))  # a chat has no subject
        yield Chat(key=ticket.ticket_id, system=TAXONOMY, prompt=text, max_tokens=200)


@batch_asset(
    model="anthropic/claude-haiku-5-5",
    output=TicketLabel,
    workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=48)),
    contract=FreshnessContract(valid_for=timedelta(days=3650)),  # what lies in the archive does not change any more
    code_version="1",
    partitions_def=dg.MonthlyPartitionsDefinition(start_date="2025-03-01", end_date="2026-03-01"),
    group_name="classification",
    owners=["team:support"],
    tags={"domain": "support"},
)
def archive_labels(context: PlanContext, archived_tickets: pd.DataFrame) -> Iterator[Chat]:
    """Category and urgency of the archive's tickets, a partition per month; a backfill of all months is one job."""
    month = str(context.partition_key)[:7]
    yield from questions(archived_tickets[archived_tickets["created_at"].astype(str).str.startswith(month)])


@dg.asset(
    ins={"ticket_labels": tolerates(timedelta(hours=50), min_coverage=0.99)},
    automation_condition=when_data_changes(),
    group_name="classification",
    owners=["team:support"],
    tags={"domain": "support"},
    kinds={"pandas"},
    code_version="1",
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


@dg.asset(
    ins={"ticket_labels": tolerates(timedelta(hours=50), min_coverage=0.99)},
    automation_condition=when_data_changes(),
    group_name="classification",
    owners=["team:support"],
    tags={"domain": "support"},
    kinds={"matplotlib"},
    code_version="1",
)
def label_quality(ticket_labels: pd.DataFrame, support_tickets: pd.DataFrame) -> dg.MaterializeResult[None]:
    """How far the labels agree with those that people gave: the accuracy, and what is taken for what, as a picture."""
    both = labelled_by_both(ticket_labels, support_tickets)
    pairs = {name: (both[f"human_{name}"], both[name]) for name in ("category", "urgency")}
    orders = {name: get_args(TicketLabel.model_fields[name].annotation) for name in pairs}
    return dg.MaterializeResult(
        metadata={
            "labelled_by_people": len(both),
            **agreement(ticket_labels, support_tickets),
            **({"confusion": confusion_picture(pairs, orders)} if len(both) else {}),
        }
    )


def labelled_by_both(labels: pd.DataFrame, tickets: pd.DataFrame) -> pd.DataFrame:
    """The tickets that have the label of a person beside that of the model."""
    return labels.merge(tickets, left_on="key", right_on="ticket_id").dropna(subset=["human_category", "human_urgency"])


def agreement(labels: pd.DataFrame, tickets: pd.DataFrame) -> dict[str, float]:
    """The share of tickets where the model and a person said the same, 0 to 1; nothing where no person did."""
    both = labelled_by_both(labels, tickets)
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
