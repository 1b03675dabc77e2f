"""Requests of one prefix are bought side by side, and the prefix is cached where enough of them share it."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from offpeak.assets.caching import cache_terms
from offpeak.assets.canary import question
from offpeak.errors import InvalidRequest
from offpeak.ledger import custom_ids, usage
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.prefixes import Prefixes
from offpeak.ledger.sampling import Sample
from offpeak.money import PriceSheet
from offpeak.money.caching import ENOUGH_TOUCHED
from offpeak.providers.base import CacheTerms, CacheUse, Kind, Provider
from offpeak.requests import Chat, Embedding, Request
from offpeak.requests.fingerprint import Fingerprinter

from ...conftest import Label, LocalProvider, Shop

THREE = CacheTerms(charged=True, fewest=3)
LUNA, SONNET, OLD = "openai/gpt-6-luna", "anthropic/claude-sonnet-5-5", "openai/gpt-5-mini"
RULES, OTHER = "These are the rules. " * 300, "These are other rules. " * 300
"""More than 1,024 tokens each."""


def chat(key: str, prefix: str | None = None, **fields: Any) -> Chat:
    return Chat(key=key, prefix=prefix, prompt=f"Ticket {key}", **fields)


def fresh(requests: Iterable[Request]) -> list[tuple[Request, bytes]]:
    return [(request, request.key.encode()) for request in requests]


def arranged(
    prefixes: Prefixes, requests: Sequence[Request], terms: CacheTerms = THREE
) -> list[tuple[str, CacheUse | None]]:
    rows, uses = prefixes.arranged(fresh(requests), terms)
    assert all(request.key.encode() == print_ for request, print_ in rows)
    return [(request.key, use) for (request, _), use in zip(rows, uses or [None] * len(rows), strict=True)]


def test_equal_prefixes_stand_together_in_the_order_in_which_they_came() -> None:
    rows = [chat("1", "A"), chat("2", "B"), chat("3"), chat("4", "A"), chat("5", "B"), chat("6", "A"), chat("7")]
    none, write = CacheUse.NONE, CacheUse.WRITE

    assert arranged(Prefixes(), rows) == [
        ("1", write), ("4", write), ("6", write), ("2", none), ("5", none), ("3", none), ("7", none),
    ]  # fmt: skip


@pytest.mark.parametrize(("length", "use"), [(1_999, CacheUse.NONE), (2_000, CacheUse.WRITE)])
def test_a_prefix_that_is_too_short_for_the_cache_whatever_its_language_is_not_marked(
    length: int, use: CacheUse
) -> None:
    rows = [chat(str(number), "x" * length) for number in range(3)]
    terms = CacheTerms(charged=True, fewest=3, least_tokens=1_000)

    assert {each for _, each in arranged(Prefixes(), rows, terms)} == {use}


def test_how_long_it_has_to_be_is_what_the_price_sheet_says(shop: Shop) -> None:
    rates = PriceSheet.load().rates(LUNA, at=datetime.now(UTC))
    found = cache_terms(shop.ledger, shop.provider, rates, asset="a", model="gpt-6-luna")
    assert found.least_tokens == 1024


def test_rows_of_one_prefix_and_rows_without_any_stay_where_they_are() -> None:
    one = [chat(str(number), "A") for number in range(4)]
    plain = [chat(str(number)) for number in range(4)]
    texts = [Embedding(key=str(number), text="a") for number in range(4)]

    assert arranged(Prefixes(), one) == [(str(number), CacheUse.WRITE) for number in range(4)]
    assert arranged(Prefixes(), plain) == [(str(number), None) for number in range(4)]
    assert arranged(Prefixes(), texts) == [(str(number), None) for number in range(4)]


def test_a_prefix_is_shared_within_one_scope() -> None:
    rows = [chat(str(number), "A", scope=f"tenant-{number % 2}") for number in range(4)]
    assert {use for _, use in arranged(Prefixes(), rows)} == {CacheUse.NONE}


def test_what_was_cached_is_cached_in_later_blocks_however_few_share_it() -> None:
    prefixes = Prefixes()
    arranged(prefixes, [chat(str(number), "A") for number in range(3)])

    assert arranged(prefixes, [chat("3", "A"), chat("4", "B")]) == [("3", CacheUse.WRITE), ("4", CacheUse.NONE)]
    assert (prefixes.requests, prefixes.cached) == (5, 4)


def test_a_key_is_told_where_writing_is_free_and_nothing_where_it_never_pays() -> None:
    rows = [chat("1", "A"), chat("2", "A")]

    assert {use for _, use in arranged(Prefixes(), rows, CacheTerms(fewest=2))} == {CacheUse.KEY}
    assert {use for _, use in arranged(Prefixes(), rows, CacheTerms(charged=True))} == {CacheUse.NONE}


def test_memory_does_not_grow_with_the_prefixes() -> None:
    prefixes = Prefixes()
    for number in range(3_000):
        arranged(prefixes, [chat(str(row), f"A{number}") for row in range(3)])
    assert len(prefixes._cached) <= 1_024


# --- in a plan ------------------------------------------------------------------------------------------------------


def shop_of(ledger: Ledger, server: LocalProvider, model: str) -> Shop:
    return Shop(ledger, server.open(model.partition("/")[0]), model=model)


def lines(ledger: Ledger, provider: Provider) -> list[dict[str, Any]]:
    """The newest spool file, line by line."""
    path = max(ledger.spool.glob("*.spool"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    head, separator, tail = provider.spooling.head, provider.spooling.separator, provider.spooling.tail
    text = path.read_bytes().removeprefix(head).removesuffix(tail)
    return [orjson.loads(line) for line in text.split(separator)]


def marked(body: dict[str, Any]) -> bool:
    return b'"cache_control"' in orjson.dumps(body) or b'"prompt_cache_breakpoint"' in orjson.dumps(body)


def mixed(count: int) -> list[Chat]:
    """Every other row has one prefix; the last has one of its own."""
    rows = [chat(f"T{number:03d}", (RULES, OTHER)[number % 2]) for number in range(count)]
    return [*rows, chat("alone", "Nobody shares this.")]


@pytest.mark.parametrize("model", [LUNA, SONNET])
def test_a_plan_is_written_in_the_order_of_its_prefixes_and_each_body_keeps_its_fingerprint(
    ledger: Ledger, local_provider: LocalProvider, model: str
) -> None:
    shop = shop_of(ledger, local_provider, model)
    rows = mixed(14)
    shop.leave(rows)
    found = lines(ledger, shop.provider)
    bodies = [line.get("body") or line["params"] for line in found]

    begun = ["other" if "other rules" in str(body) else "alone" if "Nobody" in str(body) else "one" for body in bodies]
    assert begun == ["one"] * 7 + ["other"] * 7 + ["alone"]
    assert [marked(body) for body in bodies] == [True] * 14 + [False]
    printer = Fingerprinter(
        realm=shop.provider.realm,
        endpoint=shop.provider.endpoint(Kind.CHAT),
        model=model.partition("/")[2],
        output=Label,
    )
    print_of = {request.prompt: printer.of(request) for request in rows}
    for line, body in zip(found, bodies, strict=True):
        asked = body["messages"][-1]["content"] if "messages" in body else body["input"]
        asked = asked if isinstance(asked, str) else asked[-1]["content"]
        letters = custom_ids.base32(print_of[asked])
        assert line["custom_id"][16:48] == letters


@pytest.mark.parametrize(("model", "fewest"), [(LUNA, 2), (SONNET, 6)])
def test_fewer_than_it_pays_for_are_not_cached(
    ledger: Ledger, local_provider: LocalProvider, model: str, fewest: int
) -> None:
    shop = shop_of(ledger, local_provider, model)

    def cached(count: int) -> int:
        told = shop.quote([chat(f"{count}-{number}", RULES) for number in range(count)])
        assert told.prefix_requests == count
        assert f"from {fewest} requests of one prefix on" in told.prefix_caching
        return int(told.prefix_requests_cached)

    assert cached(fewest - 1) == 0
    assert cached(fewest) == fewest
    assert shop.quote([chat("plain")]).prefix_caching is None


def test_a_model_that_writes_for_nothing_is_told_a_key(ledger: Ledger, local_provider: LocalProvider) -> None:
    shop = shop_of(ledger, local_provider, OLD)
    receipt = shop.buy([chat(f"T{number}", RULES) for number in range(4)])
    (key,) = {line["body"]["prompt_cache_key"] for line in lines(ledger, shop.provider)}

    assert len(key) == 32
    assert receipt.cached_tokens > 0
    assert receipt.cache_write_tokens == 0
    assert receipt.cache_hit_share == receipt.cached_tokens / receipt.input_tokens


@pytest.mark.parametrize("model", [LUNA, SONNET, OLD])
def test_what_was_bought_with_a_system_text_is_not_bought_again_with_a_prefix(
    ledger: Ledger, local_provider: LocalProvider, model: str
) -> None:
    shop = shop_of(ledger, local_provider, model)
    shop.buy([Chat(key=f"T{number}", system=f"{RULES}\n\nBe brief.", prompt=f"{number}") for number in range(8)])
    again = shop.buy(
        [Chat(key=f"T{number}", prefix=RULES, system="Be brief.", prompt=f"{number}") for number in range(8)]
    )

    assert (again.bought, again.reused) == (0, 8)


@pytest.mark.parametrize("model", [LUNA, SONNET])
def test_what_a_cache_was_good_for_is_on_the_receipt_and_as_the_provider_counts_it(
    ledger: Ledger, local_provider: LocalProvider, model: str
) -> None:
    shop = shop_of(ledger, local_provider, model)
    receipt = shop.buy(mixed(40))

    tally = local_provider.tally(shop.provider.name)
    assert receipt.cached_tokens == tally["cache_read_tokens"] > 0
    assert receipt.cache_write_tokens == tally["cache_write_tokens"] > 0
    assert receipt.cache_hit_share == receipt.cached_tokens / (receipt.cached_tokens + receipt.cache_write_tokens)
    rates = PriceSheet.load().rates(model, at=datetime.now(UTC)).batch.base
    plain = receipt.input_tokens * rates.input + receipt.output_tokens * rates.output
    assert receipt.cache_saved.scaleb(12) == plain - receipt.cost.scaleb(12) > 0


@pytest.mark.parametrize("model", [LUNA, SONNET])
def test_where_the_cache_was_found_empty_it_is_written_no_more(
    ledger: Ledger, local_provider: LocalProvider, model: str
) -> None:
    local_provider.settings(cache_hit_share=0)
    shop = shop_of(ledger, local_provider, model)
    first = shop.buy([chat(f"A{number}", RULES) for number in range(ENOUGH_TOUCHED)])
    assert first.cached_tokens == 0
    assert first.cache_saved < 0

    told = shop.quote([chat(f"B{number}", RULES) for number in range(40)])
    assert told.prefix_requests_cached == 0
    assert "never pays" in told.prefix_caching
    second = shop.buy([chat(f"B{number}", RULES) for number in range(40)])
    assert (second.cached_tokens, second.cache_write_tokens, second.cache_saved) == (0, 0, 0)
    assert not any(marked(line.get("body") or line["params"]) for line in lines(ledger, shop.provider))


def test_a_share_of_hits_is_learned_from_this_asset_at_this_model(
    ledger: Ledger, local_provider: LocalProvider
) -> None:
    local_provider.settings(cache_hit_share=0)
    shop = shop_of(ledger, local_provider, LUNA)
    shop.buy([chat(f"A{number}", RULES) for number in range(ENOUGH_TOUCHED)])

    def of(asset: str, model: str) -> CacheTerms:
        rates = PriceSheet.load().rates(f"openai/{model}", at=datetime.now(UTC))
        return cache_terms(ledger, shop.provider, rates, asset=asset, model=model)

    assert of(shop.asset, "gpt-6-luna").fewest is None
    assert of("another", "gpt-6-luna").fewest == 2
    assert of(shop.asset, "gpt-6-sol").fewest == 2


def test_what_is_written_to_a_cache_is_expected_again(ledger: Ledger, local_provider: LocalProvider) -> None:
    local_provider.settings(cache_hit_share=0.7)
    shop = shop_of(ledger, local_provider, SONNET)
    first = shop.buy([chat(f"A{number:03d}", RULES) for number in range(100)])
    used = usage.past(ledger, asset=shop.asset, model="claude-sonnet-5-5", kind=Kind.CHAT)
    assert sum(each.cache_write_long_tokens for each in used) == sum(each.cache_write_tokens for each in used) > 0

    told = shop.quote([chat(f"B{number:03d}", RULES) for number in range(200)])
    assert float(told.estimated_cost) == pytest.approx(2 * float(first.cost), rel=0.01)


@pytest.mark.parametrize("model", [LUNA, SONNET])
def test_a_sample_is_drawn_and_answered_as_ever(ledger: Ledger, local_provider: LocalProvider, model: str) -> None:
    shop = shop_of(ledger, local_provider, model)
    rows = mixed(20)
    told = shop.quote(rows, sample=Sample(rows=5))
    receipt = shop.buy(rows, sample=Sample(rows=5, max_failures=0.5), deadline=timedelta(hours=30))

    assert len(told.sample_keys) == 5
    assert receipt.rows == 21
    assert set(shop.frame()["key"]) == {request.key for request in rows}
    assert local_provider.tally(shop.provider.name)["realtime_answers"] == 5


@pytest.mark.parametrize("model", [LUNA, SONNET, OLD])
def test_of_a_drawn_row_what_differs_is_shown_and_not_what_all_begin_with(
    local_provider: LocalProvider, model: str
) -> None:
    encode = local_provider.open(model.partition("/")[0]).encoder(
        kind=Kind.CHAT, model="m", output=None, writes_charged=model != OLD
    )
    for use in CacheUse:
        assert question(encode(chat("T1", RULES, system="Be brief."), use)) == "Ticket T1"


def test_a_row_whose_prefix_is_a_missing_cell_is_refused(ledger: Ledger, local_provider: LocalProvider) -> None:
    shop = shop_of(ledger, local_provider, LUNA)
    with pytest.raises(InvalidRequest, match="row 'T1' has a prefix that is nan"):
        shop.buy([chat("T0", RULES), chat("T1", float("nan"))])  # type: ignore[arg-type]
