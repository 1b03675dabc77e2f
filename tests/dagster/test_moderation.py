"""The moderation family over its sample data, bought from the local provider."""

from pathlib import Path
from typing import Any

import pytest

from ai_assets.moderation import moderation_flags, moderation_queue
from ai_assets.sources import submissions
from resources import sample_data
from resources.sources import SourceTables

FAMILY = ("moderation_flags", "moderation_queue")


@pytest.fixture
def moderation(project: Any, tmp_path: Path) -> Any:
    """The family, over a copy of its table that a test may change."""
    (tmp_path / "submissions.csv").write_text((sample_data.FOLDER / "submissions.csv").read_text())
    tables = SourceTables(url=f"folder:{tmp_path}")
    return project(submissions, moderation_flags, moderation_queue, resources={"source_tables": tables})


def test_the_queue_shows_flagged_posts_first_and_the_most_serious_of_them_first(moderation: Any) -> None:
    result = moderation.run(*FAMILY)
    queue = result.output_for_node("moderation_queue")
    assert len(queue) == 40
    flagged = queue["verdict"].eq("flagged").tolist()
    assert 8 <= sum(flagged) <= 14
    assert flagged == sorted(flagged, reverse=True)
    assert queue["danger"].tolist() == sorted(queue["danger"], reverse=True)
    assert queue["category"][0] in {"self-harm/intent", "harassment/threatening"}
    assert queue["submitted_at"][sum(flagged) :].is_monotonic_increasing


def test_the_ui_shows_the_queue_as_a_table_and_what_it_holds(moderation: Any) -> None:
    landed = moderation.landed(*FAMILY)["moderation_queue", None].metadata
    assert landed["flagged"] + landed["clear"] == 40
    assert landed["not screened"] == 0
    assert landed["queue"].count("\n") == 41


def test_a_second_night_buys_only_the_new_post(moderation: Any, provider: Any, tmp_path: Path) -> None:
    moderation.run(*FAMILY)
    again = moderation.landed(*FAMILY)
    assert again["moderation_flags", None].metadata["bought"] == 0
    assert provider.get("/local/tally")["openai"]["answers_delivered"] == 40
    with (tmp_path / "submissions.csv").open("a") as table:
        table.write("S-041,C-1,I will find you.,2026-11-20T17:00:00Z\n")
    late = moderation.run("moderation_queue").output_for_node("moderation_queue")
    assert late.set_index("submission_id")["verdict"]["S-041"] == "not screened"
    screened = moderation.run(*FAMILY).output_for_node("moderation_queue")
    assert screened.set_index("submission_id")["category"]["S-041"] == "harassment/threatening"
    assert provider.get("/local/tally")["openai"]["answers_delivered"] == 41
