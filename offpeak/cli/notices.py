"""`offpeak notices`: what people were told, whether it has arrived, and whether they can be told at all."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from offpeak.cli.formats import AsJson, columns, console, plain, print_json, when, words
from offpeak.cli.ledgers import DatabaseUrl, open_ledger

if TYPE_CHECKING:
    from offpeak.ledger.notices import NoticeRow
    from offpeak.notifier import Notifier


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(
        no_args_is_help=True,
        help="What people were told of assets with notify=: list it, or try whether a destination can be reached.",
        rich_markup_mode=None,
    )
    group.command("list", epilog="Example: offpeak notices list ticket_labels")(list_)
    group.command("test", epilog="Example: offpeak notices test support")(try_)
    app.add_typer(group, name="notices")


def list_(
    asset: Annotated[
        str | None, typer.Argument(metavar="ASSET", help="Only this asset's; its key, as Dagster prints it.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 50,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Notices, the newest first: pending, delivered, or given up, and what was wrong with the last attempt."""
    from offpeak.ledger import notices

    with open_ledger(database_url) as ledger:
        found = notices.listed(ledger, asset=asset, limit=limit)
    if as_json:
        print_json({"notices": [plain(row) for row in found]})
    elif not found:
        typer.echo("Nobody was told of anything.")
    else:
        _print(found)


def try_(
    destinations: Annotated[
        list[str] | None, typer.Argument(metavar="DESTINATION", help="Those to be tried; without any, all of them.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send a word to destinations of the project's notifier, to see whether they can be reached."""
    from offpeak.errors import ConfigurationError
    from offpeak.notifier import Message, Severity

    notifier = _notifier()
    names = destinations or list(notifier.destinations)
    text = "Somebody tries whether you can be told of assets. Nothing has happened."
    messages = [
        Message(destination=name, title="A word from Offpeak", body=text, severity=Severity.SUCCESS) for name in names
    ]
    outcomes = dict(zip(names, notifier.send(messages), strict=True))
    if as_json:
        print_json({"destinations": [{"name": name, "error": error} for name, error in outcomes.items()]})
    else:
        for name, error in outcomes.items():
            typer.echo(f"{name}: {error or 'told'}")
    failed = [name for name, error in outcomes.items() if error is not None]
    if failed:
        raise ConfigurationError(
            f"{', '.join(failed)} could not be told. Set the address as apprise writes it for that service: "
            "https://github.com/caronc/apprise/wiki"
        )


def _notifier() -> "Notifier":
    from offpeak.cli.project import find_project, load_definitions
    from offpeak.errors import ConfigurationError
    from offpeak.notifier import NOTIFIER_KEY, Notifier

    found: Any = (load_definitions(find_project()).resources or {}).get(NOTIFIER_KEY)
    if not isinstance(found, Notifier) or not found.destinations:
        raise ConfigurationError(
            f"The project's definitions have no resource {NOTIFIER_KEY!r} with destinations, so nobody can be told. "
            'Add one: resources={"notifier": Notifier(destinations={"support": dg.EnvVar("SUPPORT_URL")})}.'
        )
    return found


def _print(found: list["NoticeRow"]) -> None:
    table = columns(None, "at", "asset", "notice", "state", "tries", right=("tries",))
    for row in found:
        table.add_row(when(row.created_at), row.asset, row.title, words(row.state.value), str(row.attempts))
    console().print(table)
    for row in found:
        if row.error is not None:
            typer.echo(f"{row.title}: {row.error}.")
