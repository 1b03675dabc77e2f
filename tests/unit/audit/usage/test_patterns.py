"""Each pattern is told by its calls, and what only looks like one is not taken for it."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from offpeak.audit.usage.patterns import Judgement, Pattern, judge

from .writing import A_MINUTE, HOUR, SECOND, Call, active, at, in_a_row

OCTOBER = range(1, 29)


def judged(calls: Iterator[Call] | list[Call], zone: str = "UTC") -> Judgement:
    return judge(active(calls, zone), ZoneInfo(zone))


def coming_in(begin: datetime, end: datetime, mean: timedelta, took: timedelta, seed: int = 7) -> Iterator[Call]:
    """Calls that come independently of each other."""
    chance = random.Random(seed)
    while begin < end:
        begin += mean * chance.expovariate(1)
        yield begin, took


def working_days() -> list[int]:
    return [day for day in OCTOBER if at(day).weekday() < 5]


def office(mean: timedelta, *, took: timedelta = 4 * SECOND) -> Iterator[Call]:
    """People who begin at eight and go home at five."""
    for day in working_days():
        yield from coming_in(at(day, 8), at(day, 17), mean, took, seed=day)


# A schedule.


def test_runs_at_the_same_minute_of_every_day_are_a_schedule() -> None:
    found = judged([call for day in OCTOBER for call in in_a_row(at(day, 9, 0, 20), 60, 2 * SECOND)])
    assert (found.pattern, found.cadence) == (Pattern.SCHEDULE, "daily at 09:00 UTC")
    assert found.why == "28 of 28 runs start daily at 09:00 UTC, on 28 days; the median takes 2 min."


def test_a_schedule_needs_no_many_calls() -> None:
    assert judged([(at(day, 6), SECOND) for day in OCTOBER]).pattern is Pattern.SCHEDULE


def test_two_runs_at_the_same_time_say_nothing_yet() -> None:
    found = judged([call for day in (1, 2) for call in in_a_row(at(day, 9), 60, 2 * SECOND)])
    assert found.pattern is Pattern.UNCLEAR


def test_runs_an_hour_apart_are_hourly() -> None:
    found = judged([call for hour in range(72) for call in in_a_row(at(1, 0, 5) + hour * HOUR, 30, 2 * SECOND)])
    assert (found.pattern, found.cadence) == (Pattern.SCHEDULE, "hourly at :05")


def test_a_job_of_the_working_hours_may_be_hourly_too() -> None:
    found = judged([(at(day, hour, 30), SECOND) for day in working_days() for hour in range(9, 18)])
    assert (found.pattern, found.cadence) == (Pattern.SCHEDULE, "hourly at :30")


def test_a_steady_interval_that_keeps_hours_is_a_schedule() -> None:
    quarters = [
        (at(day, hour, minute), SECOND) for day in working_days() for hour in range(9, 17) for minute in (0, 15, 30, 45)
    ]
    found = judged(quarters)
    assert (found.pattern, found.cadence) == (Pattern.SCHEDULE, "every 15 minutes")


def test_runs_started_late_or_by_hand_leave_a_schedule_one() -> None:
    by_hand = [(at(4, 15, 41), SECOND), (at(9, 11, 7), SECOND), (at(20, 16, 18), SECOND)]
    found = judged([*((at(day, 7, day % 3), SECOND) for day in OCTOBER), *by_hand])
    assert (found.pattern, found.cadence) == (Pattern.SCHEDULE, "daily at 07:00 UTC")


def test_a_busy_office_that_opens_at_eight_is_no_schedule() -> None:
    assert judged(office(6 * SECOND)).pattern is Pattern.PEOPLE


def test_a_program_that_runs_from_eight_to_five_is_a_schedule() -> None:
    found = judged([call for day in working_days() for call in in_a_row(at(day, 8), 5_400, 6 * SECOND)])
    assert (found.pattern, found.cadence) == (Pattern.SCHEDULE, "weekdays at 08:00 UTC")


# Polling.


def test_a_call_every_minute_around_the_clock_is_polling() -> None:
    found = judged([(at(1) + number * A_MINUTE, 2 * SECOND) for number in range(3 * 24 * 60)])
    assert (found.pattern, found.cadence) == (Pattern.POLLING, "every 1 minute")


def test_a_loop_that_sleeps_drifts_and_is_polling_all_the_same() -> None:
    chance, begin, calls = random.Random(3), at(1), []
    while begin < at(5):
        calls.append((begin, 2 * SECOND))
        begin += 600 * SECOND + chance.uniform(1, 30) * SECOND
    assert (judged(calls).pattern, judged(calls).cadence) == (Pattern.POLLING, "every 10 minutes")


def test_an_agent_that_often_finds_nothing_to_do_is_polling() -> None:
    chance = random.Random(3)
    found = judged([(at(1) + number * A_MINUTE, SECOND) for number in range(5 * 24 * 60) if chance.random() < 0.5])
    assert (found.pattern, found.cadence) == (Pattern.POLLING, "every 1 minute")


def test_calls_that_come_in_around_the_clock_at_no_interval_are_no_polling() -> None:
    for mean in (2 * SECOND, 20 * SECOND, 60 * SECOND, 600 * SECOND):
        assert judged(coming_in(at(1), at(4), mean, SECOND)).pattern is Pattern.UNCLEAR


def test_an_interval_of_seconds_is_polling_too() -> None:
    found = judged([(at(1) + number * 12 * SECOND, SECOND) for number in range(2 * 24 * 300)])
    assert (found.pattern, found.cadence) == (Pattern.POLLING, "every 12 seconds")


def test_calls_one_after_the_other_for_days_are_no_polling() -> None:
    assert judged(in_a_row(at(1), 15_000, 12 * SECOND)).pattern is Pattern.UNCLEAR


def test_many_calls_at_an_interval_are_work_and_no_polling() -> None:
    quarters = [at(1) + number * 15 * A_MINUTE for number in range(4 * 24 * 3)]
    assert judged([call for begin in quarters for call in in_a_row(begin, 60, SECOND)]).pattern is not Pattern.POLLING


# A loop.


def test_very_many_calls_in_one_burst_are_a_loop() -> None:
    in_eight_lanes = [call for lane in range(8) for call in in_a_row(at(15, 13, 40, lane), 1_250, 3 * SECOND)]
    found = judged(in_eight_lanes)
    assert found.pattern is Pattern.LOOP
    assert "10,000 in 1 h 2 min" in found.why


def test_ten_thousand_calls_one_after_the_other_are_a_loop_too() -> None:
    assert judged(in_a_row(at(15, 13), 10_000, SECOND)).pattern is Pattern.LOOP


def test_a_burst_is_told_without_durations() -> None:
    assert judged([(start, None) for start, _ in in_a_row(at(15, 13), 2_000, SECOND)]).pattern is Pattern.LOOP


def test_slow_calls_several_at_once_are_a_loop_too() -> None:
    lanes = [call for lane in range(8) for call in in_a_row(at(15, 13, 40, lane), 100, 60 * SECOND)]
    assert judged(lanes).pattern is Pattern.LOOP


def test_an_hour_of_many_people_is_no_loop() -> None:
    assert judged(coming_in(at(15, 10), at(15, 10, 55), 4.8 * SECOND, 8 * SECOND)).pattern is Pattern.UNCLEAR


def test_what_never_stops_is_no_burst() -> None:
    assert judged(in_a_row(at(1), 100_000, 2 * SECOND)).pattern is Pattern.UNCLEAR


def test_a_burst_of_minutes_is_too_short_to_say_how_even_it_is_and_a_loop() -> None:
    assert judged([(at(15, 13, 0, number), None) for number in range(600)]).pattern is Pattern.LOOP


def test_a_few_hundred_calls_at_once_are_no_loop() -> None:
    assert judged([(at(15, 13, 0, number / 10), SECOND) for number in range(400)]).pattern is Pattern.UNCLEAR


# One call after the other.


def progress_bar(day: int, hour: int, *, lanes: int = 1) -> Iterator[Call]:
    for lane in range(lanes):
        yield from in_a_row(at(day, hour, 12, lane), 1_300, 2 * SECOND, 0.2 * SECOND)


def test_calls_that_follow_each_other_for_long_are_serial() -> None:
    found = judged([*progress_bar(8, 15), *progress_bar(22, 11)])
    assert found.pattern is Pattern.SERIAL
    assert "with 0.9 calls in flight" in found.why


def test_answers_of_very_different_lengths_are_serial_too() -> None:
    chance, begin, calls = random.Random(4), at(8, 15), list[Call]()
    for _ in range(1_000):
        took = 3 * SECOND * chance.lognormvariate(-0.4, 0.9)
        calls.append((begin, took))
        begin += took
    assert judged(calls).pattern is Pattern.SERIAL


def test_the_same_calls_in_four_lanes_are_not_serial() -> None:
    assert judged([*progress_bar(8, 15, lanes=4), *progress_bar(22, 11, lanes=4)]).pattern is Pattern.LOOP


def test_calls_with_long_pauses_between_them_are_not_serial() -> None:
    assert judged(in_a_row(at(8, 15), 300, 2 * SECOND, 8 * SECOND)).pattern is Pattern.UNCLEAR


def test_nobody_is_serial_without_durations() -> None:
    assert judged([(start, None) for start, _ in in_a_row(at(8, 15), 300, 10 * SECOND)]).pattern is Pattern.UNCLEAR


# Somebody waits.

STARTED = ((6, 13, 12), (9, 9, 38), (14, 10, 27), (20, 14, 6), (27, 8, 51))


def reports(
    calls: int = 250, took: timedelta = 57 * SECOND, *, started: tuple[tuple[int, int, int], ...] = STARTED
) -> list[Call]:
    chance = random.Random(5)
    found: list[Call] = []
    for day, hour, minute in started:
        begin = at(day, hour, minute)
        for _ in range(calls):
            length = took * chance.uniform(0.6, 1.4)
            found.append((begin, length))
            begin += length + SECOND
    return found


def test_long_runs_that_somebody_starts_are_please_wait() -> None:
    found = judged(reports())
    assert found.pattern is Pattern.PLEASE_WAIT
    assert found.why.startswith("5 runs of about 250 calls and 3 h 58 min each start at no regular time")


def test_somebody_waits_is_told_without_durations() -> None:
    assert judged([(start, None) for start, _ in reports()]).pattern is Pattern.PLEASE_WAIT


def test_two_long_runs_are_no_habit_yet() -> None:
    assert judged(reports(started=STARTED[:2])).pattern is Pattern.SERIAL


def test_long_runs_at_night_are_started_by_nobody_who_waits() -> None:
    at_night = ((6, 1, 12), (9, 23, 38), (14, 2, 27), (20, 22, 6), (27, 3, 51))
    assert judged(reports(60, started=at_night)).pattern is not Pattern.PLEASE_WAIT


def test_runs_of_a_few_minutes_are_no_please_wait() -> None:
    assert judged(reports(12)).pattern is not Pattern.PLEASE_WAIT


def test_a_program_that_was_made_fast_is_a_loop_however_often_somebody_starts_it() -> None:
    lanes = [
        call
        for day, hour, minute in STARTED
        for lane in range(8)
        for call in in_a_row(at(day, hour, minute, lane), 150, 8 * SECOND)
    ]
    assert judged(lanes).pattern is Pattern.LOOP


def test_long_runs_at_the_same_time_are_a_schedule() -> None:
    same_time = tuple((day, 9, 30) for day in OCTOBER)
    assert judged(reports(60, started=same_time)).pattern is Pattern.SCHEDULE


# People.


def test_calls_at_no_regular_time_of_the_day_are_peoples() -> None:
    found = judged(office(3 * A_MINUTE))
    assert found.pattern is Pattern.PEOPLE
    assert "on 20 days" in found.why


def test_a_busy_office_is_people_however_many_calls_are_in_flight() -> None:
    assert judged(office(1.5 * SECOND)).pattern is Pattern.PEOPLE
    assert judged(office(6 * SECOND, took=6 * SECOND)).pattern is Pattern.PEOPLE


def test_people_who_rarely_ask_are_people_too() -> None:
    for minutes in (1.5, 8, 30):
        assert judged(office(minutes * A_MINUTE)).pattern is Pattern.PEOPLE


def test_short_bursts_at_no_regular_time_are_not_peoples() -> None:
    begun = [at(day, 8 + 5 * day % 9, 7 * day % 60) for day in working_days()]
    assert judged([call for begin in begun for call in in_a_row(begin, 40, 3 * SECOND)]).pattern is Pattern.UNCLEAR


def test_runs_as_even_as_a_program_s_are_not_peoples() -> None:
    begun = [at(day, 8 + 5 * day % 9, 7 * day % 60) for day in working_days()]
    assert judged([call for begin in begun for call in in_a_row(begin, 60, 8 * SECOND)]).pattern is Pattern.UNCLEAR


def test_calls_of_the_night_are_not_peoples() -> None:
    assert judged(coming_in(at(1), at(8), 10 * A_MINUTE, SECOND)).pattern is Pattern.UNCLEAR


def test_people_come_back_on_other_days() -> None:
    assert judged(coming_in(at(5, 9), at(5, 17), 2 * A_MINUTE, SECOND)).pattern is Pattern.UNCLEAR


def test_the_night_is_that_of_the_zone() -> None:
    calls = [call for day in OCTOBER for call in coming_in(at(day, 0), at(day, 9), 3 * A_MINUTE, SECOND, seed=day)]
    assert judged(calls).pattern is Pattern.UNCLEAR
    assert judged(calls, "Asia/Tokyo").pattern is Pattern.PEOPLE


def test_a_few_calls_are_too_few_to_say() -> None:
    found = judged([(at(day, 9 + day % 7, day), SECOND) for day in OCTOBER])
    assert found.pattern is Pattern.UNCLEAR
    assert found.why == "28 calls in 28 runs are too few to say how it runs."
