"""A process may be killed anywhere: what it was buying is bought once, and nothing that was paid for is lost.

The local provider judges, by its own tally; each purchase is a process of its own, killed with SIGKILL.
"""

from pathlib import Path

import pytest

from offpeak.results.store import ResultStore

from ..conftest import LocalProvider, Place, tickets, until
from .conftest import DIED, Forge

ROWS = tickets(7)
EVERYWHERE = [
    "planning",
    "before upload",
    "after upload",
    "before create",
    "after create",
    "waiting",
    "downloading",
    "downloaded",
    "applied",
]


def served(place: Place, asset: str = "labels") -> dict[str, bool]:
    """What a consumer reads."""
    from .buyer import Verdict

    with place.open() as ledger:
        frame = ResultStore(ledger).frame(asset, partitions=None, output=Verdict)
    return dict(zip(frame["key"], frame["urgent"], strict=True))


def bought_once(local_provider: LocalProvider, provider: str, *, batches: int = 1, answers: int = len(ROWS)) -> None:
    """The provider's own account of it."""
    tally = local_provider.tally(provider)
    assert (tally["batches_created"], tally["answers_delivered"]) == (batches, answers)
    assert local_provider.answered(at_least=2) == []


@pytest.mark.parametrize("kill_at", EVERYWHERE)
def test_a_purchase_killed_anywhere_is_bought_once(
    forge: Forge, place: Place, local_provider: LocalProvider, provider_name: str, kill_at: str
) -> None:
    first = forge.start(place, local_provider, provider_name, rows=ROWS, kill_at=kill_at)
    assert first.wait() == DIED

    receipt = forge.start(place, local_provider, provider_name, rows=ROWS).receipt()

    assert (receipt["rows"], receipt["failed"]) == (len(ROWS), 0)
    assert set(served(place)) == set(ROWS)
    bought_once(local_provider, provider_name)
    assert not receipt["dagster"]


def test_a_purchase_killed_again_and_again_is_bought_once(
    forge: Forge, place: Place, local_provider: LocalProvider, provider_name: str
) -> None:
    for kill_at in EVERYWHERE:
        assert forge.start(place, local_provider, provider_name, rows=ROWS, kill_at=kill_at).wait() == DIED

    receipt = forge.start(place, local_provider, provider_name, rows=ROWS).receipt()

    assert receipt["rows"] == len(ROWS)
    bought_once(local_provider, provider_name)


def test_killed_between_two_batches_each_is_bought_once(
    forge: Forge, place: Place, local_provider: LocalProvider, provider_name: str
) -> None:
    limits = {"max_requests": 3}
    first = forge.start(place, local_provider, provider_name, rows=ROWS, limits=limits, kill_at="second create")
    assert first.wait() == DIED

    receipt = forge.start(place, local_provider, provider_name, rows=ROWS, limits=limits).receipt()

    assert receipt["rows"] == len(ROWS)
    bought_once(local_provider, provider_name, batches=3)


@pytest.mark.parametrize("fault", ["ghost_reset", "ghost_500"])
def test_a_create_whose_reply_is_lost_is_found_and_not_sent_again(
    forge: Forge, place: Place, local_provider: LocalProvider, provider_name: str, fault: str
) -> None:
    local_provider.fault(fault)

    receipt = forge.start(place, local_provider, provider_name, rows=ROWS).receipt()

    assert local_provider.fired() == {fault: 1}
    assert receipt["rows"] == len(ROWS)
    bought_once(local_provider, provider_name)


def test_creates_of_equal_size_whose_replies_are_lost_are_told_apart(
    forge: Forge, place: Place, local_provider: LocalProvider, provider_name: str
) -> None:
    local_provider.fault("ghost_reset", times=2)
    rows = tickets(6)

    receipt = forge.start(place, local_provider, provider_name, rows=rows, limits={"max_requests": 3}).receipt()

    assert local_provider.fired() == {"ghost_reset": 2}
    assert receipt["rows"] == 6
    assert set(served(place)) == set(rows)
    bought_once(local_provider, provider_name, batches=2, answers=6)


@pytest.mark.parametrize("fault", ["create_500", "create_reset", "create_429"])
def test_a_create_that_came_to_nothing_is_sent_again(
    forge: Forge, place: Place, local_provider: LocalProvider, provider_name: str, fault: str
) -> None:
    local_provider.fault(fault)

    receipt = forge.start(place, local_provider, provider_name, rows=ROWS).receipt()

    assert local_provider.fired() == {fault: 1}
    assert receipt["rows"] == len(ROWS)
    bought_once(local_provider, provider_name)


def test_killed_in_the_middle_of_applying_no_answer_is_lost(
    forge: Forge, place: Place, local_provider: LocalProvider
) -> None:
    rows = tickets(5_050)  # a transaction holds 5,000 of them
    first = forge.start(place, local_provider, "openai", rows=rows, kill_at="applying")
    assert first.wait() == DIED
    assert len(served(place)) == 5_000

    receipt = forge.start(place, local_provider, "openai", rows=rows).receipt()

    assert (receipt["rows"], receipt["failed"]) == (5_050, 0)
    assert len(served(place)) == 5_050
    bought_once(local_provider, "openai", answers=5_050)


def test_what_a_killed_purchase_cost_is_billed_to_the_one_that_goes_on(
    forge: Forge, place: Place, local_provider: LocalProvider
) -> None:
    whole = forge.start(place, local_provider, "openai", rows=ROWS).receipt()
    other = Place(place.url.replace("ledger.db", "other.db"), place.spool.with_name("other"))
    assert forge.start(other, local_provider, "openai", rows=ROWS, kill_at="applied").wait() == DIED

    rest = forge.start(other, local_provider, "openai", rows=ROWS).receipt()

    assert rest["cost"] == whole["cost"] != "0"
    again = forge.start(other, local_provider, "openai", rows=ROWS).receipt()
    assert float(again["cost"]) == 0


def test_two_processes_buying_the_same_at_once_buy_it_once(
    forge: Forge, any_place: Place, local_provider: LocalProvider, provider_name: str
) -> None:
    together = [forge.start(any_place, local_provider, provider_name, rows=ROWS) for _ in range(4)]
    receipts = [process.receipt() for process in together]

    assert sum(receipt["bought"] for receipt in receipts) == len(ROWS)
    assert all(receipt["rows"] == len(ROWS) for receipt in receipts)
    again = forge.start(any_place, local_provider, provider_name, rows=ROWS).receipt()
    assert (again["bought"], again["reused"]) == (0, len(ROWS))
    bought_once(local_provider, provider_name)


def test_a_purchase_leaves_a_create_to_the_living_process_that_sends_it(
    forge: Forge, place: Place, local_provider: LocalProvider, provider_name: str, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    sender = forge.start(place, local_provider, provider_name, rows=ROWS, hold=str(go))
    until(go.with_suffix(".reached").exists, what="the first create")
    waiter = forge.start(place, local_provider, provider_name, rows=ROWS, list_lag=0)
    until(lambda: waiter.ticks() >= 5, what="the other process's looking")
    assert local_provider.batches() == []
    go.touch()

    assert sender.receipt()["bought"] == len(ROWS)
    assert waiter.receipt()["joined"] == len(ROWS)
    bought_once(local_provider, provider_name)


def test_two_assets_asking_the_same_share_one_purchase_also_when_the_first_dies(
    forge: Forge, place: Place, local_provider: LocalProvider, provider_name: str
) -> None:
    first = forge.start(place, local_provider, provider_name, rows=ROWS, asset="first", kill_at="waiting")
    assert first.wait() == DIED

    second = forge.start(place, local_provider, provider_name, rows=ROWS, asset="second").receipt()
    resumed = forge.start(place, local_provider, provider_name, rows=ROWS, asset="first").receipt()

    assert (second["bought"], second["joined"]) == (0, len(ROWS))
    assert (resumed["bought"], resumed["reused"]) == (0, len(ROWS))
    assert served(place, "first") == served(place, "second")
    bought_once(local_provider, provider_name)


def test_the_failed_slice_of_a_shared_purchase_goes_round_once(
    forge: Forge, any_place: Place, local_provider: LocalProvider
) -> None:
    local_provider.settings(latency_seconds=0.5)
    local_provider.fault("error_lines", share=0.5)
    first = forge.start(any_place, local_provider, "openai", rows=ROWS)
    until(lambda: first.ticks() >= 1, what="the first look")
    others = [forge.start(any_place, local_provider, "openai", rows=ROWS) for _ in range(3)]

    receipts = [process.receipt() for process in (first, *others)]

    assert [(receipt["rows"], receipt["failed"]) for receipt in receipts] == [(len(ROWS), 0)] * 4
    bought_once(local_provider, "openai", batches=2)
