"""What can be made to go wrong, when it does, and how often it did.

A rule says which fault, for which requests (`match`), and how many times. A fault belongs to one point in the life of a
request: the code at that point asks `Faults.take`, so a new fault is a line in KINDS and its effect where it belongs.
"""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from local_provider.settings import SettingsError


class Point(StrEnum):
    """Where a fault strikes."""

    CREATE = "create"
    """A batch create, before it is accepted: nothing comes of it."""
    ACCEPTED = "accepted"
    """A batch create, after it was accepted: the batch exists, and the caller does not learn of it."""
    CALL = "call"
    """Any other call about batches and files, none of which buys anything, before it is carried out."""
    BATCH = "batch"
    """The life of one batch, decided when it is created."""
    DOWNLOAD = "download"
    """One download of one result file; the file itself stays whole."""
    REALTIME = "realtime"
    """A synchronous call, before it is answered."""
    ANSWERED = "answered"
    """A synchronous call, after it was answered and billed: the caller does not get the answer."""


ADDING_UP = frozenset({Point.BATCH, Point.DOWNLOAD})
"""Points at which several faults may strike at once."""


@dataclass(frozen=True, slots=True)
class FaultKind:
    """A fault: where it strikes, its parameters with their defaults, and the values that some of those may have."""

    point: Point
    params: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    at_once: bool = True
    """It has struck when it was taken. Otherwise the code that carries it out says when (`Faults.strike`)."""


ERROR_LINES = ("server_error", "invalid_request", "rate_limit", "request_timeout", "overloaded")
UNUSABLE_ANSWERS = ("length", "refused", "filtered", "invalid", "malformed")

KINDS: Mapping[str, FaultKind] = {
    "create_500": FaultKind(Point.CREATE, {"status": 500}),
    "create_429": FaultKind(Point.CREATE, {"retry_after": 1}),
    "create_reset": FaultKind(Point.CREATE),
    "ghost_500": FaultKind(Point.ACCEPTED, {"status": 500}),
    "ghost_reset": FaultKind(Point.ACCEPTED),
    "ghost_hang": FaultKind(Point.ACCEPTED, {"seconds": 600.0}),
    "call_500": FaultKind(Point.CALL, {"status": 500}),
    "call_429": FaultKind(Point.CALL, {"retry_after": 1}),
    "call_404": FaultKind(Point.CALL),
    "call_reset": FaultKind(Point.CALL),
    "latency": FaultKind(Point.BATCH, {"seconds": 60.0}),
    "slow_finalizing": FaultKind(Point.BATCH, {"seconds": 600.0}, at_once=False),
    "expire": FaultKind(Point.BATCH, {"share": 0.5}, at_once=False),
    "never_end": FaultKind(Point.BATCH, {"share": 0.0}),
    "beats_cancel": FaultKind(Point.BATCH, at_once=False),
    "fail_validation": FaultKind(
        Point.BATCH,
        {"code": "token_limit_exceeded", "message": "Enqueued token limit reached.", "line": None},
        at_once=False,
    ),
    "error_lines": FaultKind(
        Point.BATCH, {"share": 0.5, "code": "server_error"}, choices={"code": ERROR_LINES}, at_once=False
    ),
    "unusable_lines": FaultKind(
        Point.BATCH, {"share": 0.5, "how": "length"}, choices={"how": UNUSABLE_ANSWERS}, at_once=False
    ),
    "skip_lines": FaultKind(Point.BATCH, {"share": 0.5}, at_once=False),
    "list_lag": FaultKind(Point.BATCH, {"seconds": 60.0}, at_once=False),
    "retrieve_lag": FaultKind(Point.BATCH, {"seconds": 60.0}, at_once=False),
    "results_lag": FaultKind(Point.BATCH, {"seconds": 60.0}, at_once=False),
    "empty_ids": FaultKind(Point.BATCH, at_once=False),
    "false_counts": FaultKind(Point.BATCH, at_once=False),
    "truncate": FaultKind(
        Point.DOWNLOAD,
        {"share": 0.5, "at": "mid_line", "framing": "length"},
        choices={"at": ("mid_line", "line_end"), "framing": ("length", "close")},
    ),
    "missing_lines": FaultKind(Point.DOWNLOAD, {"count": 1}),
    "duplicate_lines": FaultKind(Point.DOWNLOAD, {"count": 1}),
    "foreign_lines": FaultKind(Point.DOWNLOAD, {"count": 1}),
    "blank_lines": FaultKind(Point.DOWNLOAD, {"count": 1}),
    "shuffle_lines": FaultKind(Point.DOWNLOAD),
    "realtime_500": FaultKind(Point.REALTIME, {"status": 500}),
    "realtime_429": FaultKind(Point.REALTIME, {"retry_after": 1}),
    "realtime_reset": FaultKind(Point.REALTIME),
    "realtime_ghost_reset": FaultKind(Point.ANSWERED),
    "realtime_ghost_hang": FaultKind(Point.ANSWERED, {"seconds": 600.0}),
}
OPERATIONS = ("retrieve", "list", "upload", "download", "cancel", "delete", "list_files", "retrieve_file")
MATCH_KEYS = ("provider", "model", "endpoint", "nth_create", "custom_id_prefix", "operation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """What is known about a request when a point is passed."""

    provider: str
    model: str | None = None
    endpoint: str | None = None
    nth_create: int | None = None
    """The number of this create among the provider's creates since the last reset, from 1, refused ones included."""
    custom_id: str | None = None
    """The first custom_id of the batch."""
    operation: str | None = None
    """Which call it is, one of OPERATIONS; None for what may buy something."""


@dataclass(frozen=True, slots=True)
class Fired:
    """A fault that strikes now."""

    fault: str
    params: dict[str, Any]


@dataclass(slots=True)
class Rule:
    """A fault, whom it is for, and how often. `times` None is without end."""

    fault: str
    match: dict[str, Any]
    params: dict[str, Any]
    times: int | None = 1
    fired: int = 0

    def fits(self, occasion: Occasion) -> bool:
        if self.times is not None and self.fired >= self.times:
            return False
        for key, wanted in self.match.items():
            if key == "custom_id_prefix":
                if not (occasion.custom_id or "").startswith(wanted):
                    return False
            elif getattr(occasion, key) != wanted:
                return False
        return True


class Faults:
    """The rules in force. Thread-safe."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._fired: Counter[str] = Counter()
        self._variants: Counter[str] = Counter()
        self._creates: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, rules: list[Any]) -> None:
        """Put rules in force, all or none. Raises SettingsError, naming the rule and what is wrong with it."""
        checked = [rule_from(rule) for rule in rules]
        with self._lock:
            self._rules.extend(checked)

    def clear(self, *, counts: bool = False) -> None:
        with self._lock:
            self._rules.clear()
            if counts:
                self._fired.clear()
                self._variants.clear()
                self._creates.clear()

    def count_create(self, provider: str) -> int:
        """The number of the create that is starting."""
        with self._lock:
            self._creates[str(provider)] += 1
            return self._creates[str(provider)]

    def take(self, point: Point, occasion: Occasion) -> list[Fired]:
        """The faults that strike here; each is used up by that. At most one, but for those that add up."""
        struck = []
        with self._lock:
            for rule in self._rules:
                if KINDS[rule.fault].point is point and rule.fits(occasion):
                    rule.fired += 1
                    if KINDS[rule.fault].at_once:
                        self._count(rule.fault, rule.params, occasion.operation)
                    struck.append(Fired(rule.fault, rule.params))
                    if point not in ADDING_UP:
                        break
        return struck

    def strike(self, fault: str, params: Mapping[str, Any]) -> None:
        """A fault that was taken before has its effect now."""
        with self._lock:
            self._count(fault, params, None)

    def _count(self, fault: str, params: Mapping[str, Any], operation: str | None) -> None:
        self._fired[fault] += 1
        names = [*(str(params[name]) for name in KINDS[fault].choices), *([operation] if operation else [])]
        if "status" in params:
            names.insert(0, str(params["status"]))
        if names:
            self._variants[" ".join([fault, *names])] += 1

    def show(self) -> dict[str, Any]:
        with self._lock:
            rules = [
                {"fault": r.fault, "match": r.match, "times": r.times, "fired": r.fired, **r.params}
                for r in self._rules
            ]
            return {
                "rules": rules,
                "fired": dict(self._fired),
                "variants": dict(self._variants),
                "creates": dict(self._creates),
            }


def rule_from(given: Any) -> Rule:
    """A rule as JSON: {"fault": ..., "match": {...}, "times": 1, and the fault's parameters}."""
    if not isinstance(given, dict) or given.get("fault") not in KINDS:
        raise SettingsError(f"A rule is an object with a fault of {', '.join(KINDS)}; got {given!r}.")
    rest = {key: value for key, value in given.items() if key not in {"fault", "match", "times"}}
    match, times = given.get("match") or {}, given.get("times", 1)
    if not isinstance(match, dict) or not set(match) <= set(MATCH_KEYS):
        raise SettingsError(f"match is an object with any of {', '.join(MATCH_KEYS)}; got {match!r}.")
    if match.get("operation", OPERATIONS[0]) not in OPERATIONS:
        raise SettingsError(f"operation is one of {', '.join(OPERATIONS)}; got {match['operation']!r}.")
    if times is not None and (isinstance(times, bool) or not isinstance(times, int) or times < 1):
        raise SettingsError(f"times is a whole number from 1, or null for always; got {times!r}.")
    return Rule(given["fault"], match, params_of(given["fault"], rest), times)


def params_of(fault: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fault's parameters with defaults filled in. Raises SettingsError."""
    if fault not in KINDS:
        raise SettingsError(f"There is no fault {fault!r}. Known: {', '.join(KINDS)}.")
    kind = KINDS[fault]
    if unknown := set(given) - set(kind.params):
        raise SettingsError(f"{fault} has no parameter {', '.join(sorted(unknown))}. It has: {list(kind.params)}.")
    params = {**kind.params, **given}
    share, seconds, count = params.get("share", 0), params.get("seconds", 0), params.get("count", 1)
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise SettingsError(f"share of {fault} is between 0 and 1; got {share!r}.")
    if not isinstance(seconds, int | float) or seconds < 0:
        raise SettingsError(f"seconds of {fault} is a number, 0 or more; got {seconds!r}.")
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise SettingsError(f"count of {fault} is a whole number from 1; got {count!r}.")
    for name, values in kind.choices.items():
        if params[name] not in values:
            raise SettingsError(f"{name} of {fault} is one of {', '.join(values)}; got {params[name]!r}.")
    return params
