"""`workloads.yaml`: a line for each piece of AI work, as the people say who run it."""

import re
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from offpeak.audit.job import Cadence, Job, Lane, Source
from offpeak.audit.usage.jobs import Tokens
from offpeak.errors import DefinitionError
from offpeak.freshness.cadence import Cron
from offpeak.lanes.workload import MINUTES, Waiting, time_of_day
from offpeak.listed import read_listed
from offpeak.reports.misfits import MONTH

NAME = "workloads.yaml"
"""What is audited where nothing is named, if it is in the current folder."""

ONCE = "once"

_TIMES = re.compile(r"^(?P<times>\d[\d_,]*)\s*(?:times\s+)?(?:a|an|per)\s+(?P<unit>hour|day|week|month)$")
_A_MONTH = {"hour": MONTH * 24.0, "day": float(MONTH), "week": MONTH / 7, "month": 1.0}
_PLAIN = {"hourly": "1 an hour", "daily": "1 a day", "weekly": "1 a week", "monthly": "1 a month"}
_DURATION = re.compile(r"^(?P<count>\d+(?:\.\d+)?)\s*(?P<unit>s|seconds?|min|minutes?|h|hours?|d|days?)$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

_EXAMPLE = """\
workloads:
  - name: morning_digest
    who_waits: nobody            # nobody, walked_away or watching
    how_often: 0 7 * * *         # a cron expression, "200 a day", "daily" or "once"
    zone: Europe/Berlin
    deadline: 09:00 Europe/Berlin  # or a duration, such as 12h
    model: openai/gpt-5.4-mini
    calls: 60                    # of one run
    input_tokens: 1200           # of one call
    output_tokens: 300
"""


def _deadline(value: object) -> object:
    """A text as a duration, or as a time of day with its zone."""
    if value is None:
        return None
    text = str(value).strip()
    if (found := _DURATION.match(text)) is not None:
        duration = timedelta(**{_UNITS[found["unit"][0]]: float(found["count"])})
        if duration > timedelta(0):
            return duration
    elif ":" in text:
        try:
            return time_of_day(text)
        except DefinitionError as error:
            raise ValueError(str(error)) from error
    raise ValueError(
        f'{text!r} is no deadline: write a duration ("12h") or a time with its zone ("09:00 Europe/Berlin")'
    )


class Entry(BaseModel):
    """One piece of AI work."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: Annotated[str, Field(min_length=1)]
    who_waits: Waiting
    how_often: str
    deadline: Annotated[timedelta | time | None, BeforeValidator(_deadline)] = None
    """After it is asked for, or a time of day with its zone. Without one, by the next day where nobody waits."""
    zone: str = "UTC"
    """Of a cron expression in `how_often`."""
    model: str | None = None
    calls: Annotated[int, Field(gt=0)] = 1
    """Of one run."""
    input_tokens: Annotated[int, Field(ge=0)] | None = None
    """Of one call."""
    output_tokens: Annotated[int, Field(ge=0)] | None = None
    lane: Literal["realtime", "background", "batch"] = "realtime"
    """As it is bought now."""
    parallel: bool | None = None
    """No request needs another's answer."""
    note: str | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> "Entry":
        cadence(self.how_often, self.zone)
        if self.who_waits is Waiting.WALKED_AWAY and isinstance(self.deadline, timedelta) and self.deadline < MINUTES:
            raise ValueError("deadline: whoever waits for less than a minute is watching: who_waits: watching")
        if (self.input_tokens is None) != (self.output_tokens is None):
            raise ValueError("give both input_tokens and output_tokens of a call, or neither")
        if self.input_tokens is not None and self.model is None:
            raise ValueError("name the model that the tokens are of")
        return self


class ListFile(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workloads: Annotated[tuple[Entry, ...], Field(min_length=1)]


def listed_jobs(path: Path) -> list[Job]:
    """The jobs of a list. Raises ConfigurationError, naming the entry and the field, for one that cannot be read."""
    listed = read_listed(
        path, ListFile, under="workloads", example=_EXAMPLE, hint="Name the list of AI work with --list."
    )
    return [_job(entry, listed.where(path, number)) for number, entry in enumerate(listed.file.workloads)]


def cadence(how_often: str, zone: str) -> Cadence | None:
    """How often something runs, by what a list says; None for once. Raises ValueError for what says nothing."""
    text = how_often.strip()
    if text == ONCE:
        return None
    if (found := _TIMES.match(_PLAIN.get(text, text))) is not None:
        times = int(found["times"].replace(",", "").replace("_", ""))
        return Cadence(words=text, runs_a_month=times * _A_MONTH[found["unit"]])
    if len(text.split()) != 5:
        raise ValueError(
            f'how_often: {text!r} says not how often. Write a cron expression ("0 7 * * 1-5"), a number ("200 a day"), '
            '"hourly", "daily", "weekly", "monthly" or "once"'
        )
    try:
        ZoneInfo(zone)
        start = datetime(2027, 1, 1, tzinfo=UTC)
        ticks = Cron(cron_schedule=text, timezone=zone, name="how_often").ticks(start, start + timedelta(days=364))
    except Exception as error:  # whatever Dagster or the zone's data make of a wrong text
        raise ValueError(f"how_often: {text!r} in the zone {zone!r} is no schedule: {error}") from error
    return Cadence(words=f"{text} ({zone})", runs_a_month=len(ticks) * MONTH / 364, cron=text, zone=zone)


def _job(entry: Entry, where: str) -> Job:
    often = cadence(entry.how_often, entry.zone)
    runs = often.runs_a_month if often else 1
    calls = max(1, round(entry.calls * runs))
    month = {}
    if entry.model is not None and entry.input_tokens is not None and entry.output_tokens is not None:
        month[entry.model] = Tokens(
            calls=calls,
            input=calls * entry.input_tokens,
            cache_read=0,
            cache_write=0,
            output=calls * entry.output_tokens,
        )
    return Job(
        name=entry.name,
        sources=(Source.LIST,),
        where=(where,),
        waiting=entry.who_waits,
        deadline=entry.deadline,
        cadence=often,
        once=often is None,
        parallel=entry.parallel,
        month=month,
        calls_a_run=entry.calls,
        lane=Lane(entry.lane),
        why=(entry.note,) if entry.note else (),
    )
