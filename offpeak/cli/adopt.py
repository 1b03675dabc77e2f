"""`offpeak adopt`: what a ledger that does not live where it was made is to be from now on."""

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from offpeak.cli.formats import AsJson, plain, print_json
from offpeak.cli.ledgers import DatabaseUrl, open_ledger

if TYPE_CHECKING:
    from offpeak.ledger.adopting import Adopted


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("adopt", epilog="Example: offpeak adopt --beside-original")(adopt)


def adopt(
    original_gone: Annotated[
        bool, typer.Option("--original-gone", help="This ledger goes on with the original's batches, in its place.")
    ] = False,
    beside_original: Annotated[
        bool,
        typer.Option(
            "--beside-original",
            help="This ledger becomes one of its own; what is on its way stays the original's, and is new again here.",
        ),
    ] = False,
    undetected: Annotated[
        bool,
        typer.Option("--undetected", help="Although nothing shows it: the whole disk or server was copied."),
    ] = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Decide about a copied, restored or moved ledger, which can only be read until then."""
    if original_gone == beside_original:
        raise typer.BadParameter("Say which: --original-gone or --beside-original.")
    if undetected and original_gone:
        raise typer.BadParameter("--undetected goes with --beside-original.")
    from offpeak.ledger.adopting import set_apart, take_over

    who = f"{getpass.getuser()}, offpeak adopt"
    with open_ledger(database_url) as ledger:
        if original_gone:
            adopted = take_over(ledger, who=who)
        else:
            adopted = set_apart(ledger, who=who, although_at_home=undetected)
        folder = ledger.spool
    if as_json:
        print_json({**plain(adopted), "spool": str(folder)})
    elif original_gone:
        typer.echo(
            f"Ledger {adopted.identity} goes on here, with every batch that was on its way. See that nothing writes to "
            f"the original any more, and that its spool files stand in {folder}."
        )
    else:
        typer.echo(_told(adopted, str(folder)))


def _told(adopted: "Adopted", folder: str) -> str:
    return (
        f"This is ledger {adopted.identity} now, beside {adopted.was}. {adopted.jobs:,} open jobs are cancelled here; "
        f"{adopted.requests:,} requests that were queued or on their way are left to {adopted.was}, and new again "
        f"here. Answers are kept. Files in {folder} whose names begin with {adopted.was} are the original's: delete "
        "them where the folder is a copy of its own."
    )
