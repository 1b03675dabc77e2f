"""`offpeak launch`: the launches that are planned, and their peak played before it comes. It buys nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from offpeak.cli.formats import AsJson, columns, console, counting, pico_text, plain, print_json
from offpeak.errors import ConfigurationError

if TYPE_CHECKING:
    import dagster as dg

    from offpeak.assets.resources import BatchApi
    from offpeak.cli.project import Project
    from offpeak.launches.launch import Launch
    from offpeak.launches.listed import Launches
    from offpeak.rehearsal.outcome import Figures, Latency
    from offpeak.rehearsal.rehearsal import Rehearsal, Stage
    from offpeak.results.io_manager import OffpeakResults
    from offpeak.sources.tables import SourceTables

STOPPED_BY_HAND = 130
"""128 + SIGINT, as shells have it."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Show the launches that are planned, and play the peak of one before it comes. It buys nothing.",
        rich_markup_mode=None,
    )
    group.command("list", epilog="Example: offpeak launch list")(list_)
    group.command("rehearse", epilog="Example: offpeak launch rehearse spring_release --seconds 60")(rehearse)
    app.add_typer(group, name="launch")


def list_(as_json: AsJson = False) -> None:
    """The launches: their window, their peak, and whether it is ahead, in its quiet days, open or over."""
    from offpeak.clock import SystemClock

    with _project() as (_, _, api):
        launches = api.planned_launches().launches
    now = SystemClock().now()
    if as_json:
        print_json([_listed(each, now) for each in launches])
        return
    if not launches:
        console().print("There are no launches. The resource `batch_api` names their list with launches=.")
        return
    table = columns(None, "launch", "state", "window", "UTC", "peak", "users", right=("users",))
    for each in launches:
        zone = ZoneInfo(each.zone)
        table.add_row(
            each.name,
            state_of(each, now),
            f"{_span(each.starts.astimezone(zone), each.ends.astimezone(zone))} {each.zone}",
            _span(each.starts, each.ends),
            f"{each.peak_at.astimezone(zone):%Y-%m-%d %H:%M}",
            f"{each.peak_users:,}",
        )
    console().print(table)


def _listed(launch: "Launch", now: datetime) -> dict[str, Any]:
    told = ("name", "starts", "ends", "zone", "peak_at", "peak_users", "precomputed_share", "models")
    return {
        **{name: plain(getattr(launch, name)) for name in told},
        "quiet_from": plain(launch.starts - launch.quiet),
        "state": state_of(launch, now),
    }


def state_of(launch: "Launch", now: datetime) -> str:
    """Where a launch stands: ahead, quiet days, open or over."""
    if now >= launch.ends:
        return "over"
    if launch.holds(now):
        return "open"
    return "quiet days" if now >= launch.starts - launch.quiet else "ahead"


def rehearse(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The launch's name in launches.yaml.")],
    seconds: Annotated[int, typer.Option(min=5, max=3600, help="How long each of the two plays is.")] = 60,
    scale: Annotated[
        float | None,
        typer.Option(
            min=0.0001,
            max=10,
            help="The share of the peak's traffic and of the limits that is played; by default what makes 15 requests "
            "a second, at most 1.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Play the launch's peak twice against a stand-in of the providers: with pre-computed results, and without."""
    from offpeak.processes import Stopped, stopping_on_signals
    from offpeak.rehearsal.rehearsal import rehearse as played
    from offpeak.rehearsal.rehearsal import scale_of

    with _project() as (project, resources, api):
        launches = api.planned_launches()
        launch = launches.named(name)
        with _stage(project, resources, api, launches, launch) as stage:
            try:
                with stopping_on_signals():
                    found = played(
                        launch,
                        stage,
                        seconds=seconds,
                        scale=scale_of(launch, scale),
                        telling=lambda doing: counting(doing, unit="requests"),
                    )
            except Stopped:
                raise typer.Exit(STOPPED_BY_HAND) from None
    if as_json:
        print_json(_as_json(found))
    else:
        _print(found)


@contextmanager
def _project() -> "Iterator[tuple[Project, Any, BatchApi]]":
    """The project, its resources, and its `batch_api`."""
    import dagster as dg

    from offpeak.assets.resources import API_KEY
    from offpeak.cli.project import find_project, load_definitions, prepare_dagster_home
    from offpeak.results.io_manager import RESULTS_KEY

    project = find_project()
    given = load_definitions(project).resources or {}
    if API_KEY not in given or RESULTS_KEY not in given:
        raise ConfigurationError(
            f"The project's definitions have no resource {API_KEY!r}, so nothing says which launches there are. Wrap "
            "them: defs = offpeak.with_offpeak(dg.Definitions(...))."
        )
    os.environ.setdefault("DAGSTER_HOME", str(prepare_dagster_home(project)))
    wanted = {key: given[key] for key in (API_KEY, RESULTS_KEY)} | _source_tables(given)
    with dg.DagsterInstance.get() as instance, dg.build_resources(wanted, instance=instance) as resources:
        yield project, resources, getattr(resources, API_KEY)


SOURCES = "source_tables"


def _source_tables(given: "dict[str, Any] | Any") -> "dict[str, SourceTables]":
    """The resource through which the project reads the application's tables, where it has one."""
    from offpeak.sources.tables import SourceTables

    found = {key: each for key, each in given.items() if isinstance(each, SourceTables)}
    chosen = found.get(SOURCES) or next(iter(found.values()), None)
    return {} if chosen is None else {SOURCES: chosen}


@contextmanager
def _stage(
    project: "Project", resources: "dg.ScopedResources | Any", api: "BatchApi", launches: "Launches", launch: "Launch"
) -> "Iterator[Stage]":
    from offpeak.assets.launch_limits import limits_of
    from offpeak.clock import SystemClock
    from offpeak.launches.traffic import NEEDED, read_traffic
    from offpeak.ledger.ledger import existing
    from offpeak.ledger.location import default_database_url
    from offpeak.rehearsal.limits import model_limits
    from offpeak.rehearsal.rehearsal import Stage
    from offpeak.rehearsal.stand_in import command_line
    from offpeak.results.io_manager import RESULTS_KEY

    command_line(launches.rehearsal, port=0, limits={})  # before anything else is read
    if not hasattr(resources, SOURCES):
        raise ConfigurationError(f"{NEEDED} The project has no SourceTables that could read it.")
    results: OffpeakResults = getattr(resources, RESULTS_KEY)
    with existing(results.database_url or default_database_url()):
        pass  # opening it below would make one
    ledger = results.ledger

    yield Stage(
        database=ledger.database,
        traffic=read_traffic(getattr(resources, SOURCES).source().open),
        rates={model: api.rates(model) for model in launch.models},
        limits=model_limits(limits_of(launch.models, api=api, ledger=ledger)),
        command=launches.rehearsal,
        folder=project.root,
        logs=project.dagster_home / "output",
        clock=SystemClock(),
    )


def _as_json(found: "Rehearsal") -> dict[str, Any]:
    from offpeak.rehearsal.outcome import compared

    document: dict[str, Any] = plain(found)
    for name in ("with_results", "without"):
        document[name]["hit_rate"] = getattr(found, name).hit_rate
    document["limits"] = {model: each.as_json() for model, each in found.limits.items()}
    return {**document, "compared": compared(found.with_results, found.without)}


def _print(found: "Rehearsal") -> None:
    from offpeak.rehearsal.outcome import compared

    out = console()
    played = found.peak_per_second * found.scale
    out.print(
        f"The peak of {found.launch} is {found.peak_per_second:,.1f} requests a second. "
        + (
            "Traffic and limits were played whole"
            if found.scale == 1
            else f"Traffic and limits were both played at the scale {found.scale:.3g}"
        )
        + f": {played:,.1f} a second at the peak, for {found.seconds:,.0f} s, against a stand-in of the providers.",
        soft_wrap=True,
    )
    for model, each in found.limits.items():
        figures = [f"{figure:,} {name.replace('_', ' ')}" for name, figure in each.as_json().items()]
        out.print(f"{model}: {', '.join(figures).replace('per minute', 'a minute')}")
    table = columns("", "", "with", "without", right=("with", "without"))
    for label, told in _ROWS:
        table.add_row(label, told(found.with_results), told(found.without))
    out.print(table)
    out.print(f"\n{compared(found.with_results, found.without)}", soft_wrap=True)


def _both(latency: "Latency") -> str:
    p50, p99 = (("-" if each is None else f"{each:,.1f}") for each in (latency.p50_ms, latency.p99_ms))
    return f"{p50} / {p99}"


def _failed(figures: "Figures") -> str:
    return f"{figures.failed:,}" + (f" ({figures.overloaded:,} overloaded)" if figures.overloaded else "")


_ROWS = (
    ("requests", lambda it: f"{it.requests:,}"),
    ("hit rate", lambda it: f"{it.hit_rate:.1%}"),
    ("p50 / p99 of all, ms", lambda it: _both(it.latency)),
    ("p50 / p99 of hits, ms", lambda it: _both(it.hit_latency)),
    ("p50 / p99 of misses, ms", lambda it: _both(it.miss_latency)),
    ("throttled", lambda it: f"{it.throttled:,}"),
    ("answers with 429", lambda it: f"{it.refusals:,}"),
    ("failed", _failed),
    ("cost at realtime price", lambda it: pico_text(it.cost_pico)),
)


def _span(starts: datetime, ends: datetime) -> str:
    """Without the second day where it is the first one."""
    end = f"{ends:%H:%M}" if ends.date() == starts.date() else f"{ends:%Y-%m-%d %H:%M}"
    return f"{starts:%Y-%m-%d %H:%M} to {end}"
