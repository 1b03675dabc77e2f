"""Figures of a play, reckoned by hand."""

from offpeak.rehearsal.outcome import Ending, Figures, Latency, Outcome, compared


def figures(*outcomes: Outcome) -> Figures:
    return Figures.of(outcomes)


WITH = figures(
    *[Outcome(Ending.HIT, 0.002)] * 6,
    Outcome(Ending.HIT, 0.004),
    Outcome(Ending.ANSWERED, 1.0, 0, 500),
    Outcome(Ending.ANSWERED, 2.5, 1, 700),
    Outcome(Ending.OVERLOADED),
)
WITHOUT = figures(
    *[Outcome(Ending.ANSWERED, 1.0, 0, 500)] * 4,
    *[Outcome(Ending.ANSWERED, 4.0, 2, 500)] * 4,
    Outcome(Ending.FAILED, 6.0, 3),
    Outcome(Ending.FAILED, 60.0),
)


def test_hits_misses_and_what_failed_are_counted():
    assert (WITH.requests, WITH.hits, WITH.hit_rate) == (10, 7, 0.7)
    assert (WITH.throttled, WITH.refusals, WITH.failed, WITH.overloaded) == (1, 1, 1, 1)
    assert (WITHOUT.hits, WITHOUT.hit_rate) == (0, 0)
    assert (WITHOUT.throttled, WITHOUT.refusals, WITHOUT.failed, WITHOUT.overloaded) == (5, 11, 2, 0)


def test_the_cost_is_that_of_all_answers():
    assert (WITH.cost_pico, WITHOUT.cost_pico) == (1_200, 4_000)


def test_latencies_are_of_what_was_sent_and_of_hits_and_misses_apart():
    assert WITH.hit_latency == Latency(p50_ms=2.0, p99_ms=4.0)
    assert WITH.miss_latency == Latency(p50_ms=1_000.0, p99_ms=2_500.0)
    assert WITH.latency == Latency(p50_ms=2.0, p99_ms=2_500.0)  # of nine: the overloaded one was never sent
    assert WITHOUT.hit_latency == Latency(p50_ms=None, p99_ms=None)
    assert WITHOUT.latency == WITHOUT.miss_latency == Latency(p50_ms=4_000.0, p99_ms=60_000.0)


def test_a_percentile_is_the_value_that_so_many_are_not_above():
    found = Latency.of(number / 1_000 for number in range(200, 0, -1))
    assert found == Latency(p50_ms=100.0, p99_ms=198.0)
    assert Latency.of([0.5]) == Latency(p50_ms=500.0, p99_ms=500.0)


def test_a_play_of_nothing_has_figures_too():
    empty = figures()
    assert (empty.hit_rate, empty.latency.p99_ms) == (0, None)
    assert "none of the requests" in compared(empty, empty)


def test_the_sentence_compares_the_peak_with_and_without():
    assert compared(WITH, WITHOUT) == (
        "Without pre-computed results 50% of the requests are throttled, 20% fail, and one in a hundred takes longer "
        "than 60,000 ms; with them it is 10%, 10% and 2,500 ms."
    )
