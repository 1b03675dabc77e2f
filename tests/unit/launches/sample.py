"""The launch of `launches.yaml`, and limits for it, as the tests of what is reckoned for a launch have them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from offpeak.launches.launch import Launch, OpenBatches, Session
from offpeak.launches.limits import Limits, declared_limits
from offpeak.providers.realtime import Measure

MINI, HAIKU = "openai/gpt-5-mini", "anthropic/claude-haiku-5-5"

SESSION = Session(length=timedelta(minutes=12), requests=8, input_tokens=9_600, output_tokens=2_400)

STARTS = datetime(2027, 3, 9, 8, tzinfo=UTC)


def launch(**changes: Any) -> Launch:
    """600 requests a minute at the peak, of 1,500 tokens each; 30% of them ask a model."""
    values: dict[str, Any] = {
        "name": "spring_release",
        "starts": STARTS,
        "ends": STARTS + timedelta(hours=12),
        "zone": "Europe/Berlin",
        "peak_at": STARTS + timedelta(hours=2.5),
        "peak_users": 900,
        "session": SESSION,
        "precomputed_share": 0.7,
        "models": {MINI: 0.8, HAIKU: 0.2},
        "spare": 0.2,
        "raise_time": timedelta(days=14),
        "quiet": timedelta(days=7),
        "open_batches": OpenBatches.FINISH,
        "notice": timedelta(hours=24),
    }
    return Launch(**values | changes)


def limits(requests: int | None, tokens: int | None) -> Limits:
    """Of one model, a minute, as a price sheet says them."""
    both = {Measure.REQUESTS: requests, Measure.TOKENS: tokens}
    return declared_limits({measure: limit for measure, limit in both.items() if limit is not None})


TIER = {MINI: limits(500, 500_000), HAIKU: limits(50, 50_000)}
"""Those of price_sheet.toml."""
