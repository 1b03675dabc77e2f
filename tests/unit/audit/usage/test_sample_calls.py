"""The sample log is what its script writes, and every job in it is found as what it is."""

import gzip
from pathlib import Path

import pytest

from offpeak.audit.usage.jobs import Pattern, UsageJob, usage_jobs
from offpeak.audit.usage.tally import MOST_JOBS
from scripts.write_sample_calls import TARGET, content

LARGEST = 700_000
"""Bytes, for a file that everybody downloads with the repository."""


@pytest.fixture(scope="module")
def jobs() -> dict[str, UsageJob]:
    found = usage_jobs([TARGET], zone="Europe/Berlin")
    assert (found.skipped, found.others) == (0, 0)
    return {job.name: job for job in found.jobs}


def test_it_is_what_the_script_writes() -> None:
    assert gzip.decompress(TARGET.read_bytes()) == content()


def test_it_is_small() -> None:
    assert TARGET.stat().st_size < LARGEST
    assert Path(TARGET).name == "llm_calls.jsonl.gz"


@pytest.mark.parametrize(
    ("name", "pattern", "cadence"),
    [
        ("morning_digest", Pattern.SCHEDULE, "daily at 09:00 Europe/Berlin"),
        ("review_labels", Pattern.LOOP, ""),
        ("inbox_agent", Pattern.POLLING, "every 1 minute"),
        ("quarterly_report", Pattern.PLEASE_WAIT, ""),
        ("caption_images", Pattern.SERIAL, ""),
        ("support_chat", Pattern.PEOPLE, ""),
        ("nightly_tags", Pattern.SCHEDULE, "daily at 04:15 Europe/Berlin"),
    ],
)
def test_each_job_is_found_as_what_it_is(jobs: dict[str, UsageJob], name: str, pattern: Pattern, cadence: str) -> None:
    assert (jobs[name].pattern, jobs[name].cadence) == (pattern, cadence)


def test_there_is_no_other_job(jobs: dict[str, UsageJob]) -> None:
    assert len(jobs) == 7 < MOST_JOBS


def test_only_the_nightly_job_is_on_the_batch_tier(jobs: dict[str, UsageJob]) -> None:
    assert {name for name, job in jobs.items() if job.batch_share} == {"nightly_tags"}


def test_on_utc_the_digest_is_a_schedule_whose_hour_was_set_back() -> None:
    (digest,) = (job for job in usage_jobs([TARGET]).jobs if job.name == "morning_digest")
    assert (digest.pattern, digest.cadence) == (
        Pattern.SCHEDULE,
        "daily at 07:00 UTC (an hour later from 2026-10-25)",
    )
