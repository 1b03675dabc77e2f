"""What the report says of jobs in each condition, what it counts as needing somebody, and what it draws or says."""

import re
import subprocess
import sys
from base64 import b64decode
from datetime import timedelta
from importlib.abc import MetaPathFinder
from io import BytesIO

import pytest
from PIL import Image

from offpeak import operations_report
from offpeak.errors import SurgeHeld
from offpeak.ledger import tables
from offpeak.ledger.conditions import COLLECTED_WITHIN, Condition
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import JobState
from offpeak.reports import operations

from ...conftest import ROOT
from .conftest import Office

LARGEST_PICTURE = 60_000
"""Bytes."""

DEAD = "elsewhere#1@1"
"""A claim of a process of another host, which is honoured for a quarter of an hour."""


def rows(table: str) -> list[list[str]]:
    """The cells of a Markdown table, without its head."""
    lines = [line for line in table.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def condition(how: str) -> str:
    """The first words of a row's second cell, which are bold."""
    return how.split("**")[1]


def picture(text: str) -> Image.Image:
    """The picture in Markdown that holds one. Fails for one that is too large for an event log."""
    match = re.match(r"!\[[\w\s:,']{20,}\]\(data:image/png;base64,([^)]+)\)", text)
    assert match, text[:200]
    data = b64decode(match[1], validate=True)
    assert len(data) < LARGEST_PICTURE
    return Image.open(BytesIO(data))


def nobody_owns(ledger: Ledger, job_id: int) -> None:
    with ledger.database.write() as connection:
        connection.execute(tables.job.update().where(tables.job.c.id == job_id).values(owner=DEAD))


def counted(office: Office) -> dict[str, int]:
    return {name: count for name, count in operations_report(office.ledger).counts.items() if count}


def test_an_empty_ledger_is_told_in_words_and_draws_nothing(ledger: Ledger) -> None:
    report = operations_report(ledger)
    assert report.jobs.startswith("No job was open at 20")
    assert report.timings == "No job has had anything to buy yet."
    assert re.fullmatch(r"Since 20.{17} UTC no request was on its way for \d+ s or longer\.", report.queue_depth)
    assert report.age_of_results == "No batch asset has results yet."
    assert report.age_over_time == "No batch asset has results yet."
    assert report.age_hours == {}
    assert report.problems == []
    assert set(report.counts) == {"open_jobs", *(condition.value for condition in Condition)}
    assert set(report.counts.values()) == {0}


def test_every_condition_has_words_and_a_place_in_the_order() -> None:
    assert set(operations.LABELS) == set(Condition)


def test_a_job_within_its_deadline_is_shown_with_its_figures_and_is_no_problem(office: Office) -> None:
    job = office.leave("labels", 3)
    report = operations_report(office.ledger)
    ((name, how, figures),) = rows(report.jobs)
    assert (name, how) == (f"{job} `labels`", "**running**.")
    assert re.fullmatch(r"0 of 3 requests; out for \d+ s; deadline \d\d \w{3} \d\d:\d\d", figures)
    assert "**1 open job**" in report.jobs
    assert report.problems == []
    assert counted(office) == {"open_jobs": 1, "running": 1}


def test_a_job_that_runs_long_says_so_and_is_no_problem(office: Office) -> None:
    office.buy("labels")
    office.leave("labels")
    office.clock.ahead = timedelta(minutes=50)
    report = operations_report(office.ledger)
    ((_, how, figures),) = rows(report.jobs)
    assert how.startswith("**running long, within its deadline**: ")
    assert how.endswith(". Wait.")
    assert "; out for 50 min; usually " in figures
    assert report.problems == []
    assert counted(office) == {"open_jobs": 1, "running_long": 1}


def test_a_job_without_progress_is_stuck_once_the_queue_has_grown_behind_it(office: Office) -> None:
    first = office.leave("labels", 2)
    office.clock.ahead = timedelta(hours=5)
    office.leave("summaries", 4)
    office.clock.ahead = timedelta(hours=7)
    report = operations_report(office.ledger)
    ((name, stuck, _), (_, running, _)) = rows(report.jobs)
    assert name == f"{first} `labels`"
    assert stuck.startswith("**stuck**: ")
    assert "See the provider's status page." in stuck
    assert running == "**running**."
    (problem,) = report.problems
    assert problem.startswith(f"Job {first} of labels is stuck: ")
    assert counted(office) == {"open_jobs": 2, "stuck": 1, "running": 1}


def test_a_job_past_its_deadline_is_late(office: Office) -> None:
    office.leave("labels", deadline=timedelta(hours=1))
    office.clock.ahead = timedelta(hours=3)
    report = operations_report(office.ledger)
    ((_, how, _),) = rows(report.jobs)
    assert how.startswith("**late**: 2 h past its deadline")
    (problem,) = report.problems
    assert "is late: 2 h past its deadline" in problem


def test_a_job_that_nobody_carries_on_is_unattended_and_comes_first(office: Office) -> None:
    left = office.leave("labels", parked=False)
    office.leave("summaries")
    nobody_owns(office.ledger, left)
    office.clock.ahead = timedelta(hours=1)
    report = operations_report(office.ledger)
    assert [condition(how) for _, how, _ in rows(report.jobs)] == ["unattended", "running"]
    (problem,) = report.problems
    assert problem.startswith(f"Job {left} of labels is unattended: ")
    assert "materialise the asset again" in problem


def test_a_landed_job_is_a_problem_once_nobody_has_collected_it_for_long(office: Office) -> None:
    office.end(office.leave("labels"))
    assert counted(office) == {"open_jobs": 1, "landed": 1}
    assert operations_report(office.ledger).problems == []
    row = {"T": "A text"}
    office.buy("summaries", rows=row)
    with pytest.raises(SurgeHeld):
        office.buy("summaries", rows=row, system="Say something else.")
    office.clock.ahead = COLLECTED_WITHIN + timedelta(minutes=1)
    report = operations_report(office.ledger)
    (problem,) = report.problems
    assert "is landed, not collected: " in problem
    assert "11 min" in problem
    assert [condition(how) for _, how, _ in rows(report.jobs)] == ["landed, not collected", "held"]


def test_a_landed_job_whose_run_waits_for_another_one_is_no_problem(office: Office) -> None:
    landed, out = office.leave("labels", parked=False), office.leave("summaries", parked=False)
    office.park(landed, out)
    office.end(landed)
    office.clock.ahead = timedelta(hours=1)
    report = operations_report(office.ledger)
    assert {name: condition(how) for name, how, _ in rows(report.jobs)} == {
        f"{landed} `labels`": "landed, not collected",
        f"{out} `summaries`": "running",
    }
    assert report.problems == []
    office.end(out)
    office.clock.ahead = timedelta(hours=2)
    assert len(operations_report(office.ledger).problems) == 2


def test_a_held_job_says_how_it_is_approved(office: Office) -> None:
    row = {"a key | with a stroke": "My invoice is wrong."}
    office.buy("labels", rows=row)
    with pytest.raises(SurgeHeld):
        office.buy("labels", rows=row, system="Say something else.")
    report = operations_report(office.ledger)
    ((name, how, _),) = rows(report.jobs)
    assert condition(how) == "held"
    assert "a key \\| with a stroke" in how
    assert how.endswith(f"`offpeak jobs approve {name.split()[0]}`.")


def test_many_jobs_are_counted_and_the_table_ends_with_those_that_need_nobody(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "JOBS_LISTED", 2)
    office.leave("summaries_1")
    late = office.leave("labels", deadline=timedelta(minutes=1))
    office.leave("summaries_2")
    office.leave("summaries_3")
    office.clock.ahead = timedelta(minutes=5)
    report = operations_report(office.ledger)
    first, _ = rows(report.jobs)
    assert first[0] == f"{late} `labels`"
    assert report.jobs.endswith("\n\n2 more: `offpeak jobs --open`.")
    assert report.counts["open_jobs"] == 4


def test_the_pictures_are_small_and_have_words(office: Office) -> None:
    office.buy("labels", 2)
    office.leave("summaries")
    office.clock.ahead = timedelta(minutes=20)
    report = operations_report(office.ledger)
    for text in (report.timings, report.queue_depth, report.age_of_results, report.age_over_time):
        assert picture(text).width == 900


def test_a_ledger_whose_jobs_had_nothing_to_buy_draws_no_timings(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.buy("labels", 2)
    office.buy("labels", 2)
    monkeypatch.setattr(operations, "JOBS_SEARCHED", 1)
    assert operations_report(office.ledger).timings == "None of the last jobs had anything to buy."


def test_a_first_purchase_on_its_way_has_no_age_yet(office: Office) -> None:
    office.leave("labels")
    assert operations_report(office.ledger).age_of_results == "No batch asset has results yet."


def test_what_has_no_answer_yet_is_named_beside_the_ages_of_the_rest(office: Office) -> None:
    office.buy("labels")
    office.leave("summaries")
    text = operations_report(office.ledger).age_of_results
    picture(text)
    assert text.endswith(")\n\nWithout any answer yet: `summaries`.")


def test_of_many_assets_those_nearest_to_the_end_of_their_promise_are_shown(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "PARTITIONS_SHOWN", 1)
    office.buy("labels")
    office.buy("summaries")
    text = operations_report(office.ledger).age_of_results
    picture(text)
    assert text.endswith(")\n\nNot shown: 1 asset, none of them nearer to the end of its promise.")


def test_the_ages_over_time_are_of_those_nearest_to_the_end_of_their_promise_and_the_rest_is_named(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "HISTORIES_SHOWN", 1)
    an_hour_ago = office.clock.now() - timedelta(hours=1)
    office.buy("labels", as_of=an_hour_ago, valid_for=timedelta(hours=20))
    office.buy("summaries", as_of=an_hour_ago, valid_for=timedelta(hours=13))
    text = operations_report(office.ledger).age_over_time
    picture(text)
    assert text.endswith(")\n\nNot shown, as none of them is nearer to the end of its promise: `labels`.")


def test_the_age_of_each_assets_oldest_row_is_a_number_in_hours(office: Office) -> None:
    now = office.clock.now()
    office.buy("labels", as_of=now - timedelta(hours=3))
    days = {key: {f"T{key}": f"Ticket of {key}"} for key in ("mon", "tue")}
    for hours, key in ((30, "mon"), (5, "tue")):
        office.buy("summaries", partitions={key: days[key]}, as_of=now - timedelta(hours=hours))
    office.leave("digests")
    office.clock.ahead = timedelta(hours=1)
    found = operations_report(office.ledger).age_hours
    assert {asset: round(hours) for asset, hours in found.items()} == {"labels": 4, "summaries": 6}


def test_partitions_that_are_not_drawn_are_counted_in_words(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "PARTITIONS_SHOWN", 2)
    office.buy("labels", partitions={f"2026-11-{day}": {f"T{day}": f"Ticket of day {day}"} for day in (17, 18, 19)})
    text = operations_report(office.ledger).age_of_results
    picture(text)
    assert text.endswith(
        "`labels`: 2 of 3 partitions are shown, those planned last; "
        "0 of all were planned longer ago than the contract promises."
    )


class NotInstalled(MetaPathFinder):
    """What an interpreter meets that has not got a package."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {self.package!r}", name=self.package)


@pytest.fixture
def no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]
    for name in (*loaded, "offpeak.reports.plots"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr("offpeak.reports.plots", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NotInstalled("matplotlib"), *sys.meta_path])


def test_without_the_extra_the_pictures_are_words_and_all_else_is_there(office: Office, no_matplotlib: None) -> None:
    office.leave("labels")
    report = operations_report(office.ledger)
    assert report.timings == ("The picture needs matplotlib, which is not installed: `pip install 'offpeak[reports]'`.")
    assert rows(report.jobs)


def test_a_project_that_loads_imports_no_plotting_library() -> None:
    """Each run of each asset loads the definitions, and that would cost it a second."""
    code = "import sys, definitions; print(*{name.partition('.')[0] for name in sys.modules} & {'matplotlib', 'PIL'})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_job_that_ended_is_not_open(office: Office) -> None:
    office.buy("labels")
    assert JobState.COMPLETED.value not in operations_report(office.ledger).jobs
    assert operations_report(office.ledger).counts["open_jobs"] == 0
