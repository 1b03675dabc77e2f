"""One play of a launch's traffic: each request at its moment, whatever has become of those before it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from offpeak.errors import OffpeakError
from offpeak.rehearsal.arrivals import Arrival
from offpeak.rehearsal.calls import Called
from offpeak.rehearsal.outcome import Ending, Outcome

MOST_IN_FLIGHT = 500
"""Requests on their way at once. Visitors who come while there are so many find a service that answers nobody."""

PATIENCE_S = 60.0
"""A visitor waits no longer than that, retries included; so long, at most, a play goes on after its last arrival."""

READERS = 4
"""Threads that read rows: a read takes no more than milliseconds."""

Look = Callable[[Arrival], bool]
"""Whether a pre-computed row answers a request; reads it. Called in threads."""
Ask = Callable[[Arrival], Awaitable[Called]]


async def play(
    arrivals: Iterable[Arrival],
    *,
    look: Look | None,
    ask: Ask,
    told: Callable[[int], None] = lambda _: None,
    most_in_flight: int = MOST_IN_FLIGHT,
    patience_s: float = PATIENCE_S,
) -> Sequence[Outcome]:
    """Play them in real time, and give what came of each once all have ended. Without `look` nothing is pre-computed.

    `told` hears how many have come so far. An OffpeakError of `look` ends the play.
    """
    outcomes: list[Outcome] = []
    in_flight = 0

    async def one(arrival: Arrival) -> None:
        nonlocal in_flight
        try:
            outcomes.append(await _outcome(arrival, look, ask, readers, patience_s))
        finally:
            in_flight -= 1

    failure: OffpeakError | None = None
    with ThreadPoolExecutor(READERS, thread_name_prefix="rehearsal-reader") as readers:
        began = perf_counter()
        try:
            async with asyncio.TaskGroup() as tasks:
                for arrival in arrivals:
                    await asyncio.sleep(max(0.0, arrival.at - (perf_counter() - began)))
                    told(arrival.number + 1)
                    if in_flight >= most_in_flight:
                        outcomes.append(Outcome(Ending.OVERLOADED))
                        continue
                    in_flight += 1
                    tasks.create_task(one(arrival))
        except* OffpeakError as group:
            failure = _first(group)
    if failure is not None:
        raise failure
    return outcomes


async def _outcome(
    arrival: Arrival, look: Look | None, ask: Ask, readers: ThreadPoolExecutor, patience_s: float
) -> Outcome:
    began = perf_counter()
    if look is not None:
        hit, seconds = await asyncio.get_running_loop().run_in_executor(readers, _timed, look, arrival)
        if hit:
            return Outcome(Ending.HIT, seconds)
    try:
        async with asyncio.timeout(patience_s):
            called = await ask(arrival)
    except TimeoutError:
        return Outcome(Ending.FAILED, perf_counter() - began)
    ending = Ending.ANSWERED if called.answered else Ending.FAILED
    return Outcome(ending, perf_counter() - began, called.refusals, called.cost_pico)


def _timed(look: Look, arrival: Arrival) -> tuple[bool, float]:
    """Measured here, in the thread: how busy the event loop is belongs to the play, and not to the read."""
    began = perf_counter()
    return look(arrival), perf_counter() - began


def _first(group: ExceptionGroup[OffpeakError]) -> OffpeakError:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, ExceptionGroup) else found
