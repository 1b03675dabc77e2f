"""The background lane: each request is called once, each answer is stored as it comes, and nothing is lost."""

import _thread
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from offpeak.errors import ConfigurationError, JobFailed, LedgerUnavailable
from offpeak.lanes import background
from offpeak.lanes.background import Terms
from offpeak.lanes.rule import Forced
from offpeak.ledger import limits_seen, sightings, tables
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import POSSIBLY_PAID, FailurePolicy
from offpeak.ledger.states import ChunkState, SubmissionState
from offpeak.money import PriceSheet
from offpeak.providers.base import BATCH_WINDOW, Provider, Usage
from offpeak.providers.realtime import Measure
from offpeak.requests import Chat, Embedding

from ...conftest import EMBEDDING_MODEL, LocalProvider, QuickClock, Shop, Through, tickets

Account = Callable[..., Provider]
IN_BACKGROUND = Forced(lane=Lane.BACKGROUND, by="a test")


def called(ledger: Ledger) -> list[int]:
    """Requests that are written down as called and have no outcome, or whose chunk is open."""
    with ledger.database.read() as connection:
        return list(connection.execute(sa.select(tables.call.c.request_id)).scalars())


def failures(ledger: Ledger) -> list[str]:
    with ledger.database.read() as connection:
        return list(connection.execute(sa.select(tables.failure.c.reason)).scalars())


def test_every_request_is_called_once_and_no_batch_is_made(any_shop: Shop, local_provider: LocalProvider) -> None:
    receipt = any_shop.buy(tickets(120), forced=IN_BACKGROUND)

    tally = local_provider.tally("openai")
    assert (receipt.rows, receipt.bought, receipt.failed, receipt.lane) == (120, 120, 0, "background")
    assert (tally["realtime_answers"], tally["batches_created"]) == (120, 0)
    assert local_provider.answered(at_least=2) == []
    assert set(any_shop.frame()["key"]) == set(tickets(120))
    assert called(any_shop.ledger) == []


def test_what_was_bought_in_one_lane_is_not_bought_again_in_the_other(
    shop: Shop, local_provider: LocalProvider
) -> None:
    shop.buy(tickets(5), forced=IN_BACKGROUND)
    shop.buy(tickets(5))
    again = shop.buy(tickets(8), forced=IN_BACKGROUND)

    assert (again.reused, again.bought) == (5, 3)
    tally = local_provider.tally("openai")
    assert (tally["realtime_answers"], tally["batch_answers"]) == (8, 0)


def test_it_costs_the_realtime_price_and_saves_nothing(
    ledger: Ledger, open_account: Account, local_provider: LocalProvider
) -> None:
    shop = Shop(ledger, open_account("anthropic"))

    receipt = shop.buy(tickets(4), forced=IN_BACKGROUND)

    rates = PriceSheet.load().rates(shop.model, at=datetime.now(UTC))
    tally = local_provider.tally("anthropic")
    per_token = rates.cost_of_many(Usage(tally["input_tokens"], tally["output_tokens"]), answers=4)
    assert receipt.cost == receipt.realtime_cost == Decimal(per_token.realtime_pico).scaleb(-12)
    assert receipt.saved == 0


def test_flex_processing_is_used_where_there_is_time_and_billed_as_such(
    shop: Shop, local_provider: LocalProvider
) -> None:
    receipt = shop.buy(tickets(4), forced=IN_BACKGROUND)

    assert local_provider.tally("openai")["flex_answers"] == 4
    assert receipt.cost == receipt.realtime_cost / 2  # gpt-5-mini: list price of flex processing


def test_close_to_its_deadline_nothing_is_offered_to_the_slower_tier(shop: Shop, local_provider: LocalProvider) -> None:
    shop.buy(tickets(4), forced=IN_BACKGROUND, deadline=background.FLEX_NEEDS - timedelta(minutes=1))

    tally = local_provider.tally("openai")
    assert (tally["realtime_answers"], tally["flex_answers"]) == (4, 0)


@pytest.mark.parametrize(
    "setting", [{"openai_flex_capacity": 0}, {"openai_models_without_flex": ["gpt-5-mini"]}], ids=["short", "without"]
)
def test_what_the_slower_tier_does_not_take_is_called_at_the_standard_one(
    shop: Shop, local_provider: LocalProvider, setting: dict[str, Any]
) -> None:
    local_provider.settings(**setting)

    receipt = shop.buy(tickets(10), forced=IN_BACKGROUND)

    tally = local_provider.tally("openai")
    assert (receipt.rows, tally["realtime_answers"], tally["flex_answers"]) == (10, 10, 0)
    assert receipt.cost == receipt.realtime_cost
    if "openai_models_without_flex" in setting:
        assert tally["realtime_failed"] <= background.IN_FLIGHT
    assert failures(shop.ledger) == []


def test_embeddings_are_called_too(ledger: Ledger, open_account: Account, local_provider: LocalProvider) -> None:
    shop = Shop(ledger, open_account(), model=EMBEDDING_MODEL, output=None)
    rows = [Embedding(key=f"D-{number}", text=f"Text {number}.") for number in range(6)]

    assert shop.buy(rows, forced=IN_BACKGROUND).rows == 6
    assert local_provider.tally("openai")["realtime_answers"] == 6


def test_refusals_for_a_limit_are_waited_out_and_count_as_no_attempt(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    local_provider.fault("realtime_429", times=30, retry_after=5)

    receipt = any_shop.buy(tickets(20), forced=IN_BACKGROUND, policy=FailurePolicy(attempts=1))

    assert (receipt.rows, receipt.failed) == (20, 0)
    assert failures(any_shop.ledger) == []
    assert local_provider.tally("openai")["realtime_answers"] == 20


def test_a_provider_that_is_away_is_waited_for_and_costs_no_attempts(shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("realtime_500", times=50, status=503)

    receipt = shop.buy(tickets(20), forced=IN_BACKGROUND, policy=FailurePolicy(attempts=1))

    assert (receipt.rows, receipt.failed) == (20, 0)
    assert failures(shop.ledger) == []


class Healing(QuickClock):
    """A clock by which the provider is well again once so much has been slept away."""

    def __init__(self, provider: LocalProvider, after: timedelta) -> None:
        super().__init__()
        self._provider, self._ill = provider, self.now() + after
        self.healed = False

    def sleep(self, duration: timedelta) -> None:
        super().sleep(duration)
        if not self.healed and self.now() >= self._ill:
            self._provider.call("DELETE", "/local/faults")
            self.healed = True


@pytest.mark.parametrize(
    ("any_place", "fault"), [("sqlite", "realtime_500"), ("postgres", "realtime_reset")], indirect=["any_place"]
)
def test_an_outage_of_hours_is_waited_out_and_the_rest_is_called_then(
    any_ledger: Ledger, open_account: Account, local_provider: LocalProvider, fault: str
) -> None:
    """Whether the provider says so itself or breaks connections, after which a call may have been billed."""
    clock = Healing(local_provider, timedelta(hours=3))
    shop = Shop(any_ledger, open_account(), clock=clock)
    local_provider.fault(fault, times=None, **({"status": 503} if fault == "realtime_500" else {}))

    receipt = shop.buy(tickets(30), forced=IN_BACKGROUND, policy=FailurePolicy(attempts=1))

    assert clock.healed
    assert (receipt.rows, receipt.failed) == (30, 0)
    assert local_provider.answered(at_least=2) == []
    assert set(failures(any_ledger)) == ({POSSIBLY_PAID} if fault == "realtime_reset" else set())


def test_one_request_that_cannot_be_answered_goes_round_while_the_others_are(
    shop: Shop, local_provider: LocalProvider
) -> None:
    refusing = Through(shop.provider, caller=lambda inner: _Fussy(inner.caller(), "number 7 "))
    shop.provider = refusing  # type: ignore[assignment]

    receipt = shop.buy(tickets(40), forced=IN_BACKGROUND)

    assert (receipt.rows, receipt.failed) == (39, 1)
    assert failures(shop.ledger) == ["unavailable"] * 3
    assert local_provider.answered(at_least=2) == []


class _Fussy:
    """A caller whose provider fails whenever it is asked about one thing."""

    def __init__(self, inner: Any, words: str) -> None:
        self._inner, self._words = inner, words.encode()

    async def ask(self, *, body: bytes, **more: Any) -> Any:
        if self._words in body:
            from offpeak.errors import ProviderUnavailable

            raise ProviderUnavailable("It failed. Nothing was bought.")
        return await self._inner.ask(body=body, **more)

    async def close(self) -> None:
        await self._inner.close()


def test_an_answer_that_was_lost_is_asked_for_again_and_counted(shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("realtime_ghost_reset", times=3)

    receipt = shop.buy(tickets(20), forced=IN_BACKGROUND, policy=FailurePolicy(attempts=1))

    assert (receipt.rows, receipt.failed, receipt.possibly_paid_twice) == (20, 0, 3)
    assert failures(shop.ledger) == [POSSIBLY_PAID] * 3
    assert len(local_provider.answered(at_least=2)) == 3


def test_a_wrong_request_is_a_dead_letter_and_the_others_are_answered(
    shop: Shop, local_provider: LocalProvider
) -> None:
    local_provider.fault("realtime_500", status=400)

    receipt = shop.buy(tickets(6), forced=IN_BACKGROUND)

    assert (receipt.rows, receipt.failed) == (5, 1)
    tally = local_provider.tally("openai")
    assert (tally["realtime_answers"], tally["realtime_calls"]) == (5, 6)


def test_an_answer_that_does_not_fit_its_schema_is_billed_and_asked_again(
    shop: Shop, local_provider: LocalProvider
) -> None:
    local_provider.settings(answers="cheap")
    rows = [Chat(key="long", prompt="Say it.", max_tokens=1)]

    with pytest.raises(JobFailed, match="length"):
        shop.buy(rows, forced=IN_BACKGROUND)

    assert local_provider.tally("openai")["realtime_answers"] == 3


def test_a_refused_key_ends_the_run_and_what_was_answered_is_kept(shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("realtime_500", status=401)

    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        shop.buy(tickets(30), forced=IN_BACKGROUND)
    answered = local_provider.tally("openai")["realtime_answers"]

    receipt = shop.buy(tickets(30), forced=IN_BACKGROUND)
    assert (receipt.rows, receipt.possibly_paid_twice) == (30, 0)
    assert local_provider.tally("openai")["realtime_answers"] == 30 >= answered
    assert local_provider.answered(at_least=2) == []


def test_no_more_calls_are_on_their_way_at_once_than_allowed(shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.settings(realtime_latency_seconds=0.05)
    job_id = shop.begin(tickets(60), forced=IN_BACKGROUND)

    shop.work(job_id, asset=shop.asset, terms=Terms(in_flight=7)).carry_out()

    assert local_provider.tally("openai")["realtime_most_in_flight"] <= 7


def test_limits_are_learned_from_the_headers_and_remembered_for_the_next_run(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    local_provider.settings(openai_requests_per_minute=6_000, openai_tokens_per_minute=4_000_000)

    any_shop.buy(tickets(10), forced=IN_BACKGROUND)

    found = limits_seen.remembered(any_shop.ledger, realm=any_shop.provider.realm, model="gpt-5-mini")
    assert found == {Measure.REQUESTS: 6_000, Measure.TOKENS: 4_000_000}


def test_limits_that_the_price_sheet_declares_are_not_taken_for_what_the_provider_said(shop: Shop) -> None:
    place = {"realm": shop.provider.realm, "model": "gpt-5-mini"}
    limits_seen.declare(shop.ledger, **place, limits={Measure.REQUESTS: 6_000})

    shop.buy(tickets(3), forced=IN_BACKGROUND)  # the provider names no limits

    assert limits_seen.said(shop.ledger, **place) == {}
    assert limits_seen.remembered(shop.ledger, **place) == {Measure.REQUESTS: 6_000}


def test_within_the_providers_limits_hardly_a_call_is_refused(
    ledger: Ledger, open_account: Account, local_provider: LocalProvider
) -> None:
    from offpeak.clock import SystemClock

    local_provider.settings(openai_requests_per_minute=3_000, rate_limit_burst_seconds=1)
    shop = Shop(ledger, open_account(), clock=SystemClock())

    assert shop.buy(tickets(150), forced=IN_BACKGROUND).rows == 150
    assert local_provider.tally("openai")["realtime_refused"] <= 1


def test_while_a_living_process_calls_a_chunk_no_other_one_does(shop: Shop, local_provider: LocalProvider) -> None:
    job_id = shop.begin(tickets(5), forced=IN_BACKGROUND)
    submissions_of_others = "elsewhere#1@1"
    with shop.ledger.database.write() as connection:
        connection.execute(tables.chunk.update().values(state=ChunkState.OPEN.value))
        connection.execute(
            tables.submission.insert().values(
                id=1,
                chunk_id=1,
                state=SubmissionState.CALLING.value,
                owner=submissions_of_others,
                intended_at=int(datetime.now(UTC).timestamp() * 1e6),
            )
        )

    assert not shop.work(job_id, asset=shop.asset).hand_over(patience=timedelta(0))
    assert local_provider.tally("openai")["realtime_calls"] == 0


def test_a_ledger_that_is_away_for_a_while_loses_no_answer(shop: Shop, local_provider: LocalProvider) -> None:
    """Writing fails for a while in the middle of the calls."""
    local_provider.settings(realtime_latency_seconds=0.02)
    database, write = shop.ledger.database, shop.ledger.database.write
    failing = iter([False] * 3 + [True] * 3)

    def sometimes(*, durable: bool = False) -> Any:
        if threading.current_thread() is not threading.main_thread() and next(failing, False):
            raise LedgerUnavailable("The ledger is away.")
        return write(durable=durable)

    database.write = sometimes  # type: ignore[method-assign]
    receipt = shop.buy(tickets(300), forced=IN_BACKGROUND)

    assert next(failing, None) is None, "the ledger was never away"
    assert (receipt.rows, receipt.failed) == (300, 0)
    assert local_provider.answered(at_least=2) == []


def test_progress_can_be_seen_from_outside_while_calls_are_made(shop: Shop, local_provider: LocalProvider) -> None:
    seen: list[int] = []

    def watched(inner: Any) -> Any:
        return _Watching(inner.caller(), lambda: seen.append(_finished(shop.ledger)))

    shop.provider = Through(shop.provider, caller=watched)  # type: ignore[assignment]
    shop.buy(tickets(100), forced=IN_BACKGROUND)

    assert max(seen) > 0
    assert seen == sorted(seen)


def _finished(ledger: Ledger) -> int:
    (chunk,) = sightings.of_jobs(ledger, [1])[1]
    return chunk.finished


class _Watching:
    def __init__(self, inner: Any, look: Callable[[], None]) -> None:
        self._inner, self._look = inner, look

    async def ask(self, **more: Any) -> Any:
        self._look()
        return await self._inner.ask(**more)

    async def close(self) -> None:
        await self._inner.close()


class _Breaking:
    """A caller that does something unforeseen at one of its calls."""

    def __init__(self, inner: Any, at: int, what: Callable[[], None]) -> None:
        self._inner, self._at, self._what = inner, at, what

    async def ask(self, **more: Any) -> Any:
        self._at -= 1
        if self._at == 0:
            self._what()
        return await self._inner.ask(**more)

    async def close(self) -> None:
        await self._inner.close()


def test_a_run_that_is_interrupted_keeps_the_answers_on_their_way_and_sends_nothing_more(
    shop: Shop, local_provider: LocalProvider
) -> None:
    local_provider.settings(realtime_latency_seconds=0.1)
    provider = shop.provider
    shop.provider = Through(  # type: ignore[assignment]
        provider, caller=lambda inner: _Breaking(inner.caller(), 60, _thread.interrupt_main)
    )
    with pytest.raises(KeyboardInterrupt):
        shop.buy(tickets(300), forced=IN_BACKGROUND)
    sent = local_provider.tally("openai")["realtime_calls"]
    assert 60 <= sent < 300

    shop.provider = provider
    receipt = shop.buy(tickets(300), forced=IN_BACKGROUND)

    assert (receipt.rows, receipt.possibly_paid_twice) == (300, 0)
    assert local_provider.tally("openai")["realtime_answers"] == 300
    assert local_provider.answered(at_least=2) == []


def test_a_mistake_of_ours_costs_no_answer_but_its_own(shop: Shop, local_provider: LocalProvider) -> None:
    def mistake() -> None:
        raise RuntimeError("nobody thought of this")

    provider = shop.provider
    shop.provider = Through(provider, caller=lambda inner: _Breaking(inner.caller(), 30, mistake))  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="nobody thought of this"):
        shop.buy(tickets(60), forced=IN_BACKGROUND)

    shop.provider = provider
    receipt = shop.buy(tickets(60), forced=IN_BACKGROUND)

    assert (receipt.rows, receipt.failed, receipt.possibly_paid_twice) == (60, 0, 1)
    assert local_provider.tally("openai")["realtime_answers"] == 60


def test_stages_are_told_in_the_thread_that_asked_and_each_once(shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.settings(realtime_latency_seconds=0.05)
    said: list[tuple[str, bool]] = []
    job_id = shop.begin(tickets(200), forced=IN_BACKGROUND)

    def stage(text: str) -> None:
        said.append((text, threading.current_thread() is threading.main_thread()))

    shop.work(job_id, asset=shop.asset, terms=Terms(in_flight=10), stage=stage).carry_out()

    assert said[-1] == ("100%: 200 of 200 requests of labels are called", True)
    percents = [int(text.partition("%")[0]) for text, _ in said]
    assert percents == sorted(set(percents))
    assert all(in_main for _, in_main in said)


def test_a_sample_is_called_and_the_rest_waits_for_a_person(shop: Shop, local_provider: LocalProvider) -> None:
    from offpeak.ledger.sampling import Sample

    job_id = shop.begin(tickets(30), sample=Sample(rows=5))
    work = shop.work(job_id, asset=shop.asset)

    assert not work.hand_over(patience=timedelta(0))
    tally = local_provider.tally("openai")
    assert (tally["realtime_answers"], tally["batches_created"]) == (5, 0)


def test_another_jobs_unsent_batch_is_called_when_somebody_waits_for_it_now(
    shop: Shop, local_provider: LocalProvider
) -> None:
    shop.begin(tickets(6))

    receipt = shop.buy(tickets(6), asset="urgent", forced=IN_BACKGROUND, deadline=timedelta(hours=1))

    assert (receipt.rows, receipt.joined) == (6, 6)
    assert local_provider.tally("openai")["batches_created"] == 0


@pytest.mark.parametrize(
    ("deadline", "called"), [(BATCH_WINDOW + timedelta(hours=1), 0), (BATCH_WINDOW - timedelta(hours=1), 20)]
)
def test_another_jobs_unsent_batch_stays_a_batch_where_the_deadline_can_wait_for_it(
    any_shop: Shop, local_provider: LocalProvider, deadline: timedelta, called: int
) -> None:
    any_shop.begin(tickets(20))

    receipt = any_shop.buy(tickets(9), asset="small", forced=IN_BACKGROUND, deadline=deadline)

    assert (receipt.rows, receipt.joined) == (9, 9)
    tally = local_provider.tally("openai")
    assert (tally["realtime_answers"], tally["batch_answers"]) == (called, 20 - called)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "offpeak-calls":
            thread.join(5)  # it has said that it is through
            assert not thread.is_alive()
