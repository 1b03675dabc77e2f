"""What a launch asks of its models at the peak."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpeak.launches.demand import demand, peak_per_minute

from .sample import HAIKU, MINI, launch


def test_everybody_at_the_peak_asks_as_often_as_a_session_does() -> None:
    assert peak_per_minute(launch()) == 900 * 8 / 12


def test_only_what_is_not_precomputed_asks_a_model_each_by_its_share() -> None:
    found = demand(launch(), precomputed=0.7)
    assert found[MINI].requests_per_minute == pytest.approx(144)
    assert found[HAIKU].requests_per_minute == pytest.approx(36)


def test_tokens_are_those_of_a_session_spread_over_its_requests() -> None:
    found = demand(launch(), precomputed=0.7)
    assert found[MINI].tokens_per_minute == pytest.approx(144 * 1_500)
    assert found[HAIKU].tokens_per_minute == pytest.approx(36 * 1_500)


def test_with_everything_precomputed_no_model_is_asked() -> None:
    assert {each.requests_per_minute for each in demand(launch(), precomputed=1).values()} == {0}


def test_without_precomputation_the_whole_peak_asks_the_models() -> None:
    found = demand(launch(), precomputed=0)
    assert sum(each.requests_per_minute for each in found.values()) == pytest.approx(600)
    assert sum(each.tokens_per_minute for each in found.values()) == pytest.approx(900_000)


@given(users=st.integers(1, 10**6), share=st.floats(0, 1), minutes=st.floats(0.1, 600))
def test_the_models_are_asked_exactly_what_the_precomputed_rows_do_not_answer(
    users: int, share: float, minutes: float
) -> None:
    session = launch().session
    planned = launch(
        peak_users=users,
        session=type(session)(length=timedelta(minutes=minutes), requests=3, input_tokens=10, output_tokens=2),
    )
    asked = sum(each.requests_per_minute for each in demand(planned, precomputed=share).values())
    assert asked == pytest.approx(peak_per_minute(planned) * (1 - share))
