"""The audit as a report: for the asset that shows it in Dagster's UI, as a file to send, and for code review tools."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from offpeak.audit.audit import Audit, audit
from offpeak.audit.sarif import sarif
from offpeak.audit.verdict import SMALL
from offpeak.audit.words import Told, monthly, told
from offpeak.errors import ConfigurationError
from offpeak.ledger.location import offpeak_folder
from offpeak.money import PriceSheet
from offpeak.money.rates import dollars
from offpeak.reports.documents import rendered, write
from offpeak.reports.headlines import headline_table


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadAudit:
    """What to show. Texts are Markdown."""

    audit: Audit
    figures: Mapping[str, float]
    """`misfits` and `jobs` are counts; `misfit_usd` and `saving_usd` dollars of a month, as far as they are known."""
    title: str
    summary: str
    """The first screen: three figures, what to do next, and the misfits."""
    design: str
    """The queue-and-notify design for the dearest misfit; empty where there is none."""
    closely: str
    fits: str
    html: str
    """All of it as one document that needs no other."""
    sarif: str
    """The findings in code, as SARIF 2.1.0."""
    path: Path
    """Where `write` puts it by default: `reports/` in the project's `.offpeak/`; the current folder outside of one."""

    @property
    def markdown(self) -> str:
        """All of it as one document; a part that is empty has nothing to say."""
        parts = {
            "In the wrong lane": self.summary,
            "Design for the dearest": self.design,
            "Each of them, closely": self.closely,
            "What stays": self.fits,
        }
        told = (f"## {heading}\n\n{text}" for heading, text in parts.items() if text)
        return "\n\n".join((f"# {self.title}", *told)) + "\n"

    def write(self, path: Path | None = None) -> Path:
        """Write `html` to a file, whole or not at all. Raises ConfigurationError where that fails."""
        return write(self.html, path or self.path, what="The workload audit")


def workload_audit(
    *,
    workloads: str | Path | None = None,
    usage: Sequence[str | Path] = (),
    code: Sequence[str | Path] = (),
    columns: Mapping[str, str] | None = None,
    zone: str = "UTC",
    tests: bool = False,
    small: Decimal = SMALL,
    prices: PriceSheet | None = None,
    now: datetime | None = None,
) -> WorkloadAudit:
    """Find the AI work that runs in the wrong lane, price the move, and write the design for the dearest.

    `workloads` is a list of AI work in YAML, `usage` the files of a log of calls, `code` folders of Python, which is
    read and never run. `columns` maps what a call has to the names in the log, `zone` is where the clock hangs that
    starts jobs. A move that saves less than `small` dollars a month is not worth it. Nothing is bought.

    Raises ConfigurationError where nothing is given, or something that cannot be read.
    """
    found = audit(
        workloads=Path(workloads) if workloads is not None else None,
        usage=[Path(each) for each in usage],
        code=[Path(each) for each in code],
        columns=columns,
        zone=zone,
        tests=tests,
        small=small,
        sheet=prices,
        now=now or datetime.now(UTC),
    )
    return report(found)


def report(found: Audit) -> WorkloadAudit:
    """An audit as its report."""
    words = told(found)
    return WorkloadAudit(
        audit=found,
        figures=_figures(found),
        title=words.title,
        summary=_summary(words),
        design=words.design.markdown if words.design else "",
        closely="\n\n".join(
            "\n".join((f"**`{each.name}`**\n", *(f"- {line}" for line in each.lines))) for each in words.close
        ),
        fits=words.fits.markdown if words.fits else "",
        html=rendered("offpeak.audit", "workload_audit.html", told=words),
        sarif=sarif(found),
        path=_folder() / f"workload-audit-{found.now:%Y-%m-%d}.html",
    )


def _folder() -> Path:
    try:
        return offpeak_folder() / "reports"
    except ConfigurationError:  # what is audited need not be a Dagster project yet
        return Path.cwd()


def _figures(found: Audit) -> Mapping[str, float]:
    cost, saved = monthly(found.misfits)
    return {
        "jobs": len(found.verdicts),
        "misfits": len(found.misfits),
        "misfit_usd": float(dollars(cost)),
        "saving_usd": float(dollars(saved)),
    }


def _summary(words: Told) -> str:
    parts = [headline_table(words.headlines).markdown, f"**What next?** {words.advice}"]
    if words.misfits is not None:
        parts.append(words.misfits.markdown)
    return "\n\n".join((*parts, *words.about))
