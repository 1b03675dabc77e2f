"""`offpeak erase`: a key, what was asked for it and what came back, taken out of everything that Offpeak can reach."""

import getpass
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from offpeak.cli.formats import AsJson, plain, print_json
from offpeak.cli.ledgers import DatabaseUrl, open_ledger

if TYPE_CHECKING:
    from offpeak.ledger.erasing import Erased, Finished
    from offpeak.providers.base import Provider

NOT_REACHED = """Not reached, and yours to erase:
- the source: as long as it holds the row, the next materialization asks for it again;
- frames that io_manager_key= sent elsewhere, and whatever consumers made of the row;
- Dagster's event log: each materialization shows a preview of its first rows, and a run's log may quote a key;
- backups, the disk's own free blocks, and what the provider keeps by its own terms."""

NOT_REACHED_POSTGRES = "- on Postgres, the bytes of deleted rows, until VACUUM has run, and its archived log."


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("erase", epilog="Example: offpeak erase ticket_labels T-0001")(erase)


def erase(
    asset: Annotated[str | None, typer.Argument(metavar="ASSET", help="The asset's key, as Dagster prints it.")] = None,
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="The row's key.")] = None,
    partition: Annotated[str | None, typer.Option(help="Only in this partition; without it, in all.")] = None,
    unwanted: Annotated[
        bool,
        typer.Option(
            "--unwanted", help="Instead of a key: what no row refers to any more, such as former texts of rows."
        ),
    ] = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Erase a row: its key, what was asked and answered, in the ledger, its files and at the provider. For good."""
    if unwanted and (asset or key or partition):
        raise typer.BadParameter("--unwanted goes without asset, key and partition.")
    if not unwanted and (asset is None or key is None):
        raise typer.BadParameter("Name the asset and the key, or give --unwanted.")
    from offpeak.ledger import erasing

    who, erased, count = f"{getpass.getuser()}, offpeak erase", None, 0
    with open_ledger(database_url) as ledger:
        if asset is not None and key is not None:
            erased = erasing.erase(ledger, asset, key, partition_key=partition, who=who)
        else:
            count = erasing.erase_unwanted(ledger, who=who)
        with _accounts(erasing.realms(ledger)) as (providers, problems):
            finished = erasing.finish(ledger, providers)
        postgres = not ledger.database.sqlite
    if as_json:
        document = {"rows": 0, "requests": count, "shared": 0, "elsewhere": []}
        if erased is not None:
            document = {**plain(erased), "requests": len(erased.requests)}
        print_json({**document, **plain(finished), "problems": problems})
        return
    typer.echo(_told(asset, key, erased) if erased is not None else f"{_requests(count)} that no row refers to.")
    for line in _state(finished, problems):
        typer.echo(line)
    typer.echo(f"\n{NOT_REACHED}")
    if postgres:
        typer.echo(NOT_REACHED_POSTGRES)


@contextmanager
def _accounts(realms: Sequence[str]) -> "Iterator[tuple[list[Provider], list[str]]]":
    """The project's accounts at these realms, and why others cannot be had. The project is loaded only for them."""
    if not realms:
        yield [], []
        return
    import dagster as dg

    from offpeak.assets.housekeeping import account
    from offpeak.assets.resources import API_KEY
    from offpeak.cli.project import find_project, load_definitions
    from offpeak.errors import OffpeakError

    opened: list[Provider] = []
    problems: list[str] = []
    try:
        resource = (load_definitions(find_project()).resources or {})[API_KEY]
        with dg.build_resources({API_KEY: resource}) as resources:
            for realm in realms:
                try:
                    opened.append(account(getattr(resources, API_KEY), realm))
                except OffpeakError as error:
                    problems.append(f"{realm}: {error}")
    except (OffpeakError, KeyError) as error:
        problems.append(f"{', '.join(realms)}: the project's accounts cannot be had: {error}")
    try:
        yield opened, problems
    finally:
        for provider in opened:
            provider.close()


def _told(asset: str | None, key: str | None, erased: "Erased") -> str:
    place = "" if erased.rows == 1 else f" in {erased.rows:,} partitions"
    told = f"Row {key} of {asset} is gone{place}, with {_requests(len(erased.requests))} of its own."
    if erased.shared:
        told += f" {_requests(erased.shared)} stay: other rows ask the same."
    if erased.elsewhere:
        told += f" Rows with this key are left in {', '.join(erased.elsewhere)}."
    return told


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count:,} requests"


def _state(finished: "Finished", problems: Sequence[str]) -> Iterator[str]:
    """How far it has got, a line for each thing."""
    if finished.done:
        yield f"Erased: {_requests(finished.done)}, with answers, lines in files, and files at the provider."
    if finished.on_their_way:
        yield (
            f"On their way: {_requests(finished.on_their_way)}. What a batch carries cannot be taken out of it; it is "
            "erased when the batch is collected, and for good with the next offpeak_housekeeping run."
        )
    for realm, count in finished.waiting.items():
        yield (
            f"Left at {realm} for now: files of {_requests(count)}. The next offpeak_housekeeping run deletes them; so "
            "does this command, called again with --unwanted."
        )
    for problem in problems:
        yield f"  {problem}"
    if finished.not_rewritten:
        yield (
            "The database's file could not be rewritten, because others work in it: deleted bytes are left in it until "
            "the next offpeak_housekeeping run."
        )
