"""The background lane: a chunk's requests are called at the provider's realtime endpoints, as fast as its limits allow.

One process calls a chunk. Calls run side by side in an event loop on a thread of their own, and everything about the
ledger happens in one place between two looks at them: first what has come is stored and what is about to be sent is
written down, in one transaction, then it is sent. Whatever ends the loop, it ends with the answers of the calls that
were in flight.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from offpeak.clock import Clock, to_micros, utc_day
from offpeak.errors import (
    CouldNotRead,
    LedgerUnavailable,
    OffpeakError,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
    TierUnavailable,
)
from offpeak.faultpoints import FaultPoint, reach
from offpeak.lanes.throttle import Throttle
from offpeak.ledger import calling, limits_seen
from offpeak.ledger.calling import Pending, PendingCall
from offpeak.ledger.collecting import Applied, Charging, Price, Store, Validate
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import POSSIBLY_PAID, UNAVAILABLE
from offpeak.ledger.submissions import CLOCK_SKEW, Submission
from offpeak.money.estimate import estimate_tokens
from offpeak.money.rates import ModelRates
from offpeak.providers import wire
from offpeak.providers.base import Kind, Provider
from offpeak.providers.realtime import Caller, Measure, Reply

IN_FLIGHT = 100
"""Calls at once, at most. A process that dies may have to call so many again. At 10 seconds an answer that is 600 a
minute."""

MOST_IN_FLIGHT = 1_000
"""Connections that one process opens, at most."""

FLEX_NEEDS = timedelta(minutes=15)
"""Before its deadline, up to when a request is offered to a cheaper and slower tier (OpenAI's guide to flex processing
advises a time-out of 15 minutes)."""

TRIES = 3
"""How often a call is sent that the provider fails to answer while it answers others; then it goes round with the
requests that failed."""

TICK = timedelta(milliseconds=20)
"""Between two looks at what has come: what comes meanwhile is stored together."""

LAST_ANSWERS = timedelta(seconds=30)
"""How long a process that is told to end waits for answers that are on their way."""

LONGEST_PAUSE = timedelta(seconds=1)
"""Between two looks when nothing is on its way."""

LONGEST_WITHOUT_ANSWER = timedelta(minutes=2)
"""Refusals and no answer for so long are more than a limit by the minute: somebody tries again later."""

MEAN_OUTPUT = 256
"""Tokens of an answer, before the first ones have come."""

_REMEMBERED = 50

BETWEEN_WORDS = timedelta(seconds=0.2)
"""How often it is told how far the calls are."""

BETWEEN_TURNS = timedelta(seconds=2)
"""How often it is asked whether others need the endpoints more."""

Told = Callable[[int], None]
"""Hears how many requests of the chunk have an outcome, in the thread that asked for the calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a deployment uses the realtime endpoints."""

    in_flight: int = IN_FLIGHT
    """Calls at once, at most."""
    flex: bool = True
    """Use a cheaper tier where there is one, its price is known, and there is time."""


TERMS = Terms()


class Background:
    """Calls the chunks of one job. What it learns of the provider's limits holds for all of them.

    `rates_at` is what the model costs on the day of a moment.
    """

    def __init__(
        self,
        ledger: Ledger,
        provider: Provider,
        *,
        model: str,
        rates_at: Callable[[datetime], ModelRates],
        validate: Validate | None,
        clock: Clock,
        terms: Terms,
    ) -> None:
        self._ledger, self._provider, self._clock = ledger, provider, clock
        self._model, self._validate, self._terms = model, validate, terms
        self._rates_at = rates_at
        seen = limits_seen.remembered(ledger, realm=provider.realm, model=model)
        self._throttle = Throttle(most_in_flight=terms.in_flight, limits=seen)
        self._stores: dict[int, Store] = {}

    def call(
        self, chunk: Submission, told: Told = lambda _: None, *, gives_way: Callable[[], bool] | None = None
    ) -> Applied | None:
        """Call what has no outcome yet; the counts once every request has one. None where another process is at it.

        `gives_way` is asked now and then whether others need the endpoints more: then the rest is left for later, and
        None returned.

        Raises ProviderUnavailable when the provider takes nothing at the moment, ConfigurationError for a refused key,
        CouldNotRead for a torn spool file, the rest of which is given up then, and LedgerUnavailable. What had come
        until then is stored, if need be by the next call of this method.
        """
        price = self._price_of(chunk)
        store = self._store_of(chunk, price)
        if not store.empty:  # what the ledger could not take the last time: else it would count as lost
            calling.record(self._ledger, chunk, store, sending=(), unsent=(), done=store.applied.answered)
        if not calling.begin(self._ledger, chunk, prices=price.prices):
            return None
        try:
            pending = calling.pending(self._ledger, chunk, self._provider.spooling)
        except CouldNotRead as error:  # the next plan writes anew what has no answer
            calling.give_up(self._ledger, chunk, why=str(error))
            raise
        flexed = self._rates_of(chunk).with_flex() if self._terms.flex else None
        loop = _Loop(
            pending,
            chunk=chunk,
            ledger=self._ledger,
            provider=self._provider,
            store=store,
            throttle=self._throttle,
            flex_charging=None if flexed is None else flexed.cost,
            clock=self._clock,
            told=told,
        )
        try:
            finished = loop.run(gives_way)
        finally:
            if self._throttle.told:  # what the price sheet declares is not what the provider was seen to say
                limits = self._throttle.limits
                limits_seen.remember(self._ledger, realm=self._provider.realm, model=self._model, limits=limits)
        if not finished:
            return None
        del self._stores[chunk.stamp]
        return calling.close(self._ledger, chunk)

    def _rates_of(self, chunk: Submission) -> ModelRates:
        """Of the day on which its calls began."""
        return self._rates_at(chunk.create_at or self._clock.now())

    def _price_of(self, chunk: Submission) -> Price:
        rates, at = self._rates_of(chunk), utc_day(chunk.create_at or self._clock.now()).date()
        return Price(rates.at_realtime().cost, rates.written_down(at))

    def _store_of(self, chunk: Submission, price: Price) -> Store:
        """What has come of a chunk's calls and is not in the ledger."""
        if chunk.stamp not in self._stores:
            now = to_micros(self._clock.now())
            began = now - CLOCK_SKEW // timedelta(microseconds=1)
            self._stores[chunk.stamp] = Store(self._ledger, chunk, self._validate, price, began=began, ended=now)
        return self._stores[chunk.stamp]


@dataclass(slots=True, eq=False)
class _Call:
    """A request on its way."""

    request: PendingCall
    cost: Mapping[Measure, int]
    flex: bool
    tries: int = 0
    not_before: datetime | None = None


class _Loop:
    """One event loop over one chunk."""

    def __init__(
        self,
        pending: Pending,
        *,
        chunk: Submission,
        ledger: Ledger,
        provider: Provider,
        store: Store,
        throttle: Throttle,
        flex_charging: Charging | None,
        clock: Clock,
        told: Told,
    ) -> None:
        self._requests, self._done = iter(pending.requests), pending.done
        self._chunk, self._ledger, self._provider = chunk, ledger, provider
        self._store, self._throttle, self._flex_charging = store, throttle, flex_charging
        self._clock, self._told = clock, told
        self._again: deque[_Call] = deque()
        self._unsent: list[int] = []
        self._mean_output = float(MEAN_OUTPUT)
        self._share_of_body = 1.0  # of the tokens that a body is estimated at: a part of it is no prompt
        self._answered_at = clock.now()
        self._ending, self._ended = threading.Event(), threading.Event()
        self._stopped: BaseException | None = None

    def run(self, gives_way: Callable[[], bool] | None) -> bool:
        """Until every request has an outcome; False where it gave way before. Raises what stopped it before."""
        threading.Thread(target=self._main, name="offpeak-calls", daemon=True).start()
        asked_at, gave_way = self._clock.now(), False
        try:
            # not a join of the thread: one that is interrupted takes it for ended
            while not self._ended.wait(BETWEEN_WORDS.total_seconds()):
                self._told(self._done)
                if gives_way is not None and self._clock.now() - asked_at >= BETWEEN_TURNS:
                    asked_at = self._clock.now()
                    if gives_way():
                        gave_way = True
                        self._ending.set()
        except BaseException:  # the run is being terminated
            self._ending.set()
            self._ended.wait(LAST_ANSWERS.total_seconds())
            raise
        self._told(self._done)
        if self._stopped is not None:
            raise self._stopped
        return not gave_way or self._done >= self._chunk.requests

    def _main(self) -> None:
        try:
            asyncio.run(self._call_all())
        except BaseException as error:  # noqa: BLE001 - raised by `run`, in the thread of whoever called it
            self._stop(error)
        finally:
            self._ended.set()

    async def _call_all(self) -> None:
        caller, calls = self._provider.caller(), dict[asyncio.Task[Reply | Exception], _Call]()
        try:
            while True:
                sending, wait = self._next(len(calls))
                for call in await self._record(sending):
                    calls[asyncio.create_task(_ask(caller, self._chunk.kind, call))] = call
                if calls:
                    await asyncio.wait(calls, timeout=max(wait, TICK).total_seconds(), return_when="FIRST_COMPLETED")
                    await asyncio.sleep(TICK.total_seconds())
                elif wait:
                    await asyncio.to_thread(self._clock.sleep, min(wait, LONGEST_PAUSE))
                elif self._over:
                    return
                for task in [each for each in calls if each.done()]:
                    self._take(calls.pop(task), task.result())
        finally:
            await caller.close()

    @property
    def _over(self) -> bool:
        """Whether nothing more is sent, and all that came is stored or cannot be."""
        return self._sends_nothing or (not (self._again or self._unsent) and self._store.empty)

    @property
    def _sends_nothing(self) -> bool:
        """Whether something stopped it, or its process is told to end."""
        return self._stopped is not None or self._ending.is_set()

    def _next(self, in_flight: int) -> tuple[list[_Call], timedelta]:
        """The calls that may be sent now, and how long it is until the next one may; nothing where none is left."""
        sending: list[_Call] = []
        now, none = self._clock.now(), timedelta(0)
        while not self._sends_nothing:
            if in_flight + len(sending) >= self._throttle.window:
                return sending, TICK
            call = self._candidate(now)
            if call is None:
                waiting = [each.not_before - now for each in self._again if each.not_before is not None]
                return sending, max(min(waiting, default=none), none)
            if wait := self._throttle.wait(call.cost, now=now):
                self._again.appendleft(call)
                return sending, wait
            self._throttle.sent(call.cost, now=now)
            sending.append(call)
        return sending, none

    def _candidate(self, now: datetime) -> _Call | None:
        """The next request to be called: one that was called before and may be again, else a new one."""
        for call in self._again:
            if call.not_before is None or call.not_before <= now:
                self._again.remove(call)
                return call
        request = next(self._requests, None)
        if request is None:
            return None
        in_time = self._chunk.due_at is None or self._chunk.due_at - now > FLEX_NEEDS
        # somebody waits to look at a sample, and of a rescue the rate is reckoned with
        looked_for = self._chunk.drawn_for is not None or self._chunk.rescued
        flex = self._flex_charging is not None and in_time and not looked_for
        return _Call(request, self._foreseen(request.body), flex=flex)

    def _foreseen(self, body: bytes) -> dict[Measure, int]:
        """What a call will count for, as providers reckon before they have answered."""
        given = ceil(estimate_tokens(body) * self._share_of_body)
        answer = 0
        if self._chunk.kind is Kind.CHAT:
            answer = wire.longest_answer(body) or int(self._mean_output)
        return _measured(given, answer)

    async def _record(self, sending: list[_Call]) -> list[_Call]:
        """Store what has come, and write down what is about to be sent; returns what may be sent."""
        if not (sending or self._unsent or not self._store.empty):
            return []
        again = {call.request.request_id for call in sending}
        unsent = [each for each in self._unsent if each not in again]
        try:
            await asyncio.to_thread(
                calling.record, self._ledger, self._chunk, self._store,
                sending=[*again], unsent=unsent, done=self._done,
            )  # fmt: skip
        except LedgerUnavailable as error:
            self._stop(error)
            return []
        self._unsent.clear()
        return sending

    def _stop(self, error: BaseException) -> None:
        """Send nothing more; what is in flight is waited for."""
        self._stopped = self._stopped or error

    def _take(self, call: _Call, came: Reply | Exception) -> None:
        """What came of one call."""
        now = self._clock.now()
        match came:
            case Reply():
                self._take_reply(call, came, now)
            case OutcomeUnknown():
                self._fail(call, POSSIBLY_PAID, str(came), now=now)
                if self._throttle.failed():
                    self._stop(came)
            case RateLimited():
                self._throttle.refused(came.retry_after, now=now)
                self._send_again(call)
                if now - self._answered_at > LONGEST_WITHOUT_ANSWER:
                    self._stop(came)
            case TierUnavailable():
                call.flex = False
                if came.lasting:
                    self._flex_charging = None
                self._send_again(call)
            case ProviderUnavailable():
                call.tries += 1
                if self._throttle.failed():
                    self._stop(came)
                if call.tries >= TRIES and self._stopped is None:
                    self._fail(call, UNAVAILABLE, str(came), now=now)
                else:
                    call.not_before = now + (came.retry_after or timedelta(seconds=2**call.tries))
                    self._send_again(call)
            case OffpeakError():
                self._unsent.append(call.request.request_id)
                self._stop(came)
            case _:  # a mistake of ours: what came of the call is not known
                self._fail(call, POSSIBLY_PAID, f"{type(came).__name__}: {came}", now=now)
                self._stop(came)

    def _take_reply(self, call: _Call, reply: Reply, now: datetime) -> None:
        usage = reply.line.usage
        used = _measured(usage.input_tokens - usage.cache_read_tokens, usage.output_tokens)
        self._throttle.answered(reply.limits, foreseen=call.cost, used=used)
        self._mean_output += (usage.output_tokens - self._mean_output) / _REMEMBERED
        share = usage.input_tokens / max(estimate_tokens(call.request.body), 1)
        self._share_of_body += (share - self._share_of_body) / _REMEMBERED
        self._answered_at = now
        self._store.ended = to_micros(now)
        self._store.add(call.request.request_id, reply.line, charging=self._flex_charging if reply.flex else None)
        self._done += 1
        reach(FaultPoint.CALL_ANSWERED)

    def _fail(self, call: _Call, reason: str, message: str, *, now: datetime) -> None:
        """The outcome of a call that has no answer."""
        self._store.ended = to_micros(now)
        self._store.fail(call.request.request_id, reason, message)
        self._done += 1

    def _send_again(self, call: _Call) -> None:
        """Nothing was bought of a call."""
        self._unsent.append(call.request.request_id)
        self._again.append(call)


async def _ask(caller: Caller, kind: Kind, call: _Call) -> Reply | Exception:
    try:
        return await caller.ask(kind=kind, body=call.request.body, flex=call.flex)
    except Exception as error:  # noqa: BLE001 - the others' answers are waited for whatever came of this one
        return error


def _measured(given: int, answered: int) -> dict[Measure, int]:
    return {
        Measure.REQUESTS: 1,
        Measure.TOKENS: given + answered,
        Measure.INPUT_TOKENS: given,
        Measure.OUTPUT_TOKENS: answered,
    }
