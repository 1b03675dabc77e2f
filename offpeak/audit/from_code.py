"""Findings in code, as the audit judges them: those of one function are one job.

Code does not say how often it runs, nor how much it asks. What is not written is assumed, and said to be: a thousand
calls of a thousand tokens each, unless a loop names a number.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from offpeak.audit.case import Case
from offpeak.audit.code.finding import CodeAudit, Finding
from offpeak.audit.job import Job, Source
from offpeak.audit.usage.jobs import Tokens
from offpeak.lanes.workload import Waiting

CALLS = 1_000
INPUT = 1_000
"""Tokens of a call: a page and a half of text."""
OUTPUT = 300
"""Tokens of an answer where no limit is written. Where one is, half of it."""

PARALLEL = frozenset({Case.LOOP, Case.SERIAL})


def found_jobs(audit: CodeAudit) -> list[Job]:
    """A job for each function of which calls were found."""
    groups: dict[tuple[Path, str], list[Finding]] = defaultdict(list)
    for finding in audit.findings:
        groups[finding.path, finding.job].append(finding)
    return [_job(audit.root, findings) for findings in groups.values()]


def _job(root: Path, findings: Sequence[Finding]) -> Job:
    first = findings[0]
    models = sorted({each.model for each in findings if each.model})
    calls = next((each.calls for each in findings if each.calls), None)
    return Job(
        name=first.job,
        sources=(Source.CODE,),
        where=tuple(f"{shown(each.path, root)}:{each.line}" for each in findings),
        waiting=Waiting.WALKED_AWAY if first.case is Case.PLEASE_WAIT else Waiting.NOBODY,
        case=first.case,
        parallel=True if first.case in PARALLEL else None,
        month={model: _tokens(findings, calls or CALLS) for model in models[:1]},
        assumed=_assumed(first, calls) if models else "",
        calls_a_run=calls,
        why=tuple(dict.fromkeys(each.why for each in findings)),
    )


def _tokens(findings: Sequence[Finding], calls: int) -> Tokens:
    limit = next((each.max_tokens for each in findings if each.max_tokens), None)
    output = min(limit, max(1, limit // 2)) if limit else OUTPUT
    return Tokens(calls=calls, input=calls * INPUT, cache_read=0, cache_write=0, output=calls * output)


def _assumed(finding: Finding, calls: int | None) -> str:
    often = f"{calls:,} calls, as the loop says," if calls else f"{CALLS:,} calls"
    output = f"half of max_tokens ({finding.max_tokens:,})" if finding.max_tokens else f"{OUTPUT:,} tokens"
    return f"for {often} of {INPUT:,} tokens in and {output} out; code does not say how often it runs"


def shown(path: Path, root: Path) -> str:
    """A path as it is told: from the current folder on, where it lies in it; else from the folder that was audited."""
    here, whole = Path.cwd(), path.resolve()
    if whole.is_relative_to(here):
        return whole.relative_to(here).as_posix()
    base = (root if root.is_dir() else root.parent).resolve()
    return (Path(base.name) / whole.relative_to(base)).as_posix()
