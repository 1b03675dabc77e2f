"""`spend_report`, materialised over a ledger with purchases: what the UI shows of it, and the file."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ai_assets.spending import spend_report
from offpeak import OffpeakResults
from offpeak.ledger.ledger import Ledger
from offpeak.providers.base import Provider

from ...conftest import Place, QuickClock, Shop, tickets


def materialise(place: Place, *others: Any) -> dict[str, Any]:
    """The metadata as values."""
    resources = {"offpeak_results": OffpeakResults(database_url=place.url, spool_dir=str(place.spool))}
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([spend_report, *others], resources=resources, instance=instance)
    (landed,) = result.asset_materializations_for_node("spend_report")
    return {name: value.value for name, value in landed.metadata.items()}


def test_it_shows_the_week_and_writes_a_file(place: Place, open_account: Callable[..., Provider]) -> None:
    with place.open() as ledger:
        Shop(ledger, open_account()).buy(tickets(3))
    shown = materialise(place)
    assert shown["spent_usd"] == shown["saved_usd"] > 0
    assert shown["month_so_far_usd"] == shown["spent_usd"]
    assert shown["wasted_usd"] == 0
    assert "](data:image/png;base64," in shown["summary"]
    assert "**What next?** Nothing stands out." in shown["summary"]
    assert "| `labels` |" in shown["spent"]
    for name in ("saved", "wasted", "forecast", "misfits"):
        assert shown[name]
    path = Path(shown["file"])
    assert path.parent == place.spool.parent / "reports"
    assert "labels" in path.read_text()


@pytest.fixture
def unread(place: Place, open_account: Callable[..., Provider], monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger eight days after a purchase that nobody has read."""
    with place.open() as ledger:
        Shop(ledger, open_account()).buy(tickets(3))
    clock = QuickClock()
    clock.jump(timedelta(days=8))
    opened = Ledger.open

    def later(url: str, **more: Any) -> Ledger:
        return opened(url, **more | {"clock": clock})

    monkeypatch.setattr(Ledger, "open", later)


def test_what_nobody_reads_is_what_to_look_at_next(place: Place, unread: None) -> None:
    shown = materialise(place)
    assert shown["wasted_usd"] > 0
    assert "**What next?** `labels`, about" in shown["summary"]


def test_what_an_asset_of_the_project_stands_on_is_not_said_to_be_unread(place: Place, unread: None) -> None:
    labels = dg.AssetSpec("labels")

    @dg.asset(deps=["labels"])
    def dashboard() -> None: ...

    assert materialise(place, labels, dashboard)["wasted_usd"] == 0


def test_an_empty_ledger_is_no_failure(place: Place) -> None:
    shown = materialise(place)
    assert shown["spent_usd"] == 0
    assert "forecast_usd" not in shown
    assert "Nothing has been bought yet." in shown["summary"]
