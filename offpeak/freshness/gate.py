"""The gate: a consumer declares what it tolerates, and never silently reads older or fewer rows than that.

A tolerance travels as plain data in the metadata of an input (`ins=`), of a dependency (`deps=`) or of the consumer
itself (`tolerances`), where it survives Dagster's copies and is readable in its snapshots. The decision itself is
`judge`, a function of values and the time; what is looked up for a refusal goes into `complaint`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Any, Literal, assert_never, overload

import dagster as dg

from offpeak.clock import in_words, moment
from offpeak.errors import DefinitionError

TOLERANCE_KEY = "offpeak/tolerance"
"""The metadata key under which inputs and dependencies carry their tolerance."""

TOLERANCES_KEY = "offpeak/tolerances"
"""The metadata key under which a consumer carries its tolerances, by the asset that it reads."""

OnStale = Literal["fail", "warn"]
Rows = Literal["all", "drop_stale"]

LONGEST = timedelta(days=36_500)
"""More than anybody means, and still within the calendar."""

SHOWN = 5
"""How many keys or partitions a message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How old the oldest row may be, and which share of the wanted rows must have an answer (0 to 1).

    `on_stale="warn"` reads older or fewer rows all the same, and says so. `rows="drop_stale"` leaves rows out that are
    too old, and counts them as missing.
    """

    max_staleness: timedelta
    min_coverage: float = 1.0
    on_stale: OnStale = "fail"
    rows: Rows = "all"

    def __post_init__(self) -> None:
        if not isinstance(self.max_staleness, timedelta) or self.max_staleness <= timedelta(0):
            raise DefinitionError(
                f"tolerates(max_staleness={self.max_staleness!r}): expected a positive timedelta, such as "
                "timedelta(hours=38)."
            )
        if self.max_staleness > LONGEST:
            raise DefinitionError(
                f"tolerates(max_staleness={self.max_staleness!r}): expected at most {LONGEST.days:,} days."
            )
        if (
            isinstance(self.min_coverage, bool)
            or not isinstance(self.min_coverage, int | float)
            or not 0 <= self.min_coverage <= 1
        ):
            raise DefinitionError(
                f"tolerates(min_coverage={self.min_coverage!r}): expected a share between 0 and 1, such as 0.99."
            )
        for name, kinds in (("on_stale", ("fail", "warn")), ("rows", ("all", "drop_stale"))):
            if (value := getattr(self, name)) not in kinds:
                raise DefinitionError(f"tolerates({name}={value!r}): expected {kinds[0]!r} or {kinds[1]!r}.")

    @property
    def drops_stale(self) -> bool:
        """Whether rows that are too old are left out."""
        return self.rows == "drop_stale"

    def not_before(self, now: datetime) -> datetime:
        """The age of the oldest row that is tolerated at `now`."""
        # in a zone that changes its clocks, subtraction would count hours on the wall
        return now.astimezone(UTC) - self.max_staleness

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "max_staleness_seconds": self.max_staleness.total_seconds(),
            "min_coverage": self.min_coverage,
            "on_stale": self.on_stale,
            "rows": self.rows,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Tolerance":
        """The tolerance that `to_json` wrote."""
        return cls(
            max_staleness=timedelta(seconds=found["max_staleness_seconds"]),
            min_coverage=found["min_coverage"],
            on_stale=found.get("on_stale", "fail"),
            rows=found.get("rows", "all"),
        )

    def to_metadata(self) -> dict[str, Any]:
        """What an input or a dependency carries."""
        return {TOLERANCE_KEY: self.to_json()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any] | None) -> "Tolerance | None":
        """The tolerance that `metadata` of an input or a dependency carries, or None."""
        found = _plain(metadata, TOLERANCE_KEY)
        return cls.from_json(found) if isinstance(found, Mapping) else None


def _plain(metadata: Mapping[str, Any] | None, key: str) -> Any:
    found = (metadata or {}).get(key)
    return found.value if isinstance(found, dg.JsonMetadataValue) else found


@dataclass(frozen=True, slots=True, kw_only=True)
class InputState:
    """What a consumer is about to read."""

    asset: str
    as_of: datetime | None
    """The oldest row's; None when nothing has ever landed."""
    rows: int
    missing: int
    """Wanted rows that have no answer."""
    fresh: int
    """Rows that are no older than the consumer tolerates."""
    promise: timedelta | None
    """The producer's `valid_for`, where it is known."""
    not_landed: Sequence[str] = ()
    """Partitions that are read and have nothing to show."""

    @property
    def wanted(self) -> int:
        return self.rows + self.missing


class Verdict(Enum):
    """What the gate thinks of an input."""

    PASS = auto()
    NEVER_LANDED = auto()
    TOO_OLD = auto()
    TOO_FEW = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What is only looked up for somebody who is refused."""

    lagging: Sequence[str] = ()
    """Keys without an answer of their own, the first few, each with the reason in brackets."""
    more: int = 0
    """How many there are beside these."""
    next_run: datetime | None = None
    """When the producer runs next by its schedules, where that is known."""


def judge(state: InputState, tolerance: Tolerance, *, now: datetime) -> Verdict:
    """Whether these rows may be read by somebody who tolerates so much. A row exactly as old as tolerated passes."""
    if state.not_landed or state.as_of is None or (state.missing and not state.rows):
        return Verdict.NEVER_LANDED
    drops = tolerance.drops_stale and state.wanted > 0
    if state.as_of < tolerance.not_before(now) and not drops:
        return Verdict.TOO_OLD
    usable = state.fresh if drops else state.rows
    if usable < tolerance.min_coverage * state.wanted or (drops and not usable):
        return Verdict.TOO_FEW
    return Verdict.PASS


def complaint(
    verdict: Verdict,
    state: InputState,
    tolerance: Tolerance,
    *,
    consumer: str,
    now: datetime,
    details: Details,
    declared_as: str = "tolerates({})",
) -> str:
    """What is wrong with the rows, what is known about it, whether they are read, and what to do about it.

    `declared_as` is how the consumer spells its tolerance in code, for the remedy.
    """
    match verdict:
        case Verdict.PASS:
            raise ValueError("nothing is wrong with an input that passes")
        case Verdict.NEVER_LANDED:
            partitions = f" for partition {_listed(state.not_landed)}" if state.not_landed else ""
            planned = not state.not_landed and state.missing
            nothing = f"none of whose {state.missing} rows has landed" if planned else "which has never landed"
            wrong = f"{consumer} reads {state.asset}, {nothing}{partitions}."
            remedy = f"Materialise {state.asset}{' for it' if partitions else ''} first."
        case Verdict.TOO_OLD:
            age = now - (state.as_of or now)
            wrong = (
                f"{consumer} tolerates rows of {state.asset} up to {in_words(tolerance.max_staleness)} old. The oldest "
                f"is as of {now - age:%Y-%m-%d %H:%M:%S} UTC, {in_words(age)} old."
            )
            remedy = (
                f"Materialise {state.asset} again, or let {consumer} tolerate more: "
                f"{declared_as.format(_as_code(age, tolerance.max_staleness))}."
            )
        case Verdict.TOO_FEW:
            usable, has = state.rows, "have an answer"
            if tolerance.drops_stale:
                oldest = in_words(now - (state.as_of or now))
                usable = state.fresh
                has = f"are at most {in_words(tolerance.max_staleness)} old; the oldest is {oldest} old"
            wrong = (
                f"{consumer} accepts {state.asset} with at least {_percent(tolerance.min_coverage)} of its rows. "
                f"{usable} of {state.wanted} ({_percent(usable / state.wanted)}) {has}."
            )
            fewer = f", or let {consumer} accept fewer: min_coverage={_floor(usable / state.wanted)}" if usable else ""
            remedy = f"`offpeak explain {state.asset} KEY` tells more. Materialise {state.asset} again{fewer}."
        case _:
            assert_never(verdict)
    landed = verdict is not Verdict.NEVER_LANDED
    read = tolerance.on_stale == "warn" and landed
    sentences = [
        wrong,
        _lagging(details),
        f"{state.asset} promises at most {in_words(state.promise)}." if state.promise is not None and landed else "",
        f"Its next run is due at {moment(details.next_run)}." if details.next_run is not None else "",
        "Rows were read all the same, because on_stale='warn'." if read else "Nothing was read.",
        remedy,
    ]
    return " ".join(filter(None, sentences))


def _lagging(details: Details) -> str:
    if not details.lagging:
        return ""
    more = f"; and {details.more} more" if details.more else ""
    return f"Without an answer of their own: {'; '.join(details.lagging)}{more}."


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def _floor(share: float) -> float:
    """Rounded down to two digits of a per cent: what is not all must not look like it."""
    return math.floor(share * 10_000 + 1e-9) / 10_000


def _percent(share: float) -> str:
    return f"{_floor(share):.2%}"


@overload
def tolerates(
    max_staleness: timedelta,
    /,
    *,
    min_coverage: float = 1.0,
    on_stale: OnStale = "fail",
    rows: Rows = "all",
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
    on_stale: OnStale = "fail",
    rows: Rows = "all",
    partition_mapping: dg.PartitionMapping | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetDep: ...


def tolerates(
    first: Any,
    second: timedelta | None = None,
    /,
    *,
    min_coverage: float = 1.0,
    on_stale: OnStale = "fail",
    rows: Rows = "all",
    key: dg.AssetKey | Sequence[str] | str | None = None,
    partition_mapping: dg.PartitionMapping | None = None,
    dagster_type: dg.DagsterType | type | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetIn | dg.AssetDep:
    """Declare how stale the rows of a batch asset may be when this consumer reads them.

    `ins={"ticket_labels": tolerates(timedelta(hours=38))}` gates an input when it is read;
    `deps=[tolerates(ticket_labels, timedelta(hours=38))]` gates a consumer that reads the rows itself, before its body
    runs. A row may be `max_staleness` old, counted from its `as_of`, and `min_coverage` (0 to 1) is the share of wanted
    rows that must have an answer. With `on_stale="warn"` older or fewer rows are read all the same, and the run's log
    says so; with `rows="drop_stale"` rows that are too old are left out of the frame, and count as missing. The other
    arguments are AssetIn's and AssetDep's own. Raises DefinitionError for a tolerance that makes no sense or that
    cannot be kept: the rows of a dependency are not Offpeak's to drop.
    """
    if second is None:
        tolerance = Tolerance(max_staleness=first, min_coverage=min_coverage, on_stale=on_stale, rows=rows)
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
    tolerance = Tolerance(max_staleness=second, min_coverage=min_coverage, on_stale=on_stale, rows=rows)
    if tolerance.drops_stale:
        raise DefinitionError(cannot_drop("tolerates(asset, max_staleness, rows='drop_stale')", "its consumer"))
    return dg.AssetDep(
        first, partition_mapping=partition_mapping, metadata={**(metadata or {}), **tolerance.to_metadata()}
    )


def cannot_drop(where: str, reader: str) -> str:
    """What somebody is told whose rows are not loaded from Offpeak's store, so that none can be left out."""
    return (
        f"{where}: the rows are loaded by {reader}, not from Offpeak's store, so stale ones cannot be left out. Leave "
        "them out where they are read, with `WHERE as_of >= ...` in SQL or offpeak.read(..., rows='drop_stale'), and "
        "take rows='drop_stale' away here."
    )


def tolerances(
    by_asset: Mapping[Any, "dg.AssetIn | dg.AssetDep"] | None = None, /, **by_name: "dg.AssetIn | dg.AssetDep"
) -> dict[str, Any]:
    """Metadata by which a consumer declares what it tolerates, where Dagster drops what its inputs declare.

    `metadata=tolerances({"ticket_labels": tolerates(timedelta(hours=38))})` or, for names without a prefix,
    `metadata=tolerances(ticket_labels=tolerates(timedelta(hours=38)))`. Keys are assets, as an AssetKey or as Dagster
    prints them ("prefix/name"). Works for every consumer; graph-backed assets, and dependencies of an `@asset_check`,
    have no other way. Raises DefinitionError for a value that `tolerates` did not make.
    """
    found: dict[str, Any] = {}
    for given, made in [*(by_asset or {}).items(), *by_name.items()]:
        name = given.to_user_string() if isinstance(given, dg.AssetKey) else given
        if not isinstance(name, str):
            raise DefinitionError(
                f"tolerances({given!r}: ...): name the asset as Dagster prints it, or by its AssetKey."
            )
        tolerance = Tolerance.from_metadata(getattr(made, "metadata", None))
        if tolerance is None:
            raise DefinitionError(
                f"tolerances({name}={made!r}): expected tolerates(...), such as tolerates(timedelta(hours=38))."
            )
        found[name] = tolerance.to_json()
    if not found:
        raise DefinitionError("tolerances(): name each asset that is read, with what is tolerated of it.")
    return {TOLERANCES_KEY: found}


def tolerances_in(metadata: Mapping[str, Any] | None) -> dict[dg.AssetKey, Tolerance]:
    """What `tolerances` put into a consumer's metadata."""
    found = _plain(metadata, TOLERANCES_KEY)
    if not isinstance(found, Mapping):
        return {}
    return {dg.AssetKey.from_user_string(name): Tolerance.from_json(each) for name, each in found.items()}


def _as_code(age: timedelta, tolerated: timedelta) -> str:
    """A timedelta expression that would have let `age` pass, in whole units."""
    size, name = (3_600, "hours") if tolerated >= timedelta(hours=2) else (60, "minutes")
    return f"timedelta({name}={int(age.total_seconds() // size) + 1})"
