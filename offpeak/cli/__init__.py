"""The `offpeak` command: one module per verb, each with `register(app)`.

An error of Offpeak's own is one clean message on stderr and exit code 1; a wrong option is exit code 2. Verbs import
Dagster, pandas and the providers inside their bodies, so that `--help` and a refused option answer at once.
"""

import os
import sys
from importlib import import_module
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from offpeak.errors import OffpeakError

VERBS = (
    "up",
    "plan",
    "jobs",
    "explain",
    "dead_letters",
    "erase",
    "adopt",
    "contracts",
    "notices",
    "sources",
    "bill",
    "prices",
    "audit",
    "launch",
)
"""The modules of this package that are commands, in the order in which `--help` lists them."""


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"offpeak {installed_version('offpeak')}")
        raise typer.Exit


def build_app() -> typer.Typer:
    """The whole command line, every verb registered."""
    app = typer.Typer(
        name="offpeak",
        help="Assets bought on the batch tier: each request once, with a freshness contract.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.callback()
    def offpeak(
        version: Annotated[
            bool,
            typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit."),
        ] = False,
    ) -> None:
        """Assets bought on the batch tier: each request once, with a freshness contract."""

    for verb in VERBS:
        import_module(f"offpeak.cli.{verb}").register(app)
    return app


def main() -> None:
    """Entry point of the `offpeak` script."""
    try:
        build_app()(prog_name="offpeak")
    except OffpeakError as error:
        typer.echo(f"offpeak: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        # `offpeak ... | head` closed the pipe: nothing is wrong, and the interpreter must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
