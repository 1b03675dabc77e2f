"""Jobs of a log of calls, as the audit judges them."""

import re
from collections.abc import Mapping
from datetime import time, timedelta
from zoneinfo import ZoneInfo

from offpeak.audit.case import Case
from offpeak.audit.job import Cadence, Job, Lane, Source
from offpeak.audit.usage.jobs import Pattern, Tokens, UsageJob, UsageLog
from offpeak.lanes.workload import Waiting
from offpeak.reports.misfits import MONTH

CASES: Mapping[Pattern, Case] = {
    Pattern.SCHEDULE: Case.SCHEDULE,
    Pattern.POLLING: Case.POLLING,
    Pattern.LOOP: Case.LOOP,
    Pattern.SERIAL: Case.SERIAL,
    Pattern.PLEASE_WAIT: Case.PLEASE_WAIT,
}
"""What is conspicuous. People who ask, and what nothing can be said of, are not."""

MOSTLY = 0.5
"""Of a job's calls; with more of them on a batch or flex tier it has been moved already."""

_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_AT = re.compile(r"^(?P<days>daily|weekdays|\w+days?) at (?P<hour>\d\d):(?P<minute>\d\d) (?P<zone>\S+)$")
_HOURLY = re.compile(r"^hourly at :(?P<minute>\d\d)")
_EVERY = re.compile(r"^every (?:(?P<count>\d+) )?(?P<unit>second|minute|hour|day)s?")
_MINUTES = {"second": 1 / 60, "minute": 1, "hour": 60, "day": 1440}


def seen_jobs(log: UsageLog, *, where: str) -> list[Job]:
    """The jobs of a log. `where` is how the log is called."""
    return [_job(each, where) for each in log.jobs]


def _job(found: UsageJob, where: str) -> Job:
    case = CASES.get(found.pattern)
    once = found.runs == 1 and case in (Case.LOOP, Case.SERIAL)
    share = 1.0 if once else MONTH / found.days
    often = cadence(found.cadence)
    calls = sum(each.calls for each in found.models.values())
    return Job(
        name=found.name,
        sources=(Source.USAGE,),
        where=(where,),
        waiting=_waiting(found.pattern),
        case=case if found.batch_share <= MOSTLY else None,
        deadline=_deadline(often),
        cadence=often,
        once=once,
        parallel=True if case in (Case.LOOP, Case.SERIAL, Case.SCHEDULE) else None,
        month={model: _scaled(tokens, share) for model, tokens in found.models.items()},
        calls_a_run=max(1, round(calls / found.runs)) if found.runs else None,
        lane=Lane.BATCH if found.batch_share > MOSTLY else Lane.REALTIME,
        why=(found.why,),
    )


def _waiting(pattern: Pattern) -> Waiting | None:
    match pattern:
        case Pattern.PEOPLE:
            return Waiting.WATCHING
        case Pattern.PLEASE_WAIT:
            return Waiting.WALKED_AWAY
        case Pattern.UNCLEAR:
            return None
        case _:
            return Waiting.NOBODY


def _scaled(tokens: Tokens, share: float) -> Tokens:
    return Tokens(
        calls=max(1, round(tokens.calls * share)),
        input=round(tokens.input * share),
        cache_read=round(tokens.cache_read * share),
        cache_write=round(tokens.cache_write * share),
        output=round(tokens.output * share),
    )


def cadence(words: str) -> Cadence | None:
    """The cadence that a log shows, with the cron expression that it would be."""
    if (found := _AT.match(words)) is not None:
        days, runs = _days(found["days"])
        cron = f"{int(found['minute'])} {int(found['hour'])} * * {days}"
        return Cadence(words=words, runs_a_month=runs, cron=cron, zone=found["zone"])
    if (found := _HOURLY.match(words)) is not None:
        return Cadence(words=words, runs_a_month=MONTH * 24.0, cron=f"{int(found['minute'])} * * * *")
    if (found := _EVERY.match(words)) is not None:
        minutes = int(found["count"] or 1) * _MINUTES[found["unit"]]
        return Cadence(words=words, runs_a_month=MONTH * 1440 / minutes)
    return Cadence(words=words, runs_a_month=0) if words else None


def _days(words: str) -> tuple[str, float]:
    if words == "daily":
        return "*", float(MONTH)
    if words == "weekdays":
        return "1-5", MONTH * 5 / 7
    day = words.removesuffix("s")
    return (str(_DAYS.index(day)), MONTH / 7) if day in _DAYS else ("*", float(MONTH))


def _deadline(often: Cadence | None) -> timedelta | time | None:
    """When what a clock starts at an hour of the day is read: then, so that it has to be asked for before."""
    if often is None or often.cron is None:
        return None
    minute, hour, *_ = often.cron.split()
    if hour == "*":
        return None
    return time(int(hour), int(minute), tzinfo=ZoneInfo(often.zone))
