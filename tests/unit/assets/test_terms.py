"""What the price sheet says of a provider besides its prices: its window decides lanes, its limits the pace."""

from datetime import timedelta
from pathlib import Path

import pytest

from offpeak.assets.resources import BatchApi
from offpeak.lanes.rescuer import rate_of
from offpeak.ledger import limits_seen
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.providers.realtime import Measure

from ...conftest import Shop, tickets

H = timedelta(hours=1)
SHEET = """
[[terms]]
model = "openai/*"
source = "a test"
window_hours = 2
requests_per_minute = 600
tokens_per_minute = 90_000
"""


@pytest.fixture
def api(tmp_path: Path) -> BatchApi:
    sheet = tmp_path / "price_sheet.toml"
    sheet.write_text(SHEET)
    return BatchApi(price_sheet=str(sheet))


def test_the_resource_tells_window_and_limits_of_its_sheet(api: BatchApi) -> None:
    assert api.window("openai/gpt-5-mini") == 2 * H
    assert api.window("anthropic/claude-haiku-5-5") == 24 * H
    assert api.realtime_limits("openai/gpt-5-mini") == {Measure.REQUESTS: 600, Measure.TOKENS: 90_000}
    assert api.realtime_limits("anthropic/claude-haiku-5-5") == {}


@pytest.mark.parametrize(("window", "lane"), [(24 * H, Lane.BACKGROUND), (2 * H, Lane.BATCH)])
def test_a_shorter_window_leaves_room_for_a_tighter_deadline(shop: Shop, window: timedelta, lane: Lane) -> None:
    quote = shop.quote(tickets(2), deadline=3 * H, forced=None, window=window)
    assert quote.lane is lane
    assert f"{'2' if window == 2 * H else '24'} h" in quote.lane_reason


def test_the_bill_of_a_run_says_when_it_lands_by_that_window(shop: Shop) -> None:
    quote = shop.quote(tickets(2), window=2 * H)
    assert quote.lands_by_why == "the provider's window of 2 h"


def test_limits_of_the_sheet_hold_until_the_provider_says_its_own(any_ledger: Ledger) -> None:
    place = {"realm": "openai:a", "model": "gpt-5-mini"}
    limits_seen.declare(any_ledger, **place, limits={Measure.REQUESTS: 600})
    assert rate_of(any_ledger, **place).requests == 600
    limits_seen.declare(any_ledger, **place, limits={Measure.REQUESTS: 700, Measure.TOKENS: 5_000})
    assert limits_seen.remembered(any_ledger, **place) == {Measure.REQUESTS: 700.0, Measure.TOKENS: 5_000.0}
    limits_seen.declare(any_ledger, **place, limits={})
    assert limits_seen.remembered(any_ledger, **place) == {}

    limits_seen.remember(any_ledger, **place, limits={Measure.REQUESTS: 80.0})
    limits_seen.declare(any_ledger, **place, limits={Measure.REQUESTS: 600})
    assert rate_of(any_ledger, **place).requests == 80
