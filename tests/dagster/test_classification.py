"""The classification family over its sample data, bought from the local provider."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest

from ai_assets import sources
from ai_assets.classification import archive_labels, label_quality, support_dashboard, ticket_labels
from resources import sample_data
from resources.sources import SourceTables

YEAR = ("2025-03-01", "2026-02-01")
TICKETS, ARCHIVED = 300, 72


@pytest.fixture
def classification(project: Any, tmp_path: Path) -> Any:
    """The family, over a copy of its tables that a test may change."""
    for table in ("support_tickets", "archived_tickets"):
        shutil.copy(sample_data.FOLDER / f"{table}.csv", tmp_path)
    tables = SourceTables(url=f"folder:{tmp_path}")
    assets = (ticket_labels, archive_labels, support_dashboard, label_quality)
    return project(sources.support_tickets, sources.archived_tickets, *assets, resources={"source_tables": tables})


def test_a_year_of_the_archive_is_one_job_and_one_batch(classification: Any, provider: Any) -> None:
    landed = classification.landed("archive_labels", partitions=YEAR)
    assert len(landed) == 12
    assert {each.metadata["rows"] for each in landed.values()} == {6}
    assert len({each.metadata["offpeak_job"] for each in landed.values()}) == 1
    assert provider.batches() == 1
    assert archive_labels.backfill_policy is not None
    assert archive_labels.backfill_policy.max_partitions_per_run is None, "a backfill is one run"
    frame = classification.defs.load_asset_value(
        "archive_labels", partition_key="2025-08-01", instance=classification.instance
    )
    assert frame["partition_key"].unique().tolist() == ["2025-08-01"]
    assert frame["key"].tolist() == [f"A-{number:03d}" for number in range(31, 37)]


def test_a_second_backfill_buys_only_the_ticket_that_was_changed(
    classification: Any, provider: Any, tmp_path: Path
) -> None:
    classification.run("archive_labels", partitions=YEAR)
    classification.run("archive_labels", partitions=YEAR)
    assert provider.get("/local/tally")["anthropic"]["answers_delivered"] == ARCHIVED
    table = tmp_path / "archived_tickets.csv"
    table.write_text(table.read_text().replace("the search finds nothing", "The search finds everything"))
    landed = classification.landed("archive_labels", partitions=YEAR)
    assert sum(each.metadata["bought"] for each in landed.values()) == 1
    assert provider.get("/local/tally")["anthropic"]["answers_delivered"] == ARCHIVED + 1


def test_a_dashboard_has_another_data_version_when_a_label_is_another_and_not_before(
    classification: Any, tmp_path: Path
) -> None:
    def version() -> Any:
        return classification.landed("ticket_labels", "support_dashboard")["support_dashboard", None].data_version

    first = version()
    assert first is not None
    assert version() == first, "neither the code nor a label changed"
    table = tmp_path / "support_tickets.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines).replace(body_of(lines), "Please cancel my plan at once and pay the money back."))
    assert version() != first


def body_of(lines: list[str]) -> str:
    """What the first ticket says."""
    return next(csv.DictReader(lines))["body"]


def test_quality_agrees_with_the_dashboard_and_has_a_picture(classification: Any) -> None:
    landed = classification.landed("ticket_labels", "support_dashboard", "label_quality")
    shown = landed["label_quality", None].metadata
    dashboard = landed["support_dashboard", None].metadata
    assert shown["labelled_by_people"] == TICKETS
    for name in ("category_accuracy", "urgency_accuracy"):
        assert shown[name] == dashboard[name] > 0.6
    assert "(data:image/png;base64," in shown["confusion"]
