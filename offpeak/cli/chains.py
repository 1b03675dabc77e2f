"""The chain of a project's contracts, as commands load and write it."""

from typing import TYPE_CHECKING, Any

from offpeak.clock import exactly

if TYPE_CHECKING:
    from offpeak.cli.project import Project
    from offpeak.freshness.chain import Age, Chain, Reading
    from offpeak.freshness.gate import Tolerance
    from offpeak.freshness.lock import Promise


def load() -> "tuple[Project, Chain]":
    """The project, and the ages in it as of now. Raises ConfigurationError for batch assets that nothing wraps."""
    import dagster as dg

    from offpeak.assets.graph import chain_of
    from offpeak.assets.readers import batch_assets
    from offpeak.assets.resources import API_KEY
    from offpeak.cli.project import find_project, load_definitions
    from offpeak.clock import SystemClock
    from offpeak.errors import ConfigurationError

    project = find_project()
    defs = load_definitions(project)
    batch = batch_assets(each for each in defs.assets or () if isinstance(each, dg.AssetsDefinition))
    if batch and API_KEY not in (defs.resources or {}):
        raise ConfigurationError(
            f"The project's definitions have batch assets and no resource {API_KEY!r}, so nothing keeps their "
            "contracts. Wrap them: defs = offpeak.with_offpeak(dg.Definitions(...))."
        )
    return project, chain_of(defs, now=SystemClock().now())


def arithmetic(age: "Age") -> str:
    """A sum, each summand on a line of its own."""
    terms = [str(each) for each in age.terms if each.duration] or ["0 s"]
    lines = [terms[0], *(f"+ {each}" for each in terms[1:])]
    if len(terms) > 1:
        lines.append(f"= {exactly(age.total)}")
    return "\n".join([*lines, *(f"not counted: {each}" for each in age.unknown)])


def read_as_json(reading: "Reading", promise: "Promise") -> dict[str, Any]:
    from offpeak.freshness.lock import verdict

    spare = reading.tolerance.max_staleness - reading.worst.total
    return {
        "consumer": reading.consumer,
        "producer": reading.producer,
        "tolerance": _tolerance_as_json(reading.tolerance),
        "worst": age_as_json(reading.worst),
        "at_window": age_as_json(reading.at_window),
        "spare_seconds": spare.total_seconds(),
        "verdict": verdict(reading, promise),
    }


def promise_as_json(promise: "Promise") -> dict[str, Any]:
    return {
        "lane": promise.lane,
        "model": promise.model,
        "valid_for_seconds": promise.valid_for.total_seconds(),
        "cadence_seconds": None if promise.cadence is None else promise.cadence.total_seconds(),
        "deadline_seconds": promise.deadline.total_seconds(),
    }


def _tolerance_as_json(tolerance: "Tolerance") -> dict[str, Any]:
    return {
        "max_staleness_seconds": tolerance.max_staleness.total_seconds(),
        "min_coverage": tolerance.min_coverage,
        "on_stale": tolerance.on_stale,
        "rows": tolerance.rows,
    }


def age_as_json(age: "Age") -> dict[str, Any]:
    return {"seconds": age.total.total_seconds(), "arithmetic": str(age), "not_counted": list(age.unknown)}
