"""The enrichment family over its sample data, bought from the local provider."""

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ai_assets import sources
from ai_assets.enrichment import SupplierRecord, image_alt_text, log_events, record_fields
from resources import sample_data
from resources.sources import SourceTables

FAMILY = ("record_fields", "image_alt_text", "log_events")
NOTES, PICTURES, LINES, TEXTS = 24, 6, 114, 30


@pytest.fixture
def enrichment(project: Any, tmp_path: Path) -> Any:
    """The family, over a copy of its tables that a test may change."""
    for table in ("supplier_notes", "pictures", "log_lines"):
        shutil.copy(sample_data.FOLDER / f"{table}.csv", tmp_path)
    tables = SourceTables(url=f"folder:{tmp_path}")
    read = [sources.supplier_notes, sources.pictures, sources.log_lines]
    return project(*read, record_fields, image_alt_text, log_events, resources={"source_tables": tables})


def rows(enrichment: Any, asset: str) -> pd.DataFrame:
    frame: pd.DataFrame = enrichment.defs.load_asset_value(asset, instance=enrichment.instance)
    return frame.set_index("key")


def delivered(provider: Any) -> tuple[int, int]:
    """Answers that Anthropic and OpenAI ever gave, by their own count."""
    tally = provider.get("/local/tally")
    return tally["anthropic"]["answers_delivered"], tally["openai"]["answers_delivered"]


def test_records_are_typed_nested_and_empty_where_the_note_is_silent(enrichment: Any) -> None:
    enrichment.run("record_fields")
    found = rows(enrichment, "record_fields")
    assert len(found) == NOTES
    first = found.loc["N-001"]
    assert first["company"] == "Kesterholt Clay BV"
    assert first["contact"] == {
        "name": "Marijke Douwes",
        "email": "marijke@kesterholt.example",
        "phone": "+31 30 555 0142",
    }
    assert (first["lead_time_days"], first["payment_days"]) == (10, 30)
    assert first["minimum_order"] == {"amount": 250, "currency": "EUR"}
    assert date.fromisoformat(found.loc["N-005", "valid_until"]) == date(2026, 12, 15)
    silent = found.loc["N-023", ["company", "contact", "lead_time_days", "payment_days", "minimum_order"]]
    assert silent.isna().all()
    assert found["company"].notna().sum() == NOTES - 2
    fields = list(SupplierRecord.model_fields)
    for record in found[fields].astype(object).where(found[fields].notna(), None).to_dict("records"):
        SupplierRecord.model_validate(record)


def test_every_picture_has_words_for_what_it_shows(enrichment: Any) -> None:
    enrichment.run("image_alt_text")
    found = rows(enrichment, "image_alt_text")
    assert found.loc["P-01", "alt_text"].startswith("A wide picture, mostly white with blue and orange: Bookings per")
    assert found["kind"].tolist() == ["chart", "chart", "screenshot", "drawing", "logo", "drawing"]
    assert found["alt_text"].str.len().max() <= 200


def test_a_log_line_that_is_repeated_is_bought_once_and_answered_everywhere(enrichment: Any, provider: Any) -> None:
    landed = enrichment.landed("log_events")["log_events", None].metadata
    assert (landed["rows"], landed["bought"]) == (LINES, TEXTS)
    assert delivered(provider) == (0, TEXTS)
    assert provider.get("/local/tally/requests?at_least=2")["requests"] == []
    lines = pd.read_csv(sample_data.FOLDER / "log_lines.csv").set_index("line_id")
    found = rows(enrichment, "log_events").join(lines)
    assert len(found) == LINES
    slow = found[found["text"] == "WARN nginx: GET /timetable 200 in 2140 ms, slow upstream"]
    assert len(slow) == 3
    assert set(zip(slow["level"], slow["component"], slow["duration_ms"], strict=True)) == {("warning", "nginx", 2140)}
    assert (found[found["text"].str.startswith("ERROR")]["level"] == "error").all()


def test_a_second_night_buys_what_changed_and_nothing_else(enrichment: Any, provider: Any, tmp_path: Path) -> None:
    enrichment.run(*FAMILY)
    assert delivered(provider) == (NOTES + PICTURES, TEXTS)
    again = enrichment.landed(*FAMILY)
    assert {each.asset: each.metadata["bought"] for each in again.values()} == dict.fromkeys(FAMILY, 0)
    with (tmp_path / "log_lines.csv").open("a") as table:
        table.write("L-0115,2026-11-21T00:00:00Z,web-1,[kiosk] heartbeat ok\n")
        table.write("L-0116,2026-11-21T00:00:00Z,web-1,ERROR nginx: worker 3 died\n")
    shutil.copy(sample_data.FOLDER / "pictures" / "logo.png", tmp_path / "moved.png")
    pictures = (tmp_path / "pictures.csv").read_text().replace("pictures/logo.png", str(tmp_path / "moved.png"))
    (tmp_path / "pictures.csv").write_text(pictures)
    changed = enrichment.landed(*FAMILY)
    assert {each.asset: each.metadata["bought"] for each in changed.values()} == {
        "record_fields": 0,
        "image_alt_text": 0,  # the same bytes in another place
        "log_events": 1,  # of the two new lines, one says something new
    }
    assert delivered(provider) == (NOTES + PICTURES, TEXTS + 1)
