"""`offpeak contracts`: what producers promise, and how old rows get on their way to each consumer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offpeak.cli.acknowledge import accept, check
from offpeak.cli.chains import age_as_json, arithmetic, load, promise_as_json, read_as_json
from offpeak.cli.formats import AsJson, columns, console, pairs, print_json
from offpeak.cli.ledgers import DatabaseUrl, open_ledger
from offpeak.clock import exactly

if TYPE_CHECKING:
    from rich.console import Console

    from offpeak.freshness.chain import Age, Chain, Reading
    from offpeak.freshness.lock import Lock, Promise

WIDE = 110
"""Columns from which on a terminal has room for one line per producer."""


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
        _, chain = load()
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
    project, chain = load()
    if name is None:
        _show_all(chain, _usual(chain, database_url), as_json=as_json)
        return
    from offpeak.errors import NotFound, did_you_mean
    from offpeak.freshness import lock, lock_file

    usual = _usual(chain, database_url)
    mine = [each for each in chain.readings(usual.past) if each.consumer == name]
    if not mine and name not in chain.producers:
        known = {*chain.producers, *(each.consumer for each in chain.readings())}
        nearest = did_you_mean(name, known, nothing="The project has no batch assets.")
        raise NotFound(f"{name} is neither a batch asset nor a consumer of one. {nearest}")
    recorded = lock_file.read(project.root / lock.NAME) or lock.Lock()
    if as_json:
        producer = [_producer_as_json(chain, name)] if name in chain.producers else []
        print_json(
            {"producers": producer, "readings": [_reading_as_json(chain, each) for each in mine], **usual.as_json()}
        )
        return
    out = console()
    if name in chain.producers:
        _print_producer(out, chain, name, recorded)
    for reading in mine:
        _print_reading(out, chain, reading, recorded)
    if mine:
        out.print(f"\n{usual.note}", soft_wrap=True)


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
    if not past:
        return _Usual(
            past={}, note="Typical: half the time between runs, and the whole deadline: nothing has landed yet."
        )
    note = f"Typical: half the time between runs, and what the last {REMEMBERED} landings took"
    if without := sorted(chain.producers.keys() - past.keys()):
        note += f"; for {', '.join(without)} the whole deadline, because none has landed yet"
    return _Usual(past=past, note=f"{note}.")


def _show_all(chain: "Chain", usual: _Usual, *, as_json: bool) -> None:
    readings = chain.readings(usual.past)
    if as_json:
        producers = [_producer_as_json(chain, name) for name in chain.producers]
        print_json(
            {"producers": producers, "readings": [_reading_as_json(chain, each) for each in readings]} | usual.as_json()
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
    late = [each.consumer for each in readings if each.at_window.total > each.tolerance.max_staleness]
    if late:
        names = ", ".join(dict.fromkeys(late))
        out.print(f"\nA batch that misses its deadline may be older than this tolerates: {names}.", soft_wrap=True)
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
            ("  as rows land", arithmetic(chain.landed(name))),
            ("  at their oldest", arithmetic(chain.lasting(name))),
            ("  read by", ", ".join(readers) or "nothing in the project"),
        )
    )


def _print_reading(out: "Console", chain: "Chain", reading: "Reading", recorded: "Lock") -> None:
    from offpeak.freshness.lock import in_words, promises, verdict, when_late

    promise = promises(chain)[reading.producer]
    said = recorded.readings.get((reading.consumer, reading.producer))
    out.print(f"{reading.consumer} reads {reading.producer}")
    out.print(
        pairs(
            ("  tolerates", in_words(reading.tolerance)),
            ("  promise", str(promise)),
            ("  acknowledged", _recorded(promise, None if said is None else said.promise)),
            ("  worst age", arithmetic(reading.worst)),
            ("  when late", when_late(reading)),
            ("  typical age", arithmetic(reading.typical)),
            ("  verdict", verdict(reading, promise)),
        )
    )


def _recorded(promise: "Promise", recorded: "Promise | None") -> str:
    if recorded is None:
        return "nothing yet"
    return "the same" if recorded == promise else str(recorded)


def _producer_as_json(chain: "Chain", name: str) -> dict[str, Any]:
    from offpeak.freshness.lock import promises

    return {
        "producer": name,
        **promise_as_json(promises(chain)[name]),
        "schedules": [
            {"name": each.name, "cron_schedule": each.cron_schedule, "timezone": each.timezone}
            for each in chain.nodes[name].crons
        ],
        "rows_land": age_as_json(chain.landed(name)),
        "rows_get": age_as_json(chain.lasting(name)),
    }


def _reading_as_json(chain: "Chain", reading: "Reading") -> dict[str, Any]:
    from offpeak.freshness.lock import promises

    found = read_as_json(reading, promises(chain)[reading.producer])
    return {**found, "typical": age_as_json(reading.typical)}
