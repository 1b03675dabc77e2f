"""What is asked of notes, pictures and log lines, and which answers do not pass."""

from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from ai_assets.enrichment import (
    DESCRIBE,
    NORMALISE,
    READ_A_NOTE,
    SupplierRecord,
    image_alt_text,
    log_events,
    record_fields,
)
from offpeak import Chat, Image
from resources.sample_data import FOLDER

LINDNER = {
    "company": "Ofenbau Lindner GmbH",
    "goods": "services",
    "contact": {"name": "Jonas Lindner", "email": None, "phone": None},
    "lead_time_days": 5,
    "payment_days": 30,
    "minimum_order": None,
    "valid_until": "2027-03-01",
}


def test_a_note_is_asked_about_as_it_was_jotted_down() -> None:
    notes = pd.DataFrame({"note_id": ["N-1"], "text": ["Lindner comes on Monday."]})
    assert record_fields.plan(notes) == [
        Chat(key="N-1", system=READ_A_NOTE, prompt="Lindner comes on Monday.", max_tokens=500)
    ]


def test_a_record_may_be_empty_but_for_the_goods() -> None:
    silent = dict.fromkeys(LINDNER, None) | {"goods": "other"}
    assert SupplierRecord.model_validate(silent).contact is None
    assert SupplierRecord.model_validate(LINDNER).valid_until == date(2027, 3, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"contact": {"name": None, "email": "call him", "phone": None}},
        {"payment_days": 400},
        {"lead_time_days": -1},
        {"goods": "kilns"},
        {"minimum_order": {"amount": 250, "currency": "euro"}},
    ],
)
def test_a_record_that_cannot_be_right_is_no_answer(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SupplierRecord.model_validate(LINDNER | wrong)


def test_a_picture_is_asked_about_by_its_bytes_with_its_caption() -> None:
    pictures = pd.DataFrame({"picture_id": ["P-1"], "file": ["pictures/logo.png"], "caption": ["Our logo."]})
    image = Image(data=(FOLDER / "pictures" / "logo.png").read_bytes())
    assert image_alt_text.plan(pictures) == [
        Chat(key="P-1", system=DESCRIBE, prompt="Our logo.", images=[image], max_tokens=200)
    ]


def test_a_picture_may_lie_anywhere(tmp_path: Path) -> None:
    (tmp_path / "other.png").write_bytes(b"other bytes")
    pictures = pd.DataFrame({"picture_id": ["P-1"], "file": [str(tmp_path / "other.png")], "caption": ["Other."]})
    (request,) = image_alt_text.plan(pictures)
    assert isinstance(request, Chat)
    assert request.images[0].data == b"other bytes"


def test_neither_time_nor_host_of_a_log_line_is_in_the_question() -> None:
    lines = pd.DataFrame(
        {
            "line_id": ["L-1", "L-2"],
            "logged_at": ["2026-11-20T00:11:44Z", "2026-11-20T03:00:00Z"],
            "host": ["web-1", "web-2"],
            "text": ["INFO ok", "INFO ok\n"],
        }
    )
    assert log_events.plan(lines) == [
        Chat(key=key, system=NORMALISE, prompt="INFO ok", effort="low") for key in ("L-1", "L-2")
    ]
