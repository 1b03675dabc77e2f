"""What becomes of deadlines, and what tells that an asset's jobs have moved; on SQLite and Postgres."""

from datetime import UTC, datetime, timedelta

import pytest

from offpeak.ledger import slas
from offpeak.ledger.jobs import movements
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import SlaState

from ...conftest import Shop, tickets

DUE = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def states(ledger: Ledger) -> list[SlaState]:
    return [row.state for row in slas.listed(ledger)]


@pytest.mark.parametrize("over", [SlaState.MET, SlaState.MISSED])
def test_what_is_over_is_written_once_and_never_taken_back(any_ledger: Ledger, over: SlaState) -> None:
    def enter(state: SlaState) -> bool:
        return slas.enter(any_ledger, "report", DUE, state, why="a test")

    assert not enter(SlaState.DUE)
    assert states(any_ledger) == []
    assert enter(SlaState.ENDANGERED)
    assert not enter(SlaState.ENDANGERED)
    assert not enter(SlaState.DUE)
    assert states(any_ledger) == [SlaState.ENDANGERED]
    assert enter(over)
    for state in SlaState:
        assert not enter(state)
    assert states(any_ledger) == [over]


def test_deadlines_are_listed_newest_first_and_by_asset(any_ledger: Ledger) -> None:
    for asset, days in (("report", 0), ("report", 1), ("other", 0)):
        slas.enter(any_ledger, asset, DUE + timedelta(days=days), SlaState.MISSED, why="a test")
    assert [row.due_at for row in slas.listed(any_ledger, asset="report")] == [DUE + timedelta(days=1), DUE]
    assert len(slas.listed(any_ledger)) == 3
    assert len(slas.listed(any_ledger, limit=1)) == 1


def test_an_asset_has_moved_when_one_of_its_jobs_was_planned_or_closed_or_its_rows_are_younger(any_shop: Shop) -> None:
    ledger, assets = any_shop.ledger, [any_shop.asset, "another"]
    seen = [movements(ledger, assets)]
    assert seen == [{}]
    job_id = any_shop.leave(tickets(3))
    seen.append(movements(ledger, assets))
    any_shop.collect(job_id)
    seen.append(movements(ledger, assets))
    any_shop.buy(tickets(3))  # nothing is new, and all is verified again
    seen.append(movements(ledger, assets))
    assert len({str(each) for each in seen}) == 4
    assert movements(ledger, assets) == seen[-1]
    assert set(seen[-1]) == {any_shop.asset}
