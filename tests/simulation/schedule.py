"""What one seed means: who wants which rows when, who is killed and stopped, and what goes wrong at the provider.

All of it is drawn before anything runs, except for who goes first and who is killed, which the stage draws step by step
from the same seed.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from offpeak.ledger.policy import SURFACE, FailurePolicy

MINUTE = 60.0
HOUR = 60 * MINUTE

Rule = dict[str, Any]
"""A fault rule of the local provider."""


class Style(StrEnum):
    """How a run waits for its batches."""

    IN_PLACE = "in_place"
    PARKED = "parked"


@dataclass(frozen=True)
class Run:
    """A materialization that somebody launches. `at` is in seconds from the beginning."""

    at: float
    asset: str
    style: Style
    terminated_after: float | None = None
    """Somebody terminates it so much later."""


@dataclass(frozen=True)
class Schedule:
    """One seed, laid out. Times are seconds from the beginning."""

    seed: int
    provider: str
    structured: bool
    """Answers have an output schema; else they are plain text, which repeats what was asked."""
    assets: Sequence[str]
    rows: Mapping[str, Sequence[tuple[float, Mapping[str, str]]]]
    """By asset: from when on its source holds which texts, by key."""
    runs: Sequence[Run]
    rules: Sequence[tuple[float, Rule]]
    chunk: int
    """Requests in a batch at most."""
    latency: float
    skew: float
    """By how much the provider's clock is ahead."""
    kill: float
    """Probability of being killed at a point that is reached."""
    kills: int
    """Processes killed at most."""
    tick: float
    """Between two looks of the sensor."""
    heals: float
    """When the faults end, and batches that never end do."""
    late: bool
    """The provider's list may lag for longer than Offpeak waits: then something is bought twice, and it has to say so.

    It looks for such batches for two days, so none of these schedules lasts longer.
    """
    slow_network: bool
    """Creates may hang, so callers do not wait for long."""
    policies: Mapping[str, FailurePolicy]
    """By asset: what becomes of its failures."""
    housekeeping: Sequence[float]
    """When files that nothing needs any more are deleted."""
    kept: float
    """For how long they are kept."""
    requeuing: Sequence[tuple[float, str]]
    """When somebody sends the dead letters of which asset round again."""

    def rows_of(self, asset: str, at: float) -> Mapping[str, str]:
        """What the asset's source holds then."""
        return next(rows for since, rows in reversed(self.rows[asset]) if since <= at)

    @classmethod
    def of(cls, seed: int) -> "Schedule":
        draw = random.Random(seed)
        provider = draw.choice(["openai", "anthropic"])
        assets = ["labels", "digests", "grades"][: draw.choice([1, 2, 2, 3])]
        latency = draw.choice([MINUTE, 5 * MINUTE, 20 * MINUTE, HOUR])
        span = 2 * latency + 20 * MINUTE
        rows = {asset: _rows(draw, span) for asset in assets}
        structured = draw.random() < 0.5
        rules = _rules(draw, provider, structured, latency, span)
        late = draw.random() < 0.1
        if late:
            rules += [(0.0, rule) for rule in _hidden_ghost(draw, latency, lag=draw.uniform(100, 1_000))]
        return cls(
            seed=seed,
            provider=provider,
            structured=structured,
            assets=assets,
            rows=rows,
            runs=_runs(draw, assets, latency, span),
            rules=rules,
            chunk=draw.randint(3, 7),
            latency=latency,
            skew=draw.choice([0.0, 0.0, draw.uniform(-100, 100)]),
            kill=draw.choice([0.0, 0.02, 0.05, 0.1]),
            kills=draw.randint(1, 5),
            tick=max(2 * MINUTE, latency / draw.choice([1, 2, 3])),
            heals=span
            + draw.choice([0.5, 1.0, 2.0]) * latency
            + (50 * HOUR if draw.random() < 0.05 and not late else 0.0),
            late=late,
            slow_network=any(rule["fault"] == "ghost_hang" for _, rule in rules),
            policies={asset: draw.choice(POLICIES) for asset in assets},
            housekeeping=[draw.uniform(0, span) for _ in range(draw.choice([0, 0, 1, 2]))],
            kept=draw.choice([0.0, latency]),
            requeuing=[(draw.uniform(0, span), asset) for asset in assets if draw.random() < 0.2],
        )


POLICIES = (
    SURFACE,
    SURFACE,
    FailurePolicy(then="drop", attempts=2),
    FailurePolicy(then="fail", min_success_rate=0.9, refused="again"),
    FailurePolicy(invalid="dead_letter", cut="dead_letter", attempts=5),
)


POOL = 16
"""Different texts; assets that hold the same one ask the same."""


def _rows(draw: random.Random, span: float) -> list[tuple[float, dict[str, str]]]:
    texts = {f"T{number:02d}": 0 for number in draw.sample(range(POOL), draw.randint(3, 12))}
    found = [(0.0, _texts(texts))]
    for at in sorted(draw.uniform(0, span) for _ in range(draw.randint(0, 2))):
        for key in draw.sample(sorted(texts), draw.randint(1, len(texts))):
            texts[key] = draw.randint(0, 2)  # a text may come back
        for key in draw.sample(sorted(texts), draw.randint(0, len(texts) // 3)):
            del texts[key]
        for number in draw.sample(range(POOL), draw.randint(0, 3)):
            texts.setdefault(f"T{number:02d}", 0)
        found.append((at, _texts(texts)))
    return found


def _texts(versions: Mapping[str, int]) -> dict[str, str]:
    return {key: f"Ticket {key}, edited {version} times: my invoice is wrong." for key, version in versions.items()}


def _runs(draw: random.Random, assets: Sequence[str], latency: float, span: float) -> list[Run]:
    runs = []
    for asset in assets:
        for number in range(draw.randint(1, 2)):
            at = draw.choice([0.0, draw.uniform(0, MINUTE), draw.uniform(0, span)]) if number else 0.0
            style = draw.choice(list(Style))
            stopped = draw.random() < 0.25
            runs.append(Run(at, asset, style, draw.uniform(0, 1.5 * latency) if stopped else None))
    return sorted(runs, key=lambda run: run.at)


SHARES = (0.3, 0.5, 1.0)
ERRORS = ("server_error", "invalid_request", "rate_limit", "request_timeout", "overloaded")
UNUSABLE = ("length", "refused", "filtered")
ONLY_OF_SCHEMAS = ("invalid", "malformed")
LOSING = 2
"""Downloads of a schedule that look whole and are not: a file is downloaded three times before lines count as lost."""

Maker = Callable[[random.Random, float], list[Rule]]
"""Makes rules that belong together, given the usual latency."""


def _rules(
    draw: random.Random, provider: str, structured: bool, latency: float, span: float
) -> list[tuple[float, Rule]]:
    """Some faults, each from some moment on, some of them for one create alone."""
    makers = [*_MAKERS, *(_OPENAI if provider == "openai" else ()), *(_STRUCTURED if structured else ())]
    found = []
    losing = LOSING
    for _ in range(draw.randint(4, 8)):
        at = draw.choice([0.0, 0.0, draw.uniform(0, span)])
        for rule in draw.choice(makers)(draw, latency):
            if rule["fault"] in {"truncate", "missing_lines"}:
                rule["times"] = min(rule["times"], losing)
                losing -= rule["times"]
            if rule["times"]:
                found.append((at, rule))
    return found


def _create(fault: str, **params: Any) -> Maker:
    return lambda draw, latency: [{"fault": fault, "times": draw.randint(1, 2), **params, **_perhaps_nth(draw)}]


def _perhaps_nth(draw: random.Random) -> Rule:
    return {"match": {"nth_create": draw.randint(1, 5)}} if draw.random() < 0.3 else {}


def _call(*operations: str) -> Maker:
    def make(draw: random.Random, latency: float) -> list[Rule]:
        fault = draw.choice(["call_500", "call_429", "call_404", "call_reset"])
        more: Rule = {"status": draw.choice([500, 503, 529])} if fault == "call_500" else {}
        if fault == "call_429":
            more = {"retry_after": draw.choice([None, 1, 30, 600])}
        return [{"fault": fault, "times": draw.randint(1, 3), "match": {"operation": draw.choice(operations)}, **more}]

    return make


def _batch(fault: str, **params: Any) -> Maker:
    """`params` are values to choose from, or functions of the latency."""

    def make(draw: random.Random, latency: float) -> list[Rule]:
        chosen = {
            name: values(draw, latency) if callable(values) else draw.choice(values) for name, values in params.items()
        }
        return [{"fault": fault, "times": draw.randint(1, 3), **chosen, **_perhaps_nth(draw)}]

    return make


def _download(fault: str, **params: Any) -> Maker:
    def make(draw: random.Random, latency: float) -> list[Rule]:
        chosen = {name: draw.choice(values) for name, values in params.items()}
        return [{"fault": fault, "times": draw.randint(1, 2), **chosen}]

    return make


def _hidden_ghost(draw: random.Random, latency: float, lag: float | None = None) -> list[Rule]:
    """A create whose answer is lost, of a batch that the list does not show at first; Offpeak waits 90 s for it."""
    lag = lag or draw.uniform(30, 80)
    match = {"match": {"nth_create": draw.randint(1, 4)}}
    lost = draw.choice(["ghost_500", "ghost_reset"])
    return [
        {"fault": "list_lag", "times": 1, "seconds": lag, **match},
        {"fault": lost, "times": 1, **match},
    ]


_LINES = _batch("error_lines", share=SHARES, code=ERRORS)
_ANSWERS = _batch("unusable_lines", share=SHARES, how=UNUSABLE)
_TORN = _download("truncate", share=(0.0, 0.4, 0.9), at=("mid_line", "line_end"), framing=("length", "close"))
_CALLS = _call("retrieve", "list", "download", "cancel")

_MAKERS: list[Maker] = [
    _create("create_500", status=500),
    _create("create_500", status=529),
    _create("create_429", retry_after=40),
    _create("create_reset"),
    _create("ghost_500", status=500),
    _create("ghost_reset"),
    _create("ghost_hang", seconds=1.5),
    *[_hidden_ghost] * 4,
    *[_CALLS] * 5,
    _batch("latency", seconds=lambda draw, latency: latency * draw.choice([0.1, 3, 10])),
    _batch("slow_finalizing", seconds=lambda draw, latency: latency * draw.choice([0.5, 3])),
    _batch("expire", share=(0.0, 0.3, 0.5)),
    _batch("never_end", share=(0.0, 0.5, 1.0)),
    *[_LINES] * 8,
    *[_ANSWERS] * 4,
    *[_TORN] * 4,
    *[_batch("skip_lines", share=(0.3, 0.5))] * 3,
    _batch("retrieve_lag", seconds=lambda draw, latency: draw.uniform(10, 300)),
    _batch("results_lag", seconds=lambda draw, latency: draw.uniform(10, 300)),
    _batch("empty_ids"),
    _batch("false_counts"),
    *[_download("missing_lines", count=(1, 2))] * 2,
    _download("duplicate_lines", count=(1, 2)),
    _download("foreign_lines", count=(1, 2)),
    _download("blank_lines", count=(1, 2)),
    _download("shuffle_lines"),
]
_OPENAI: list[Maker] = [
    _call("upload", "list_files", "delete"),
    _batch("fail_validation"),
    _batch("fail_validation", code=("invalid_json_line",), message=("This line is no JSON.",), line=(1, 2, 3)),
    _batch("fail_validation", code=("empty_file",), message=("The file is empty.",)),
]
_STRUCTURED: list[Maker] = [*[_batch("unusable_lines", share=SHARES, how=ONLY_OF_SCHEMAS)] * 6]
