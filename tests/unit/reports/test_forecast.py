"""The forecast of a month, added up by hand."""

from datetime import date, timedelta

from offpeak.reports.forecast import forecast

MONDAY = date(2026, 11, 23)
DAY = timedelta(days=1)
BEFORE = MONDAY - 100 * DAY


def spent(amount: int, *, days: range, weekdays: range = range(7)) -> dict[date, int]:
    """So much on each day that is so many days before Monday, on these weekdays (0 is Monday)."""
    found = [MONDAY - each * DAY for each in days]
    return {each: amount for each in found if each.weekday() in weekdays}


def test_each_day_left_is_the_mean_of_its_weekday() -> None:
    by_day = spent(70, days=range(1, 40), weekdays=range(5)) | spent(7, days=range(1, 40), weekdays=range(5, 7))
    found = forecast(by_day, today=MONDAY, began=BEFORE)
    # 1 to 22 November: 7 days at weekends, of which the 1st is one, and 15 others; then today; 24 to 30: 5 and 2
    assert found.so_far_pico == 15 * 70 + 7 * 7
    assert found.expected_pico == found.so_far_pico + 70 + 5 * 70 + 2 * 7
    assert (found.days, found.by_weekday) == (28, True)


def test_only_the_last_four_weeks_count_and_a_day_without_purchases_is_nought() -> None:
    tuesdays = {MONDAY - each * DAY: 40 for each in (6, 13, 27 + 7)}  # the last one is too long ago
    found = forecast(tuesdays, today=MONDAY, began=BEFORE)
    assert found.expected_pico == found.so_far_pico + 20  # one Tuesday is left, of which two of four cost 40


def test_of_today_the_part_is_expected_that_is_not_spent_yet() -> None:
    by_day = spent(70, days=range(1, 40), weekdays=range(1))
    for today, rest in ((0, 70), (50, 20), (70, 0), (90, 0)):
        found = forecast(by_day | {MONDAY: today}, today=MONDAY, began=BEFORE)
        assert found.expected_pico == found.so_far_pico + rest + 70  # the 30th is a Monday, too


def test_a_history_of_less_than_two_weeks_is_not_told_apart_by_weekday() -> None:
    by_day = spent(70, days=range(1, 14), weekdays=range(1))  # one Monday in 13 days
    found = forecast(by_day, today=MONDAY, began=MONDAY - 13 * DAY)
    assert (found.days, found.by_weekday) == (13, False)
    assert found.expected_pico == found.so_far_pico + 8 * (70 // 13)
    longer = forecast(by_day, today=MONDAY, began=MONDAY - 14 * DAY)
    assert (longer.days, longer.by_weekday) == (14, True)


def test_before_a_whole_day_has_passed_there_is_none() -> None:
    found = forecast({MONDAY: 5}, today=MONDAY, began=MONDAY)
    assert (found.so_far_pico, found.expected_pico, found.days) == (5, None, 0)
    assert forecast({}, today=MONDAY, began=None).expected_pico is None


def test_the_last_day_of_a_month_has_only_its_own_rest() -> None:
    end = date(2026, 11, 30)
    found = forecast({end - 7 * DAY: 40, end: 10}, today=end, began=BEFORE)
    assert found.expected_pico == 50 + 0  # Mondays cost 40 once in four weeks, and today has cost that already
