"""`launches.yaml`: an entry for each launch, as the people say who plan it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from offpeak.errors import ConfigurationError
from offpeak.launches.launch import Launch, OpenBatches, Session
from offpeak.listed import read_listed
from offpeak.providers import NAMES

NAME = "launches.yaml"

LONGEST = timedelta(days=14)
"""Of a window. Batch work that waits for longer is not scheduled work any more."""

EXAMPLE = """\
launches:
  - name: spring_release
    starts: 2027-03-09 09:00
    ends: 2027-03-09 21:00
    zone: Europe/Berlin
    peak_users: 400              # at the same time
    session:                     # one visitor's, from the first request to the last
      minutes: 12
      requests: 6
      input_tokens: 5400         # of all its requests together
      output_tokens: 1500
    precomputed_share: 0.7       # of requests, answered by pre-computed results
    models: openai/gpt-5-mini    # or shares: {openai/gpt-5-mini: 0.8, anthropic/claude-haiku-5-5: 0.2}
"""


def _local(value: object) -> object:
    """A local time without a zone: YAML makes a datetime of some texts, and leaves others as they are."""
    if isinstance(value, datetime):
        found = value
    else:
        try:
            found = datetime.fromisoformat(str(value).strip())
        except ValueError as error:
            raise ValueError(f"{value!r} is no time: write a date and a time, such as 2027-03-09 09:00") from error
    if found.tzinfo is not None:
        raise ValueError(f"{value} names an offset: write the time without one, and its zone in `zone`")
    return found


LocalTime = Annotated[datetime, BeforeValidator(_local)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SessionEntry(_Part):
    """What one visitor does, on average."""

    minutes: Annotated[float, Field(gt=0)]
    requests: Annotated[float, Field(gt=0)]
    input_tokens: Annotated[float, Field(ge=0)]
    output_tokens: Annotated[float, Field(ge=0)]


class Entry(_Part):
    """One launch."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,49}$")]
    """A small letter, then small letters, digits and underscores: it is the name of a partition and of checks."""
    starts: LocalTime
    ends: LocalTime
    zone: str
    peak_at: LocalTime | None = None
    """Without one, the middle of the window."""
    peak_users: Annotated[int, Field(gt=0)]
    session: SessionEntry
    precomputed_share: Share = 0.0
    models: dict[str, Annotated[float, Field(gt=0, le=1)]]
    spare: Annotated[float, Field(ge=0, lt=1)] = 0.2
    raise_days: Annotated[float, Field(ge=0)] = 14
    quiet_days: Annotated[float, Field(gt=0, le=60)] = 7
    open_batches: OpenBatches = OpenBatches.FINISH
    notice_hours: Annotated[float, Field(ge=0)] = 24

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except Exception as error:  # whatever the zone's data make of a wrong text
            raise ValueError(f"{zone!r} is no time zone: write an IANA name, such as Europe/Berlin") from error
        return zone

    @field_validator("models", mode="before")
    @classmethod
    def _shares(cls, models: object) -> object:
        return {models: 1.0} if isinstance(models, str) else models

    @model_validator(mode="after")
    def _makes_sense(self) -> "Entry":
        for model in self.models:
            provider, _, name = model.partition("/")
            if provider not in NAMES or not name:
                raise ValueError(
                    f"models: {model!r} is no model: write provider/model; there are {' and '.join(NAMES)}"
                )
        if not self.models or abs(sum(self.models.values()) - 1) > 0.001:
            raise ValueError(f"models: the shares add up to {sum(self.models.values()):g}, and have to add up to 1")
        starts, ends = self.at("starts", self.starts), self.at("ends", self.ends)
        if ends <= starts:
            raise ValueError("ends: the window ends before it begins")
        if ends - starts > LONGEST:
            raise ValueError(f"ends: the window is longer than {LONGEST.days} days: write a launch for each peak")
        if self.peak_at is not None and not starts <= self.at("peak_at", self.peak_at) <= ends:
            raise ValueError("peak_at: the peak is outside of the window")
        return self

    def at(self, field: str, local: datetime) -> datetime:
        """A local time in UTC. Raises ValueError for one that the clocks skip there."""
        zone = ZoneInfo(self.zone)
        found = local.replace(tzinfo=zone).astimezone(UTC)
        if found.astimezone(zone).replace(tzinfo=None) != local:
            raise ValueError(f"{field}: there is no {local:%H:%M} in {self.zone} on that day: the clocks are changed")
        return found


class Rehearsal(_Part):
    """What stands in for the providers when a launch is rehearsed."""

    provider: str
    """A command that serves both APIs at {port} of this machine, under {limits}: as JSON, by "provider/model" the
    requests_per_minute and tokens_per_minute that it allows."""


class ListFile(_Part):
    """The file."""

    launches: tuple[Entry, ...] = ()
    rehearsal: Rehearsal | None = None


@dataclass(frozen=True, slots=True)
class Launches:
    """All launches that are planned, or were; by when they start."""

    launches: tuple[Launch, ...] = ()
    rehearsal: str | None = None
    """The command that stands in for the providers."""

    def named(self, name: str) -> Launch:
        """Raises ConfigurationError for a name that no launch has."""
        for each in self.launches:
            if each.name == name:
                return each
        known = ", ".join(each.name for each in self.launches) or "none"
        raise ConfigurationError(f"There is no launch {name!r} in {NAME}; there are: {known}.")

    def ahead(self, now: datetime) -> tuple[Launch, ...]:
        """Those that are not over."""
        return tuple(each for each in self.launches if each.ends > now)


def read_launches(path: Path) -> Launches:
    """The launches of a file. Raises ConfigurationError, naming the entry and the field, for one that cannot be read.

    An empty list is none; launches may overlap.
    """
    hint = "Write the launches there, or take `launches=` away from the resource `batch_api`."
    found = read_listed(path, ListFile, under="launches", example=EXAMPLE, hint=hint).file
    launches = sorted((_launch(each) for each in found.launches), key=lambda each: (each.starts, each.name))
    return Launches(tuple(launches), None if found.rehearsal is None else found.rehearsal.provider)


def _launch(entry: Entry) -> Launch:
    starts, ends = entry.at("starts", entry.starts), entry.at("ends", entry.ends)
    session = entry.session
    peak = starts + (ends - starts) / 2 if entry.peak_at is None else entry.at("peak_at", entry.peak_at)
    models: Mapping[str, float] = dict(sorted(entry.models.items(), key=lambda each: -each[1]))
    return Launch(
        name=entry.name,
        starts=starts,
        ends=ends,
        zone=entry.zone,
        peak_at=peak,
        peak_users=entry.peak_users,
        session=Session(
            length=timedelta(minutes=session.minutes),
            requests=session.requests,
            input_tokens=session.input_tokens,
            output_tokens=session.output_tokens,
        ),
        precomputed_share=entry.precomputed_share,
        models=models,
        spare=entry.spare,
        raise_time=timedelta(days=entry.raise_days),
        quiet=timedelta(days=entry.quiet_days),
        open_batches=entry.open_batches,
        notice=timedelta(hours=entry.notice_hours),
    )
