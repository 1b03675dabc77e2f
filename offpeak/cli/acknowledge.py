"""`offpeak contracts check` and `accept`: whether contracts.lock says what the definitions say, and that it shall.

Neither looks into the ledger, and neither needs a key or a network.
"""

import shlex
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offpeak.cli.chains import arithmetic, load, promise_as_json, read_as_json
from offpeak.cli.formats import AsJson, console, pairs, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from offpeak.freshness.chain import Chain
    from offpeak.freshness.lock import Comparison, Pending

ACCEPT = "offpeak contracts accept"

DISAGREES = "contracts.lock does not agree with the definitions."


def check(as_json: AsJson = False) -> None:
    """Compare contracts.lock with the definitions: exit code 1 when it does not say the same."""
    from offpeak.freshness import lock, lock_file

    project, chain = load()
    path = project.root / lock.NAME
    recorded = lock_file.read(path)
    found = lock.compare(recorded, chain)
    if as_json:
        print_json({"lock": str(path), **_comparison_as_json(found)})
    elif found.agrees:
        typer.echo(_agreement(chain))
    else:
        out = console()
        out.print(f"There is no {path.name} yet." if recorded is None else DISAGREES)
        _print_comparison(out, found)
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
    from offpeak.freshness import lock, lock_file

    project, chain = load()
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
    before = lock_file.read(path)
    asked = lock.compare(before, chain)
    after = lock.accepted(before, chain, chosen)
    recorded = lock.differences(before or lock.Lock(), after, asked.renamed)
    wrote = lock_file.write(path, after)
    left = [each for each in asked.pending if each.reading.consumer not in chosen]
    if as_json:
        waiting = [_pending_as_json(each) for each in left]
        print_json({"lock": str(path), "written": wrote, "recorded": recorded, "pending": waiting})
    else:
        _print_accepted(path.name, recorded, left, wrote=wrote)


def _agreement(chain: "Chain") -> str:
    producers, readings = len(chain.producers), len(chain.readings())
    if not producers:
        return "The project has no batch assets, so there is nothing to acknowledge."
    return f"contracts.lock agrees with the definitions. Batch assets: {producers}; readings of them: {readings}."


def _print_comparison(out: "Console", found: "Comparison") -> None:
    for each in found.pending:
        _print_pending(out, each)
    if found.outdated:
        out.print("\nTo be recorded, which needs nobody's word:")
        for sentence in found.outdated:
            out.print(f"  {sentence}", soft_wrap=True)
        out.print(f"Run: {ACCEPT}")


def _print_pending(out: "Console", each: "Pending") -> None:
    from offpeak.freshness.lock import in_words, verdict, when_late

    reading = each.reading
    what = "; ".join(each.changes) if each.changes else "not acknowledged before"
    out.print(f"\n{reading.consumer} reads {reading.producer}: {what}.", soft_wrap=True)
    out.print(
        pairs(
            ("  old promise", each.before),
            ("  new promise", str(each.new)),
            ("  tolerance", in_words(reading.tolerance)),
            ("  worst age", arithmetic(reading.worst)),
            ("  when late", when_late(reading)),
            ("  verdict", verdict(reading, each.new)),
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
    elif wrote:
        typer.echo(f"{name} was written: nothing is promised yet.")
    elif not left:
        typer.echo(f"{name} says all of it already.")
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
        **read_as_json(each.reading, each.new),
        "changes": list(each.changes),
        "old_promise": None if each.old is None else promise_as_json(each.old),
        "before": each.before,
        "new_promise": promise_as_json(each.new),
        "run": _command(each.reading.consumer),
    }
