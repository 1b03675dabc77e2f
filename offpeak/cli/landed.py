"""What landed in a run, one line per asset: the table a person reads, and the same as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from rich import box
from rich.table import Table

from offpeak.cli.webserver import EventKind, Metadata, RunEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """One asset's materializations in a run, summed over its partitions. None: it reports no such figure."""

    asset: str
    rows: int | None
    bought: int | None
    reused: int | None
    """Answers that cost nothing now: bought before, or already on their way for another asset."""
    failed: int | None
    cost_usd: Decimal | None
    saved_usd: Decimal | None
    """Against the realtime price of what was bought."""
    fresh_until: datetime | None
    """The earliest `effective_until` among the partitions."""

    def as_json(self) -> dict[str, int | str | float | None]:
        """Plain values; money as decimal text, time as ISO 8601 in UTC."""
        return {
            "asset": self.asset,
            "rows": self.rows,
            "bought": self.bought,
            "reused": self.reused,
            "failed": self.failed,
            "cost_usd": None if self.cost_usd is None else str(self.cost_usd),
            "saved_usd": None if self.saved_usd is None else str(self.saved_usd),
            "fresh_until": None if self.fresh_until is None else self.fresh_until.isoformat(),
        }


def landed_assets(events: Sequence[RunEvent]) -> list[Landed]:
    """The assets materialised by these events, in the order in which they first landed."""
    by_asset: dict[str, list[Metadata]] = {}
    for event in events:
        if event.kind is EventKind.MATERIALIZED:
            by_asset.setdefault(event.asset, []).append(event.metadata)
    return [_landed(asset, reports) for asset, reports in by_asset.items()]


def table_of(landed: Sequence[Landed], *, simulated: bool) -> Table:
    """The table for the terminal. `simulated` says that nobody charged these prices."""
    prices = "at list price, simulated" if simulated else "at list price"
    caption = f"Cost and saving {prices}; times in UTC."
    # Narrow enough for a terminal of 80 columns.
    table = Table(caption=caption, caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("asset", overflow="fold")  # a long name takes a second line, and no figure is cut
    for column in ("rows", "bought", "reused", "cost", "saved"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("fresh until", no_wrap=True)
    for asset in landed:
        table.add_row(
            asset.asset,
            _count(asset.rows),
            _count(asset.bought),
            _count(asset.reused),
            _dollars(asset.cost_usd),
            _dollars(asset.saved_usd),
            "-" if asset.fresh_until is None else f"{asset.fresh_until:%b %d %H:%M}",
        )
    return table


def _landed(asset: str, reports: Sequence[Metadata]) -> Landed:
    until = [value for report in reports if isinstance(value := report.get("effective_until"), datetime)]
    cost = _money(reports, "cost_usd")
    return Landed(
        asset=asset,
        rows=_total(reports, "rows", "dagster/row_count"),
        bought=_total(reports, "bought"),
        reused=_total(reports, "reused", "joined", add=True),
        failed=_total(reports, "failed"),
        cost_usd=cost,
        saved_usd=None if cost is None else _money(reports, "saved_usd"),  # a report tells what others saved
        fresh_until=min(until, default=None),
    )


def _total(reports: Sequence[Metadata], *names: str, add: bool = False) -> int | None:
    """The sum over partitions of the first of these figures that is reported, or of them all."""
    found = [[value for name in names if isinstance(value := report.get(name), int)] for report in reports]
    if not any(found):
        return None
    return sum(sum(values) if add else values[0] for values in found if values)


def _money(reports: Sequence[Metadata], name: str) -> Decimal | None:
    found = [Decimal(str(value)) for report in reports if isinstance(value := report.get(name), int | float)]
    return sum(found, Decimal(0)) if found else None


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _dollars(value: Decimal | None) -> str:
    if value is None:
        return "-"
    # A few hundred embeddings cost less than a hundredth of a cent, which is not nothing.
    return "<$0.0001" if 0 < value < Decimal("0.0001") else f"${value:,.4f}"
