"""What a long step says of itself: how far it is, how fast, and how long it will take."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from offpeak.assets.pace import Pace, counted

from ...conftest import LOG, HeldClock, LocalProvider, Shop, tickets


def test_a_short_step_says_nothing_and_a_long_one_says_when_it_will_be_done() -> None:
    clock, said = HeldClock(datetime(2026, 11, 21, tzinfo=UTC)), list[str]()
    pace = Pace(said.append, "labels", unit="rows planned", clock=clock)
    clock.sleep(timedelta(seconds=29))
    pace.at(5_800, of=60_000)
    assert said == []
    clock.sleep(timedelta(seconds=1))
    pace.at(6_000, of=60_000)
    assert said == ["labels: 6,000 of 60,000 rows planned in 30 s, 200 a second; about 4 min 30 s left at this pace"]


def test_where_nobody_knows_of_how_many_the_rate_is_said_alone() -> None:
    clock, said = HeldClock(datetime(2026, 11, 21, tzinfo=UTC)), list[str]()
    pace = Pace(said.append, "labels", unit="requests answered", clock=clock)
    clock.sleep(timedelta(hours=2))
    pace.at(30)
    clock.sleep(timedelta(hours=1))
    pace.at(0, of=10)
    assert said == [
        "labels: 30 requests answered in 2 h, 15 an hour",
        "labels: 0 requests answered in 3 h, 0 an hour",
    ]


def test_it_is_said_a_few_times_and_not_at_every_look() -> None:
    clock, said = HeldClock(datetime(2026, 11, 21, tzinfo=UTC)), list[str]()
    pace = Pace(said.append, "labels", unit="rows planned", clock=clock)
    for second in range(3_600):
        clock.sleep(timedelta(seconds=1))
        pace.at(second)
    assert 10 < len(said) < 40


def test_items_are_counted_as_they_go_by() -> None:
    heard: list[int] = []
    assert list(counted(range(2_500), heard.append, so_far=800)) == list(range(2_500))
    assert heard == [1_000, 2_000, 3_000]


def test_a_run_that_waits_for_a_long_batch_says_how_far_it_is(
    shop: Shop, local_provider: LocalProvider, caplog: pytest.LogCaptureFixture
) -> None:
    local_provider.fault("latency", seconds=2.0)
    with caplog.at_level(logging.INFO, LOG.name):
        shop.buy(tickets(4))
    assert "of 4 requests answered in" in caplog.text
