"""What is asked about a user's week, and the mails that are made of the answers."""

import importlib
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pandas as pd
import pytest
from dagster._core.test_utils import instance_for_test

from ai_assets import digests
from ai_assets.digests import DIGEST, TO_TRY, as_text, weekly_digests
from offpeak import Chat, PlanContext

WEEK = PlanContext(partition_key="2026-11-09")
MONDAY = "2026-11-09T08:00:00Z"


def events(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["user_id", "occurred_at", "kind", "detail"])


def planned(*rows: tuple[str, str, str, str]) -> dict[str, str]:
    """What is asked about whom in the week from 9 November on."""
    requests = weekly_digests.plan(product_events=events(*rows), context=WEEK)
    return {each.key: str(each.prompt) for each in requests if isinstance(each, Chat)}


def test_a_user_is_asked_about_with_what_they_did_and_one_thing_to_try() -> None:
    done = events(
        ("U-1", MONDAY, "booking_taken", "Raku weekend"),
        ("U-1", "2026-11-10T08:00:00Z", "class_published", "Open studio"),
        ("U-1", "2026-11-12T08:00:00Z", "booking_taken", "Raku weekend"),
    )
    prompt = (
        "You took a booking for Raku weekend, 2 times.\nYou published the class Open studio.\n"
        "Try the waiting list: it fills seats that become free by itself."
    )
    assert weekly_digests.plan(product_events=done, context=WEEK) == [
        Chat(key="U-1", system=DIGEST, prompt=prompt, max_tokens=500)
    ]


def test_a_user_without_activity_in_the_week_is_not_asked_about() -> None:
    before = ("U-1", "2026-11-08T12:00:00Z", "pass_sold", "ten-class card")
    assert planned(before, ("U-2", MONDAY, "pass_sold", "monthly pass")).keys() == {"U-2"}


def test_a_week_begins_and_ends_at_midnight_in_berlin() -> None:
    last_week = ("U-1", "2026-11-08T22:59:59Z", "pass_sold", "trial week")
    first = ("U-2", "2026-11-08T23:00:00Z", "pass_sold", "trial week")
    last = ("U-3", "2026-11-15T22:59:59Z", "pass_sold", "trial week")
    next_week = ("U-4", "2026-11-15T23:00:00Z", "pass_sold", "trial week")
    assert planned(last_week, first, last, next_week).keys() == {"U-2", "U-3"}


def test_a_week_does_not_change_when_the_next_one_has_begun() -> None:
    """So that a week that is planned again buys nothing."""
    done = ("U-1", MONDAY, "message_sent", "reminder to 4 people")
    assert planned(done) == planned(("U-1", "2026-11-16T08:00:00Z", "pass_sold", "trial week"), done)


def test_events_of_the_same_moment_are_told_in_one_order_however_they_are_read() -> None:
    done = [("U-1", MONDAY, "booking_taken", f"class {number}") for number in range(20)]
    assert planned(*done) == planned(*reversed(done))


def test_nobody_is_told_to_try_what_they_did_that_week() -> None:
    kinds = [kind for kind in TO_TRY if kind]
    prompt = planned(*[("U-1", MONDAY, kind, "Linocut cards") for kind in kinds[:2]])["U-1"]
    assert [text for text in TO_TRY.values() if text in prompt] == [TO_TRY[kinds[2]]]
    prompt = planned(*[("U-1", MONDAY, kind, "Linocut cards") for kind in kinds])["U-1"]
    assert [text for text in TO_TRY.values() if text in prompt] == [TO_TRY[""]]


def test_a_kind_of_event_that_nobody_has_put_into_words_is_told_as_it_is() -> None:
    assert planned(("U-1", MONDAY, "room_booked", "Studio 2"))["U-1"].startswith("room_booked: Studio 2.\n")


def test_times_that_are_datetimes_count_like_texts() -> None:
    done = events(("U-1", MONDAY, "pass_sold", "trial week"))
    as_times = done.assign(occurred_at=pd.to_datetime(done["occurred_at"]))
    as_objects = done.assign(occurred_at=pd.Series([datetime.fromisoformat(MONDAY)], dtype=object))
    for each in as_times, as_objects:
        assert weekly_digests.plan(each, context=WEEK) == weekly_digests.plan(done, context=WEEK)


def test_times_may_be_written_with_fractions_and_with_an_offset() -> None:
    done = [
        ("U-1", "2026-11-08T22:59:59.999999Z", "pass_sold", "trial week"),
        ("U-2", "2026-11-09T00:00:00+01:00", "pass_sold", "trial week"),
    ]
    assert planned(*done).keys() == {"U-2"}


def test_a_mail_has_the_summary_the_highlights_and_the_next_step() -> None:
    answer = {"summary": "A full week.", "highlights": ["Raku", "Linocut"], "next_step": "Try passes."}
    (digest,) = pd.DataFrame([answer]).itertuples()
    assert as_text(digest) == "A full week.\n\n- Raku\n- Linocut\n\nNext week: Try passes."


@pytest.mark.parametrize(("day", "week"), [("2026-11-23", "2026-11-16"), ("2026-10-26", "2026-10-19")])
def test_on_monday_the_week_that_has_just_ended_is_bought(day: str, week: str) -> None:
    """The second is the week in which the clocks go back."""
    defs = importlib.import_module("definitions").defs
    schedule: Any = defs.resolve_schedule_def("weekly")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("15 0 * * 1", "Europe/Berlin")
    at = datetime.fromisoformat(f"{day}T00:15:00").replace(tzinfo=ZoneInfo("Europe/Berlin"))
    with (
        instance_for_test() as instance,
        dg.build_schedule_context(
            instance=instance, scheduled_execution_time=at, repository_def=defs.get_repository_def()
        ) as context,
    ):
        (request,) = schedule.evaluate_tick(context).run_requests
    assert request.partition_key == week
    assert digests.WEEKS.time_window_for_partition_key(week).end <= at
