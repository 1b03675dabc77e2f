"""What models cost, checked against the table that was cross-checked by hand and against genai-prices itself."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price
from genai_prices.data import providers
from hypothesis import given, settings
from hypothesis import strategies as st

from offpeak.errors import ConfigurationError
from offpeak.money import PriceSheet, dollars
from offpeak.money.rates import per_million
from offpeak.providers.base import Usage

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
MILLION = 1_000_000

# model: standard input / cache read / cache write / output, then the same on the batch tier, in dollars per million
# tokens, as both providers' price pages had them on 2026-11-20. None: no price of its own.
TABLE = {
    "openai/gpt-6-astra": ("10 1 12.5 50", "5 0.5 6.25 25"),
    "openai/gpt-6.1-sol": ("2 0.1 2.5 10", "1 0.05 1.25 5"),
    "openai/gpt-6.1-terra": ("1 0.05 1.25 5", "0.5 0.025 0.625 2.5"),
    "openai/gpt-6-sol": ("2 0.2 2.5 10", "1 0.1 1.25 5"),
    "openai/gpt-6-luna": ("0.1 0.01 0.125 0.5", "0.05 0.005 0.0625 0.25"),
    "openai/gpt-5.6-sol": ("4 0.4 5 20", "2 0.2 2.5 10"),
    "openai/gpt-5.6-terra": ("2 0.2 2.5 12", "1 0.1 1.25 6"),
    "openai/gpt-5.6-luna": ("0.2 0.02 0.25 1.2", "0.1 0.01 0.125 0.6"),
    "openai/gpt-5.5": ("5 0.5 - 30", "2.5 0.25 - 15"),
    "openai/gpt-5.4-mini": ("0.75 0.075 - 4.5", "0.375 0.0375 - 2.25"),
    "openai/gpt-5-mini": ("0.25 0.025 - 2", "0.125 0.0125 - 1"),
    "openai/gpt-4.1-mini": ("0.4 0.1 - 1.6", "0.2 0.1 - 0.8"),
    "openai/gpt-4o-mini": ("0.15 0.075 - 0.6", "0.075 0.075 - 0.3"),
    "anthropic/claude-fable-5-2": ("8 0.2 10 40", "4 0.1 5 20"),
    "anthropic/claude-mythos-5-2": ("8 0.2 10 40", "4 0.1 5 20"),
    "anthropic/claude-fable-5-1": ("10 0.25 12.5 50", "5 0.125 6.25 25"),
    "anthropic/claude-opus-5-5": ("4 0.2 5 20", "2 0.1 2.5 10"),
    "anthropic/claude-opus-5": ("5 0.5 6.25 25", "2.5 0.25 3.125 12.5"),
    "anthropic/claude-opus-4-8": ("5 0.5 6.25 25", "2.5 0.25 3.125 12.5"),
    "anthropic/claude-sonnet-5-5": ("2 0.1 2.5 10", "1 0.05 1.25 5"),
    "anthropic/claude-sonnet-5": ("2 0.2 2.5 10", "1 0.1 1.25 5"),
    "anthropic/claude-sonnet-4-6": ("3 0.3 3.75 15", "1.5 0.15 1.875 7.5"),
    "anthropic/claude-haiku-5-5": ("0.1 0.01 0.125 0.5", "0.05 0.005 0.0625 0.25"),
    "anthropic/claude-haiku-4-5": ("1 0.1 1.25 5", "0.5 0.05 0.625 2.5"),
}


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> PriceSheet:
    """List prices and what Offpeak ships, without entries of a project."""
    empty = tmp_path_factory.mktemp("prices") / "price_sheet.toml"
    empty.write_text("")
    return PriceSheet.load(empty)


@pytest.mark.parametrize("model", TABLE)
def test_current_models_cost_what_their_providers_publish(sheet: PriceSheet, model: str) -> None:
    rates = sheet.rates(model, at=NOW)
    for tariff, published in zip((rates.realtime, rates.batch), TABLE[model], strict=True):
        names = ("input", "cache_read", "cache_write", "output")
        found = [str(per_million(getattr(tariff.base, n)).normalize()) if n in tariff.named else "-" for n in names]
        assert found == [x if x == "-" else str(Decimal(x).normalize()) for x in published.split()]


def test_the_small_embedding_model_costs_half_on_the_batch_tier(sheet: PriceSheet) -> None:
    cost = sheet.rates("openai/text-embedding-3-small", at=NOW).cost(Usage(input_tokens=MILLION))
    assert (dollars(cost.batch_pico), dollars(cost.realtime_pico)) == (Decimal("0.01"), Decimal("0.02"))


def test_the_large_embedding_model_costs_half_on_the_batch_tier(sheet: PriceSheet) -> None:
    cost = sheet.rates("openai/text-embedding-3-large", at=NOW).cost(Usage(input_tokens=MILLION))
    assert (dollars(cost.batch_pico), dollars(cost.realtime_pico)) == (Decimal("0.065"), Decimal("0.13"))


def test_moderation_is_known_to_be_free_and_says_where_that_was_read(sheet: PriceSheet) -> None:
    rates = sheet.rates("openai/omni-moderation-latest", at=NOW)
    assert rates.cost(Usage(input_tokens=MILLION))[:2] == (0, 0)
    assert "free" in rates.batch.cited


def test_a_long_context_changes_the_price_of_every_token_from_the_first_token_above_the_threshold(
    sheet: PriceSheet,
) -> None:
    rates = sheet.rates("anthropic/claude-haiku-5-5", at=NOW)
    at_threshold = rates.cost(Usage(input_tokens=100_000, output_tokens=1_000))
    above = rates.cost(Usage(input_tokens=100_001, output_tokens=1_000))
    assert at_threshold.batch_pico == 100_000 * 50_000 + 1_000 * 250_000
    assert above.batch_pico == 5 * (100_001 * 50_000 + 1_000 * 250_000)


def test_the_long_cache_write_of_anthropic_costs_twice_the_input(sheet: PriceSheet) -> None:
    rates = sheet.rates("anthropic/claude-sonnet-5-5", at=NOW)
    usage = Usage(input_tokens=MILLION, cache_write_tokens=MILLION, cache_write_1h_tokens=MILLION)
    assert [dollars(pico) for pico in rates.cost(usage)] == [Decimal(2), Decimal(4), Decimal(-1)]


def test_the_total_of_many_small_requests_is_not_charged_as_one_long_context(sheet: PriceSheet) -> None:
    rates = sheet.rates("anthropic/claude-haiku-5-5", at=NOW)
    one = Usage(input_tokens=50_000, output_tokens=100, cache_read_tokens=10_000)
    total = Usage(*(1_000 * count for count in one))
    assert rates.cost_of_many(total, answers=1_000) == tuple(1_000 * pico for pico in rates.cost(one))
    assert rates.cost_of_many(Usage(), answers=0)[:2] == (0, 0)


def test_more_cached_tokens_than_input_tokens_are_charged_as_reported(sheet: PriceSheet) -> None:
    rates = sheet.rates("anthropic/claude-sonnet-5-5", at=NOW)
    cost = rates.cost(Usage(input_tokens=5, cache_read_tokens=MILLION))
    assert dollars(cost.batch_pico) == Decimal("0.05")


PRICED = sorted(
    f"{provider.id}/{model.id}"
    for provider in providers
    if provider.id in {"openai", "anthropic"}
    for model in provider.models
    if provider.find_model(model.id) is model  # some ids are only the beginning of names, such as fine-tuned ones
    and any(variant.when == {"processing": "batch"} and vars(variant.prices) for variant in model.price_variants or ())
)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Consistent usage: the parts of the input never exceed it; sizes gather around the long-context thresholds."""
    size = st.one_of(st.integers(0, 10**6), st.sampled_from([0, 1, 100_000, 100_001, 200_001, 272_000, 272_001]))
    tokens = draw(size)
    read = draw(st.integers(0, tokens))
    write = draw(st.integers(0, tokens - read))
    return Usage(tokens, draw(st.integers(0, 10**6)), read, write, draw(st.integers(0, write)))


@settings(deadline=None)  # a busy machine is no wrong price
@given(
    model=st.sampled_from(PRICED),
    usage=usages(),
    at=st.integers(0, 20_000).map(lambda hours: datetime(2026, 10, 14, tzinfo=UTC) + timedelta(hours=hours)),
)
def test_every_cost_equals_what_genai_prices_calculates(
    sheet: PriceSheet, model: str, usage: Usage, at: datetime
) -> None:
    provider, _, name = model.partition("/")
    theirs = TheirUsage(**usage._asdict())
    ours = sheet.rates(model, at=at).cost(usage)
    for pico, context in ((ours.batch_pico, {"processing": "batch"}), (ours.realtime_pico, None)):
        expected = calc_price(
            theirs, name, provider_id=provider, genai_request_timestamp=at, price_context=context
        ).total_price
        assert dollars(pico) == expected


def test_a_dated_snapshot_costs_what_its_model_costs(sheet: PriceSheet) -> None:
    snapshot = sheet.rates("anthropic/claude-haiku-4-5-20251001", at=NOW)
    assert snapshot.batch == sheet.rates("anthropic/claude-haiku-4-5", at=NOW).batch


def test_an_unknown_model_is_refused_with_close_matches_and_the_entry_to_add(sheet: PriceSheet) -> None:
    with pytest.raises(ConfigurationError) as refused:
        sheet.rates("openai/gpt-6-lunar", at=NOW)
    message = str(refused.value)
    assert "no price is known for the model openai/gpt-6-lunar" in message
    assert "Did you mean openai/gpt-6-luna " in message
    assert 'model = "openai/gpt-6-lunar"' in message
    assert "price_sheet.toml" in message


def test_an_unknown_provider_is_refused_by_name(sheet: PriceSheet) -> None:
    with pytest.raises(ConfigurationError, match=r"'opnai' is not a provider .* Did you mean openai/gpt-6-luna"):
        sheet.rates("opnai/gpt-6-luna", at=NOW)


def test_a_model_without_its_provider_is_refused_with_the_full_name(sheet: PriceSheet) -> None:
    with pytest.raises(ConfigurationError, match="write provider/model, such as anthropic/claude-haiku-5-5"):
        sheet.rates("claude-haiku-5-5", at=NOW)


@pytest.mark.parametrize(
    "model",
    [
        "openai/text-embedding-ada-002",  # no batch variant in the data
        "openai/gpt-3.5-turbo-1106",  # an empty batch variant: the same as the standard price
        "anthropic/claude-sonnet-4-0",
    ],
)
def test_a_model_without_a_batch_rate_is_refused_and_never_charged_the_standard_price(
    sheet: PriceSheet, model: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"no batch rate is known for {model}") as refused:
        sheet.rates(model, at=NOW)
    assert f'[[price]]\nmodel = "{model}"\nsince = 2026-11-20' in str(refused.value)


def test_the_example_in_a_refusal_is_an_entry_that_works(sheet: PriceSheet, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        sheet.rates("acme/large-1", at=NOW)
    path = tmp_path / "price_sheet.toml"
    path.write_text("[[price]]" + str(refused.value).partition("[[price]]")[2].replace("0.00", "1.50"))
    assert PriceSheet.load(path).rates("acme/large-1", at=NOW).cost(Usage(MILLION, MILLION))[:2] == (
        3 * 10**12,
        3 * 10**12,
    )


def test_a_day_before_the_batch_data_begins_is_refused_and_says_when_it_begins(sheet: PriceSheet) -> None:
    with pytest.raises(ConfigurationError, match=r"on 2026-10-13 .* knows one from 2026-10-14 on"):
        sheet.rates("openai/gpt-6-luna", at=datetime(2026, 10, 13, 23, 59, tzinfo=UTC))


def test_a_price_begins_at_midnight_utc_wherever_the_clock_stands(sheet: PriceSheet) -> None:
    tokyo = timezone(timedelta(hours=9))
    assert sheet.rates("openai/gpt-6-luna", at=datetime(2026, 10, 14, 9, 0, tzinfo=tokyo))
    with pytest.raises(ConfigurationError, match="no batch rate"):
        sheet.rates("openai/gpt-6-luna", at=datetime(2026, 10, 14, 8, 59, tzinfo=tokyo))


def test_a_moment_without_a_time_zone_is_refused(sheet: PriceSheet) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        sheet.rates("openai/gpt-6-luna", at=NOW.replace(tzinfo=None))


def test_the_age_of_the_list_prices_is_counted_from_a_price_change_that_has_happened(sheet: PriceSheet) -> None:
    assert sheet.data_date(NOW) <= NOW.date()
    # Changes that were announced for later must not make old data look new.
    later = NOW + timedelta(days=400)
    assert sheet.age(later) >= timedelta(days=300)
    assert sheet.version.count(".") == 2
