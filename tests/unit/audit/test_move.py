"""When a job would be submitted, until when its rows are good, and the design that says so."""

from datetime import time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from offpeak.audit.case import Case
from offpeak.audit.design import design
from offpeak.audit.from_usage import cadence
from offpeak.audit.move import Move, identifier, move
from offpeak.lanes.workload import Waiting

from .jobs import NOW, judged, month, prices

BERLIN = ZoneInfo("Europe/Berlin")


def moved(**said: Any) -> Move:
    return move(judged(**said), prices(), now=NOW)


@pytest.mark.parametrize(
    ("words", "hour", "cron", "hours"),
    [
        ("daily at 09:00 Europe/Berlin", 9, "0 21 * * *", 39),
        ("daily at 14:30 Europe/Berlin", 14, "30 2 * * *", 39),
        ("weekdays at 09:00 Europe/Berlin", 9, "0 21 * * 0,1,2,3,4", 87),
        ("Mondays at 06:00 Europe/Berlin", 6, "0 18 * * 0", 183),
        ("Sundays at 06:00 Europe/Berlin", 6, "0 18 * * 6", 183),
    ],
)
def test_what_has_an_hour_to_keep_is_submitted_twelve_hours_before(
    words: str, hour: int, cron: str, hours: int
) -> None:
    often = cadence(words)
    assert often is not None
    assert often.cron is not None
    minute = int(often.cron.split()[0])
    found = moved(cadence=often, deadline=time(hour, minute, tzinfo=BERLIN))
    assert (found.cron, found.zone) == (cron, "Europe/Berlin")
    # the time between two runs, an hour more where the clock changes, the twelve hours, the collecting, a spare hour
    assert timedelta(hours=hours - 1) < found.valid_for <= timedelta(hours=hours)
    assert found.priority > 0


def test_what_is_done_once_has_no_schedule_and_a_poller_is_woken_by_data() -> None:
    assert moved(once=True).cron is None
    polling = moved(case=Case.POLLING, cadence=cadence("every 1 minute"))
    assert polling.cron is None
    assert "`when_data_changes` wakes" in design(polling)[0].answer


def test_who_asked_is_told_when_it_has_landed() -> None:
    answers = {point.question: point.answer for point in design(moved(waiting=Waiting.WALKED_AWAY))}
    assert "answers at once that it is queued" in answers["When is it submitted?"]
    assert 'Notify(on={"landed"})' in answers["Who is told?"]
    assert 'on_full="delay"' in answers["What if the queue is full?"]
    assert "tried 3 times" in answers["What is tried again?"]


def test_a_model_without_a_batch_rate_is_replaced_and_that_is_said() -> None:
    found = moved(month=month(model="gemini-3-flash"))
    assert found.model == "anthropic/claude-haiku-5-5"
    assert "no batch rate is known for gemini-3-flash" in design(found)[-1].answer


@pytest.mark.parametrize(
    ("name", "python"),
    [
        ("morning_digest", "morning_digest"),
        ("Morning Digest!", "morning_digest"),
        ("Labeller.labelAll", "label_all"),
        ("2026 review", "job_2026_review"),
        ("class", "job_class"),
        ("...", "job"),
    ],
)
def test_every_name_becomes_one_of_python(name: str, python: str) -> None:
    assert identifier(name) == python
    assert python.isidentifier()
