"""The digests and summaries of the project, landed through Dagster from tables that the test writes."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ai_assets.digests import digest_outbox, weekly_digests
from ai_assets.sources import documents, product_events
from ai_assets.summaries import document_section_summaries, document_summaries
from offpeak.errors import PlanError, StaleInput

from .conftest import age
from .source_tables import bought, reading, write_table

WEEK = "2026-11-09"
DID = {"U-1": "pass_sold", "U-2": "refund_made", "U-3": "export_made", "U-4": "error_shown", "U-5": "message_sent"}
EVENTS = [
    {"user_id": user, "occurred_at": f"{WEEK}T08:00:00Z", "kind": kind, "detail": "something"}
    for user, kind in DID.items()
]
BEFORE = {"user_id": "U-6", "occurred_at": "2026-11-02T09:00:00Z", "kind": "pass_sold", "detail": "something"}
HALLS = "".join(f"\n\n## Hall {number}\n\nIn hall {number} the lamps are lit at six." for number in range(1, 7))
PARAGRAPH = "The water is measured at five in the morning, and the figure is written into a book of paper. " * 25
KEYS = [
    {"document_id": f"D-1{n}", "title": "Keys", "body": f"Key {n} hangs at the desk of hall {n}."} for n in range(6)
]
BATHS = {"document_id": "D-2", "title": "Baths", "body": f"They open at six.\n\n{PARAGRAPH}\n\n{PARAGRAPH}{HALLS}"}


@pytest.fixture
def weekly(project: Any, tmp_path: Path) -> Any:
    write_table(tmp_path, "product_events", [*EVENTS, BEFORE])
    return project(product_events, weekly_digests, digest_outbox, resources=reading(tmp_path))


@pytest.fixture
def summed_up(project: Any, tmp_path: Path) -> Any:
    write_table(tmp_path, "documents", [*KEYS, BATHS])
    return project(documents, document_section_summaries, document_summaries, resources=reading(tmp_path))


def test_a_mail_is_written_to_each_user_with_activity_in_the_week(weekly: Any) -> None:
    result = weekly.run("weekly_digests", "digest_outbox", partition=WEEK)
    mails = result.output_for_node("digest_outbox").set_index("user_id")
    assert sorted(mails.index) == sorted(DID)
    assert "You sold a something." in mails.text["U-1"]
    assert "Next week: Try the waiting list" in mails.text["U-2"]
    (landed,) = result.asset_materializations_for_node("digest_outbox")
    assert landed.metadata["mails"].value == len(DID)
    assert landed.metadata["first_mail"].value.startswith("**To U-1: ")


def test_a_week_again_buys_nothing_and_a_late_event_buys_the_digest_of_its_user(weekly: Any, tmp_path: Path) -> None:
    assert bought(weekly, "weekly_digests", partition=WEEK) == {"weekly_digests": len(DID)}
    assert bought(weekly, "weekly_digests", partition=WEEK) == {"weekly_digests": 0}
    write_table(tmp_path, "product_events", [*EVENTS, BEFORE, {**EVENTS[2], "occurred_at": f"{WEEK}T23:00:00Z"}])
    assert bought(weekly, "weekly_digests", partition=WEEK) == {"weekly_digests": 1}


def test_a_week_in_which_nobody_did_anything_is_refused_and_costs_nothing(weekly: Any, provider: Any) -> None:
    with pytest.raises(PlanError, match="weekly_digests: the plan is empty"):
        weekly.run("weekly_digests", partition="2026-10-26")
    assert provider.batches() == 0


def test_digests_of_the_week_before_make_no_mails_any_more(weekly: Any, resources: Any) -> None:
    weekly.run("weekly_digests", partition=WEEK)
    age(resources, "weekly_digests", timedelta(hours=27), partition=WEEK)
    with pytest.raises(StaleInput, match="digest_outbox tolerates rows of weekly_digests up to 1 d 2 h old"):
        weekly.run("digest_outbox", partition=WEEK)


def test_a_long_document_is_summed_up_in_two_steps_of_one_run(summed_up: Any, provider: Any) -> None:
    both = "document_section_summaries", "document_summaries"
    assert bought(summed_up, *both) == {"document_section_summaries": 8, "document_summaries": 7}
    assert provider.batches() == 2
    frame = summed_up.defs.load_asset_value("document_summaries", instance=summed_up.instance).set_index("key")
    assert "the lamps are lit at six" in frame.summary["D-2"]
    assert all(len(points) <= 3 for points in frame.key_points)
    assert bought(summed_up, *both) == {"document_section_summaries": 0, "document_summaries": 0}


def test_an_edited_section_is_bought_again_with_its_documents_summary_alone(summed_up: Any, tmp_path: Path) -> None:
    both = "document_section_summaries", "document_summaries"
    summed_up.run(*both)
    write_table(
        tmp_path, "documents", [*KEYS, {**BATHS, "body": BATHS["body"].replace("hall 3 the lamps", "hall 3 no lamps")}]
    )
    assert bought(summed_up, *both) == {"document_section_summaries": 1, "document_summaries": 1}
