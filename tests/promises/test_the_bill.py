"""The bill is what the provider charges: compared with a second sum, made plainly, over the provider's own list.

Everything that makes a bill hard happens in it: attempts that bring nothing usable, prompts that a cache knows, prompts
beyond the long-context price, batches that expire, a rescue at realtime price, purchases that assets share.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from offpeak.assets.rescued import AtDeadline
from offpeak.lanes.rule import Forced
from offpeak.ledger import billing
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.money.bill import Bill, By
from offpeak.providers.base import Provider
from offpeak.requests import Chat, Embedding, Image

from ..conftest import EMBEDDING_MODEL, ROOT, LocalProvider, Place, QuickClock, Shop, tickets, until
from .plain_bill import added_up

H, MIN = timedelta(hours=1), timedelta(minutes=1)
EVER = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
TAXONOMY = "An invoice is about money. A crash is a bug. A question is how-to. " * 80
"""About 1,300 tokens: enough for a cache."""

PICTURE = Image.from_path(ROOT / "sample_data" / "pictures" / "logo.png")

Account = Callable[..., Provider]


@pytest.fixture
def books(any_place: Place) -> Iterator[Ledger]:
    """A ledger that goes by a clock which can jump."""
    with Ledger.open(any_place.url, spool_dir=any_place.spool, clock=QuickClock()) as ledger:
        yield ledger


def shop_at(books: Ledger, account: Provider, asset: str, **more: Any) -> Shop:
    return Shop(books, account, asset=asset, clock=books.clock, **more)


def bill(books: Ledger, *by: By) -> Bill:
    return Bill.of(billing.lines(books, since=EVER[0], until=EVER[1]), by)


def costs(found: Bill, *, realtime: bool = False) -> dict[Any, Any]:
    """Dollars by group, without those that cost nothing."""
    return {
        key[0] if len(key) == 1 else key: total.realtime if realtime else total.cost
        for key, total in found.groups.items()
        if total.cost
    }


def test_the_bill_is_what_the_provider_charges(
    books: Ledger, open_account: Account, local_provider: LocalProvider
) -> None:
    openai, anthropic = open_account(max_requests=5), open_account("anthropic", max_requests=5)
    # retries: some answers are cut, refused or do not fit, and some lines fail
    local_provider.fault("unusable_lines", share=0.4, how="length")
    local_provider.fault("unusable_lines", share=0.4, how="invalid", match={"nth_create": 2})
    local_provider.fault("error_lines", share=0.4, match={"nth_create": 3})
    retried = shop_at(books, openai, "retried").buy(tickets(15))
    # expiry: what was answered until then is kept and billed
    local_provider.fault("expire", share=0.6, match={"provider": "anthropic"})
    shop_at(books, anthropic, "expired").buy(tickets(10, start=100))
    # a cache: at OpenAI by itself
    shop_at(books, openai, "cached", system=TAXONOMY).buy(tickets(10, start=200))
    luna = shop_at(books, openai, "luna", system=TAXONOMY, model="openai/gpt-6-luna")
    luna.buy(tickets(10, start=300))
    # and where a prefix is marked: written for an hour at Anthropic, up to a breakpoint at OpenAI
    asked = [Chat(key=str(number), prefix=TAXONOMY, prompt=f"Ticket {number}") for number in range(10)]
    shop_at(books, anthropic, "marked").buy(asked)
    luna.buy(asked, asset="marked_too")
    # long contexts, on the batch tier and at realtime price
    book = "It was a dark and stormy night. "
    luna.buy([Chat(key="long", prompt=book * 35_000), Chat(key="short", prompt=book)], asset="long_openai")
    haiku = shop_at(books, anthropic, "long_anthropic")
    haiku.buy([Chat(key="long", prompt=book * 13_000), Chat(key="short", prompt=book)])
    haiku.buy(
        [Chat(key="long", prompt=book * 13_001), Chat(key="short", prompt=book * 2)],
        asset="long_calls",
        forced=Forced(lane=Lane.BACKGROUND, by="a test"),
    )
    # vectors, and questions about pictures
    texts = [Embedding(key=str(number), text=f"Text {number}") for number in range(4)]
    shop_at(books, openai, "vectors", model=EMBEDDING_MODEL, output=None).buy(texts)
    haiku.buy([Chat(key="picture", prompt="What is this?", images=(PICTURE,))], asset="pictures")
    # calls, some of them on the flex tier, and some again
    local_provider.settings(openai_flex_capacity=0.5)
    local_provider.fault("realtime_500", times=3)
    shop_at(books, openai, "called").buy(tickets(12, start=400), forced=Forced(lane=Lane.BACKGROUND, by="a test"))
    # a purchase that two assets share
    first = shop_at(books, openai, "first").begin(tickets(7, start=500))
    second = shop_at(books, openai, "second").begin(tickets(5, start=500))
    shop_at(books, openai, "first").collect(first)
    shop_at(books, openai, "second").collect(second)
    # a rescue
    late = shop_at(books, openai, "late")
    local_provider.fault("never_end", share=0.4, match={"model": "gpt-5-mini"})
    batches = len(local_provider.batches())
    job_id = late.leave(tickets(10, start=600), deadline=12 * H)
    until(
        lambda: (
            sum(
                each["ended_at"] is not None
                for each in local_provider.batches()[: len(local_provider.batches()) - batches]
            )
            == 1
        ),
        what="the other batch's end",
    )
    late.clock.jump(12 * H - 40.2 * MIN)
    work = late.work(job_id, asset="late", at_deadline=AtDeadline())
    work.carry_out()
    rescued = work.close()

    answers = local_provider.purchases()
    total = bill(books).total
    assert total.cost == sum(added_up(answers, lambda _: "").values())
    assert total.realtime == sum(added_up(answers, lambda _: "", "realtime").values())
    assert costs(bill(books, "model")) == added_up(answers, lambda each: f"{each['provider']}/{each['model']}")
    assert costs(bill(books, "tier")) == added_up(answers, lambda each: each["lane"])
    # and everything that it was to be about is in it
    assert total.unusable > 0
    assert retried.rows == 15
    assert rescued.rescued > 0
    assert total.rescues_pico > 0
    assert total.retries_pico > 0
    assert total.cached_tokens > 0
    assert total.cache_write_tokens > 0
    assert {each["provider"] for each in answers if each["cache_write_long_tokens"]} == {"anthropic"}
    assert {each["lane"] for each in answers} == {"batch", "realtime", "flex"}
    assert sum(each["input_tokens"] > 272_000 for each in answers) == 1
    shared = costs(bill(books, "asset"))
    assert shared["second"] > 0
    assert shared["first"] > shared["second"]
