"""What was spent, saved and wasted, and what to do next: for the asset that shows it in Dagster's UI, and as a file."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from offpeak.errors import ConfigurationError
from offpeak.ledger.ledger import Ledger
from offpeak.money import PriceSheet
from offpeak.money.rates import dollars
from offpeak.reports.documents import rendered, write
from offpeak.reports.forecast import Forecast, forecast
from offpeak.reports.headlines import headline_table
from offpeak.reports.misfits import misfits
from offpeak.reports.spend_words import Told, told
from offpeak.reports.spending import SIDES, BatchShare, Spending, spending

if TYPE_CHECKING:
    import dagster as dg


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendReport:
    """What to show. Texts are Markdown; a picture is a PNG within the text, or words where there is nothing to draw."""

    figures: Mapping[str, float]
    """Dollars: of the week (`spent_usd`, `spent_week_before_usd`, `saved_usd`, `cache_saved_usd`, `wasted_usd`) and of
    the month (`month_so_far_usd` and, from the second day on, `forecast_usd`)."""
    summary: str
    """The first screen: four figures, what to do next, and the last 30 days in a picture."""
    spent: str
    saved: str
    wasted: str
    forecast: str
    misfits: str
    html: str
    """All of it as one document that needs no other."""
    path: Path
    """Where `write` puts it by default: `reports/` beside the spool folder, in the project's `.offpeak/`."""

    def write(self, folder: Path | None = None) -> Path:
        """Write `html` to a file of its day, whole or not at all. Raises ConfigurationError where that fails."""
        return write(self.html, self.path if folder is None else folder / self.path.name, what="The spend report")


def spend_report(
    ledger: Ledger,
    *,
    context: "dg.AssetExecutionContext | None" = None,
    read_otherwise: Collection[str] = (),
    prices: PriceSheet | None = None,
) -> SpendReport:
    """Read the ledger as it is now, and the price sheet, where it stands what a batch would have cost.

    It is not told of an asset that nobody reads it where others of the project depend on it, which the `context` of a
    run knows, nor of one in `read_otherwise`: such are read with SQL, which Offpeak does not see. `prices` are by
    default those of the project. Without matplotlib (`pip install 'offpeak[reports]'`) pictures are words that say so.
    """
    now = ledger.clock.now()
    share = _batch_share(prices or PriceSheet.load(), now)
    found = spending(ledger, now=now, read_otherwise=_read(context, read_otherwise), batch_share=share)
    expected = forecast(found.by_day, today=found.today, began=found.began)
    words = told(found, expected, misfits(found))
    html = rendered("offpeak.reports", "spend_report.html", told=words, sides=SIDES)
    return SpendReport(
        figures=_figures(found, expected),
        summary=_summary(words),
        spent="\n\n".join(
            part
            for side in SIDES
            for part in (words.spent[side].markdown, *([] if side == "asset" else [words.pictures[side].markdown]))
        ),
        saved=words.saved.markdown,
        wasted="\n\n".join((words.wasted.markdown, *([words.unread.markdown] if words.unread else []), words.not_read)),
        forecast=words.forecast,
        misfits=words.misfits.markdown if words.misfits else words.advice,
        html=html,
        path=ledger.spool.parent / "reports" / f"spend-{found.today:%Y-%m-%d}.html",
    )


def _read(context: "dg.AssetExecutionContext | None", otherwise: Collection[str]) -> frozenset[str]:
    if context is None:
        return frozenset(otherwise)
    from offpeak.reports.consumers import consumed

    return consumed(context).union(otherwise)


def _batch_share(prices: PriceSheet, now: datetime) -> BatchShare:
    @cache
    def share(model: str) -> Fraction | None:
        try:
            rates = prices.rates(model, at=now)
        except ConfigurationError:  # a model that is sold no more, or never was on the batch tier
            return None
        realtime = rates.realtime.base.input
        return Fraction(rates.batch.base.input, realtime) if realtime else None

    return share


def _figures(found: Spending, expected: Forecast) -> Mapping[str, float]:
    pico = {
        "spent_usd": found.this.total.cost_pico,
        "spent_week_before_usd": found.before.total.cost_pico,
        "saved_usd": found.this.saved_pico,
        "cache_saved_usd": found.this.total.cache_saved_pico,
        "wasted_usd": found.this.wasted_pico,
        "month_so_far_usd": expected.so_far_pico,
    }
    if expected.expected_pico is not None:
        pico["forecast_usd"] = expected.expected_pico
    return {name: float(dollars(amount)) for name, amount in pico.items()}


def _summary(words: Told) -> str:
    return "\n\n".join(
        (
            headline_table(words.headlines).markdown,
            f"**What next?** {words.advice}",
            words.pictures["asset"].markdown,
            words.period,
        )
    )
