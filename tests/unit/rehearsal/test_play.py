"""A play: hits are not asked for, requests on their way are bounded, and an error of the ledger ends it."""

import asyncio

import pytest

from offpeak.errors import LedgerUnavailable
from offpeak.launches.traffic import Row
from offpeak.rehearsal.arrivals import Arrival
from offpeak.rehearsal.calls import Called
from offpeak.rehearsal.outcome import Ending
from offpeak.rehearsal.play import play

ARRIVALS = [Arrival(number, 0.0, Row("starters", f"S{number % 2}"), "openai/gpt-5-mini") for number in range(10)]
ANSWERED = Called(answered=True, refusals=1, cost_pico=5)


def played(look=None, ask=None, **more):
    async def answered(_: Arrival) -> Called:
        return ANSWERED

    return asyncio.run(play(ARRIVALS, look=look, ask=ask or answered, **more))


def test_what_is_precomputed_is_read_and_the_rest_is_asked_for():
    found = played(look=lambda arrival: arrival.row.key == "S0")
    assert sorted(each.ending for each in found) == [Ending.ANSWERED] * 5 + [Ending.HIT] * 5
    assert {(each.refusals, each.cost_pico) for each in found if each.ending is Ending.HIT} == {(0, 0)}
    assert {(each.refusals, each.cost_pico) for each in found if each.ending is Ending.ANSWERED} == {(1, 5)}


def test_without_results_every_request_is_asked_for_and_told_of():
    told: list[int] = []
    assert [each.ending for each in played(told=told.append)] == [Ending.ANSWERED] * 10
    assert told == list(range(1, 11))


def test_what_is_not_answered_in_the_end_failed():
    async def refused(_: Arrival) -> Called:
        return Called(answered=False, refusals=3)

    found = played(ask=refused)
    assert {(each.ending, each.refusals, each.cost_pico) for each in found} == {(Ending.FAILED, 3, 0)}


def test_nobody_waits_for_longer_than_patience_lasts():
    async def never(_: Arrival) -> Called:
        await asyncio.Event().wait()
        return ANSWERED

    assert {each.ending for each in played(ask=never, patience_s=0.01)} == {Ending.FAILED}


def test_requests_beyond_the_bound_are_never_sent():
    asked: list[int] = []

    async def never(arrival: Arrival) -> Called:
        asked.append(arrival.number)
        await asyncio.Event().wait()
        return ANSWERED

    found = played(ask=never, most_in_flight=4, patience_s=2)
    assert sorted(each.ending for each in found) == [Ending.FAILED] * 4 + [Ending.OVERLOADED] * 6
    assert asked == [0, 1, 2, 3]


def test_a_ledger_that_is_away_ends_the_play():
    def away(_: Arrival) -> bool:
        raise LedgerUnavailable("The ledger is away.")

    with pytest.raises(LedgerUnavailable, match="away"):
        played(look=away)
