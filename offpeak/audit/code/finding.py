"""What the audit of code says: a call that no person waits for, why that is so, and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from offpeak.audit.case import Case


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One call site."""

    path: Path
    line: int
    column: int
    """Both from 1 on."""
    case: Case
    job: str
    """The function that stands for the job: the one with the loop, or the one that is entered."""
    call: str
    """What is called, as it is written."""
    why: str
    model: str | None
    """As it is written, where it is."""
    max_tokens: int | None
    calls: int | None
    """Of one run, where the code says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A file that could not be parsed."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeAudit:
    """A folder, audited."""

    root: Path
    findings: Sequence[Finding]
    """By path and line."""
    sites: int
    """Calls that buy tokens, those included that a person waits for."""
    allowed: int
    """Findings that a comment in the code allows."""
    files: int
    unread: Sequence[Unread]
