"""The table of what landed, from what materializations report."""

from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO

import pytest
from rich.console import Console

from offpeak.cli.landed import landed_assets, table_of
from offpeak.cli.up import refuse_dead_letters
from offpeak.cli.webserver import EventKind, Metadata, RunEvent
from offpeak.errors import JobFailed

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER = datetime(2026, 11, 22, 12, tzinfo=UTC)


def landing(asset: str, **metadata: int | float | datetime) -> RunEvent:
    reported: Metadata = dict(metadata)
    return RunEvent(kind=EventKind.MATERIALIZED, asset=asset, message="landed", metadata=reported)


def test_the_partitions_of_an_asset_are_one_line_fresh_until_the_earliest() -> None:
    first = landing("labels", rows=2, bought=2, reused=0, cost_usd=0.1, saved_usd=0.1, effective_until=LATER)
    second = landing("labels", rows=3, bought=0, reused=3, cost_usd=0.2, saved_usd=0.2, effective_until=NOON)
    (line,) = landed_assets([first, second])
    assert (line.rows, line.bought, line.reused) == (5, 2, 3)
    assert line.cost_usd == Decimal("0.3")
    assert line.fresh_until == NOON


def test_an_answer_that_was_on_its_way_already_counts_as_reused() -> None:
    (line,) = landed_assets([landing("labels", rows=5, bought=1, reused=3, joined=1)])
    assert line.reused == 4


def test_an_asset_that_buys_nothing_has_blanks_and_not_noughts() -> None:
    (line,) = landed_assets([landing("dashboard")])
    assert line.bought is None
    assert line.cost_usd is None


def test_what_a_report_says_that_others_saved_is_not_its_own_saving() -> None:
    (line,) = landed_assets([landing("spend_report", saved_usd=199.54)])
    assert line.saved_usd is None


def test_what_is_not_a_materialization_is_not_in_the_table() -> None:
    assert landed_assets([RunEvent(kind=EventKind.LOG, asset="labels", message="submitted")]) == []


def test_simulated_prices_are_called_so() -> None:
    console = Console(width=120, record=True, file=StringIO())
    console.print(table_of(landed_assets([landing("labels", cost_usd=1.5)]), simulated=True))
    shown = console.export_text()
    assert "at list price, simulated" in shown
    assert "$1.5000" in shown


def test_a_cost_below_a_hundredth_of_a_cent_is_not_shown_as_nothing() -> None:
    console = Console(width=120, record=True, file=StringIO())
    console.print(table_of(landed_assets([landing("embeddings", cost_usd=0.0000123)]), simulated=False))
    assert "<$0.0001" in console.export_text()


def test_rows_without_an_answer_are_not_everything_landed() -> None:
    with pytest.raises(JobFailed, match="2 of labels"):
        refuse_dead_letters(landed_assets([landing("labels", failed=2), landing("dashboard")]))
    refuse_dead_letters(landed_assets([landing("labels", failed=0)]))


def test_the_table_fits_a_terminal_of_eighty_columns() -> None:
    console = Console(width=80, record=True, file=StringIO())
    event = landing(
        "document_embeddings", rows=300, bought=300, reused=300, cost_usd=0.0055, saved_usd=0.0055, effective_until=NOON
    )
    console.print(table_of(landed_assets([event]), simulated=True))
    line = next(line for line in console.export_text().splitlines() if "document_embeddings" in line)
    assert line.split() == ["document_embeddings", "300", "300", "300", "$0.0055", "$0.0055", "Nov", "21", "12:00"]


def test_beside_a_long_name_no_figure_is_cut() -> None:
    console = Console(width=80, record=True, file=StringIO())
    figures = {"rows": 24_000, "bought": 24_000, "cost_usd": 12.0055, "saved_usd": 12.0055, "effective_until": NOON}
    console.print(table_of(landed_assets([landing("document_section_summaries", **figures)]), simulated=True))
    shown = console.export_text()
    assert shown.count("$12.0055") == 2
    assert "…" not in shown
