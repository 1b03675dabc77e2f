"""Tables that are files in a folder."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from offpeak.errors import ConfigurationError, CouldNotRead
from resources.sources import SourceTables


def folder_source(folder: Path) -> SourceTables:
    return SourceTables(url=f"folder:{folder}")


def test_a_csv_file_is_read_as_the_text_it_is(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text('ticket_id,body,code\nT-1,N/A,007\n\nT-2,"two\nlines, one cell",\n', "utf-8")

    frame = folder_source(tmp_path).frame("tickets")

    assert frame.to_dict("records") == [
        {"ticket_id": "T-1", "body": "N/A", "code": "007"},
        {"ticket_id": "T-2", "body": "two\nlines, one cell", "code": ""},
    ]


def test_a_cell_longer_than_the_csv_modules_own_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text(f"ticket_id,body\nT-1,{'x' * 300_000}\n", "utf-8")

    assert len(folder_source(tmp_path).frame("tickets").body[0]) == 300_000


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text("ticket_id\nT-1\n", "utf-8-sig")

    assert list(folder_source(tmp_path).frame("tickets").columns) == ["ticket_id"]


def test_a_parquet_file_keeps_its_types_and_its_missing_values_are_none(tmp_path: Path) -> None:
    written = pd.DataFrame({"ticket_id": ["T-1", "T-2"], "subject": ["Hello", None], "seats": [1, 2]})
    written.to_parquet(tmp_path / "tickets.parquet")

    frame = folder_source(tmp_path).frame("tickets")

    assert frame.seats.tolist() == [1, 2]
    assert pd.api.types.is_integer_dtype(frame.seats)
    assert frame.subject.tolist() == ["Hello", None]


def test_a_sub_folder_of_markdown_and_text_is_a_table_with_a_row_per_file(tmp_path: Path) -> None:
    documents = tmp_path / "documents"
    (documents / "guide").mkdir(parents=True)
    (documents / "guide" / "start.md").write_text("Preface.\n\n## Getting *started* ##\n\nText.\n", "utf-8")
    (documents / "notes.txt").write_text("# not a heading in plain text\n", "utf-8")
    (documents / ".draft.md").write_text("hidden", "utf-8")
    (documents / "logo.png").write_bytes(b"\x89PNG")
    os.utime(documents / "notes.txt", (1_700_000_000, 1_700_000_000))

    frame = folder_source(tmp_path).frame("documents")

    assert frame.document_id.tolist() == ["guide/start.md", "notes.txt"]
    assert frame.title.tolist() == ["Getting *started*", "notes"]
    assert frame.body.tolist()[1] == "# not a heading in plain text\n"
    assert frame.updated_at[1] == datetime.fromtimestamp(1_700_000_000, UTC)


def test_the_id_column_is_named_after_the_tables_last_word(tmp_path: Path) -> None:
    (tmp_path / "support_tickets").mkdir()
    (tmp_path / "support_tickets" / "a.txt").write_text("It is broken.", "utf-8")

    assert folder_source(tmp_path).frame("support_tickets").ticket_id.tolist() == ["a.txt"]


def test_a_missing_table_names_the_asset_the_place_and_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("order_id\n", "utf-8")

    with pytest.raises(ConfigurationError) as refused:
        folder_source(tmp_path).rows("tickets")

    for part in ("tickets", f"folder:{tmp_path}", "tickets.csv", "orders.csv"):
        assert part in str(refused.value)


def test_an_empty_sub_folder_is_a_missing_table_and_not_a_table_without_rows(tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()

    with pytest.raises(ConfigurationError, match="documents"):
        folder_source(tmp_path).frame("documents")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere.*no such folder"):
        folder_source(tmp_path / "nowhere").frame("tickets")


def test_two_files_for_one_table_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text("ticket_id\n", "utf-8")
    pd.DataFrame({"ticket_id": ["T-1"]}).to_parquet(tmp_path / "tickets.parquet")

    with pytest.raises(ConfigurationError, match=r"tickets\.csv and tickets\.parquet"):
        folder_source(tmp_path).frame("tickets")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tickets.csv", b"", "without even a header"),
        ("tickets.csv", b"ticket_id,body\nT-1,a,b\n", "3 values on line 2"),
        ("tickets.csv", b'ticket_id,body\nT-1,"never closed\n', "unexpected end"),
        ("tickets.csv", b"ticket_id\n\xff\xfe\n", "utf-8"),
        ("tickets.parquet", b"no parquet at all", "tickets"),
        ("tickets/a.md", b"caf\xe9", "a.md is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_never_an_empty_table(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)

    with pytest.raises(CouldNotRead, match=said):
        folder_source(tmp_path).frame("tickets")


def test_a_changed_file_is_a_new_version(tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "a.md").write_text("one", "utf-8")
    source = folder_source(tmp_path)
    before = source.version("documents")

    assert source.version("documents") == before
    (tmp_path / "documents" / "b.md").write_text("two", "utf-8")
    assert source.version("documents") != before
