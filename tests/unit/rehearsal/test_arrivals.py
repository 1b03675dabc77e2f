"""Requests of a play: the same from the same seed, at the rate that was asked for, by the weights of past traffic."""

from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from offpeak.launches.traffic import Row, Traffic
from offpeak.rehearsal.arrivals import arrivals, level

A, B, C = Row("starters", "a"), Row("starters", "b"), Row("examples", "c")
TRAFFIC = Traffic.of({A: 6, B: 3, C: 1})
MODELS = {"openai/gpt-5-mini": 0.75, "anthropic/claude-haiku-5-5": 0.25}


def drawn(seed: int = 1, *, rate: float = 50, seconds: float = 100):
    return list(arrivals(TRAFFIC, rate=rate, seconds=seconds, models=MODELS, seed=seed))


def test_the_same_seed_gives_the_same_requests_and_another_one_others():
    assert drawn(1) == drawn(1)
    assert [each.at for each in drawn(1)] != [each.at for each in drawn(2)]


def test_they_come_in_order_within_the_time_and_are_numbered():
    found = drawn()
    assert [each.number for each in found] == list(range(len(found)))
    assert [each.at for each in found] == sorted(each.at for each in found)
    assert 0 <= found[0].at < found[-1].at < 100


def test_the_rate_rises_over_a_tenth_stays_at_the_peak_and_falls_over_a_tenth():
    assert [level(at, 100) for at in (0, 5, 10, 50, 90, 95, 100)] == [0, 0.5, 1, 1, 1, 0.5, 0]
    found = [each.at for each in drawn()]
    assert len(found) == pytest.approx(50 * 90, rel=0.05)  # 80 s at the peak, and 10 s' worth in both ramps
    assert sum(10 <= at < 90 for at in found) == pytest.approx(50 * 80, rel=0.05)
    assert sum(at < 5 for at in found) < sum(5 <= at < 10 for at in found) / 2


def test_gaps_are_those_of_a_poisson_process():
    at = [each.at for each in drawn(rate=100, seconds=200) if 20 <= each.at < 180]
    gaps = [later - earlier for earlier, later in pairwise(at)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(0.01, rel=0.05)
    assert sum(gap > mean for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.02)  # 1/e


def test_rows_and_models_are_drawn_by_their_weights():
    found = drawn()
    rows, models = Counter(each.row for each in found), Counter(each.model for each in found)
    assert rows[A] / len(found) == pytest.approx(0.6, abs=0.03)
    assert rows[C] / len(found) == pytest.approx(0.1, abs=0.03)
    assert models["openai/gpt-5-mini"] / len(found) == pytest.approx(0.75, abs=0.03)


def test_a_row_that_nobody_asked_for_is_never_drawn():
    traffic = Traffic.of({A: 0, B: 2})
    random = Random(3)
    assert {traffic.draw(random) for _ in range(100)} == {B}


@pytest.mark.parametrize("requests", [{}, {A: 0}, {A: -1, B: 2}, {A: float("nan")}, {A: float("inf")}])
def test_traffic_that_is_none_is_refused(requests):
    with pytest.raises(ValueError, match=r"asked for|from 0 up"):
        Traffic.of(requests)
