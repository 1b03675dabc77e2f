"""What each launch needs, has, and still lacks: for the asset that shows it in Dagster's UI, and as a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from offpeak.ledger.ledger import Ledger
from offpeak.reports.documents import rendered, write
from offpeak.reports.headlines import headline_table
from offpeak.reports.launches.capacity import DIGITS
from offpeak.reports.launches.coverage import coverage_figures
from offpeak.reports.launches.found import Found, find
from offpeak.reports.launches.report_words import Section, Told, told

if TYPE_CHECKING:
    import dagster as dg

    from offpeak.assets.resources import BatchApi
    from offpeak.freshness.chain import Chain
    from offpeak.sources.tables import SourceTables


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchReport:
    """What to show. Texts are Markdown; a picture is a PNG within the text, or words where there is nothing to draw."""

    figures: Mapping[str, float]
    """Of each launch that is shown, as far as they are known: `headroom/NAME`, a share of what is usable of the binding
    limit; and the figures of `launch_coverage`."""
    summary: str
    """The first screen: the soonest launch's five figures, what to do next, and the picture."""
    launches: Mapping[str, str]
    """All of each launch, by its name; the soonest first, those that are over last."""
    html: str
    """All of it as one document that needs no other."""
    path: Path
    """Where `write` puts it by default: `reports/` beside the spool folder, in the project's `.offpeak/`."""

    def write(self, folder: Path | None = None) -> Path:
        """Write `html` to a file of its day, whole or not at all. Raises ConfigurationError where that fails."""
        return write(self.html, self.path if folder is None else folder / self.path.name, what="The launch report")


def launch_report(
    ledger: Ledger,
    api: "BatchApi",
    tables: "SourceTables",
    *,
    context: "dg.AssetExecutionContext | None" = None,
    now: datetime | None = None,
) -> LaunchReport:
    """Hold each launch against its limits and against what is in the ledger, by its clock or `now`.

    What a launch holds up follows from the project's graph, which the `context` of a run knows. Where the past traffic
    or a price cannot be read, the report says so and has the rest. Raises ConfigurationError where the list of launches
    cannot be read. Without matplotlib (`pip install 'offpeak[reports]'`) the picture is words that say so.
    """
    at = ledger.clock.now() if now is None else now
    found = find(ledger, api, tables, chain=_chain(context, api, at), now=at)
    words = told(found, now=at)
    return LaunchReport(
        figures={f"{name}/{each.launch.name}": figure for each in found for name, figure in _figures(each).items()},
        summary=_summary(words),
        launches={each.name: _markdown(each) for each in words.launches},
        html=rendered("offpeak.reports.launches", "launch_report.html", told=words),
        path=ledger.spool.parent / "reports" / f"launches-{at:%Y-%m-%d}.html",
    )


def _chain(context: "dg.AssetExecutionContext | None", api: "BatchApi", now: datetime) -> "Chain | None":
    if context is None:
        return None
    from offpeak.assets.graph import chain_of_run

    return chain_of_run(context, api, now=now)


def _figures(found: Found) -> Mapping[str, float]:
    binding = found.planned.binding
    limit = {} if binding is None else {"headroom": round(binding.headroom, DIGITS)}
    if found.coverage is None or found.misses is None:
        return limit
    return {**limit, **coverage_figures(found.coverage, found.misses)}


def _summary(words: Told) -> str:
    if not words.launches:
        return words.advice
    first = words.launches[0]
    return "\n\n".join((f"**{first.title}**", _first_screen(first), words.about))


def _first_screen(words: Section) -> str:
    return "\n\n".join(
        (headline_table(words.headlines).markdown, f"**What next?** {words.advice}", words.picture.markdown)
    )


def _markdown(words: Section) -> str:
    tables = (words.limits, words.assets, words.missing, words.soon_stale, words.prepared)
    return "\n\n".join(
        (
            f"**{words.title}**",
            _first_screen(words),
            *words.coverage,
            *(each.markdown for each in tables if each is not None),
            words.held_up_words,
            *([words.held_up.markdown] if words.held_up is not None else []),
        )
    )
