"""One job that a list, a log and code tell of is one job: they are brought together by name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from offpeak.audit.job import Job, Source

_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")

_SAID_OF_ALL = "run send make build create get do main job task handle process the a of for all batch"
SAID_OF_ALL = frozenset(_SAID_OF_ALL.split())
"""Words in the names of functions that tell nothing of the job."""


def merged(listed: Sequence[Job], seen: Sequence[Job], found: Sequence[Job]) -> list[Job]:
    """The jobs, each once. What people say of who waits and until when goes before what was seen, and what was measured
    before what was assumed; `where` and `why` have all of it.
    """
    jobs = list(listed)
    for others in (seen, found):
        rest = []
        for other in others:
            at = next((number for number, job in enumerate(jobs) if same(job.name, other.name)), None)
            if at is None or other.sources[0] in jobs[at].sources:
                rest.append(other)
            else:
                jobs[at] = _together(jobs[at], other)
        jobs.extend(rest)
    return jobs


def same(name: str, other: str) -> bool:
    """Whether two names mean one job: the words of one are within those of the other."""
    ours, theirs = words(name), words(other)
    return bool(ours and theirs) and (ours <= theirs or theirs <= ours)


def words(name: str) -> frozenset[str]:
    """`send_morning_digest` and `MorningDigest` both are morning and digest."""
    return frozenset(each.lower() for each in _WORDS.findall(name)) - SAID_OF_ALL


def _together(job: Job, other: Job) -> Job:
    measured: Mapping[Source, int] = {Source.USAGE: 0, Source.LIST: 1, Source.CODE: 2}
    figures = min((job, other), key=lambda each: (not each.month, measured[each.sources[0]]))
    said = job.sources[0] is Source.LIST
    return replace(
        job,
        sources=(*job.sources, *other.sources),
        where=(*job.where, *other.where),
        waiting=job.waiting if said or job.waiting is not None else other.waiting,
        case=job.case or other.case,
        deadline=job.deadline if job.deadline is not None else other.deadline,
        cadence=job.cadence or other.cadence,
        parallel=job.parallel if job.parallel is not None else other.parallel,
        month=figures.month,
        assumed=figures.assumed,
        calls_a_run=job.calls_a_run if said else other.calls_a_run or job.calls_a_run,
        why=(*job.why, *other.why),
    )
