"""Who waits for an asset, and until when: what decides how its requests are bought."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from offpeak.errors import DefinitionError


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

    `deadline` counts from the creation of the run. Raises DefinitionError unless it is positive.
    """

    waiting: Waiting
    deadline: timedelta

    def __post_init__(self) -> None:
        if not isinstance(self.waiting, Waiting):
            raise DefinitionError(
                f"Workload(waiting={self.waiting!r}): expected one of "
                f"{', '.join(f'Waiting.{each.name}' for each in Waiting)}."
            )
        if not isinstance(self.deadline, timedelta) or self.deadline <= timedelta(0):
            raise DefinitionError(
                f"Workload(deadline={self.deadline!r}): expected a positive timedelta, counted from the run's "
                "creation, such as timedelta(hours=12)."
            )

    def refuse_watched(self, asset: str) -> None:
        """Raise DefinitionError when a person would be watching `asset` being bought."""
        if self.waiting is Waiting.WATCHING:
            raise DefinitionError(
                f"{asset}: workload=Workload(waiting=Waiting.WATCHING) cannot be a batch asset. A batch may take a "
                "day, and a person who watches needs an answer in seconds. Call the provider directly where the person "
                "waits; or declare Waiting.WALKED_AWAY if minutes are fine, Waiting.NOBODY if hours are."
            )
