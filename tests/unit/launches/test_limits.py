"""Who says what the limits of a launch's models are."""

from datetime import UTC, datetime

from offpeak.launches.limits import Limit, Limits, Source, known_limits, terms_to_write
from offpeak.money.sheet import read_sheet
from offpeak.providers.realtime import Measure

from .sample import HAIKU, MINI, limits

SEEN = Limit(per_minute=90, source=Source.SEEN, seen_at=datetime(2026, 11, 20, tzinfo=UTC))


def seen(model: str) -> Limits:
    return {Measure.REQUESTS: SEEN} if model == MINI else {}


def test_what_the_provider_said_comes_before_the_price_sheet_for_each_limit_by_itself() -> None:
    found = known_limits([MINI], seen=seen, declared=lambda _: limits(500, 70_000))[MINI]
    assert found[Measure.REQUESTS] == SEEN
    assert found[Measure.TOKENS] == Limit(per_minute=70_000, source=Source.PRICE_SHEET)


def test_a_model_of_which_nobody_knows_anything_has_no_limits() -> None:
    assert known_limits([MINI, HAIKU], seen=seen, declared=lambda _: {})[HAIKU] == {}


def test_what_is_to_be_written_can_be_read() -> None:
    (terms,) = read_sheet(terms_to_write(HAIKU), name="a sheet").terms
    assert (terms.model, terms.requests_per_minute, terms.tokens_per_minute) == (HAIKU, 500, 500_000)
