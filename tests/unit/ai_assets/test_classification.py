"""The prompt of the ticket labels, and what the dashboard says of their quality."""

import pandas as pd

from ai_assets.classification import TAXONOMY, agreement, as_table, ticket_labels
from offpeak import Chat


def test_a_ticket_is_asked_about_with_its_subject_and_body() -> None:
    tickets = pd.DataFrame({"ticket_id": ["T-1"], "subject": ["Refund"], "body": ["I paid twice."]})
    assert ticket_labels.plan(tickets) == [
        Chat(key="T-1", system=TAXONOMY, prompt="Refund\n\nI paid twice.", max_tokens=200)
    ]


def test_a_ticket_without_a_subject_is_asked_about_with_its_body_alone() -> None:
    tickets = pd.DataFrame(
        {"ticket_id": ["T-1", "T-2"], "subject": [None, ""], "body": ["It crashes.", "It hangs."]}, dtype=object
    )
    assert [each.prompt for each in ticket_labels.plan(tickets) if isinstance(each, Chat)] == [
        "It crashes.",
        "It hangs.",
    ]


def test_accuracy_counts_only_tickets_that_a_person_labelled() -> None:
    labels = pd.DataFrame({"key": ["a", "b", "c"], "category": ["bug", "bug", "bug"], "urgency": ["low", "low", "low"]})
    tickets = pd.DataFrame(
        {
            "ticket_id": ["a", "b", "c"],
            "human_category": ["bug", "billing", None],
            "human_urgency": ["low", "low", None],
        }
    )
    assert agreement(labels, tickets) == {"category_accuracy": 0.5, "urgency_accuracy": 1.0}
    assert agreement(labels, tickets[2:]) == {}


def test_counts_are_a_markdown_table() -> None:
    counts = pd.DataFrame({"category": ["bug"], "urgency": ["low"], "tickets": [3]})
    assert as_table(counts).splitlines()[-1] == "| bug | low | 3 |"
