"""Calls of the stand-in: of the size of a session's requests, tried again as the SDKs would, each refusal counted."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from offpeak.launches.launch import Session
from offpeak.launches.traffic import Row
from offpeak.money import PriceSheet
from offpeak.rehearsal.arrivals import Arrival
from offpeak.rehearsal.calls import Called, Models, Size

from ...conftest import MODELS, LocalProvider

SIZE = Size(input_tokens=1_200, output_tokens=300)
RATES = {model: PriceSheet.load().rates(model, at=datetime(2026, 11, 1, tzinfo=UTC)) for model in MODELS.values()}


def asked(provider: LocalProvider, name: str, size: Size = SIZE) -> Called:
    async def once() -> Called:
        async with Models(provider.url, size=size, rates=RATES, most_in_flight=5) as models:
            return await models.ask(Arrival(7, 0.0, Row("launch_starters", "S1"), MODELS[name]))

    return asyncio.run(once())


def test_a_request_has_an_equal_part_of_its_sessions_tokens() -> None:
    session = Session(length=timedelta(minutes=12), requests=8, input_tokens=9_600, output_tokens=2_400)
    assert Size.of(session) == SIZE


def test_it_costs_what_its_tokens_cost_at_realtime_price(local_provider: LocalProvider, provider_name: str) -> None:
    local_provider.settings(answers="full")
    called = asked(local_provider, provider_name)
    (bought,) = local_provider.purchases()
    assert (bought["lane"], bought["input_tokens"], bought["output_tokens"]) == ("realtime", 1_200, 300)
    base = RATES[MODELS[provider_name]].realtime.base
    assert called == Called(answered=True, refusals=0, cost_pico=1_200 * base.input + 300 * base.output)


def test_a_refusal_is_tried_again_and_counted(local_provider: LocalProvider, provider_name: str) -> None:
    local_provider.fault("realtime_429", times=1, retry_after=1)
    called = asked(local_provider, provider_name)
    assert (called.answered, called.refusals) == (True, 1)


def test_what_is_refused_three_times_is_given_up(local_provider: LocalProvider, provider_name: str) -> None:
    local_provider.fault("realtime_429", times=None, retry_after=1)
    assert asked(local_provider, provider_name) == Called(answered=False, refusals=3)
    assert local_provider.fired()["realtime_429"] == 3


@pytest.mark.parametrize(("fault", "status", "tries"), [("realtime_500", 500, 3), ("realtime_500", 400, 1)])
def test_an_error_is_no_refusal(
    local_provider: LocalProvider, provider_name: str, fault: str, status: int, tries: int
) -> None:
    local_provider.fault(fault, times=None, status=status)
    assert asked(local_provider, provider_name) == Called(answered=False, refusals=0)
    assert local_provider.fired()[fault] == tries
