"""From how many requests on a prefix is worth caching, reckoned by hand and against the price sheet."""

from datetime import UTC, datetime
from fractions import Fraction

import pytest

from offpeak.money import PriceSheet
from offpeak.money.caching import ASSUMED_SHARE, ENOUGH_TOUCHED, Hits, fewest, learned, terms
from offpeak.money.rates import Tariff, TokenRates
from offpeak.providers.base import CacheUse

AT = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture(scope="module")
def sheet() -> PriceSheet:
    return PriceSheet.load()


def batch(sheet: PriceSheet, model: str) -> Tariff:
    return sheet.rates(model, at=AT).batch


BY_HAND = [
    # sonnet-5-5: 1, 0.05 and 2 dollars; s has to be more than 1 / 1.95 = 0.5128
    (1_000_000, 50_000, 2_000_000, "0.64", 6),  # n = 5: 0.512, n = 6: 0.5333
    (1_000_000, 50_000, 2_000_000, "1", 3),  # n = 2: 0.5, n = 3: 0.667
    (1_000_000, 50_000, 2_000_000, "0.55", 15),  # n = 14: 0.5107, n = 15: 0.5133
    (1_000_000, 50_000, 2_000_000, "0.51", None),
    # haiku-5-5: 0.05, 0.005 and 0.1 dollars; s has to be more than 0.05 / 0.095 = 0.5263
    (50_000, 5_000, 100_000, "0.64", 6),  # n = 5: 0.512, n = 6: 0.5333
    # gpt-6-luna: 0.05, 0.005 and 0.0625 dollars; s has to be more than 0.0125 / 0.0575 = 0.2174
    (50_000, 5_000, 62_500, "0.64", 2),  # n = 2: 0.32
    (50_000, 5_000, 62_500, "0.3", 4),  # n = 3: 0.2, n = 4: 0.225
    (50_000, 5_000, 62_500, "0.2", None),
    # exactly even is not worth it: s has to be more than 1 / 2, and n = 2 with H = 1 is just that
    (10, 0, 20, "1", 3),
    (10, 0, 20, "0.5", None),
    # a write that costs no more than input always pays, and a read that costs as much never
    (10, 5, 10, "0.01", 2),
    (10, 10, 20, "1", None),
    (10, 10, 10, "1", None),
]


@pytest.mark.parametrize(("plain", "read", "write", "share", "expected"), BY_HAND)
def test_the_fewest_requests(plain: int, read: int, write: int, share: str, expected: int | None) -> None:
    assert fewest(plain=plain, read=read, write=write, share=Fraction(share)) == expected


@pytest.mark.parametrize(("plain", "read", "write", "share", "_"), BY_HAND)
def test_it_is_the_first_number_for_which_caching_costs_less(
    plain: int, read: int, write: int, share: str, _: int | None
) -> None:
    def pays(requests: int) -> bool:
        hits = Fraction(requests - 1, requests) * Fraction(share)
        return hits * read + (1 - hits) * write < plain

    expected = next((requests for requests in range(2, 1_000) if pays(requests)), None)
    assert fewest(plain=plain, read=read, write=write, share=Fraction(share)) == expected


@pytest.mark.parametrize(
    ("model", "when_told", "use", "expected"),
    [
        ("anthropic/claude-sonnet-5-5", True, CacheUse.WRITE, 6),
        ("anthropic/claude-haiku-5-5", True, CacheUse.WRITE, 6),
        ("openai/gpt-6-luna", False, CacheUse.WRITE, 2),
        ("openai/gpt-5.6-sol", False, CacheUse.WRITE, 2),
        ("openai/gpt-5.5", False, CacheUse.KEY, 2),
        ("openai/gpt-5-mini", False, CacheUse.KEY, 2),
        ("openai/gpt-4o-mini", False, CacheUse.NONE, None),  # on the batch tier a cached token costs as much
    ],
)
def test_the_models_of_the_price_sheet(
    sheet: PriceSheet, model: str, when_told: bool, use: CacheUse, expected: int | None
) -> None:
    found = terms(batch(sheet, model), Hits(), when_told=when_told)

    assert (found.use, found.fewest) == (use, expected)
    assert found.charged is (use is CacheUse.WRITE)


def test_few_hits_turn_it_off_and_it_says_from_when_on_it_would_pay(sheet: PriceSheet) -> None:
    luna = batch(sheet, "openai/gpt-6-luna")
    few = terms(luna, learned(read=1_000, written=9_000, touched=340), when_told=False)

    assert (few.use, few.fewest, few.charged) == (CacheUse.NONE, None, True)
    assert few.why == (
        "a write costs 1.25 times as much as input, a read 0.1 times; with 10% of cached text being read, as in 340 "
        "past requests, that never pays, it takes more than 22%"
    )
    assert "from 2 requests of one prefix on" in terms(luna, Hits(), when_told=False).why


def test_too_few_past_requests_tell_nothing() -> None:
    assert learned(read=1, written=99, touched=ENOUGH_TOUCHED - 1) == Hits(share=ASSUMED_SHARE)
    assert learned(read=1, written=99, touched=ENOUGH_TOUCHED).share == Fraction(1, 100)
    assert learned(read=0, written=0, touched=ENOUGH_TOUCHED).share == ASSUMED_SHARE


def test_what_nobody_states_is_not_guessed() -> None:
    named = frozenset({"input", "output", "cache_read", "cache_write"})
    rates = TokenRates(input=100, cache_read=10, cache_write=125, cache_write_1h=125, output=500)
    for tariff, when_told in [
        (Tariff(base=rates, named=named), True),  # how much the longer life costs is not stated
        (Tariff(base=rates, named=named - {"cache_read"}), False),
    ]:
        assert terms(tariff, Hits(), when_told=when_told).use is CacheUse.NONE
