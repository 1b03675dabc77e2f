"""`workloads.yaml`: what it says, and what it is refused for."""

from datetime import time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from offpeak.audit.job import Lane
from offpeak.audit.workloads import cadence, listed_jobs
from offpeak.errors import ConfigurationError
from offpeak.lanes.workload import Waiting

GOOD = """\
workloads:
  - name: digest
    who_waits: nobody
    how_often: 0 7 * * 1-5
    zone: Europe/Berlin
    deadline: 09:00 Europe/Berlin
    model: openai/gpt-5.4-mini
    calls: 60
    input_tokens: 1200
    output_tokens: 300
    parallel: true

  - name: backfill
    who_waits: walked_away
    how_often: once
    deadline: 12h
    lane: batch
    note: Only this year.
"""


def listed(folder: Path, text: str) -> Path:
    path = folder / "workloads.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_entry_says_who_waits_how_often_and_what_it_takes(tmp_path: Path) -> None:
    digest, backfill = listed_jobs(listed(tmp_path, GOOD))
    assert (digest.name, digest.where) == ("digest", ("workloads.yaml:2",))
    assert digest.waiting is Waiting.NOBODY
    assert digest.deadline == time(9, tzinfo=ZoneInfo("Europe/Berlin"))
    assert digest.cadence is not None
    assert digest.cadence.runs_a_month == pytest.approx(30 * 5 / 7)
    tokens = digest.month["openai/gpt-5.4-mini"]
    assert (tokens.calls, tokens.input, tokens.output) == (1286, 1286 * 1200, 1286 * 300)
    assert digest.lane is Lane.REALTIME
    assert not digest.once

    assert backfill.where == ("workloads.yaml:13",)
    assert (backfill.once, backfill.deadline, backfill.lane) == (True, timedelta(hours=12), Lane.BATCH)
    assert backfill.why == ("Only this year.",)
    assert not backfill.month


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        ("daily", 30),
        ("hourly", 720),
        ("weekly", 30 / 7),
        ("monthly", 1),
        ("200 a day", 6_000),
        ("1,000 per week", 30_000 / 7),
    ],
)
def test_how_often_is_said_in_words(words: str, runs: float) -> None:
    found = cadence(words, "UTC")
    assert found is not None
    assert found.runs_a_month == pytest.approx(runs)
    assert found.cron is None


WRONG = {
    "no such waiting": ("who_waits: nobody", "who_waits: maybe", r"line 2, entry 1: who_waits: .*'nobody'.*'watching'"),
    "no time": ("how_often: 0 7 * * 1-5", "how_often: often", r"entry 1: how_often: 'often' says not how often"),
    "a wrong cron": (
        "how_often: 0 7 * * 1-5",
        "how_often: 0 99 * * *",
        r"'0 99 \* \* \*' in the zone .* is no schedule",
    ),
    "no zone": ("zone: Europe/Berlin", "zone: Europe/Atlantis", r"Atlantis"),
    "a deadline without a unit": ("deadline: 12h", "deadline: 12", r"line 13, entry 2: deadline: '12' is no deadline"),
    "who walked away for seconds": (
        "deadline: 12h",
        "deadline: 30s",
        r"whoever waits for less than a minute is watching",
    ),
    "a time without a zone": ("deadline: 09:00 Europe/Berlin", 'deadline: "09:00"', r"does not say in which zone"),
    "half of the tokens": ("    output_tokens: 300\n", "", r"give both input_tokens and output_tokens"),
    "tokens of nothing": ("    model: openai/gpt-5.4-mini\n", "", r"name the model that the tokens are of"),
    "a field that there is not": ("parallel: true", "paralel: true", r"paralel: Extra inputs are not permitted"),
    "the same name twice": ("name: backfill", "name: digest", r"two entries are named 'digest'"),
    "no YAML": ("workloads:", "workloads: [", r"is no YAML: "),
    "another list": ("workloads:", "jobs:", r"workloads: Field required"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_its_line_and_field(tmp_path: Path, name: str) -> None:
    was, now, said = WRONG[name]
    assert was in GOOD
    with pytest.raises(ConfigurationError, match=said):
        listed_jobs(listed(tmp_path, GOOD.replace(was, now)))


def test_an_empty_list_and_a_missing_one_say_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="An entry looks like this"):
        listed_jobs(listed(tmp_path, ""))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        listed_jobs(tmp_path / "missing.yaml")


def test_the_example_of_the_error_is_one_that_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        listed_jobs(listed(tmp_path, "workloads: []"))
    example = str(refused.value).partition("looks like this:\n")[2]
    (job,) = listed_jobs(listed(tmp_path, example))
    assert job.name == "morning_digest"
