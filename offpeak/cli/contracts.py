"""`offpeak contracts`: what producers promise, how old rows get on their way to each consumer, and who has agreed.

`check` compares `contracts.lock` with the definitions and `accept` writes it. Neither looks into the ledger.
"""

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offpeak.cli.formats import AsJson, columns, console, pairs, print_json
from offpeak.cli.ledgers import DatabaseUrl, open_ledger
from offpeak.clock import exactly

if TYPE_CHECKING:
    from rich.console import Console

    from offpeak.cli.project import Project
    from offpeak.freshness.chain import Age, Chain, Reading
    from offpeak.freshness.gate import Tolerance
    from offpeak.freshness.lock import Comparison, Lock, Pending, Promise

WIDE = 110
"""Columns from which on a terminal has room for one line per producer."""

ACCEPT = "offpeak contracts accept"


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(
        invoke_without_command=True,
        help="Show what is promised and how old rows get; compare it with contracts.lock; acknowledge changes.",
        epilog="Example: offpeak contracts",
        rich_markup_mode=None,
    )
    group.callback()(contracts)
    group.command("show", epilog="Example: offpeak contracts show support_dashboard")(show)
    group.command("check", epilog="Example: offpeak contracts check")(check)
    group.command("accept", epilog="Example: offpeak contracts accept support_dashboard")(accept)
    app.add_typer(group, name="contracts")


def contracts(context: typer.Context, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Show what is promised and how old rows get; compare it with contracts.lock; acknowledge changes."""
    if context.invoked_subcommand is None:
        _, chain = _load()
        _show_all(chain, _usual(chain, database_url), as_json=as_json)


def show(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A consumer or a batch asset; without it, a table of all of them."),
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """How old the rows of every producer get, at each consumer; of one of them, with the arithmetic."""
    project, chain = _load()
    if name is None:
        _show_all(chain, _usual(chain, database_url), as_json=as_json)
        return
    from offpeak.errors import NotFound, did_you_mean
    from offpeak.freshness import lock

    usual = _usual(chain, database_url)
    mine = [each for each in chain.readings(usual.past) if each.consumer == name]
    if not mine and name not in chain.producers:
        known = {*chain.producers, *(each.consumer for each in chain.readings())}
        nearest = did_you_mean(name, known, nothing="The project has no batch assets.")
        raise NotFound(f"{name} is neither a batch asset nor a consumer of one. {nearest}")
    recorded = lock.read(project.root / lock.NAME) or lock.Lock()
    if as_json:
        producer = [_producer_as_json(chain, name)] if name in chain.producers else []
        print_json({"producers": producer, "readings": [_reading_as_json(each) for each in mine], **usual.as_json()})
        return
    out = console()
    if name in chain.producers:
        _print_producer(out, chain, name, recorded)
    for reading in mine:
        _print_reading(out, chain, reading, recorded)
    if mine:
        out.print(f"\n{usual.note}", soft_wrap=True)


def check(as_json: AsJson = False) -> None:
    """Compare contracts.lock with the definitions: exit code 1 when it does not say the same."""
    from offpeak.freshness import lock

    project, chain = _load()
    path = project.root / lock.NAME
    found = lock.compare(lock.read(path), chain)
    if as_json:
        print_json({"lock": str(path), **_comparison_as_json(found)})
    elif found.agrees:
        typer.echo(_agreement(chain))
    else:
        _print_comparison(console(), found)
    if not found.agrees:
        raise typer.Exit(1)


def accept(
    consumers: Annotated[
        list[str] | None,
        typer.Argument(metavar="CONSUMER", help="Acknowledge for these; without any, record what needs nobody's word."),
    ] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Acknowledge for every consumer.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write contracts.lock: record what makes nothing worse, and what the named consumers acknowledge."""
    if consumers and everyone:
        raise typer.BadParameter("Give either consumers or --all.")
    from offpeak.errors import DefinitionError, NotFound, did_you_mean
    from offpeak.freshness import lock

    project, chain = _load()
    known = {each.consumer for each in chain.readings()}
    chosen = known if everyone else set(consumers or ())
    if unknown := sorted(chosen - known):
        nearest = did_you_mean(unknown[0], known, nothing="Nothing in the project reads a batch asset.")
        raise NotFound(f"{unknown[0]} reads no batch asset, so nothing was recorded. {nearest}")
    try:
        chain.check()
    except DefinitionError as error:
        raise DefinitionError(f"{error} Nothing was recorded.") from error
    path = project.root / lock.NAME
    before = lock.read(path)
    asked = lock.compare(before, chain)
    after = lock.accepted(before, chain, chosen)
    recorded = lock.differences(before or lock.Lock(), after, asked.renamed)
    wrote = lock.write(path, after)
    left = [each for each in asked.pending if each.reading.consumer not in chosen]
    if as_json:
        waiting = [_pending_as_json(each) for each in left]
        print_json({"lock": str(path), "written": wrote, "recorded": recorded, "pending": waiting})
    else:
        _print_accepted(path.name, recorded, left, wrote=wrote)


def _load() -> "tuple[Project, Chain]":
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Usual:
    """How long landings usually take, by asset, and where that is known from."""

    past: Mapping[str, timedelta]
    note: str

    def as_json(self) -> dict[str, Any]:
        return {"typical_by": self.note}


def _usual(chain: "Chain", database_url: str | None) -> _Usual:
    """From the ledger where there is one. A ledger that was named and is not there is an error."""
    from offpeak.errors import ConfigurationError, LedgerUnavailable, LedgerUnreadable
    from offpeak.ledger.conditions import middle
    from offpeak.ledger.jobs import listed
    from offpeak.ledger.sightings import REMEMBERED
    from offpeak.ledger.watching import timings

    past: dict[str, timedelta] = {}
    try:
        with open_ledger(database_url) as ledger:
            for name in chain.producers:
                ids = [row.id for row in listed(ledger, asset=name, limit=REMEMBERED)]
                bought = [each for each in timings(ledger, ids=ids) if each.ended_at and each.closed_at]
                usual = middle([each.closed_at - each.created_at for each in bought if each.closed_at])
                if usual is not None:
                    past[name] = usual
    except (ConfigurationError, LedgerUnavailable, LedgerUnreadable) as error:
        if database_url is not None:
            raise
        return _Usual(past={}, note=f"Typical: half the time between runs, and the whole deadline. {error}")
    without = sorted(chain.producers.keys() - past.keys())
    note = f"Typical: half the time between runs, and what the last {REMEMBERED} landings took"
    if without:
        note += f"; the whole deadline for {', '.join(without)}, of which none has landed yet"
    return _Usual(past=past, note=f"{note}.")


def _show_all(chain: "Chain", usual: _Usual, *, as_json: bool) -> None:
    readings = chain.readings(usual.past)
    if as_json:
        producers = [_producer_as_json(chain, name) for name in chain.producers]
        print_json(
            {"producers": producers, "readings": [_reading_as_json(each) for each in readings]} | usual.as_json()
        )
        return
    out = console()
    if not chain.producers:
        out.print("The project has no batch assets, so nothing is promised.")
        return
    wide = out.width >= WIDE
    _print_producers(out, chain, wide=wide)
    if not readings:
        out.print("\nNothing in the project reads them.")
        return
    _print_readings(out, readings, wide=wide)
    unknown = dict.fromkeys(each for reading in readings for each in reading.worst.unknown)
    if unknown:
        out.print(f"\n≥: not counted is {', and '.join(unknown)}.", soft_wrap=True)
    out.print(f"\n{usual.note}", soft_wrap=True)
    out.print("`offpeak contracts show NAME` has the arithmetic.")


def _print_producers(out: "Console", chain: "Chain", *, wide: bool) -> None:
    figures = ("deadline", "valid for", "oldest rows")
    table = columns(
        None, "producer", *(("model",) if wide else ()), "between runs", *figures, right=figures, fold=("producer",)
    )
    for name, producer in chain.producers.items():
        cells = [name, producer.model] if wide else [f"{name}\n  {producer.model}"]
        lasting = chain.lasting(name)
        table.add_row(
            *cells,
            _between_runs(chain, name),
            exactly(producer.deadline),
            exactly(producer.contract.valid_for),
            _total(lasting),
        )
    out.print(table)


def _between_runs(chain: "Chain", name: str) -> str:
    cadence = chain.cadence(name)
    if not cadence.terms:
        return "when its inputs are renewed" if chain.nodes[name].follows else "no schedule"
    names = dict.fromkeys(each.name for each in chain.nodes[name].crons)
    return f"{exactly(cadence.total)}, {', '.join(names)}"


def _print_readings(out: "Console", readings: "Sequence[Reading]", *, wide: bool) -> None:
    figures = ("tolerates", "worst", "typical", "to spare")
    table = columns(
        None, "\nconsumer", *(("\nreads",) if wide else ()), *(f"\n{each}" for each in figures), fold=("\nconsumer",)
    )
    for column in table.columns[-len(figures) :]:
        column.justify = "right"
    for each in readings:
        cells = [each.consumer, each.producer] if wide else [f"{each.consumer}\n  reads {each.producer}"]
        table.add_row(
            *cells,
            exactly(each.tolerance.max_staleness),
            _total(each.worst),
            _total(each.typical),
            exactly(each.tolerance.max_staleness - each.worst.total),
        )
    out.print(table)


def _total(age: "Age") -> str:
    """To the minute from an hour on: what is typical was measured."""
    unit = 60 if age.total >= timedelta(hours=1) else 1
    rounded = timedelta(seconds=round(age.total.total_seconds() / unit) * unit)
    return f"{'≥ ' if age.unknown else ''}{exactly(rounded)}"


def _print_producer(out: "Console", chain: "Chain", name: str, recorded: "Lock") -> None:
    from offpeak.freshness.lock import promises

    promise, readers = promises(chain)[name], [each.consumer for each in chain.readings() if each.producer == name]
    out.print(name)
    out.print(
        pairs(
            ("  promises", str(promise)),
            ("  recorded", _recorded(promise, recorded.producers.get(name))),
            ("  as rows land", _arithmetic(chain.landed(name))),
            ("  at their oldest", _arithmetic(chain.lasting(name))),
            ("  read by", ", ".join(readers) or "nothing in the project"),
        )
    )


def _print_reading(out: "Console", chain: "Chain", reading: "Reading", recorded: "Lock") -> None:
    from offpeak.freshness.lock import in_words, promises, verdict

    promise = promises(chain)[reading.producer]
    said = recorded.readings.get((reading.consumer, reading.producer))
    out.print(f"{reading.consumer} reads {reading.producer}")
    out.print(
        pairs(
            ("  tolerates", in_words(reading.tolerance)),
            ("  promise", str(promise)),
            ("  acknowledged", _recorded(promise, None if said is None else said.promise)),
            ("  worst age", _arithmetic(reading.worst)),
            ("  typical age", _arithmetic(reading.typical)),
            ("  verdict", verdict(reading)),
        )
    )


def _arithmetic(age: "Age") -> str:
    """A sum, each summand on a line of its own."""
    terms = [str(each) for each in age.terms if each.duration] or ["0 s"]
    lines = [terms[0], *(f"+ {each}" for each in terms[1:])]
    if len(terms) > 1:
        lines.append(f"= {exactly(age.total)}")
    return "\n".join([*lines, *(f"not counted: {each}" for each in age.unknown)])


def _recorded(promise: "Promise", recorded: "Promise | None") -> str:
    if recorded is None:
        return "nothing yet"
    return "the same" if recorded == promise else str(recorded)


def _agreement(chain: "Chain") -> str:
    producers, readings = len(chain.producers), len(chain.readings())
    if not producers:
        return "The project has no batch assets, so there is nothing to acknowledge."
    return f"contracts.lock agrees with the definitions. Batch assets: {producers}; readings of them: {readings}."


def _print_comparison(out: "Console", found: "Comparison") -> None:
    out.print("contracts.lock does not agree with the definitions.")
    for each in found.pending:
        _print_pending(out, each)
    if found.outdated:
        out.print("\nTo be recorded, which needs nobody's word:")
        for sentence in found.outdated:
            out.print(f"  {sentence}", soft_wrap=True)
        out.print(f"Run: {ACCEPT}")


def _print_pending(out: "Console", each: "Pending") -> None:
    from offpeak.freshness.lock import in_words, verdict

    reading = each.reading
    what = "; ".join(each.changes) if each.changes else "not acknowledged before"
    out.print(f"\n{reading.consumer} reads {reading.producer}: {what}.", soft_wrap=True)
    out.print(
        pairs(
            ("  old promise", each.before),
            ("  new promise", str(each.new)),
            ("  tolerance", in_words(reading.tolerance)),
            ("  worst age", _arithmetic(reading.worst)),
            ("  verdict", verdict(reading)),
            ("  to accept", _command(reading.consumer)),
        )
    )


def _command(*consumers: str) -> str:
    return shlex.join([*ACCEPT.split(), *consumers])


def _print_accepted(name: str, recorded: Sequence[str], left: "Sequence[Pending]", *, wrote: bool) -> None:
    if recorded:
        typer.echo(f"Recorded in {name}:")
        for sentence in recorded:
            typer.echo(f"  {sentence}")
    else:
        typer.echo(f"{name} was written: nothing is promised yet." if wrote else f"{name} says all of it already.")
    if left:
        typer.echo("Left to be acknowledged, and not recorded:")
        for each in left:
            what = "; ".join(each.changes) or "for the first time"
            typer.echo(f"  {each.reading.consumer} reads {each.reading.producer}: {what}")
        typer.echo(f"`offpeak contracts check` has the particulars. Run: {_command(*_names(left))}")


def _names(pending: "Collection[Pending]") -> list[str]:
    return list(dict.fromkeys(each.reading.consumer for each in pending))


def _comparison_as_json(found: "Comparison") -> dict[str, Any]:
    return {
        "agrees": found.agrees,
        "pending": [_pending_as_json(each) for each in found.pending],
        "outdated": list(found.outdated),
        "run": _command(*_names(found.pending)) if found.pending else ACCEPT if found.outdated else None,
    }


def _pending_as_json(each: "Pending") -> dict[str, Any]:
    return {
        **_reading_as_json(each.reading, typical=False),
        "changes": list(each.changes),
        "old_promise": None if each.old is None else _promise_as_json(each.old),
        "before": each.before,
        "new_promise": _promise_as_json(each.new),
        "run": _command(each.reading.consumer),
    }


def _producer_as_json(chain: "Chain", name: str) -> dict[str, Any]:
    from offpeak.freshness.lock import promises

    return {
        "producer": name,
        **_promise_as_json(promises(chain)[name]),
        "schedules": [
            {"name": each.name, "cron_schedule": each.cron_schedule, "timezone": each.timezone}
            for each in chain.nodes[name].crons
        ],
        "rows_land": _age_as_json(chain.landed(name)),
        "rows_get": _age_as_json(chain.lasting(name)),
    }


def _reading_as_json(reading: "Reading", *, typical: bool = True) -> dict[str, Any]:
    from offpeak.freshness.lock import verdict

    spare = reading.tolerance.max_staleness - reading.worst.total
    return {
        "consumer": reading.consumer,
        "producer": reading.producer,
        "tolerance": _tolerance_as_json(reading.tolerance),
        "worst": _age_as_json(reading.worst),
        **({"typical": _age_as_json(reading.typical)} if typical else {}),
        "spare_seconds": spare.total_seconds(),
        "verdict": verdict(reading),
    }


def _promise_as_json(promise: "Promise") -> dict[str, Any]:
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


def _age_as_json(age: "Age") -> dict[str, Any]:
    return {"seconds": age.total.total_seconds(), "arithmetic": str(age), "not_counted": list(age.unknown)}
