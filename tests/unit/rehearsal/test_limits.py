"""The limits of a launch's models: what was seen comes first, and what nobody knows is asked for."""

from datetime import timedelta

import pytest

from offpeak.errors import ConfigurationError
from offpeak.launches.launch import Session
from offpeak.providers.realtime import Measure
from offpeak.rehearsal.limits import ModelLimits, known_limits, scaled_limits

SESSION = Session(length=timedelta(minutes=10), requests=5, input_tokens=4_000, output_tokens=1_000)


def nothing(_: str) -> dict[Measure, float]:
    return {}


def test_what_the_provider_said_comes_before_the_price_sheet():
    found = known_limits(
        ["openai/a", "openai/b"],
        seen=lambda model: {Measure.REQUESTS: 100.0, Measure.TOKENS: 5e4} if model == "openai/a" else {},
        declared=lambda _: {Measure.REQUESTS: 7},
    )
    assert found == {
        "openai/a": ModelLimits(requests_per_minute=100, tokens_per_minute=50_000),
        "openai/b": ModelLimits(requests_per_minute=7, tokens_per_minute=None),
    }


def test_models_without_known_limits_are_named_with_what_to_write():
    with pytest.raises(ConfigurationError, match=r"(?s)what openai/a and openai/b allow.*\[\[terms\]\]"):
        known_limits(["openai/a", "openai/b"], seen=nothing, declared=nothing)


def test_limits_are_scaled_as_the_traffic_is():
    limits = {"openai/a": ModelLimits(requests_per_minute=101, tokens_per_minute=50_000)}
    assert scaled_limits(limits, 0.1, SESSION)["openai/a"].as_json() == {
        "requests_per_minute": 10,
        "tokens_per_minute": 5_000,
    }


def test_a_limit_below_a_single_request_is_refused():
    limits = {"openai/a": ModelLimits(requests_per_minute=None, tokens_per_minute=50_000)}
    with pytest.raises(ConfigurationError, match="500 tokens a minute, and a single request has 1,000"):
        scaled_limits(limits, 0.01, SESSION)
