"""The audit: jobs from a list, a log of calls and code, each judged and priced, the dearest misfit first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from offpeak.audit.code.detect import audit_code
from offpeak.audit.code.finding import CodeAudit
from offpeak.audit.from_code import found_jobs
from offpeak.audit.from_usage import seen_jobs
from offpeak.audit.merging import merged
from offpeak.audit.move import Move, move
from offpeak.audit.pricing import Prices
from offpeak.audit.usage.jobs import UsageLog, usage_jobs
from offpeak.audit.verdict import SMALL, Verdict, ranked, verdict
from offpeak.audit.workloads import listed_jobs
from offpeak.errors import ConfigurationError, NotFound, did_you_mean
from offpeak.money import PriceSheet


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was found."""

    verdicts: Sequence[Verdict]
    """The dearest misfit first, then what fits."""
    listed: Path | None
    log: UsageLog | None
    code: Sequence[CodeAudit]
    prices: Prices
    now: datetime

    @property
    def misfits(self) -> Sequence[Verdict]:
        return [each for each in self.verdicts if each.misfit]

    def move(self, each: Verdict) -> Move:
        """A job as it would run once it is moved."""
        return move(each, self.prices, now=self.now)

    def job(self, name: str) -> Verdict:
        """The job of that name. Raises NotFound, with the nearest names."""
        found = next((each for each in self.verdicts if each.job.name == name), None)
        if found is None:
            known = [each.job.name for each in self.verdicts]
            hint = did_you_mean(name, known, nothing="The audit found none at all.")
            raise NotFound(f"The audit found no job named {name!r}. {hint}")
        return found


def audit(
    *,
    workloads: Path | None = None,
    usage: Sequence[Path] = (),
    code: Sequence[Path] = (),
    columns: Mapping[str, str] | None = None,
    zone: str = "UTC",
    tests: bool = False,
    small: Decimal = SMALL,
    sheet: PriceSheet | None = None,
    now: datetime,
) -> Audit:
    """Audit what is given: a list of AI work, files of one log of calls, folders of Python. Nothing is run or bought.

    `columns` maps what a call has to the names in the log, `zone` is where the clock hangs that starts jobs. `small`:
    dollars a month that are not worth a move. Raises ConfigurationError where nothing is given, or something that
    cannot be read.
    """
    if workloads is None and not usage and not code:
        raise ConfigurationError(
            "There is nothing to audit. Name a list of AI work, a log of calls, a folder of code, or all of them: "
            "--list workloads.yaml --usage calls.jsonl --code src"
        )
    prices = Prices(sheet or PriceSheet.load(), now)
    log = usage_jobs(usage, columns=columns, zone=zone) if usage else None
    audits = [audit_code(each, tests=tests) for each in code]
    jobs = merged(
        listed_jobs(workloads) if workloads is not None else [],
        seen_jobs(log, where=", ".join(path.name for path in usage)) if log is not None else [],
        [job for each in audits for job in found_jobs(each)],
    )
    return Audit(
        verdicts=ranked([verdict(job, prices, small=small) for job in jobs]),
        listed=workloads,
        log=log,
        code=audits,
        prices=prices,
        now=now,
    )
