"""The rules by which a plan's cost is estimated."""

from offpeak.money import estimate_tokens, estimate_usage
from offpeak.providers.base import Usage


def test_four_bytes_are_counted_as_a_token_and_a_part_as_a_whole_one() -> None:
    assert [estimate_tokens(b"x" * size) for size in (0, 1, 4, 5, 4_000)] == [0, 1, 1, 2, 1_000]


def test_the_measured_mean_is_used_where_there_is_one() -> None:
    assert estimate_usage(300, 1_200_000, 41.5, None) == Usage(input_tokens=300_000, output_tokens=12_450)


def test_embeddings_are_expected_to_put_nothing_out() -> None:
    assert estimate_usage(10, 40_000, 0.0, None).output_tokens == 0


def test_without_a_past_an_answer_is_a_quarter_of_its_request_within_bounds() -> None:
    assert estimate_usage(10, 10 * 4_000, None, None).output_tokens == 10 * 250
    assert estimate_usage(10, 10 * 40, None, None).output_tokens == 10 * 64
    assert estimate_usage(10, 10 * 400_000, None, None).output_tokens == 10 * 1_024


def test_no_answer_is_expected_to_be_longer_than_allowed() -> None:
    assert estimate_usage(10, 10 * 4_000, None, 100).output_tokens == 1_000
    assert estimate_usage(10, 10 * 4_000, 700.0, 100).output_tokens == 1_000


def test_an_empty_plan_uses_nothing() -> None:
    assert estimate_usage(0, 0, None, 500) == Usage()
