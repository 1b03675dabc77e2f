"""`offpeak sources listen`: tell Dagster of changed source assets as soon as their sources tell of them.

It runs until Ctrl-C or SIGTERM, and ends then with exit code 0. A source that is out of reach is waited for.
"""

import os
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from offpeak.assets.listener import Told


def register(app: typer.Typer) -> None:
    """Add the verb to the commands of `offpeak sources`."""
    app.command("listen", epilog="Example: offpeak sources listen")(listen)


def listen(
    quiet: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Tell of a table once it has not changed for so long.")
    ] = 2,
    longest: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Tell of it at the latest so long after the first change.")
    ] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document per line.")] = False,
) -> None:
    """Tell Dagster as soon as a source table changes, so that what depends on it wakes. Runs until it is stopped."""
    if longest < quiet:
        raise typer.BadParameter(f"--longest ({longest:g} s) must not be less than --quiet ({quiet:g} s).")
    import dagster as dg

    from offpeak.assets.listener import Listening, listened_sources
    from offpeak.assets.listener import listen as listen_to
    from offpeak.cli.project import find_project, load_definitions, prepare_dagster_home
    from offpeak.clock import SystemClock
    from offpeak.processes import Stopped, stopping_on_signals

    say = _say_json if as_json else _say
    try:
        with stopping_on_signals():
            project = find_project()
            defs = load_definitions(project)
            os.environ.setdefault("DAGSTER_HOME", str(prepare_dagster_home(project)))
            with dg.DagsterInstance.get() as instance, listened_sources(defs, instance) as sources:
                listening = Listening(
                    instance=instance,
                    clock=SystemClock(),
                    say=say,
                    stop=threading.Event(),
                    quiet=timedelta(seconds=quiet),
                    longest=timedelta(seconds=longest),
                )
                listen_to(sources, listening)
    except Stopped:
        return


def _say(told: "Told") -> None:
    from offpeak.cli.formats import when

    typer.echo(f"{when(told.at)}  {told.text}")


def _say_json(told: "Told") -> None:
    from offpeak.cli.formats import plain, print_json_line

    print_json_line(plain(told))
