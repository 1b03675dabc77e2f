"""When a launch keeps work from a provider: what the ledger knows of it, and what waits."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from offpeak.errors import ConfigurationError
from offpeak.launches.launch import Launch, OpenBatches, Session
from offpeak.ledger import launch_windows, sightings
from offpeak.ledger.launch_windows import LaunchWindow, windows_of
from offpeak.ledger.ledger import Ledger
from offpeak.providers.base import Provider
from offpeak.queue import gate

from ...conftest import Shop, tickets

NOON = datetime(2027, 3, 9, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def window(name: str = "spring", provider: str = "openai", **changes: object) -> LaunchWindow:
    values = {"starts": NOON, "ends": NOON + 8 * HOUR, "cancels": False} | changes
    return LaunchWindow(name=name, provider=provider, **({"holds_from": values["starts"]} | values))  # type: ignore[arg-type]


def around_now(provider: str = "openai") -> LaunchWindow:
    now = datetime.now(UTC).replace(microsecond=0)
    return window(provider=provider, starts=now - HOUR, ends=now + HOUR)


def test_a_launch_is_a_window_for_each_provider_it_needs_and_earlier_where_batches_are_cancelled() -> None:
    launch = Launch(
        name="spring",
        starts=NOON,
        ends=NOON + HOUR,
        zone="UTC",
        peak_at=NOON,
        peak_users=1,
        session=Session(length=HOUR, requests=1, input_tokens=1, output_tokens=1),
        precomputed_share=0,
        models={"openai/gpt-5-mini": 0.5, "openai/gpt-5": 0.25, "anthropic/claude-haiku-5-5": 0.25},
        spare=0,
        raise_time=HOUR,
        quiet=HOUR,
        open_batches=OpenBatches.CANCEL,
        notice=HOUR,
    )
    found = windows_of([launch], cancel_bound=timedelta(minutes=10))
    assert [(each.provider, each.holds_from, each.starts, each.cancels) for each in found] == [
        (provider, NOON - timedelta(minutes=10), NOON, True) for provider in ("anthropic", "openai")
    ]


def test_a_window_holds_from_its_start_up_to_its_end_and_only_its_own_provider() -> None:
    both = [window(), window("longer", ends=NOON + 9 * HOUR)]
    second = timedelta(seconds=1)
    for at, name in ((-second, None), (0 * HOUR, "longer"), (8 * HOUR, "longer"), (9 * HOUR, None)):
        found = launch_windows.holding(both, "openai", NOON + at)
        assert (found and found.name) == name
    assert launch_windows.holding(both, "anthropic", NOON) is None


def test_the_ledger_knows_what_was_declared_last_and_nothing_else(any_ledger: Ledger) -> None:
    assert launch_windows.known(any_ledger) == []
    first, second = window("b"), window("a", "anthropic", starts=NOON + HOUR, cancels=True)
    launch_windows.declare(any_ledger, [second, first])
    assert launch_windows.known(any_ledger) == [first, second]
    moved = window("b", ends=NOON + 2 * HOUR)
    launch_windows.declare(any_ledger, [moved])
    assert launch_windows.known(any_ledger) == [moved]
    launch_windows.declare(any_ledger, [])
    assert launch_windows.known(any_ledger) == []


def test_what_is_queued_waits_with_the_reason_until_somebody_has_its_job_sent(
    any_ledger: Ledger, open_account: Callable[..., Provider]
) -> None:
    shop = Shop(any_ledger, open_account())
    job_id = shop.begin(tickets(3))
    (chunk,) = sightings.of_jobs(any_ledger, [job_id])[job_id]
    now = datetime.now(UTC)
    assert gate.waits(any_ledger, now=now) == {}
    held = around_now()
    launch_windows.declare(any_ledger, [held, around_now("anthropic")])
    said = f"waits for the end of the launch spring at {held.ends:%Y-%m-%d %H:%M} UTC"
    assert gate.waits(any_ledger, now=now) == {chunk.chunk_id: said}
    assert gate.waits(any_ledger, now=held.ends) == {}

    launch_windows.send_anyway(any_ledger, job_id, who="a test")
    assert launch_windows.sent_anyway(any_ledger, job_id)
    assert gate.waits(any_ledger, now=now) == {}


def test_a_job_that_there_is_not_or_that_has_ended_cannot_be_sent(shop: Shop) -> None:
    with pytest.raises(ConfigurationError, match=r"^There is no job 7 in this ledger\."):
        launch_windows.send_anyway(shop.ledger, 7, who="a test")
    receipt = shop.buy(tickets(1))
    with pytest.raises(ConfigurationError, match=r"^Job 1 has ended: it is completed\. Nothing of it waits\."):
        launch_windows.send_anyway(shop.ledger, receipt.job_id, who="a test")
