"""The sample data, and the commands that load and edit it."""

import csv
import sqlite3
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from typer.testing import CliRunner

from ai_assets.digests import DID
from offpeak.sources.database import SourceDatabase
from resources import sample_data
from resources.package_descriptions import package_descriptions
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


def test_there_are_120_short_documents_and_three_long_ones_with_headings() -> None:
    documents = rows("documents")

    assert [document["document_id"] for document in documents] == [f"D-{number:03d}" for number in range(1, 124)]
    assert all(80 <= len(document["body"].split()) <= 400 for document in documents[:120])
    assert all(document["body"].count("\n## ") >= 5 for document in documents[120:])
    assert all(900 <= len(document["body"].split()) <= 1_100 for document in documents[120:])
    assert all(document["topic"] for document in documents)


def test_events_are_of_34_users_who_are_not_all_there_every_week() -> None:
    events = rows("product_events")
    weeks: dict[date, set[str]] = {}
    for event in events:
        day = datetime.fromisoformat(event["occurred_at"]).date()
        weeks.setdefault(day - timedelta(days=day.weekday()), set()).add(event["user_id"])

    assert [event["event_id"] for event in events] == [f"E-{number:05d}" for number in range(1, len(events) + 1)]
    assert len(set().union(*weeks.values())) == 34
    assert len(weeks) == 8
    assert all(10 <= len(users) <= 30 for users in weeks.values())
    assert {event["kind"] for event in events} == set(DID)


def test_loaded_events_are_moved_by_whole_weeks_to_end_in_this_one(database: Path) -> None:
    run("load")
    written = pd.to_datetime([event["occurred_at"] for event in rows("product_events")])
    loaded = pd.to_datetime(SourceTables().frame("product_events").occurred_at)

    (moved,) = set(loaded - written)
    assert moved % timedelta(weeks=1) == timedelta(0)
    assert timedelta(0) <= datetime.now(UTC) - loaded.max() < timedelta(weeks=1)


def test_loading_adds_a_table_that_an_older_database_lacks_and_keeps_the_others(database: Path) -> None:
    run("load")
    run("edit", "ticket", "T-0042", "A new text.")
    with sqlite3.connect(database) as connection:
        connection.execute("DROP TABLE product_events")
    assert run("load")[0] == 0

    assert len(SourceTables().frame("product_events")) == len(rows("product_events"))
    assert body("T-0042") == "A new text."


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("support_tickets", "body"),
        ("documents", "body"),
        ("archived_tickets", "body"),
        ("submissions", "text"),
        ("supplier_notes", "text"),
        ("pictures", "caption"),
    ],
)
def test_no_text_is_there_twice_and_every_time_is_utc(table: str, text: str) -> None:
    texts = [row[text] for row in rows(table)]
    assert len(set(texts)) == len(texts)

    for row in rows(table):
        for name in row.keys() & {"created_at", "updated_at", "submitted_at"}:
            assert datetime.fromisoformat(row[name]).utcoffset() is not None


def test_the_archive_holds_every_month_of_a_year_with_labels_of_people() -> None:
    archive = rows("archived_tickets")
    months = Counter(ticket["created_at"][:7] for ticket in archive)

    assert sorted(months) == [*(f"2025-{month:02d}" for month in range(3, 13)), "2026-01", "2026-02"]
    assert set(months.values()) == {6}
    assert {ticket["human_category"] for ticket in archive} == MIX.keys()


def test_a_picture_is_there_for_every_row_and_small() -> None:
    files = [sample_data.FOLDER / picture["file"] for picture in rows("pictures")]
    assert sorted(files) == sorted((sample_data.FOLDER / "pictures").iterdir())
    assert all(file.read_bytes().startswith(b"\x89PNG") and file.stat().st_size < 5_000 for file in files)


def test_log_lines_repeat_themselves() -> None:
    texts = Counter(line["text"] for line in rows("log_lines"))
    assert (texts.total(), len(texts)) == (114, 30)


def test_loading_makes_the_tables_that_the_assets_read(database: Path) -> None:
    code, said = run("load")

    assert (code, "300 support_tickets, 123 documents" in said) == (0, True)
    assert len(SourceTables().frame("documents")) == 123
    tickets = SourceTables().frame("support_tickets")
    assert tickets.to_dict("records")[1]["subject"] is None
    assert list(tickets.columns) == list(rows("support_tickets")[0])


def test_public_texts_are_loaded_where_there_is_apt_cache(database: Path) -> None:
    said = run("load")[1]
    assert f"{len(package_descriptions())} package_descriptions" in said
    assert len(SourceTables().frame("package_descriptions")) == len(package_descriptions())


def test_without_apt_cache_python_packages_take_their_place_and_have_no_section(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    package_descriptions.cache_clear()
    code, said = run("load")
    package_descriptions.cache_clear()
    assert code == 0
    assert "there is no apt-cache here: they have no section" in said
    frame = SourceTables().frame("package_descriptions")
    assert {"dagster", "pandas"} <= set(frame["package"])
    assert frame["section"].isna().all()
    assert frame["description"].str.strip().ne("").all()


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


def test_loading_adds_a_table_that_is_not_there_yet_and_keeps_the_others(database: Path) -> None:
    run("load")
    run("edit", "ticket", "T-0042", "A new text.")
    with sqlite3.connect(database) as connection:
        connection.execute("DROP TABLE submissions")

    assert "40 submissions" in run("load")[1]
    assert body("T-0042") == "A new text."


def test_every_table_logs_its_changes_also_in_a_database_from_before_that(database: Path) -> None:
    run("load")
    watching = SourceTables().source()
    assert isinstance(watching, SourceDatabase)
    for table in sample_data.METADATA.tables:
        watching.unwatch(table)

    run("load")

    assert {each.how for each in watching.knowledge()} == {"log"}


def test_an_edit_is_the_one_changed_row(database: Path) -> None:
    run("load")
    tickets = dg.AssetKey("support_tickets")
    version, position = SourceTables().data_version(tickets), SourceTables().changed("support_tickets").position

    run("load")
    assert SourceTables().data_version(tickets, since=version) == version
    run("edit", "ticket", "T-0042", "A new text.")

    assert SourceTables().data_version(tickets, since=version) != version
    assert [row.ticket_id for row in SourceTables().changed("support_tickets", since=position)] == ["T-0042"]


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
