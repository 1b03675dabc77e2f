"""The sample data, and the commands that load and edit it."""

import csv
import sqlite3
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from resources import sample_data
from resources.sources import SourceTables

MIX = {"billing": 90, "bug": 90, "how-to": 75, "other": 45}


def rows(table: str) -> list[dict[str, str]]:
    with (sample_data.FOLDER / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for the sample database, read by `SourceTables` too."""
    path = tmp_path / ".offpeak" / "source.db"
    monkeypatch.setattr(sample_data, "DATABASE", path)
    monkeypatch.delenv(sample_data.VARIABLE, raising=False)
    return path


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(sample_data.app, list(arguments))
    return done.exit_code, done.output


def test_there_are_300_tickets_with_an_id_of_their_own_and_a_text() -> None:
    tickets = rows("support_tickets")

    assert [ticket["ticket_id"] for ticket in tickets] == [f"T-{number:04d}" for number in range(1, 301)]
    assert all(ticket["body"].strip() for ticket in tickets)


def test_every_ticket_has_a_valid_human_label_in_about_the_promised_mix() -> None:
    tickets = rows("support_tickets")
    categories = Counter(ticket["human_category"] for ticket in tickets)

    assert {ticket["human_urgency"] for ticket in tickets} == {"low", "normal", "high"}
    assert categories.keys() == MIX.keys()
    for category, promised in MIX.items():
        assert abs(categories[category] - promised) <= 12


def test_there_are_120_documents_of_80_to_400_words() -> None:
    documents = rows("documents")

    assert [document["document_id"] for document in documents] == [f"D-{number:03d}" for number in range(1, 121)]
    assert all(80 <= len(document["body"].split()) <= 400 for document in documents)
    assert all(document["topic"] for document in documents)


@pytest.mark.parametrize("table", ["support_tickets", "documents"])
def test_no_text_is_there_twice_and_every_time_is_utc(table: str) -> None:
    texts = [row["body"] for row in rows(table)]
    assert len(set(texts)) == len(texts)

    for row in rows(table):
        for name in row.keys() & {"created_at", "updated_at"}:
            assert datetime.fromisoformat(row[name]).utcoffset() is not None


def test_loading_makes_the_tables_that_the_assets_read(database: Path) -> None:
    code, said = run("load")

    assert (code, "300 support_tickets, 120 documents" in said) == (0, True)
    assert len(SourceTables().frame("documents")) == 120
    tickets = SourceTables().frame("support_tickets")
    assert tickets.to_dict("records")[1]["subject"] is None
    assert list(tickets.columns) == list(rows("support_tickets")[0])


def test_loading_again_keeps_an_edit_and_reset_undoes_it(database: Path) -> None:
    run("load")
    original = body("T-0042")
    version = SourceTables().version("support_tickets")

    assert run("edit", "ticket", "T-0042", "A new text.")[0] == 0
    run("load")

    assert body("T-0042") == "A new text."
    assert SourceTables().version("support_tickets") != version
    assert run("reset")[0] == 0
    assert body("T-0042") == original


def test_loading_adds_a_table_that_is_missing_and_leaves_the_others(database: Path) -> None:
    run("load")
    run("edit", "ticket", "T-0042", "A new text.")
    with sqlite3.connect(database) as connection:
        connection.execute("DROP TABLE eval_cases")

    run("load")

    assert len(SourceTables().frame("eval_cases")) == len(rows("eval_cases"))
    assert body("T-0042") == "A new text."


def test_traces_of_production_carry_an_answer_and_the_grade_of_a_person() -> None:
    cases = rows("eval_cases")
    assert len({case["case_id"] for case in cases}) == len(cases) >= 30
    traced = [case for case in cases if case["sampled_from"] == "production"]
    assert len(traced) >= 20
    assert all(case["trace_id"] and case["traced_answer"] for case in traced)
    assert {case["human_grade"] for case in traced} == set("1245")
    written = [case for case in cases if case["sampled_from"] == "written"]
    assert len(written) == len(cases) - len(traced)
    assert not any(case["trace_id"] or case["traced_answer"] or case["human_grade"] for case in written)
    assert all(case["question"] and case["context"] and case["reference"] for case in cases)


def test_follow_ups_were_answered_in_real_time_and_one_user_asked_more_than_once() -> None:
    requests = rows("follow_up_requests")
    assert all(request["question"] and request["answered_in_real_time"] for request in requests)
    assert len({request["user_id"] for request in requests}) < len(requests)


def test_an_edit_changes_one_row_and_says_which(database: Path) -> None:
    run("load")
    before = SourceTables().frame("documents")

    code, said = run("edit", "document", "D-007", "Shorter now.")

    after = SourceTables().frame("documents")
    changed = after[(before != after).any(axis="columns")]
    assert (code, "documents D-007" in said) == (0, True)
    assert changed.document_id.tolist() == ["D-007"]


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (("tickets", "T-0042", "text"), "a ticket or a document"),
        (("ticket", "T-9999", "text"), "T-0001 to T-0300"),
        (("ticket", "T-0042", "  "), "blank"),
    ],
)
def test_an_edit_that_cannot_be_made_changes_nothing_and_says_why(
    database: Path, arguments: tuple[str, ...], remedy: str
) -> None:
    run("load")
    version = SourceTables().version("support_tickets")

    code, said = run("edit", *arguments)

    assert (code, remedy in said) == (1, True)
    assert SourceTables().version("support_tickets") == version


def test_an_edit_before_loading_names_the_command_that_loads(database: Path) -> None:
    code, said = run("edit", "ticket", "T-0042", "text")

    assert (code, "resources.sample_data load" in said) == (1, True)


def test_an_edit_says_when_the_assets_read_from_elsewhere(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("load")
    monkeypatch.setenv(sample_data.VARIABLE, "folder:elsewhere")

    assert f"{sample_data.VARIABLE} is set" in run("edit", "ticket", "T-0042", "text")[1]


def test_reading_before_loading_names_the_command_that_loads(database: Path) -> None:
    with pytest.raises(Exception, match=r"resources\.sample_data load"):
        SourceTables().frame("support_tickets")


def test_the_environment_variable_says_where_the_tables_are(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "words.csv").write_text("word\nhello\n", "utf-8")
    monkeypatch.setenv(sample_data.VARIABLE, f"folder:{tmp_path}")

    assert SourceTables().frame("words").word.tolist() == ["hello"]


def body(ticket: str) -> str:
    frame = SourceTables().frame("support_tickets")
    return str(frame.set_index("ticket_id").body[ticket])
