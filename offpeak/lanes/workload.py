"""Who waits for an asset, and until when: what decides how its requests are bought."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from offpeak.clock import exactly
from offpeak.errors import DefinitionError
from offpeak.freshness.cadence import Cron, longest_gap, longest_until

MINUTES = timedelta(minutes=1)
"""Somebody who waits for less than this has not walked away."""

WATCHED = (
    "a person would be watching. A batch may take a day, and a person who watches needs an answer in seconds. Call the "
    "provider directly where the person waits; or declare Waiting.WALKED_AWAY if minutes are fine, Waiting.NOBODY if "
    "hours are."
)
"""Why nothing is bought for somebody who looks at the screen."""

_EXAMPLE = 'timedelta(hours=24), or time(9, tzinfo=ZoneInfo("Europe/Berlin"))'


class Waiting(StrEnum):
    """Who waits for the rows."""

    NOBODY = "nobody"
    """Scheduled work; hours are fine."""
    WALKED_AWAY = "walked_away"
    """A person asked, and does something else meanwhile; minutes."""
    WATCHING = "watching"
    """A person looks at the screen. That is not scheduled work, and no batch asset may declare it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Who waits, and the latest moment that is useful.

    A `deadline` that is a timedelta counts from the creation of the run. One that is a time of day with a zone, such as
    `time(9, tzinfo=ZoneInfo("Europe/Berlin"))`, is the next nine o'clock there after the creation of the run, on the
    days of the clock changes too. `volume` is how many requests a run usually asks: people are told it beside what a
    plan finds. Raises DefinitionError for what makes no sense.
    """

    waiting: Waiting
    deadline: timedelta | time
    volume: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.waiting, Waiting):
            raise DefinitionError(
                f"Workload(waiting={self.waiting!r}): expected one of "
                f"{', '.join(f'Waiting.{each.name}' for each in Waiting)}."
            )
        if isinstance(self.deadline, time):
            _check_time(self.deadline)
        elif not isinstance(self.deadline, timedelta) or self.deadline <= timedelta(0):
            raise DefinitionError(
                f"Workload(deadline={self.deadline!r}): expected a positive timedelta, counted from the run's "
                f"creation, or a time of day with its zone: {_EXAMPLE}."
            )
        elif self.waiting is Waiting.WALKED_AWAY and self.deadline < MINUTES:
            raise DefinitionError(
                f"Workload(waiting=Waiting.WALKED_AWAY, deadline={self.deadline!r}): whoever waits for less than a "
                "minute is watching, and a run takes seconds to begin. Allow minutes, or call the provider directly "
                "where the person waits."
            )
        if self.volume is not None and (
            not isinstance(self.volume, int) or isinstance(self.volume, bool) or self.volume < 1
        ):
            raise DefinitionError(
                f"Workload(volume={self.volume!r}): expected how many requests a run usually asks, 1 or more, or None "
                "where that is only known once it is planned."
            )

    @property
    def daily(self) -> Cron | None:
        """The ticks of a deadline that is a time of day; None for one that counts from the run's creation."""
        if not isinstance(self.deadline, time):
            return None
        cron_schedule = f"{self.deadline.minute} {self.deadline.hour} * * *"
        return Cron(cron_schedule=cron_schedule, timezone=_zone(self.deadline), name="deadline")

    def due_at(self, created_at: datetime) -> datetime:
        """The latest useful moment, in UTC, for a run that was created then."""
        if isinstance(self.deadline, timedelta):
            return created_at.astimezone(UTC) + self.deadline
        tick = None if self.daily is None else self.daily.next_tick(created_at)
        if tick is None:
            raise DefinitionError(f"Workload(deadline={self.deadline!r}) never comes true.")
        return tick

    def longest(self, crons: Iterable[Cron] = (), *, now: datetime) -> timedelta:
        """The longest that it can be from the creation of a run to its deadline, in the year from `now` on.

        Where runs begin by `crons` alone, that is the longest from one of their ticks on; else a run may be created
        just after the time of day, and has until the next one.
        """
        if isinstance(self.deadline, timedelta):
            return self.deadline
        ends = [each for each in (self.daily,) if each is not None]
        found = longest_until(crons, ends, now=now)
        if found is None:
            gap = longest_gap(ends, now=now)
            found = timedelta(days=1) if gap is None else gap.duration
        return found

    def __str__(self) -> str:
        """The deadline for people: "24 h", or "09:00 Europe/Berlin"."""
        if isinstance(self.deadline, timedelta):
            return exactly(self.deadline)
        return f"{self.deadline:%H:%M} {_zone(self.deadline)}"

    def refuse_watched(self, asset: str) -> None:
        """Raise DefinitionError when a person would be watching `asset` being bought."""
        if self.waiting is Waiting.WATCHING:
            raise DefinitionError(
                f"{asset}: workload=Workload(waiting=Waiting.WATCHING) cannot be a batch asset: {WATCHED}"
            )


def time_of_day(text: str) -> time:
    """The time of day that a text such as "09:00 Europe/Berlin" says. Raises DefinitionError for any other text."""
    said, _, zone = text.strip().partition(" ")
    try:
        parsed = time.fromisoformat(said)
    except ValueError as error:
        raise DefinitionError(
            f'{text!r} is no time of day with its zone. Write it as "09:00 Europe/Berlin".'
        ) from error
    if not zone.strip():
        raise DefinitionError(f'{text!r} does not say in which zone. Write it as "09:00 Europe/Berlin".')
    try:
        return parsed.replace(tzinfo=ZoneInfo(zone.strip()))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise DefinitionError(
            f"{text!r} names the zone {zone.strip()!r}, which there is not. Use a name of the IANA database, such as "
            '"Europe/Berlin".'
        ) from error


def _check_time(deadline: time) -> None:
    if deadline.tzinfo is None:
        raise DefinitionError(
            f"Workload(deadline={deadline!r}): a time of day without a zone is another moment in every place. Say "
            f"where: {_EXAMPLE.partition(', or ')[2]}."
        )
    if not _zone(deadline):
        raise DefinitionError(
            f"Workload(deadline={deadline!r}): {deadline.tzinfo} is no zone with a name, and so knows no clock "
            f"changes. Use a ZoneInfo: {_EXAMPLE.partition(', or ')[2]}."
        )
    if deadline.second or deadline.microsecond:
        raise DefinitionError(f"Workload(deadline={deadline!r}): a time of day is given to the minute.")


def _zone(deadline: time) -> str:
    """The IANA name of its zone; empty where it has none."""
    zone = deadline.tzinfo
    if isinstance(zone, ZoneInfo):
        return zone.key or ""
    return "UTC" if zone is UTC else ""
