"""What a producer promises about the age of its rows."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

from offpeak.errors import DefinitionError
from offpeak.freshness.gate import LONGEST

COLLECTING = timedelta(minutes=30)
"""What is allowed for between a batch's landing and its rows: the sensor's look, a run's start, applying a million
lines. Seconds is usual."""

SHORTEST = timedelta(minutes=1)
"""Dagster's own freshness policies know nothing shorter, and its daemon looks every 30 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshnessContract:
    """Rows are good for `valid_for`, counted from `as_of`: the age of what they were made from, not of their landing.

    It has to cover the time between two runs, the workload's deadline and the collecting (30 minutes), on top of the
    age of what the asset reads: all of that is checked when definitions load. `warn_after` (shorter) is the age from
    which on the check `fresh` warns. Raises DefinitionError for a duration that makes no sense.
    """

    valid_for: timedelta
    warn_after: timedelta | None = None

    def __post_init__(self) -> None:
        for name in ("valid_for", "warn_after"):
            value = getattr(self, name)
            if value is None and name == "warn_after":
                continue
            if not isinstance(value, timedelta) or value < SHORTEST:
                raise DefinitionError(
                    f"FreshnessContract({name}={value!r}): expected a timedelta of at least one minute, such as "
                    "timedelta(hours=37)."
                )
            if value > LONGEST:
                raise DefinitionError(f"FreshnessContract({name}={value!r}): expected at most {LONGEST.days:,} days.")
        if self.warn_after is not None and self.warn_after >= self.valid_for:
            raise DefinitionError(
                f"FreshnessContract(warn_after={self.warn_after}, valid_for={self.valid_for}): the warning would "
                "come after the promise is broken. Make warn_after shorter than valid_for."
            )

    def effective_until(self, as_of: datetime) -> datetime:
        """The last moment at which rows of age `as_of` keep the promise."""
        return as_of + self.valid_for


def native_policy(contract: FreshnessContract, *, deadline: timedelta) -> dg.FreshnessPolicy:
    """The contract as Dagster's own policy, which counts from the materialization.

    Rows are older than that by as long as their batch took, so it warns from the first moment on at which they may be
    past their promise, and fails when they are for certain.
    """
    earliest = max(contract.valid_for - deadline - COLLECTING, SHORTEST)
    warned = min(earliest, contract.warn_after) if contract.warn_after is not None else earliest
    return dg.FreshnessPolicy.time_window(
        fail_window=contract.valid_for, warn_window=warned if warned < contract.valid_for else None
    )
