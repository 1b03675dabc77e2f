"""`offpeak sources`: how changes of the application's tables reach Dagster."""

import typer

from offpeak.cli import listen


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    sources = typer.Typer(help="See and settle how changes of source tables are noticed.", no_args_is_help=True)
    listen.register(sources)
    app.add_typer(sources, name="sources")
