"""A launch's coverage in words and tables, before it is Markdown or HTML."""

from collections.abc import Sequence

from offpeak.launches.coverage import LISTED, Coverage, Standing, Sums, Uncovered
from offpeak.launches.launch import Launch
from offpeak.money.misses import Misses
from offpeak.money.rates import pico_text
from offpeak.reports.launches.moments import local
from offpeak.reports.tables import Table


def percent(share: float) -> str:
    """To a tenth where it has one. What is not all is never called so, nor what is not nothing."""
    if 0 < share < 0.0005:
        return "under 0.1%"
    if 0.9995 <= share < 1:
        return "over 99.9%"
    return f"{share * 100:.1f}".removesuffix(".0") + "%"


def hit_rate_words(found: Coverage) -> str:
    """The hit rate, and what it is made of."""
    return (
        f"{percent(found.hit_rate)} of what visitors ask for, weighed by past traffic, is answered by a pre-computed "
        f"row that is fresh until the window ends on {local(found.launch.ends, found.launch)} {found.launch.zone}; "
        f"{percent(found.launch.precomputed_share)} is planned. At the peak it is {percent(found.hit_rate_at_peak)}. "
        f"{percent(found.soon_stale_share)} asks for rows that go stale before the window ends, "
        f"{percent(found.missing_share)} for rows that are missing or stale already."
    )


def misses_words(cost: Misses) -> str:
    """What the misses cost, and what would save it."""
    said = (
        f"{cost.requests:,.0f} requests of the window have no such row and cost {pico_text(cost.cost_pico)} at "
        f"realtime price, with traffic at half of the peak on average; {pico_text(cost.most_pico)} if it were the peak "
        "throughout."
    )
    if cost.saving_pico > 0:
        return (
            f"{said} Full coverage would save {pico_text(cost.saving_pico)} of it: the rows cost about "
            f"{pico_text(cost.buying_pico)} on the batch tier."
        )
    return said


def assets_table(found: Coverage) -> Table:
    """What is asked of each asset, and how much of that is answered."""

    def row(name: str, sums: Sums) -> Sequence[str]:
        gone = sums.share(Standing.MISSING) + sums.share(Standing.STALE)
        fresh = sums.rows[Standing.FRESH]
        return (
            name,
            percent(found.weight(sums.asked)),
            *map(percent, (sums.share(Standing.FRESH), sums.share(Standing.SOON_STALE), gone)),
            f"{fresh:,} of {fresh + sums.uncovered_rows:,}",
        )

    rows = [row(name, sums) for name, sums in list(found.assets.items())[:LISTED]]
    if len(found.assets) > LISTED:
        rows.append((f"{len(found.assets) - LISTED:,} more", *[""] * 5))
    head = ("asset", "of the traffic", "hit rate", "soon stale", "missing", "rows fresh")
    return Table(head=head, rows=[*rows, row("all assets", found.total)])


def missing_table(found: Coverage) -> Table | None:
    """Rows that are missing or stale, the heaviest first; None without any."""
    count = found.total.rows[Standing.MISSING] + found.total.rows[Standing.STALE]
    return _listed(found, found.missing, count, "missing row", "why")


def soon_stale_table(found: Coverage) -> Table | None:
    """Rows that go stale too soon, the heaviest first; None without any."""
    return _listed(found, found.soon_stale, found.total.rows[Standing.SOON_STALE], "soon stale row", "fresh until")


def _listed(found: Coverage, rows: Sequence[Uncovered], count: int, what: str, why: str) -> Table | None:
    if not rows:
        return None
    told = [
        (f"{each.row.asset}: {each.row.key}", percent(found.weight(each.requests)), _why(each, found.launch))
        for each in rows
    ]
    if count > len(rows):
        told.append((f"{count - len(rows):,} more", "", ""))
    return Table(head=(what, "of the traffic", why), rows=told)


def _why(row: Uncovered, launch: Launch) -> str:
    if row.effective_until is None:
        return "no answer"
    until = local(row.effective_until, launch)
    return f"stale since {until}" if row.standing is Standing.STALE else until
