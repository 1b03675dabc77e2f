"""One job of which a list, a log and code tell is one job."""

from datetime import timedelta

import pytest

from offpeak.audit.case import Case
from offpeak.audit.job import Source
from offpeak.audit.merging import merged, same
from offpeak.lanes.workload import Waiting

from .jobs import job, month


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("morning_digest", "send_morning_digest"),
        ("morning-digest", "MorningDigest"),
        ("Morning digest", "jobs.morning_digest_task"),
    ],
)
def test_names_with_the_same_words_are_one_job(name: str, other: str) -> None:
    assert same(name, other)


@pytest.mark.parametrize(("name", "other"), [("morning_digest", "evening_digest"), ("run", "main"), ("", "digest")])
def test_other_names_are_other_jobs(name: str, other: str) -> None:
    assert not same(name, other)


def test_people_say_who_waits_and_the_log_how_much() -> None:
    listed = job(name="digest", waiting=Waiting.WALKED_AWAY, deadline=timedelta(hours=30), month=month(1))
    seen = job(name="digest", sources=(Source.USAGE,), where=("calls.jsonl",), case=Case.SCHEDULE, month=month(900))
    found = job(
        name="send_digest", sources=(Source.CODE,), where=("app.py:3",), case=Case.LOOP, month=month(7), assumed="guess"
    )
    (one,) = merged([listed], [seen], [found])
    assert one.sources == (Source.LIST, Source.USAGE, Source.CODE)
    assert one.where == ("workloads.yaml:2", "calls.jsonl", "app.py:3")
    assert (one.waiting, one.deadline, one.case) == (Waiting.WALKED_AWAY, timedelta(hours=30), Case.SCHEDULE)
    assert (one.calls, one.assumed) == (900, "")


def test_two_jobs_of_one_log_stay_two() -> None:
    seen = [job(name=name, sources=(Source.USAGE,)) for name in ("digest", "digest_again")]
    assert [each.name for each in merged([], seen, [])] == ["digest", "digest_again"]
