"""The gate: a consumer declares what it tolerates, and never silently reads older or fewer rows than that.

A tolerance travels as plain data in the metadata of an input (`ins=`) or a dependency (`deps=`), where it survives
Dagster's copies and is readable in its snapshots. The decision itself is `judge`, a function of values and the time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, overload

import dagster as dg

from offpeak.clock import in_words
from offpeak.errors import DefinitionError, StaleInput

TOLERANCE_KEY = "offpeak/tolerance"
"""The metadata key under which inputs and dependencies carry their tolerance."""

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How old the oldest row may be, and which share of the wanted rows must have an answer (0 to 1)."""

    max_staleness: timedelta
    min_coverage: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.max_staleness, timedelta) or self.max_staleness <= timedelta(0):
            raise DefinitionError(
                f"tolerates(max_staleness={self.max_staleness!r}): expected a positive timedelta, such as "
                "timedelta(hours=38)."
            )
        if isinstance(self.min_coverage, bool) or not 0 <= self.min_coverage <= 1:
            raise DefinitionError(
                f"tolerates(min_coverage={self.min_coverage!r}): expected a share between 0 and 1, such as 0.99."
            )

    def to_metadata(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            TOLERANCE_KEY: {
                "max_staleness_seconds": self.max_staleness.total_seconds(),
                "min_coverage": self.min_coverage,
            }
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any] | None) -> "Tolerance | None":
        """The tolerance that `metadata` carries, or None."""
        found = (metadata or {}).get(TOLERANCE_KEY)
        if isinstance(found, dg.JsonMetadataValue):
            found = found.value
        if not isinstance(found, Mapping):
            return None
        return cls(max_staleness=timedelta(seconds=found["max_staleness_seconds"]), min_coverage=found["min_coverage"])


@dataclass(frozen=True, slots=True, kw_only=True)
class InputState:
    """What a consumer is about to read."""

    asset: str
    as_of: datetime | None
    """The oldest row's; None when nothing has ever landed."""
    rows: int
    missing: int
    """Wanted rows that have no answer."""
    promise: timedelta | None
    """The producer's `valid_for`, where it is known."""
    not_landed: Sequence[str] = ()
    """Partitions that are read and have never landed."""


def judge(
    state: InputState, tolerance: Tolerance, *, consumer: str, now: datetime, declared_as: str = "tolerates({})"
) -> None:
    """Return when `consumer` may read; raise StaleInput when the rows are too old, too few, or have never landed.

    `declared_as` is how the consumer spells its tolerance in code, for the remedy.
    """
    if state.not_landed:
        shown = ", ".join(state.not_landed[:_SHOWN])
        more = f" and {len(state.not_landed) - _SHOWN} more" if len(state.not_landed) > _SHOWN else ""
        raise StaleInput(
            f"{consumer} reads {state.asset}, which has never landed for partition {shown}{more}. Nothing was read. "
            f"Materialise {state.asset} for it first."
        )
    if state.as_of is None:
        raise StaleInput(
            f"{consumer} reads {state.asset}, which has never landed. Nothing was read. Materialise {state.asset} "
            "first."
        )
    age = now - state.as_of
    if age > tolerance.max_staleness:
        promised = f" {state.asset} promises at most {in_words(state.promise)}." if state.promise is not None else ""
        raise StaleInput(
            f"{consumer} tolerates rows of {state.asset} up to {in_words(tolerance.max_staleness)} old; the oldest "
            f"is as of {state.as_of:%Y-%m-%d %H:%M:%S} UTC, {in_words(age)} old.{promised} Nothing was read. "
            f"Materialise {state.asset} again, or let {consumer} tolerate more: "
            f"{declared_as.format(_as_code(age, tolerance.max_staleness))}."
        )
    wanted = state.rows + state.missing
    if wanted and state.rows < tolerance.min_coverage * wanted:
        raise StaleInput(
            f"{consumer} accepts {state.asset} with at least {tolerance.min_coverage:.2%} of its rows; {state.rows} of "
            f"{wanted} ({state.rows / wanted:.2%}) have an answer. Nothing was read. `offpeak jobs "
            f"--asset {state.asset}` lists its jobs, and `offpeak jobs show` why rows failed. Materialise it again, or "
            "lower min_coverage."
        )


@overload
def tolerates(
    max_staleness: timedelta,
    /,
    *,
    min_coverage: float = 1.0,
    key: dg.AssetKey | Sequence[str] | str | None = None,
    partition_mapping: dg.PartitionMapping | None = None,
    dagster_type: dg.DagsterType | type | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetIn: ...


@overload
def tolerates(
    asset: "dg.AssetsDefinition | dg.AssetSpec | dg.AssetKey | str",
    max_staleness: timedelta,
    /,
    *,
    min_coverage: float = 1.0,
    partition_mapping: dg.PartitionMapping | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetDep: ...


def tolerates(
    first: Any,
    second: timedelta | None = None,
    /,
    *,
    min_coverage: float = 1.0,
    key: dg.AssetKey | Sequence[str] | str | None = None,
    partition_mapping: dg.PartitionMapping | None = None,
    dagster_type: dg.DagsterType | type | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetIn | dg.AssetDep:
    """Declare how stale the rows of a batch asset may be when this consumer reads them.

    `ins={"ticket_labels": tolerates(timedelta(hours=38))}` gates an input when it is read;
    `deps=[tolerates(ticket_labels, timedelta(hours=38))]` gates a consumer that reads the rows itself, before its body
    runs. `min_coverage` is the share of wanted rows that must have an answer; the other arguments are AssetIn's and
    AssetDep's own. Raises DefinitionError for a tolerance that makes no sense.
    """
    if second is None:
        tolerance = Tolerance(max_staleness=first, min_coverage=min_coverage)
        typed = {} if dagster_type is None else {"dagster_type": dagster_type}
        return dg.AssetIn(
            key=key,
            metadata={**(metadata or {}), **tolerance.to_metadata()},
            partition_mapping=partition_mapping,
            **typed,  # type: ignore[arg-type]
        )
    if key is not None or dagster_type is not None:
        raise DefinitionError(
            "tolerates(asset, max_staleness) is a dependency and takes neither key= nor dagster_type=: they "
            "describe an input that Dagster loads. Use tolerates(max_staleness, key=...) in ins= for that."
        )
    tolerance = Tolerance(max_staleness=second, min_coverage=min_coverage)
    return dg.AssetDep(
        first, partition_mapping=partition_mapping, metadata={**(metadata or {}), **tolerance.to_metadata()}
    )


def _as_code(age: timedelta, tolerated: timedelta) -> str:
    """A timedelta expression that would have let `age` pass, in whole units."""
    size, name = (3_600, "hours") if tolerated >= timedelta(hours=2) else (60, "minutes")
    return f"timedelta({name}={int(age.total_seconds() // size) + 1})"
