"""Values as logs write them: times in any of five notations, numbers as text, objects as JSON text."""

import math
from datetime import UTC, datetime
from typing import Any

import orjson

from offpeak.audit.usage.call import BadLine, Record

_SCALES = ((10**11, 1_000.0), (10**14, 1.0), (10**17, 1e-3), (10**20, 1e-6))
"""Below which figure a number since the epoch counts seconds, milliseconds, micro- or nanoseconds, and how many
milliseconds one of them is: seconds up to the year 5138, the others up to the same."""

EARLIEST = 1_420_070_400_000
"""The year 2015, in milliseconds since the epoch. An earlier time stands for none, and would stretch a log by years."""

LATEST = 4_102_444_800_000
"""The year 2100, likewise."""

LONGEST_CALL = 2 * 86_400_000
"""Milliseconds: two days. A provider answers within minutes, and a batch ends within a day."""

CHEAP_TIERS = frozenset({"batch", "flex"})
"""Service tiers that cost less because nobody waits."""


class Times:
    """Reads times, and counts those that name no zone."""

    def __init__(self) -> None:
        self.naive = 0

    def millis(self, value: Any, field: str) -> int:
        """Milliseconds since the epoch; a time without a zone is taken as UTC. Raises BadLine."""
        if isinstance(value, str):
            return self._of_text(value, field)
        if isinstance(value, datetime):
            return self._of_datetime(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _since_epoch(value, field)
        if value is None:
            raise BadLine(f"it has no {field}")
        raise BadLine(f"its {field} is {value!r:.60}, which is no time")

    def _of_text(self, text: str, field: str) -> int:
        moment = _parsed(text)
        if moment is not None:
            return self._of_datetime(moment)
        stripped = text.strip()
        if not stripped:
            raise BadLine(f"it has no {field}")
        if stripped.endswith(" UTC"):
            return self._of_text(f"{stripped.removesuffix(' UTC')}+00:00", field)
        try:
            figure = float(stripped)
        except ValueError:
            raise BadLine(f"its {field} is {text!r:.60}, which is no time") from None
        return _since_epoch(figure, field)

    def _of_datetime(self, moment: datetime) -> int:
        if moment.tzinfo is None:
            self.naive += 1
            moment = moment.replace(tzinfo=UTC)
        return _checked(round(moment.timestamp() * 1_000), moment)


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _since_epoch(value: float, field: str) -> int:
    for below, millis in _SCALES:
        if 0 < value < below:
            return _checked(int(value * millis), value)
    raise BadLine(f"its {field} is {value!r:.60}, which is no time")


def _checked(millis: int, value: Any) -> int:
    if not EARLIEST <= millis < LATEST:
        raise BadLine(f"its time is {value}, when there were no such calls")
    return millis


def length(millis: float | None) -> int | None:
    """The duration of a call; None where there is none, or where it can only come from a clock that was wrong."""
    return None if millis is None or not 0 <= millis <= LONGEST_CALL else round(millis)


def between(start: int, end: int) -> int | None:
    """The milliseconds from one to the other, as `length` has them."""
    return length(end - start)


def number(value: Any, field: str) -> float | None:
    """A number, also one written as text; None where there is none. Raises BadLine."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        raise BadLine(f"its {field} is {value!r}, which is no number")
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise BadLine(f"its {field} is {value!r:.60}, which is no number") from None
    if math.isinf(found):
        raise BadLine(f"its {field} is {value!r:.60}, which is no number")
    return None if math.isnan(found) else found


def count(value: Any, field: str) -> int:
    """How many tokens; none where nothing is said. Raises BadLine."""
    if type(value) is int and value >= 0:
        return value
    found = number(value, field)
    if found is None:
        return 0
    if found < 0:
        raise BadLine(f"its {field} is {value!r:.60}, which is no number of tokens")
    return round(found)


def first(record: Record, *names: str) -> Any:
    """The first of some fields that says anything."""
    for name in names:
        value = record.get(name)
        if value is not None and value != "":
            return value
    return None


def text(value: Any) -> str:
    """Text without what surrounds it; nothing where there is none."""
    return value.strip() if isinstance(value, str) else "" if value is None else str(value)


def as_object(value: Any) -> dict[str, Any]:
    """An object, also one written as JSON text or as the pairs of a Parquet map; an empty one where it is none."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and value and all(isinstance(each, tuple) and len(each) == 2 for each in value):
        return dict(value)
    if isinstance(value, str) and value[:1] == "{":
        try:
            found = orjson.loads(value)
        except orjson.JSONDecodeError:
            return {}
        return found if isinstance(found, dict) else {}
    return {}


def as_list(value: Any) -> list[Any]:
    """A list, also one written as JSON text or as Postgres writes an array; an empty one where it is none."""
    if isinstance(value, list):
        return value
    if not isinstance(value, str) or len(value) < 3:
        return []
    if value[0] == "{" and value[-1] == "}" and ":" not in value:
        return [each.strip('"') for each in value[1:-1].split(",")]
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        return []
    return found if isinstance(found, list) else []


def is_cheap(*tiers: Any) -> bool:
    """Whether one of these is a tier that costs less."""
    return any(isinstance(tier, str) and tier.lower() in CHEAP_TIERS for tier in tiers)
