"""The limits of a launch's models as a rehearsal takes them: what nobody knows is asked for."""

from datetime import timedelta

import pytest

from offpeak.errors import ConfigurationError
from offpeak.launches.launch import Session
from offpeak.launches.limits import Limit, Source
from offpeak.providers.realtime import Measure
from offpeak.rehearsal.limits import ModelLimits, model_limits, scaled_limits

SESSION = Session(length=timedelta(minutes=10), requests=5, input_tokens=4_000, output_tokens=1_000)


def limit(per_minute: int) -> Limit:
    return Limit(per_minute=per_minute, source=Source.PRICE_SHEET)


def test_a_limit_that_nobody_states_stays_open():
    found = model_limits({"openai/a": {Measure.REQUESTS: limit(7)}, "openai/b": {Measure.TOKENS: limit(50_000)}})
    assert found == {
        "openai/a": ModelLimits(requests_per_minute=7, tokens_per_minute=None),
        "openai/b": ModelLimits(requests_per_minute=None, tokens_per_minute=50_000),
    }


def test_models_without_known_limits_are_named_with_what_to_write():
    with pytest.raises(ConfigurationError, match=r"(?s)what openai/a and openai/b allow.*\[\[terms\]\]"):
        model_limits({"openai/a": {}, "openai/b": {}})


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
