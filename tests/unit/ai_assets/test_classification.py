"""The prompt of the ticket labels, and what the dashboard says of their quality."""

import dagster as dg
import pandas as pd

from ai_assets.classification import TAXONOMY, agreement, archive_labels, as_table, label_quality, ticket_labels
from offpeak import Chat, PlanContext


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


def test_a_month_of_the_archive_is_asked_about_as_tickets_of_today_are() -> None:
    archive = pd.DataFrame(
        {
            "ticket_id": ["A-1", "A-2", "A-3"],
            "created_at": ["2025-03-31T23:59:59Z", "2025-04-01T00:00:00Z", "2025-05-01T00:00:00Z"],
            "subject": [None, "Refund", None],
            "body": ["It crashes.", "I paid twice.", "It hangs."],
        },
        dtype=object,
    )
    april = archive_labels.plan(archive, context=PlanContext(partition_key="2025-04-01"))
    assert april == ticket_labels.plan(archive[1:2])
    assert [each.key for each in april] == ["A-2"]


def quality(labels: pd.DataFrame, tickets: pd.DataFrame) -> dict[str, object]:
    result = label_quality(labels, tickets)
    assert isinstance(result, dg.MaterializeResult)
    return dict(result.metadata or {})


def test_quality_is_accuracy_and_a_picture_of_what_is_taken_for_what() -> None:
    labels = pd.DataFrame({"key": ["a", "b"], "category": ["bug", "bug"], "urgency": ["low", "low"]})
    tickets = pd.DataFrame(
        {"ticket_id": ["a", "b"], "human_category": ["bug", "billing"], "human_urgency": ["low", "low"]}
    )
    shown = quality(labels, tickets)
    picture = shown.pop("confusion")
    assert shown == {"labelled_by_people": 2, "category_accuracy": 0.5, "urgency_accuracy": 1.0}
    assert isinstance(picture, dg.MarkdownMetadataValue)
    assert (picture.md_str or "").startswith("![confusion matrices](data:image/png;base64,iVBORw0KGgo")


def test_quality_without_a_label_of_a_person_is_no_picture() -> None:
    labels = pd.DataFrame({"key": ["a"], "category": ["bug"], "urgency": ["low"]})
    tickets = pd.DataFrame({"ticket_id": ["a"], "human_category": [None], "human_urgency": [None]})
    assert quality(labels, tickets) == {"labelled_by_people": 0}
