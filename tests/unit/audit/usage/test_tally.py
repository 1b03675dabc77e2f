"""Calls are added up by minute, whether those are in memory or on disk by then."""

from pathlib import Path

import pytest

from offpeak.audit.usage import tally
from offpeak.audit.usage.call import Call
from offpeak.audit.usage.tally import MINUTE, Durations, Minute, Tally

BEGIN = 30_000_000 * MINUTE


def call(start: int, duration: int | None, job: str = "digest") -> Call:
    return Call(BEGIN + start, duration, job, "openai/gpt-5.4-mini", 10, 4, 1, 2, batch=False)


@pytest.mark.parametrize("kept", [1, 100])
def test_a_minute_is_the_same_in_memory_and_on_disk(kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "KEPT_MINUTES", kept)
    found = Tally(tmp_path)
    for each in (call(40_000, 9_000), call(MINUTE, 1), call(10_000, 90_000), call(MINUTE + 5, 1), call(20_000, None)):
        found.add(each)
    first, second = found.minutes(found.jobs["digest"])
    found.close()
    assert first == Minute(calls=3, first=BEGIN + 10_000, last=BEGIN + 40_000, ended=BEGIN + 100_000, busy=99_000)
    assert (second.calls, second.busy) == (2, 2)


def test_jobs_and_models_are_apart(tmp_path: Path) -> None:
    found = Tally(tmp_path)
    for each in (call(0, 3_000), call(0, None), call(0, 5_000, "other"), call(0, 1, "other")._replace(model="small")):
        found.add(each)
    assert [list(found.minutes(job)) for job in found.jobs.values()] == [
        [Minute(calls=2, first=BEGIN, last=BEGIN, ended=BEGIN + 3_000, busy=3_000)],
        [Minute(calls=2, first=BEGIN, last=BEGIN, ended=BEGIN + 5_000, busy=5_001)],
    ]
    assert found.jobs["digest"].durations == Durations(3_000, 9_000_000)
    assert {name: each.calls for name, each in found.jobs["other"].models.items()} == {
        "openai/gpt-5.4-mini": 1,
        "small": 1,
    }
    assert found.span() == (BEGIN, BEGIN)
    found.close()
