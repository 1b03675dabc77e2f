"""What a plan will cost is estimated from what its asset took before, else by plain rules."""

import pytest

from offpeak.money import estimate_tokens, estimate_usage
from offpeak.money.estimate import ENOUGH_OUTPUTS, Past, Trend, trend
from offpeak.providers.base import Usage

FLAT = Trend(fixed=41.5, per_byte=0.0)


def test_four_bytes_are_a_token_rounded_up() -> None:
    assert [estimate_tokens(b"x" * size) for size in (0, 1, 4, 5, 4_000)] == [0, 1, 1, 2, 1_000]


def test_embeddings_are_expected_to_put_nothing_out() -> None:
    assert estimate_usage(10, 40_000, None, answers=False) == Usage(input_tokens=10_000)


def test_without_a_past_an_answer_is_a_quarter_of_its_request_within_bounds() -> None:
    assert estimate_usage(10, 10 * 4_000, None).output_tokens == 10 * 250
    assert estimate_usage(10, 10 * 40, None).output_tokens == 10 * 64
    assert estimate_usage(10, 10 * 400_000, None).output_tokens == 10 * 1_024


def test_an_empty_plan_uses_nothing() -> None:
    past = Past(requests=9, input=FLAT, output=FLAT)
    assert estimate_usage(0, 0, None) == estimate_usage(0, 0, past) == Usage()


def test_what_was_used_before_takes_the_place_of_the_rules() -> None:
    past = Past(requests=300, input=Trend(fixed=10.0, per_byte=0.2), output=FLAT, cached_share=0.25)
    used = estimate_usage(300, 1_200_000, past)
    assert used == Usage(input_tokens=243_000, output_tokens=12_450, cache_read_tokens=60_750)


def test_what_was_written_to_a_cache_before_is_written_again() -> None:
    past = Past(
        requests=300, input=Trend(fixed=0.0, per_byte=0.25), output=FLAT, written_share=0.3, written_long_share=0.2
    )
    used = estimate_usage(10, 40_000, past)
    assert (used.input_tokens, used.cache_write_tokens, used.cache_write_1h_tokens) == (10_000, 3_000, 2_000)


@pytest.mark.parametrize("grows", [True, False])
def test_tokens_that_grow_with_the_length_from_a_fixed_part_on_are_found_as_such(grows: bool) -> None:
    sizes = [500 + 100 * number for number in range(ENOUGH_OUTPUTS)]
    found = trend(sizes, [20 + size // 5 for size in sizes], grows=grows)
    assert (round(found.fixed, 6), round(found.per_byte, 6)) == (20.0, 0.2)
    assert found.total(3, 9_000) == 60 + 1_800


def test_a_picture_counts_the_same_however_many_bytes_it_has() -> None:
    found = trend([60_000, 9_000, 30_000, 120_000], [840, 842, 838, 836], grows=True)
    assert found.total(1, 500_000) == pytest.approx(839, abs=2)


def test_of_too_few_or_too_equal_requests_input_grows_with_length_and_output_does_not() -> None:
    assert trend([1_000, 3_000], [100, 200], grows=True).total(1, 4_000) == 300
    assert trend([1_000, 3_000], [100, 200], grows=False).total(1, 4_000) == 150
    assert trend([1_000, 1_001] * 20, [100, 900] * 20, grows=True).total(1, 2_001) == 1_000


def test_a_line_that_would_begin_below_nothing_is_not_believed() -> None:
    found = trend([1_000, 2_000, 3_000], [10, 500, 1_000], grows=True)
    assert found.fixed == 0
    assert found.total(1, 10) > 0
