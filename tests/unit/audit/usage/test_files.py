"""Logs as files: lines, documents, tables, compressed or not, in any order, and with torn places."""

import csv
import gzip
import json
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from offpeak.audit.usage import tally
from offpeak.audit.usage.jobs import Pattern, UsageLog, usage_jobs
from offpeak.errors import ConfigurationError

from .writing import SECOND, at, lines

Rows = list[dict[str, Any]]


@pytest.fixture
def rows() -> Rows:
    """Ten days of a job of thirty calls."""
    starts = [at(day, 6) + number * 2 * SECOND for day in range(1, 11) for number in range(30)]
    return [
        {
            "request_id": f"call-{number}",
            "call_type": "acompletion",
            "startTime": start.isoformat(),
            "endTime": (start + timedelta(seconds=1)).isoformat(),
            "model": "gpt-5.4-mini",
            "custom_llm_provider": "openai",
            "prompt_tokens": 1_000 + number,
            "completion_tokens": 100,
            "request_tags": '["digest"]',
            "metadata": '{"user_api_key_alias": "backend"}',
        }
        for number, start in enumerate(starts)
    ]


@pytest.fixture
def as_lines(tmp_path: Path, rows: Rows) -> UsageLog:
    return usage_jobs([lines(tmp_path / "plain.jsonl", rows)])


def compressed(path: Path, rows: Rows) -> None:
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def as_csv(path: Path, rows: Rows, delimiter: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


WRITERS: dict[str, Callable[[Path, Rows], object]] = {
    "log.jsonl.gz": compressed,
    "array.json": lambda path, rows: path.write_text(json.dumps(rows)),
    "set_out.json": lambda path, rows: path.write_text(json.dumps(rows, indent=2)),
    "line_each.json": lambda path, rows: path.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + ",\n]\n"),
    "answer.json": lambda path, rows: path.write_text(json.dumps({"page": 1, "data": rows}, indent=1)),
    "answers.jsonl": lambda path, rows: path.write_text("".join(json.dumps({"data": [row]}) + "\n" for row in rows)),
    "table.csv": as_csv,
    "semicolons.csv": lambda path, rows: as_csv(path, rows, ";"),
    "table.parquet": lambda path, rows: pq.write_table(pa.Table.from_pylist(rows), path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_calls_are_the_same_jobs_in_any_kind_of_file(
    name: str, tmp_path: Path, rows: Rows, as_lines: UsageLog
) -> None:
    WRITERS[name](tmp_path / name, rows)
    assert usage_jobs([tmp_path / name]) == as_lines
    assert as_lines.jobs[0].cadence == "daily at 06:00 UTC"


def test_the_order_of_the_lines_does_not_matter(tmp_path: Path, rows: Rows, as_lines: UsageLog) -> None:
    shuffled = random.Random(1).sample(rows, len(rows))
    for ordered in (rows[::-1], shuffled):
        assert usage_jobs([lines(tmp_path / "other.jsonl", ordered)]) == as_lines


def test_what_does_not_fit_into_memory_is_added_up_on_disk(
    tmp_path: Path, rows: Rows, as_lines: UsageLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "KEPT_MINUTES", 3)
    shuffled = random.Random(1).sample(rows, len(rows))
    assert usage_jobs([lines(tmp_path / "other.jsonl", shuffled)]) == as_lines


def test_several_files_are_one_log(tmp_path: Path, rows: Rows, as_lines: UsageLog) -> None:
    as_csv(tmp_path / "second.csv", rows[100:])
    found = usage_jobs([lines(tmp_path / "first.jsonl", rows[:100]), tmp_path / "second.csv"])
    assert found == as_lines


def test_times_may_be_anything_that_a_table_holds(tmp_path: Path, rows: Rows, as_lines: UsageLog) -> None:
    table = pa.Table.from_pylist(rows)
    for name in ("startTime", "endTime"):
        moments = pa.array([at(1).fromisoformat(row[name]) for row in rows], pa.timestamp("us", "UTC"))
        table = table.set_column(table.schema.names.index(name), name, moments)
    pq.write_table(table, tmp_path / "typed.parquet")
    assert usage_jobs([tmp_path / "typed.parquet"]) == as_lines


def test_bad_lines_are_counted_and_the_first_is_told(tmp_path: Path, rows: Rows) -> None:
    path = lines(tmp_path / "spend.jsonl", rows)
    bad = [
        '{"torn',
        "[1, 2]",
        json.dumps(rows[0] | {"prompt_tokens": "many"}),
        json.dumps(rows[0] | {"startTime": "noon"}),
    ]
    path.write_text(path.read_text() + "\n" + "\n".join(bad) + "\n")
    found = usage_jobs([path])
    assert (found.calls, found.skipped) == (300, 4)
    assert found.first_skipped.startswith("line 302 of spend.jsonl: it is no JSON")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"prompt_tokens": "many"}, "its prompt_tokens is 'many', which is no number"),
        ({"completion_tokens": -1}, "its completion_tokens is -1, which is no number of tokens"),
        ({"startTime": "noon"}, "its startTime is 'noon', which is no time"),
        ({"startTime": None}, "it has no startTime"),
        ({"startTime": "1970-01-01T00:00:00Z"}, "its time is 1970-01-01 00:00:00+00:00, when there were no such calls"),
        ({"startTime": "9999-12-31T23:59:59Z"}, "its time is 9999-12-31 23:59:59+00:00, when there were no such calls"),
        ({"prompt_tokens": "inf"}, "its prompt_tokens is 'inf', which is no number"),
        ({"model": ""}, "it names no model"),
    ],
)
def test_a_bad_line_says_what_is_wrong_with_it(
    changed: dict[str, Any], reason: str, tmp_path: Path, rows: Rows
) -> None:
    found = usage_jobs([lines(tmp_path / "spend.jsonl", [rows[0], rows[1] | changed])])
    assert found.first_skipped.startswith(f"line 2 of spend.jsonl: {reason}")


def test_a_row_with_too_few_values_is_a_bad_line(tmp_path: Path, rows: Rows) -> None:
    as_csv(tmp_path / "spend.csv", rows[:2])
    with (tmp_path / "spend.csv").open("a") as file:
        file.write("a,b,c\n")
    found = usage_jobs([tmp_path / "spend.csv"])
    assert (found.calls, found.skipped) == (2, 1)
    assert found.first_skipped == "line 4 of spend.csv: it has 3 values where the header names 10"


def test_a_document_that_breaks_off_keeps_what_came_before(tmp_path: Path, rows: Rows) -> None:
    path = tmp_path / "torn.json"
    path.write_text(json.dumps(rows)[:-200])
    found = usage_jobs([path])
    assert (found.calls, found.skipped) == (299, 1)
    assert "the document breaks off here" in found.first_skipped


def test_a_compressed_file_that_breaks_off_keeps_what_came_before(tmp_path: Path, rows: Rows) -> None:
    compressed(tmp_path / "whole.gz", random.Random(1).sample(rows, 300) * 20)
    (tmp_path / "torn.jsonl.gz").write_bytes((tmp_path / "whole.gz").read_bytes()[:-500])
    found = usage_jobs([tmp_path / "torn.jsonl.gz"])
    assert found.calls > 5_000
    assert "the file breaks off" in found.first_skipped


def test_times_without_a_zone_are_taken_as_utc_and_that_is_said(tmp_path: Path, rows: Rows, as_lines: UsageLog) -> None:
    naive = [row | {name: row[name].replace("+00:00", "") for name in ("startTime", "endTime")} for row in rows]
    found = usage_jobs([lines(tmp_path / "naive.jsonl", naive)])
    assert found == replace(as_lines, notes=("600 times in the log name no time zone and were taken as UTC.",))


def test_a_job_belongs_to_the_zone_that_is_asked_for(tmp_path: Path, rows: Rows) -> None:
    found = usage_jobs([lines(tmp_path / "spend.jsonl", rows)], zone="Europe/Berlin")
    assert found.jobs[0].cadence == "daily at 08:00 Europe/Berlin"


def test_the_job_with_the_most_tokens_comes_first(tmp_path: Path, rows: Rows) -> None:
    large = rows[0] | {"prompt_tokens": 10**9, "request_tags": '["archive"]'}
    found = usage_jobs([lines(tmp_path / "spend.jsonl", [*rows, large])])
    assert [job.name for job in found.jobs] == ["archive", "digest"]
    assert found.jobs[0].pattern is Pattern.UNCLEAR


def test_days_are_those_of_the_log_and_one_at_least(tmp_path: Path, rows: Rows) -> None:
    last = rows[-1] | {"request_tags": '["other"]'}
    found = usage_jobs([lines(tmp_path / "spend.jsonl", [*rows[:30], last])])
    assert {round(job.days, 2) for job in found.jobs} == {9.0}
    assert usage_jobs([lines(tmp_path / "spend.jsonl", rows[:30])]).jobs[0].days == 1


# Files that are refused.


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(ConfigurationError) as raised:
        usage_jobs([path], **options)
    return str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "missing.jsonl")


def test_a_folder(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    assert refusal(tmp_path / "empty.jsonl").endswith(
        "is empty: there are no calls in it to find jobs in. Export the log anew."
    )


def test_a_header_without_rows(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("time,model,input_tokens,output_tokens\n")
    assert "holds no record that could be read" in refusal(tmp_path / "empty.csv")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "calls.db").write_bytes(b"SQLite format 3\0" + bytes(100))
    assert "neither text nor Parquet" in refusal(tmp_path / "calls.db")


def test_a_file_of_no_known_format(tmp_path: Path) -> None:
    path = lines(tmp_path / "web.jsonl", [{"at": "2026-10-05", "path": "/", "status": 200}])
    assert refusal(path) == (
        f"{path} is in no format that is known here (OpenTelemetry spans, LiteLLM spend log, Langfuse export, "
        "Helicone export), and as a plain log it lacks time and model and input and output: nothing was counted. It "
        "has the fields at, path, status. Say which of them those are, as in time=at."
    )


def test_a_log_without_any_call(tmp_path: Path, rows: Rows) -> None:
    path = lines(tmp_path / "spend.jsonl", [row | {"status": "failure"} for row in rows])
    assert "holds no call to a model" in refusal(path)


def test_a_log_without_a_line_that_can_be_read(tmp_path: Path, rows: Rows) -> None:
    path = lines(tmp_path / "spend.jsonl", [row | {"startTime": "noon"} for row in rows])
    assert refusal(path) == (
        f"None of the 300 lines of {path} could be read, so that nothing was counted. It was taken for: LiteLLM spend "
        "log. Line 1 of spend.jsonl: its startTime is 'noon', which is no time. Export it anew, or say which columns "
        "it has with a mapping such as time=COLUMN."
    )


def test_a_zone_that_is_none(tmp_path: Path, rows: Rows) -> None:
    path = lines(tmp_path / "spend.jsonl", rows)
    assert "'Berlin' is no time zone" in refusal(path, zone="Berlin")


def test_no_file_at_all() -> None:
    with pytest.raises(ConfigurationError, match="No file was named"):
        usage_jobs([])


def test_labels_that_are_ids(tmp_path: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "MOST_JOBS", 3)
    words = ["one", "two", "three", "four"]
    path = lines(tmp_path / "spend.jsonl", [rows[0] | {"request_tags": json.dumps([word])} for word in words])
    assert "more than 3 labels, such as 'one', 'two', 'three'" in refusal(path)


def test_parquet_without_its_reader(tmp_path: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS["table.parquet"](tmp_path / "table.parquet", rows)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "pip install pyarrow" in refusal(tmp_path / "table.parquet")
