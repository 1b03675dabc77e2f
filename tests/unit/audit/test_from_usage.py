"""Jobs of a log as the audit judges them: a month of them, and what is bought once."""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from offpeak.audit.case import Case
from offpeak.audit.from_usage import cadence, seen_jobs
from offpeak.audit.job import Job, Lane
from offpeak.audit.usage.jobs import Pattern, Tokens, UsageJob, UsageLog
from offpeak.lanes.workload import Waiting

START = datetime(2026, 10, 1, tzinfo=UTC)
TOKENS = Tokens(calls=1_000, input=900_000, cache_read=100_000, cache_write=50_000, output=40_000)


def seen(**said: Any) -> Job:
    """A job of a log of ten days."""
    given: dict[str, Any] = {
        "name": "digest",
        "models": {"gpt-5.4-mini": TOKENS},
        "first": START,
        "last": START + timedelta(days=10),
        "days": 10.0,
        "runs": 10,
        "longest_run": timedelta(minutes=3),
        "active_days": 10,
        "pattern": Pattern.SCHEDULE,
        "cadence": "",
        "concurrency": 1.0,
        "batch_share": 0.0,
        "why": "Seen.",
    }
    found = UsageJob(**{**given, **said})
    log = UsageLog(
        jobs=(found,),
        calls=1_000,
        others=0,
        skipped=0,
        first_skipped="",
        notes=(),
        format="plain log",
        first=START,
        last=START + timedelta(days=10),
    )
    (job,) = seen_jobs(log, where="calls.jsonl")
    return job


def test_a_month_is_the_log_times_thirty_over_its_days() -> None:
    assert seen().month["gpt-5.4-mini"] == Tokens(
        calls=3_000, input=2_700_000, cache_read=300_000, cache_write=150_000, output=120_000
    )
    assert seen().calls_a_run == 100


def test_a_loop_that_ran_once_is_bought_once() -> None:
    once = seen(pattern=Pattern.LOOP, runs=1)
    assert once.once
    assert once.month["gpt-5.4-mini"] == TOKENS
    assert not seen(pattern=Pattern.LOOP, runs=2).once
    assert not seen(pattern=Pattern.SCHEDULE, runs=1).once


@pytest.mark.parametrize(
    ("pattern", "case", "waiting"),
    [
        (Pattern.SCHEDULE, Case.SCHEDULE, Waiting.NOBODY),
        (Pattern.POLLING, Case.POLLING, Waiting.NOBODY),
        (Pattern.LOOP, Case.LOOP, Waiting.NOBODY),
        (Pattern.SERIAL, Case.SERIAL, Waiting.NOBODY),
        (Pattern.PLEASE_WAIT, Case.PLEASE_WAIT, Waiting.WALKED_AWAY),
        (Pattern.PEOPLE, None, Waiting.WATCHING),
        (Pattern.UNCLEAR, None, None),
    ],
)
def test_how_it_runs_says_who_waits(pattern: Pattern, case: Case | None, waiting: Waiting | None) -> None:
    assert (seen(pattern=pattern).case, seen(pattern=pattern).waiting) == (case, waiting)


def test_what_the_log_shows_on_the_batch_tier_is_there_already() -> None:
    assert (seen(batch_share=0.9).lane, seen(batch_share=0.9).case) == (Lane.BATCH, None)
    assert seen(batch_share=0.1).lane is Lane.REALTIME


def test_what_starts_at_an_hour_is_due_at_that_hour() -> None:
    assert seen(cadence="daily at 09:00 Europe/Berlin").deadline == time(9, tzinfo=ZoneInfo("Europe/Berlin"))
    assert seen(cadence="hourly at :05").deadline is None
    assert seen(cadence="daily at 09:00 and 17:00 UTC").deadline is None


@pytest.mark.parametrize(
    ("words", "cron", "runs"),
    [
        ("daily at 09:00 UTC", "0 9 * * *", 30),
        ("weekdays at 07:30 UTC", "30 7 * * 1-5", 30 * 5 / 7),
        ("Mondays at 06:00 UTC", "0 6 * * 1", 30 / 7),
        ("hourly at :05", "5 * * * *", 720),
        ("every 15 minutes", None, 2_880),
        ("every minute", None, 43_200),
        ("every 5 seconds", None, 518_400),
        ("daily at 09:00 and 17:00 UTC", None, 0),
    ],
)
def test_a_cadence_in_words_is_a_schedule(words: str, cron: str | None, runs: float) -> None:
    found = cadence(words)
    assert found is not None
    assert found.cron == cron
    assert found.runs_a_month == pytest.approx(runs)
